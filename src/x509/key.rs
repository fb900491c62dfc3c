//! Subject keys: which public keys may be certified, and software keys for those who ask for certificates.
//!
//! Must never hold an issuing key: those are made in the HSM.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{self, ParsedPublicKey, UnparsedPublicKey, VerificationAlgorithm};
use der::asn1::UintRef;
use der::{Decode, Encode, Sequence};
use rcgen::{KeyPair, PublicKeyData, RsaKeySize, SignatureAlgorithm};
use rustls::pki_types::PrivatePkcs8KeyDer;
use x509_cert::spki::{AlgorithmIdentifierOwned, ObjectIdentifier, SubjectPublicKeyInfoOwned};

use super::{X509Error, weak};
use crate::key_type::KeyType;
use crate::secret::Secret;

const ID_EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
/// RFC 5758 §3.2.
const ECDSA_WITH_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_WITH_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_WITH_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
/// RFC 4055 §5.
const SHA256_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const SHA384_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const SHA512_WITH_RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
/// RFC 4055 §2.1, §2.2, §3.
const MGF1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.8");
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// What kind of public key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublicKeyKind {
    /// ECDSA on NIST P-256.
    EcP256,
    /// ECDSA on NIST P-384.
    EcP384,
    /// ECDSA on NIST P-521.
    EcP521,
    /// Ed25519 (RFC 8410).
    Ed25519,
    /// RSA with this many bits in its modulus.
    Rsa(usize),
}

impl fmt::Display for PublicKeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcP256 => f.write_str(KeyType::EcP256.as_str()),
            Self::EcP384 => f.write_str(KeyType::EcP384.as_str()),
            Self::EcP521 => f.write_str(KeyType::EcP521.as_str()),
            Self::Ed25519 => f.write_str(KeyType::Ed25519.as_str()),
            Self::Rsa(bits) => write!(f, "rsa-{bits}"),
        }
    }
}

/// A public key that was checked when it was read: the point is on its curve, the modulus is not weak, the encoding is
/// DER and has one form only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: PublicKeyKind,
    spki: Vec<u8>,
    /// The content of the BIT STRING.
    bits: Vec<u8>,
    /// Whether its holder signs by RSASSA-PSS. The key does not say so itself.
    pss: bool,
}

/// RFC 8017 §A.1.1.
#[derive(Sequence)]
pub(super) struct RsaPublicKey<'a> {
    pub(super) modulus: UintRef<'a>,
    pub(super) exponent: UintRef<'a>,
}

impl PublicKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// `Malformed` if it is not DER; `Refused` for algorithms that are never certified and for weak keys.
    pub fn from_spki(der: &[u8]) -> Result<Self, X509Error> {
        let what = "public key";
        let spki = SubjectPublicKeyInfoOwned::from_der(der).map_err(|e| X509Error::malformed(what, e))?;
        if spki.to_der().map_err(|e| X509Error::malformed(what, e))? != der {
            return Err(X509Error::malformed(what, "it is not in DER"));
        }
        let bits = spki
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| X509Error::malformed(what, "it is not a whole number of octets"))?;
        let kind = classify(&spki.algorithm, bits)?;
        match kind {
            PublicKeyKind::EcP256 => check_point(&signature::ECDSA_P256_SHA256_ASN1, 65, bits)?,
            PublicKeyKind::EcP384 => check_point(&signature::ECDSA_P384_SHA384_ASN1, 97, bits)?,
            PublicKeyKind::EcP521 => check_point(&signature::ECDSA_P521_SHA512_ASN1, 133, bits)?,
            PublicKeyKind::Ed25519 => {
                ParsedPublicKey::new(&signature::ED25519, bits).map_err(|e| X509Error::malformed(what, e))?;
            }
            PublicKeyKind::Rsa(_) => check_rsa(bits)?,
        }
        Ok(Self {
            kind,
            bits: bits.to_vec(),
            pss: false,
            spki: der.to_vec(),
        })
    }

    /// The key of an issuer of this kind, which says by what it signs.
    #[must_use]
    pub fn signing_as(mut self, kind: KeyType) -> Self {
        self.pss = kind.is_pss();
        self
    }

    /// Whether its holder signs by RSASSA-PSS.
    pub(super) fn is_pss(&self) -> bool {
        self.pss
    }

    /// Its kind.
    pub fn kind(&self) -> PublicKeyKind {
        self.kind
    }

    /// The DER `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The modulus, big-endian without leading zeros; none if it is no RSA key.
    pub(super) fn modulus(&self) -> Result<Option<&[u8]>, X509Error> {
        match self.kind {
            PublicKeyKind::Rsa(_) => Ok(Some(rsa(&self.bits)?.modulus.as_bytes())),
            _ => Ok(None),
        }
    }

    /// The content of the BIT STRING.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits
    }

    /// The key identifier that we use: the first 160 bits of SHA-256 over the BIT STRING's content (RFC 7093 §2,
    /// method 1).
    pub fn id(&self) -> Vec<u8> {
        let hash = digest::digest(&digest::SHA256, &self.bits);
        hash.as_ref().iter().take(20).copied().collect()
    }

    /// How an issuer with this key signs, and the algorithm that says so in what it signs: each key one way. The hash
    /// grows with the key.
    fn scheme(&self) -> Scheme {
        let scheme = |oid, rcgen, verify| Scheme { oid, rcgen, verify };
        match self.kind {
            PublicKeyKind::EcP256 => scheme(
                ECDSA_WITH_SHA256,
                &rcgen::PKCS_ECDSA_P256_SHA256,
                &signature::ECDSA_P256_SHA256_ASN1,
            ),
            PublicKeyKind::EcP384 => scheme(
                ECDSA_WITH_SHA384,
                &rcgen::PKCS_ECDSA_P384_SHA384,
                &signature::ECDSA_P384_SHA384_ASN1,
            ),
            PublicKeyKind::EcP521 => scheme(
                ECDSA_WITH_SHA512,
                &rcgen::PKCS_ECDSA_P521_SHA512,
                &signature::ECDSA_P521_SHA512_ASN1,
            ),
            PublicKeyKind::Ed25519 => scheme(ID_ED25519, &rcgen::PKCS_ED25519, &signature::ED25519),
            // rcgen knows no PSS: what it names is replaced in what is to be signed.
            PublicKeyKind::Rsa(..3072) if self.pss => scheme(
                RSASSA_PSS,
                &rcgen::PKCS_RSA_SHA256,
                &signature::RSA_PSS_2048_8192_SHA256,
            ),
            PublicKeyKind::Rsa(3072..4096) if self.pss => scheme(
                RSASSA_PSS,
                &rcgen::PKCS_RSA_SHA384,
                &signature::RSA_PSS_2048_8192_SHA384,
            ),
            PublicKeyKind::Rsa(4096..) if self.pss => scheme(
                RSASSA_PSS,
                &rcgen::PKCS_RSA_SHA512,
                &signature::RSA_PSS_2048_8192_SHA512,
            ),
            PublicKeyKind::Rsa(..3072) => scheme(
                SHA256_WITH_RSA,
                &rcgen::PKCS_RSA_SHA256,
                &signature::RSA_PKCS1_2048_8192_SHA256,
            ),
            PublicKeyKind::Rsa(3072..4096) => scheme(
                SHA384_WITH_RSA,
                &rcgen::PKCS_RSA_SHA384,
                &signature::RSA_PKCS1_2048_8192_SHA384,
            ),
            PublicKeyKind::Rsa(4096..) => scheme(
                SHA512_WITH_RSA,
                &rcgen::PKCS_RSA_SHA512,
                &signature::RSA_PKCS1_2048_8192_SHA512,
            ),
        }
    }

    /// The algorithms that an issuer with this key may name.
    ///
    /// # Errors
    /// As [`Self::signature_algorithm`].
    pub(super) fn signature_algorithms(&self) -> Result<Vec<AlgorithmIdentifierOwned>, X509Error> {
        let ways: &[bool] = match self.kind {
            PublicKeyKind::Rsa(_) => &[false, true],
            PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 | PublicKeyKind::Ed25519 => &[false],
        };
        let named = |pss: &bool| {
            Self {
                pss: *pss,
                ..self.clone()
            }
            .signature_algorithm()
        };
        ways.iter().map(named).collect()
    }

    /// The algorithm that an issuer with this key names in what it signs.
    ///
    /// # Errors
    /// `Build` if it cannot be encoded.
    pub(super) fn signature_algorithm(&self) -> Result<AlgorithmIdentifierOwned, X509Error> {
        let parameters = match self.kind {
            PublicKeyKind::Rsa(bits) if self.pss => Some(pss_parameters(bits).map_err(X509Error::build)?),
            // RFC 4055 §5: NULL.
            PublicKeyKind::Rsa(_) => Some(der::asn1::Any::null()),
            PublicKeyKind::EcP256 | PublicKeyKind::EcP384 | PublicKeyKind::EcP521 | PublicKeyKind::Ed25519 => None,
        };
        Ok(AlgorithmIdentifierOwned {
            oid: self.scheme().oid,
            parameters,
        })
    }

    /// Verifies a signature that an issuer with this key made over `message`; `what` is what it stands on.
    ///
    /// # Errors
    /// `Signature` if it does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8], what: &'static str) -> Result<(), X509Error> {
        UnparsedPublicKey::new(self.scheme().verify, &self.bits)
            .verify(message, signature)
            .map_err(|_| X509Error::Signature(what))
    }
}

/// RFC 4055 §3.1.
#[derive(Sequence)]
struct PssParameters {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask: AlgorithmIdentifierOwned,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt_length: u8,
}

/// One hash for message and mask, and a salt as long as it.
fn pss_parameters(bits: usize) -> der::Result<der::asn1::Any> {
    let (hash, salt_length) = match bits {
        ..3072 => (SHA256, 32),
        3072..4096 => (SHA384, 48),
        4096.. => (SHA512, 64),
    };
    let hash = AlgorithmIdentifierOwned {
        oid: hash,
        parameters: Some(der::asn1::Any::null()),
    };
    let mask = AlgorithmIdentifierOwned {
        oid: MGF1,
        parameters: Some(der::asn1::Any::encode_from(&hash)?),
    };
    der::asn1::Any::encode_from(&PssParameters {
        hash,
        mask,
        salt_length,
    })
}

/// One way to sign.
struct Scheme {
    oid: ObjectIdentifier,
    rcgen: &'static SignatureAlgorithm,
    verify: &'static dyn VerificationAlgorithm,
}

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bits
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.scheme().rcgen
    }
}

fn classify(algorithm: &AlgorithmIdentifierOwned, bits: &[u8]) -> Result<PublicKeyKind, X509Error> {
    let refused = || {
        X509Error::Refused(format!(
            "keys of algorithm {} are not certified: use ec-p256, ec-p384, ec-p521, ed25519 or rsa-2048 and up",
            algorithm.oid
        ))
    };
    match algorithm.oid {
        ID_EC_PUBLIC_KEY => {
            let curve = algorithm
                .parameters
                .as_ref()
                .and_then(|any| any.decode_as::<ObjectIdentifier>().ok());
            match curve {
                Some(SECP256R1) => Ok(PublicKeyKind::EcP256),
                Some(SECP384R1) => Ok(PublicKeyKind::EcP384),
                Some(SECP521R1) => Ok(PublicKeyKind::EcP521),
                _ => Err(X509Error::Refused(
                    "keys on this elliptic curve are not certified: use ec-p256, ec-p384 or ec-p521".to_owned(),
                )),
            }
        }
        // RFC 8410 §3: the parameters are absent.
        ID_ED25519 if algorithm.parameters.is_none() => Ok(PublicKeyKind::Ed25519),
        // RFC 3279 §2.3.1: the parameters are NULL.
        RSA_ENCRYPTION if algorithm.parameters.as_ref().is_some_and(der::asn1::Any::is_null) => {
            let key = rsa(bits)?;
            Ok(PublicKeyKind::Rsa(bit_length(key.modulus.as_bytes())))
        }
        _ => Err(refused()),
    }
}

fn rsa(bits: &[u8]) -> Result<RsaPublicKey<'_>, X509Error> {
    RsaPublicKey::from_der(bits).map_err(|e| X509Error::malformed("RSA public key", e))
}

/// SECURITY: an off-curve point would be certified as a key that nobody holds; compressed forms are refused so that one
/// key has one SPKI hash.
fn check_point(
    algorithm: &'static signature::EcdsaVerificationAlgorithm,
    len: usize,
    bits: &[u8],
) -> Result<(), X509Error> {
    if bits.len() != len || bits.first() != Some(&4) {
        return Err(X509Error::Refused(
            "the elliptic curve point is not in uncompressed form: export the key uncompressed".to_owned(),
        ));
    }
    ParsedPublicKey::new(algorithm, bits)
        .map(|_| ())
        .map_err(|_| X509Error::Refused("the point is not on its curve: make a new key".to_owned()))
}

fn check_rsa(bits: &[u8]) -> Result<(), X509Error> {
    let key = rsa(bits)?;
    let (modulus, exponent) = (key.modulus.as_bytes(), key.exponent.as_bytes());
    let length = bit_length(modulus);
    let weak = |why: &str| {
        Err(X509Error::Refused(format!(
            "the RSA key is weak: {why}; make a new key"
        )))
    };
    if length < 2048 {
        return weak(&format!("its modulus has {length} bits, use at least 2048"));
    }
    if !length.is_multiple_of(8) {
        return weak(&format!("its modulus has {length} bits, use a multiple of 8"));
    }
    if length > 8192 {
        return Err(X509Error::Refused(format!(
            "the RSA key has {length} bits: use at most 8192"
        )));
    }
    let exponent = exponent.iter().try_fold(0u64, |value, byte| {
        value
            .checked_mul(256)
            .and_then(|value| value.checked_add(u64::from(*byte)))
    });
    match exponent {
        Some(value) if value % 2 == 1 && (65_537..1 << 33).contains(&value) => {}
        _ => return weak("its exponent is not an odd number from 65537 up to 2^33"),
    }
    weak::modulus(modulus).or_else(|why| weak(&why))
}

fn bit_length(bytes: &[u8]) -> usize {
    let start = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    match bytes.get(start) {
        Some(first) => (bytes.len() - start) * 8 - first.leading_zeros() as usize,
        None => 0,
    }
}

/// Makes a software key for a subject: PKCS#8 DER.
///
/// # Errors
/// `Refused` for kinds that are never certified; `Build` if the library fails.
pub fn generate(kind: KeyType) -> Result<Secret, X509Error> {
    let rsa = |size| KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, size);
    let pair = match kind {
        KeyType::EcP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
        KeyType::EcP384 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384),
        KeyType::EcP521 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512),
        KeyType::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        KeyType::Rsa2048 => rsa(RsaKeySize::_2048),
        KeyType::Rsa3072 => rsa(RsaKeySize::_3072),
        KeyType::Rsa4096 => rsa(RsaKeySize::_4096),
        KeyType::Aes256 | KeyType::AesWrap256 => {
            return Err(X509Error::Refused(format!(
                "`{kind}` keys have no public half to certify: use an EC, Ed25519 or RSA key"
            )));
        }
        KeyType::RsaPss2048 | KeyType::RsaPss3072 | KeyType::RsaPss4096 => {
            return Err(X509Error::Refused(format!(
                "`{kind}` says how an issuer signs: use `{}`",
                kind.material()
            )));
        }
    };
    Ok(Secret::new(pair.map_err(X509Error::build)?.serialize_der()))
}

/// The public half of a PKCS#8 key.
///
/// # Errors
/// `Malformed` if the key cannot be read, otherwise as [`PublicKey::from_spki`].
pub fn public(key: &Secret) -> Result<PublicKey, X509Error> {
    PublicKey::from_spki(&pair(key)?.subject_public_key_info())
}

/// The key with the algorithm that one of its kind signs with.
pub(super) fn pair(key: &Secret) -> Result<KeyPair, X509Error> {
    let refuse = |_| X509Error::malformed("private key", "send PKCS#8 of an EC, Ed25519 or RSA key");
    let pair = KeyPair::try_from(key.expose()).map_err(refuse)?;
    let algorithm = PublicKey::from_spki(&pair.subject_public_key_info())?.algorithm();
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(key.expose()), algorithm).map_err(refuse)
}

#[cfg(test)]
mod tests {
    use super::*;
    use der::asn1::{Any, BitString};
    use proptest::prelude::*;
    use rcgen::SigningKey as _;

    fn spki(algorithm: ObjectIdentifier, parameters: Option<Any>, bits: &[u8]) -> Vec<u8> {
        SubjectPublicKeyInfoOwned {
            algorithm: AlgorithmIdentifierOwned {
                oid: algorithm,
                parameters,
            },
            subject_public_key: BitString::from_bytes(bits).unwrap(),
        }
        .to_der()
        .unwrap()
    }

    fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
        let key = RsaPublicKey {
            modulus: UintRef::new(modulus).unwrap(),
            exponent: UintRef::new(exponent).unwrap(),
        };
        spki(RSA_ENCRYPTION, Some(Any::null()), &key.to_der().unwrap())
    }

    fn refusal(der: &[u8]) -> String {
        PublicKey::from_spki(der).unwrap_err().to_string()
    }

    #[test]
    fn every_kind_that_is_made_may_be_certified() {
        for (kind, shown) in [
            (KeyType::EcP256, PublicKeyKind::EcP256),
            (KeyType::EcP384, PublicKeyKind::EcP384),
            (KeyType::EcP521, PublicKeyKind::EcP521),
            (KeyType::Ed25519, PublicKeyKind::Ed25519),
            (KeyType::Rsa2048, PublicKeyKind::Rsa(2048)),
            (KeyType::Rsa3072, PublicKeyKind::Rsa(3072)),
            (KeyType::Rsa4096, PublicKeyKind::Rsa(4096)),
        ] {
            let secret = generate(kind).unwrap();
            let key = public(&secret).unwrap();
            assert_eq!(key.kind(), shown);
            assert_eq!(key.kind().to_string(), kind.as_str());
            assert_eq!(key.subject_public_key_info(), key.spki(), "rcgen writes the same bytes");
            assert_eq!(key.id().len(), 20);
            let signature = pair(&secret).unwrap().sign(b"message").unwrap();
            key.verify(b"message", &signature, "it").unwrap();
            assert!(key.verify(b"another", &signature, "it").is_err());
        }
        assert!(generate(KeyType::Aes256).is_err());
    }

    #[test]
    fn weak_rsa_keys_are_refused() {
        let good = {
            let key = public(&generate(KeyType::Rsa2048).unwrap()).unwrap();
            rsa(&key.bits).unwrap().modulus.as_bytes().to_vec()
        };
        assert!(PublicKey::from_spki(&rsa_spki(&good, &[1, 0, 1])).is_ok());
        assert!(refusal(&rsa_spki(&good[..128], &[1, 0, 1])).contains("1024 bits"));
        assert!(refusal(&rsa_spki(&good, &[3])).contains("exponent"));
        assert!(refusal(&rsa_spki(&good, &[1, 0, 0])).contains("exponent"));
        assert!(refusal(&rsa_spki(&good, &[2, 0, 0, 0, 1])).contains("exponent"));
        let mut even = good.clone();
        *even.last_mut().unwrap() &= 0xfe;
        assert!(refusal(&rsa_spki(&even, &[1, 0, 1])).contains("divisible by 2"));
        // A multiple of three: the lowest octet is moved until the digits' sum allows it, staying odd.
        let mut three = good.clone();
        while three.iter().map(|byte| u32::from(*byte)).sum::<u32>() % 3 != 0 || three.last().unwrap() % 2 == 0 {
            let last = three.last_mut().unwrap();
            *last = last.wrapping_add(1);
        }
        assert!(refusal(&rsa_spki(&three, &[1, 0, 1])).contains("divisible by 3"));
        let mut odd_size = good;
        odd_size.insert(0, 1);
        assert!(refusal(&rsa_spki(&odd_size, &[1, 0, 1])).contains("multiple of 8"));
    }

    #[test]
    fn points_off_the_curve_and_foreign_algorithms_are_refused() {
        let key = public(&generate(KeyType::EcP256).unwrap()).unwrap();
        let curve = Any::encode_from(&SECP256R1).unwrap();
        let mut off = key.bits.clone();
        *off.last_mut().unwrap() ^= 1;
        assert!(refusal(&spki(ID_EC_PUBLIC_KEY, Some(curve.clone()), &off)).contains("not on its curve"));
        assert!(refusal(&spki(ID_EC_PUBLIC_KEY, Some(curve.clone()), &[0])).contains("uncompressed"));
        let mut compressed = key.bits[..33].to_vec();
        compressed[0] = 2 + (key.bits[64] & 1);
        assert!(refusal(&spki(ID_EC_PUBLIC_KEY, Some(curve), &compressed)).contains("uncompressed"));
        let k256 = Any::encode_from(&ObjectIdentifier::new_unwrap("1.3.132.0.10")).unwrap();
        assert!(refusal(&spki(ID_EC_PUBLIC_KEY, Some(k256), &key.bits)).contains("use ec-p256, ec-p384 or ec-p521"));
        let dsa = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");
        assert!(refusal(&spki(dsa, None, &key.bits)).contains("1.2.840.10040.4.1"));
        assert!(refusal(&spki(RSA_ENCRYPTION, None, &key.bits)).contains("not certified"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = PublicKey::from_spki(&bytes);
            let _ = public(&Secret::new(bytes));
        }

        #[test]
        fn one_changed_octet_never_panics(at in 0usize..294, to in any::<u8>()) {
            // A fixed 2048-bit shape: the modulus need not be a product of two primes to be read.
            let mut der = rsa_spki(&[0xc1; 256], &[1, 0, 1]);
            if let Some(byte) = der.get_mut(at) {
                *byte = to;
            }
            let _ = PublicKey::from_spki(&der);
        }
    }
}
