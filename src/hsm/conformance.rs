//! What every kind of token must do, run against SoftHSM and against the one that `PKCS11_MODULE`, `PKCS11_TOKEN` and
//! `PKCS11_PIN_FILE` name. A new mechanism gets a check here.

#![cfg(test)]

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};

use super::{Curve, Digest, Hsm, HsmError, KeyRef, PublicHalf, Use, WrappedKey, WrappedKind};
use crate::key_type::KeyType;
use crate::secret::Secret;
use crate::softhsm::{foreign, with_token};

#[test]
fn softhsm_conforms_and_so_does_a_token_that_the_environment_names() {
    with_token(|token| async move {
        conforms(&token.hsm()).await;
        if let Some(settings) = foreign() {
            conforms(&Hsm::open(&settings).unwrap()).await;
        }
    });
}

#[test]
fn softhsm_conforms_without_session_copies() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.session_copies = false;
        conforms(&Hsm::open(&settings).unwrap()).await;
    });
}

/// All checks, one after the other; each makes keys under labels of its own.
async fn conforms(hsm: &Hsm) {
    hsm.probe().await.unwrap();
    // Many, because r or s starts with a zero byte in one of 128 signatures only.
    signs(hsm, KeyType::EcP256, &ECDSA_P256_SHA256_ASN1, 300).await;
    signs(hsm, KeyType::EcP384, &ECDSA_P384_SHA384_ASN1, 300).await;
    signs(hsm, KeyType::EcP521, &ECDSA_P521_SHA512_ASN1, 100).await;
    signs(hsm, KeyType::Ed25519, &ED25519, 20).await;
    signs(hsm, KeyType::Rsa2048, &RSA_PKCS1_2048_8192_SHA256, 20).await;
    signs(hsm, KeyType::Rsa3072, &RSA_PKCS1_2048_8192_SHA384, 10).await;
    signs(hsm, KeyType::Rsa4096, &RSA_PKCS1_2048_8192_SHA512, 5).await;
    signs(hsm, KeyType::RsaPss2048, &RSA_PSS_2048_8192_SHA256, 5).await;
    signs(hsm, KeyType::RsaPss3072, &RSA_PSS_2048_8192_SHA384, 5).await;
    signs(hsm, KeyType::RsaPss4096, &RSA_PSS_2048_8192_SHA512, 2).await;
    hsm.probe().await.unwrap();
    encrypts(hsm).await;
    keeps_labels_apart(hsm).await;
    refuses_a_key_without_a_name(hsm).await;
    gives_random_bytes(hsm).await;
    makes_keys_in_parallel(hsm).await;
    keeps_keys_under_wrap(hsm).await;
}

/// A label that no earlier run on the same token has used.
fn fresh(what: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    format!("conformance-{what}-{now}")
}

async fn made(hsm: &Hsm, kind: KeyType) -> (KeyRef, PublicHalf) {
    let label = fresh(kind.as_str());
    let public = hsm.generate(&label, kind).await.unwrap();
    assert_eq!(public.kind, kind.material());
    (KeyRef { label, kind }, public)
}

async fn signs(hsm: &Hsm, kind: KeyType, algorithm: &'static dyn VerificationAlgorithm, times: u32) {
    let (key, public) = made(hsm, kind).await;
    assert_eq!(hsm.find(&key.label).await.unwrap(), Some(public.clone()));
    let spki = public.spki_der.unwrap();
    let (rest, parsed) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
    assert!(rest.is_empty());
    let judge = UnparsedPublicKey::new(algorithm, parsed.subject_public_key.data.to_vec());
    let before = hsm.calls();
    for n in 0..times {
        let message = [&n.to_be_bytes()[..], &[0xa5; 300]].concat();
        let signature = hsm.sign(&key, &message).await.unwrap();
        judge.verify(&message, &signature).unwrap();
    }
    assert_eq!(hsm.calls() - before, u64::from(times));
    assert!(matches!(
        hsm.encrypt(&key, [0; 12], b"", &Secret::new(vec![1])).await,
        Err(HsmError::Unsupported(_))
    ));
}

async fn encrypts(hsm: &Hsm) {
    let (kek, public) = made(hsm, KeyType::Aes256).await;
    assert_eq!(public.spki_der, None);
    assert_eq!(hsm.find(&kek.label).await.unwrap(), Some(public));
    let (other, _) = made(hsm, KeyType::Aes256).await;
    let nonce = [7; 12];
    let plain = Secret::new((0..=255).collect());
    let sealed = hsm.encrypt(&kek, nonce, b"vault/a", &plain).await.unwrap();
    assert_eq!(sealed.len(), plain.len() + 16);
    let opened = hsm.decrypt(&kek, nonce, b"vault/a", &sealed).await.unwrap();
    assert_eq!(opened.expose(), plain.expose());
    let mut bent = sealed.clone();
    bent[3] ^= 1;
    for (key, nonce, aad, bytes) in [
        (&kek, nonce, &b"vault/b"[..], &sealed),
        (&kek, [8; 12], b"vault/a", &sealed),
        (&other, nonce, b"vault/a", &sealed),
        (&kek, nonce, b"vault/a", &bent),
        (&kek, nonce, b"vault/a", &sealed[..15].to_vec()),
    ] {
        assert!(matches!(
            hsm.decrypt(key, nonce, aad, bytes).await,
            Err(HsmError::Data(_))
        ));
    }
    // The data's fault has cost neither the key nor the session.
    hsm.decrypt(&kek, nonce, b"vault/a", &sealed).await.unwrap();
    assert!(matches!(hsm.sign(&kek, b"x").await, Err(HsmError::Unsupported(_))));
}

async fn keeps_labels_apart(hsm: &Hsm) {
    let label = fresh("twice");
    assert_eq!(hsm.find(&label).await.unwrap(), None);
    let first = hsm.generate(&label, KeyType::EcP256).await.unwrap();
    for kind in [KeyType::EcP256, KeyType::Ed25519, KeyType::Aes256] {
        assert!(matches!(hsm.generate(&label, kind).await, Err(HsmError::KeyExists(l)) if l == label));
    }
    assert_eq!(hsm.find(&label).await.unwrap(), Some(first));
    let mistaken = KeyRef {
        label,
        kind: KeyType::Ed25519,
    };
    assert!(matches!(hsm.sign(&mistaken, b"x").await, Err(HsmError::Data(_))));
}

async fn refuses_a_key_without_a_name(hsm: &Hsm) {
    assert!(matches!(
        hsm.generate("", KeyType::EcP256).await,
        Err(HsmError::Data(_))
    ));
}

async fn gives_random_bytes(hsm: &Hsm) {
    let one = hsm.random(32).await.unwrap();
    assert_eq!(one.len(), 32);
    assert_ne!(one.expose(), hsm.random(32).await.unwrap().expose());
    assert!(matches!(hsm.random(65_536).await, Err(HsmError::Data(_))));
}

async fn makes_keys_in_parallel(hsm: &Hsm) {
    let makers: Vec<_> = (0..8)
        .map(|n| {
            let (hsm, label) = (hsm.clone(), fresh(&n.to_string()));
            tokio::spawn(async move { hsm.generate(&label, KeyType::EcP256).await })
        })
        .collect();
    for maker in makers {
        maker.await.unwrap().unwrap();
    }
}

/// Users' keys: none is in the token when it is not used, each does what its kind does, and the PIN with a blob gives
/// nobody the key.
async fn keeps_keys_under_wrap(hsm: &Hsm) {
    let (wrapping, public) = made(hsm, KeyType::AesWrap256).await;
    assert_eq!(public.spki_der, None);
    hsm.try_guards(&wrapping).await.unwrap();
    // A key that does not wrap is no wrapping key.
    let (kek, _) = made(hsm, KeyType::Aes256).await;
    assert!(hsm.try_guards(&kek).await.is_err());
    assert!(matches!(
        hsm.encrypt(&wrapping, [0; 12], b"", &Secret::new(vec![1])).await,
        Err(HsmError::Unsupported(_))
    ));
    for (kind, len) in [
        (WrappedKind::Aes(16), 24),
        (WrappedKind::Aes(24), 32),
        (WrappedKind::Aes(32), 40),
    ] {
        let made = hsm.make_wrapped(&wrapping, kind).await.unwrap();
        assert_eq!((made.blob.len(), made.spki_der), (len, None));
        let key = WrappedKey::new(wrapping.clone(), kind, &made.blob);
        encrypts_under_wrap(hsm, &key).await;
        let mut bent = made.blob.clone();
        bent[9] ^= 1;
        let bent = WrappedKey::new(wrapping.clone(), kind, &bent);
        assert!(
            hsm.use_wrapped(&bent, Use::Ecb(Secret::new(vec![0; 16])))
                .await
                .is_err()
        );
        // The key of another wrapping key, too.
        let (other, _) = self::made(hsm, KeyType::AesWrap256).await;
        let stray = WrappedKey::new(other, kind, &[made.blob.as_slice(), &[]].concat());
        let stray = WrappedKey { id: [7; 32], ..stray };
        assert!(
            hsm.use_wrapped(&stray, Use::Ecb(Secret::new(vec![0; 16])))
                .await
                .is_err()
        );
    }
    signs_under_wrap(hsm, &wrapping).await;
    agrees_under_wrap(hsm, &wrapping).await;
    decrypts_rsa_under_wrap(hsm, &wrapping).await;
}

async fn used(hsm: &Hsm, key: &WrappedKey, act: Use) -> Vec<u8> {
    hsm.use_wrapped(key, act).await.unwrap().expose().to_vec()
}

async fn encrypts_under_wrap(hsm: &Hsm, key: &WrappedKey) {
    let plain = || Secret::new(b"attack at dawn, they say".to_vec());
    let sealed = used(hsm, key, Use::GcmSeal([3; 12], b"aad".to_vec(), plain())).await;
    assert_eq!(
        used(hsm, key, Use::GcmOpen([3; 12], b"aad".to_vec(), sealed.clone())).await,
        plain().expose()
    );
    assert!(matches!(
        hsm.use_wrapped(key, Use::GcmOpen([3; 12], b"AAD".to_vec(), sealed))
            .await,
        Err(HsmError::Data(_))
    ));
    let sealed = used(hsm, key, Use::CbcEncrypt([5; 16], plain())).await;
    assert_eq!(sealed.len(), 32);
    assert_eq!(used(hsm, key, Use::CbcDecrypt([5; 16], sealed)).await, plain().expose());
    let blocks = used(hsm, key, Use::Ecb(Secret::new(vec![0; 32]))).await;
    assert_eq!(blocks[..16], blocks[16..]);
    for (padded, bytes) in [(true, vec![9; 21]), (false, vec![9; 24]), (true, vec![1])] {
        let wrapped = used(
            hsm,
            key,
            Use::Wrap {
                padded,
                bytes: Secret::new(bytes.clone()),
            },
        )
        .await;
        let unwrap = |wrapped| Use::Unwrap { padded, wrapped };
        assert_eq!(used(hsm, key, unwrap(wrapped.clone())).await, bytes);
        let mut bent = wrapped;
        bent[2] ^= 1;
        assert!(matches!(
            hsm.use_wrapped(key, unwrap(bent)).await,
            Err(HsmError::Data(_))
        ));
    }
}

async fn signs_under_wrap(hsm: &Hsm, wrapping: &KeyRef) {
    for (curve, half) in [
        (Curve::P256, 32),
        (Curve::P384, 48),
        (Curve::P521, 66),
        (Curve::Secp256k1, 32),
    ] {
        let kind = WrappedKind::Ec(curve);
        let made = hsm.make_wrapped(wrapping, kind).await.unwrap();
        let public = openssl::ec::EcKey::public_key_from_der(&made.spki_der.unwrap()).unwrap();
        let key = WrappedKey::new(wrapping.clone(), kind, &made.blob);
        for n in 0..5 {
            let raw = used(hsm, &key, Use::Ecdsa(vec![n; 32])).await;
            let number = |bytes| openssl::bn::BigNum::from_slice(bytes).unwrap();
            let (r, s) = raw.split_at(half);
            let signature = openssl::ecdsa::EcdsaSig::from_private_components(number(r), number(s)).unwrap();
            assert!(signature.verify(&[n; 32], &public).unwrap(), "{curve:?}");
        }
        assert!(hsm.use_wrapped(&key, Use::RsaRaw(vec![0; 256])).await.is_err());
    }
    for (bytes, digest) in [(32, Digest::Sha256), (48, Digest::Sha384), (64, Digest::Sha512)] {
        let kind = WrappedKind::Hmac(bytes);
        let made = hsm.make_wrapped(wrapping, kind).await.unwrap();
        let key = WrappedKey::new(wrapping.clone(), kind, &made.blob);
        let one = used(hsm, &key, Use::Hmac(digest, b"a".to_vec())).await;
        assert_eq!(one.len(), usize::from(bytes));
        assert_eq!(one, used(hsm, &key, Use::Hmac(digest, b"a".to_vec())).await);
        assert_ne!(one, used(hsm, &key, Use::Hmac(digest, b"b".to_vec())).await);
    }
}

async fn agrees_under_wrap(hsm: &Hsm, wrapping: &KeyRef) {
    for (curve, len) in [
        (Curve::P256, 32),
        (Curve::P384, 48),
        (Curve::P521, 66),
        (Curve::Secp256k1, 32),
    ] {
        let kind = WrappedKind::Agree(curve);
        let made = hsm.make_wrapped(wrapping, kind).await.unwrap();
        let public = openssl::pkey::PKey::public_key_from_der(&made.spki_der.unwrap()).unwrap();
        let key = WrappedKey::new(wrapping.clone(), kind, &made.blob);
        let peer = public.ec_key().unwrap();
        let group = peer.group();
        // Among so many on P-256 there is one whose x begins as DER would.
        for _ in 0..if curve == Curve::P256 { 800 } else { 3 } {
            let own = openssl::ec::EcKey::generate(group).unwrap();
            let form = openssl::ec::PointConversionForm::UNCOMPRESSED;
            let mut scratch = openssl::bn::BigNumContext::new().unwrap();
            let point = own.public_key().to_bytes(group, form, &mut scratch).unwrap();
            let own = openssl::pkey::PKey::from_ec_key(own).unwrap();
            let mut deriver = openssl::derive::Deriver::new(&own).unwrap();
            deriver.set_peer(&public).unwrap();
            let agreed = used(hsm, &key, Use::Ecdh(point)).await;
            assert_eq!(agreed.len(), len, "{curve:?}");
            assert_eq!(agreed, deriver.derive_to_vec().unwrap(), "{curve:?}");
        }
        // It signs nothing, and one that signs agrees on nothing.
        assert!(hsm.use_wrapped(&key, Use::Ecdsa(vec![1; 32])).await.is_err());
        let signs = hsm.make_wrapped(wrapping, WrappedKind::Ec(curve)).await.unwrap();
        let signs = WrappedKey::new(wrapping.clone(), WrappedKind::Ec(curve), &signs.blob);
        let point = vec![4; 2 * len + 1];
        assert!(hsm.use_wrapped(&signs, Use::Ecdh(point)).await.is_err());
    }
}

async fn decrypts_rsa_under_wrap(hsm: &Hsm, wrapping: &KeyRef) {
    let kind = WrappedKind::Rsa(2048);
    let made = hsm.make_wrapped(wrapping, kind).await.unwrap();
    let spki = made.spki_der.unwrap();
    let (_, parsed) = SubjectPublicKeyInfo::from_der(&spki).unwrap();
    let key = WrappedKey::new(wrapping.clone(), kind, &made.blob);
    let public = openssl::rsa::Rsa::public_key_from_der(&spki).unwrap();
    let mut number = vec![0; 256];
    public
        .public_encrypt(&[0x42; 200], &mut number, openssl::rsa::Padding::PKCS1)
        .unwrap();
    let raw = used(hsm, &key, Use::RsaRaw(number)).await;
    assert_eq!((raw.len(), &raw[56..]), (256, &[0x42; 200][..]));
    let judge = |algorithm| UnparsedPublicKey::new(algorithm, parsed.subject_public_key.data.to_vec());
    let hashed = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b"message");
    let signature = used(hsm, &key, Use::RsaPss(Digest::Sha256, hashed.as_ref().to_vec())).await;
    judge(&RSA_PSS_2048_8192_SHA256).verify(b"message", &signature).unwrap();
    let info = [
        &[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0, 4, 32,
        ],
        hashed.as_ref(),
    ]
    .concat();
    let signature = used(hsm, &key, Use::RsaPkcs1(info)).await;
    judge(&RSA_PKCS1_2048_8192_SHA256)
        .verify(b"message", &signature)
        .unwrap();
}

/// Taken out and brought back, in an order that the room for them forces.
#[test]
fn a_wrapped_key_that_was_taken_out_comes_back() {
    with_token(|token| async move {
        let mut settings = token.settings();
        settings.unwrapped_keys = 2;
        settings.workers = Some(4);
        let hsm = Hsm::open(&settings).unwrap();
        let (wrapping, _) = made(&hsm, KeyType::AesWrap256).await;
        let kind = WrappedKind::Aes(32);
        let mut keys = Vec::new();
        for _ in 0..6 {
            let made = hsm.make_wrapped(&wrapping, kind).await.unwrap();
            keys.push(WrappedKey::new(wrapping.clone(), kind, &made.blob));
        }
        let zero = || Use::Ecb(Secret::new(vec![0; 16]));
        let mut first = Vec::new();
        for key in &keys {
            first.push(used(&hsm, key, zero()).await);
        }
        let users: Vec<_> = (0..16)
            .map(|n| {
                let (hsm, keys, first) = (hsm.clone(), keys.clone(), first.clone());
                tokio::spawn(async move {
                    for round in 0..100 {
                        let at = (n + round * 5) % keys.len();
                        assert_eq!(used(&hsm, &keys[at], zero()).await, first[at]);
                    }
                })
            })
            .collect();
        for user in users {
            user.await.unwrap();
        }
    });
}

/// The library was initialised anew, or lost what it held: nobody but the door needs to know.
#[test]
fn a_wrapped_key_outlives_its_session() {
    with_token(|token| async move {
        let hsm = token.hsm();
        let (wrapping, _) = made(&hsm, KeyType::AesWrap256).await;
        let kind = WrappedKind::Ec(Curve::P256);
        let made = hsm.make_wrapped(&wrapping, kind).await.unwrap();
        let key = WrappedKey::new(wrapping, kind, &made.blob);
        used(&hsm, &key, Use::Ecdsa(vec![1; 32])).await;
        let tokens = token.dir().join("tokens");
        let away = token.dir().join("away");
        std::fs::rename(&tokens, &away).unwrap();
        // Whether it is noticed at once is the library's affair; afterwards all is as before.
        let _ = hsm.find("no such key").await;
        std::fs::rename(&away, &tokens).unwrap();
        let mut last = None;
        for _ in 0..50 {
            match hsm.use_wrapped(&key, Use::Ecdsa(vec![1; 32])).await {
                Ok(signature) => return assert_eq!(signature.len(), 64),
                Err(error) => last = Some(error),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        panic!("{last:?}");
    });
}
