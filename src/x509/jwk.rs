//! Public keys as JSON Web Keys (RFC 7517), as the SPIFFE bundle format has them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use der::Decode;
use serde_json::{Map, Value};

use super::X509Error;
use super::key::{PublicKey, PublicKeyKind, RsaPublicKey};

/// The members that say the key itself (RFC 7518 §6, RFC 8037 §2).
///
/// # Errors
/// `Malformed` if an RSA key is not in DER, which one that was read is.
pub fn members(key: &PublicKey) -> Result<Map<String, Value>, X509Error> {
    let bits = key.bits();
    let parts: Vec<(&str, &[u8])> = match key.kind() {
        PublicKeyKind::Ed25519 => vec![("x", bits)],
        PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 => {
            // SEC 1 §2.3.3: 0x04, x, y.
            let point = bits.get(1..).unwrap_or_default();
            let (x, y) = point.split_at(point.len() / 2);
            vec![("x", x), ("y", y)]
        }
        PublicKeyKind::Rsa(_) => {
            let rsa = RsaPublicKey::from_der(bits).map_err(|e| X509Error::malformed("public key", e))?;
            vec![("n", rsa.modulus.as_bytes()), ("e", rsa.exponent.as_bytes())]
        }
    };
    let (kind, curve) = match key.kind() {
        PublicKeyKind::EcP256 => ("EC", Some("P-256")),
        PublicKeyKind::EcP384 => ("EC", Some("P-384")),
        PublicKeyKind::EcP521 => ("EC", Some("P-521")),
        PublicKeyKind::Ed25519 => ("OKP", Some("Ed25519")),
        PublicKeyKind::Rsa(_) => ("RSA", None),
    };
    let mut members = Map::new();
    members.insert("kty".to_owned(), kind.into());
    members.extend(curve.map(|curve| ("crv".to_owned(), curve.into())));
    members.extend(
        parts
            .into_iter()
            .map(|(name, part)| (name.to_owned(), URL_SAFE_NO_PAD.encode(part).into())),
    );
    Ok(members)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_type::KeyType;
    use crate::x509::key;

    #[test]
    fn each_kind_says_its_own_parts() {
        for (kind, kty, crv, lengths) in [
            (KeyType::EcP256, "EC", Some("P-256"), &[("x", 32), ("y", 32)][..]),
            (KeyType::EcP384, "EC", Some("P-384"), &[("x", 48), ("y", 48)]),
            (KeyType::EcP521, "EC", Some("P-521"), &[("x", 66), ("y", 66)]),
            (KeyType::Ed25519, "OKP", Some("Ed25519"), &[("x", 32)]),
            (KeyType::Rsa2048, "RSA", None, &[("n", 256), ("e", 3)]),
        ] {
            let members = members(&key::public(&key::generate(kind).unwrap()).unwrap()).unwrap();
            assert_eq!(members["kty"], kty);
            assert_eq!(members.get("crv").and_then(Value::as_str), crv);
            for (name, length) in lengths {
                let part = URL_SAFE_NO_PAD.decode(members[*name].as_str().unwrap()).unwrap();
                assert_eq!(part.len(), *length, "{kind} {name}");
            }
        }
    }
}
