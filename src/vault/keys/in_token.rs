//! Keys of protection `hsm`: made in the token, kept wrapped by it, used in it.
//!
//! What a version seals under its vault's data key is the wrapped key, so the token *and* the data key are needed to use
//! it, and a row that somebody moved does not open. What needs only the public half is done here in the process; so is
//! the padding that a token may not know (OAEP with SHA-2), and AES-GCM under the key that an envelope derives.

use std::sync::Arc;

use openssl::bn::BigNumRef;
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use tokio::sync::OnceCell;

use super::algorithm::{CipherAlgorithm, Hash, SignAlgorithm, WrapAlgorithm};
use super::cipher::{self, Beside, Ciphertext, With, bare, undecryptable};
use super::envelope::{self, Draft, Maker, TAG_LEN};
use super::kind::{Family, KeyKind, KeyOps};
use super::material::{Fresh, Material};
use super::oaep;
use super::peer::Peer;
use super::sign::{self, SignatureFormat, ToSign};
use crate::clock::Clock;
use crate::custody;
use crate::entropy::{self, Entropy};
use crate::error::{Error, Kind, Result};
use crate::hsm::{BroughtKey, Curve, Digest, Hsm, HsmError, KeyRef, Use, WrappedKey, WrappedKind};
use crate::id::Id;
use crate::key_type::KeyType;
use crate::secret::Secret;
use crate::store::Store;

/// The wrapping key's label in the token. Its number stands in front of what it wrapped.
const WRAPPING: &str = "wrapping-1";
const NUMBER: u8 = 1;

const BLOCK: usize = 16;

/// The token, for keys of protection `hsm`.
pub(super) struct TokenKeys {
    hsm: Hsm,
    store: Store,
    clock: Arc<dyn Clock>,
    /// The wrapping key, once it has proven that it keeps what it wraps.
    wrapping: OnceCell<KeyRef>,
}

/// A key in the token.
pub(super) struct TokenKey {
    hsm: Hsm,
    key: WrappedKey,
    public: Option<PKey<Public>>,
    /// A block of zeros, encrypted: what envelopes are derived with.
    zero: OnceCell<Secret>,
}

impl TokenKeys {
    pub(super) fn new(hsm: Hsm, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self {
            hsm,
            store,
            clock,
            wrapping: OnceCell::new(),
        }
    }

    /// Makes a key, or takes the one that is given, and tries it: what the token cannot do is refused now, not when the
    /// key is needed.
    pub(super) async fn make(
        &self,
        kind: KeyKind,
        ops: &KeyOps,
        given: Option<Fresh>,
        entropy: &dyn Entropy,
    ) -> Result<Fresh> {
        let wrapping = self.wrapping().await?;
        let refused = |e: HsmError| match e {
            HsmError::Data(_) | HsmError::Device(_) | HsmError::Unsupported(_) => Error::invalid(format!(
                "this token does not keep keys of type `{kind}`: use protection `software`, or another type"
            ))
            .because(e),
            other => other.into(),
        };
        let (blob, public) = match given {
            Some(Fresh { private, public }) => {
                let brought = brought(kind, &private)?;
                let blob = self.hsm.wrap_brought(wrapping, brought).await.map_err(refused)?;
                (blob, public)
            }
            None => {
                let made = self.hsm.make_wrapped(wrapping, wrapped_kind(kind, ops)).await;
                let made = made.map_err(refused)?;
                (made.blob, made.spki_der)
            }
        };
        let fresh = Fresh {
            private: Secret::new([&[NUMBER], blob.as_slice()].concat()),
            public,
        };
        let key = self.open(kind, ops, &fresh.private, fresh.public.as_deref()).await?;
        key.tried(kind, ops, entropy).await?;
        Ok(fresh)
    }

    /// Opens what [`Self::make`] made.
    pub(super) async fn open(
        &self,
        kind: KeyKind,
        ops: &KeyOps,
        sealed: &Secret,
        public: Option<&[u8]>,
    ) -> Result<TokenKey> {
        let Some((&NUMBER, blob)) = sealed.expose().split_first() else {
            return Err(Error::internal(
                "a key in the token was wrapped by a key that this version does not know",
            ));
        };
        let public = public
            .map(PKey::public_key_from_der)
            .transpose()
            .map_err(|e| Error::internal("a stored public key is damaged").because(e))?;
        Ok(TokenKey {
            hsm: self.hsm.clone(),
            key: WrappedKey::new(self.wrapping().await?.clone(), wrapped_kind(kind, ops), blob),
            public,
            zero: OnceCell::new(),
        })
    }

    /// Tries the wrapping key if there is one.
    pub(super) async fn check(&self) -> Result<()> {
        if custody::registered(&self.store, WRAPPING).await?.is_some() {
            self.wrapping().await?;
        }
        Ok(())
    }

    async fn wrapping(&self) -> Result<&KeyRef> {
        let prove = || async {
            let kind = KeyType::AesWrap256;
            let made = custody::ensure(&self.store, &self.hsm, WRAPPING, kind, &*self.clock).await?;
            self.hsm.try_guards(&made.key).await?;
            Ok(made.key)
        };
        self.wrapping
            .get_or_try_init(prove)
            .await
            .map_err(|e: Error| match e.kind() {
                Kind::Internal => {
                    tracing::error!("this token is not trusted with users' keys: {}", e.detail());
                    Error::conflict(
                        "this token cannot keep users' keys safely: use protection `software` (the service's log says \
                         why)",
                    )
                    .because(e)
                }
                _ => e,
            })
    }
}

impl TokenKey {
    pub(super) fn public(&self) -> Result<&PKey<Public>> {
        self.public
            .as_ref()
            .ok_or_else(|| Error::internal("a symmetric key was taken for a key pair"))
    }

    pub(super) async fn sign(
        &self,
        kind: KeyKind,
        algorithm: SignAlgorithm,
        what: &ToSign,
        format: SignatureFormat,
    ) -> Result<Vec<u8>> {
        let act = match (kind.family(), algorithm.hash()) {
            (Family::Ed25519, _) => Use::Eddsa(what.message(algorithm)?.to_vec()),
            (Family::Hmac(_), Some(function)) => Use::Hmac(digest(function)?, what.message(algorithm)?.to_vec()),
            (Family::Ec(..), Some(function)) => Use::Ecdsa(what.digest(function)?),
            (Family::Rsa(_), Some(function)) if algorithm.is_pss() => {
                Use::RsaPss(digest(function)?, what.digest(function)?)
            }
            (Family::Rsa(_), Some(function)) => Use::RsaPkcs1(sign::digest_info(function, &what.digest(function)?)),
            (Family::Aes(_), _) | (_, None) => return Err(Error::internal("a key was made to sign that cannot")),
        };
        let signature = self.hsm.use_wrapped(&self.key, act).await?.expose().to_vec();
        match (kind.family(), format) {
            (Family::Ec(_, len), SignatureFormat::Der) => {
                sign::from_jose(&signature, len).ok_or_else(|| Error::internal("the token's signature is none"))
            }
            _ => Ok(signature),
        }
    }

    /// Whether `mac` is the one over `what`.
    pub(super) async fn verify_mac(
        &self,
        kind: KeyKind,
        algorithm: SignAlgorithm,
        what: &ToSign,
        mac: &[u8],
    ) -> Result<bool> {
        let right = self.sign(kind, algorithm, what, SignatureFormat::Jose).await?;
        Ok(right.len() == mac.len() && openssl::memcmp::eq(&right, mac))
    }

    /// Encrypts with AES.
    pub(super) async fn encrypt(
        &self,
        algorithm: CipherAlgorithm,
        maker: Maker,
        entropy: &dyn Entropy,
        plaintext: Secret,
        beside: &Beside,
    ) -> Result<Ciphertext> {
        beside.check(algorithm)?;
        match algorithm {
            CipherAlgorithm::Envelope => {
                let draft = Draft::new(maker, entropy)?;
                let derived = self.derived(draft.nonce()).await?;
                let sealed = draft.seal(derived.expose(), plaintext.expose(), &beside.aad, &beside.context)?;
                Ok(bare(sealed))
            }
            CipherAlgorithm::AesGcm => {
                let nonce: [u8; 12] = entropy::bytes(entropy)?;
                let act = Use::GcmSeal(nonce, beside.aad.clone(), plaintext);
                let mut bytes = self.hsm.use_wrapped(&self.key, act).await?.expose().to_vec();
                let tag = bytes.split_off(bytes.len().saturating_sub(TAG_LEN));
                Ok(Ciphertext {
                    bytes,
                    iv: Some(nonce.to_vec()),
                    tag: Some(tag),
                })
            }
            _ => {
                let iv: [u8; BLOCK] = entropy::bytes(entropy)?;
                let bytes = if algorithm == CipherAlgorithm::AesCtr {
                    self.counted(iv, plaintext.expose()).await?
                } else {
                    self.hsm.use_wrapped(&self.key, Use::CbcEncrypt(iv, plaintext)).await?
                };
                Ok(Ciphertext {
                    bytes: bytes.expose().to_vec(),
                    iv: Some(iv.to_vec()),
                    tag: None,
                })
            }
        }
    }

    pub(super) async fn decrypt(
        &self,
        algorithm: CipherAlgorithm,
        ciphertext: &Ciphertext,
        beside: &Beside,
    ) -> Result<Secret> {
        beside.check(algorithm)?;
        if let Some(hash) = algorithm.oaep() {
            cipher::none_beside(algorithm, ciphertext)?;
            return self.oaep_decrypt(hash, &ciphertext.bytes).await;
        }
        if algorithm == CipherAlgorithm::Envelope {
            cipher::none_beside(algorithm, ciphertext)?;
            let parts = envelope::split(&ciphertext.bytes)?;
            let derived = self.derived(parts.nonce()).await?;
            return parts.open(derived.expose(), &beside.aad, &beside.context);
        }
        let act = match cipher::with(algorithm, ciphertext)? {
            With::NonceAndTag(nonce, tag) => {
                Use::GcmOpen(nonce, beside.aad.clone(), [ciphertext.bytes.as_slice(), &tag].concat())
            }
            With::Vector(iv) if algorithm == CipherAlgorithm::AesCtr => {
                return self.counted(iv, &ciphertext.bytes).await;
            }
            With::Vector(iv) if ciphertext.bytes.is_empty() || !ciphertext.bytes.len().is_multiple_of(iv.len()) => {
                return Err(undecryptable());
            }
            With::Vector(iv) => Use::CbcDecrypt(iv, ciphertext.bytes.clone()),
        };
        self.opened(act).await
    }

    /// Wraps another key with AES.
    pub(super) async fn wrap(&self, algorithm: WrapAlgorithm, key: Secret) -> Result<Vec<u8>> {
        cipher::wrappable(algorithm, key.expose())?;
        let act = Use::Wrap {
            padded: algorithm == WrapAlgorithm::AesKwp,
            bytes: key,
        };
        Ok(self.hsm.use_wrapped(&self.key, act).await?.expose().to_vec())
    }

    pub(super) async fn unwrap(&self, algorithm: WrapAlgorithm, wrapped: Vec<u8>) -> Result<Secret> {
        if let Some(hash) = algorithm.oaep() {
            return self.oaep_decrypt(hash, &wrapped).await;
        }
        let padded = algorithm == WrapAlgorithm::AesKwp;
        self.opened(Use::Unwrap { padded, wrapped }).await
    }

    /// What does not open is the data's fault, and nothing more is said about it.
    async fn opened(&self, act: Use) -> Result<Secret> {
        self.hsm.use_wrapped(&self.key, act).await.map_err(|e| match e {
            HsmError::Data(_) => undecryptable(),
            other => other.into(),
        })
    }

    async fn oaep_decrypt(&self, hash: Hash, ciphertext: &[u8]) -> Result<Secret> {
        if ciphertext.len() != self.public()?.size() {
            return Err(undecryptable());
        }
        let encoded = self.opened(Use::RsaRaw(ciphertext.to_vec())).await?;
        oaep::unpad(&encoded, hash)
            .map_err(|e| Error::internal("decrypting failed").because(e))?
            .ok_or_else(undecryptable)
    }

    /// The key of the envelope with this nonce.
    async fn derived(&self, nonce: &[u8]) -> Result<Secret> {
        let zeros = Use::Ecb(Secret::new(vec![0; BLOCK]));
        let zero = self
            .zero
            .get_or_try_init(|| self.hsm.use_wrapped(&self.key, zeros))
            .await?;
        let blocks = Secret::new(envelope::blocks(zero.expose(), nonce)?.to_vec());
        Ok(self.hsm.use_wrapped(&self.key, Use::Ecb(blocks)).await?)
    }

    /// AES in counter mode (NIST SP 800-38A §6.5).
    async fn counted(&self, iv: [u8; BLOCK], data: &[u8]) -> Result<Secret> {
        let first = u128::from_be_bytes(iv);
        let blocks = (0..).take(data.len().div_ceil(BLOCK));
        let counters: Vec<u8> = blocks.flat_map(|n| first.wrapping_add(n).to_be_bytes()).collect();
        if counters.is_empty() {
            return Ok(Secret::new(Vec::new()));
        }
        let stream = self.hsm.use_wrapped(&self.key, Use::Ecb(Secret::new(counters))).await?;
        let mixed = data.iter().zip(stream.expose()).map(|(byte, by)| byte ^ by);
        Ok(Secret::new(mixed.collect()))
    }

    /// As [`Peer::agree`].
    pub(super) async fn agree(&self, peer: &Peer) -> Result<Secret> {
        let act = Use::Ecdh(peer.point().to_vec());
        Ok(self.hsm.use_wrapped(&self.key, act).await?)
    }

    /// Tries whether it does what a key with these uses is for.
    async fn tried(&self, kind: KeyKind, ops: &KeyOps, entropy: &dyn Entropy) -> Result<()> {
        let proven = match ops.agrees() {
            true => self.proven_to_agree(kind).await,
            false => self.proven(kind, entropy).await,
        };
        proven.map_err(|e| match e.kind() {
            Kind::Unavailable => e,
            _ => Error::invalid(format!(
                "this token does not do what keys of type `{kind}` with the uses {ops} are for: use protection \
                 `software`, or another type"
            ))
            .because(e),
        })
    }

    /// Agrees with a key of which both halves are known here.
    async fn proven_to_agree(&self, kind: KeyKind) -> Result<()> {
        let (own, peer) = Peer::made(kind)?;
        let here = Peer::of(kind, self.public()?)?.agree(&own)?;
        let act = Use::Ecdh(peer.point().to_vec());
        let there = self.hsm.use_wrapped(&self.key, act).await.map_err(|e| match e {
            // As where a key is made: what the token cannot do it calls by many names.
            HsmError::Data(_) | HsmError::Device(_) | HsmError::Unsupported(_) => {
                Error::internal("the token does not agree with a key of its own").because(e)
            }
            other => other.into(),
        })?;
        if here.len() != there.len() || !openssl::memcmp::eq(here.expose(), there.expose()) {
            return Err(Error::internal("a key in the token agrees on something else"));
        }
        Ok(())
    }

    /// Does with the key what keys of its kind are for.
    async fn proven(&self, kind: KeyKind, entropy: &dyn Entropy) -> Result<()> {
        let text = b"chancery token key check";
        let fails = || Error::internal("a key in the token does not do what it is for");
        if let Ok(algorithm) = SignAlgorithm::choose(None, kind) {
            let what = ToSign::Message(text.to_vec());
            let signature = self.sign(kind, algorithm, &what, SignatureFormat::Jose).await?;
            let good = match kind.family() {
                Family::Hmac(_) => self.verify_mac(kind, algorithm, &what, &signature).await?,
                _ => {
                    let public = self.public()?;
                    sign::verify_with(public, kind, algorithm, &what, &signature, SignatureFormat::Jose)?
                }
            };
            if !good {
                return Err(fails());
            }
        }
        if let Ok(algorithm) = CipherAlgorithm::choose(None, kind) {
            let beside = Beside::default();
            let sealed = match algorithm.oaep() {
                Some(hash) => bare(cipher::oaep_encrypt(self.public()?, hash, text)?),
                None => {
                    let none = Id::from([0; 16]);
                    let maker = Maker {
                        key: none,
                        version: none,
                    };
                    let text = Secret::new(text.to_vec());
                    self.encrypt(algorithm, maker, entropy, text, &beside).await?
                }
            };
            if self.decrypt(algorithm, &sealed, &beside).await?.expose() != text {
                return Err(fails());
            }
        }
        Ok(())
    }
}

fn wrapped_kind(kind: KeyKind, ops: &KeyOps) -> WrappedKind {
    let on = |curve| match ops.agrees() {
        true => WrappedKind::Agree(curve),
        false => WrappedKind::Ec(curve),
    };
    match kind {
        KeyKind::Aes128 => WrappedKind::Aes(16),
        KeyKind::Aes192 => WrappedKind::Aes(24),
        KeyKind::Aes256 => WrappedKind::Aes(32),
        KeyKind::EcP256 => on(Curve::P256),
        KeyKind::EcP384 => on(Curve::P384),
        KeyKind::EcP521 => on(Curve::P521),
        KeyKind::EcSecp256k1 => on(Curve::Secp256k1),
        KeyKind::Ed25519 => WrappedKind::Ed25519,
        KeyKind::Hmac256 => WrappedKind::Hmac(32),
        KeyKind::Hmac384 => WrappedKind::Hmac(48),
        KeyKind::Hmac512 => WrappedKind::Hmac(64),
        KeyKind::Rsa2048 => WrappedKind::Rsa(2048),
        KeyKind::Rsa3072 => WrappedKind::Rsa(3072),
        KeyKind::Rsa4096 => WrappedKind::Rsa(4096),
    }
}

/// A key of ours as the token takes it.
fn brought(kind: KeyKind, private: &Secret) -> Result<BroughtKey> {
    let material = Material::open(kind, private.clone())?;
    let failed = |e: ErrorStack| Error::internal("a key could not be taken apart").because(e);
    let missing = || Error::invalid("the RSA key has no primes: give it with all its parts");
    match (kind.family(), wrapped_kind(kind, &KeyOps::all(kind))) {
        (Family::Aes(_) | Family::Hmac(_), of) => Ok(BroughtKey::Symmetric(of, private.clone())),
        (Family::Ec(_, len), WrappedKind::Ec(curve)) => {
            let len = i32::try_from(len).unwrap_or(i32::MAX);
            let pair = material.private()?.ec_key().map_err(failed)?;
            let scalar = pair.private_key().to_vec_padded(len).map_err(failed)?;
            Ok(BroughtKey::Ec(curve, Secret::new(scalar)))
        }
        (Family::Rsa(_), _) => {
            let pair = material.private()?.rsa().map_err(failed)?;
            let secret = |number: Option<&BigNumRef>| {
                let number = number.ok_or_else(missing)?;
                Ok::<_, Error>(Secret::new(number.to_vec()))
            };
            Ok(BroughtKey::Rsa {
                modulus: pair.n().to_vec(),
                public_exponent: pair.e().to_vec(),
                private_exponent: secret(Some(pair.d()))?,
                primes: [secret(pair.p())?, secret(pair.q())?],
                exponents: [secret(pair.dmp1())?, secret(pair.dmq1())?],
                coefficient: secret(pair.iqmp())?,
            })
        }
        (Family::Ec(..) | Family::Ed25519, _) => Err(Error::invalid(format!(
            "keys of type `{kind}` are not brought into the token: use protection `software`, or another type"
        ))),
    }
}

fn digest(function: Hash) -> Result<Digest> {
    match function {
        Hash::Sha1 => Err(Error::internal("nothing is signed with SHA-1")),
        Hash::Sha256 => Ok(Digest::Sha256),
        Hash::Sha384 => Ok(Digest::Sha384),
        Hash::Sha512 => Ok(Digest::Sha512),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::softhsm::with_token;
    use crate::vault::keys::kind::KeyOp;

    /// SoftHSM agrees on every curve; a key that it holds to sign is one with which it does not.
    #[test]
    fn a_token_that_does_not_agree_is_found_out_by_the_trial() {
        with_token(|token| async move {
            let hsm = token.hsm();
            hsm.generate("wrapping", KeyType::AesWrap256).await.unwrap();
            let kind = KeyKind::EcP256;
            let [agrees, signs] = [KeyOp::DeriveBits, KeyOp::Sign].map(|op| KeyOps::new(kind, [op]).unwrap());
            let wrapping = KeyRef {
                label: "wrapping".to_owned(),
                kind: KeyType::AesWrap256,
            };
            for held in [&agrees, &signs] {
                let of = wrapped_kind(kind, held);
                let made = hsm.make_wrapped(&wrapping, of).await.unwrap();
                let key = TokenKey {
                    hsm: hsm.clone(),
                    key: WrappedKey::new(wrapping.clone(), of, &made.blob),
                    public: Some(PKey::public_key_from_der(&made.spki_der.unwrap()).unwrap()),
                    zero: OnceCell::new(),
                };
                match key.tried(kind, &agrees, &OsEntropy).await {
                    Ok(()) => assert_eq!(held, &agrees),
                    Err(error) => {
                        assert_eq!(held, &signs);
                        assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
                        assert!(error.public().contains("with the uses deriveBits"), "{error}");
                    }
                }
            }
        });
    }
}
