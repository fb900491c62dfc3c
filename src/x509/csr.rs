//! Certificate signing requests (PKCS #10, RFC 2986): reading others', making our own.
//!
//! SECURITY: nothing of a request is ever copied into a certificate but its key and its names, and both are checked
//! when they are read. A request for more (to be a CA, a name of a kind that is never certified) is refused, not
//! ignored, so that nobody believes that it was granted.

use der::asn1::{Any, BitString};
use der::{Decode, Tag, Tagged};
use rcgen::{CertificateParams, DistinguishedName};
use x509_cert::spki::AlgorithmIdentifierOwned;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::key::{self, PublicKey, PublicKeyKind};
use super::name::Name;
use super::{X509Error, chain, pem, tbs};
use crate::secret::Secret;

/// Longest request taken, in bytes of DER.
const MAX: usize = 64 * 1024;

/// What no signature covers must be in DER to the letter (RFC 2986 §4.2): the parser takes a tag of any class for the one
/// that it expects, and a request that was changed on its way would pass for the sender's.
fn is_framed(der: &[u8]) -> bool {
    let Ok(parts) = Vec::<Any>::from_der(der) else {
        return false;
    };
    let [info, algorithm, signature] = parts.as_slice() else {
        return false;
    };
    let algorithm = algorithm.decode_as::<AlgorithmIdentifierOwned>();
    info.tag() == Tag::Sequence
        // Only RSASSA-PSS has parameters.
        && algorithm.is_ok_and(|it| it.parameters.is_none_or(|it| it.is_null() || it.tag() == Tag::Sequence))
        && signature.decode_as::<BitString>().is_ok_and(|bits| bits.unused_bits() == 0)
}

/// What a request asks for.
#[derive(Clone, Debug)]
pub struct Csr {
    key: PublicKey,
    names: Vec<Name>,
}

impl Csr {
    /// Reads a request in DER or PEM and verifies that its sender holds the key (RFC 2986 §4.2).
    ///
    /// A common name that is a host name counts as a name that is asked for; other parts of the subject are not used.
    ///
    /// # Errors
    /// `Malformed` if it cannot be read, `Signature` without proof of possession, `Refused` for weak keys and for names
    /// or constraints that are never certified.
    pub fn parse(bytes: &[u8]) -> Result<Self, X509Error> {
        let what = "certificate request";
        if bytes.len() > 2 * MAX {
            return Err(X509Error::malformed(what, "it is longer than 64 KiB"));
        }
        let der = pem::der_or_pem(pem::CERTIFICATE_REQUEST, bytes)?;
        if !is_framed(&der) {
            return Err(X509Error::malformed(what, "it is not in DER, or bytes follow it"));
        }
        let (_, request) = X509CertificationRequest::from_der(&der).map_err(|e| X509Error::malformed(what, e))?;
        let info = &request.certification_request_info;
        // The key first: a weak key is a clearer answer than a signature that our library will not verify.
        let key = PublicKey::from_spki(info.subject_pki.raw)?;
        verify(&request, &key)?;

        let mut names = Vec::new();
        let mut requests = info
            .iter_attributes()
            .filter_map(|attribute| match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(request) => Some(request),
                _ => None,
            });
        let extensions = requests
            .next()
            .map(|request| request.extensions.as_slice())
            .unwrap_or_default();
        if requests.next().is_some() {
            return Err(X509Error::malformed(what, "it requests extensions twice"));
        }
        let mut seen = Vec::new();
        for extension in extensions {
            if seen.contains(&&extension.oid) {
                return Err(X509Error::malformed(
                    what,
                    format!("it requests extension {} twice", extension.oid),
                ));
            }
            seen.push(&extension.oid);
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(san) => {
                    for name in &san.general_names {
                        push(&mut names, requested(name)?);
                    }
                }
                ParsedExtension::BasicConstraints(constraints) if constraints.ca => {
                    return Err(X509Error::Refused(
                        "the request asks to be a CA: leave out the basic constraints".to_owned(),
                    ));
                }
                ParsedExtension::ParseError { error } => {
                    return Err(X509Error::malformed(
                        what,
                        format!("extension {}: {error}", extension.oid),
                    ));
                }
                _ => {}
            }
        }
        for common_name in info.subject.iter_common_name() {
            let text = common_name.as_str().unwrap_or_default();
            // A dot tells a host's name from a person's or a device's.
            if text.contains('.') && !text.contains(char::is_whitespace) {
                push(&mut names, text.parse()?);
            }
        }
        Ok(Self { key, names })
    }

    /// The key, proven to be the sender's.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The names that are asked for, each once, in their order.
    pub fn names(&self) -> &[Name] {
        &self.names
    }
}

/// The proof of possession (RFC 2986 §4.2), by whatever algorithm the sender chose.
fn verify(request: &X509CertificationRequest<'_>, key: &PublicKey) -> Result<(), X509Error> {
    let what = "the certificate request";
    // x509-parser knows no P-521.
    if key.kind() == PublicKeyKind::EcP521 {
        let signed = request.certification_request_info.raw;
        return key.verify(signed, &request.signature_value.data, what);
    }
    request.verify_signature().map_err(|_| X509Error::Signature(what))
}

/// What a proof that a key is compromised says as its common name. A request that was once made to be issued by proves
/// nothing.
pub const COMPROMISED: &str = "this key is compromised";

/// The key that signed a request whose common name is [`COMPROMISED`]: whoever made it holds the key and says so.
///
/// # Errors
/// As [`Csr::parse`]; `Refused` for any other request.
pub fn compromised_key(bytes: &[u8]) -> Result<PublicKey, X509Error> {
    let csr = Csr::parse(bytes)?;
    let der = pem::der_or_pem(pem::CERTIFICATE_REQUEST, bytes)?;
    let (_, request) =
        X509CertificationRequest::from_der(&der).map_err(|e| X509Error::malformed("certificate request", e))?;
    let mut names = request.certification_request_info.subject.iter_common_name();
    let says = names.next().and_then(|name| name.as_str().ok());
    if says == Some(COMPROMISED) && names.next().is_none() {
        Ok(csr.key)
    } else {
        Err(X509Error::Refused(format!(
            "the request does not say that its key is compromised: sign one whose common name is `{COMPROMISED}`"
        )))
    }
}

fn push(names: &mut Vec<Name>, name: Name) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn requested(name: &GeneralName<'_>) -> Result<Name, X509Error> {
    let refuse = |kind: &str| {
        Err(X509Error::Refused(format!(
            "the request asks for {kind}, which is never certified: leave it out"
        )))
    };
    match name {
        GeneralName::DNSName(text) => Name::dns(text),
        GeneralName::URI(text) => Name::uri(text),
        GeneralName::IPAddress(octets) => chain::address(octets).map(Name::Ip).ok_or_else(|| {
            X509Error::Refused(format!(
                "the request asks for an IP address of {} octets: use 4 or 16",
                octets.len()
            ))
        }),
        GeneralName::RFC822Name(text) => Name::email(text),
        GeneralName::DirectoryName(_) => refuse("a directory name"),
        GeneralName::OtherName(oid, value) => match chain::upn(oid, value) {
            Some(upn) => Name::upn(&upn),
            None => refuse("an other name"),
        },
        GeneralName::RegisteredID(_) => refuse("a registered id"),
        GeneralName::X400Address(_) | GeneralName::EDIPartyName(_) | GeneralName::Invalid(..) => {
            refuse("a name of unknown kind")
        }
    }
}

/// Makes a request for `names` with a software key (PKCS#8), in DER. The subject is empty.
///
/// # Errors
/// `Malformed` if the key cannot be read, `Build` if a part cannot be encoded.
pub fn create(key: &Secret, names: &[Name]) -> Result<Vec<u8>, X509Error> {
    let pair = key::pair(key)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names = names.iter().map(tbs::alternative_name).collect::<Result<_, _>>()?;
    let request = params.serialize_request(&pair).map_err(X509Error::build)?;
    Ok(request.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_type::KeyType;
    use crate::x509::fixture::names;
    use proptest::prelude::*;
    use rcgen::{BasicConstraints, DnType, IsCa, KeyUsagePurpose, SanType};

    fn request(change: impl FnOnce(&mut CertificateParams)) -> Vec<u8> {
        let pair = rcgen::KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        change(&mut params);
        params.serialize_request(&pair).unwrap().der().to_vec()
    }

    fn refusal(der: &[u8]) -> String {
        Csr::parse(der).unwrap_err().to_string()
    }

    #[test]
    fn our_own_requests_are_read_with_every_kind_of_key() {
        let asked = names(&[
            "a.test",
            "*.b.test",
            "10.0.0.1",
            "::1",
            "spiffe://a/b",
            "a@b.test",
            "upn:a@b.test",
        ]);
        for kind in [
            KeyType::EcP256,
            KeyType::EcP384,
            KeyType::EcP521,
            KeyType::Ed25519,
            KeyType::Rsa2048,
            KeyType::Rsa3072,
            KeyType::Rsa4096,
        ] {
            let key = key::generate(kind).unwrap();
            let der = create(&key, &asked).unwrap();
            let csr = Csr::parse(&der).unwrap();
            assert_eq!(csr.names(), asked);
            assert_eq!(csr.key(), &key::public(&key).unwrap());
            let pem = pem::encode(pem::CERTIFICATE_REQUEST, &der);
            assert_eq!(Csr::parse(pem.as_bytes()).unwrap().names(), asked);
        }
    }

    #[test]
    fn no_bit_of_a_request_may_change() {
        for kind in [KeyType::EcP256, KeyType::Ed25519, KeyType::Rsa2048] {
            let der = create(&key::generate(kind).unwrap(), &names(&["a.test"])).unwrap();
            for at in 0..der.len() {
                for bit in 0..8 {
                    let mut changed = der.clone();
                    changed[at] ^= 1 << bit;
                    assert!(Csr::parse(&changed).is_err(), "{kind}: bit {bit} of octet {at}");
                }
            }
        }
    }

    #[test]
    fn the_sender_must_hold_the_key() {
        let der = request(|_| {});
        let mut forged = der.clone();
        // The last octet belongs to the signature.
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(
            refusal(&forged),
            "the signature of the certificate request does not verify"
        );
        let mut renamed = der;
        let at = renamed.windows(6).position(|window| window == b"a.test").unwrap();
        renamed[at] = b'b';
        assert!(refusal(&renamed).contains("does not verify"));
    }

    #[test]
    fn what_is_never_certified_is_refused_with_a_text_that_helps() {
        let ca = request(|params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
        assert!(refusal(&ca).contains("asks to be a CA"));
        let mail = request(|params| {
            params
                .subject_alt_names
                .push(SanType::Rfc822Name("a@b".try_into().unwrap()))
        });
        assert_eq!(Csr::parse(&mail).unwrap().names(), names(&["a.test", "a@b"]));
        let mail = request(|params| {
            params
                .subject_alt_names
                .push(SanType::Rfc822Name("a b@c".try_into().unwrap()))
        });
        assert!(refusal(&mail).contains("is not an e-mail address"));
        let other = request(|params| {
            let value = rcgen::OtherNameValue::Utf8String("admin@corp".to_owned());
            params
                .subject_alt_names
                .push(SanType::OtherName((vec![1, 3, 6, 1, 4, 1, 32473, 1], value)));
        });
        assert!(refusal(&other).contains("an other name"));
        for bad in ["a b.test", "*", "-a.test", "10.0.0.1.", "a_b.test"] {
            let der = request(|params| params.subject_alt_names.push(SanType::DnsName(bad.try_into().unwrap())));
            assert!(refusal(&der).contains("is not a host name"), "{bad}");
        }
    }

    #[test]
    fn usages_that_are_asked_for_change_nothing_and_a_host_as_common_name_counts() {
        let csr = Csr::parse(&request(|params| {
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params.is_ca = IsCa::ExplicitNoCa;
            params.distinguished_name.push(DnType::CommonName, "b.test");
            params
                .distinguished_name
                .push(DnType::OrganizationName, "Somebody Else");
        }))
        .unwrap();
        assert_eq!(csr.names(), names(&["a.test", "b.test"]));
        let person = Csr::parse(&request(|params| {
            params.distinguished_name.push(DnType::CommonName, "J. Doe")
        }));
        assert_eq!(person.unwrap().names(), names(&["a.test"]));
        let hidden = request(|params| params.distinguished_name.push(DnType::CommonName, "a.*.evil.test"));
        assert!(refusal(&hidden).contains("is not a host name"));
    }

    #[test]
    fn weak_keys_are_refused_before_the_signature_is_looked_at() {
        let der = hex::decode(include_str!("../../tests/golden/csr/rsa-1024.hex").trim()).unwrap();
        assert!(refusal(&der).contains("1024 bits, use at least 2048"));
    }

    #[test]
    fn what_follows_a_request_and_what_is_too_long_is_refused() {
        let mut der = request(|_| {});
        der.push(0);
        assert!(refusal(&der).contains("bytes follow it"));
        assert!(refusal(&vec![0x30; 200_000]).contains("64 KiB"));
        assert!(refusal(b"hello").contains("BEGIN CERTIFICATE REQUEST"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = Csr::parse(&bytes);
        }
    }

    #[test]
    fn changed_requests_never_panic_and_never_pass_with_other_names() {
        let der = request(|params| {
            params
                .subject_alt_names
                .push(SanType::URI("spiffe://a/b".try_into().unwrap()))
        });
        for at in 0..der.len() {
            for to in [0, 1, 0x30, 0x7f, 0x80, 0xff] {
                let mut changed = der.clone();
                changed[at] = to;
                if let Ok(csr) = Csr::parse(&changed) {
                    assert_eq!(csr.names(), names(&["a.test", "spiffe://a/b"]), "octet {at}");
                }
            }
            let _ = Csr::parse(&der[..at]);
        }
    }
}
