//! To-be-signed certificates: every field is built from checked values, by rcgen through a key that only records.
//!
//! The bytes are deterministic. The same [`Tbs`] is signed by the lint's throw-away key and by the HSM, so what was
//! judged is what is issued.

use std::cell::RefCell;

use der::asn1::{Any, AnyRef, BitString, Ia5String, Null, ObjectIdentifier};
use der::{Decode, Encode, Sequence, SliceReader, Tag, Tagged};
use rcgen::{
    BasicConstraints, CertificateParams, CrlDistributionPoint, CustomExtension, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyUsagePurpose, OtherNameValue, PublicKeyData, SanType,
    SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::ext::pkix::certpolicy::PolicyInformation;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{AccessDescription, AuthorityInfoAccessSyntax, CertificatePolicies};
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::X509Error;
use super::chain::Issuer;
use super::hierarchy::{CaDeclaration, Pointers};
use super::key::PublicKey;
use super::name::Name;
use super::profile::{Profile, Validity};
use super::serial::Serial;
use super::usage::{ExtendedKeyUsage, KeyUsage};

const ID_PE_AUTHORITY_INFO_ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];
const ID_CE_NAME_CONSTRAINTS: &[u64] = &[2, 5, 29, 30];
const ID_CE_EXT_KEY_USAGE: &[u64] = &[2, 5, 29, 37];
/// RFC 9608 §2.
const ID_CE_NO_REV_AVAIL: &[u64] = &[2, 5, 29, 56];
/// The object identifier of a user principal name.
const UPN: &[u64] = &[1, 3, 6, 1, 4, 1, 311, 20, 2, 3];
const ID_CE_CERTIFICATE_POLICIES: &[u64] = &[2, 5, 29, 32];
const ID_PKIX_OCSP_NOCHECK: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 48, 1, 5];
const ID_AD_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const ID_AD_CA_ISSUERS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.2");

/// A DER `TBSCertificate`, to be signed as it says itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tbs(Vec<u8>);

/// What is asked for, once a profile has allowed it.
#[derive(Clone, Copy, Debug)]
pub struct Leaf<'a> {
    /// The subject's key.
    pub key: &'a PublicKey,
    /// The subject's names.
    pub names: &'a [Name],
    /// The URLs that stand in the certificate for good.
    pub pointers: &'a Pointers,
    /// The serial number, reserved for it.
    pub serial: &'a Serial,
    /// From when to when.
    pub validity: Validity,
}

/// RFC 5280 §4.1, with its parts kept as they are.
#[derive(Sequence)]
struct Signed {
    tbs: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
}

impl Tbs {
    /// Takes stored bytes back; [`Tbs::assemble`] judges them again.
    pub fn from_der(der: Vec<u8>) -> Self {
        Self(der)
    }

    /// The bytes that are signed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The certificate with `signature`, and a second opinion on it: x509-cert must decode it strictly and encode the
    /// same bytes.
    ///
    /// # Errors
    /// `Build` if it does not.
    pub fn assemble(&self, signature: &[u8]) -> Result<Vec<u8>, X509Error> {
        let certificate = assemble(&self.0, signature)?;
        decode(&certificate)?;
        Ok(certificate)
    }
}

/// Decodes a certificate strictly: it must encode to the same bytes again.
pub(super) fn decode(certificate: &[u8]) -> Result<Certificate, X509Error> {
    let decoded = Certificate::from_der(certificate).map_err(X509Error::build)?;
    if decoded.to_der().map_err(X509Error::build)? == certificate {
        Ok(decoded)
    } else {
        Err(X509Error::build(
            "it is not in DER: decoding and encoding it gives other bytes",
        ))
    }
}

/// SEQUENCE { tbs, the algorithm that stands in it, BIT STRING }, for certificates and CRLs.
pub(super) fn assemble(tbs: &[u8], signature: &[u8]) -> Result<Vec<u8>, X509Error> {
    let signed = Signed {
        tbs: Any::from_der(tbs).map_err(X509Error::build)?,
        algorithm: algorithm(tbs).map_err(X509Error::build)?,
        signature: BitString::from_bytes(signature).map_err(X509Error::build)?,
    };
    signed.to_der().map_err(X509Error::build)
}

/// The signature's algorithm, as it stands in what is signed: the first SEQUENCE of a certificate and of a CRL
/// (RFC 5280 §4.1, §5.1). Nothing behind it is read, for a CRL is long.
fn algorithm(tbs: &[u8]) -> der::Result<AlgorithmIdentifierOwned> {
    let mut reader = SliceReader::new(AnyRef::from_der(tbs)?.value())?;
    loop {
        let part = AnyRef::decode(&mut reader)?;
        if part.tag() == Tag::Sequence {
            return part.decode_as();
        }
    }
}

/// Records what is to be signed and signs nothing.
pub(super) struct Recorder<'a> {
    key: &'a PublicKey,
    recorded: RefCell<Vec<u8>>,
}

impl PublicKeyData for Recorder<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl SigningKey for Recorder<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        *self.recorded.borrow_mut() = message.to_vec();
        Ok(Vec::new())
    }
}

/// What `build` has a key sign.
pub(super) fn recorded(
    key: &PublicKey,
    build: impl FnOnce(&Recorder<'_>) -> Result<(), rcgen::Error>,
) -> Result<Vec<u8>, X509Error> {
    let recorder = recorder(key);
    build(&recorder).map_err(X509Error::build)?;
    Ok(recorder.recorded.into_inner())
}

fn recorder(key: &PublicKey) -> Recorder<'_> {
    Recorder {
        key,
        recorded: RefCell::new(Vec::new()),
    }
}

/// What was recorded, with the algorithm that the key signs by: rcgen cannot name RSASSA-PSS.
fn named(recorder: Recorder<'_>) -> Result<Tbs, X509Error> {
    let tbs = recorder.recorded.into_inner();
    if !recorder.key.is_pss() {
        return Ok(Tbs(tbs));
    }
    let mut parts = Vec::<Any>::from_der(&tbs).map_err(X509Error::build)?;
    let algorithm = parts.iter_mut().find(|part| part.tag() == Tag::Sequence);
    let algorithm = algorithm.ok_or_else(|| X509Error::build("it names no algorithm"))?;
    *algorithm = Any::encode_from(&recorder.key.signature_algorithm()?).map_err(X509Error::build)?;
    Ok(Tbs(parts.to_der().map_err(X509Error::build)?))
}

/// A subject's certificate under `profile`, issued by `issuer`. Names and key are judged by the profile once more.
///
/// # Errors
/// `Refused` for what the profile does not allow, `Build` if a part cannot be encoded.
pub fn leaf(profile: &Profile, issuer: &Issuer, leaf: Leaf<'_>) -> Result<Tbs, X509Error> {
    profile.check_names(leaf.names)?;
    profile.check_key(leaf.key)?;
    if leaf.validity.not_after > issuer.validity().not_after {
        return Err(X509Error::build("it would outlive its issuer"));
    }
    let mut subject = DistinguishedName::new();
    let fixed = profile.subject();
    for (kind, value) in [
        (DnType::CountryName, &fixed.country),
        (DnType::OrganizationName, &fixed.organization),
        (DnType::OrganizationalUnitName, &fixed.organizational_unit),
    ] {
        if let Some(value) = value {
            subject.push(kind, value.as_str());
        }
    }
    if let Some(name) = profile.common_name(leaf.names) {
        subject.push(DnType::CommonName, name);
    }
    let mut params = params(subject, leaf.key, leaf.serial, leaf.validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.subject_alt_names = leaf.names.iter().map(alternative_name).collect::<Result<_, _>>()?;
    params.key_usages = profile
        .key_usages()
        .iter()
        .map(|usage| match usage {
            KeyUsage::ContentCommitment => KeyUsagePurpose::ContentCommitment,
            KeyUsage::DigitalSignature => KeyUsagePurpose::DigitalSignature,
            KeyUsage::KeyAgreement => KeyUsagePurpose::KeyAgreement,
            KeyUsage::KeyEncipherment => KeyUsagePurpose::KeyEncipherment,
        })
        .collect();
    let usages: Vec<ObjectIdentifier> = profile
        .extended_key_usages()
        .iter()
        .map(ExtendedKeyUsage::oid)
        .collect();
    let usages = usages.to_der().map_err(X509Error::build)?;
    let mut extension = CustomExtension::from_oid_content(ID_CE_EXT_KEY_USAGE, usages);
    extension.set_criticality(profile.extended_key_usages_critical());
    params.custom_extensions.push(extension);
    add_pointers(&mut params, leaf.pointers, profile.has_revocation())?;
    if !profile.has_revocation() {
        params.crl_distribution_points.clear();
        let null = Null.to_der().map_err(X509Error::build)?;
        let extension = CustomExtension::from_oid_content(ID_CE_NO_REV_AVAIL, null);
        params.custom_extensions.push(extension);
    }
    if !profile.policies().is_empty() {
        let policies = profile
            .policies()
            .iter()
            .map(|oid| PolicyInformation {
                policy_identifier: *oid,
                policy_qualifiers: None,
            })
            .collect();
        let der = CertificatePolicies(policies).to_der().map_err(X509Error::build)?;
        let extension = CustomExtension::from_oid_content(ID_CE_CERTIFICATE_POLICIES, der);
        params.custom_extensions.push(extension);
    }
    signed_by(&params, leaf.key, issuer)
}

/// A root's certificate over its own `key`.
///
/// # Errors
/// `Build` if a part cannot be encoded.
pub fn root(ca: &CaDeclaration, key: &PublicKey, serial: &Serial, validity: Validity) -> Result<Tbs, X509Error> {
    let params = ca_params(ca, key, serial, validity, ca.path_length)?;
    let recorder = recorder(key);
    params.self_signed(&recorder).map_err(X509Error::build)?;
    named(recorder)
}

/// An issuing CA's certificate, issued by `issuer`.
///
/// # Errors
/// As [`root`].
pub fn issuing(
    ca: &CaDeclaration,
    key: &PublicKey,
    serial: &Serial,
    validity: Validity,
    issuer: &Issuer,
    pointers: &Pointers,
) -> Result<Tbs, X509Error> {
    let path_length = ca.path_length.unwrap_or(0);
    let mut params = ca_params(ca, key, serial, validity, Some(path_length))?;
    add_pointers(&mut params, pointers, false)?;
    signed_by(&params, key, issuer)
}

/// A root's certificate by another root (RFC 4210 §4.4): what stands below either leads to both.
///
/// # Errors
/// As [`root`].
pub fn cross(
    ca: &CaDeclaration,
    key: &PublicKey,
    serial: &Serial,
    validity: Validity,
    issuer: &Issuer,
    pointers: &Pointers,
) -> Result<Tbs, X509Error> {
    // It stands one further down than the root that it certifies.
    let path_length = ca.path_length.map(|length| length.saturating_sub(1));
    let mut params = ca_params(ca, key, serial, validity, path_length)?;
    add_pointers(&mut params, pointers, false)?;
    signed_by(&params, key, issuer)
}

fn signed_by(params: &CertificateParams, key: &PublicKey, issuer: &Issuer) -> Result<Tbs, X509Error> {
    let recorder = recorder(issuer.key());
    let signer =
        rcgen::Issuer::from_ca_cert_der(&CertificateDer::from(issuer.der()), &recorder).map_err(X509Error::build)?;
    params.signed_by(key, &signer).map_err(X509Error::build)?;
    named(recorder)
}

/// Every field is set here: rcgen's defaults (a validity from 1975 to 4096, a derived serial) are never kept.
fn params(subject: DistinguishedName, key: &PublicKey, serial: &Serial, validity: Validity) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.key_identifier_method = KeyIdMethod::PreSpecified(key.id());
    params.not_after = validity.not_after.to_offset();
    params.not_before = validity.not_before.to_offset();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(serial.as_bytes()));
    params.use_authority_key_identifier_extension = true;
    params
}

fn ca_params(
    ca: &CaDeclaration,
    key: &PublicKey,
    serial: &Serial,
    validity: Validity,
    path_length: Option<u8>,
) -> Result<CertificateParams, X509Error> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, ca.organization.as_str());
    subject.push(DnType::CommonName, ca.common_name.as_str());
    let mut params = params(subject, key, serial, validity);
    params.is_ca = IsCa::Ca(path_length.map_or(BasicConstraints::Unconstrained, BasicConstraints::Constrained));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    if !ca.constraints.is_empty() {
        // By hand: rcgen knows no URIs there.
        let mut extension = CustomExtension::from_oid_content(ID_CE_NAME_CONSTRAINTS, ca.constraints.to_der()?);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }
    Ok(params)
}

/// The certificate of an OCSP responder, issued by the CA that it answers for (RFC 6960 §4.2.2.2). Nobody asks whether
/// it is revoked, so that it names no list and no responder.
///
/// # Errors
/// As [`root`].
pub fn ocsp_responder(
    name: &str,
    key: &PublicKey,
    serial: &Serial,
    validity: Validity,
    issuer: &Issuer,
) -> Result<Tbs, X509Error> {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    let mut params = params(subject, key, serial, validity);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::OcspSigning];
    let null = der::asn1::Null.to_der().map_err(X509Error::build)?;
    let no_check = CustomExtension::from_oid_content(ID_PKIX_OCSP_NOCHECK, null);
    params.custom_extensions.push(no_check);
    signed_by(&params, key, issuer)
}

/// Subjects' certificates name the OCSP responder, those of CAs the list only: their issuer may be offline.
fn add_pointers(params: &mut CertificateParams, pointers: &Pointers, is_leaf: bool) -> Result<(), X509Error> {
    params.crl_distribution_points = vec![CrlDistributionPoint {
        uris: vec![pointers.crl.clone()],
    }];
    let access = |access_method, location| {
        Ok(AccessDescription {
            access_method,
            access_location: GeneralName::UniformResourceIdentifier(
                Ia5String::new(location).map_err(X509Error::build)?,
            ),
        })
    };
    let mut accesses = vec![access(ID_AD_CA_ISSUERS, &pointers.issuer)?];
    if is_leaf {
        accesses.push(access(ID_AD_OCSP, &pointers.ocsp)?);
    }
    let der = AuthorityInfoAccessSyntax(accesses).to_der().map_err(X509Error::build)?;
    let extension = CustomExtension::from_oid_content(ID_PE_AUTHORITY_INFO_ACCESS, der);
    params.custom_extensions.push(extension);
    Ok(())
}

pub(super) fn alternative_name(name: &Name) -> Result<SanType, X509Error> {
    Ok(match name {
        Name::Dns(dns) => SanType::DnsName(dns.as_str().try_into().map_err(X509Error::build)?),
        Name::Email(address) => SanType::Rfc822Name(address.as_str().try_into().map_err(X509Error::build)?),
        Name::Ip(ip) => SanType::IpAddress(*ip),
        Name::Upn(upn) => SanType::OtherName((UPN.to_vec(), OtherNameValue::Utf8String(upn.clone()))),
        Name::Uri(uri) => SanType::URI(uri.as_str().try_into().map_err(X509Error::build)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{Kept, NOW, YEAR, kept_key, names, profile, serial};
    use crate::x509::{fixture, lint};
    use std::fmt::Write as _;

    /// DER as an indented list of tags, lengths and values.
    fn dump(der: &[u8], depth: usize, into: &mut String) {
        let mut rest = der;
        while rest.len() >= 2 {
            let (tag, first) = (rest[0], usize::from(rest[1]));
            let (header, length) = if first < 0x80 {
                (2, first)
            } else {
                let count = first & 0x7f;
                (
                    2 + count,
                    rest[2..2 + count].iter().fold(0, |n, b| n * 256 + usize::from(*b)),
                )
            };
            let value = &rest[header..header + length];
            let text = match tag {
                6 => ObjectIdentifier::from_bytes(value).unwrap().to_string(),
                0x0c | 0x13 | 0x16 | 0x17 | 0x18 | 0x82 | 0x86 => String::from_utf8_lossy(value).into_owned(),
                _ if tag & 0x20 != 0 => String::new(),
                _ => hex::encode(value),
            };
            writeln!(into, "{:indent$}{tag:02x} {length} {text}", "", indent = depth * 2).unwrap();
            // Extension values are DER within an OCTET STRING.
            if tag & 0x20 != 0 || (tag == 4 && value.first() == Some(&0x30)) {
                dump(value, depth + 1, into);
            }
            rest = &rest[header + length..];
        }
    }

    fn golden(name: &str, tbs: &Tbs) {
        let mut text = String::new();
        dump(tbs.as_bytes(), 0, &mut text);
        // `dump` trims what has no value.
        let text: String = text.lines().map(|line| format!("{}\n", line.trim_end())).collect();
        let path = format!("{}/tests/golden/tbs/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        if std::env::var("GOLDEN").as_deref() == Ok("update") {
            std::fs::write(&path, &text).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text, kept,
            "{path} differs: look at the difference, then run with GOLDEN=update"
        );
    }

    fn responder(kept: &Kept) -> Tbs {
        let validity = Validity {
            not_before: NOW,
            not_after: NOW + YEAR / 12,
        };
        ocsp_responder(
            "internal-issuing-1 OCSP",
            &kept_key(2),
            &serial(4),
            validity,
            &kept.issuing,
        )
        .unwrap()
    }

    #[test]
    fn golden_to_be_signed() {
        let kept = Kept::new();
        golden("ocsp-responder", &responder(&kept));
        golden("root", &kept.root_tbs);
        golden("issuing", &kept.issuing_tbs);
        golden("issuing-constrained", &Kept::constrained().issuing_tbs);
        for (name, subject) in [
            (
                "server-tls",
                &["www.chancery.test", "*.apps.chancery.test", "10.0.0.1", "2001:db8::1"][..],
            ),
            ("client-tls", &["job.chancery.test", "https://jobs.test/7"][..]),
            ("svid", &["spiffe://chancery.test/app/web"][..]),
            ("mtls", &["peer.chancery.test", "10.0.0.1"][..]),
            ("server-short", &["www.chancery.test"][..]),
            ("user", &["jo@chancery.test", "upn:jo@corp.chancery.test"][..]),
            ("code-signing", &["builds@chancery.test"][..]),
        ] {
            golden(name, &kept.leaf(&profile(name), &names(subject)));
        }
    }

    #[test]
    fn r04_the_bytes_are_the_same_every_time() {
        let (one, two) = (Kept::new(), Kept::new());
        assert_eq!(one.root_tbs, two.root_tbs);
        assert_eq!(one.issuing_tbs, two.issuing_tbs);
        let (profile, names) = (profile("server-tls"), names(&["b.test", "a.test"]));
        assert_eq!(one.leaf(&profile, &names), two.leaf(&profile, &names));
    }

    #[test]
    fn all_that_is_built_passes_the_lints() {
        let kept = Kept::new();
        lint::twin(&kept.root_tbs, None).unwrap();
        lint::twin(&kept.issuing_tbs, Some(&kept.root)).unwrap();
        lint::twin(&Kept::constrained().issuing_tbs, Some(&kept.root)).unwrap();
        lint::twin(&responder(&kept), Some(&kept.issuing)).unwrap();
        let long = format!("{}.chancery.test", "a".repeat(60));
        for (name, subject) in [
            ("server-tls", &["www.chancery.test"][..]),
            ("server-tls", &[long.as_str()][..]),
            ("server-tls", &["::1"][..]),
            ("client-tls", &["https://a.test/b"][..]),
            ("svid", &["spiffe://chancery.test/app"][..]),
            ("mtls", &["a.test"][..]),
            ("server-short", &["*.a.test"][..]),
            ("user", &["a@b.test", "upn:a@b.test"][..]),
            ("user", &["upn:a@b.test"][..]),
            ("code-signing", &["a@b.test"][..]),
        ] {
            lint::twin(&kept.leaf(&profile(name), &names(subject)), Some(&kept.issuing)).unwrap();
        }
    }

    #[test]
    fn a_profile_fixes_the_rest_of_the_subject() {
        let text = include_str!("../../pki/profiles/user.toml").replace(
            "[names]",
            "subject = { country = \"DE\", organization = \"Chancery\" }\n[names]",
        );
        let profile = Profile::parse(&text).unwrap();
        let kept = Kept::new();
        let tbs = kept.leaf(&profile, &names(&["a@b.test"]));
        let twin = lint::twin(&tbs, Some(&kept.issuing)).unwrap();
        let facts = crate::x509::chain::Facts::read(&twin).unwrap();
        assert_eq!(facts.subject, "C=DE, O=Chancery, CN=a@b.test");
        assert_eq!(facts.names, names(&["a@b.test"]));
    }

    #[test]
    fn policies_of_a_profile_stand_in_the_certificate() {
        let text = include_str!("../../pki/profiles/server-tls.toml")
            .replace("[names]", "policies = [\"1.3.6.1.4.1.32473.1\"]\n[names]");
        let profile = Profile::parse(&text).unwrap();
        let kept = Kept::new();
        let tbs = kept.leaf(&profile, &names(&["a.test"]));
        lint::twin(&tbs, Some(&kept.issuing)).unwrap();
        let oid = hex::decode("06092b0601040181fd5901").unwrap();
        assert!(tbs.as_bytes().windows(oid.len()).any(|window| window == oid));
    }

    #[test]
    fn nothing_outlives_its_issuer() {
        let kept = Kept::new();
        let late = kept.issuing.validity().not_after - std::time::Duration::from_secs(3_600);
        let profile = profile("server-tls");
        let validity = profile.validity(late, None, kept.issuing.validity()).unwrap();
        assert_eq!(validity.not_after, kept.issuing.validity().not_after);
        let leaf = Leaf {
            key: &kept_key(2),
            names: &names(&["a.test"]),
            pointers: &kept.pointers,
            serial: &serial(9),
            validity: Validity {
                not_before: NOW,
                not_after: NOW + 30 * YEAR,
            },
        };
        assert!(tbs_error(super::leaf(&profile, &kept.issuing, leaf)).contains("outlive"));
    }

    fn tbs_error(result: Result<Tbs, X509Error>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn the_profile_is_asked_once_more_at_the_bytes() {
        let kept = Kept::new();
        let profile = profile("svid");
        let leaf = Leaf {
            key: &kept_key(2),
            names: &names(&["a.test"]),
            pointers: &kept.pointers,
            serial: &serial(9),
            validity: profile.validity(NOW, None, kept.issuing.validity()).unwrap(),
        };
        assert!(tbs_error(super::leaf(&profile, &kept.issuing, leaf)).contains("no host names"));
    }

    #[test]
    fn what_was_stored_assembles_to_the_same_certificate() {
        let (root, key) = fixture::signing_root();
        let profile = profile("server-tls");
        let leaf = Leaf {
            key: &kept_key(2),
            names: &names(&["a.test"]),
            pointers: &fixture::hierarchy().pointers("internal-root-1", 0),
            serial: &serial(9),
            validity: profile.validity(NOW, None, root.validity()).unwrap(),
        };
        let tbs = super::leaf(&profile, &root, leaf).unwrap();
        let signature = fixture::sign(&key, tbs.as_bytes());
        let certificate = tbs.assemble(&signature).unwrap();
        root.verify(&certificate).unwrap();
        let stored = Tbs::from_der(tbs.as_bytes().to_vec());
        assert_eq!(stored.assemble(&signature).unwrap(), certificate);
        let (other, _) = fixture::signing_root();
        assert!(other.verify(&certificate).is_err(), "another key of the same name");
        assert!(Tbs::from_der(vec![0x30, 0x00]).assemble(&signature).is_err());
    }
}
