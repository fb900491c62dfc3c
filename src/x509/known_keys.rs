//! RSA keys that others know, told by lists of them: Debian's of 2006 to 2008 (CVE-2008-0166) above all.
//!
//! A list is a text in the format of Debian's `openssl-blacklist`: a line a key, the last 20 hexadecimal digits of
//! SHA-1 over `Modulus=`, the modulus in upper-case hexadecimal and a line feed; `#` begins a remark. A fake entry would
//! refuse a good key, and needs no collision of SHA-1 to be made: whoever writes the list decides anyhow.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use super::X509Error;
use super::key::PublicKey;

/// The bytes of the hash that a list holds, of 20.
const KEPT: usize = 10;

/// The keys of some lists: ten bytes each in memory.
#[derive(Debug, Default)]
pub struct KnownKeys(Vec<[u8; KEPT]>);

impl KnownKeys {
    /// Takes a list in.
    ///
    /// # Errors
    /// `Refused`, naming the first line that is no entry (from 1), if one is; nothing is taken in then.
    pub fn add(&mut self, list: &str) -> Result<(), X509Error> {
        let mut keys = Vec::new();
        for (line, number) in list.lines().zip(1..) {
            let entry = line.split('#').next().unwrap_or_default().trim();
            if !entry.is_empty() {
                keys.push(kept(entry).ok_or_else(|| malformed(number))?);
            }
        }
        self.0.extend(keys);
        self.0.sort_unstable();
        self.0.dedup();
        Ok(())
    }

    /// How many keys it holds.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Judges a key.
    ///
    /// # Errors
    /// `Refused` if it is in a list.
    pub fn check(&self, key: &PublicKey) -> Result<(), X509Error> {
        if self.is_empty() {
            return Ok(());
        }
        match key.modulus()? {
            Some(modulus) if self.0.binary_search(&entry(modulus)).is_ok() => Err(X509Error::Refused(
                "the RSA key is known to others, as those that Debian made in 2006 to 2008 are (CVE-2008-0166): make a \
                 new key"
                    .to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn malformed(line: u32) -> X509Error {
    X509Error::Refused(format!(
        "line {line} is neither a remark nor 20 hexadecimal digits: give a list like those of `openssl-blacklist`"
    ))
}

fn kept(entry: &str) -> Option<[u8; KEPT]> {
    let mut bytes = [0; KEPT];
    hex::decode_to_slice(entry, &mut bytes).ok()?;
    Some(bytes)
}

/// What a list has of a modulus, big-endian without leading zeros.
fn entry(modulus: &[u8]) -> [u8; KEPT] {
    let text = format!("Modulus={}\n", hex::encode_upper(modulus));
    let mut kept = [0; KEPT];
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    for (to, from) in kept.iter_mut().zip(hash.as_ref().iter().rev()) {
        *to = *from;
    }
    kept.reverse();
    kept
}

/// A key that Debian's OpenSSL made, and its entry in the list for RSA of 2048 bits.
#[cfg(test)]
pub(crate) const DEBIAN: (&str, &str) = (
    "30820122300d06092a864886f70d01010105000382010f003082010a0282010100d673252af6723c3f72529403eab7c30def3c52f97e7998\
     25f4a70191c616adcf1ece1113f1625971074c492c592025fdeadbdb146a081826bdf0d77c3c913dcf1b6f0b3b78f5108d2e493ad0eee8ca\
     5c021711adc13d358e61133870fcd19c8e5c22403959782aa82e72aee53a3d491e3912ce27b27e1a85ea69c19a527d28f7934c9823b7e56f\
     dd657dac83fdc65bb22a98d843df73238919781b714c81a5e2afec71f5c54aa2a27c590ad94c03c1062d50efcffac743e3c8a3ae056846a1\
     d756eb862bf4224169d467c35215ade0afcc11e85fe629afb802c4786ff2e9c929bccf502b3d3b8876c6a11785cc398b389f1d86bdd9cb0b\
     d4ec13956ec3fa270d0203010001",
    "8df20e6961a16398b85a",
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_type::KeyType;
    use crate::x509::key::{generate, public};

    const ENTRY: &str = DEBIAN.1;

    fn debian() -> PublicKey {
        PublicKey::from_spki(&hex::decode(DEBIAN.0).unwrap()).unwrap()
    }

    #[test]
    fn a_key_that_debian_made_is_told_by_its_list_alone() {
        KnownKeys::default().check(&debian()).unwrap();
        let list = format!("# Key size: 2048\n{}\n  {ENTRY} # pid 1\r\n", "0".repeat(20));
        let mut lists = KnownKeys::default();
        lists.add(&list).unwrap();
        lists.add(ENTRY).unwrap();
        assert_eq!(lists.len(), 2, "the same entry twice is one");
        let refused = lists.check(&debian()).unwrap_err().to_string();
        assert!(refused.contains("CVE-2008-0166"), "{refused}");
        for good in [KeyType::Rsa2048, KeyType::EcP256, KeyType::Ed25519] {
            lists.check(&public(&generate(good).unwrap()).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_line_that_is_no_entry_is_named() {
        for (list, line) in [
            ("8df20e6961a16398b85", 1),
            ("# x\n\n8df20e6961a16398b85aa", 3),
            ("8df20e6961a16398b85a\n8df20e6961a16398b85g", 2),
            ("8df20e6961a16398b85a 8df20e6961a16398b85a", 1),
        ] {
            let refused = KnownKeys::default().add(list).unwrap_err().to_string();
            assert!(refused.contains(&format!("line {line} ")), "{refused}");
        }
    }
}
