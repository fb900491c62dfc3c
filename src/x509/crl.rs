//! Certificate revocation lists, version 2 (RFC 5280 §5), built with x509-cert because rcgen cannot say all of it.

use std::fmt;
use std::str::FromStr;

use der::asn1::{Any, GeneralizedTime, Ia5String, OctetString, UtcTime};
use der::{DateTime, Decode, Encode, Sequence, Tag};
use x509_cert::crl::CertificateList;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::name::{DistributionPointName, GeneralName};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, CrlNumber, CrlReason, IssuingDistributionPoint};
use x509_cert::serial_number::SerialNumber;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier};
use x509_cert::time::Time;
use x509_cert::{Version, crl::RevokedCert};

use super::X509Error;
use super::chain::Issuer;
use super::serial::Serial;
use super::tbs;
use crate::clock::Timestamp;

const ID_CE_CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const ID_CE_CRL_REASONS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
const ID_CE_ISSUING_DISTRIBUTION_POINT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.28");
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

    /// As CRLs and OCSP answers say it: absent instead of unspecified (RFC 5280 §5.3.1).
    pub(super) const fn spelled(self) -> Option<CrlReason> {
        match self {
            Self::Unspecified => None,
            Self::KeyCompromise => Some(CrlReason::KeyCompromise),
            Self::AffiliationChanged => Some(CrlReason::AffiliationChanged),
            Self::Superseded => Some(CrlReason::Superseded),
            Self::CessationOfOperation => Some(CrlReason::CessationOfOperation),
            Self::PrivilegeWithdrawn => Some(CrlReason::PrivilegeWithdrawn),
        }
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

/// The entries of a list, each encoded once, when it is added: a list of 100,000 costs one copy of these bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries {
    /// Every `revokedCertificates` element, one behind the other.
    der: Vec<u8>,
    len: usize,
}

impl Entries {
    /// Adds an entry behind the others.
    ///
    /// # Errors
    /// `Build` if a part cannot be encoded.
    pub fn push(&mut self, entry: &Entry) -> Result<(), X509Error> {
        revoked(entry)?.encode_to_vec(&mut self.der).map_err(X509Error::build)?;
        self.len += 1;
        Ok(())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// Which of an issuer's certificates a list is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All: the list has no issuing distribution point.
    Everything,
    /// The subjects' certificates that name this address, which stands in the list as it stands in them, byte for byte
    /// (RFC 5280 §5.2.5).
    Shard(String),
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
    revoked: Option<Any>,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    extensions: Vec<Extension>,
}

/// The to-be-signed list of what `issuer` revoked within `scope`, to be signed as it says itself.
///
/// x509-cert gives a second opinion on everything but the entries, which [`Entries`] encoded: it must decode the list
/// without them strictly and encode the same bytes.
///
/// # Errors
/// `Build` if a part cannot be encoded, or if it does not.
pub fn to_be_signed(issuer: &Issuer, issue: Issue, scope: &Scope, entries: &Entries) -> Result<Vec<u8>, X509Error> {
    if issue.next_update <= issue.this_update {
        return Err(X509Error::build("the next update of a CRL must be later than this one"));
    }
    let authority = AuthorityKeyIdentifier {
        key_identifier: Some(OctetString::new(issuer.key_id()).map_err(X509Error::build)?),
        ..AuthorityKeyIdentifier::default()
    };
    let number = CrlNumber::try_from(issue.number).map_err(X509Error::build)?;
    let mut extensions = vec![
        extension(ID_CE_AUTHORITY_KEY_IDENTIFIER, false, &authority)?,
        extension(ID_CE_CRL_NUMBER, false, &number)?,
    ];
    if let Scope::Shard(address) = scope {
        let address = Ia5String::new(address).map_err(X509Error::build)?;
        let point = IssuingDistributionPoint {
            distribution_point: Some(DistributionPointName::FullName(vec![
                GeneralName::UniformResourceIdentifier(address),
            ])),
            only_contains_user_certs: true,
            only_contains_ca_certs: false,
            only_some_reasons: None,
            indirect_crl: false,
            only_contains_attribute_certs: false,
        };
        extensions.push(extension(ID_CE_ISSUING_DISTRIBUTION_POINT, true, &point)?);
    }
    let mut list = TbsCertList {
        version: Version::V2,
        signature: issuer.key().signature_algorithm()?,
        issuer: Any::from_der(issuer.subject()).map_err(X509Error::build)?,
        this_update: time(issue.this_update)?,
        next_update: time(issue.next_update)?,
        revoked: None,
        extensions,
    };
    let frame = list.to_der().map_err(X509Error::build)?;
    decode(&tbs::assemble(&frame, &[])?)?;
    // RFC 5280 §5.1.2.6: absent, not empty, when nothing is revoked.
    if entries.is_empty() {
        return Ok(frame);
    }
    list.revoked = Some(Any::new(Tag::Sequence, entries.der.as_slice()).map_err(X509Error::build)?);
    list.to_der().map_err(X509Error::build)
}

/// Decodes a list strictly: it must encode to the same bytes again.
fn decode(der: &[u8]) -> Result<CertificateList, X509Error> {
    let decoded = CertificateList::from_der(der).map_err(X509Error::build)?;
    if decoded.to_der().map_err(X509Error::build)? == der {
        Ok(decoded)
    } else {
        Err(X509Error::build(
            "the CRL is not in DER: decoding and encoding it gives other bytes",
        ))
    }
}

/// The list with `signature`, which must be the issuer's.
///
/// # Errors
/// `Signature` if it is not.
pub fn assemble(issuer: &Issuer, to_be_signed: &[u8], signature: &[u8]) -> Result<Vec<u8>, X509Error> {
    issuer.key().verify(to_be_signed, signature, "the CRL")?;
    tbs::assemble(to_be_signed, signature)
}

fn revoked(entry: &Entry) -> Result<RevokedCert, X509Error> {
    let extensions = entry
        .reason
        .spelled()
        .map(|reason| extension(ID_CE_CRL_REASONS, false, &reason).map(|extension| vec![extension]))
        .transpose()?;
    Ok(RevokedCert {
        serial_number: SerialNumber::new(entry.serial.as_bytes()).map_err(X509Error::build)?,
        revocation_date: time(entry.revoked_at)?,
        crl_entry_extensions: extensions,
    })
}

fn extension(oid: ObjectIdentifier, critical: bool, value: &impl Encode) -> Result<Extension, X509Error> {
    let der = value.to_der().map_err(X509Error::build)?;
    Ok(Extension {
        extn_id: oid,
        critical,
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
    use crate::x509::fixture::{self, Kept, NOW, YEAR, names, profile, serial};
    use std::time::Duration;
    use x509_parser::extensions::ParsedExtension;
    use x509_parser::prelude::FromDer;
    use x509_parser::revocation_list::CertificateRevocationList;

    fn issue(number: u64) -> Issue {
        Issue {
            number,
            this_update: NOW,
            next_update: NOW + Duration::from_secs(86_400),
        }
    }

    fn scope() -> Scope {
        Scope::Shard("http://pki.chancery.test/crl/internal-issuing-1/3.crl".to_owned())
    }

    fn encoded(entries: &[Entry]) -> Entries {
        let mut all = Entries::default();
        for entry in entries {
            all.push(entry).unwrap();
        }
        all
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
        let tbs = to_be_signed(&root, issue(7), &scope(), &encoded(&entries())).unwrap();
        let der = assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
        decode(&der).unwrap();
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

    /// L4: critical, of user certificates, and the address byte for byte as the certificates have it.
    #[test]
    fn a_list_names_its_own_address_as_the_certificates_do() {
        let (root, key) = fixture::signing_root();
        let kept = Kept::new();
        let leaf = kept.leaf(&profile("server-tls"), &names(&["a.test"]));
        let scope = Scope::Shard(kept.pointers.crl.clone());
        let tbs = to_be_signed(&root, issue(1), &scope, &Entries::default()).unwrap();
        let der = assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        let point = list
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "2.5.29.28")
            .unwrap();
        assert!(point.critical);
        let ParsedExtension::IssuingDistributionPoint(said) = point.parsed_extension() else {
            panic!("{point:?}");
        };
        assert!(said.only_contains_user_certs && !said.only_contains_ca_certs);
        // SEQUENCE { [0] { .. and [0] { [0] { [6] address } }, which both have.
        let name = &point.value[2..2 + 2 + usize::from(point.value[3])];
        assert!(name.ends_with(kept.pointers.crl.as_bytes()));
        let holds = |bytes: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        assert!(holds(leaf.as_bytes()) && holds(&der));

        let tbs = to_be_signed(&root, issue(1), &Scope::Everything, &Entries::default()).unwrap();
        let der = assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
        let (_, list) = CertificateRevocationList::from_der(&der).unwrap();
        assert_eq!(list.extensions().len(), 2);
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
            let tbs = to_be_signed(&root, issue, &scope(), &Entries::default()).unwrap();
            let der = assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap();
            // L2: absent, not empty.
            assert_eq!(decode(&der).unwrap().tbs_cert_list.revoked_certificates, None);
        }
    }

    #[test]
    fn another_key_or_a_step_back_in_time_makes_no_list() {
        let ((root, _), (_, other)) = (fixture::signing_root(), fixture::signing_root());
        let tbs = to_be_signed(&root, issue(1), &scope(), &encoded(&entries())).unwrap();
        let error = assemble(&root, &tbs, &fixture::sign(&other, &tbs)).unwrap_err();
        assert_eq!(error.to_string(), "the signature of the CRL does not verify");
        let back = Issue {
            next_update: NOW,
            ..issue(1)
        };
        assert!(to_be_signed(&root, back, &scope(), &Entries::default()).is_err());
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
