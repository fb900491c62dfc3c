//! Certificate revocation lists, version 2 (RFC 5280 §5), built with x509-cert because rcgen cannot say all of it.

use std::fmt;
use std::str::FromStr;

use der::asn1::{Any, GeneralizedTime, OctetString, UtcTime};
use der::{DateTime, Decode, Encode, Sequence};
use x509_cert::crl::CertificateList;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, CrlReason};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::time::Time;
use x509_cert::{Version, crl::RevokedCert};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::X509Error;
use super::chain::Issuer;
use super::serial::Serial;
use super::tbs::{self, ECDSA_WITH_SHA256};
use crate::clock::Timestamp;

const ID_CE_CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const ID_CE_CRL_REASONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const ID_CE_AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.35");

/// Why a certificate was revoked: RFC 5280 §5.3.1. `certificateHold` and `removeFromCRL` are absent because a
/// revocation is final here; the reasons about CAs and attribute authorities because leaves are revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Not said; the reason is left out of the CRL, as the RFC asks.
    Unspecified,
    /// The key is, or may be, in other hands.
    KeyCompromise,
    /// The subject's name or other information changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// What was granted is withdrawn.
    PrivilegeWithdrawn,
}

impl Reason {
    /// All, in the RFC's order.
    pub const ALL: [Self; 6] = [
        Self::Unspecified,
        Self::KeyCompromise,
        Self::AffiliationChanged,
        Self::Superseded,
        Self::CessationOfOperation,
        Self::PrivilegeWithdrawn,
    ];

    /// Its code.
    pub const fn code(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::KeyCompromise => 1,
            Self::AffiliationChanged => 3,
            Self::Superseded => 4,
            Self::CessationOfOperation => 5,
            Self::PrivilegeWithdrawn => 9,
        }
    }

    /// The reason with this code.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key-compromise",
            Self::AffiliationChanged => "affiliation-changed",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessation-of-operation",
            Self::PrivilegeWithdrawn => "privilege-withdrawn",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Reason {
    type Err = X509Error;
    fn from_str(text: &str) -> Result<Self, X509Error> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::as_str).collect();
                X509Error::Refused(format!(
                    "`{}` is not a revocation reason: use {}",
                    text.escape_debug(),
                    names.join(", ")
                ))
            })
    }
}

/// One revoked certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub reason: Reason,
    /// Since when.
    pub revoked_at: Timestamp,
    /// Which.
    pub serial: Serial,
}

/// When a list was made, when the next is due, and its place in the order of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// Rises with every list of one issuer (RFC 5280 §5.2.3).
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next one is there at the latest.
    pub next_update: Timestamp,
}

/// RFC 5280 §5.1, with the issuer's name kept byte for byte.
#[derive(Sequence)]
struct TbsCertList {
    version: Version,
    signature: AlgorithmIdentifierOwned,
    issuer: Any,
    this_update: Time,
    next_update: Time,
    revoked: Option<Vec<RevokedCert>>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// The to-be-signed list of all that `issuer` revoked, to be signed with ECDSA on P-256 with SHA-256. It covers
/// everything the issuer signed, so it has no issuing distribution point.
///
/// # Errors
/// `Build` if a part cannot be encoded.
pub fn to_be_signed(issuer: &Issuer, issue: Issue, entries: &[Entry]) -> Result<Vec<u8>, X509Error> {
    if issue.next_update <= issue.this_update {
        return Err(X509Error::build("the next update of a CRL must be later than this one"));
    }
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(issuer.key_id()).map_err(X509Error::build)?),
        ..AuthorityKeyIdentifier::default()
    };
    let number = CrlNumber::try_from(issue.number).map_err(X509Error::build)?;
    let revoked = entries.iter().map(revoked).collect::<Result<Vec<_>, _>>()?;
    let list = TbsCertList {
        version: Version::V2,
        signature: AlgorithmIdentifierOwned {
            oid: ECDSA_WITH_SHA256,
            parameters: None,
        },
        issuer: Any::from_der(issuer.subject()).map_err(X509Error::build)?,
        this_update: time(issue.this_update)?,
        next_update: time(issue.next_update)?,
        // RFC 5280 §5.1.2.6: absent, not empty, when nothing is revoked.
        revoked: (!revoked.is_empty()).then_some(revoked),
        extensions: vec![
            extension(ID_CE_AUTHORITY_KEY_IDENTIFIER, &authority)?,
            extension(ID_CE_CRL_NUMBER, &number)?,
        ],
    };
    list.to_der().map_err(X509Error::build)
}

/// The list with `signature`, a DER `ECDSA-Sig-Value`, and a second opinion on it: x509-cert must decode it strictly and
/// encode the same bytes, and the signature must be the issuer's.
///
/// # Errors
/// `Build` if it does not; `Signature` if it is not.
pub fn assemble(issuer: &Issuer, to_be_signed: &[u8], signature: &[u8]) -> Result<Vec<u8>, X509Error> {
    let der = tbs::assemble(to_be_signed, signature)?;
    let decoded: CertificateList = CertificateList::from_der(&der).map_err(X509Error::build)?;
    if decoded.to_der().map_err(X509Error::build)? != der {
        return Err(X509Error::build(
            "the CRL is not in DER: decoding and encoding it gives other bytes",
        ));
    }
    let (_, list) = CertificateRevocationList::from_der(&der).map_err(X509Error::build)?;
    let (_, spki) = SubjectPublicKeyInfo::from_der(issuer.key().spki()).map_err(X509Error::build)?;
    list.verify_signature(&spki)
        .map_err(|_| X509Error::Signature("the CRL"))?;
    Ok(der)
}

fn revoked(entry: &Entry) -> Result<RevokedCert, X509Error> {
    let reason = match entry.reason {
        // RFC 5280 §5.3.1: absent instead of unspecified.
        Reason::Unspecified => None,
        Reason::KeyCompromise => Some(CrlReason::KeyCompromise),
        Reason::AffiliationChanged => Some(CrlReason::AffiliationChanged),
        Reason::Superseded => Some(CrlReason::Superseded),
        Reason::CessationOfOperation => Some(CrlReason::CessationOfOperation),
        Reason::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
    };
    let extensions = reason
        .map(|reason| extension(ID_CE_CRL_REASONS, &reason).map(|extension| vec![extension]))
        .transpose()?;
    Ok(RevokedCert {
        serial_number: SerialNumber::new(entry.serial.as_bytes()).map_err(X509Error::build)?,
        revocation_date: time(entry.revoked_at)?,
        crl_entry_extensions: extensions,
    })
}

fn extension(oid: ObjectIdentifier, value: &impl Encode) -> Result<Extension, X509Error> {
    let der = value.to_der().map_err(X509Error::build)?;
    Ok(Extension {
        extn_id: oid,
        critical: false,
        extn_value: OctetString::new(der).map_err(X509Error::build)?,
    })
}

/// RFC 5280 §5.1.2.4: UTCTime through 2049, GeneralizedTime from 2050 on.
fn time(at: Timestamp) -> Result<Time, X509Error> {
    let seconds = u64::try_from(at.unix()).map_err(X509Error::build)?;
    let date = DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map_err(X509Error::build)?;
    if date.year() < 2050 {
        return UtcTime::from_date_time(date)
            .map(Time::UtcTime)
            .map_err(X509Error::build);
    }
    Ok(Time::GeneralTime(GeneralizedTime::from_date_time(date)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{self, NOW, YEAR, serial};
    use std::time::Duration;

    fn issue(number: u64) -> Issue {
        Issue {
            number,
            this_update: NOW,
            next_update: NOW + Duration::from_secs(86_400),
        }
    }

    fn entries() -> Vec<Entry> {
        Reason::ALL
            .into_iter()
            .map(|reason| Entry {
                reason,
                revoked_at: NOW - Duration::from_secs(u64::from(reason.code())),
                serial: serial(0x10 + reason.code()),
            })
            .collect()
    }

    #[test]
    fn a_list_says_which_since_when_and_why() {
        let (root, key) = fixture::signing_root();
        let tbs = to_be_signed(&root, issue(7), &entries()).unwrap();
        let der = assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        assert_eq!(list.crl_number().unwrap().to_string(), "7");
        assert_eq!(list.issuer().as_raw(), root.subject());
        assert_eq!(list.next_update().unwrap().timestamp(), NOW.unix() + 86_400);
        let seen: Vec<_> = list
            .iter_revoked_certificates()
            .map(|entry| {
                let reason = entry.reason_code().map_or(0, |(_, reason)| reason.0);
                (entry.raw_serial().to_vec(), entry.revocation_date.timestamp(), reason)
            })
            .collect();
        let expected: Vec<_> = entries()
            .iter()
            .map(|entry| {
                (
                    entry.serial.as_bytes().to_vec(),
                    entry.revoked_at.unix(),
                    entry.reason.code(),
                )
            })
            .collect();
        assert_eq!(seen, expected);
        // The unspecified reason is left out, not written.
        assert!(list.iter_revoked_certificates().next().unwrap().reason_code().is_none());
    }

    #[test]
    fn an_empty_list_and_one_after_2049_are_well_formed() {
        let (root, key) = fixture::signing_root();
        for this_update in [NOW, NOW + 24 * YEAR] {
            let issue = Issue {
                number: 1,
                this_update,
                next_update: this_update + Duration::from_secs(60),
            };
            let tbs = to_be_signed(&root, issue, &[]).unwrap();
            assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
        }
    }

    #[test]
    fn another_key_or_a_step_back_in_time_makes_no_list() {
        let ((root, _), (_, other)) = (fixture::signing_root(), fixture::signing_root());
        let tbs = to_be_signed(&root, issue(1), &entries()).unwrap();
        let error = assemble(&root, &tbs, &fixture::sign(&other, &tbs)).unwrap_err();
        assert_eq!(error.to_string(), "the signature of the CRL does not verify");
        let back = Issue {
            next_update: NOW,
            ..issue(1)
        };
        assert!(to_be_signed(&root, back, &[]).is_err());
    }

    #[test]
    fn reasons_come_back_from_code_and_name() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason.code()), Some(reason));
            assert_eq!(reason.to_string().parse::<Reason>().unwrap(), reason);
        }
        assert_eq!(Reason::from_code(6), None, "a hold is no revocation");
        assert!(
            "certificate-hold"
                .parse::<Reason>()
                .unwrap_err()
                .to_string()
                .contains("use unspecified")
        );
    }
}
