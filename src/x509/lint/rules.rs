//! The rules about a certificate's fields, one function each, in the order of RFC 5280, and the table of all.

use std::collections::BTreeSet;

use der::asn1::{Null, ObjectIdentifier, Utf8StringRef};
use der::{Decode, Encode};
use x509_cert::Version;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, AuthorityKeyIdentifier, BasicConstraints, CertificatePolicies, CrlDistributionPoints,
    ExtendedKeyUsage, KeyUsage, SubjectAltName, SubjectKeyIdentifier,
};
use x509_cert::time::Time;

use super::keys::{
    alternative_names_are_single, common_name_is_an_alternative_name, key_usage_fits_key, key_usage_fits_purpose,
    name_constraints, names_are_within_constraints, no_revocation_available, public_key,
    subject_key_identifier_is_the_keys, subject_public_key, subject_strings_are_well_formed,
};
use super::{Above, HOUSE, Lint, Subject, Verdict};
use crate::x509::X509Error;
use crate::x509::name::Name;
use crate::x509::serial::Serial;

pub(super) const ID_CE_SUBJECT_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.14");
pub(super) const ID_CE_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
pub(super) const ID_CE_SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
const ID_CE_BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
pub(super) const ID_CE_CRL_DISTRIBUTION_POINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.31");
pub(super) const ID_CE_NAME_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.30");
const ID_CE_CERTIFICATE_POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.32");
const ID_CE_AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");
pub(super) const ID_CE_EXT_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37");
pub(super) const ID_CE_NO_REV_AVAIL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.56");
/// A user principal name.
const UPN: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.311.20.2.3");
const ANY_EXTENDED_KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");
pub(super) const ID_PE_AUTHORITY_INFO_ACCESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.1.1");
const ID_PKIX_OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");
const ID_KP_OCSP_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.9");
/// Every extension that our certificates may carry; each is checked below.
const KNOWN: [ObjectIdentifier; 12] = [
    ID_CE_NAME_CONSTRAINTS,
    ID_CE_NO_REV_AVAIL,
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
    ($check:ident, $rule:expr) => {
        Lint {
            name: stringify!($check),
            rule: $rule,
            check: $check,
        }
    };
}

pub(super) const ALL: [Lint; 29] = [
    lint!(signature_algorithms_agree, "RFC 5280 §4.1.1.2"),
    lint!(version_is_3, "RFC 5280 §4.1.2.1"),
    lint!(serial_is_positive_and_unguessable, "RFC 5280 §4.1.2.2"),
    lint!(issuer_is_named, "RFC 5280 §4.1.2.4"),
    lint!(subject_strings_are_well_formed, "RFC 5280 §4.1.2.4"),
    lint!(validity_is_well_formed, "RFC 5280 §4.1.2.5"),
    lint!(empty_subject_has_critical_names, "RFC 5280 §4.1.2.6"),
    lint!(subject_public_key, "RFC 5280 §4.1.2.7"),
    lint!(unique_identifiers_are_absent, "RFC 5280 §4.1.2.8"),
    lint!(extensions_are_single, "RFC 5280 §4.2"),
    lint!(extensions_are_ours, HOUSE),
    lint!(authority_key_identifier, "RFC 5280 §4.2.1.1"),
    lint!(subject_key_identifier, "RFC 5280 §4.2.1.2"),
    lint!(subject_key_identifier_is_the_keys, HOUSE),
    lint!(key_usage, "RFC 5280 §4.2.1.3"),
    lint!(key_usage_fits_key, "RFC 8813 §3, RFC 9295 §3"),
    lint!(certificate_policies, "RFC 5280 §4.2.1.4"),
    lint!(subject_alternative_name, "RFC 5280 §4.2.1.6"),
    lint!(alternative_names_are_single, HOUSE),
    lint!(common_name_is_an_alternative_name, HOUSE),
    lint!(basic_constraints, "RFC 5280 §4.2.1.9"),
    lint!(name_constraints, "RFC 5280 §4.2.1.10"),
    lint!(names_are_within_constraints, "RFC 5280 §4.2.1.10"),
    lint!(extended_key_usage, "RFC 5280 §4.2.1.12"),
    lint!(key_usage_fits_purpose, "RFC 5280 §4.2.1.12"),
    lint!(crl_distribution_points, "RFC 5280 §4.2.1.13"),
    lint!(authority_information_access, "RFC 5280 §4.2.2.1"),
    lint!(no_revocation_available, "RFC 9608 §3"),
    lint!(ocsp_responder, HOUSE),
];

impl Subject<'_> {
    pub(super) fn extensions(&self) -> &[Extension] {
        self.certificate
            .tbs_certificate()
            .extensions()
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The decoded extension and whether it is critical.
    pub(super) fn extension<'a, T: Decode<'a, Error = der::Error>>(
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

    /// Whether all that should be there must be: a certificate of ours, or a CA's.
    fn is_strict(&self) -> Result<bool, String> {
        Ok(self.ours || self.is_ca()?)
    }

    /// The verdict on a part that is missing: CAs must have it, leaves of others need not.
    fn may_lack(&self, what: &str) -> Verdict {
        ensure(!self.is_strict()?, || format!("{what} is missing"))
    }

    pub(super) fn is_ca(&self) -> Result<bool, String> {
        Ok(self
            .extension::<BasicConstraints>(ID_CE_BASIC_CONSTRAINTS)?
            .is_some_and(|(constraints, _)| constraints.ca))
    }

    /// Whether it may sign OCSP answers for its issuer.
    pub(super) fn is_responder(&self) -> Result<bool, String> {
        Ok(self
            .extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)?
            .is_some_and(|(usage, _)| usage.0.contains(&ID_KP_OCSP_SIGNING)))
    }
}

pub(super) fn ensure(holds: bool, text: impl FnOnce() -> String) -> Verdict {
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
    // Others choose their hash.
    let expected = match subject.above {
        Above::Known(issuer) if subject.ours => issuer.key().signature_algorithms(),
        Above::Itself if subject.ours => public_key(subject)?.signature_algorithms(),
        Above::Itself | Above::Known(_) | Above::Unknown => return Ok(()),
    };
    let expected = expected.map_err(|e| e.to_string())?;
    ensure(expected.contains(inner), || {
        let by: Vec<String> = expected.iter().map(|one| one.oid.to_string()).collect();
        format!(
            "the algorithm is {}, the issuer's key signs by {}",
            inner.oid,
            by.join(" or ")
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
    ensure(!subject.ours || serial.as_bytes().len() >= 9, || {
        "it has fewer than 64 bits beside its first octet".to_owned()
    })
}

fn issuer_is_named(subject: &Subject<'_>) -> Verdict {
    let tbs = subject.certificate.tbs_certificate();
    let named = tbs.issuer().to_der().map_err(|e| e.to_string())?;
    let expected = match subject.above {
        Above::Known(issuer) => issuer.subject().to_vec(),
        Above::Itself => tbs.subject().to_der().map_err(|e| e.to_string())?,
        Above::Unknown => named.clone(),
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
    let issuer_end = match subject.above {
        Above::Known(issuer) if subject.ours => Some(issuer.validity().not_after.unix()),
        Above::Itself | Above::Known(_) | Above::Unknown => None,
    };
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

fn extensions_are_single(subject: &Subject<'_>) -> Verdict {
    let mut seen = BTreeSet::new();
    let twice = subject
        .extensions()
        .iter()
        .find(|extension| !seen.insert(extension.extn_id));
    twice.map_or(Ok(()), |extension| {
        Err(format!("extension {} stands there twice", extension.extn_id))
    })
}

fn extensions_are_ours(subject: &Subject<'_>) -> Verdict {
    let other = subject
        .extensions()
        .iter()
        .find(|extension| !KNOWN.contains(&extension.extn_id));
    other.map_or(Ok(()), |extension| {
        Err(format!("extension {} is not one of ours", extension.extn_id))
    })
}

fn authority_key_identifier(subject: &Subject<'_>) -> Verdict {
    let Some((id, critical)) = subject.extension::<AuthorityKeyIdentifier>(ID_CE_AUTHORITY_KEY_IDENTIFIER)? else {
        return ensure(!subject.ours && matches!(subject.above, Above::Itself), || {
            "the authority key identifier is missing".to_owned()
        });
    };
    ensure(!critical, || "the authority key identifier is critical".to_owned())?;
    let own = subject.extension::<SubjectKeyIdentifier>(ID_CE_SUBJECT_KEY_IDENTIFIER)?;
    let expected = match subject.above {
        Above::Known(issuer) => Some(issuer.key_id().to_vec()),
        Above::Itself => own.map(|(id, _)| id.0.as_bytes().to_vec()),
        Above::Unknown => return Ok(()),
    };
    ensure(id.key_identifier.map(|id| id.as_bytes().to_vec()) == expected, || {
        "the authority key identifier is not the issuer's subject key identifier".to_owned()
    })
}

fn subject_key_identifier(subject: &Subject<'_>) -> Verdict {
    let Some((id, critical)) = subject.extension::<SubjectKeyIdentifier>(ID_CE_SUBJECT_KEY_IDENTIFIER)? else {
        return subject.may_lack("the subject key identifier");
    };
    ensure(!critical, || "the subject key identifier is critical".to_owned())?;
    ensure(!id.0.as_bytes().is_empty(), || {
        "the subject key identifier is empty".to_owned()
    })
}

fn key_usage(subject: &Subject<'_>) -> Verdict {
    let Some((usage, critical)) = subject.extension::<KeyUsage>(ID_CE_KEY_USAGE)? else {
        return subject.may_lack("the key usage");
    };
    ensure(critical || !subject.ours, || "the key usage is not critical".to_owned())?;
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
        return ensure(!subject.ours || subject.is_ca()? || subject.is_responder()?, || {
            "the alternative names are missing".to_owned()
        });
    };
    ensure(!names.0.is_empty(), || "the alternative names are empty".to_owned())?;
    let empty_subject = subject.certificate.tbs_certificate().subject().is_empty();
    ensure(critical == empty_subject, || {
        "the alternative names are critical exactly if the subject is empty".to_owned()
    })?;
    for name in &names.0 {
        let as_made = |made: Result<Name, X509Error>, text: &str| {
            made.is_ok_and(|made| !subject.ours || made.to_string().trim_start_matches("upn:") == text)
        };
        let well_formed = match name {
            GeneralName::DnsName(dns) => as_made(Name::dns(dns.as_str()), dns.as_str()),
            GeneralName::UniformResourceIdentifier(uri) => Name::uri(uri.as_str()).is_ok(),
            GeneralName::IpAddress(octets) => matches!(octets.as_bytes().len(), 4 | 16),
            GeneralName::Rfc822Name(address) => as_made(Name::email(address.as_str()), address.as_str()),
            GeneralName::OtherName(other) if other.type_id == UPN => match other.value.decode_as::<Utf8StringRef<'_>>()
            {
                Ok(upn) => as_made(Name::upn(upn.as_str()), upn.as_str()),
                Err(_) => false,
            },
            _ => !subject.ours,
        };
        ensure(well_formed, || {
            format!("the alternative name {name:?} is not one that is issued")
        })?;
    }
    Ok(())
}

fn basic_constraints(subject: &Subject<'_>) -> Verdict {
    let Some((constraints, critical)) = subject.extension::<BasicConstraints>(ID_CE_BASIC_CONSTRAINTS)? else {
        return subject.may_lack("the basic constraints");
    };
    ensure(critical || !subject.is_strict()?, || {
        "the basic constraints are not critical".to_owned()
    })?;
    ensure(constraints.ca || constraints.path_len_constraint.is_none(), || {
        "a certificate that is no CA's has a path length".to_owned()
    })?;
    let Above::Known(issuer) = subject.above else {
        return Ok(());
    };
    ensure(!constraints.ca || issuer.path_length() != Some(0), || {
        "it is a CA's, and the path length of its issuer allows none below".to_owned()
    })
}

fn extended_key_usage(subject: &Subject<'_>) -> Verdict {
    let Some((usage, critical)) = subject.extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)? else {
        return ensure(!subject.ours || subject.is_ca()?, || {
            "the extended key usage is missing".to_owned()
        });
    };
    let any = usage.0.contains(&ANY_EXTENDED_KEY_USAGE);
    ensure(!usage.0.is_empty() && !(any && (critical || subject.ours)), || {
        "the extended key usage is empty, or names any purpose".to_owned()
    })
}

fn crl_distribution_points(subject: &Subject<'_>) -> Verdict {
    let Some((points, critical)) = subject.extension::<CrlDistributionPoints>(ID_CE_CRL_DISTRIBUTION_POINTS)? else {
        let unlisted = subject.extensions().iter().any(|it| it.extn_id == ID_CE_NO_REV_AVAIL);
        return ensure(
            !subject.ours || unlisted || subject.is_responder()? || matches!(subject.above, Above::Itself),
            || "the CRL distribution points are missing".to_owned(),
        );
    };
    ensure(!critical || !subject.ours, || {
        "the CRL distribution points are critical".to_owned()
    })?;
    ensure(!points.0.is_empty(), || {
        "the CRL distribution points are empty".to_owned()
    })?;
    for point in &points.0 {
        let http = match &point.distribution_point {
            Some(DistributionPointName::FullName(names)) => !names.is_empty() && names.iter().all(is_plain_http),
            Some(DistributionPointName::NameRelativeToCRLIssuer(_)) | None => false,
        };
        ensure(
            !subject.ours || http && point.reasons.is_none() && point.crl_issuer.is_none(),
            || "a CRL distribution point is not one full name by plain HTTP".to_owned(),
        )?;
    }
    Ok(())
}

fn authority_information_access(subject: &Subject<'_>) -> Verdict {
    let Some((access, critical)) = subject.extension::<AuthorityInfoAccessSyntax>(ID_PE_AUTHORITY_INFO_ACCESS)? else {
        return ensure(
            !subject.ours || matches!(subject.above, Above::Itself) || subject.is_responder()?,
            || "the authority information access is missing".to_owned(),
        );
    };
    ensure(!critical, || "the authority information access is critical".to_owned())?;
    ensure(
        !access.0.is_empty() && (!subject.ours || access.0.iter().all(|entry| is_plain_http(&entry.access_location))),
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
