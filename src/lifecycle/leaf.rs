//! What is read from a leaf that another CA issued, and whether it is what was ordered.

use openssl::pkey::PKey;
use openssl::x509::X509;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::window::Validity;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A parsed leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Lower-case hexadecimal, as in the DER's content octets.
    pub serial: String,
    /// From when to when.
    pub validity: Validity,
    /// The SAN's DNS names, lower case, sorted.
    pub dns_names: Vec<String>,
}

impl Leaf {
    /// Reads `der`.
    ///
    /// # Errors
    /// `Invalid` if it is not exactly one certificate.
    pub fn parse(der: &[u8]) -> Result<Self> {
        let wrong =
            |why: String| Error::invalid(format!("the issuer returned something that is no certificate: {why}"));
        let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| wrong(e.to_string()))?;
        if !rest.is_empty() {
            return Err(wrong("there are bytes behind it".to_owned()));
        }
        let mut dns_names = Vec::new();
        if let Some(san) = certificate
            .subject_alternative_name()
            .map_err(|e| wrong(e.to_string()))?
        {
            for name in &san.value.general_names {
                if let GeneralName::DNSName(name) = name {
                    dns_names.push(name.to_ascii_lowercase());
                }
            }
        }
        dns_names.sort_unstable();
        let validity = certificate.validity();
        Ok(Self {
            serial: hex::encode(certificate.raw_serial()),
            validity: Validity {
                not_before: Timestamp::from_unix(validity.not_before.timestamp()),
                not_after: Timestamp::from_unix(validity.not_after.timestamp()),
            },
            dns_names,
        })
    }
}

/// Reads a PEM chain, leaf first, into DER.
///
/// # Errors
/// `Invalid` if it is empty or broken.
pub fn parse_chain(pem: &str) -> Result<Vec<Vec<u8>>> {
    let wrong = |why: String| Error::invalid(format!("the issuer returned a chain that does not parse: {why}"));
    let chain = X509::stack_from_pem(pem.as_bytes())
        .and_then(|stack| {
            stack
                .iter()
                .map(|certificate| certificate.to_der())
                .collect::<Result<Vec<_>, _>>()
        })
        .map_err(|e| wrong(e.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    Ok(chain)
}

/// Checks that a chain is what was ordered: for our key, for exactly our names, valid now and for a while, each
/// certificate signed by the next. An issuer that returns anything else is never asked again at once.
///
/// # Errors
/// `Conflict`, naming what differs.
pub fn judge(chain: &[Vec<u8>], key: &Secret, names: &[String], now: Timestamp) -> Result<Leaf> {
    let wrong = |why: String| Error::conflict(format!("the issuer returned a certificate that was not ordered: {why}"));
    let unreadable = |e: openssl::error::ErrorStack| wrong(e.to_string());
    let certificates = chain
        .iter()
        .map(|der| X509::from_der(der))
        .collect::<Result<Vec<_>, _>>()
        .map_err(unreadable)?;
    let (Some(first), Some(der)) = (certificates.first(), chain.first()) else {
        return Err(wrong("the chain is empty".to_owned()));
    };
    let leaf = Leaf::parse(der)?;

    let key = PKey::private_key_from_pkcs8(key.expose())
        .map_err(|e| Error::internal("a stored leaf key does not parse").because(e))?;
    if !first.public_key().map_err(unreadable)?.public_eq(&key) {
        return Err(wrong("it is for another key".to_owned()));
    }
    let mut wanted: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    wanted.sort_unstable();
    if leaf.dns_names != wanted {
        return Err(wrong(format!(
            "it is for `{}` instead of `{}`",
            leaf.dns_names.join(", "),
            wanted.join(", ")
        )));
    }
    let Validity { not_before, not_after } = leaf.validity;
    if not_after <= now {
        return Err(wrong(format!("it expired at {not_after}")));
    }
    if leaf.validity.lifetime().as_secs() < SHORTEST_LIFETIME_S {
        return Err(wrong(format!(
            "it is valid from {not_before} to {not_after}, which is too short to renew"
        )));
    }
    for (lower, upper) in certificates.iter().zip(certificates.iter().skip(1)) {
        let signer = upper.public_key().map_err(unreadable)?;
        if !lower.verify(&signer).unwrap_or(false) {
            return Err(wrong("its chain is not signed link by link".to_owned()));
        }
    }
    Ok(leaf)
}

/// Below this many seconds there is no time to renew in.
const SHORTEST_LIFETIME_S: u64 = 10;

#[cfg(test)]
pub(crate) mod tests {
    use openssl::asn1::Asn1Time;
    use openssl::bn::{BigNum, MsbOption};
    use openssl::ec::{EcGroup, EcKey};
    use openssl::hash::MessageDigest;
    use openssl::nid::Nid;
    use openssl::x509::X509NameBuilder;
    use openssl::x509::extension::SubjectAlternativeName;

    use super::*;

    /// Certificate and PKCS#8 key, valid for `x.test` from `from` for `length` seconds.
    fn made(from: i64, length: i64) -> (Vec<u8>, Vec<u8>) {
        let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
        let key = PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap();
        let mut name = X509NameBuilder::new().unwrap();
        name.append_entry_by_text("CN", "x.test").unwrap();
        let name = name.build();
        let mut serial = BigNum::new().unwrap();
        serial.rand(80, MsbOption::MAYBE_ZERO, false).unwrap();
        let mut builder = X509::builder().unwrap();
        builder.set_version(2).unwrap();
        builder.set_serial_number(&serial.to_asn1_integer().unwrap()).unwrap();
        builder.set_subject_name(&name).unwrap();
        builder.set_issuer_name(&name).unwrap();
        builder.set_pubkey(&key).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(from).unwrap()).unwrap();
        builder
            .set_not_after(&Asn1Time::from_unix(from + length).unwrap())
            .unwrap();
        let san = SubjectAlternativeName::new()
            .dns("x.test")
            .build(&builder.x509v3_context(None, None))
            .unwrap();
        builder.append_extension(san).unwrap();
        builder.sign(&key, MessageDigest::sha256()).unwrap();
        (builder.build().to_der().unwrap(), key.private_key_to_pkcs8().unwrap())
    }

    pub(crate) fn self_signed() -> (Vec<u8>, Vec<u8>) {
        made(1_700_000_000, 1_000_000_000)
    }

    #[test]
    fn what_was_ordered_is_taken_and_anything_else_is_named() {
        let now = Timestamp::from_unix(1_750_000_000);
        let names = ["X.test".to_owned()];
        let (der, key) = self_signed();
        let key = Secret::new(key);
        let leaf = judge(std::slice::from_ref(&der), &key, &names, now).unwrap();
        assert_eq!(leaf.dns_names, ["x.test"]);
        assert_eq!(leaf.validity.lifetime().as_secs(), 1_000_000_000);

        let other = self_signed();
        let refused = |chain: &[Vec<u8>], key: &Secret, names: &[String]| {
            judge(chain, key, names, now).unwrap_err().public().to_owned()
        };
        assert!(refused(&[], &key, &names).contains("empty"));
        assert!(refused(std::slice::from_ref(&other.0), &key, &names).contains("another key"));
        assert!(
            refused(std::slice::from_ref(&der), &key, &["y.test".to_owned()]).contains("`x.test` instead of `y.test`")
        );
        assert!(refused(&[der, other.0], &key, &names).contains("link by link"));
        let (expired, old_key) = made(1_700_000_000, 1000);
        assert!(refused(&[expired], &Secret::new(old_key), &names).contains("expired at 2023-11-14"));
        let (short, short_key) = made(now.unix(), 5);
        assert!(refused(&[short], &Secret::new(short_key), &names).contains("too short"));
    }

    #[test]
    fn chains_are_read_from_pem() {
        let (der, _) = self_signed();
        let pem = String::from_utf8(X509::from_der(&der).unwrap().to_pem().unwrap()).unwrap();
        assert_eq!(parse_chain(&format!("{pem}\n{pem}")).unwrap(), [der.clone(), der]);
        assert!(parse_chain("").is_err());
    }
}
