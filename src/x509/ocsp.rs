//! OCSP requests and responses (RFC 6960, in the profile of RFC 9919), built with der because no crate of ours says them.
//!
//! A request is what strangers send: it is bounded before it is parsed, and whatever is wrong with it is one refusal.
//! A response names its signer by key, and echoes each certificate's id as it was asked for, SHA-1 or SHA-256.

use aws_lc_rs::digest::{self, digest};
use der::asn1::{Any, BitString, GeneralizedTime, Int, Null, ObjectIdentifier, OctetString};
use der::{Choice, Decode, Encode, Sequence, Tag};
use rcgen::PublicKeyData;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::CrlReason;
use x509_cert::spki::AlgorithmIdentifierOwned;

use super::X509Error;
use super::chain::Issuer;
use super::crl::Reason;
use super::key::PublicKey;
use super::serial::Serial;
use crate::clock::Timestamp;

/// The longest request, in bytes of DER: sixteen certificates and a nonce take half of it.
pub const LONGEST: usize = 4096;
/// The most certificates that one request may ask about.
const MOST: usize = 16;
/// RFC 9654 §2.1.
const LONGEST_NONCE: usize = 128;

const ID_PKIX_OCSP_BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");
const ID_PKIX_OCSP_NONCE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.2");
const ID_SHA1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.14.3.2.26");
const ID_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");

/// Why nothing is answered (RFC 6960 §4.2.1, `OCSPResponseStatus`). Never signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request is none, or is too long.
    MalformedRequest = 1,
    /// A fault of ours.
    InternalError = 2,
    /// Too many ask for an answer of their own, or the key is away.
    TryLater = 3,
    /// The certificate is not one that this responder knows (§2.3).
    Unauthorized = 6,
}

impl Refusal {
    /// The whole response, DER.
    pub const fn to_der(self) -> [u8; 5] {
        [0x30, 3, 0x0a, 1, self as u8]
    }
}

/// Which certificate: RFC 6960 §4.1.1, kept as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Sequence)]
pub struct CertId {
    hash_algorithm: AlgorithmIdentifierOwned,
    issuer_name_hash: OctetString,
    issuer_key_hash: OctetString,
    serial: Int,
}

impl CertId {
    /// Whether it is about a certificate of that issuer.
    pub fn is_of(&self, issuer: &Issuer) -> bool {
        let algorithm = match self.hash_algorithm.oid {
            ID_SHA1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            ID_SHA256 => &digest::SHA256,
            _ => return false,
        };
        self.issuer_name_hash.as_bytes() == digest(algorithm, issuer.subject()).as_ref()
            && self.issuer_key_hash.as_bytes() == digest(algorithm, issuer.key().der_bytes()).as_ref()
    }

    /// The serial, if a certificate can have it.
    pub fn serial(&self) -> Option<Serial> {
        Serial::from_der_content(self.serial.as_bytes()).ok()
    }
}

/// RFC 6960 §4.1.1.
#[derive(Sequence)]
struct OcspRequest {
    tbs: TbsRequest,
    /// Who asks is nobody's business here, so that its signature is not looked at.
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    signature: Option<Any>,
}

#[derive(Sequence)]
struct TbsRequest {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    version: Option<u8>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    requestor: Option<Any>,
    list: Vec<SingleRequest>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct SingleRequest {
    id: CertId,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// About which certificates; at least one.
    pub ids: Vec<CertId>,
    /// What the response must repeat, so that it cannot be an old one (RFC 9654).
    pub nonce: Option<Vec<u8>>,
}

impl Request {
    /// Reads a DER request.
    ///
    /// # Errors
    /// `Malformed` for whatever is wrong, an unknown critical extension included.
    pub fn parse(der: &[u8]) -> Result<Self, X509Error> {
        let malformed = |why: &str| X509Error::malformed("OCSP request", why);
        if der.len() > LONGEST {
            return Err(malformed("it is too long"));
        }
        let request = OcspRequest::from_der(der).map_err(|e| malformed(&e.to_string()))?;
        let tbs = request.tbs;
        if tbs.version.is_some_and(|version| version != 0) {
            return Err(malformed("its version is not 1"));
        }
        if !(1..=MOST).contains(&tbs.list.len()) {
            return Err(malformed("it asks about no certificate, or about too many"));
        }
        let mut nonce = None;
        for extension in tbs.extensions.unwrap_or_default() {
            if extension.extn_id == ID_PKIX_OCSP_NONCE {
                let bytes = OctetString::from_der(extension.extn_value.as_bytes());
                let bytes = bytes.map_err(|e| malformed(&e.to_string()))?.into_bytes().into_vec();
                if !(1..=LONGEST_NONCE).contains(&bytes.len()) || nonce.replace(bytes).is_some() {
                    return Err(malformed("its nonce is not one of 1 to 128 octets"));
                }
            } else if extension.critical {
                return Err(malformed("it has a critical extension that is not known"));
            }
        }
        let mut single = tbs.list.iter().flat_map(|one| one.extensions.iter().flatten());
        if single.any(|extension| extension.critical) {
            return Err(malformed("it has a critical extension that is not known"));
        }
        Ok(Self {
            ids: tbs.list.into_iter().map(|one| one.id).collect(),
            nonce,
        })
    }
}

/// What became of a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Issued, and not revoked.
    Good,
    /// Revoked, for good.
    Revoked {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// Not one that this responder knows.
    Unknown,
}

/// RFC 6960 §4.2.1.
#[derive(Choice)]
enum CertStatus {
    #[asn1(context_specific = "0", tag_mode = "IMPLICIT")]
    Good(Null),
    #[asn1(context_specific = "1", tag_mode = "IMPLICIT", constructed = "true")]
    Revoked(RevokedInfo),
    #[asn1(context_specific = "2", tag_mode = "IMPLICIT")]
    Unknown(Null),
}

#[derive(Sequence)]
struct RevokedInfo {
    at: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    reason: Option<CrlReason>,
}

#[derive(Sequence)]
struct SingleResponse {
    id: CertId,
    status: CertStatus,
    this_update: GeneralizedTime,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    next_update: GeneralizedTime,
}

#[derive(Sequence)]
struct ResponseData {
    /// `byKey`: SHA-1 of the responder's key (RFC 9919 §3.2.2).
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    responder: OctetString,
    produced_at: GeneralizedTime,
    responses: Vec<SingleResponse>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT", optional = "true")]
    extensions: Option<Vec<Extension>>,
}

#[derive(Sequence)]
struct BasicResponse {
    data: Any,
    algorithm: AlgorithmIdentifierOwned,
    signature: BitString,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    certificates: Vec<Any>,
}

#[derive(Sequence)]
struct ResponseBytes {
    kind: ObjectIdentifier,
    response: OctetString,
}

#[derive(Sequence)]
struct OcspResponse {
    status: Any,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    bytes: ResponseBytes,
}

/// When the answers were known, and until when they are good. Both stand in each of them (RFC 9919 §3.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// `thisUpdate`, and `producedAt`.
    pub this_update: Timestamp,
    /// `nextUpdate`.
    pub next_update: Timestamp,
}

/// The to-be-signed response of the responder with that key, to be signed by its key.
///
/// # Errors
/// `Build` if a part cannot be encoded.
pub fn to_be_signed(
    responder: &PublicKey,
    answers: &[(CertId, Status)],
    window: Window,
    nonce: Option<&[u8]>,
) -> Result<Vec<u8>, X509Error> {
    let (this_update, next_update) = (time(window.this_update)?, time(window.next_update)?);
    let responses = answers.iter().map(|(id, status)| {
        Ok(SingleResponse {
            id: id.clone(),
            status: match status {
                Status::Good => CertStatus::Good(Null),
                Status::Revoked { at, reason } => CertStatus::Revoked(RevokedInfo {
                    at: time(*at)?,
                    reason: reason.spelled(),
                }),
                Status::Unknown => CertStatus::Unknown(Null),
            },
            this_update,
            next_update,
        })
    });
    let hash = digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, responder.der_bytes());
    let data = ResponseData {
        responder: OctetString::new(hash.as_ref()).map_err(X509Error::build)?,
        produced_at: this_update,
        responses: responses.collect::<Result<_, X509Error>>()?,
        extensions: nonce.map(nonce_extension).transpose()?.map(|nonce| vec![nonce]),
    };
    data.to_der().map_err(X509Error::build)
}

/// The whole response with `signature`, which must be the responder's, and its certificate.
///
/// # Errors
/// `Signature` if it is not; `Build` if a part cannot be encoded.
pub fn assemble(
    responder: &PublicKey,
    certificate: &[u8],
    to_be_signed: &[u8],
    signature: &[u8],
) -> Result<Vec<u8>, X509Error> {
    responder.verify(to_be_signed, signature, "the OCSP response")?;
    let basic = BasicResponse {
        data: Any::from_der(to_be_signed).map_err(X509Error::build)?,
        algorithm: responder.signature_algorithm()?,
        signature: BitString::from_bytes(signature).map_err(X509Error::build)?,
        certificates: vec![Any::from_der(certificate).map_err(X509Error::build)?],
    };
    let response = OcspResponse {
        status: Any::new(Tag::Enumerated, [0_u8]).map_err(X509Error::build)?,
        bytes: ResponseBytes {
            kind: ID_PKIX_OCSP_BASIC,
            response: OctetString::new(basic.to_der().map_err(X509Error::build)?).map_err(X509Error::build)?,
        },
    };
    response.to_der().map_err(X509Error::build)
}

fn nonce_extension(nonce: &[u8]) -> Result<Extension, X509Error> {
    let inner = OctetString::new(nonce).and_then(|nonce| nonce.to_der());
    Ok(Extension {
        extn_id: ID_PKIX_OCSP_NONCE,
        critical: false,
        extn_value: inner.and_then(OctetString::new).map_err(X509Error::build)?,
    })
}

fn time(at: Timestamp) -> Result<GeneralizedTime, X509Error> {
    let seconds = u64::try_from(at.unix()).map_err(X509Error::build)?;
    GeneralizedTime::from_unix_duration(std::time::Duration::from_secs(seconds)).map_err(X509Error::build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{self, Kept, NOW, serial};
    use proptest::prelude::*;
    use std::time::Duration;

    fn id(issuer: &Issuer, oid: ObjectIdentifier, fill: u8) -> CertId {
        let algorithm = if oid == ID_SHA1 {
            &digest::SHA1_FOR_LEGACY_USE_ONLY
        } else {
            &digest::SHA256
        };
        let hash = |bytes: &[u8]| OctetString::new(digest(algorithm, bytes).as_ref()).unwrap();
        CertId {
            hash_algorithm: AlgorithmIdentifierOwned {
                oid,
                parameters: Some(Any::null()),
            },
            issuer_name_hash: hash(issuer.subject()),
            issuer_key_hash: hash(issuer.key().der_bytes()),
            serial: Int::new(serial(fill).as_bytes()).unwrap(),
        }
    }

    fn request(ids: Vec<CertId>, extensions: Vec<Extension>) -> Vec<u8> {
        let tbs = TbsRequest {
            version: None,
            requestor: None,
            list: ids
                .into_iter()
                .map(|id| SingleRequest { id, extensions: None })
                .collect(),
            extensions: (!extensions.is_empty()).then_some(extensions),
        };
        OcspRequest { tbs, signature: None }.to_der().unwrap()
    }

    #[test]
    fn what_is_asked_is_read() {
        let kept = Kept::new();
        let ids = vec![id(&kept.issuing, ID_SHA1, 3), id(&kept.issuing, ID_SHA256, 4)];
        let nonce = nonce_extension(&[7; 32]).unwrap();
        let read = Request::parse(&request(ids.clone(), vec![nonce])).unwrap();
        assert_eq!((read.ids, read.nonce), (ids.clone(), Some(vec![7; 32])));
        for id in &ids {
            assert!(id.is_of(&kept.issuing) && !id.is_of(&kept.root));
        }
        assert_eq!(ids[0].serial(), Some(serial(3)));
        assert_eq!(Request::parse(&request(ids, Vec::new())).unwrap().nonce, None);
    }

    /// O10, and what a request must not be.
    #[test]
    fn what_is_malformed_is_refused() {
        let kept = Kept::new();
        let one = || vec![id(&kept.issuing, ID_SHA1, 3)];
        for bytes in [1, 16, 32, 128] {
            let nonce = nonce_extension(&vec![7; bytes]).unwrap();
            assert!(Request::parse(&request(one(), vec![nonce])).is_ok());
        }
        let critical = Extension {
            critical: true,
            extn_id: ID_PKIX_OCSP_BASIC,
            ..nonce_extension(&[1]).unwrap()
        };
        let nonce = nonce_extension(&[1; 16]).unwrap();
        for bad in [
            Vec::new(),
            vec![0x30, 0],
            vec![0x30; LONGEST + 1],
            request(Vec::new(), Vec::new()),
            request(vec![id(&kept.issuing, ID_SHA1, 3); MOST + 1], Vec::new()),
            request(one(), vec![nonce_extension(&[]).unwrap()]),
            request(one(), vec![nonce_extension(&[1; 129]).unwrap()]),
            request(one(), vec![nonce.clone(), nonce]),
            request(one(), vec![critical]),
            [request(one(), Vec::new()), vec![0]].concat(),
        ] {
            assert!(Request::parse(&bad).is_err(), "{}", hex::encode(&bad));
        }
        assert_eq!(Refusal::MalformedRequest.to_der(), [0x30, 3, 0x0a, 1, 1]);
    }

    #[test]
    fn a_serial_that_no_certificate_has_is_no_serial() {
        let kept = Kept::new();
        for bytes in [&[0_u8][..], &[0xff], &[0x7f; 21]] {
            let id = CertId {
                serial: Int::new(bytes).unwrap(),
                ..id(&kept.issuing, ID_SHA1, 1)
            };
            let read = Request::parse(&request(vec![id.clone()], Vec::new())).unwrap();
            assert_eq!(read.ids, [id]);
            assert_eq!(read.ids[0].serial(), None);
        }
    }

    #[test]
    fn a_response_says_what_it_was_given_and_only_its_signer_can_have_signed_it() {
        let (issuer, key) = fixture::signing_root();
        let (other, other_key) = fixture::signing_root();
        let revoked = Status::Revoked {
            at: NOW,
            reason: Reason::Superseded,
        };
        let answers = [
            (id(&issuer, ID_SHA1, 1), Status::Good),
            (id(&issuer, ID_SHA256, 2), revoked),
            (id(&other, ID_SHA256, 3), Status::Unknown),
        ];
        let window = Window {
            this_update: NOW,
            next_update: NOW + Duration::from_secs(60),
        };
        let data = to_be_signed(issuer.key(), &answers, window, Some(&[9; 16])).unwrap();
        let read = ResponseData::from_der(&data).unwrap();
        assert_eq!(read.to_der().unwrap(), data);
        assert_eq!(read.responder.as_bytes().len(), 20);
        assert!(matches!(read.responses[0].status, CertStatus::Good(_)));
        assert!(matches!(&read.responses[1].status, CertStatus::Revoked(info)
            if info.reason == Some(CrlReason::Superseded)));
        assert!(matches!(read.responses[2].status, CertStatus::Unknown(_)));
        assert_eq!(read.responses[1].id, answers[1].0);
        let signature = fixture::sign(&key, &data);
        let whole = assemble(issuer.key(), issuer.der(), &data, &signature).unwrap();
        assert_eq!(OcspResponse::from_der(&whole).unwrap().to_der().unwrap(), whole);
        let foreign = fixture::sign(&other_key, &data);
        assert!(assemble(issuer.key(), issuer.der(), &data, &foreign).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Request::parse(&bytes);
        }
    }

    #[test]
    fn changed_and_cut_requests_never_panic() {
        let kept = Kept::new();
        let der = request(
            vec![id(&kept.issuing, ID_SHA1, 3)],
            vec![nonce_extension(&[7; 32]).unwrap()],
        );
        for at in 0..der.len() {
            for to in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] = to;
                if let Ok(read) = Request::parse(&changed) {
                    let _ = read.ids[0].serial();
                }
            }
            assert!(Request::parse(&der[..at]).is_err());
        }
    }
}
