//! Keys and requests: made here, in software; the private key leaves this machine in no direction.

use aws_lc_rs::digest::{SHA256, digest};

use super::error::{Error, Result};
use crate::key_type::KeyType;
use crate::secret::Secret;
use crate::x509::chain::Facts;
use crate::x509::{X509Error, csr, key, pem};

fn local(error: X509Error) -> Error {
    Error::Local(error.to_string())
}

/// A new private key, PKCS#8 in PEM.
pub(super) fn new_key() -> Result<Secret> {
    let key = key::generate(KeyType::EcP256).map_err(local)?;
    Ok(Secret::new(pem::encode(pem::PRIVATE_KEY, key.expose()).into_bytes()))
}

/// A request that this key asks for a certificate with. It names nobody: token or certificate say whose it will be.
pub(super) fn request(key_pem: &Secret) -> Result<String> {
    let request = csr::create(&decode(key_pem)?, &[]).map_err(local)?;
    Ok(pem::encode(pem::CERTIFICATE_REQUEST, &request))
}

/// What the leaf of a chain says, if it certifies this key.
pub(super) fn leaf_for(key_pem: &Secret, chain_pem: &str) -> Result<Facts> {
    let facts = leaf(chain_pem)?;
    let public = key::public(&decode(key_pem)?).map_err(local)?;
    if facts.spki_sha256 != hex::encode(digest(&SHA256, public.spki())) {
        return Err(Error::Answer(
            "the service answered with a certificate for another key: it was not taken".to_owned(),
        ));
    }
    Ok(facts)
}

/// What the leaf of a chain says.
pub(super) fn leaf(chain_pem: &str) -> Result<Facts> {
    let chain = pem::decode_all(pem::CERTIFICATE, chain_pem).map_err(unusable)?;
    Facts::read(chain.first().map(Vec::as_slice).unwrap_or_default()).map_err(unusable)
}

/// A chain as its leaf and the rest, both PEM.
pub(super) fn split(chain_pem: &str) -> Result<(String, String)> {
    let chain = pem::decode_all(pem::CERTIFICATE, chain_pem).map_err(unusable)?;
    let (leaf, rest) = chain.split_at_checked(1).unwrap_or_default();
    Ok((pem::encode_chain(leaf), pem::encode_chain(rest)))
}

fn unusable(error: X509Error) -> Error {
    Error::Answer(format!("the chain cannot be used: {error}"))
}

fn decode(key_pem: &Secret) -> Result<Secret> {
    let text = std::str::from_utf8(key_pem.expose())
        .map_err(|_| Error::Local("the private key is not PEM: remove it to have a new one made".to_owned()))?;
    let mut blocks = pem::decode_all(pem::PRIVATE_KEY, text).map_err(local)?;
    Ok(Secret::new(blocks.pop().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_one_that_our_authority_reads_and_proves_the_key() {
        let key = new_key().unwrap();
        let read = csr::Csr::parse(request(&key).unwrap().as_bytes()).unwrap();
        assert!(read.names().is_empty());
        let public = key::public(&decode(&key).unwrap()).unwrap();
        assert_eq!(read.key().spki(), public.spki());
    }

    #[test]
    fn a_chain_that_is_none_is_refused() {
        assert!(matches!(leaf(""), Err(Error::Answer(_))));
        assert!(matches!(split("x"), Err(Error::Answer(_))));
        let broken = pem::encode(pem::CERTIFICATE, b"x");
        assert!(matches!(leaf(&broken), Err(Error::Answer(_))));
    }
}
