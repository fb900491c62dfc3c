//! A revocation list that a root signed where its key is: read and judged before it is served.

use std::collections::BTreeSet;

use x509_parser::extensions::ParsedExtension;
use x509_parser::oid_registry::{OID_X509_EXT_ISSUER_DISTRIBUTION_POINT, Oid, asn1_rs::oid};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::X509Error;
use super::chain::Issuer;
use super::key::PublicKeyKind;
use super::serial::Serial;
use crate::clock::Timestamp;

const WHAT: &str = "revocation list";
const DELTA_CRL_INDICATOR: Oid<'static> = oid!(2.5.29.27);

/// What a list says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootList {
    /// Rises with every list of one issuer (RFC 5280 §5.2.3).
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// When the next one is there at the latest.
    pub next_update: Timestamp,
    /// The serials of what was revoked, lower-case hexadecimal.
    pub revoked: BTreeSet<String>,
}

/// Reads a DER list that must be the root's own, whole and good at `now`.
///
/// # Errors
/// `Malformed` if it is no list; `Signature` if it is not the root's; `Refused` if it is a part only (RFC 5280 §5.2.4,
/// §5.2.5), has no number, or is not good now.
pub fn read(root: &Issuer, der: &[u8], now: Timestamp) -> Result<RootList, X509Error> {
    let list = parse(der)?;
    if list.issuer().as_raw() != root.subject() {
        return Err(X509Error::Signature("a revocation list that another CA is named in"));
    }
    verify(root, &list)?;
    let read = says(&list)?;
    if read.this_update > now {
        return Err(refused(&format!(
            "is of {}, which is yet to come: look at the clocks",
            read.this_update
        )));
    }
    if read.next_update <= now {
        return Err(refused(&format!("was good until {}: make a new one", read.next_update)));
    }
    Ok(read)
}

/// What a DER list says, whoever signed it.
///
/// # Errors
/// As [`read`], but for signature and time.
pub fn inspect(der: &[u8]) -> Result<RootList, X509Error> {
    says(&parse(der)?)
}

fn refused(why: &str) -> X509Error {
    X509Error::Refused(format!("the revocation list {why}"))
}

fn parse(der: &[u8]) -> Result<CertificateRevocationList<'_>, X509Error> {
    let (rest, list) = CertificateRevocationList::from_der(der).map_err(|e| X509Error::malformed(WHAT, e))?;
    if rest.is_empty() {
        Ok(list)
    } else {
        Err(X509Error::malformed(WHAT, "bytes follow it"))
    }
}

fn says(list: &CertificateRevocationList<'_>) -> Result<RootList, X509Error> {
    let mut number = None;
    for extension in list.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::CRLNumber(found) => {
                number = u64::try_from(found)
                    .ok()
                    .filter(|number| i64::try_from(*number).is_ok());
            }
            _ if extension.oid == DELTA_CRL_INDICATOR => {
                return Err(refused("says what changed only: give the whole one"));
            }
            _ if extension.oid == OID_X509_EXT_ISSUER_DISTRIBUTION_POINT => {
                return Err(refused(
                    "is about a part of the certificates: give the one that is about all",
                ));
            }
            _ if extension.critical => {
                return Err(refused(&format!(
                    "has the critical extension {}, which is not known here",
                    extension.oid
                )));
            }
            _ => {}
        }
    }
    let number = number.ok_or_else(|| refused("has no number that can be compared: give it one below 2^63"))?;
    let next_update = list.next_update().map(|time| time.timestamp());
    let next_update =
        next_update.ok_or_else(|| refused("does not say when the next one comes: give it a next update"))?;
    // What is no serial number here is none of a certificate that was taken.
    let serial = |bytes: &[u8]| Serial::from_der_content(bytes).ok().map(|serial| serial.to_string());
    Ok(RootList {
        number,
        this_update: Timestamp::from_unix(list.last_update().timestamp()),
        next_update: Timestamp::from_unix(next_update),
        revoked: list
            .iter_revoked_certificates()
            .filter_map(|one| serial(one.raw_serial()))
            .collect(),
    })
}

fn verify(root: &Issuer, list: &CertificateRevocationList<'_>) -> Result<(), X509Error> {
    // x509-parser knows no P-521.
    if root.key().kind() == PublicKeyKind::EcP521 {
        let signed = list.tbs_cert_list.as_ref();
        return root.key().verify(signed, &list.signature_value.data, WHAT);
    }
    let (_, spki) =
        SubjectPublicKeyInfo::from_der(root.key().spki()).map_err(|e| X509Error::malformed("public key", e))?;
    list.verify_signature(&spki)
        .map_err(|_| X509Error::Signature("the revocation list"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::x509::crl::{self, Entries, Entry, Issue, Reason, Scope};
    use crate::x509::fixture::{self, NOW, serial};

    #[test]
    fn a_list_is_taken_if_it_is_the_roots_whole_and_good_now() {
        let (root, key) = fixture::signing_root();
        let (other, _) = fixture::signing_root();
        let day = Duration::from_secs(86_400);
        let issue = Issue {
            number: 7,
            this_update: NOW,
            next_update: NOW + day,
        };
        let mut entries = Entries::default();
        entries
            .push(&Entry {
                reason: Reason::Superseded,
                revoked_at: NOW,
                serial: serial(0x11),
            })
            .unwrap();
        let made = |scope: &Scope| {
            let tbs = crl::to_be_signed(&root, issue, scope, &entries).unwrap();
            crl::assemble(&root, &tbs, &fixture::sign(&key, &tbs)).unwrap()
        };
        let list = made(&Scope::Everything);
        let read_at = |now| read(&root, &list, now);
        let said = read_at(NOW).unwrap();
        assert_eq!((said.number, said.next_update), (7, NOW + day));
        assert_eq!(said.revoked, BTreeSet::from([serial(0x11).to_string()]));
        assert_eq!(inspect(&list).unwrap(), said);

        assert!(read_at(NOW - day).unwrap_err().to_string().contains("yet to come"));
        assert!(read_at(NOW + day).unwrap_err().to_string().contains("make a new one"));
        assert!(matches!(read(&other, &list, NOW), Err(X509Error::Signature(_))));
        let mut bent = list.clone();
        *bent.last_mut().unwrap() ^= 1;
        assert!(read(&root, &bent, NOW).is_err());
        let longer = [list.as_slice(), &[0]].concat();
        assert!(
            read(&root, &longer, NOW)
                .unwrap_err()
                .to_string()
                .contains("bytes follow")
        );
        let part = made(&Scope::Shard("http://a.test/0.crl".to_owned()));
        assert!(
            read(&root, &part, NOW)
                .unwrap_err()
                .to_string()
                .contains("is about a part")
        );
    }
}
