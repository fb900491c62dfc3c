//! Encrypting and wrapping with an opened key. Pure but for the nonces.
//!
//! SECURITY: RSAES-PKCS1-v1_5 is left out. OpenSSL 3.0 has no implicit rejection, so that its decryption would tell who
//! asks whether the padding was right.

use openssl::cipher::{Cipher as WrapCipher, CipherRef};
use openssl::cipher_ctx::{CipherCtx, CipherCtxFlags};
use openssl::encrypt::{Decrypter, Encrypter};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Public};
use openssl::rsa::Padding;
use openssl::symm::{self, Cipher};

use super::algorithm::{CipherAlgorithm, Hash, WrapAlgorithm};
use super::envelope::{self, EncryptionContext, Maker, TAG_LEN};
use super::material::Material;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// A ciphertext and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ciphertext {
    /// The ciphertext itself.
    pub bytes: Vec<u8>,
    /// The nonce of `AES-GCM` (12 bytes), or the initialization vector of `AES-CBC` and `AES-CTR` (16).
    pub iv: Option<Vec<u8>>,
    /// The tag of `AES-GCM` (16 bytes).
    pub tag: Option<Vec<u8>>,
}

/// What is authenticated beside the plaintext.
#[derive(Clone, Debug, Default)]
pub(super) struct Beside {
    pub(super) aad: Vec<u8>,
    pub(super) context: EncryptionContext,
}

impl Beside {
    pub(super) fn check(&self, algorithm: CipherAlgorithm) -> Result<()> {
        let takes_aad = matches!(algorithm, CipherAlgorithm::AesGcm | CipherAlgorithm::Envelope);
        if !self.aad.is_empty() && !takes_aad {
            return Err(Error::invalid(format!(
                "`{algorithm}` authenticates nothing beside: leave `aad` out, or use `ENVELOPE`"
            )));
        }
        if !self.context.is_empty() && algorithm != CipherAlgorithm::Envelope {
            return Err(Error::invalid(format!(
                "`{algorithm}` takes no encryption context: leave it out, or use `ENVELOPE`"
            )));
        }
        Ok(())
    }
}

/// A ciphertext does not open. One text for every cause, which is nobody's business.
pub(super) fn undecryptable() -> Error {
    Error::invalid(
        "the ciphertext does not decrypt: it was changed, or the key, the version, `aad` or the context is another",
    )
}

pub(super) fn encrypt(
    material: &Material,
    algorithm: CipherAlgorithm,
    maker: Maker,
    entropy: &dyn Entropy,
    plaintext: &[u8],
    beside: &Beside,
) -> Result<Ciphertext> {
    beside.check(algorithm)?;
    let failed = |e: ErrorStack| Error::internal("encrypting failed").because(e);
    if let Some(hash) = algorithm.oaep() {
        return oaep_encrypt(material.public()?, hash, plaintext).map(bare);
    }
    let key = material.symmetric()?;
    if algorithm == CipherAlgorithm::Envelope {
        return envelope::seal(key, maker, entropy, plaintext, &beside.aad, &beside.context).map(bare);
    }
    let cipher = cipher(algorithm, key);
    let mut iv = vec![0; cipher.iv_len().unwrap_or(0)];
    entropy.fill(&mut iv)?;
    if algorithm == CipherAlgorithm::AesGcm {
        let mut tag = vec![0; TAG_LEN];
        let bytes = symm::encrypt_aead(cipher, key, Some(&iv), &beside.aad, plaintext, &mut tag).map_err(failed)?;
        return Ok(Ciphertext {
            bytes,
            iv: Some(iv),
            tag: Some(tag),
        });
    }
    Ok(Ciphertext {
        bytes: symm::encrypt(cipher, key, Some(&iv), plaintext).map_err(failed)?,
        iv: Some(iv),
        tag: None,
    })
}

pub(super) fn decrypt(
    material: &Material,
    algorithm: CipherAlgorithm,
    ciphertext: &Ciphertext,
    beside: &Beside,
) -> Result<Secret> {
    beside.check(algorithm)?;
    if let Some(hash) = algorithm.oaep() {
        none_beside(algorithm, ciphertext)?;
        return oaep_decrypt(material, hash, &ciphertext.bytes);
    }
    let key = material.symmetric()?;
    if algorithm == CipherAlgorithm::Envelope {
        none_beside(algorithm, ciphertext)?;
        let parts = envelope::split(&ciphertext.bytes)?;
        return envelope::open(key, &parts, &beside.aad, &beside.context);
    }
    let cipher = cipher(algorithm, key);
    let plain = match with(algorithm, ciphertext)? {
        With::NonceAndTag(nonce, tag) => {
            symm::decrypt_aead(cipher, key, Some(&nonce), &beside.aad, &ciphertext.bytes, &tag)
        }
        With::Vector(iv) => symm::decrypt(cipher, key, Some(&iv), &ciphertext.bytes),
    };
    plain.map(Secret::new).map_err(|_| undecryptable())
}

/// What AES made a ciphertext with.
pub(super) enum With {
    NonceAndTag([u8; 12], [u8; TAG_LEN]),
    Vector([u8; 16]),
}

/// What `ciphertext` says that it was made with.
pub(super) fn with(algorithm: CipherAlgorithm, ciphertext: &Ciphertext) -> Result<With> {
    let (iv, tag) = (ciphertext.iv.as_deref(), ciphertext.tag.as_deref());
    let with = if algorithm == CipherAlgorithm::AesGcm {
        let with = |iv: &[u8], tag: &[u8]| Some(With::NonceAndTag(iv.try_into().ok()?, tag.try_into().ok()?));
        iv.zip(tag)
            .and_then(|(iv, tag)| with(iv, tag))
            .ok_or("`iv` of 12 bytes and `tag` of 16")
    } else {
        let with = |iv: &[u8]| Some(With::Vector(iv.try_into().ok()?));
        let vector = iv.filter(|_| tag.is_none()).and_then(with);
        vector.ok_or("`iv` of 16 bytes, and no `tag`")
    };
    with.map_err(|needed| Error::invalid(format!("`{algorithm}` needs what it was made with: {needed}")))
}

/// Checks that a key of this length can be wrapped so.
pub(super) fn wrappable(algorithm: WrapAlgorithm, key: &[u8]) -> Result<()> {
    let whole = key.len().is_multiple_of(8) && key.len() >= 16;
    match algorithm {
        WrapAlgorithm::AesKw if !whole => Err(Error::invalid(
            "`AES-KW` wraps 16 bytes or more in whole blocks of 8: use `AES-KWP` for other lengths",
        )),
        _ if key.is_empty() => Err(Error::invalid("there is nothing to wrap: give the key's bytes")),
        _ => Ok(()),
    }
}

/// Wraps another key.
pub(super) fn wrap(material: &Material, algorithm: WrapAlgorithm, key: &[u8]) -> Result<Vec<u8>> {
    if let Some(hash) = algorithm.oaep() {
        return oaep_encrypt(material.public()?, hash, key);
    }
    wrappable(algorithm, key)?;
    let by = material.symmetric()?;
    let mut wrapped = Vec::with_capacity(key.len() + 16);
    wrapping(
        |ctx| ctx.encrypt_init(Some(wrap_cipher(algorithm, by)), Some(by), None),
        key,
        &mut wrapped,
    )
    .map_err(|e| Error::internal("wrapping failed").because(e))?;
    Ok(wrapped)
}

/// Unwraps another key.
pub(super) fn unwrap(material: &Material, algorithm: WrapAlgorithm, wrapped: &[u8]) -> Result<Secret> {
    if let Some(hash) = algorithm.oaep() {
        return oaep_decrypt(material, hash, wrapped);
    }
    let least = match algorithm {
        WrapAlgorithm::AesKw => 24,
        _ => 16,
    };
    if !wrapped.len().is_multiple_of(8) || wrapped.len() < least {
        return Err(undecryptable());
    }
    let by = material.symmetric()?;
    let mut key = zeroize::Zeroizing::new(Vec::with_capacity(wrapped.len() + 16));
    wrapping(
        |ctx| ctx.decrypt_init(Some(wrap_cipher(algorithm, by)), Some(by), None),
        wrapped,
        &mut key,
    )
    .map_err(|_| undecryptable())?;
    Ok(Secret::new(std::mem::take(&mut *key)))
}

fn wrapping(
    init: impl Fn(&mut CipherCtx) -> std::result::Result<(), ErrorStack>,
    input: &[u8],
    output: &mut Vec<u8>,
) -> std::result::Result<(), ErrorStack> {
    let mut ctx = CipherCtx::new()?;
    ctx.set_flags(CipherCtxFlags::FLAG_WRAP_ALLOW);
    init(&mut ctx)?;
    ctx.cipher_update_vec(input, output)?;
    ctx.cipher_final_vec(output)?;
    Ok(())
}

fn wrap_cipher(algorithm: WrapAlgorithm, key: &[u8]) -> &'static CipherRef {
    match (algorithm, key.len()) {
        (WrapAlgorithm::AesKw, 16) => WrapCipher::aes_128_wrap(),
        (WrapAlgorithm::AesKw, 24) => WrapCipher::aes_192_wrap(),
        (WrapAlgorithm::AesKw, _) => WrapCipher::aes_256_wrap(),
        (_, 16) => WrapCipher::aes_128_wrap_pad(),
        (_, 24) => WrapCipher::aes_192_wrap_pad(),
        _ => WrapCipher::aes_256_wrap_pad(),
    }
}

fn cipher(algorithm: CipherAlgorithm, key: &[u8]) -> Cipher {
    match (algorithm, key.len()) {
        (CipherAlgorithm::AesCbc, 16) => Cipher::aes_128_cbc(),
        (CipherAlgorithm::AesCbc, 24) => Cipher::aes_192_cbc(),
        (CipherAlgorithm::AesCbc, _) => Cipher::aes_256_cbc(),
        (CipherAlgorithm::AesCtr, 16) => Cipher::aes_128_ctr(),
        (CipherAlgorithm::AesCtr, 24) => Cipher::aes_192_ctr(),
        (CipherAlgorithm::AesCtr, _) => Cipher::aes_256_ctr(),
        (_, 16) => Cipher::aes_128_gcm(),
        (_, 24) => Cipher::aes_192_gcm(),
        _ => Cipher::aes_256_gcm(),
    }
}

pub(super) fn none_beside(algorithm: CipherAlgorithm, ciphertext: &Ciphertext) -> Result<()> {
    match (&ciphertext.iv, &ciphertext.tag) {
        (None, None) => Ok(()),
        _ => Err(Error::invalid(format!(
            "`{algorithm}` has neither `iv` nor `tag`: leave them out"
        ))),
    }
}

pub(super) fn bare(bytes: Vec<u8>) -> Ciphertext {
    Ciphertext {
        bytes,
        iv: None,
        tag: None,
    }
}

pub(super) fn oaep_encrypt(public: &PKey<Public>, hash: Hash, plaintext: &[u8]) -> Result<Vec<u8>> {
    let most = public.size().saturating_sub(2 * hash.len() + 2);
    if plaintext.len() > most {
        return Err(Error::invalid(format!(
            "this key encrypts at most {most} bytes with this algorithm: encrypt a data key with it, and the data with \
             that"
        )));
    }
    let run = || {
        let mut encrypter = Encrypter::new(public)?;
        encrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        encrypter.set_rsa_oaep_md(hash.digest())?;
        encrypter.set_rsa_mgf1_md(hash.digest())?;
        let mut out = vec![0; encrypter.encrypt_len(plaintext)?];
        let len = encrypter.encrypt(plaintext, &mut out)?;
        out.truncate(len);
        Ok(out)
    };
    run().map_err(|e: ErrorStack| Error::internal("encrypting failed").because(e))
}

fn oaep_decrypt(material: &Material, hash: Hash, ciphertext: &[u8]) -> Result<Secret> {
    let pair = material.private()?;
    if ciphertext.len() != pair.size() {
        return Err(undecryptable());
    }
    let run = || {
        let mut decrypter = Decrypter::new(pair)?;
        decrypter.set_rsa_padding(Padding::PKCS1_OAEP)?;
        decrypter.set_rsa_oaep_md(hash.digest())?;
        decrypter.set_rsa_mgf1_md(hash.digest())?;
        let mut out = zeroize::Zeroizing::new(vec![0; decrypter.decrypt_len(ciphertext)?]);
        let len = decrypter.decrypt(ciphertext, &mut out)?;
        out.truncate(len);
        Ok(Secret::new(std::mem::take(&mut *out)))
    };
    run().map_err(|_: ErrorStack| undecryptable())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;
    use crate::id::Id;
    use crate::vault::keys::kind::KeyKind;
    use crate::vault::keys::material::tests::made;

    fn maker() -> Maker {
        Maker {
            key: Id::from([1; 16]),
            version: Id::from([2; 16]),
        }
    }

    fn symmetric(hex_key: &str) -> Material {
        Material::Symmetric(Secret::new(hex::decode(hex_key).unwrap()))
    }

    fn plain(opened: Result<Secret>) -> Option<Vec<u8>> {
        opened.ok().map(|plain| plain.expose().to_vec())
    }

    #[test]
    fn every_cipher_comes_back_and_refuses_what_was_changed() {
        for kind in [KeyKind::Aes128, KeyKind::Aes192, KeyKind::Aes256, KeyKind::Rsa2048] {
            let material = made(kind);
            for algorithm in CipherAlgorithm::ALL {
                if CipherAlgorithm::choose(Some(*algorithm), kind).is_err() {
                    continue;
                }
                let none = Beside::default();
                let sealed = encrypt(&material, *algorithm, maker(), &OsEntropy, b"attack at dawn", &none).unwrap();
                assert_eq!(
                    plain(decrypt(&material, *algorithm, &sealed, &none)).unwrap(),
                    b"attack at dawn",
                    "{kind} {algorithm}"
                );
                let mut short = sealed.clone();
                short.bytes.pop();
                assert_ne!(
                    plain(decrypt(&material, *algorithm, &short, &none)),
                    Some(b"attack at dawn".to_vec())
                );
                let unauthenticated = matches!(algorithm, CipherAlgorithm::AesCbc | CipherAlgorithm::AesCtr);
                let mut flipped = sealed.clone();
                flipped.bytes[3] ^= 1;
                let opened = plain(decrypt(&material, *algorithm, &flipped, &none));
                assert!(unauthenticated || opened.is_none(), "{kind} {algorithm}");
                let other = made(kind);
                let opened = plain(decrypt(&other, *algorithm, &sealed, &none));
                assert_ne!(opened, Some(b"attack at dawn".to_vec()), "{kind} {algorithm}");
                if *algorithm == CipherAlgorithm::AesGcm {
                    let mut changed = sealed.clone();
                    changed.tag = Some(vec![0; 16]);
                    assert!(decrypt(&material, *algorithm, &changed, &none).is_err());
                    changed.tag = Some(sealed.tag.clone().unwrap()[..12].to_vec());
                    let error = decrypt(&material, *algorithm, &changed, &none).err().unwrap();
                    assert!(error.public().contains("`tag` of 16"), "{error}");
                }
            }
        }
    }

    #[test]
    fn what_an_algorithm_does_not_take_is_refused() {
        let material = made(KeyKind::Aes256);
        let beside = Beside {
            aad: b"x".to_vec(),
            ..Beside::default()
        };
        for algorithm in [CipherAlgorithm::AesCbc, CipherAlgorithm::AesCtr] {
            assert!(encrypt(&material, algorithm, maker(), &OsEntropy, b"", &beside).is_err());
        }
        let context = EncryptionContext::new([("a".to_owned(), "b".to_owned())].into()).unwrap();
        let beside = Beside {
            context,
            ..Beside::default()
        };
        assert!(encrypt(&material, CipherAlgorithm::AesGcm, maker(), &OsEntropy, b"", &beside).is_err());
        let long = encrypt(
            &made(KeyKind::Rsa2048),
            CipherAlgorithm::RsaOaep256,
            maker(),
            &OsEntropy,
            &[0; 191],
            &Beside::default(),
        );
        assert!(long.unwrap_err().public().contains("at most 190 bytes"));
    }

    /// NIST SP 800-38D's test case 14 of its authors, and RFC 3394 §4.1 and §4.6, RFC 5649 §6.
    #[test]
    fn published_vectors_open() {
        let zero = symmetric(&"00".repeat(32));
        let sealed = Ciphertext {
            bytes: hex::decode("cea7403d4d606b6e074ec5d3baf39d18").unwrap(),
            iv: Some(vec![0; 12]),
            tag: Some(hex::decode("d0d1c8a799996bf0265b98b5d48ab919").unwrap()),
        };
        let opened = decrypt(&zero, CipherAlgorithm::AesGcm, &sealed, &Beside::default());
        assert_eq!(plain(opened).unwrap(), [0; 16]);

        for (by, key, wrapped) in [
            (
                "000102030405060708090a0b0c0d0e0f",
                "00112233445566778899aabbccddeeff",
                "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5",
            ),
            (
                "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
                "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f",
                "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
            ),
        ] {
            let (by, key) = (symmetric(by), hex::decode(key).unwrap());
            let made = wrap(&by, WrapAlgorithm::AesKw, &key).unwrap();
            assert_eq!(hex::encode(&made), wrapped);
            assert_eq!(plain(unwrap(&by, WrapAlgorithm::AesKw, &made)).unwrap(), key);
        }
        let by = symmetric("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8");
        for (key, wrapped) in [
            (
                "c37b7e6492584340bed12207808941155068f738",
                "138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a",
            ),
            ("466f7250617369", "afbeb0f07dfbf5419200f2ccb50bb24f"),
        ] {
            let key = hex::decode(key).unwrap();
            let made = wrap(&by, WrapAlgorithm::AesKwp, &key).unwrap();
            assert_eq!(hex::encode(&made), wrapped);
            assert_eq!(plain(unwrap(&by, WrapAlgorithm::AesKwp, &made)).unwrap(), key);
        }
    }

    #[test]
    fn what_was_wrapped_comes_back_only_whole() {
        for kind in [KeyKind::Aes128, KeyKind::Aes256, KeyKind::Rsa2048] {
            let material = made(kind);
            for algorithm in WrapAlgorithm::ALL {
                if WrapAlgorithm::choose(Some(*algorithm), kind).is_err() {
                    continue;
                }
                let wrapped = wrap(&material, *algorithm, &[5; 32]).unwrap();
                assert_eq!(plain(unwrap(&material, *algorithm, &wrapped)).unwrap(), [5; 32]);
                for cut in 0..wrapped.len() {
                    assert!(
                        unwrap(&material, *algorithm, &wrapped[..cut]).is_err(),
                        "{algorithm} {cut}"
                    );
                }
                let mut changed = wrapped.clone();
                changed[9] ^= 1;
                assert!(unwrap(&material, *algorithm, &changed).is_err());
            }
        }
        let aes = made(KeyKind::Aes256);
        assert!(wrap(&aes, WrapAlgorithm::AesKw, &[0; 17]).is_err());
        assert!(wrap(&aes, WrapAlgorithm::AesKwp, b"").is_err());
    }
}
