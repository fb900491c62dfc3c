//! Certificate serial numbers: positive, at most 20 octets, unguessable (RFC 5280 §4.1.2.2).

use std::fmt;
use std::str::FromStr;

use super::X509Error;
use crate::entropy::{self, Entropy};
use crate::error::Result;

/// Octets of a serial number that we make.
const LEN: usize = 20;

/// A serial number: its octets without leading zeros, shown as lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// A fresh serial: 160 bits, of which 152 are as the source gave them; the first octet is folded to 01..7f, so that
    /// the number is positive and never shorter than 20 octets.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        let mut bytes: [u8; LEN] = entropy::bytes(entropy)?;
        // INVARIANT: at least 64 random bits stay after this (a default that left 63 replaced a million certificates).
        let [first, ..] = &mut bytes;
        *first = (*first % 0x7f) + 1;
        Ok(Self(bytes.to_vec()))
    }

    /// From the content octets of a DER INTEGER.
    ///
    /// # Errors
    /// `Malformed` if it is negative, zero or longer than 20 octets.
    pub fn from_der_content(bytes: &[u8]) -> Result<Self, X509Error> {
        let what = "serial number";
        match bytes.first() {
            None => return Err(X509Error::malformed(what, "it is empty")),
            Some(first) if first & 0x80 != 0 => return Err(X509Error::malformed(what, "it is negative")),
            Some(_) => {}
        }
        let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
        let digits = bytes.get(start..).unwrap_or_default();
        if digits.is_empty() || digits.len() > LEN {
            return Err(X509Error::malformed(what, "it is zero or longer than 20 octets"));
        }
        Ok(Self(digits.to_vec()))
    }

    /// Its octets, big-endian, without a leading zero.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Reads hexadecimal in either case, with or without colons, as OpenSSL prints it.
impl FromStr for Serial {
    type Err = X509Error;
    fn from_str(text: &str) -> Result<Self, X509Error> {
        let refuse = || {
            X509Error::Refused(format!(
                "`{}` is not a serial number: give up to 40 hexadecimal digits, as `openssl x509 -serial` prints them",
                text.escape_debug()
            ))
        };
        let mut digits: String = text.chars().filter(|c| *c != ':').collect();
        if digits.len() % 2 == 1 {
            digits.insert(0, '0');
        }
        let bytes = hex::decode(digits).map_err(|_| refuse())?;
        let start = bytes.iter().position(|b| *b != 0).ok_or_else(refuse)?;
        let bytes = bytes.get(start..).unwrap_or_default();
        if bytes.len() > LEN {
            return Err(refuse());
        }
        Ok(Self(bytes.to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use std::collections::HashSet;

    /// A million serials, of two nodes: positive, 20 octets, every random bit near one half, no duplicate.
    #[test]
    fn r01_serials_are_positive_full_length_random_and_unique() {
        const N: u32 = 1_000_000;
        let nodes = [OsEntropy, OsEntropy];
        let mut seen = HashSet::with_capacity(N as usize);
        let mut ones = [0u32; 160];
        for nth in 0..N {
            let serial = Serial::random(&nodes[nth as usize % 2]).unwrap();
            let bytes = serial.as_bytes();
            assert_eq!(bytes.len(), 20);
            assert!((0x01..=0x7f).contains(&bytes[0]));
            for (bit, count) in ones.iter_mut().enumerate() {
                *count += u32::from(bytes[bit / 8] >> (7 - bit % 8) & 1);
            }
            assert!(seen.insert(serial), "duplicate");
        }
        // Six standard deviations of a fair coin thrown N times.
        let slack = 6.0 * (f64::from(N) * 0.25).sqrt();
        for (bit, count) in ones.iter().enumerate().skip(8) {
            assert!(
                (f64::from(*count) - f64::from(N) / 2.0).abs() < slack,
                "bit {bit}: {count}"
            );
        }
    }

    #[test]
    fn read_as_openssl_prints_them() {
        let serial: Serial = "01:Ab:cd".parse().unwrap();
        assert_eq!(serial.to_string(), "01abcd");
        assert_eq!("1abcd".parse::<Serial>().unwrap(), serial);
        assert_eq!("0001abcd".parse::<Serial>().unwrap(), serial);
        for bad in ["", "0", "xyz", &"7f".repeat(21)] {
            assert!(bad.parse::<Serial>().is_err(), "{bad}");
        }
        assert!(Serial::from_der_content(&[0x80]).is_err());
        assert_eq!(Serial::from_der_content(&[0, 0x80]).unwrap().to_string(), "80");
    }
}
