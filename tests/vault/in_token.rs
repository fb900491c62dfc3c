//! Keys of protection `hsm`: every kind does by the token what it is for, others verify it, rows that were moved do not
//! open, and a token that is away is said to be.

use chancery::error::Kind;
use chancery::secret::Secret;
use chancery::store::entity::vault_key_version;
use chancery::vault::{
    CipherAlgorithm, Ciphertext, CreateKey, EncryptData, KeyDescribed, KeyKind, KeyOp, KeyProtection, SignAlgorithm,
    SignData, SignatureFormat, ToSign, UnwrapKey, VerifySignature, VersionRef, WrapAlgorithm, WrapKey,
};
use openssl::pkey::PKey;
use sea_orm::EntityTrait;

use crate::keys::{create, decrypt, encrypt, rotate, sign, write};
use crate::support::node::{make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, files_without, refused};

/// What SoftHSM 2.6.1 cannot wrap.
const REFUSED: &[KeyKind] = &[KeyKind::Ed25519];

fn in_token(name: &str, kind: KeyKind) -> CreateKey {
    let mut op = create(name, kind);
    op.new.protection = KeyProtection::Hsm;
    op
}

impl House {
    async fn make_in_token(&self, name: &str, kind: KeyKind) -> KeyDescribed {
        self.perform(in_token(name, kind)).await.unwrap()
    }
}

#[test]
fn every_kind_does_in_the_token_all_that_it_is_for() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        // One size of RSA shows them all, and large ones take long to make.
        let large = [KeyKind::Rsa3072, KeyKind::Rsa4096];
        for kind in KeyKind::ALL.iter().filter(|kind| !large.contains(kind)) {
            let name = kind.as_str();
            if REFUSED.contains(kind) {
                let refusal = house.perform(in_token(name, *kind)).await;
                refused(refusal, Kind::Invalid, &format!("keys of type `{kind}`"));
                continue;
            }
            let made = house.make_in_token(name, *kind).await;
            assert_eq!(made.version.protection, KeyProtection::Hsm);
            let rotated = house.perform(rotate(name, None)).await.unwrap();
            assert_eq!(rotated.version.protection, KeyProtection::Hsm);
            assert_ne!(made.version.id, rotated.version.id);
            let ops = &made.version.attributes.ops;
            if ops.contains(KeyOp::Sign) {
                signs(&house, &made).await;
            }
            if ops.contains(KeyOp::Encrypt) {
                encrypts(&house, &made).await;
            }
        }
    });
}

async fn signs(house: &House, key: &KeyDescribed) {
    let name = key.name.as_str();
    let mut any = false;
    for algorithm in SignAlgorithm::ALL {
        for format in SignatureFormat::ALL {
            let signing = SignData {
                algorithm: Some(*algorithm),
                format: *format,
                ..sign(name, VersionRef::Ordinal(1))
            };
            let Ok(signed) = house.perform(signing).await else {
                continue;
            };
            any = true;
            for (version, message, valid) in [(1, "message", true), (2, "message", false), (1, "another", false)] {
                let verify = VerifySignature {
                    vault: "kv".parse().unwrap(),
                    name: name.parse().unwrap(),
                    version: VersionRef::Ordinal(version),
                    algorithm: Some(*algorithm),
                    what: ToSign::Message(message.as_bytes().to_vec()),
                    signature: signed.signature.clone(),
                    format: *format,
                };
                let verdict = house.perform(verify).await.unwrap();
                assert_eq!(verdict.valid, valid, "{name} {algorithm} {format}");
            }
        }
    }
    assert!(any, "{name}");
    if let Some(public) = &key.version.public {
        // Another implementation says so, too.
        let signed = house.perform(sign(name, VersionRef::Ordinal(1))).await.unwrap();
        let public = PKey::public_key_from_der(public).unwrap();
        let digest = match key.version.kind {
            KeyKind::EcP384 => openssl::hash::MessageDigest::sha384(),
            KeyKind::EcP521 => openssl::hash::MessageDigest::sha512(),
            _ => openssl::hash::MessageDigest::sha256(),
        };
        let mut verifier = openssl::sign::Verifier::new(digest, &public).unwrap();
        if public.id() == openssl::pkey::Id::RSA {
            verifier.set_rsa_padding(openssl::rsa::Padding::PKCS1_PSS).unwrap();
        }
        assert!(
            verifier.verify_oneshot(&signed.signature, b"message").unwrap(),
            "{name}"
        );
    }
}

async fn encrypts(house: &House, key: &KeyDescribed) {
    let name = key.name.as_str();
    let mut any = 0;
    for algorithm in CipherAlgorithm::ALL {
        // Nothing, less than a block, some blocks, and many.
        for len in [0_usize, 5, 64, 70, 5000] {
            let plaintext = vec![
                0x42;
                if algorithm.as_str().starts_with("RSA") {
                    len.min(60)
                } else {
                    len
                }
            ];
            let encrypting = EncryptData {
                algorithm: Some(*algorithm),
                version: VersionRef::Ordinal(1),
                ..encrypt(name, &plaintext)
            };
            let Ok(encrypted) = house.perform(encrypting).await else {
                continue;
            };
            any += 1;
            let opening = |ciphertext: &Ciphertext| chancery::vault::DecryptData {
                algorithm: Some(*algorithm),
                version: VersionRef::Ordinal(1),
                ..decrypt(name, ciphertext)
            };
            let opened = house.perform(opening(&encrypted.ciphertext)).await.unwrap();
            assert_eq!(opened.plaintext.expose(), plaintext, "{name} {algorithm} {len}");
            let unauthenticated = matches!(algorithm, CipherAlgorithm::AesCbc | CipherAlgorithm::AesCtr);
            if unauthenticated || encrypted.ciphertext.bytes.is_empty() {
                continue;
            }
            let mut bent = encrypted.ciphertext.clone();
            *bent.bytes.last_mut().unwrap() ^= 1;
            refused(house.perform(opening(&bent)).await, Kind::Invalid, "does not decrypt");
            bent.bytes.pop();
            assert!(house.perform(opening(&bent)).await.is_err(), "{name} {algorithm} {len}");
        }
    }
    assert!(any >= 15, "{name}: {any}");
    for (algorithm, len) in [
        (WrapAlgorithm::AesKw, 32),
        (WrapAlgorithm::AesKwp, 33),
        (WrapAlgorithm::RsaOaep, 32),
        (WrapAlgorithm::RsaOaep256, 32),
    ] {
        let wrap = WrapKey {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
            version: VersionRef::Current,
            algorithm: Some(algorithm),
            key: Secret::new(vec![9; len]),
        };
        let Ok(wrapped) = house.perform(wrap).await else {
            continue;
        };
        let unwrap = |wrapped: &[u8]| UnwrapKey {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
            version: VersionRef::Current,
            algorithm: Some(algorithm),
            wrapped: wrapped.to_vec(),
        };
        let unwrapped = house.perform(unwrap(&wrapped.wrapped)).await.unwrap();
        assert_eq!(unwrapped.key.expose(), vec![9; len], "{name} {algorithm}");
        let mut bent = wrapped.wrapped.clone();
        bent[1] ^= 1;
        refused(house.perform(unwrap(&bent)).await, Kind::Invalid, "does not decrypt");
    }
}

/// By a node that has never seen it, and from a row that somebody moved or said otherwise of.
#[test]
fn a_wrapped_key_opens_only_as_what_it_is() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &Postgres::shared().database(), "n1").await;
        house.create("kv").await;
        let one = house.make_in_token("a", KeyKind::Aes256).await;
        let other = house.make_in_token("b", KeyKind::Aes256).await;
        let encrypted = house.encrypted("a", b"plain").await;
        house.afresh("a").await.unwrap();
        assert_eq!(house.decrypted("a", &encrypted.ciphertext).await.unwrap().1, b"plain");
        let sealed = |key: &KeyDescribed| {
            let (store, id) = (house.node.store.clone(), key.version.id.to_string());
            async move {
                let row = vault_key_version::Entity::find_by_id(id).one(store.read()).await;
                row.unwrap().unwrap().sealed
            }
        };
        let (own, strange) = (sealed(&one).await, sealed(&other).await);
        write(&house, vault_key_version::Column::Sealed, strange, &one).await;
        refused(house.afresh("a").await, Kind::Internal, "internal error");
        write(&house, vault_key_version::Column::Sealed, own, &one).await;
        // As a key in memory its blob would be another key.
        write(
            &house,
            vault_key_version::Column::Protection,
            "software".to_owned(),
            &one,
        )
        .await;
        refused(house.afresh("a").await, Kind::Internal, "internal error");
        write(&house, vault_key_version::Column::Protection, "hsm".to_owned(), &one).await;
        house.afresh("a").await.unwrap();
    });
}

#[test]
fn r32_a_token_that_is_away_stops_its_keys_alone_and_they_come_back() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.make_in_token("t", KeyKind::EcP256).await;
        house.perform(create("s", KeyKind::EcP256)).await.unwrap();
        house.perform(sign("t", VersionRef::Current)).await.unwrap();
        let away = token.dir().join("away");
        std::fs::rename(token.tokens(), &away).unwrap();
        // A new one cannot be made, and nothing is put in the place of what is missing.
        let made = house.perform(in_token("u", KeyKind::EcP256)).await;
        refused(made, Kind::Unavailable, "token");
        house.perform(sign("s", VersionRef::Current)).await.unwrap();
        std::fs::rename(&away, token.tokens()).unwrap();
        for attempt in 0.. {
            match house.perform(sign("t", VersionRef::Current)).await {
                Ok(_) => break,
                Err(error) if attempt < 50 => assert_eq!(error.kind(), Kind::Unavailable, "{error}"),
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        house.perform(in_token("u", KeyKind::EcP256)).await.unwrap();
    });
}

/// The token holds the wrapping key and no others, however many there are.
#[test]
fn as_many_keys_as_the_database_holds() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.make_in_token("first", KeyKind::EcP256).await;
        let objects = || walk(&token.tokens());
        let before = objects();
        for n in 0..30 {
            house.make_in_token(&format!("k{n}"), KeyKind::Aes256).await;
        }
        assert_eq!(objects(), before);
        let data = b"canary-77aa01-never-in-clear";
        let encrypted = house.encrypted("k7", data).await;
        assert_eq!(house.decrypted("k7", &encrypted.ciphertext).await.unwrap().1, data);
        files_without(token.dir(), data);
    });
}

fn walk(folder: &std::path::Path) -> usize {
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(&path),
                false => usize::from(path.extension().is_some_and(|ext| ext == "object")),
            }
        })
        .sum()
}
