//! Keys: made, used by every version that is live, changed under conditions, deleted and recovered; the cache beside
//! changes; rows moved by a storage writer; nothing private in clear.

use std::collections::BTreeMap;
use std::time::Duration;

use chancery::clock::Clock;
use chancery::error::{Kind, Result};
use chancery::policy::Role;
use chancery::secret::Secret;
use chancery::store::entity::{vault_key, vault_key_version};
use chancery::vault::{
    Change, CipherAlgorithm, Ciphertext, CreateDataKey, CreateKey, DecryptData, DeleteKey, EncryptData, Encrypted,
    EncryptionContext, KeyDescribed, KeyKind, KeyOp, KeyProtection, ListKeyVersions, ListKeys, NewKey, ReadRandom,
    RecoverKey, ReencryptData, RotateKey, ShowKey, SignData, SignatureFormat, ToSign, UnwrapKey, UpdateKey,
    VerifySignature, VersionRef, WrapKey,
};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};

use crate::support::node::{caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, RETENTION, files_without, refused, vault_of};

pub(crate) fn new_key() -> NewKey {
    NewKey {
        protection: KeyProtection::Software,
        exportable: false,
        ops: None,
        enabled: true,
        not_before: None,
        expires: None,
        tags: chancery::vault::Tags::default(),
    }
}

pub(crate) fn create(name: &str, kind: KeyKind) -> CreateKey {
    CreateKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        kind,
        new: new_key(),
    }
}

pub(crate) fn rotate(name: &str, expect: Option<u64>) -> RotateKey {
    RotateKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        expires: None,
        expect,
    }
}

pub(crate) fn update(name: &str, version: VersionRef, change: Change) -> UpdateKey {
    UpdateKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version,
        change,
        expect: None,
    }
}

pub(crate) fn encrypt(name: &str, plaintext: &[u8]) -> EncryptData {
    EncryptData {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: VersionRef::Current,
        algorithm: None,
        plaintext: Secret::new(plaintext.to_vec()),
        aad: Vec::new(),
        context: EncryptionContext::default(),
    }
}

pub(crate) fn decrypt(name: &str, ciphertext: &Ciphertext) -> DecryptData {
    DecryptData {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: VersionRef::Current,
        algorithm: None,
        ciphertext: ciphertext.clone(),
        aad: Vec::new(),
        context: EncryptionContext::default(),
    }
}

pub(crate) fn sign(name: &str, version: VersionRef) -> SignData {
    SignData {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version,
        algorithm: None,
        what: ToSign::Message(b"message".to_vec()),
        format: SignatureFormat::Der,
    }
}

pub(crate) fn show(name: &str, version: VersionRef) -> ShowKey {
    ShowKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version,
    }
}

impl House {
    pub(crate) async fn make(&self, name: &str, kind: KeyKind) -> KeyDescribed {
        self.perform(create(name, kind)).await.unwrap()
    }

    pub(crate) async fn encrypted(&self, name: &str, plaintext: &[u8]) -> Encrypted {
        self.perform(encrypt(name, plaintext)).await.unwrap()
    }

    pub(crate) async fn decrypted(&self, name: &str, ciphertext: &Ciphertext) -> Result<(u64, Vec<u8>)> {
        let decrypted = self.perform(decrypt(name, ciphertext)).await?;
        Ok((decrypted.made.ordinal, decrypted.plaintext.expose().to_vec()))
    }
}

/// Runs each story on both engines.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let house = House::open(&token, &sqlite(&token), "n1").await;
                    house.create("kv").await;
                    super::$story(house).await;
                });
            })*
        }
        mod on_postgres {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let url = Postgres::shared().database();
                    let house = House::open(&token, &url, "n1").await;
                    house.create("kv").await;
                    super::$story(house).await;
                });
            })*
        }
    };
}
pub(crate) use on_both_engines;

on_both_engines!(
    what_old_versions_encrypted_is_decrypted_after_rotations,
    every_kind_is_made_rotated_and_used,
    attributes_hold_from_the_next_use_on,
    a_change_under_a_condition_that_does_not_hold_is_a_conflict,
    a_deleted_key_can_be_recovered_until_its_retention_ends,
    keys_and_versions_are_listed_by_pages,
    a_moved_row_does_not_open,
    rotations_at_once_take_every_ordinal_once,
);

async fn what_old_versions_encrypted_is_decrypted_after_rotations(house: House) {
    let made = house.make("a", KeyKind::Aes256).await;
    assert_eq!((made.revision, made.latest, made.version.ordinal), (1, 1, 1));
    let mut sealed = Vec::new();
    // More versions than are kept beside the current one.
    for n in 1..=20_u8 {
        sealed.push(house.encrypted("a", &[n]).await);
        let rotated = house.perform(rotate("a", None)).await.unwrap();
        assert_eq!(rotated.version.ordinal, u64::from(n) + 1);
        assert_eq!(rotated.id, made.id);
    }
    for _ in 0..2 {
        for (n, encrypted) in (1_u8..).zip(&sealed) {
            assert_eq!(encrypted.made.ordinal, u64::from(n));
            let decrypted = house.decrypted("a", &encrypted.ciphertext).await.unwrap();
            assert_eq!(decrypted, (u64::from(n), vec![n]));
        }
    }

    let first = &sealed[0].ciphertext;
    house.make("b", KeyKind::Aes256).await;
    refused(house.decrypted("b", first).await, Kind::Invalid, "not made by key `b`");
    let wrong_version = DecryptData {
        version: VersionRef::Ordinal(2),
        ..decrypt("a", first)
    };
    refused(house.perform(wrong_version).await, Kind::Invalid, "made by version 1");
    let mut flipped = first.clone();
    *flipped.bytes.last_mut().unwrap() ^= 1;
    refused(house.decrypted("a", &flipped).await, Kind::Invalid, "does not decrypt");
    let cut = Ciphertext {
        bytes: first.bytes[..40].to_vec(),
        ..Ciphertext::default()
    };
    refused(house.decrypted("a", &cut).await, Kind::Invalid, "ENVELOPE");

    // Encrypted again with the current version, and for another key.
    let again = |to: &str| ReencryptData {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        version: VersionRef::Current,
        algorithm: None,
        ciphertext: first.clone(),
        aad: Vec::new(),
        context: EncryptionContext::default(),
        to: to.parse().unwrap(),
        to_algorithm: None,
        to_aad: b"beside".to_vec(),
        to_context: EncryptionContext::default(),
    };
    for (to, ordinal) in [("a", 21), ("b", 1)] {
        let moved = house.perform(again(to)).await.unwrap();
        assert_eq!((moved.from.ordinal, moved.encrypted.made.ordinal), (1, ordinal));
        let sealed = &moved.encrypted.ciphertext;
        refused(house.decrypted(to, sealed).await, Kind::Invalid, "does not decrypt");
        let with = DecryptData {
            aad: b"beside".to_vec(),
            ..decrypt(to, sealed)
        };
        assert_eq!(house.perform(with).await.unwrap().plaintext.expose(), [1]);
    }
}

async fn every_kind_is_made_rotated_and_used(house: House) {
    // One size of RSA shows them all, and large ones take long to make.
    let large = [KeyKind::Rsa3072, KeyKind::Rsa4096];
    for kind in KeyKind::ALL.iter().filter(|kind| !large.contains(kind)) {
        let name = kind.as_str();
        let made = house.make(name, *kind).await;
        assert_eq!(made.version.kind, *kind);
        let ops = made.version.attributes.ops.clone();
        if ops.contains(KeyOp::Sign) {
            let signed = house.perform(sign(name, VersionRef::Current)).await.unwrap();
            house.perform(rotate(name, None)).await.unwrap();
            for (version, valid) in [(VersionRef::Current, false), (VersionRef::Ordinal(1), true)] {
                let verify = VerifySignature {
                    vault: "kv".parse().unwrap(),
                    name: name.parse().unwrap(),
                    version,
                    algorithm: None,
                    what: ToSign::Message(b"message".to_vec()),
                    signature: signed.signature.clone(),
                    format: SignatureFormat::Der,
                };
                assert_eq!(house.perform(verify).await.unwrap().valid, valid, "{kind}");
            }
        }
        if ops.contains(KeyOp::Encrypt) {
            let encrypted = house.encrypted(name, b"plain").await;
            let decrypted = house.decrypted(name, &encrypted.ciphertext).await.unwrap();
            assert_eq!(decrypted.1, b"plain", "{kind}");
            let wrap = WrapKey {
                vault: "kv".parse().unwrap(),
                name: name.parse().unwrap(),
                version: VersionRef::Current,
                algorithm: None,
                key: Secret::new(vec![9; 33]),
            };
            let wrapped = house.perform(wrap).await.unwrap();
            let unwrap = UnwrapKey {
                vault: "kv".parse().unwrap(),
                name: name.parse().unwrap(),
                version: VersionRef::Ordinal(wrapped.made.ordinal),
                algorithm: None,
                wrapped: wrapped.wrapped,
            };
            assert_eq!(house.perform(unwrap).await.unwrap().key.expose(), [9; 33], "{kind}");
            for plaintext in [true, false] {
                let make = CreateDataKey {
                    vault: "kv".parse().unwrap(),
                    name: name.parse().unwrap(),
                    bytes: 32,
                    aad: Vec::new(),
                    context: EncryptionContext::default(),
                    plaintext,
                };
                let made = house.perform(make).await.unwrap();
                let opened = house.decrypted(name, &made.encrypted.ciphertext).await.unwrap();
                assert_eq!(opened.1.len(), 32);
                assert_eq!(
                    made.plaintext.map(|plain| plain.expose().to_vec()),
                    plaintext.then_some(opened.1)
                );
            }
        } else {
            refused(house.perform(encrypt(name, b"x")).await, Kind::Conflict, "its uses are");
        }
    }
    let random = |bytes| ReadRandom {
        vault: "kv".parse().unwrap(),
        bytes,
    };
    let (one, two) = (
        house.perform(random(32)).await.unwrap(),
        house.perform(random(32)).await.unwrap(),
    );
    assert_eq!(one.len(), 32);
    assert_ne!(one.expose(), two.expose());
    refused(house.perform(random(0)).await, Kind::Invalid, "1 to 65536");
}

async fn attributes_hold_from_the_next_use_on(house: House) {
    house.make("a", KeyKind::Aes256).await;
    let first = house.encrypted("a", b"1").await.ciphertext;
    let change = |change| update("a", VersionRef::Current, change);
    let disabled = Change {
        enabled: Some(false),
        ..Change::default()
    };
    let changed = house.perform(change(disabled)).await.unwrap();
    assert_eq!((changed.revision, changed.version.attributes.enabled), (2, false));
    refused(house.perform(encrypt("a", b"x")).await, Kind::Conflict, "is disabled");
    refused(house.decrypted("a", &first).await, Kind::Conflict, "is disabled");

    let now = house.node.clock.now();
    let later = Change {
        enabled: Some(true),
        not_before: Some(Some(now + Duration::from_secs(10))),
        expires: Some(Some(now + Duration::from_secs(20))),
        ..Change::default()
    };
    house.perform(change(later)).await.unwrap();
    for (wait, makes) in [(0, false), (10, true), (10, false)] {
        house.node.clock.advance(Duration::from_secs(wait));
        let made = house.perform(encrypt("a", b"x")).await;
        assert_eq!(made.is_ok(), makes, "{:?}", made.err());
        // What it made is opened all the time.
        assert_eq!(house.decrypted("a", &first).await.unwrap().1, b"1");
    }
    let never = Change {
        not_before: Some(None),
        expires: Some(None),
        ops: Some(vec![KeyOp::Decrypt]),
        ..Change::default()
    };
    house.perform(change(never)).await.unwrap();
    refused(
        house.perform(encrypt("a", b"x")).await,
        Kind::Conflict,
        "its uses are decrypt",
    );
    assert_eq!(house.decrypted("a", &first).await.unwrap().1, b"1");
    let signs = Change {
        ops: Some(vec![KeyOp::Sign]),
        ..Change::default()
    };
    refused(
        house.perform(change(signs)).await,
        Kind::Invalid,
        "cannot be used for `sign`",
    );

    // The next version has the same uses, and only the old one is disabled.
    let rotated = house.perform(rotate("a", None)).await.unwrap();
    assert!(!rotated.version.attributes.ops.contains(KeyOp::Encrypt));
    let disabled = Change {
        enabled: Some(false),
        ..Change::default()
    };
    let old = house
        .perform(update("a", VersionRef::Ordinal(1), disabled))
        .await
        .unwrap();
    assert_eq!((old.latest, old.version.ordinal), (2, 1));
    refused(
        house.decrypted("a", &first).await,
        Kind::Conflict,
        "version 1 of key `a`",
    );
    let missing = update("a", VersionRef::Ordinal(3), Change::default());
    refused(house.perform(missing).await, Kind::NotFound, "no version `3`");
}

async fn a_change_under_a_condition_that_does_not_hold_is_a_conflict(house: House) {
    refused(house.perform(rotate("a", None)).await, Kind::NotFound, "no key `a`");
    house.make("a", KeyKind::EcP256).await;
    refused(
        house.perform(create("a", KeyKind::EcP256)).await,
        Kind::Conflict,
        "a key `a` already",
    );
    refused(house.perform(rotate("a", Some(2))).await, Kind::Conflict, "revision 1");
    assert_eq!(house.perform(rotate("a", Some(1))).await.unwrap().revision, 2);
    let stale = UpdateKey {
        expect: Some(1),
        ..update("a", VersionRef::Current, Change::default())
    };
    refused(house.perform(stale).await, Kind::Conflict, "revision 2");
    let nowhere = CreateKey {
        vault: "kw".parse().unwrap(),
        ..create("a", KeyKind::Aes128)
    };
    refused(house.perform(nowhere).await, Kind::NotFound, "no vault `kw`");
    let nowhere = EncryptData {
        vault: "kw".parse().unwrap(),
        ..encrypt("a", b"")
    };
    refused(house.perform(nowhere).await, Kind::NotFound, "no vault `kw`");
}

async fn a_deleted_key_can_be_recovered_until_its_retention_ends(house: House) {
    let delete = || DeleteKey {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
    };
    let recover = || RecoverKey {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
    };
    let versions = || vault_key_version::Entity::find().count(house.node.store.read());
    house.make("a", KeyKind::Aes256).await;
    let sealed = house.encrypted("a", b"1").await.ciphertext;
    house.perform(rotate("a", None)).await.unwrap();
    refused(house.perform(recover()).await, Kind::Conflict, "not deleted");

    let deleted = house.perform(delete()).await.unwrap();
    assert_eq!(deleted.recoverable_until, house.node.clock.now() + RETENTION);
    refused(house.decrypted("a", &sealed).await, Kind::NotFound, "recover it before");
    refused(
        house.perform(show("a", VersionRef::Current)).await,
        Kind::NotFound,
        "recover",
    );
    refused(
        house.perform(rotate("a", None)).await,
        Kind::NotFound,
        "recover it before",
    );
    refused(house.perform(delete()).await, Kind::NotFound, "recover it before");
    refused(
        house.perform(create("a", KeyKind::Aes256)).await,
        Kind::Conflict,
        "recover it",
    );

    house.node.wait(RETENTION - Duration::from_secs(1)).await;
    assert_eq!(house.perform(recover()).await.unwrap().latest, 2);
    assert_eq!(house.decrypted("a", &sealed).await.unwrap(), (1, b"1".to_vec()));

    house.perform(delete()).await.unwrap();
    house.node.wait(RETENTION).await;
    refused(house.perform(recover()).await, Kind::NotFound, "no key `a`");
    // A new key of that name is another one.
    assert_eq!(house.make("a", KeyKind::Aes256).await.latest, 1);
    refused(
        house.decrypted("a", &sealed).await,
        Kind::Invalid,
        "not made by key `a`",
    );
    assert_eq!(versions().await.unwrap(), 1);

    house.perform(delete()).await.unwrap();
    house.node.wait(RETENTION).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(versions().await.unwrap(), 0);
}

async fn keys_and_versions_are_listed_by_pages(house: House) {
    for name in ["b", "a/x", "c", "a"] {
        house.make(name, KeyKind::Ed25519).await;
    }
    for _ in 0..4 {
        house.perform(rotate("a", None)).await.unwrap();
    }
    let list = |vault: &str, after| ListKeys {
        vault: vault.parse().unwrap(),
        after,
        limit: 3,
    };
    let first = house.perform(list("kv", None)).await.unwrap();
    let second = house.perform(list("kv", first.next)).await.unwrap();
    assert_eq!(second.next, None);
    let names = first.items.iter().chain(&second.items);
    assert_eq!(
        names.map(|key| (key.name.to_string(), key.latest)).collect::<Vec<_>>(),
        [
            ("a".to_owned(), 5),
            ("a/x".to_owned(), 1),
            ("b".to_owned(), 1),
            ("c".to_owned(), 1)
        ]
    );
    refused(house.perform(list("none", None)).await, Kind::NotFound, "no vault");

    let versions = |before| ListKeyVersions {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        before,
        limit: 3,
    };
    let first = house.perform(versions(None)).await.unwrap();
    assert_eq!(first.current, 5);
    let second = house.perform(versions(first.page.next)).await.unwrap();
    let all: Vec<_> = first.page.items.iter().chain(&second.page.items).collect();
    assert_eq!(
        all.iter().map(|version| version.ordinal).collect::<Vec<_>>(),
        [5, 4, 3, 2, 1]
    );
    for version in all {
        let shown = house.perform(show("a", VersionRef::Id(version.id))).await.unwrap();
        assert_eq!(shown.version, *version);
        let jwk = version.jwk().unwrap().unwrap();
        assert_eq!(jwk["kid"], version.id.to_string());
        assert_eq!(jwk["key_ops"], serde_json::json!(["verify"]));
    }
}

/// An opened key is not found by a row that somebody moved, nor opened from it.
async fn a_moved_row_does_not_open(house: House) {
    house.make("a", KeyKind::Aes256).await;
    let other = house.make("b", KeyKind::Aes256).await;
    let old = house.encrypted("a", b"old").await;
    let current = house.perform(rotate("a", None)).await.unwrap();
    house.encrypted("a", b"current").await;
    house.encrypted("b", b"b").await;
    let sealed = |id: String| {
        let store = house.node.store.clone();
        async move {
            let row = vault_key_version::Entity::find_by_id(id).one(store.read()).await;
            row.unwrap().unwrap().sealed
        }
    };
    let kept = sealed(current.version.id.to_string()).await;
    for from in [old.made.version, other.version.id] {
        write(
            &house,
            vault_key_version::Column::Sealed,
            sealed(from.to_string()).await,
            &current,
        )
        .await;
        refused(house.afresh("a").await, Kind::Internal, "internal error");
    }
    write(&house, vault_key_version::Column::Sealed, kept, &current).await;
    house.afresh("a").await.unwrap();

    // Another kind would be another use of the same bytes.
    write(&house, vault_key_version::Column::Kind, "hmac-256".to_owned(), &current).await;
    refused(house.afresh("a").await, Kind::Internal, "internal error");
    write(&house, vault_key_version::Column::Kind, "aes-256".to_owned(), &current).await;

    // A whole version that was given to another key.
    write(&house, vault_key_version::Column::KeyId, other.id.to_string(), &current).await;
    let elsewhere = EncryptData {
        version: VersionRef::Id(current.version.id),
        ..encrypt("b", b"x")
    };
    refused(house.perform(elsewhere).await, Kind::Internal, "internal error");
}

impl House {
    /// Encrypts by an engine that remembers nothing.
    pub(crate) async fn afresh(&self, name: &str) -> Result<Encrypted> {
        let forgetful = vault_of(&self.node);
        self.node
            .gate
            .perform(&self.officer, &forgetful, encrypt(name, b"x"))
            .await
    }
}

/// A storage writer's hand.
pub(crate) async fn write<V: Into<sea_orm::Value> + Clone + Send + Sync + 'static>(
    house: &House,
    column: vault_key_version::Column,
    value: V,
    of: &KeyDescribed,
) {
    let id = of.version.id.to_string();
    house
        .node
        .store
        .transact(move |tx| {
            let (id, value) = (id.clone(), value.clone());
            Box::pin(async move {
                vault_key_version::Entity::update_many()
                    .col_expr(column, Expr::val(value))
                    .filter(vault_key_version::Column::Id.eq(id))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}

async fn rotations_at_once_take_every_ordinal_once(house: House) {
    house.make("a", KeyKind::Aes256).await;
    let house = std::sync::Arc::new(house);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let house = house.clone();
        tasks.spawn(async move { house.perform(rotate("a", None)).await.unwrap().version.ordinal });
    }
    let mut ordinals = tasks.join_all().await;
    ordinals.sort_unstable();
    assert_eq!(ordinals, (2..=21).collect::<Vec<_>>());
}

#[test]
fn a_hot_key_is_used_without_database_and_token() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.make("a", KeyKind::EcP256).await;
        house.perform(sign("a", VersionRef::Current)).await.unwrap();
        house
            .node
            .store
            .transact(|tx| {
                Box::pin(async move {
                    vault_key::Entity::delete_many().exec(tx.conn()).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let calls = house.node.hsm.calls();
        std::fs::rename(token.tokens(), token.dir().join("away")).unwrap();
        house.perform(sign("a", VersionRef::Current)).await.unwrap();
        assert_eq!(house.node.hsm.calls(), calls);
    });
}

#[test]
fn a_node_sees_what_another_one_changed() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        one.make("a", KeyKind::Aes256).await;
        for n in 1..6_u64 {
            let encrypted = two.encrypted("a", b"x").await;
            assert_eq!(encrypted.made.ordinal, n);
            one.perform(rotate("a", None)).await.unwrap();
            assert_eq!(two.decrypted("a", &encrypted.ciphertext).await.unwrap().0, n);
        }
        let disabled = Change {
            enabled: Some(false),
            ..Change::default()
        };
        one.perform(update("a", VersionRef::Current, disabled)).await.unwrap();
        refused(two.perform(encrypt("a", b"x")).await, Kind::Conflict, "is disabled");
    });
}

#[test]
fn changes_by_two_nodes_at_once_are_both_there() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        one.make("a", KeyKind::Aes256).await;
        for round in 0..40_u32 {
            let enabled = round % 2 == 1;
            let tag = round.to_string();
            let switched = Change {
                enabled: Some(enabled),
                ..Change::default()
            };
            let tagged = Change {
                tags: Some(chancery::vault::Tags::new([("round".to_owned(), tag.clone())].into()).unwrap()),
                ..Change::default()
            };
            let (switched, tagged) = tokio::join!(
                one.perform(update("a", VersionRef::Current, switched)),
                two.perform(update("a", VersionRef::Current, tagged)),
            );
            switched.unwrap();
            tagged.unwrap();
            let show = ShowKey {
                vault: "kv".parse().unwrap(),
                name: "a".parse().unwrap(),
                version: VersionRef::Current,
            };
            let now = one.perform(show).await.unwrap().version.attributes;
            assert_eq!(now.enabled, enabled, "round {round}");
            assert_eq!(
                now.tags.iter().collect::<Vec<_>>(),
                [("round", tag.as_str())],
                "round {round}"
            );
        }
    });
}

#[test]
fn every_use_is_recorded_and_nothing_private_stands_anywhere_in_clear() {
    const PLAIN: &[u8] = b"canary-4d1177-never-in-clear";
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.make("a", KeyKind::Aes256).await;
        let encrypted = house.encrypted("a", PLAIN).await;
        house.decrypted("a", &encrypted.ciphertext).await.unwrap();
        let data_key = CreateDataKey {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
            bytes: 32,
            aad: Vec::new(),
            context: EncryptionContext::default(),
            plaintext: true,
        };
        let data_key = house.perform(data_key).await.unwrap().plaintext.unwrap();
        house.node.assign("reader", Role::Reader).await;
        let denied = house
            .node
            .gate
            .perform(&caller("reader"), &house.vault, decrypt("a", &encrypted.ciphertext))
            .await;
        refused(denied, Kind::Denied, "DecryptData");
        // Allowed for one key is not allowed for the other.
        let limited = "vaults/kv/keys/a";
        house.node.assign_at("partly", Role::CryptoUser, limited).await;
        house.make("b", KeyKind::Aes256).await;
        let to_other = ReencryptData {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
            version: VersionRef::Current,
            algorithm: Some(CipherAlgorithm::Envelope),
            ciphertext: encrypted.ciphertext.clone(),
            aad: Vec::new(),
            context: EncryptionContext::new(BTreeMap::new()).unwrap(),
            to: "b".parse().unwrap(),
            to_algorithm: None,
            to_aad: Vec::new(),
            to_context: EncryptionContext::default(),
        };
        let denied = house.node.gate.perform(&caller("partly"), &house.vault, to_other).await;
        refused(denied, Kind::Denied, "vaults/kv/keys/b");

        assert_eq!(
            house.node.recorded().await,
            [
                "CreateVault vaults/kv  done",
                "CreateKey vaults/kv/keys/a 1 done",
                "EncryptData vaults/kv/keys/a 1 done",
                "DecryptData vaults/kv/keys/a 1 done",
                "CreateDataKey vaults/kv/keys/a 1 done",
                "DecryptData vaults/kv/keys/a  denied",
                "CreateKey vaults/kv/keys/b 1 done",
                "ReencryptData vaults/kv/keys/a  failed",
            ]
        );
        files_without(token.dir(), PLAIN);
        files_without(token.dir(), data_key.expose());
    });
}
