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

use super::{Hsm, HsmError, KeyRef, PublicHalf};
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
