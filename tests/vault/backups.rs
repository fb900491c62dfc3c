//! Backups of single secrets and keys: all comes back, into another vault too, only where the token is the same, and
//! only whole.

use std::time::Duration;

use chancery::clock::Clock;
use chancery::error::{Kind, Result};
use chancery::id::ObjectName;
use chancery::policy::Role;
use chancery::vault::{
    BackupKey, BackupSecret, DeleteKey, Described, DestroySecretVersion, EncryptionContext, Expect, KeyDescribed,
    KeyKind, KeyProtection, LabelSecretVersion, ListSecretVersions, ObjectBackup, PurgeKey, PurgeSecret, RestoreKey,
    RestoreSecret, SecretAttributes, ShowKey, Tags, VersionRef,
};

use crate::keys::{create, decrypt, encrypt, rotate, sign};
use crate::support::node::{caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{CANARY, House, delete, files_without, refused, set};

impl House {
    async fn back_up_secret(&self, name: &str) -> Result<ObjectBackup> {
        let op = BackupSecret {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        self.perform(op).await
    }

    async fn restore_secret(&self, vault: &str, bytes: &[u8]) -> Result<Described> {
        let op = RestoreSecret {
            vault: vault.parse().unwrap(),
            backup: ObjectBackup::of_secret(bytes)?,
        };
        self.perform(op).await
    }

    async fn back_up_key(&self, name: &str) -> Result<ObjectBackup> {
        let op = BackupKey {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        self.perform(op).await
    }

    async fn restore_key(&self, vault: &str, bytes: &[u8]) -> Result<KeyDescribed> {
        let op = RestoreKey {
            vault: vault.parse().unwrap(),
            backup: ObjectBackup::of_key(bytes)?,
        };
        self.perform(op).await
    }

    /// What is known about the versions of a secret, but for their ids.
    async fn history(&self, vault: &str, name: &str) -> Vec<String> {
        let list = ListSecretVersions {
            vault: vault.parse().unwrap(),
            name: name.parse().unwrap(),
            before: None,
            limit: 100,
        };
        let versions = self.perform(list).await.unwrap().items;
        versions
            .iter()
            .map(|v| {
                format!(
                    "{} {:?} {:?} {} {} {} {:?} {:?}",
                    v.ordinal, v.attributes, v.labels, v.created, v.created_by, v.updated, v.destroy, v.destroyed
                )
            })
            .collect()
    }

    async fn lose_secret(&self, name: &str) {
        self.perform(delete("kv", name)).await.unwrap();
        let purge = PurgeSecret {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        self.perform(purge).await.unwrap();
    }

    async fn lose_key(&self, name: &str) {
        let (vault, name): (_, ObjectName) = ("kv".parse().unwrap(), name.parse().unwrap());
        let delete = DeleteKey {
            vault: Clone::clone(&vault),
            name: name.clone(),
        };
        self.perform(delete).await.unwrap();
        self.perform(PurgeKey { vault, name }).await.unwrap();
    }
}

#[test]
fn a_secret_comes_back_with_all_that_it_had_on_sqlite() {
    with_token(|token| async move {
        make_keys(&token).await;
        a_secret_comes_back_with_all_that_it_had(House::open(&token, &sqlite(&token), "n1").await).await;
        assert!(files_without(token.dir(), CANARY.as_bytes()) > 0);
    });
}

#[test]
fn a_secret_comes_back_with_all_that_it_had_on_postgres() {
    with_token(|token| async move {
        make_keys(&token).await;
        a_secret_comes_back_with_all_that_it_had(House::open(&token, &Postgres::shared().database(), "n1").await).await;
        assert!(files_without(token.dir(), CANARY.as_bytes()) > 0);
    });
}

#[test]
fn a_key_comes_back_and_opens_what_it_made_on_sqlite() {
    with_token(|token| async move {
        make_keys(&token).await;
        a_key_comes_back_and_opens_what_it_made(House::open(&token, &sqlite(&token), "n1").await).await;
        assert!(files_without(token.dir(), CANARY.as_bytes()) > 0);
    });
}

#[test]
fn a_key_comes_back_and_opens_what_it_made_on_postgres() {
    with_token(|token| async move {
        make_keys(&token).await;
        a_key_comes_back_and_opens_what_it_made(House::open(&token, &Postgres::shared().database(), "n1").await).await;
        assert!(files_without(token.dir(), CANARY.as_bytes()) > 0);
    });
}

async fn a_secret_comes_back_with_all_that_it_had(house: House) {
    house.create("kv").await;
    house.create("kw").await;
    house.set("kv", "db/a", CANARY.as_bytes()).await;
    let mut second = set("kv", "db/a", b"\x00\xff", Expect::Anything);
    second.attributes = SecretAttributes {
        enabled: false,
        expires: Some(house.node.clock.now() + Duration::from_secs(60)),
        content_type: Some("text/plain".parse().unwrap()),
        tags: Tags::new([("a".to_owned(), "b".to_owned())].into()).unwrap(),
        ..SecretAttributes::default()
    };
    house.perform(second).await.unwrap();
    house.set("kv", "db/a", b"destroyed-4711").await;
    house.set("kv", "db/a", b"fourth").await;
    let destroy = DestroySecretVersion {
        vault: "kv".parse().unwrap(),
        name: "db/a".parse().unwrap(),
        version: "3".parse().unwrap(),
        delay: Duration::ZERO,
    };
    house.perform(destroy).await.unwrap();
    for (label, to, from) in [("AWSCURRENT", "1", Some("4")), ("blue", "4", None)] {
        let point = LabelSecretVersion {
            vault: "kv".parse().unwrap(),
            name: "db/a".parse().unwrap(),
            label: label.parse().unwrap(),
            to: Some(to.parse().unwrap()),
            from: from.map(|from| from.parse().unwrap()),
        };
        house.perform(point).await.unwrap();
    }
    let before = house.history("kv", "db/a").await;
    let backup = house.back_up_secret("db/a").await.unwrap().to_bytes();
    assert!(!backup.windows(CANARY.len()).any(|part| part == CANARY.as_bytes()));

    // It is there: neither it nor anything else is touched.
    let taken = house.restore_secret("kv", &backup).await;
    refused(taken, Kind::Conflict, "has a secret `db/a` already");
    // Beside it, in another vault.
    house.restore_secret("kw", &backup).await.unwrap();
    assert_eq!(house.history("kw", "db/a").await, before);
    assert_eq!(house.current("kw", "db/a").await.unwrap(), CANARY.as_bytes());
    house.set("kw", "db/a", b"other").await;
    assert_eq!(house.current("kv", "db/a").await.unwrap(), CANARY.as_bytes());

    // Deleted, its name is still taken.
    house.perform(delete("kv", "db/a")).await.unwrap();
    refused(house.restore_secret("kv", &backup).await, Kind::Conflict, "db/a");
    let recover = crate::recover("kv", "db/a");
    house.perform(recover).await.unwrap();
    house.lose_secret("db/a").await;
    let back = house.restore_secret("kv", &backup).await.unwrap();
    assert_eq!(house.history("kv", "db/a").await, before);
    assert_eq!(back.version.ordinal, 1);
    assert_eq!(house.current("kv", "db/a").await.unwrap(), CANARY.as_bytes());
    assert_eq!(house.read_afresh("kv", "db/a").await.unwrap(), CANARY.as_bytes());
    let fourth = house.read("kv", "db/a", VersionRef::Ordinal(4)).await.unwrap();
    assert_eq!(fourth, b"fourth");
    let disabled = house.read("kv", "db/a", VersionRef::Ordinal(2)).await;
    refused(disabled, Kind::Conflict, "disabled");
    let gone = house.read("kv", "db/a", VersionRef::Ordinal(3)).await;
    refused(gone, Kind::NotFound, "destroyed for good");
    // The history goes on where it was.
    assert_eq!(house.set("kv", "db/a", b"fifth").await.ordinal, 5);
    refused(
        house.restore_secret("kx", &backup).await,
        Kind::NotFound,
        "no vault `kx`",
    );

    let recorded = house.node.recorded().await;
    let acts: Vec<_> = recorded
        .iter()
        .filter(|line| line.starts_with("Backup") || line.starts_with("Restore"))
        .map(String::as_str)
        .collect();
    assert_eq!(
        acts,
        [
            "BackupSecret vaults/kv/secrets/db/a  done",
            "RestoreSecret vaults/kv/secrets/db/a  failed",
            "RestoreSecret vaults/kw/secrets/db/a 1 done",
            "RestoreSecret vaults/kv/secrets/db/a  failed",
            "RestoreSecret vaults/kv/secrets/db/a 1 done",
            "RestoreSecret vaults/kx/secrets/db/a  failed",
        ]
    );
}

async fn a_key_comes_back_and_opens_what_it_made(house: House) {
    house.create("kv").await;
    house.create("kw").await;
    for (name, protection) in [("soft", KeyProtection::Software), ("hard", KeyProtection::Hsm)] {
        let mut op = create(name, KeyKind::Aes256);
        op.new.protection = protection;
        let made = house.perform(op).await.unwrap();
        let old = house.perform(encrypt(name, b"old")).await.unwrap();
        let rotated = house.perform(rotate(name, None)).await.unwrap();
        let new = house.perform(encrypt(name, b"new")).await.unwrap();
        let backup = house.back_up_key(name).await.unwrap().to_bytes();

        let taken = house.restore_key("kv", &backup).await;
        refused(taken, Kind::Conflict, "already");
        // Ciphertexts name it by its id: there is one at a time.
        let twice = house.restore_key("kw", &backup).await;
        refused(twice, Kind::Conflict, "until it is purged");
        let show = ShowKey {
            vault: "kw".parse().unwrap(),
            name: name.parse().unwrap(),
            version: VersionRef::Current,
        };
        refused(house.perform(show).await, Kind::NotFound, name);

        house.lose_key(name).await;
        let back = house.restore_key("kv", &backup).await.unwrap();
        assert_eq!((back.id, back.latest), (made.id, 2));
        assert_eq!(back.version, rotated.version);
        for (made, plain) in [(&old, &b"old"[..]), (&new, b"new")] {
            let opened = house.perform(decrypt(name, &made.ciphertext)).await.unwrap();
            assert_eq!(opened.plaintext.expose(), plain);
        }
        assert_eq!(house.perform(rotate(name, None)).await.unwrap().latest, 3);

        // Into another vault, where it does the same.
        house.lose_key(name).await;
        house.restore_key("kw", &backup).await.unwrap();
        let mut elsewhere = decrypt(name, &old.ciphertext);
        elsewhere.vault = "kw".parse().unwrap();
        elsewhere.context = EncryptionContext::default();
        assert_eq!(house.perform(elsewhere).await.unwrap().plaintext.expose(), b"old");
    }
    let mut op = create("pair", KeyKind::EcP256);
    op.new.protection = KeyProtection::Hsm;
    let made = house.perform(op).await.unwrap();
    let backup = house.back_up_key("pair").await.unwrap().to_bytes();
    house.lose_key("pair").await;
    let back = house.restore_key("kv", &backup).await.unwrap();
    assert_eq!(back.version.public, made.version.public);
    house.perform(sign("pair", VersionRef::Current)).await.unwrap();
}

#[test]
fn what_is_cut_off_changed_or_foreign_is_refused_and_leaves_nothing() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.set("kv", "a", CANARY.as_bytes()).await;
        house.perform(create("k", KeyKind::Aes256)).await.unwrap();
        let backup = house.back_up_secret("a").await.unwrap().to_bytes();
        let key = house.back_up_key("k").await.unwrap().to_bytes();
        let mut op = create("hard", KeyKind::Aes256);
        op.new.protection = KeyProtection::Hsm;
        house.perform(op).await.unwrap();
        let hard = house.back_up_key("hard").await.unwrap().to_bytes();
        house.lose_secret("a").await;
        refused(house.restore_secret("kv", &key).await, Kind::Invalid, "one of the keys");
        refused(
            house.restore_key("kv", &backup).await,
            Kind::Invalid,
            "one of the secrets",
        );
        for at in (0..backup.len()).step_by(3) {
            let mut broken = backup.clone();
            broken[at] ^= 1;
            let error = house.restore_secret("kv", &broken).await.err().unwrap();
            assert_eq!(error.kind(), Kind::Invalid, "byte {at}: {error:?}");
            assert!(!error.public().contains(CANARY));
        }
        for len in [0, 10, 18, 40, backup.len() / 2, backup.len() - 1] {
            let error = house.restore_secret("kv", &backup[..len]).await.err().unwrap();
            assert_eq!(error.kind(), Kind::Invalid, "{len}: {error:?}");
        }
        // Under another name.
        let mut renamed = backup.clone();
        let name = backup.iter().position(|b| *b == b'a').unwrap();
        let name = name + backup[name..].iter().position(|b| *b == 1).unwrap() + 3;
        assert_eq!(renamed[name], b'a');
        renamed[name] = b'b';
        refused(
            house.restore_secret("kv", &renamed).await,
            Kind::Invalid,
            "does not open",
        );
        refused(house.current("kv", "a").await, Kind::NotFound, "no secret `a`");
        refused(house.current("kv", "b").await, Kind::NotFound, "no secret `b`");

        // Who only uses secrets takes no copies of them, and who only uses keys brings none back.
        for (role, who) in [(Role::SecretsUser, "reader"), (Role::CryptoUser, "user")] {
            house.node.assign(who, role).await;
        }
        house.restore_secret("kv", &backup).await.unwrap();
        let copy = BackupSecret {
            vault: "kv".parse().unwrap(),
            name: "a".parse().unwrap(),
        };
        let denied = house.node.gate.perform(&caller("reader"), &house.vault, copy).await;
        refused(denied, Kind::Denied, "BackupSecret");
        let bring = RestoreKey {
            vault: "kv".parse().unwrap(),
            backup: ObjectBackup::of_key(&key).unwrap(),
        };
        let denied = house.node.gate.perform(&caller("user"), &house.vault, bring).await;
        refused(denied, Kind::Denied, "RestoreKey");

        // Another store with the same token is the same trust; another token is not.
        let other = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", other.path().join("other.db").display());
        let beside = House::open(&token, &url, "n2").await;
        beside.create("kv").await;
        beside.restore_secret("kv", &backup).await.unwrap();
        assert_eq!(beside.current("kv", "a").await.unwrap(), CANARY.as_bytes());
        // A wrapping key that this store did not make is not trusted: said at once, and nothing is there.
        let untrusted = beside.restore_key("kv", &hard).await;
        refused(untrusted, Kind::Conflict, "that this store knows nothing about");
        let show = ShowKey {
            vault: "kv".parse().unwrap(),
            name: "hard".parse().unwrap(),
            version: VersionRef::Current,
        };
        refused(beside.perform(show).await, Kind::NotFound, "hard");
    });
}
