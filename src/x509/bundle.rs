//! A chain in the forms that other programs take: PKCS#7 without signers, PKCS#12 with the key.
//!
//! PKCS#12 is OpenSSL's, which is made for it; its salts are OpenSSL's too.

use der::asn1::{Any, ObjectIdentifier};
use der::{Encode, Tag, TagNumber};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkcs12::Pkcs12;
use openssl::pkey::PKey;
use openssl::stack::Stack;
use openssl::x509::X509;

use super::X509Error;
use crate::secret::Secret;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
/// Both `[0] EXPLICIT` and `[0] IMPLICIT SET OF`.
const CONTEXT_0: Tag = Tag::ContextSpecific {
    constructed: true,
    number: TagNumber(0),
};

/// A `ContentInfo` of `SignedData` without content and signers (RFC 5652 §5), in DER but for the order of the
/// certificates, which is the chain's.
///
/// # Errors
/// `Build` if a part is too long to encode.
pub fn pkcs7<D: AsRef<[u8]>>(chain: &[D]) -> Result<Vec<u8>, X509Error> {
    let certificates: Vec<u8> = chain.iter().flat_map(|der| der.as_ref()).copied().collect();
    let signed_data = [
        tlv(Tag::Integer, vec![1])?,
        // No digests, no content.
        tlv(Tag::Set, Vec::new())?,
        tlv(Tag::Sequence, ID_DATA.to_der().map_err(X509Error::build)?)?,
        tlv(CONTEXT_0, certificates)?,
        // No signers.
        tlv(Tag::Set, Vec::new())?,
    ]
    .concat();
    let content = tlv(CONTEXT_0, tlv(Tag::Sequence, signed_data)?)?;
    let id = ID_SIGNED_DATA.to_der().map_err(X509Error::build)?;
    tlv(Tag::Sequence, [id, content].concat())
}

fn tlv(tag: Tag, value: Vec<u8>) -> Result<Vec<u8>, X509Error> {
    Any::new(tag, value)
        .and_then(|any| any.to_der())
        .map_err(X509Error::build)
}

/// A key store (RFC 7292) with the key (PKCS#8 DER), its certificate and the chain above it, under a friendly name.
///
/// # Errors
/// `Build` if the key or a certificate does not parse, or if they do not belong together.
pub fn pkcs12<D: AsRef<[u8]>>(name: &str, key: &Secret, chain: &[D], password: &str) -> Result<Secret, X509Error> {
    let key = PKey::private_key_from_pkcs8(key.expose()).map_err(X509Error::build)?;
    let certificates = chain
        .iter()
        .map(|der| X509::from_der(der.as_ref()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(X509Error::build)?;
    let Some((leaf, issuers)) = certificates.split_first() else {
        return Err(X509Error::build("the chain is empty"));
    };
    let mut others = Stack::new().map_err(X509Error::build)?;
    for issuer in issuers {
        others.push(issuer.clone()).map_err(X509Error::build)?;
    }
    Pkcs12::builder()
        .name(name)
        .pkey(&key)
        .cert(leaf)
        .ca(others)
        .key_algorithm(Nid::AES_256_CBC)
        .cert_algorithm(Nid::AES_256_CBC)
        .mac_md(MessageDigest::sha256())
        .build2(password)
        .and_then(|store| store.to_der())
        .map(Secret::new)
        .map_err(X509Error::build)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::{self, names, serial};
    use crate::x509::tbs::{self, Leaf};
    use crate::x509::{key, profile};

    fn chain() -> (Secret, Vec<Vec<u8>>) {
        let (root, root_key) = fixture::signing_root();
        let key = key::generate(crate::key_type::KeyType::EcP256).unwrap();
        let profile: profile::Profile = fixture::profile("server-tls");
        let leaf = Leaf {
            key: &key::public(&key).unwrap(),
            names: &names(&["a.test"]),
            pointers: &fixture::hierarchy().pointers("internal-root-1", 0),
            serial: &serial(9),
            validity: profile.validity(fixture::NOW, None, root.validity()).unwrap(),
        };
        let tbs = tbs::leaf(&profile, &root, leaf).unwrap();
        let leaf = tbs.assemble(&fixture::sign(&root_key, tbs.as_bytes())).unwrap();
        (key, vec![leaf, root.der().to_vec()])
    }

    #[test]
    fn openssl_finds_the_chain_in_a_pkcs7_in_its_order() {
        let (_, chain) = chain();
        let bundle = openssl::pkcs7::Pkcs7::from_der(&pkcs7(&chain).unwrap()).unwrap();
        let found: Vec<Vec<u8>> = bundle
            .signed()
            .unwrap()
            .certificates()
            .unwrap()
            .iter()
            .map(|certificate| certificate.to_der().unwrap())
            .collect();
        assert_eq!(found, chain);
    }

    #[test]
    fn a_key_store_opens_with_its_password_only_and_takes_no_foreign_key() {
        let (key, chain) = chain();
        let store = pkcs12("a.test", &key, &chain, "pass word").unwrap();
        let store = Pkcs12::from_der(store.expose()).unwrap();
        let parsed = store.parse2("pass word").unwrap();
        assert_eq!(parsed.cert.unwrap().to_der().unwrap(), chain[0]);
        assert_eq!(parsed.ca.unwrap().len(), 1);
        assert!(parsed.pkey.is_some());
        assert!(store.parse2("password").is_err());
        let other = key::generate(crate::key_type::KeyType::EcP256).unwrap();
        assert!(pkcs12("a.test", &other, &chain, "x").is_err());
    }
}
