//! The public half of a key, as PEM and as a JWK (RFC 7517). Pure.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::{BigNum, BigNumContext};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use serde_json::{Value, json};

use super::kind::{Family, KeyKind};
use super::version::KeyVersion;
use crate::error::{Error, Result};

impl KeyVersion {
    /// The public half as PEM; a symmetric key has none.
    ///
    /// # Errors
    /// `Internal` if what is stored is no public key.
    pub fn public_pem(&self) -> Result<Option<String>> {
        self.public
            .as_deref()
            .map(|der| {
                let pem = PKey::public_key_from_der(der).and_then(|key| key.public_key_to_pem());
                let pem = pem.map_err(damaged)?;
                String::from_utf8(pem).map_err(|e| Error::internal("a PEM is not text").because(e))
            })
            .transpose()
    }

    /// The public half as a JWK with the version's id as `kid`; a symmetric key has none.
    ///
    /// # Errors
    /// As [`Self::public_pem`].
    pub fn jwk(&self) -> Result<Option<Value>> {
        let Some(der) = &self.public else { return Ok(None) };
        let mut jwk = PKey::public_key_from_der(der)
            .and_then(|key| spell(self.kind, &key))
            .map_err(damaged)?;
        let public = self.attributes.ops.iter().filter(|op| !is_private(*op));
        let ops: Vec<_> = public.map(|op| op.as_str()).collect();
        if let Some(fields) = jwk.as_object_mut() {
            fields.insert("kid".to_owned(), json!(self.id.to_string()));
            fields.insert("key_ops".to_owned(), json!(ops));
        }
        Ok(Some(jwk))
    }
}

/// Whether a use takes the private half.
fn is_private(op: super::KeyOp) -> bool {
    use super::KeyOp::{Decrypt, Encrypt, Sign, UnwrapKey, Verify, WrapKey};
    match op {
        Decrypt | Sign | UnwrapKey => true,
        Encrypt | Verify | WrapKey => false,
    }
}

fn damaged(cause: ErrorStack) -> Error {
    Error::internal("a stored public key is damaged").because(cause)
}

fn spell(kind: KeyKind, key: &PKey<Public>) -> std::result::Result<Value, ErrorStack> {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    Ok(match kind.family() {
        Family::Ec(_, len) => {
            let key = key.ec_key()?;
            let (mut x, mut y, mut scratch) = (BigNum::new()?, BigNum::new()?, BigNumContext::new()?);
            key.public_key()
                .affine_coordinates(key.group(), &mut x, &mut y, &mut scratch)?;
            let padded = |number: &BigNum| number.to_vec_padded(i32::try_from(len).unwrap_or(i32::MAX));
            json!({"kty": "EC", "crv": curve(kind), "x": encode(&padded(&x)?), "y": encode(&padded(&y)?)})
        }
        Family::Ed25519 => json!({"kty": "OKP", "crv": "Ed25519", "x": encode(&key.raw_public_key()?)}),
        Family::Rsa(_) => {
            let key = key.rsa()?;
            json!({"kty": "RSA", "n": encode(&key.n().to_vec()), "e": encode(&key.e().to_vec())})
        }
        Family::Aes(_) | Family::Hmac(_) => json!({}),
    })
}

const fn curve(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::EcP384 => "P-384",
        KeyKind::EcP521 => "P-521",
        KeyKind::EcSecp256k1 => "secp256k1",
        _ => "P-256",
    }
}
