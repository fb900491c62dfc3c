//! An issuing CA of ours below a root that is not: the request for its certificate, and what comes back judged before it
//! is used.

use std::time::Duration;

use der::Encode;
use der::asn1::{Any, BitString};
use rcgen::{CertificateParams, DistinguishedName, DnType};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use super::X509Error;
use super::chain::{self, Issuer};
use super::hierarchy::CaDeclaration;
use super::key::PublicKey;
use super::profile::Validity;
use super::tbs;
use crate::clock::Timestamp;

/// Longest chain taken, the root included.
const LONGEST: usize = 6;
/// How much of its life must be left.
const LEAST_LEFT: Duration = Duration::from_secs(86_400);
/// Signatures that collisions were made for (RFC 6194, RFC 6151).
const BROKEN: [&str; 5] = [
    "1.2.840.113549.1.1.2",
    "1.2.840.113549.1.1.4",
    "1.2.840.113549.1.1.5",
    "1.3.14.3.2.29",
    "1.2.840.10045.4.1",
];

/// The part of a request (RFC 2986 §4.1) that its key signs.
///
/// # Errors
/// `Build` if a part cannot be encoded.
pub fn to_be_signed(ca: &CaDeclaration, key: &PublicKey) -> Result<Vec<u8>, X509Error> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ca.organization.as_str());
    subject.push(DnType::CommonName, ca.common_name.as_str());
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    tbs::recorded(key, |recorder| params.serialize_request(recorder).map(drop))
}

/// The request with its signature, DER.
///
/// # Errors
/// `Signature` if the key did not make it, `Build` if a part cannot be encoded.
pub fn request(to_be_signed: &[u8], key: &PublicKey, signature: &[u8]) -> Result<Vec<u8>, X509Error> {
    use der::Decode;
    key.verify(to_be_signed, signature, "the request")?;
    let parts = [
        Any::from_der(to_be_signed).map_err(X509Error::build)?,
        Any::encode_from(&key.signature_algorithm()?).map_err(X509Error::build)?,
        Any::encode_from(&BitString::from_bytes(signature).map_err(X509Error::build)?).map_err(X509Error::build)?,
    ];
    parts.to_vec().to_der().map_err(X509Error::build)
}

/// A chain that was judged: what we may issue by.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Our own certificate.
    pub issuing: Issuer,
    /// DER, what stands between it and the root.
    pub above: Vec<Vec<u8>>,
    /// Where it ends.
    pub root: Issuer,
}

/// Judges a chain, ours first and the root last, for the key that asked for it.
///
/// # Errors
/// `Malformed` if a part is no certificate; `Refused`, saying what is wrong and with which.
pub fn accept(chain: &[Vec<u8>], spki: &[u8], now: Timestamp) -> Result<Accepted, X509Error> {
    let refuse = |why: String| Err(X509Error::Refused(why));
    if !(2..=LONGEST).contains(&chain.len()) {
        return refuse(format!(
            "the chain has {} certificates: give ours first, then what stands above it, and the root last, {LONGEST} at most",
            chain.len()
        ));
    }
    let mut issuers = Vec::with_capacity(chain.len());
    for (below, der) in chain.iter().enumerate() {
        let certificate = chain::parse(der)?;
        let name = certificate.subject().to_string();
        if below == 0 && certificate.public_key().raw != spki {
            return refuse(format!(
                "`{name}` is not for the key that asked: the first certificate must be the one for our request"
            ));
        }
        judge(&certificate, &name, below, now)?;
        issuers.push((name, Issuer::read(der)?));
    }
    for pair in issuers.windows(2) {
        if let [(name, below), (above_name, above)] = pair {
            if above.verify(below.der()).is_err() {
                return refuse(format!(
                    "`{name}` is not signed by `{above_name}`, which stands above it: give the chain in its order"
                ));
            }
            let (inner, outer): (Validity, Validity) = (below.validity(), above.validity());
            if inner.not_after > outer.not_after {
                return refuse(format!("`{name}` outlives `{above_name}`, which signed it"));
            }
        }
    }
    let mut issuers = issuers.into_iter();
    let (Some((_, issuing)), Some((root_name, root))) = (issuers.next(), issuers.next_back()) else {
        return refuse("the chain is empty".to_owned());
    };
    if root.verify(root.der()).is_err() {
        return refuse(format!(
            "`{root_name}` is the last and no root: it is not signed by itself"
        ));
    }
    Ok(Accepted {
        issuing,
        above: issuers.map(|(_, issuer)| issuer.der().to_vec()).collect(),
        root,
    })
}

/// Judges one certificate that has so many CAs below it.
fn judge(certificate: &X509Certificate<'_>, name: &str, below: usize, now: Timestamp) -> Result<(), X509Error> {
    let refuse = |why: String| Err(X509Error::Refused(why));
    let constraints = certificate
        .basic_constraints()
        .map_err(|e| X509Error::malformed("certificate", e))?;
    let Some(constraints) = constraints.filter(|constraints| constraints.value.ca) else {
        return refuse(format!("`{name}` is not a CA's: its basic constraints must say so"));
    };
    let room = constraints.value.path_len_constraint;
    if room.is_some_and(|room| usize::try_from(room).unwrap_or(usize::MAX) < below) {
        return refuse(format!(
            "the path length of `{name}` leaves no room for the {below} CAs below it"
        ));
    }
    let usage = certificate
        .key_usage()
        .map_err(|e| X509Error::malformed("certificate", e))?;
    if usage.is_none_or(|usage| !usage.value.key_cert_sign() || !usage.value.crl_sign()) {
        return refuse(format!(
            "`{name}` may not sign certificates and lists: its key usage must have keyCertSign and cRLSign"
        ));
    }
    // RFC 5280 §4.2: whoever does not know a critical extension must refuse what has it, and so would everybody below.
    for extension in certificate.extensions() {
        let is_known = !matches!(
            extension.parsed_extension(),
            ParsedExtension::UnsupportedExtension { .. }
        );
        if extension.critical && !is_known {
            return refuse(format!(
                "`{name}` has the critical extension {}, which is not known",
                extension.oid
            ));
        }
    }
    let algorithm = certificate.signature_algorithm.algorithm.to_id_string();
    if BROKEN.contains(&algorithm.as_str()) {
        return refuse(format!(
            "`{name}` is signed with SHA-1 or MD5: have it signed with SHA-256 or better"
        ));
    }
    let validity = chain::validity(certificate);
    if now < validity.not_before {
        return refuse(format!("`{name}` is not valid before {}", validity.not_before));
    }
    if validity.not_after < now + LEAST_LEFT {
        return refuse(format!(
            "`{name}` ends at {}: less than a day is left",
            validity.not_after
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, IsCa, KeyPair, KeyUsagePurpose};

    use super::*;
    use crate::x509::fixture::NOW;

    struct Ca {
        key: KeyPair,
        params: CertificateParams,
    }

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = (NOW - Duration::from_secs(60)).to_offset();
        params.not_after = (NOW + Duration::from_secs(86_400 * 365)).to_offset();
        params
    }

    impl Ca {
        fn new(name: &str, change: impl FnOnce(&mut CertificateParams)) -> Self {
            let mut params = params(name);
            change(&mut params);
            Self {
                key: KeyPair::generate().unwrap(),
                params,
            }
        }

        fn signed(&self, above: &Self) -> Vec<u8> {
            let issuer = rcgen::Issuer::from_params(&above.params, &above.key);
            self.params.signed_by(&self.key, &issuer).unwrap().der().to_vec()
        }

        fn spki(&self) -> Vec<u8> {
            use rcgen::PublicKeyData;
            self.key.subject_public_key_info()
        }
    }

    /// What is said of a chain of ours below a root, both changed.
    fn verdict(
        ours: impl FnOnce(&mut CertificateParams),
        root: impl FnOnce(&mut CertificateParams),
    ) -> Result<Accepted, X509Error> {
        let root = Ca::new("root", root);
        let ours = Ca::new("ours", ours);
        accept(&[ours.signed(&root), root.signed(&root)], &ours.spki(), NOW)
    }

    #[test]
    fn a_good_chain_is_taken_and_each_fault_is_named() {
        let accepted = verdict(|_| (), |_| ()).unwrap();
        assert!(accepted.above.is_empty());
        assert!(accepted.root.verify(accepted.issuing.der()).is_ok());

        let said = |verdict: Result<Accepted, X509Error>| verdict.unwrap_err().to_string();
        let no_room = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        for (why, verdict) in [
            (
                "not a CA's",
                verdict(|params| params.is_ca = IsCa::ExplicitNoCa, |_| ()),
            ),
            ("no room for the 1", verdict(|_| (), no_room)),
            (
                "keyCertSign",
                verdict(|params| params.key_usages = vec![KeyUsagePurpose::CrlSign], |_| ()),
            ),
            (
                "not valid before",
                verdict(
                    |params| params.not_before = (NOW + Duration::from_secs(60)).to_offset(),
                    |_| (),
                ),
            ),
            (
                "less than a day",
                verdict(
                    |params| params.not_after = (NOW + Duration::from_secs(60)).to_offset(),
                    |_| (),
                ),
            ),
            (
                "outlives",
                verdict(
                    |_| (),
                    |params| params.not_after = (NOW + Duration::from_secs(86_400 * 9)).to_offset(),
                ),
            ),
        ] {
            let said = said(verdict);
            assert!(said.contains(why), "{why}: {said}");
        }
        let critical = |params: &mut CertificateParams| {
            let mut unknown = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
            unknown.set_criticality(true);
            params.custom_extensions.push(unknown);
        };
        assert!(said(verdict(critical, |_| ())).contains("1.2.3.4"));
    }

    #[test]
    fn another_key_another_order_and_half_a_chain_are_refused() {
        let (root, middle, ours) = (
            Ca::new("root", |_| ()),
            Ca::new("middle", |_| ()),
            Ca::new("ours", |_| ()),
        );
        let (top, mid, own) = (root.signed(&root), middle.signed(&root), ours.signed(&middle));
        let accepted = accept(&[own.clone(), mid.clone(), top.clone()], &ours.spki(), NOW).unwrap();
        assert_eq!(accepted.above, std::slice::from_ref(&mid));
        let said = |chain: &[Vec<u8>], spki: &[u8]| accept(chain, spki, NOW).unwrap_err().to_string();
        assert!(said(&[own.clone(), mid.clone(), top.clone()], &middle.spki()).contains("not for the key"));
        assert!(said(&[own.clone(), top.clone()], &ours.spki()).contains("not signed by"));
        assert!(said(&[own.clone(), mid], &ours.spki()).contains("no root"));
        assert!(said(&[own], &ours.spki()).contains("1 certificates"));
    }
}
