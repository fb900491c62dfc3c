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
    use super::KeyOp::{Decrypt, DeriveBits, Encrypt, Sign, UnwrapKey, Verify, WrapKey};
    match op {
        Decrypt | DeriveBits | Sign | UnwrapKey => true,
        Encrypt | Verify | WrapKey => false,
    }
}

fn damaged(cause: ErrorStack) -> Error {
    Error::internal("a stored public key is damaged").because(cause)
}

pub(super) fn spell(kind: KeyKind, key: &PKey<Public>) -> std::result::Result<Value, ErrorStack> {
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

pub(super) const fn curve(kind: KeyKind) -> &'static str {
    match kind {
        KeyKind::EcP384 => "P-384",
        KeyKind::EcP521 => "P-521",
        KeyKind::EcSecp256k1 => "secp256k1",
        _ => "P-256",
    }
}

#[cfg(test)]
mod tests {
    use openssl::ec::{EcGroup, EcKey};
    use openssl::rsa::Rsa;

    use super::*;
    use crate::clock::Timestamp;
    use crate::entropy::OsEntropy;
    use crate::id::Id;
    use crate::vault::keys::material::Fresh;
    use crate::vault::keys::version::Attributes;
    use crate::vault::keys::{KeyOp, KeyOps, KeyProtection};
    use crate::vault::version::Tags;

    fn number(jwk: &Value, name: &str) -> BigNum {
        BigNum::from_slice(&URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()).unwrap()
    }

    /// The key that a JWK says.
    fn read(kind: KeyKind, jwk: &Value) -> PKey<Public> {
        match kind.family() {
            Family::Ec(curve, len) => {
                let text = jwk["x"].as_str().unwrap();
                assert_eq!(URL_SAFE_NO_PAD.decode(text).unwrap().len(), len);
                let group = EcGroup::from_curve_name(curve).unwrap();
                let (x, y) = (number(jwk, "x"), number(jwk, "y"));
                let key = EcKey::from_public_key_affine_coordinates(&group, &x, &y).unwrap();
                PKey::from_ec_key(key).unwrap()
            }
            Family::Rsa(_) => {
                let key = Rsa::from_public_components(number(jwk, "n"), number(jwk, "e")).unwrap();
                PKey::from_rsa(key).unwrap()
            }
            _ => {
                let raw = URL_SAFE_NO_PAD.decode(jwk["x"].as_str().unwrap()).unwrap();
                PKey::public_key_from_raw_bytes(&raw, openssl::pkey::Id::ED25519).unwrap()
            }
        }
    }

    #[test]
    fn a_jwk_and_a_pem_say_the_same_key() {
        for (kind, curve) in [
            (KeyKind::EcP256, Some("P-256")),
            (KeyKind::EcP384, Some("P-384")),
            (KeyKind::EcP521, Some("P-521")),
            (KeyKind::EcSecp256k1, Some("secp256k1")),
            (KeyKind::Ed25519, Some("Ed25519")),
            (KeyKind::Rsa2048, None),
            (KeyKind::Hmac256, None),
        ] {
            let version = KeyVersion {
                id: Id::from([7; 16]),
                ordinal: 1,
                kind,
                protection: KeyProtection::Software,
                exportable: false,
                attributes: Attributes {
                    enabled: true,
                    not_before: None,
                    expires: None,
                    ops: KeyOps::new(kind, [KeyOp::Sign, KeyOp::Verify]).unwrap(),
                    tags: Tags::default(),
                },
                public: Fresh::make(kind, &OsEntropy).unwrap().public,
                created: Timestamp::from_unix(0),
                created_by: String::new(),
                updated: Timestamp::from_unix(0),
            };
            let (pem, jwk) = (version.public_pem().unwrap(), version.jwk().unwrap());
            let (Some(pem), Some(jwk)) = (pem, jwk) else {
                assert_eq!(kind, KeyKind::Hmac256);
                continue;
            };
            assert_eq!(jwk.get("crv").and_then(Value::as_str), curve);
            assert_eq!(jwk["key_ops"], json!(["verify"]));
            assert_eq!(jwk["kid"], "07".repeat(16));
            let public = PKey::public_key_from_pem(pem.as_bytes()).unwrap();
            assert!(read(kind, &jwk).public_eq(&public), "{kind}");
        }
    }
}
