//! Signing and verifying with an opened key. Pure.

use openssl::bn::BigNum;
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::hash::hash;
use openssl::pkey::{HasPublic, PKey, PKeyRef, Private, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::Padding;
use openssl::sign::{RsaPssSaltlen, Signer, Verifier};

use super::algorithm::{Hash, SignAlgorithm};
use super::kind::{Family, KeyKind};
use super::material::Material;
use crate::error::{Error, Result};
use crate::vault::names::names;

names! {
    /// How an ECDSA signature is written; others have one form.
    SignatureFormat, "a signature's format", {
        /// ASN.1, as in X.509 and TLS.
        Der = "der",
        /// The two numbers, each as long as the curve's (RFC 7518 §3.4).
        Jose = "jose",
    }
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToSign {
    /// A hash of the message, by the algorithm's hash function.
    Digest(Vec<u8>),
    /// The message itself.
    Message(Vec<u8>),
}

impl ToSign {
    pub(super) fn digest(&self, function: Hash) -> Result<Vec<u8>> {
        match self {
            Self::Digest(digest) if digest.len() == function.len() => Ok(digest.clone()),
            Self::Digest(digest) => Err(Error::invalid(format!(
                "the digest has {} bytes: this algorithm signs {}",
                digest.len(),
                function.len()
            ))),
            Self::Message(message) => hash(function.digest(), message)
                .map(|digest| digest.to_vec())
                .map_err(|e| Error::internal("hashing failed").because(e)),
        }
    }

    pub(super) fn message(&self, algorithm: SignAlgorithm) -> Result<&[u8]> {
        match self {
            Self::Message(message) => Ok(message),
            Self::Digest(_) => Err(Error::invalid(format!(
                "`{algorithm}` signs messages, not digests: give the message"
            ))),
        }
    }
}

pub(super) fn sign(
    material: &Material,
    kind: KeyKind,
    algorithm: SignAlgorithm,
    what: &ToSign,
    format: SignatureFormat,
) -> Result<Vec<u8>> {
    let failed = |e: ErrorStack| Error::internal("signing failed").because(e);
    match (kind.family(), algorithm.hash()) {
        (Family::Ed25519, _) => {
            let message = what.message(algorithm)?;
            let signed = Signer::new_without_digest(material.private()?)
                .and_then(|mut signer| signer.sign_oneshot_to_vec(message));
            signed.map_err(failed)
        }
        (Family::Hmac(_), Some(function)) => mac(material, function, what.message(algorithm)?),
        (Family::Ec(_, len), Some(function)) => {
            let digest = what.digest(function)?;
            let der = signed(material.private()?, Scheme::new(algorithm, function), &digest).map_err(failed)?;
            match format {
                SignatureFormat::Der => Ok(der),
                SignatureFormat::Jose => to_jose(&der, len).map_err(failed),
            }
        }
        (Family::Rsa(_), Some(function)) => {
            let digest = what.digest(function)?;
            signed(material.private()?, Scheme::new(algorithm, function), &digest).map_err(failed)
        }
        (Family::Aes(_), _) | (_, None) => Err(Error::internal("a key was made to sign that cannot")),
    }
}

/// Whether `signature` is one of `what`. A signature that is no signature at all is a wrong one.
pub(super) fn verify(
    material: &Material,
    kind: KeyKind,
    algorithm: SignAlgorithm,
    what: &ToSign,
    signature: &[u8],
    format: SignatureFormat,
) -> Result<bool> {
    match (kind.family(), algorithm.hash()) {
        (Family::Hmac(_), Some(function)) => {
            let right = mac(material, function, what.message(algorithm)?)?;
            Ok(right.len() == signature.len() && openssl::memcmp::eq(&right, signature))
        }
        _ => verify_with(material.public()?, kind, algorithm, what, signature, format),
    }
}

/// As [`verify`], by the public half.
pub(super) fn verify_with(
    public: &PKey<Public>,
    kind: KeyKind,
    algorithm: SignAlgorithm,
    what: &ToSign,
    signature: &[u8],
    format: SignatureFormat,
) -> Result<bool> {
    match (kind.family(), algorithm.hash()) {
        (Family::Ed25519, _) => {
            let message = what.message(algorithm)?;
            let verified = Verifier::new_without_digest(public)
                .and_then(|mut verifier| verifier.verify_oneshot(signature, message));
            Ok(verified.unwrap_or(false))
        }
        (Family::Ec(_, len), Some(function)) => {
            let digest = what.digest(function)?;
            let der = match format {
                SignatureFormat::Der => Some(signature.to_vec()),
                SignatureFormat::Jose => from_jose(signature, len),
            };
            let Some(der) = der else { return Ok(false) };
            verified(public, Scheme::new(algorithm, function), &digest, &der)
        }
        (Family::Rsa(_), Some(function)) => {
            let digest = what.digest(function)?;
            // OpenSSL takes one whose leading zeros are missing; RFC 8017 §8.1.2 and §8.2.2 do not.
            Ok(signature.len() == public.size()
                && verified(public, Scheme::new(algorithm, function), &digest, signature)?)
        }
        (Family::Aes(_) | Family::Hmac(_), _) | (_, None) => {
            Err(Error::internal("a key was made to verify that cannot"))
        }
    }
}

/// How a key pair signs digests.
#[derive(Clone, Copy)]
struct Scheme {
    algorithm: SignAlgorithm,
    function: Hash,
}

impl Scheme {
    fn new(algorithm: SignAlgorithm, function: Hash) -> Self {
        Self { algorithm, function }
    }

    fn set<T: HasPublic>(self, key: &PKeyRef<T>, ctx: &mut PkeyCtx<T>) -> std::result::Result<(), ErrorStack> {
        if key.id() == openssl::pkey::Id::RSA {
            if self.algorithm.is_pss() {
                ctx.set_rsa_padding(Padding::PKCS1_PSS)?;
                ctx.set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)?;
                ctx.set_rsa_mgf1_md(self.function.md())?;
            } else {
                ctx.set_rsa_padding(Padding::PKCS1)?;
            }
        }
        ctx.set_signature_md(self.function.md())
    }
}

fn signed(key: &PKey<Private>, scheme: Scheme, digest: &[u8]) -> std::result::Result<Vec<u8>, ErrorStack> {
    let mut ctx = PkeyCtx::new(key)?;
    ctx.sign_init()?;
    scheme.set(key, &mut ctx)?;
    let mut signature = Vec::new();
    ctx.sign_to_vec(digest, &mut signature)?;
    Ok(signature)
}

fn verified(key: &PKey<Public>, scheme: Scheme, digest: &[u8], signature: &[u8]) -> Result<bool> {
    let mut ctx = PkeyCtx::new(key)
        .and_then(|mut ctx| {
            ctx.verify_init()?;
            scheme.set(key, &mut ctx)?;
            Ok(ctx)
        })
        .map_err(|e| Error::internal("verifying failed").because(e))?;
    // OpenSSL errs at what is no signature.
    Ok(ctx.verify(digest, signature).unwrap_or(false))
}

fn mac(material: &Material, function: Hash, message: &[u8]) -> Result<Vec<u8>> {
    PKey::hmac(material.symmetric()?)
        .and_then(|key| Signer::new(function.digest(), &key)?.sign_oneshot_to_vec(message))
        .map_err(|e| Error::internal("signing failed").because(e))
}

fn to_jose(der: &[u8], len: usize) -> std::result::Result<Vec<u8>, ErrorStack> {
    let signature = EcdsaSig::from_der(der)?;
    let len = i32::try_from(len).unwrap_or(i32::MAX);
    let mut joined = signature.r().to_vec_padded(len)?;
    joined.extend(signature.s().to_vec_padded(len)?);
    Ok(joined)
}

/// The two numbers as ASN.1; `None` if they are not as long as those of the curve.
pub(super) fn from_jose(joined: &[u8], len: usize) -> Option<Vec<u8>> {
    if joined.len() != 2 * len {
        return None;
    }
    let (r, s) = joined.split_at_checked(len)?;
    let number = |bytes| BigNum::from_slice(bytes).ok();
    EcdsaSig::from_private_components(number(r)?, number(s)?)
        .and_then(|signature| signature.to_der())
        .ok()
}

/// A `DigestInfo` (RFC 8017 §9.2).
pub(super) fn digest_info(function: Hash, digest: &[u8]) -> Vec<u8> {
    let head: &[u8] = match function {
        Hash::Sha1 => &[
            0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14,
        ],
        Hash::Sha256 => &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04,
            0x20,
        ],
        Hash::Sha384 => &[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04,
            0x30,
        ],
        Hash::Sha512 => &[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04,
            0x40,
        ],
    };
    [head, digest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;
    use crate::vault::keys::material::tests::made;

    #[test]
    fn every_algorithm_signs_and_verifies_what_it_signed_and_nothing_else() {
        let message = ToSign::Message(b"attack at dawn".to_vec());
        let other = ToSign::Message(b"attack at noon".to_vec());
        for kind in KeyKind::ALL {
            // One size of RSA shows them all.
            if matches!(kind.family(), Family::Aes(_)) || matches!(kind, KeyKind::Rsa3072 | KeyKind::Rsa4096) {
                continue;
            }
            let (material, stranger) = (made(*kind), made(*kind));
            for algorithm in SignAlgorithm::ALL {
                if SignAlgorithm::choose(Some(*algorithm), *kind).is_err() {
                    continue;
                }
                for format in SignatureFormat::ALL {
                    let signature = sign(&material, *kind, *algorithm, &message, *format).unwrap();
                    let verify = |material, what: &ToSign, signature: &[u8]| {
                        verify(material, *kind, *algorithm, what, signature, *format).unwrap()
                    };
                    assert!(verify(&material, &message, &signature), "{kind} {algorithm} {format}");
                    assert!(!verify(&material, &other, &signature), "{kind} {algorithm} {format}");
                    assert!(!verify(&stranger, &message, &signature), "{kind} {algorithm} {format}");
                    for wrong in [&signature[1..], &[], &[signature.as_slice(), &[0]].concat()] {
                        assert!(!verify(&material, &message, wrong), "{kind} {algorithm} {format}");
                    }
                    let mut changed = signature.clone();
                    let last = changed.len() - 1;
                    changed[last] ^= 1;
                    assert!(!verify(&material, &message, &changed), "{kind} {algorithm} {format}");

                    let zeros = vec![0; signature.len()];
                    assert!(!verify(&material, &message, &zeros), "{kind} {algorithm} {format}");
                }
                let function = algorithm.hash();
                let digest = function.map(|function| ToSign::Digest(message.digest(function).unwrap()));
                let signed = digest
                    .as_ref()
                    .map(|digest| sign(&material, *kind, *algorithm, digest, SignatureFormat::Jose));
                match (kind.family(), signed) {
                    (Family::Ec(..) | Family::Rsa(_), Some(signed)) => {
                        let signed = signed.unwrap();
                        let format = SignatureFormat::Jose;
                        assert!(verify(&material, *kind, *algorithm, &message, &signed, format).unwrap());
                        let short = ToSign::Digest(vec![0; 31]);
                        assert!(sign(&material, *kind, *algorithm, &short, format).is_err());
                    }
                    (_, signed) => assert!(signed.is_none_or(|signed| signed.is_err())),
                }
            }
        }
    }

    /// RFC 4231 §4.3 and RFC 8032 §7.1 (test 2).
    #[test]
    fn published_vectors_match() {
        let what = ToSign::Message(b"what do ya want for nothing?".to_vec());
        let material = Material::Symmetric(Secret::new(b"Jefe".to_vec()));
        let mac = sign(
            &material,
            KeyKind::Hmac256,
            SignAlgorithm::Hs256,
            &what,
            SignatureFormat::Jose,
        )
        .unwrap();
        assert_eq!(
            hex::encode(mac),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );

        let private = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap();
        let pair = PKey::private_key_from_raw_bytes(&private, openssl::pkey::Id::ED25519).unwrap();
        let signed = sign(
            &Material::pair(pair).unwrap(),
            KeyKind::Ed25519,
            SignAlgorithm::EdDsa,
            &ToSign::Message(vec![0x72]),
            SignatureFormat::Der,
        );
        assert_eq!(
            hex::encode(signed.unwrap()),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
    }

    #[test]
    fn a_signature_without_its_leading_zero_is_none() {
        let material = made(KeyKind::Rsa2048);
        let (kind, algorithm, format) = (KeyKind::Rsa2048, SignAlgorithm::Ps256, SignatureFormat::Der);
        let what = ToSign::Message(b"x".to_vec());
        // One in 256 begins with one.
        let signature = (0..10_000)
            .map(|_| sign(&material, kind, algorithm, &what, format).unwrap())
            .find(|signature| signature[0] == 0)
            .unwrap();
        assert!(verify(&material, kind, algorithm, &what, &signature, format).unwrap());
        assert!(!verify(&material, kind, algorithm, &what, &signature[1..], format).unwrap());
    }

    #[test]
    fn a_pss_signature_is_no_pkcs1_signature() {
        let material = made(KeyKind::Rsa2048);
        let what = ToSign::Message(b"x".to_vec());
        let format = SignatureFormat::Der;
        let kind = KeyKind::Rsa2048;
        let pss = sign(&material, kind, SignAlgorithm::Ps256, &what, format).unwrap();
        assert!(!verify(&material, kind, SignAlgorithm::Rs256, &what, &pss, format).unwrap());
        assert!(!verify(&material, kind, SignAlgorithm::Ps384, &what, &pss, format).unwrap());
    }
}
