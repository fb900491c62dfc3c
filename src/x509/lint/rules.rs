//! The rules, one function each, in the order of RFC 5280.

use std::collections::BTreeSet;

use der::asn1::{Null, ObjectIdentifier};
use der::{Decode, Encode};
use x509_cert::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints,
    ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::time::Time;

use super::{Lint, Subject, Verdict};
use crate::x509::key::PublicKey;
use crate::x509::name::Name;
use crate::x509::serial::Serial;

const ID_CE_SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
const ID_CE_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const ID_CE_SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const ID_CE_BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const ID_CE_CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
const ID_CE_CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const ID_CE_AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
const ID_CE_EXT_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
const ID_PE_AUTHORITY_INFO_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const ID_PKIX_OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
const ID_KP_OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
/// Every extension that our certificates may carry; each is checked below.
const KNOWN: [ObjectIdentifier; 10] = [
    ID_CE_SUBJECT_KEY_IDENTIFIER,
    ID_CE_KEY_USAGE,
    ID_CE_SUBJECT_ALT_NAME,
    ID_CE_BASIC_CONSTRAINTS,
    ID_CE_CRL_DISTRIBUTION_POINTS,
    ID_CE_CERTIFICATE_POLICIES,
    ID_CE_AUTHORITY_KEY_IDENTIFIER,
    ID_CE_EXT_KEY_USAGE,
    ID_PE_AUTHORITY_INFO_ACCESS,
    ID_PKIX_OCSP_NOCHECK,
];

macro_rules! lint {
    ($check:ident, $section:literal) => {
        Lint {
            name: stringify!($check),
            section: $section,
            check: $check,
        }
    };
}

pub(super) const ALL: [Lint; 18] = [
    lint!(signature_algorithms_agree, "4.1.1.2"),
    lint!(version_is_3, "4.1.2.1"),
    lint!(serial_is_positive_and_unguessable, "4.1.2.2"),
    lint!(issuer_is_named, "4.1.2.4"),
    lint!(validity_is_well_formed, "4.1.2.5"),
    lint!(empty_subject_has_critical_names, "4.1.2.6"),
    lint!(unique_identifiers_are_absent, "4.1.2.8"),
    lint!(extensions_are_known_and_single, "4.2"),
    lint!(authority_key_identifier, "4.2.1.1"),
    lint!(subject_key_identifier, "4.2.1.2"),
    lint!(key_usage, "4.2.1.3"),
    lint!(certificate_policies, "4.2.1.4"),
    lint!(subject_alternative_name, "4.2.1.6"),
    lint!(basic_constraints, "4.2.1.9"),
    lint!(extended_key_usage, "4.2.1.12"),
    lint!(crl_distribution_points, "4.2.1.13"),
    lint!(authority_information_access, "4.2.2.1"),
    lint!(ocsp_responder, "4.2.1.12"),
];

impl Subject<'_> {
    fn extensions(&self) -> &[Extension] {
        self.certificate
            .tbs_certificate()
            .extensions()
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The decoded extension and whether it is critical.
    fn extension<'a, T: Decode<'a, Error = der::Error>>(
        &'a self,
        oid: ObjectIdentifier,
    ) -> Result<Option<(T, bool)>, String> {
        let Some(extension) = self.extensions().iter().find(|extension| extension.extn_id == oid) else {
            return Ok(None);
        };
        match T::from_der(extension.extn_value.as_bytes()) {
            Ok(value) => Ok(Some((value, extension.critical))),
            Err(e) => Err(format!("extension {oid} cannot be read: {e}")),
        }
    }

    fn is_ca(&self) -> Result<bool, String> {
        Ok(self
            .extension::<BasicConstraints>(ID_CE_BASIC_CONSTRAINTS)?
            .is_some_and(|(constraints, _)| constraints.ca))
    }

    /// Whether it may sign OCSP answers for its issuer.
    fn is_responder(&self) -> Result<bool, String> {
        Ok(self
            .extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)?
            .is_some_and(|(usage, _)| usage.0.contains(&ID_KP_OCSP_SIGNING)))
    }
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(text()) }
}

fn signature_algorithms_agree(subject: &Subject<'_>) -> Verdict {
    let (inner, outer) = (
        subject.certificate.tbs_certificate().signature(),
        subject.certificate.signature_algorithm(),
    );
    ensure(inner == outer, || {
        format!("the signed algorithm is {}, the outer one {}", inner.oid, outer.oid)
    })?;
    let own = || {
        let spki = subject.certificate.tbs_certificate().subject_public_key_info();
        PublicKey::from_spki(&spki.to_der().map_err(|e| e.to_string())?).map_err(|e| e.to_string())
    };
    let expected = match subject.issuer {
        Some(issuer) => issuer.key().signature_algorithm(),
        None => own()?.signature_algorithm(),
    };
    ensure(*inner == expected, || {
        format!(
            "the algorithm is {}, the issuer's key signs by {}",
            inner.oid, expected.oid
        )
    })
}

fn version_is_3(subject: &Subject<'_>) -> Verdict {
    let version = subject.certificate.tbs_certificate().version();
    ensure(version == Version::V3, || format!("the version is {version:?}"))
}

/// Positive and at most 20 octets; at least 64 random bits is the house's own rule.
fn serial_is_positive_and_unguessable(subject: &Subject<'_>) -> Verdict {
    let octets = subject.certificate.tbs_certificate().serial_number().as_bytes();
    let serial = Serial::from_der_content(octets).map_err(|e| e.to_string())?;
    ensure(serial.as_bytes().len() >= 9, || {
        "it has fewer than 64 bits beside its first octet".to_owned()
    })
}

fn issuer_is_named(subject: &Subject<'_>) -> Verdict {
    let tbs = subject.certificate.tbs_certificate();
    let named = tbs.issuer().to_der().map_err(|e| e.to_string())?;
    let expected = match subject.issuer {
        Some(issuer) => issuer.subject().to_vec(),
        None => tbs.subject().to_der().map_err(|e| e.to_string())?,
    };
    ensure(!tbs.issuer().is_empty(), || "the issuer's name is empty".to_owned())?;
    ensure(named == expected, || {
        "the issuer's name is not, byte for byte, the subject of the issuing CA".to_owned()
    })
}

fn validity_is_well_formed(subject: &Subject<'_>) -> Verdict {
    let validity = subject.certificate.tbs_certificate().validity();
    for time in [&validity.not_before, &validity.not_after] {
        let utc = matches!(time, Time::UtcTime(_));
        ensure(utc == (time.to_date_time().year() < 2050), || {
            format!("{time} must be UTCTime through 2049 and GeneralizedTime from 2050 on")
        })?;
    }
    let (start, end) = (
        validity.not_before.to_unix_duration(),
        validity.not_after.to_unix_duration(),
    );
    ensure(start <= end, || "it ends before it starts".to_owned())?;
    let issuer_end = subject.issuer.map(|issuer| issuer.validity().not_after.unix());
    ensure(
        issuer_end.is_none_or(|at| i64::try_from(end.as_secs()).is_ok_and(|end| end <= at)),
        || "it outlives its issuer".to_owned(),
    )
}

fn empty_subject_has_critical_names(subject: &Subject<'_>) -> Verdict {
    if !subject.certificate.tbs_certificate().subject().is_empty() {
        return Ok(());
    }
    ensure(!subject.is_ca()?, || "the subject of a CA is empty".to_owned())?;
    let names = subject.extension::<SubjectAltName>(ID_CE_SUBJECT_ALT_NAME)?;
    ensure(names.is_some_and(|(_, critical)| critical), || {
        "the subject is empty and the alternative names are not critical".to_owned()
    })
}

fn unique_identifiers_are_absent(subject: &Subject<'_>) -> Verdict {
    let tbs = subject.certificate.tbs_certificate();
    ensure(
        tbs.issuer_unique_id().is_none() && tbs.subject_unique_id().is_none(),
        || "unique identifiers must not be generated".to_owned(),
    )
}

fn extensions_are_known_and_single(subject: &Subject<'_>) -> Verdict {
    let mut seen = BTreeSet::new();
    for extension in subject.extensions() {
        let oid = extension.extn_id;
        ensure(seen.insert(oid), || format!("extension {oid} stands there twice"))?;
        ensure(KNOWN.contains(&oid), || format!("extension {oid} is not one of ours"))?;
    }
    Ok(())
}

fn authority_key_identifier(subject: &Subject<'_>) -> Verdict {
    let Some((id, critical)) = subject.extension::<AuthorityKeyIdentifier>(ID_CE_AUTHORITY_KEY_IDENTIFIER)? else {
        return Err("the authority key identifier is missing".to_owned());
    };
    ensure(!critical, || "the authority key identifier is critical".to_owned())?;
    let own = subject.extension::<SubjectKeyIdentifier>(ID_CE_SUBJECT_KEY_IDENTIFIER)?;
    let expected = match subject.issuer {
        Some(issuer) => Some(issuer.key_id().to_vec()),
        None => own.map(|(id, _)| id.0.as_bytes().to_vec()),
    };
    ensure(id.key_identifier.map(|id| id.as_bytes().to_vec()) == expected, || {
        "the authority key identifier is not the issuer's subject key identifier".to_owned()
    })
}

fn subject_key_identifier(subject: &Subject<'_>) -> Verdict {
    let Some((id, critical)) = subject.extension::<SubjectKeyIdentifier>(ID_CE_SUBJECT_KEY_IDENTIFIER)? else {
        return Err("the subject key identifier is missing".to_owned());
    };
    ensure(!critical, || "the subject key identifier is critical".to_owned())?;
    ensure(!id.0.as_bytes().is_empty(), || {
        "the subject key identifier is empty".to_owned()
    })
}

fn key_usage(subject: &Subject<'_>) -> Verdict {
    let Some((usage, critical)) = subject.extension::<KeyUsage>(ID_CE_KEY_USAGE)? else {
        return Err("the key usage is missing".to_owned());
    };
    ensure(critical, || "the key usage is not critical".to_owned())?;
    ensure(!usage.0.is_empty(), || "the key usage sets no bit".to_owned())?;
    ensure(usage.key_cert_sign() == subject.is_ca()?, || {
        "keyCertSign stands in a CA's certificate and in no other".to_owned()
    })
}

fn certificate_policies(subject: &Subject<'_>) -> Verdict {
    let Some((policies, _)) = subject.extension::<CertificatePolicies>(ID_CE_CERTIFICATE_POLICIES)? else {
        return Ok(());
    };
    let distinct: BTreeSet<ObjectIdentifier> = policies.0.iter().map(|policy| policy.policy_identifier).collect();
    ensure(!distinct.is_empty() && distinct.len() == policies.0.len(), || {
        "the policies are empty, or one stands there twice".to_owned()
    })
}

fn subject_alternative_name(subject: &Subject<'_>) -> Verdict {
    let Some((names, critical)) = subject.extension::<SubjectAltName>(ID_CE_SUBJECT_ALT_NAME)? else {
        return ensure(subject.is_ca()? || subject.is_responder()?, || {
            "the alternative names are missing".to_owned()
        });
    };
    ensure(!names.0.is_empty(), || "the alternative names are empty".to_owned())?;
    let empty_subject = subject.certificate.tbs_certificate().subject().is_empty();
    ensure(critical == empty_subject, || {
        "the alternative names are critical exactly if the subject is empty".to_owned()
    })?;
    for name in &names.0 {
        let well_formed = match name {
            GeneralName::DnsName(dns) => Name::dns(dns.as_str()).is_ok_and(|parsed| parsed.to_string() == dns.as_str()),
            GeneralName::UniformResourceIdentifier(uri) => Name::uri(uri.as_str()).is_ok(),
            GeneralName::IpAddress(octets) => matches!(octets.as_bytes().len(), 4 | 16),
            _ => false,
        };
        ensure(well_formed, || {
            format!("the alternative name {name:?} is not one that is issued")
        })?;
    }
    Ok(())
}

fn basic_constraints(subject: &Subject<'_>) -> Verdict {
    let Some((constraints, critical)) = subject.extension::<BasicConstraints>(ID_CE_BASIC_CONSTRAINTS)? else {
        return Err("the basic constraints are missing".to_owned());
    };
    ensure(critical, || "the basic constraints are not critical".to_owned())?;
    ensure(constraints.ca || constraints.path_len_constraint.is_none(), || {
        "a certificate that is no CA's has a path length".to_owned()
    })
}

fn extended_key_usage(subject: &Subject<'_>) -> Verdict {
    let Some((usage, _)) = subject.extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)? else {
        return ensure(subject.is_ca()?, || "the extended key usage is missing".to_owned());
    };
    ensure(
        !usage.0.is_empty() && !usage.0.contains(&ANY_EXTENDED_KEY_USAGE),
        || "the extended key usage is empty or names any purpose".to_owned(),
    )
}

fn crl_distribution_points(subject: &Subject<'_>) -> Verdict {
    let Some((points, critical)) = subject.extension::<CrlDistributionPoints>(ID_CE_CRL_DISTRIBUTION_POINTS)? else {
        return ensure(subject.issuer.is_none() || subject.is_responder()?, || {
            "the CRL distribution points are missing".to_owned()
        });
    };
    ensure(!critical, || "the CRL distribution points are critical".to_owned())?;
    ensure(!points.0.is_empty(), || {
        "the CRL distribution points are empty".to_owned()
    })?;
    for point in &points.0 {
        let http = match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => !names.is_empty() && names.iter().all(is_plain_http),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => false,
        };
        ensure(http && point.reasons.is_none() && point.crl_issuer.is_none(), || {
            "a CRL distribution point is not one full name by plain HTTP".to_owned()
        })?;
    }
    Ok(())
}

fn authority_information_access(subject: &Subject<'_>) -> Verdict {
    let Some((access, critical)) = subject.extension::<AuthorityInfoAccessSyntax>(ID_PE_AUTHORITY_INFO_ACCESS)? else {
        return ensure(subject.issuer.is_none() || subject.is_responder()?, || {
            "the authority information access is missing".to_owned()
        });
    };
    ensure(!critical, || "the authority information access is critical".to_owned())?;
    ensure(
        !access.0.is_empty() && access.0.iter().all(|entry| is_plain_http(&entry.access_location)),
        || "the authority information access is empty or not by plain HTTP".to_owned(),
    )
}

/// RFC 6960 §4.2.2.2 and §4.2.2.2.1: who signs answers does nothing else, and nobody asks about it.
fn ocsp_responder(subject: &Subject<'_>) -> Verdict {
    let no_check = subject.extension::<Null>(ID_PKIX_OCSP_NOCHECK)?;
    if !subject.is_responder()? {
        return ensure(no_check.is_none(), || {
            "it is not to be checked for revocation and is no OCSP responder's".to_owned()
        });
    }
    let only = subject
        .extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)?
        .is_some_and(|(usage, _)| usage.0.len() == 1);
    ensure(no_check.is_some_and(|(_, critical)| !critical), || {
        "an OCSP responder's certificate must say, not critically, that it is not to be checked".to_owned()
    })?;
    let points = [ID_CE_CRL_DISTRIBUTION_POINTS, ID_PE_AUTHORITY_INFO_ACCESS];
    let named = subject.extensions().iter().any(|it| points.contains(&it.extn_id));
    ensure(only && !named && !subject.is_ca()?, || {
        "an OCSP responder's certificate has another purpose, or says where it could be checked".to_owned()
    })
}

fn is_plain_http(name: &GeneralName) -> bool {
    matches!(name, GeneralName::UniformResourceIdentifier(uri) if uri.as_str().starts_with("http://"))
}
