//! From PKCS#11's shapes to X.509's: signatures and public keys.

use der::asn1::{Any, BitString, ObjectIdentifier, OctetStringRef, UintRef};
use der::{Encode, Sequence};
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};

use super::error::HsmError;
use crate::key_type::KeyType;

/// `OBJECT IDENTIFIER prime256v1`, as `CKA_EC_PARAMS`.
pub(super) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `OBJECT IDENTIFIER secp384r1`, as `CKA_EC_PARAMS`.
pub(super) const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// `OBJECT IDENTIFIER secp521r1`, as `CKA_EC_PARAMS`.
pub(super) const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
/// `OBJECT IDENTIFIER secp256k1` (SEC 2 §A.2.1), as `CKA_EC_PARAMS`.
pub(super) const SECP256K1: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a];
/// `OBJECT IDENTIFIER id-Ed25519` (RFC 8410 §3), as `CKA_EC_PARAMS`.
pub(super) const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
/// 65537, as `CKA_PUBLIC_EXPONENT`.
pub(super) const RSA_EXPONENT: &[u8] = &[0x01, 0x00, 0x01];

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP256K1_CURVE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// RFC 8017 §A.1.1.
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    exponent: UintRef<'a>,
}

/// PKCS#11's r‖s, each of `half` bytes, as `Ecdsa-Sig-Value` (RFC 3279 §2.2.3). The length is checked here: tokens are
/// not asked to.
pub(super) fn ecdsa_der(raw: &[u8], half: usize) -> Result<Vec<u8>, HsmError> {
    let odd = || HsmError::Device(format!("an ECDSA signature of {} bytes, not {}", raw.len(), 2 * half));
    if raw.len() != 2 * half {
        return Err(odd());
    }
    let (r, s) = raw.split_at_checked(half).ok_or_else(odd)?;
    let (Ok(r), Ok(s)) = (UintRef::new(r), UintRef::new(s)) else {
        return Err(odd());
    };
    EcdsaSigValue { r, s }.to_der().map_err(|_| odd())
}

/// A point in its OCTET STRING (PKCS#11 v3.1 §6.3.3).
pub(super) fn octets(point: &[u8]) -> Result<Vec<u8>, HsmError> {
    OctetStringRef::new(point)
        .and_then(|octets| octets.to_der())
        .map_err(|_| HsmError::Device(format!("a point of {} bytes", point.len())))
}

/// `CKA_EC_POINT` without its OCTET STRING: the standard wants one, some tokens leave it out.
pub(super) fn point(kind: KeyType, attribute: &[u8]) -> Result<&[u8], HsmError> {
    let length = match kind {
        KeyType::EcP256 => 65,
        KeyType::EcP384 => 97,
        KeyType::EcP521 => 133,
        KeyType::Ed25519 => 32,
        KeyType::Aes256
        | KeyType::AesWrap256
        | KeyType::Rsa2048
        | KeyType::Rsa3072
        | KeyType::Rsa4096
        | KeyType::RsaPss2048
        | KeyType::RsaPss3072
        | KeyType::RsaPss4096 => return Err(unsupported(kind)),
    };
    let bare = match attribute {
        [0x04, inner_length, inner @ ..] if usize::from(*inner_length) == length && inner.len() == length => inner,
        [0x04, 0x81, inner_length, inner @ ..] if usize::from(*inner_length) == length && inner.len() == length => {
            inner
        }
        bare => bare,
    };
    if bare.len() != length || (kind != KeyType::Ed25519 && bare.first() != Some(&0x04)) {
        return Err(HsmError::Device(format!(
            "a public key of {} bytes for {kind}",
            attribute.len()
        )));
    }
    Ok(bare)
}

/// `CKA_MODULUS` and `CKA_PUBLIC_EXPONENT` as an `RSAPublicKey`.
pub(super) fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Vec<u8>, HsmError> {
    let odd = |_| HsmError::Device(format!("an RSA modulus of {} bytes", modulus.len()));
    RsaPublicKey {
        modulus: UintRef::new(modulus).map_err(odd)?,
        exponent: UintRef::new(exponent).map_err(odd)?,
    }
    .to_der()
    .map_err(odd)
}

/// The kind of an RSA key by its modulus.
pub(super) fn rsa_kind(modulus: &[u8]) -> Option<KeyType> {
    match modulus.len() {
        256 => Some(KeyType::Rsa2048),
        384 => Some(KeyType::Rsa3072),
        512 => Some(KeyType::Rsa4096),
        _ => None,
    }
}

/// `SubjectPublicKeyInfo` of a bare point or an `RSAPublicKey` (RFC 5480 §2, RFC 8410 §4, RFC 3279 §2.3.1).
pub(super) fn spki(kind: KeyType, bits: &[u8]) -> Result<Vec<u8>, HsmError> {
    let (oid, parameters) = match kind {
        KeyType::EcP256 => (ID_EC_PUBLIC_KEY, Some(Any::from(SECP256R1))),
        KeyType::EcP384 => (ID_EC_PUBLIC_KEY, Some(Any::from(SECP384R1))),
        KeyType::EcP521 => (ID_EC_PUBLIC_KEY, Some(Any::from(SECP521R1))),
        KeyType::Ed25519 => (ID_ED25519, None),
        // The same key whatever it signs by: those who verify know no keys that are bound to one scheme (RFC 4055 §1.2).
        KeyType::Rsa2048
        | KeyType::Rsa3072
        | KeyType::Rsa4096
        | KeyType::RsaPss2048
        | KeyType::RsaPss3072
        | KeyType::RsaPss4096 => (RSA_ENCRYPTION, Some(Any::null())),
        KeyType::Aes256 | KeyType::AesWrap256 => return Err(unsupported(kind)),
    };
    info(oid, parameters, bits)
}

/// `SubjectPublicKeyInfo` of a bare point on secp256k1 (RFC 5480 §2).
pub(super) fn spki_secp256k1(point: &[u8]) -> Result<Vec<u8>, HsmError> {
    info(ID_EC_PUBLIC_KEY, Some(Any::from(SECP256K1_CURVE)), point)
}

fn info(oid: ObjectIdentifier, parameters: Option<Any>, bits: &[u8]) -> Result<Vec<u8>, HsmError> {
    let odd = |e: der::Error| HsmError::Device(format!("a public key that cannot be encoded: {e}"));
    SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned { oid, parameters },
        subject_public_key: BitString::from_bytes(bits).map_err(odd)?,
    }
    .to_der()
    .map_err(odd)
}

/// What this room does not do with the token.
pub(super) fn unsupported(kind: KeyType) -> HsmError {
    HsmError::Unsupported(format!("this use of {kind} keys"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_becomes_two_minimal_positive_integers() {
        let mut raw = [0; 64];
        raw[31] = 1;
        raw[32] = 0x80;
        let der = ecdsa_der(&raw, 32).unwrap();
        assert_eq!(der[..7], [0x30, 0x26, 0x02, 0x01, 0x01, 0x02, 0x21]);
        assert_eq!(der[7..9], [0x00, 0x80]);
        assert!(ecdsa_der(&raw[..63], 32).is_err());
        assert!(ecdsa_der(&[0; 96], 32).is_err());
        assert!(ecdsa_der(&[1; 132], 66).is_ok());
    }

    #[test]
    fn a_point_is_taken_with_and_without_its_octet_string() {
        let mut bare = [7; 65];
        bare[0] = 4;
        let wrapped = [&[0x04, 65][..], &bare].concat();
        assert_eq!(point(KeyType::EcP256, &bare).unwrap(), bare);
        assert_eq!(point(KeyType::EcP256, &wrapped).unwrap(), bare);
        let mut large = [7; 133];
        large[0] = 4;
        let wrapped = [&[0x04, 0x81, 133][..], &large].concat();
        assert_eq!(point(KeyType::EcP521, &wrapped).unwrap(), large);
        assert_eq!(point(KeyType::Ed25519, &[4; 32]).unwrap(), [4; 32]);
        assert_eq!(
            point(KeyType::Ed25519, &[&[0x04, 32][..], &[9; 32]].concat()).unwrap(),
            [9; 32]
        );
        assert!(point(KeyType::EcP256, &[4; 64]).is_err());
        assert!(point(KeyType::EcP256, &[2; 65]).is_err());
        assert!(point(KeyType::Ed25519, &[4; 33]).is_err());
    }
}
