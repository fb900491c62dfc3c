//! Keys of users: made in the token, kept outside it under a wrapping key, unwrapped into it to be used.
//!
//! So there can be as many as a database holds, not as many as a token holds. They are extractable under the wrap by
//! construction, and by nothing else: see [`Hsm::try_guards`].

use std::fmt;
use std::sync::Arc;

use super::heal::Suspect;
use super::{GENERATION, Hsm, HsmError, KeyRef};
use crate::secret::Secret;

/// A curve to sign or to agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    /// NIST P-256.
    P256,
    /// NIST P-384.
    P384,
    /// NIST P-521.
    P521,
    /// secp256k1 (SEC 2).
    Secp256k1,
}

/// A sort of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WrappedKind {
    /// AES with so many bytes: 16, 24 or 32.
    Aes(u8),
    /// ECDH. Such a key signs nothing.
    Agree(Curve),
    /// ECDSA.
    Ec(Curve),
    /// Ed25519.
    Ed25519,
    /// HMAC with so many bytes.
    Hmac(u8),
    /// RSA with so many bits.
    Rsa(u32),
}

/// A hash function, by the length of what it gives: 20 (SHA-1), 32, 48 or 64 bytes (SHA-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Digest {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct MadeKey {
    /// It, wrapped (RFC 5649).
    pub blob: Vec<u8>,
    /// Its `SubjectPublicKeyInfo`; a symmetric key has none.
    pub spki_der: Option<Vec<u8>>,
}

/// A key that was made elsewhere, in the parts that a token takes.
pub enum BroughtKey {
    /// On this curve, by its private number, as long as the curve's.
    Ec(Curve, Secret),
    /// RSA, by all its numbers (RFC 8017 §3.2).
    Rsa {
        /// n.
        modulus: Vec<u8>,
        /// e.
        public_exponent: Vec<u8>,
        /// d.
        private_exponent: Secret,
        /// p and q.
        primes: [Secret; 2],
        /// dP and dQ.
        exponents: [Secret; 2],
        /// qInv.
        coefficient: Secret,
    },
    /// AES or HMAC, by its bytes.
    Symmetric(WrappedKind, Secret),
}

/// A key as it is kept outside the token. Cheap to clone.
#[derive(Clone)]
pub struct WrappedKey {
    pub(super) id: Id,
    pub(super) kind: WrappedKind,
    pub(super) blob: Arc<[u8]>,
    pub(super) wrapping: KeyRef,
}

/// What a wrapped key is found by inside the token: a hash of its blob.
pub(super) type Id = [u8; 32];

impl WrappedKey {
    /// The key that `wrapping` wrapped into `blob`.
    pub fn new(wrapping: KeyRef, kind: WrappedKind, blob: &[u8]) -> Self {
        let mut id = [0; 32];
        for (to, from) in id
            .iter_mut()
            .zip(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, blob).as_ref())
        {
            *to = *from;
        }
        Self {
            id,
            kind,
            blob: blob.into(),
            wrapping,
        }
    }
}

/// Without the blob.
impl fmt::Debug for WrappedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// One use of a wrapped key. What is padded by nobody here is padded by the caller.
#[derive(Clone)]
pub enum Use {
    /// Decrypts blocks in CBC mode and takes the PKCS#7 padding away.
    CbcDecrypt([u8; 16], Vec<u8>),
    /// Encrypts in CBC mode with PKCS#7 padding.
    CbcEncrypt([u8; 16], Secret),
    /// Encrypts bare blocks of 16 bytes (AES).
    Ecb(Secret),
    /// Agrees with the holder of the key at this point, uncompressed (SEC 1 §2.3.3): the shared secret is the x of the
    /// product (SP 800-56A §5.7.1.2), as long as the curve's numbers. The caller has seen that the point is on the curve.
    Ecdh(Vec<u8>),
    /// Signs a digest: r‖s.
    Ecdsa(Vec<u8>),
    /// Signs a message (Ed25519).
    Eddsa(Vec<u8>),
    /// Opens a ciphertext with its tag behind it (AES-GCM): nonce, associated data, ciphertext.
    GcmOpen([u8; 12], Vec<u8>, Vec<u8>),
    /// Seals, the tag behind the ciphertext (AES-GCM): nonce, associated data, plaintext.
    GcmSeal([u8; 12], Vec<u8>, Secret),
    /// The MAC of a message.
    Hmac(Digest, Vec<u8>),
    /// Signs a `DigestInfo` by PKCS#1 v1.5 (RFC 8017 §8.2).
    RsaPkcs1(Vec<u8>),
    /// Signs a digest by PSS with a salt as long (RFC 8017 §8.1).
    RsaPss(Digest, Vec<u8>),
    /// The bare private operation on a number as long as the modulus (RFC 8017 §5.1.2).
    RsaRaw(Vec<u8>),
    /// Unwraps another key's bytes: padded (RFC 5649) or not (RFC 3394).
    Unwrap {
        /// By RFC 5649.
        padded: bool,
        /// The wrapped bytes.
        wrapped: Vec<u8>,
    },
    /// Wraps another key's bytes: padded (RFC 5649) or not (RFC 3394).
    Wrap {
        /// By RFC 5649.
        padded: bool,
        /// The bytes.
        bytes: Secret,
    },
}

impl Use {
    /// Whose fault a general error is.
    fn suspect(&self) -> Suspect {
        match self {
            Self::CbcDecrypt(..) | Self::GcmOpen(..) | Self::RsaRaw(_) | Self::Unwrap { .. } => Suspect::Data,
            Self::CbcEncrypt(..)
            | Self::Ecb(_)
            | Self::Ecdh(_)
            | Self::Ecdsa(_)
            | Self::Eddsa(_)
            | Self::GcmSeal(..)
            | Self::Hmac(..)
            | Self::RsaPkcs1(_)
            | Self::RsaPss(..)
            | Self::Wrap { .. } => Suspect::Device,
        }
    }
}

impl Hsm {
    /// Makes a key in the token and wraps it out; inside nothing stays.
    ///
    /// # Errors
    /// `Unsupported` if the token cannot make or wrap such keys; else as [`Hsm::sign`].
    pub async fn make_wrapped(&self, wrapping: &KeyRef, kind: WrappedKind) -> Result<MadeKey, HsmError> {
        let wrapping = wrapping.clone();
        let _turn = self.inner.making.turn().await?;
        self.inner
            .pool
            .call(GENERATION, move |station, until| {
                station.run(until, Suspect::Device, |seat, pass| {
                    seat.make_wrapped(pass, &wrapping, kind)
                })
            })
            .await
    }

    /// Wraps a key that was made elsewhere (RFC 5649); inside nothing stays.
    ///
    /// # Errors
    /// As [`Hsm::make_wrapped`].
    pub async fn wrap_brought(&self, wrapping: &KeyRef, key: BroughtKey) -> Result<Vec<u8>, HsmError> {
        let wrapping = wrapping.clone();
        self.call(Suspect::Device, move |seat, _| seat.wrap_brought(&wrapping, &key))
            .await
    }

    /// Uses a wrapped key. It is unwrapped if it is not in the token already, and stays there until others are used more.
    ///
    /// # Errors
    /// `Data` if what is to be decrypted or unwrapped does not open; else as [`Hsm::sign`].
    pub async fn use_wrapped(&self, key: &WrappedKey, act: Use) -> Result<Secret, HsmError> {
        let (key, suspect) = (key.clone(), act.suspect());
        self.call(suspect, move |seat, pass| seat.use_wrapped(pass, &key, &act))
            .await
    }

    /// Tries to get at a wrapped key as somebody would who has the PIN and a blob.
    ///
    /// # Errors
    /// `Unsupported` if the token lets them: it must not keep such keys.
    pub async fn try_guards(&self, wrapping: &KeyRef) -> Result<(), HsmError> {
        let wrapping = wrapping.clone();
        self.call(Suspect::Device, move |seat, pass| seat.try_guards(pass, &wrapping))
            .await
    }
}
