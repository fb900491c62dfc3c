//! The rules about a certificate's key, what it may do, and whom it names.

use std::collections::BTreeSet;

use der::asn1::{Ia5StringRef, ObjectIdentifier, PrintableStringRef, Utf8StringRef};
use der::{Encode, Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityInfoAccessSyntax, ExtendedKeyUsage, KeyUsage, NameConstraints, SubjectAltName, SubjectKeyIdentifier,
};

use super::rules::{
    ID_CE_CRL_DISTRIBUTION_POINTS, ID_CE_EXT_KEY_USAGE, ID_CE_KEY_USAGE, ID_CE_NAME_CONSTRAINTS, ID_CE_NO_REV_AVAIL,
    ID_CE_SUBJECT_ALT_NAME, ID_CE_SUBJECT_KEY_IDENTIFIER, ID_PE_AUTHORITY_INFO_ACCESS, ensure,
};
use super::{Above, Subject, Verdict};
use crate::x509::chain::Facts;
use crate::x509::key::{PublicKey, PublicKeyKind};

const ID_AT_COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ID_AD_OCSP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1");
const SERVER_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT_AUTH: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");
const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

pub(super) fn public_key(subject: &Subject<'_>) -> Result<PublicKey, String> {
    let spki = subject.certificate.tbs_certificate().subject_public_key_info();
    PublicKey::from_spki(&spki.to_der().map_err(|e| e.to_string())?).map_err(|e| e.to_string())
}

/// The key is well encoded, on its curve, and not weak.
pub(super) fn subject_public_key(subject: &Subject<'_>) -> Verdict {
    public_key(subject).map(|_| ())
}

/// RFC 7093 §2, method 1: one key has one identifier wherever we certify it.
pub(super) fn subject_key_identifier_is_the_keys(subject: &Subject<'_>) -> Verdict {
    let Some((id, _)) = subject.extension::<SubjectKeyIdentifier>(ID_CE_SUBJECT_KEY_IDENTIFIER)? else {
        return Ok(());
    };
    ensure(id.0.as_bytes() == public_key(subject)?.id(), || {
        "the subject key identifier is not the key's".to_owned()
    })
}

/// EC keys encipher nothing, Edwards keys agree on nothing either.
pub(super) fn key_usage_fits_key(subject: &Subject<'_>) -> Verdict {
    let Some((usage, _)) = subject.extension::<KeyUsage>(ID_CE_KEY_USAGE)? else {
        return Ok(());
    };
    // What is wrong with the key itself is another rule's.
    let Ok(key) = public_key(subject) else { return Ok(()) };
    let enciphers = usage.key_encipherment() || usage.data_encipherment();
    let fits = match key.kind() {
        PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 => !enciphers,
        PublicKeyKind::Ed25519 => !enciphers && !usage.key_agreement(),
        PublicKeyKind::Rsa(_) => !usage.key_agreement(),
    };
    ensure(fits, || {
        format!("a key of kind {} cannot be used as the key usage says", key.kind())
    })
}

/// Each purpose needs a usage that serves it.
pub(super) fn key_usage_fits_purpose(subject: &Subject<'_>) -> Verdict {
    let (Some((usage, _)), Some((purposes, _))) = (
        subject.extension::<KeyUsage>(ID_CE_KEY_USAGE)?,
        subject.extension::<ExtendedKeyUsage>(ID_CE_EXT_KEY_USAGE)?,
    ) else {
        return Ok(());
    };
    let signs = usage.digital_signature();
    for purpose in &purposes.0 {
        let served = match *purpose {
            SERVER_AUTH => signs || usage.key_encipherment() || usage.key_agreement(),
            CLIENT_AUTH => signs || usage.key_agreement(),
            CODE_SIGNING => signs,
            TIME_STAMPING => signs || usage.non_repudiation(),
            _ => true,
        };
        ensure(served, || format!("no key usage serves the purpose {purpose}"))?;
    }
    Ok(())
}

/// Values of the subject are of the string types that may be issued, not empty, and a common name is not too long.
pub(super) fn subject_strings_are_well_formed(subject: &Subject<'_>) -> Verdict {
    for part in subject.certificate.tbs_certificate().subject().iter_rdn() {
        for attribute in part.iter() {
            let value = &attribute.value;
            let text = match value.tag() {
                Tag::Utf8String => value
                    .decode_as::<Utf8StringRef<'_>>()
                    .map(|text| text.as_str().to_owned()),
                Tag::PrintableString => value
                    .decode_as::<PrintableStringRef<'_>>()
                    .map(|text| text.as_str().to_owned()),
                // E-mail addresses and domain components (RFC 5280 §4.1.2.4, §4.1.2.6).
                Tag::Ia5String => value
                    .decode_as::<Ia5StringRef<'_>>()
                    .map(|text| text.as_str().to_owned()),
                tag => return Err(format!("the subject has a value of type {tag}")),
            }
            .map_err(|e| format!("the subject has a value that cannot be read: {e}"))?;
            let most = if attribute.oid == ID_AT_COMMON_NAME { 64 } else { 255 };
            ensure((1..=most).contains(&text.chars().count()), || {
                format!("the subject's `{text}` must have 1 to {most} characters")
            })?;
        }
    }
    Ok(())
}

/// What old software reads is what everybody else reads.
pub(super) fn common_name_is_an_alternative_name(subject: &Subject<'_>) -> Verdict {
    if subject.is_ca()? || subject.is_responder()? {
        return Ok(());
    }
    let names = alternative_names(subject)?;
    for part in subject.certificate.tbs_certificate().subject().iter_rdn() {
        for attribute in part.iter().filter(|attribute| attribute.oid == ID_AT_COMMON_NAME) {
            let Ok(text) = attribute.value.decode_as::<Utf8StringRef<'_>>() else {
                continue;
            };
            let stands = names.iter().any(|name| match name {
                GeneralName::DnsName(other) | GeneralName::Rfc822Name(other) => other.as_str() == text.as_str(),
                _ => false,
            });
            ensure(stands, || {
                format!("the common name `{}` is no alternative name", text.as_str())
            })?;
        }
    }
    Ok(())
}

pub(super) fn alternative_names_are_single(subject: &Subject<'_>) -> Verdict {
    let mut seen = BTreeSet::new();
    for name in alternative_names(subject)? {
        let der = name.to_der().map_err(|e| e.to_string())?;
        ensure(seen.insert(der), || {
            format!("the alternative name {name:?} stands there twice")
        })?;
    }
    Ok(())
}

fn alternative_names(subject: &Subject<'_>) -> Result<Vec<GeneralName>, String> {
    let names = subject.extension::<SubjectAltName>(ID_CE_SUBJECT_ALT_NAME)?;
    Ok(names.map(|(names, _)| names.0).unwrap_or_default())
}

pub(super) fn name_constraints(subject: &Subject<'_>) -> Verdict {
    let Some((constraints, critical)) = subject.extension::<NameConstraints>(ID_CE_NAME_CONSTRAINTS)? else {
        return Ok(());
    };
    ensure(subject.is_ca()?, || {
        "name constraints stand in a CA's certificate only".to_owned()
    })?;
    ensure(critical, || "the name constraints are not critical".to_owned())?;
    let some = |trees: &Option<Vec<_>>| trees.as_ref().is_some_and(|trees| !trees.is_empty());
    ensure(
        some(&constraints.permitted_subtrees) || some(&constraints.excluded_subtrees),
        || "the name constraints are empty".to_owned(),
    )
}

/// Names are those that the issuer may issue to; what is above it is asked where it is known.
pub(super) fn names_are_within_constraints(subject: &Subject<'_>) -> Verdict {
    let Above::Known(issuer) = subject.above else {
        return Ok(());
    };
    if issuer.constraints().is_empty() {
        return Ok(());
    }
    let der = subject.certificate.to_der().map_err(|e| e.to_string())?;
    let names = Facts::read(&der).map_err(|e| e.to_string())?.names;
    issuer.constraints().check(&names).map_err(|e| e.to_string())?;
    let nameless = subject.certificate.tbs_certificate().subject().is_empty();
    ensure(nameless || !issuer.constraints().are_about_subjects(), || {
        "the issuer's name constraints are about the subject, which is not empty".to_owned()
    })
}

/// What cannot be looked up as revoked says so, and names no place to look.
pub(super) fn no_revocation_available(subject: &Subject<'_>) -> Verdict {
    let extensions = subject.extensions();
    let Some(extension) = extensions
        .iter()
        .find(|extension| extension.extn_id == ID_CE_NO_REV_AVAIL)
    else {
        return Ok(());
    };
    ensure(!subject.is_ca()? && !extension.critical, || {
        "noRevAvail is critical, or stands in a CA's certificate".to_owned()
    })?;
    let listed = extensions
        .iter()
        .any(|other| other.extn_id == ID_CE_CRL_DISTRIBUTION_POINTS);
    let access = subject.extension::<AuthorityInfoAccessSyntax>(ID_PE_AUTHORITY_INFO_ACCESS)?;
    let asked = access.is_some_and(|(access, _)| access.0.iter().any(|entry| entry.access_method == ID_AD_OCSP));
    ensure(!listed && !asked, || {
        "noRevAvail stands beside an address of revocation lists or of OCSP".to_owned()
    })
}
