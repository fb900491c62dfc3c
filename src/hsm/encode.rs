//! From PKCS#11's shapes to X.509's: signatures and public keys.

use der::asn1::UintRef;
use der::{Encode, Sequence};

use super::error::HsmError;
use crate::key_type::KeyType;

/// `OBJECT IDENTIFIER prime256v1`, as `CKA_EC_PARAMS`.
pub(super) const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// `OBJECT IDENTIFIER secp384r1`, as `CKA_EC_PARAMS`.
pub(super) const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
/// `OBJECT IDENTIFIER id-Ed25519` (RFC 8410 §3), as `CKA_EC_PARAMS`.
pub(super) const ED25519: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// `SubjectPublicKeyInfo` up to the point, RFC 5480 §2.
const P256_SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// `SubjectPublicKeyInfo` up to the key, RFC 8410 §4.
const ED25519_SPKI: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

#[derive(Sequence)]
struct EcdsaSigValue<'a> {
    r: UintRef<'a>,
    s: UintRef<'a>,
}

/// PKCS#11's r‖s as `Ecdsa-Sig-Value` (RFC 3279 §2.2.3). The length is checked here: tokens are not asked to.
pub(super) fn ecdsa_der(raw: &[u8]) -> Result<Vec<u8>, HsmError> {
    let odd = || HsmError::Device(format!("an ECDSA signature of {} bytes, not 64", raw.len()));
    if raw.len() != 64 {
        return Err(odd());
    }
    let (r, s) = raw.split_at_checked(32).ok_or_else(odd)?;
    let (Ok(r), Ok(s)) = (UintRef::new(r), UintRef::new(s)) else {
        return Err(odd());
    };
    EcdsaSigValue { r, s }.to_der().map_err(|_| odd())
}

/// `CKA_EC_POINT` without its OCTET STRING: the standard wants one, some tokens leave it out.
pub(super) fn point(kind: KeyType, attribute: &[u8]) -> Result<&[u8], HsmError> {
    let length = match kind {
        KeyType::EcP256 => 65,
        KeyType::Ed25519 => 32,
        KeyType::Aes256 | KeyType::EcP384 | KeyType::Rsa2048 => return Err(unsupported(kind)),
    };
    let bare = match attribute {
        [0x04, inner_length, inner @ ..] if usize::from(*inner_length) == length && inner.len() == length => inner,
        bare => bare,
    };
    if bare.len() != length || (kind == KeyType::EcP256 && bare.first() != Some(&0x04)) {
        return Err(HsmError::Device(format!(
            "a public key of {} bytes for {kind}",
            attribute.len()
        )));
    }
    Ok(bare)
}

/// `SubjectPublicKeyInfo` of a bare point.
pub(super) fn spki(kind: KeyType, point: &[u8]) -> Result<Vec<u8>, HsmError> {
    match kind {
        KeyType::EcP256 => Ok([P256_SPKI, point].concat()),
        KeyType::Ed25519 => Ok([ED25519_SPKI, point].concat()),
        KeyType::Aes256 | KeyType::EcP384 | KeyType::Rsa2048 => Err(unsupported(kind)),
    }
}

/// What this room does not do with the token yet.
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
        let der = ecdsa_der(&raw).unwrap();
        assert_eq!(der[..7], [0x30, 0x26, 0x02, 0x01, 0x01, 0x02, 0x21]);
        assert_eq!(der[7..9], [0x00, 0x80]);
        assert!(ecdsa_der(&raw[..63]).is_err());
        assert!(ecdsa_der(&[0; 96]).is_err());
    }

    #[test]
    fn a_point_is_taken_with_and_without_its_octet_string() {
        let mut bare = [7; 65];
        bare[0] = 4;
        let wrapped = [&[0x04, 65][..], &bare].concat();
        assert_eq!(point(KeyType::EcP256, &bare).unwrap(), bare);
        assert_eq!(point(KeyType::EcP256, &wrapped).unwrap(), bare);
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
