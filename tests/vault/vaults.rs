//! How vaults are changed and end: retention, purge protection, deletion with recovery, removal for good; what is in them
//! meanwhile, on both nodes.

use std::time::Duration;

use chancery::clock::Clock;
use chancery::error::Kind;
use chancery::policy::Role;
use chancery::store::entity::{secret, secret_version, vault, vault_key};
use chancery::vault::{
    CreateKey, CreateVault, DeleteKey, DeleteVault, Expect, KeyKind, ListKeys, ListSecrets, ListVaults, PurgeKey,
    PurgeSecret, PurgeVault, ReadRandom, RecoverKey, RecoverVault, RotateKey, SecretChange, SecretFilter, SecretState,
    ShowKey, ShowVault, Tags, UpdateSecret, UpdateVault, VaultEntry, VersionRef,
};
use sea_orm::{EntityTrait, PaginatorTrait};

use crate::support::node::{caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, RETENTION, delete, recover, refused, set, show};

const DAY: Duration = Duration::from_secs(86_400);

fn update(name: &str) -> UpdateVault {
    UpdateVault {
        name: name.parse().unwrap(),
        tags: None,
        retention_days: None,
        purge_protection: None,
        expect: None,
    }
}

fn remove(name: &str) -> DeleteVault {
    DeleteVault {
        name: name.parse().unwrap(),
    }
}

fn bring_back(name: &str) -> RecoverVault {
    RecoverVault {
        name: name.parse().unwrap(),
    }
}

fn purge(name: &str) -> PurgeVault {
    PurgeVault {
        name: name.parse().unwrap(),
    }
}

fn purge_secret(name: &str) -> PurgeSecret {
    PurgeSecret {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn create_key(name: &str) -> CreateKey {
    CreateKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        kind: KeyKind::Aes256,
        new: crate::keys::new_key(),
    }
}

fn show_key(name: &str) -> ShowKey {
    ShowKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: VersionRef::Current,
    }
}

fn delete_key(name: &str) -> DeleteKey {
    DeleteKey {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

impl House {
    async fn vaults(&self, deleted: bool) -> Vec<String> {
        let list = ListVaults {
            deleted,
            after: None,
            limit: 100,
        };
        let page = self.perform(list).await.unwrap();
        page.items.into_iter().map(|vault| vault.name.to_string()).collect()
    }

    async fn vault_shown(&self, name: &str) -> VaultEntry {
        let name = name.parse().unwrap();
        self.perform(ShowVault { name }).await.unwrap()
    }

    /// Everything that may be asked of vault `kv` and what is in it.
    async fn nothing_is_there(&self, says: &str) {
        let vault = || "kv".parse().unwrap();
        macro_rules! gone {
            ($($op:expr),* $(,)?) => { $(refused(self.perform($op).await, Kind::NotFound, says);)* };
        }
        refused(self.current("kv", "a").await, Kind::NotFound, says);
        refused(self.read("kv", "a", VersionRef::Ordinal(1)).await, Kind::NotFound, says);
        gone!(
            ShowVault { name: vault() },
            update("kv"),
            remove("kv"),
            show("a", VersionRef::Current),
            set("kv", "a", b"x", Expect::Anything),
            set("kv", "new", b"x", Expect::Absent),
            set("kv", "a", b"x", Expect::Version(VersionRef::Ordinal(1))),
            set("kv", "a", b"x", Expect::Version(VersionRef::Current)),
            UpdateSecret {
                vault: vault(),
                name: "a".parse().unwrap(),
                version: VersionRef::Current.into(),
                change: SecretChange::default(),
                expect: None,
            },
            delete("kv", "a"),
            recover("kv", "deleted"),
            purge_secret("deleted"),
            ListSecrets {
                vault: vault(),
                filter: SecretFilter {
                    state: Some(SecretState::Enabled),
                    ..SecretFilter::default()
                },
                after: None,
                limit: 10,
            },
            create_key("new"),
            show_key("k"),
            delete_key("k"),
            RecoverKey {
                vault: vault(),
                name: "k".parse().unwrap(),
            },
            RotateKey {
                vault: vault(),
                name: "k".parse().unwrap(),
                expires: None,
                expect: None,
            },
            ListKeys {
                vault: vault(),
                after: None,
                limit: 10,
            },
            ReadRandom {
                vault: vault(),
                bytes: 8,
            },
        );
    }

    async fn fill(&self) {
        self.create("kv").await;
        self.set("kv", "a", b"1").await;
        self.set("kv", "a", b"2").await;
        self.set("kv", "deleted", b"1").await;
        self.perform(delete("kv", "deleted")).await.unwrap();
        self.perform(create_key("k")).await.unwrap();
        // In the cache.
        assert_eq!(self.current("kv", "a").await.unwrap(), b"2");
    }

    async fn rows(&self) -> [u64; 4] {
        let read = self.node.store.read();
        [
            vault::Entity::find().count(read).await.unwrap(),
            secret::Entity::find().count(read).await.unwrap(),
            secret_version::Entity::find().count(read).await.unwrap(),
            vault_key::Entity::find().count(read).await.unwrap(),
        ]
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
                    super::$story(House::open(&token, &sqlite(&token), "n1").await).await;
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
                    super::$story(House::open(&token, &url, "n1").await).await;
                });
            })*
        }
    };
}

on_both_engines!(
    a_deleted_vault_is_recovered_with_all_that_was_in_it,
    a_vault_is_removed_for_good_by_hand_or_in_time,
    a_large_vault_is_removed_piece_by_piece,
    objects_are_kept_for_the_days_of_their_vault,
    purge_protection_is_for_good_and_for_everybody,
);

async fn a_deleted_vault_is_recovered_with_all_that_was_in_it(house: House) {
    house.fill().await;
    house.create("other").await;
    house.set("other", "a", b"other").await;
    refused(house.perform(bring_back("kv")).await, Kind::Conflict, "not deleted");
    refused(house.perform(purge("kv")).await, Kind::Conflict, "delete it first");

    let deleted = house.perform(remove("kv")).await.unwrap();
    let until = deleted.until.unwrap();
    assert_eq!(until.recoverable_until, house.node.clock.now() + RETENTION);
    let says = format!(
        "vault `kv` was deleted with all that is in it: recover it before {}",
        until.recoverable_until
    );
    house.nothing_is_there(&says).await;
    assert_eq!(house.vaults(false).await, ["other"]);
    assert_eq!(house.vaults(true).await, ["kv"]);
    assert_eq!(house.current("other", "a").await.unwrap(), b"other");
    refused(
        house.perform(CreateVault::new("kv".parse().unwrap())).await,
        Kind::Conflict,
        "keeps its name until",
    );

    house.node.wait(RETENTION - DAY).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    let back = house.perform(bring_back("kv")).await.unwrap();
    assert_eq!((back.until, back.revision), (None, 3));
    assert_eq!(house.vault_shown("kv").await, back);
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
    assert_eq!(house.read("kv", "a", VersionRef::Ordinal(1)).await.unwrap(), b"1");
    house.perform(show_key("k")).await.unwrap();
    house.perform(recover("kv", "deleted")).await.unwrap();
    assert_eq!(house.set("kv", "a", b"3").await.ordinal, 3);
}

async fn a_vault_is_removed_for_good_by_hand_or_in_time(house: House) {
    house.fill().await;
    house.perform(remove("kv")).await.unwrap();
    house.perform(purge("kv")).await.unwrap();
    assert_eq!(house.rows().await, [0, 0, 0, 0]);
    house.nothing_is_there("there is no vault `kv`").await;
    refused(house.perform(bring_back("kv")).await, Kind::NotFound, "no vault `kv`");
    refused(house.perform(purge("kv")).await, Kind::NotFound, "no vault `kv`");

    // Another of that name has nothing of it, also where something was in the cache.
    house.fill().await;
    assert_eq!(house.rows().await, [1, 2, 3, 1]);
    house.perform(remove("kv")).await.unwrap();
    house.node.wait(RETENTION - Duration::from_secs(1)).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(house.vaults(true).await, ["kv"]);
    house.node.wait(Duration::from_secs(1)).await;
    house.nothing_is_there("there is no vault `kv`").await;
    refused(house.perform(bring_back("kv")).await, Kind::NotFound, "no vault `kv`");
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(house.rows().await, [0, 0, 0, 0]);

    // And where nobody has swept since, its name is free all the same.
    house.fill().await;
    house.perform(remove("kv")).await.unwrap();
    house.node.wait(RETENTION).await;
    house.create("kv").await;
    assert_eq!(house.rows().await, [1, 0, 0, 0]);
    refused(house.current("kv", "a").await, Kind::NotFound, "no secret `a`");
}

async fn a_large_vault_is_removed_piece_by_piece(house: House) {
    house.create("kv").await;
    let house = std::sync::Arc::new(house);
    let mut setters = tokio::task::JoinSet::new();
    for n in 0..520 {
        let house = house.clone();
        setters.spawn(async move { house.set("kv", &format!("s{n}"), b"x").await });
    }
    setters.join_all().await;
    house.perform(remove("kv")).await.unwrap();
    house.perform(purge("kv")).await.unwrap();
    let [vaults, secrets, ..] = house.rows().await;
    assert_eq!((vaults, secrets), (1, 20), "the rest is the upkeep's");
    refused(house.perform(bring_back("kv")).await, Kind::NotFound, "no vault `kv`");
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(house.rows().await, [0, 0, 0, 0]);
}

async fn objects_are_kept_for_the_days_of_their_vault(house: House) {
    house.fill().await;
    let week = UpdateVault {
        retention_days: Some(7),
        tags: Some(Tags::new([("team".to_owned(), "a".to_owned())].into()).unwrap()),
        expect: Some(1),
        ..update("kv")
    };
    let changed = house.perform(week).await.unwrap();
    assert_eq!((changed.retention_days, changed.revision), (7, 2));
    assert_eq!(house.vault_shown("kv").await, changed);
    let stale = UpdateVault {
        expect: Some(1),
        ..update("kv")
    };
    refused(house.perform(stale).await, Kind::Conflict, "is at revision 2");
    for days in [0, 6, 91] {
        let wrong = UpdateVault {
            retention_days: Some(days),
            ..update("kv")
        };
        refused(house.perform(wrong).await, Kind::Invalid, "give 7 to 90");
    }
    let now = house.node.clock.now();
    let deleted = house.perform(delete("kv", "a")).await.unwrap();
    assert_eq!(deleted.recoverable_until, now + 7 * DAY);
    let deleted = house.perform(delete_key("k")).await.unwrap();
    assert_eq!(deleted.recoverable_until, now + 7 * DAY);
    house.node.wait(7 * DAY).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    // What was deleted before the change is kept as it was told then.
    assert_eq!(house.rows().await, [1, 1, 1, 0]);
    let vault = house.perform(remove("kv")).await.unwrap();
    let until = vault.until.unwrap();
    assert_eq!(until.recoverable_until, house.node.clock.now() + 7 * DAY);
}

async fn purge_protection_is_for_good_and_for_everybody(house: House) {
    house.fill().await;
    house.node.assign("admin", Role::Administrator).await;
    refused(
        house.perform(purge_secret("a")).await,
        Kind::Conflict,
        "delete it first",
    );
    house.perform(purge_secret("deleted")).await.unwrap();
    refused(
        house.perform(recover("kv", "deleted")).await,
        Kind::NotFound,
        "no secret `deleted`",
    );
    let on = |on| UpdateVault {
        purge_protection: Some(on),
        ..update("kv")
    };
    house.perform(on(false)).await.unwrap();
    assert!(house.perform(on(true)).await.unwrap().purge_protection);
    house.perform(on(true)).await.unwrap();
    let fewer = UpdateVault {
        retention_days: Some(30),
        ..update("kv")
    };
    refused(house.perform(fewer).await, Kind::Conflict, "can only grow");
    house.perform(delete("kv", "a")).await.unwrap();
    house.perform(delete_key("k")).await.unwrap();
    let purge_key = || PurgeKey {
        vault: "kv".parse().unwrap(),
        name: "k".parse().unwrap(),
    };
    let as_admin = || caller("admin");
    macro_rules! refused_to_all {
        ($($op:expr => $says:literal),* $(,)?) => { $(
            refused(house.perform($op).await, Kind::Conflict, $says);
            let by_admin = house.node.gate.perform(&as_admin(), &house.vault, $op).await;
            refused(by_admin, Kind::Conflict, $says);
        )* };
    }
    refused_to_all!(
        on(false) => "nobody can switch off",
        purge_secret("a") => "secret `a` is kept until",
        purge_key() => "key `k` is kept until",
    );
    house.perform(remove("kv")).await.unwrap();
    refused_to_all!(purge("kv") => "it is kept until");
    assert_eq!(house.rows().await, [1, 1, 2, 1]);
    house.perform(bring_back("kv")).await.unwrap();
    house.perform(recover("kv", "a")).await.unwrap();
    assert!(house.vault_shown("kv").await.purge_protection);
    // What is over is removed as anywhere.
    house.perform(remove("kv")).await.unwrap();
    house.node.wait(RETENTION).await;
    house.vault.sweep(&house.node.gate).await.unwrap();
    assert_eq!(house.rows().await, [0, 0, 0, 0]);
}

#[test]
fn a_node_does_not_answer_from_a_vault_that_another_one_deleted() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.fill().await;
        assert_eq!(two.current("kv", "a").await.unwrap(), b"2");
        two.perform(show_key("k")).await.unwrap();
        one.perform(remove("kv")).await.unwrap();
        two.nothing_is_there("recover it before").await;
        two.perform(bring_back("kv")).await.unwrap();
        for house in [&one, &two] {
            assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
        }
    });
}

#[test]
fn who_may_use_a_vault_may_not_end_it() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.fill().await;
        house.node.assign("user", Role::SecretsOfficer).await;
        let user = caller("user");
        let denied = house.node.gate.perform(&user, &house.vault, remove("kv")).await;
        refused(denied, Kind::Denied, "DeleteVault");
        let denied = house.node.gate.perform(&user, &house.vault, update("kv")).await;
        refused(denied, Kind::Denied, "UpdateVault");
        house.perform(remove("kv")).await.unwrap();
        let denied = house.node.gate.perform(&user, &house.vault, purge("kv")).await;
        refused(denied, Kind::Denied, "PurgeVault");
        let denied = house.node.gate.perform(&user, &house.vault, bring_back("kv")).await;
        refused(denied, Kind::Denied, "RecoverVault");
        let recorded = house.node.recorded().await;
        assert!(
            recorded.contains(&"DeleteVault vaults/kv  done".to_owned()),
            "{recorded:?}"
        );
    });
}
