//! Reading certificates: what a leaf says, who issued it, whether the signature holds. PEM is in [`pem`](super::pem).
//!
//! This reads certificates of others too (callers', upstream CAs'), so it takes names that we would never issue and
//! leaves out those that it does not know. It builds no paths: that is `identity`'s, by rustls-webpki.

use std::net::IpAddr;

use aws_lc_rs::digest;
use der::Decode;
use x509_parser::asn1_rs::Oid;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::X509Error;
use super::constraints::Constraints;
use super::key::{PublicKey, PublicKeyKind};
use super::name::Name;
use super::profile::Validity;
use super::serial::Serial;
use crate::clock::Timestamp;
use crate::key_type::KeyType;

/// The object identifier of a user principal name, as text.
const UPN: &str = "1.3.6.1.4.1.311.20.2.3";
const WHAT: &str = "certificate";

/// What a certificate says, as far as anybody here asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// SHA-256 of the whole DER, in hexadecimal.
    pub fingerprint: String,
    /// Whether it may issue (RFC 5280 §4.2.1.9).
    pub is_ca: bool,
    /// The issuer's name, as text.
    pub issuer: String,
    /// The authority key identifier in hexadecimal, if there is one (RFC 5280 §4.2.1.1).
    pub issuer_key_id: Option<String>,
    /// The subject key identifier in hexadecimal, if there is one (RFC 5280 §4.2.1.2).
    pub key_id: Option<String>,
    /// The names of the subject alternative name that are of kinds we know, in their order.
    pub names: Vec<Name>,
    /// The serial number in hexadecimal.
    pub serial: String,
    /// The SPIFFE ID, if the certificate has exactly one URI and it is a workload's (X509-SVID §2).
    pub spiffe_id: Option<String>,
    /// SHA-256 of the DER `SubjectPublicKeyInfo`, in hexadecimal.
    pub spki_sha256: String,
    /// The subject's name, as text; may be empty.
    pub subject: String,
    /// From when to when.
    pub validity: Validity,
}

impl Facts {
    /// Reads a DER certificate.
    ///
    /// # Errors
    /// `Malformed` if it is none, if bytes follow it, or if an extension stands in it twice.
    pub fn read(der: &[u8]) -> Result<Self, X509Error> {
        let certificate = parse(der)?;
        let mut facts = Self {
            fingerprint: sha256(der),
            is_ca: false,
            issuer: certificate.issuer().to_string(),
            issuer_key_id: None,
            key_id: None,
            names: Vec::new(),
            serial: Serial::from_der_content(certificate.raw_serial())?.to_string(),
            spiffe_id: None,
            spki_sha256: sha256(certificate.public_key().raw),
            subject: certificate.subject().to_string(),
            validity: validity(&certificate),
        };
        let mut uris = 0usize;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    facts.issuer_key_id = id.key_identifier.as_ref().map(|id| hex::encode(id.0));
                }
                ParsedExtension::SubjectKeyIdentifier(id) => facts.key_id = Some(hex::encode(id.0)),
                ParsedExtension::BasicConstraints(constraints) => facts.is_ca = constraints.ca,
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in &names.general_names {
                        uris += usize::from(matches!(name, GeneralName::URI(_)));
                        facts.names.extend(known_name(name));
                    }
                }
                _ => {}
            }
        }
        if uris == 1 {
            facts.spiffe_id = facts.names.iter().find(|name| name.is_spiffe()).map(Name::to_string);
        }
        Ok(facts)
    }
}

/// A CA certificate that issues: parsed once, used for each certificate and CRL.
#[derive(Clone, Debug)]
pub struct Issuer {
    constraints: Constraints,
    der: Vec<u8>,
    key: PublicKey,
    key_id: Vec<u8>,
    path_length: Option<u32>,
    subject: Vec<u8>,
    validity: Validity,
}

impl Issuer {
    /// Reads a DER CA certificate.
    ///
    /// # Errors
    /// `Malformed` if it is none; `Refused` if it is not a CA's, or has no subject key identifier.
    pub fn read(der: &[u8]) -> Result<Self, X509Error> {
        let certificate = parse(der)?;
        let basic = certificate
            .basic_constraints()
            .map_err(|e| X509Error::malformed(WHAT, e))?
            .filter(|constraints| constraints.value.ca);
        let Some(basic) = basic else {
            return Err(X509Error::Refused("the certificate is not a CA's".to_owned()));
        };
        let constraints = certificate
            .name_constraints()
            .map_err(|e| X509Error::malformed(WHAT, e))?
            .map(|constraints| Constraints::read(constraints.value));
        let key_id = certificate.iter_extensions().find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        });
        let Some(key_id) = key_id else {
            return Err(X509Error::Refused(
                "the CA certificate has no subject key identifier".to_owned(),
            ));
        };
        Ok(Self {
            constraints: constraints.unwrap_or_default(),
            der: der.to_vec(),
            key: PublicKey::from_spki(certificate.public_key().raw)?,
            key_id,
            path_length: basic.value.path_len_constraint,
            subject: certificate.subject().as_raw().to_vec(),
            validity: validity(&certificate),
        })
    }

    /// The same CA, with a key of this kind, which says by what it signs.
    #[must_use]
    pub fn signing_as(mut self, kind: KeyType) -> Self {
        self.key = self.key.signing_as(kind);
        self
    }

    /// The certificate.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Which names those may have that are below it, at any depth (RFC 5280 §4.2.1.10).
    pub fn constraints(&self) -> &Constraints {
        &self.constraints
    }

    /// How many CAs may stand between it and a subject; any number if nothing is said (RFC 5280 §4.2.1.9).
    pub fn path_length(&self) -> Option<u32> {
        self.path_length
    }

    /// Its key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its subject key identifier: the authority key identifier of all that it signs.
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// Its name in DER, repeated byte for byte in all that it signs.
    pub fn subject(&self) -> &[u8] {
        &self.subject
    }

    /// From when to when it may issue.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Verifies the signature of a DER certificate by this CA's key, and that it names this CA.
    ///
    /// # Errors
    /// `Malformed` if it is no certificate, `Signature` if it is not this CA's.
    pub fn verify(&self, der: &[u8]) -> Result<(), X509Error> {
        let certificate = parse(der)?;
        if certificate.issuer().as_raw() != self.subject {
            return Err(X509Error::Signature("a certificate that another CA is named in"));
        }
        let what = "the certificate";
        // x509-parser knows no P-521. Foreign CAs choose their hash; ours are in its list.
        if self.key.kind() == PublicKeyKind::EcP521 {
            let signed = certificate.tbs_certificate.as_ref();
            return self.key.verify(signed, &certificate.signature_value.data, what);
        }
        let (_, spki) =
            SubjectPublicKeyInfo::from_der(self.key.spki()).map_err(|e| X509Error::malformed("public key", e))?;
        certificate
            .verify_signature(Some(&spki))
            .map_err(|_| X509Error::Signature(what))
    }
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, X509Error> {
    let (rest, certificate) = X509Certificate::from_der(der).map_err(|e| X509Error::malformed(WHAT, e))?;
    if !rest.is_empty() {
        return Err(X509Error::malformed(WHAT, "bytes follow it"));
    }
    certificate
        .extensions_map()
        .map_err(|e| X509Error::malformed(WHAT, e))?;
    Ok(certificate)
}

/// The addresses of revocation lists that a DER certificate names (RFC 5280 §4.2.1.13).
///
/// # Errors
/// `Malformed` if it is no certificate.
pub fn crl_addresses(der: &[u8]) -> Result<Vec<String>, X509Error> {
    let certificate = parse(der)?;
    let mut addresses = Vec::new();
    for extension in certificate.extensions() {
        if let ParsedExtension::CRLDistributionPoints(points) = extension.parsed_extension() {
            for point in points.iter() {
                if let Some(DistributionPointName::FullName(names)) = &point.distribution_point {
                    addresses.extend(names.iter().filter_map(|name| match name {
                        GeneralName::URI(uri) => Some((*uri).to_owned()),
                        _ => None,
                    }));
                }
            }
        }
    }
    Ok(addresses)
}

/// The subject of a DER certificate in one spelling (RFC 4514, escaped, so that no two names share one).
///
/// # Errors
/// `Malformed` if it is no certificate.
pub fn subject(der: &[u8]) -> Result<String, X509Error> {
    let certificate = x509_cert::Certificate::from_der(der).map_err(|e| X509Error::malformed(WHAT, e))?;
    Ok(certificate.tbs_certificate().subject().to_string())
}

/// A name that somebody wrote, in the spelling of [`subject`].
///
/// # Errors
/// `Malformed` if it is none.
pub fn canonical_subject(text: &str) -> Result<String, X509Error> {
    text.parse::<x509_cert::name::Name>()
        .map(|name| name.to_string())
        .map_err(|e| X509Error::malformed("name", e))
}

pub(super) fn validity(certificate: &X509Certificate<'_>) -> Validity {
    let at = |time: &ASN1Time| Timestamp::from_unix(time.timestamp());
    Validity {
        not_before: at(&certificate.validity().not_before),
        not_after: at(&certificate.validity().not_after),
    }
}

/// The octets of an iPAddress: RFC 5280 §4.2.1.6.
pub(super) fn address(octets: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(octets)
        .map(IpAddr::from)
        .or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// The text of a user principal name: `[0] EXPLICIT UTF8String` under its object identifier.
pub(super) fn upn(oid: &Oid<'_>, value: &[u8]) -> Option<String> {
    if oid.to_id_string() != UPN {
        return None;
    }
    let any = der::asn1::AnyRef::from_der(value).ok()?;
    let text = der::asn1::Utf8StringRef::from_der(any.value()).ok()?;
    Some(text.as_str().to_owned())
}

fn known_name(name: &GeneralName<'_>) -> Option<Name> {
    match name {
        GeneralName::DNSName(text) => Name::dns(text).ok(),
        GeneralName::IPAddress(octets) => address(octets).map(Name::Ip),
        GeneralName::RFC822Name(text) => Name::email(text).ok(),
        GeneralName::URI(text) => Name::uri(text).ok(),
        GeneralName::OtherName(oid, value) => upn(oid, value).and_then(|upn| Name::upn(&upn).ok()),
        _ => None,
    }
}

/// SHA-256 in hexadecimal, as keys and certificates are known by.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{self, Kept, NOW, names, profile};
    use proptest::prelude::*;

    fn leaf(kept: &Kept, profile_name: &str, texts: &[&str]) -> Vec<u8> {
        let tbs = kept.leaf(&profile(profile_name), &names(texts));
        tbs.assemble(&hex::decode("3006020101020101").unwrap()).unwrap()
    }

    #[test]
    fn a_leaf_says_who_it_is_for() {
        let kept = Kept::new();
        let facts = Facts::read(&leaf(&kept, "svid", &["spiffe://chancery.test/app"])).unwrap();
        assert_eq!(facts.serial, "03".repeat(20));
        assert_eq!(facts.spiffe_id.as_deref(), Some("spiffe://chancery.test/app"));
        assert_eq!(facts.subject, "");
        assert!(!facts.is_ca);
        assert_eq!(facts.issuer_key_id, Some(hex::encode(kept.issuing.key_id())));
        assert_eq!(facts.validity.not_after.unix(), NOW.unix() + 3_599);
        assert_eq!(facts.spki_sha256.len(), 64);

        let texts = ["www.a.test", "10.0.0.1", "::1"];
        let facts = Facts::read(&leaf(&kept, "server-tls", &texts)).unwrap();
        assert_eq!(facts.names, names(&texts));
        assert_eq!(facts.spiffe_id, None);
        assert_eq!(facts.subject, "CN=www.a.test");

        let root = Facts::read(kept.root.der()).unwrap();
        assert!(root.is_ca);
        assert_eq!(root.key_id, root.issuer_key_id);
        assert_eq!(root.subject, root.issuer);
    }

    #[test]
    fn a_leaf_is_no_issuer_and_a_foreign_signature_does_not_verify() {
        let kept = Kept::new();
        let leaf = leaf(&kept, "server-tls", &["a.test"]);
        assert!(Issuer::read(&leaf).unwrap_err().to_string().contains("not a CA's"));
        assert!(matches!(
            kept.issuing.verify(&leaf),
            Err(X509Error::Signature("the certificate"))
        ));
        let (root, _) = fixture::signing_root();
        assert!(root.verify(&leaf).unwrap_err().to_string().contains("another CA"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..800)) {
            let _ = Facts::read(&bytes);
            let _ = Issuer::read(&bytes);
        }
    }

    #[test]
    fn changed_and_cut_certificates_never_panic() {
        let kept = Kept::new();
        let der = leaf(&kept, "server-tls", &["a.test", "10.0.0.1"]);
        for at in 0..der.len() {
            for to in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] = to;
                let _ = Facts::read(&changed);
                let _ = Issuer::read(&changed);
                let _ = kept.issuing.verify(&changed);
                let _ = crate::x509::lint::certificate(&changed, Some(&kept.issuing));
            }
            assert!(Facts::read(&der[..at]).is_err());
        }
    }
}
