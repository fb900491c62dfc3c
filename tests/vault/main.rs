//! Vaults, secrets and keys through the gate, on both engines, with a real token: versions, conditions, deletion and
//! recovery, the cache beside concurrent writers and other nodes, rows moved by a storage writer, and values in clear.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod agreed;
mod backups;
mod brought;
mod brought_version;
mod in_token;
mod keys;
mod rekey;
mod rotation;
mod secrets;
mod vaults;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery::clock::Clock;
use chancery::error::{Error, Kind, Result};
use chancery::gate::Operation;
use chancery::identity::Caller;
use chancery::policy::Role;
use chancery::secret::Secret;
use chancery::store::Store;
use chancery::store::entity::{dek, secret, secret_version};
use chancery::vault::{
    CreateVault, DeleteSecret, Expect, ListSecretVersions, ListSecrets, ListVaults, ReadSecret, RecoverSecret,
    SecretAttributes, SecretFilter, SetSecret, Settings, ShowSecret, ShowVault, Vault, Version, VersionRef,
    WhichVersion,
};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use support::node::{Node, caller, make_keys, sqlite};
use support::postgres::Postgres;
use support::softhsm::{Token, with_token};

/// How long a vault keeps what is deleted, unless it says otherwise.
const RETENTION: Duration = Duration::from_secs(90 * 86_400);

const CANARY: &str = "canary-8e1f44-never-in-clear";

/// A node with vaults, and somebody who may use them.
struct House {
    node: Node,
    vault: Vault,
    officer: Caller,
}

impl House {
    async fn open(token: &Token, url: &str, name: &str) -> Self {
        let node = Node::start(token, url, name).await;
        node.assign("officer", Role::KeyVaultAdministrator).await;
        Self {
            vault: vault_of(&node),
            node,
            officer: caller("officer"),
        }
    }

    async fn perform<O: Operation<Engine = Vault>>(&self, op: O) -> Result<O::Output> {
        self.node.gate.perform(&self.officer, &self.vault, op).await
    }

    async fn create(&self, vault: &str) {
        let name = vault.parse().unwrap();
        self.perform(CreateVault::new(name)).await.unwrap();
    }

    async fn set(&self, vault: &str, name: &str, value: &[u8]) -> Version {
        self.perform(set(vault, name, value, Expect::Anything)).await.unwrap()
    }

    async fn read(&self, vault: &str, name: &str, version: VersionRef) -> Result<Vec<u8>> {
        let found = self.perform(read(vault, name, version)).await?;
        Ok(found.value.expose().to_vec())
    }

    async fn current(&self, vault: &str, name: &str) -> Result<Vec<u8>> {
        self.read(vault, name, VersionRef::Current).await
    }

    /// Reads by an engine that remembers nothing.
    async fn read_afresh(&self, vault: &str, name: &str) -> Result<Vec<u8>> {
        let forgetful = vault_of(&self.node);
        let op = read(vault, name, VersionRef::Current);
        let found = self.node.gate.perform(&self.officer, &forgetful, op).await?;
        Ok(found.value.expose().to_vec())
    }
}

/// An engine that remembers nothing.
fn vault_of(node: &Node) -> Vault {
    Vault::new(
        &Settings::default(),
        node.store.clone(),
        node.sealer.clone(),
        node.hsm.clone(),
        node.clock.clone(),
        node.entropy.clone(),
    )
}

fn set(vault: &str, name: &str, value: &[u8], expect: Expect) -> SetSecret {
    SetSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
        value: Secret::new(value.to_vec()).into(),
        attributes: SecretAttributes::default(),
        labels: Vec::new(),
        expect,
        idempotency_key: None,
    }
}

fn read(vault: &str, name: &str, version: VersionRef) -> ReadSecret {
    ReadSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
        version: version.into(),
    }
}

fn show(name: &str, version: impl Into<WhichVersion>) -> ShowSecret {
    ShowSecret {
        vault: "kv".parse().unwrap(),
        name: name.parse().unwrap(),
        version: version.into(),
    }
}

fn delete(vault: &str, name: &str) -> DeleteSecret {
    DeleteSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

fn recover(vault: &str, name: &str) -> RecoverSecret {
    RecoverSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
    }
}

#[track_caller]
fn refused<T>(result: Result<T>, kind: Kind, says: &str) -> Error {
    let error = result.err().expect("this must be refused");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(error.public().contains(says), "{error:?} does not say `{says}`");
    error
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
                    super::$story(&token, House::open(&token, &sqlite(&token), "n1").await).await;
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
                    super::$story(&token, House::open(&token, &url, "n1").await).await;
                });
            })*
        }
    };
}

on_both_engines!(
    values_come_back_exactly,
    versions_are_kept_in_order,
    a_condition_that_does_not_hold_is_a_conflict,
    a_deleted_secret_can_be_recovered_until_its_retention_ends,
    what_cannot_be_recovered_any_more_is_removed,
    vaults_are_made_once_and_listed,
    names_are_listed_by_pages,
    a_reader_never_sees_what_an_acknowledged_write_replaced,
    writers_at_once_take_every_ordinal_once,
    a_moved_row_does_not_open,
);

async fn values_come_back_exactly(_: &Token, house: House) {
    house.create("kv").await;
    let most = vec![0xa5; 65_536];
    for value in [&b""[..], b"hunter2\n", b"\x00\xff\xfe", &most] {
        house.set("kv", "a", value).await;
        assert_eq!(house.current("kv", "a").await.unwrap(), value);
        assert_eq!(house.read_afresh("kv", "a").await.unwrap(), value);
    }
    let more = house.perform(set("kv", "a", &[0; 65_537], Expect::Anything)).await;
    refused(more, Kind::Invalid, "65536");

    refused(house.current("kv", "b").await, Kind::NotFound, "no secret `b`");
    refused(house.current("kw", "a").await, Kind::NotFound, "no vault `kw`");
    refused(
        house.perform(set("kw", "a", b"x", Expect::Anything)).await,
        Kind::NotFound,
        "no vault `kw`",
    );
    let keys = dek::Entity::find().count(house.node.store.read()).await.unwrap();
    assert_eq!(keys, 1, "no data key is made for a vault that is not there");
}

async fn versions_are_kept_in_order(_: &Token, house: House) {
    house.create("kv").await;
    let mut set = Vec::new();
    for n in 1..=5_u8 {
        house.node.clock.advance(Duration::from_secs(1));
        set.push(house.set("kv", "a", &[n]).await);
    }
    assert_eq!(
        set.iter().map(|version| version.ordinal).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    for (n, version) in (1..).zip(&set) {
        assert_eq!(
            house
                .read("kv", "a", VersionRef::Ordinal(version.ordinal))
                .await
                .unwrap(),
            [n]
        );
        assert_eq!(house.read("kv", "a", VersionRef::Id(version.id)).await.unwrap(), [n]);
    }
    refused(
        house.read("kv", "a", VersionRef::Ordinal(6)).await,
        Kind::NotFound,
        "no version `6`",
    );
    // Another secret's version is none of this one's.
    let other = house.set("kv", "b", b"b").await;
    refused(
        house.read("kv", "a", VersionRef::Id(other.id)).await,
        Kind::NotFound,
        "no version",
    );

    let list = |before| ListSecretVersions {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
        before,
        limit: 2,
    };
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let versions = house.perform(list(before)).await.unwrap();
        seen.extend(versions.items);
        before = versions.next;
        if before.is_none() {
            break;
        }
    }
    set.reverse();
    let plain = |versions: &[Version]| versions.iter().map(|it| (it.ordinal, it.id)).collect::<Vec<_>>();
    assert_eq!(plain(&seen), plain(&set));
    let current: Vec<_> = seen.iter().map(Version::is_current).collect();
    assert_eq!(current, [true, false, false, false, false]);
}

async fn a_condition_that_does_not_hold_is_a_conflict(_: &Token, house: House) {
    house.create("kv").await;
    let current = Expect::Version(VersionRef::Current);
    refused(
        house.perform(set("kv", "a", b"x", current)).await,
        Kind::Conflict,
        "no secret `a` yet",
    );
    let first = house.perform(set("kv", "a", b"1", Expect::Absent)).await.unwrap();
    refused(
        house.perform(set("kv", "a", b"x", Expect::Absent)).await,
        Kind::Conflict,
        "version 1",
    );

    let second = house
        .perform(set("kv", "a", b"2", Expect::Version(VersionRef::Id(first.id))))
        .await
        .unwrap();
    for stale in [VersionRef::Id(first.id), VersionRef::Ordinal(1), VersionRef::Ordinal(3)] {
        let refusal = house.perform(set("kv", "a", b"x", Expect::Version(stale))).await;
        refused(refusal, Kind::Conflict, "version 2");
    }
    let third = Expect::Version(VersionRef::Ordinal(second.ordinal));
    house.perform(set("kv", "a", b"3", third)).await.unwrap();
    house.perform(set("kv", "a", b"4", current)).await.unwrap();
    assert_eq!(house.current("kv", "a").await.unwrap(), b"4");
}

async fn a_deleted_secret_can_be_recovered_until_its_retention_ends(_: &Token, house: House) {
    house.create("kv").await;
    house.set("kv", "a", b"1").await;
    house.set("kv", "a", b"2").await;
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
    refused(house.perform(recover("kv", "a")).await, Kind::Conflict, "not deleted");

    let deleted = house.perform(delete("kv", "a")).await.unwrap();
    assert_eq!(deleted.recoverable_until, house.node.clock.now() + RETENTION);
    for version in [VersionRef::Current, VersionRef::Ordinal(1)] {
        refused(
            house.read("kv", "a", version).await,
            Kind::NotFound,
            "recover it before",
        );
    }
    let show = || show("a", VersionRef::Current);
    refused(house.perform(show()).await, Kind::NotFound, "recover it before");
    refused(
        house.perform(delete("kv", "a")).await,
        Kind::NotFound,
        "recover it before",
    );
    for expect in [
        Expect::Anything,
        Expect::Absent,
        Expect::Version(VersionRef::Ordinal(2)),
    ] {
        refused(
            house.perform(set("kv", "a", b"x", expect)).await,
            Kind::Conflict,
            "recover it",
        );
    }

    house.node.wait(RETENTION - Duration::from_secs(1)).await;
    let back = house.perform(recover("kv", "a")).await.unwrap();
    assert_eq!(back.version.ordinal, 2);
    assert_eq!(house.current("kv", "a").await.unwrap(), b"2");
    assert_eq!(house.read("kv", "a", VersionRef::Ordinal(1)).await.unwrap(), b"1");
    assert_eq!(house.perform(show()).await.unwrap(), back);

    house.perform(delete("kv", "a")).await.unwrap();
    house.node.wait(RETENTION).await;
    refused(house.perform(recover("kv", "a")).await, Kind::NotFound, "no secret `a`");
    refused(house.current("kv", "a").await, Kind::NotFound, "no secret `a`");
    // The name is free again, and nothing of before is left.
    assert_eq!(house.set("kv", "a", b"new").await.ordinal, 1);
    assert_eq!(house.current("kv", "a").await.unwrap(), b"new");
    assert_eq!(
        secret_version::Entity::find()
            .count(house.node.store.read())
            .await
            .unwrap(),
        1
    );
}

/// By the upkeep, some at a time, with a record that names them; and nothing else is.
async fn what_cannot_be_recovered_any_more_is_removed(_: &Token, house: House) {
    house.create("kv").await;
    for n in 0..60 {
        let name = format!("a{n}");
        house.set("kv", &name, b"1").await;
        house.set("kv", &name, b"2").await;
        house.perform(delete("kv", &name)).await.unwrap();
    }
    house.node.wait(Duration::from_secs(1)).await;
    house.set("kv", "younger", b"1").await;
    house.perform(delete("kv", "younger")).await.unwrap();
    house.set("kv", "live", b"1").await;
    let sweep = || house.vault.sweep(&house.node.gate);
    let versions = || secret_version::Entity::find().count(house.node.store.read());
    let records = || async {
        let recorded = house.node.recorded().await;
        recorded
            .iter()
            .filter(|record| record.starts_with("PurgeExpired"))
            .count()
    };

    house.node.wait(RETENTION - Duration::from_secs(2)).await;
    sweep().await.unwrap();
    assert_eq!((versions().await.unwrap(), records().await), (122, 0));
    house.node.wait(Duration::from_secs(1)).await;
    sweep().await.unwrap();
    assert_eq!((versions().await.unwrap(), records().await), (2, 2));
    house.perform(recover("kv", "younger")).await.unwrap();
    assert_eq!(house.current("kv", "live").await.unwrap(), b"1");
}

async fn vaults_are_made_once_and_listed(_: &Token, house: House) {
    for vault in ["kw", "kv", "ku"] {
        house.create(vault).await;
    }
    let again = CreateVault::new("kv".parse().unwrap());
    refused(house.perform(again).await, Kind::Conflict, "`kv` exists already");
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = house
            .perform(ListVaults {
                deleted: false,
                after,
                limit: 2,
            })
            .await
            .unwrap();
        names.extend(page.items.into_iter().map(|vault| vault.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["ku", "kv", "kw"]);
    let name = |name: &str| ShowVault {
        name: name.parse().unwrap(),
    };
    let shown = house.perform(name("kv")).await.unwrap();
    assert_eq!(shown.created_by, "spiffe://chancery.test/officer");
    refused(house.perform(name("kx")).await, Kind::NotFound, "no vault `kx`");
}

async fn names_are_listed_by_pages(_: &Token, house: House) {
    house.create("kv").await;
    house.create("other").await;
    for name in ["b", "a/x", "c", "a"] {
        house.set("kv", name, b"v").await;
    }
    house.set("other", "a", b"v").await;
    house.perform(delete("kv", "c")).await.unwrap();
    let list = |vault: &str, after| ListSecrets {
        vault: vault.parse().unwrap(),
        filter: SecretFilter::default(),
        after,
        limit: 2,
    };
    let first = house.perform(list("kv", None)).await.unwrap();
    let second = house.perform(list("kv", first.next)).await.unwrap();
    assert_eq!(second.next, None);
    let names: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|secret| secret.name.to_string())
        .collect();
    assert_eq!(names, ["a", "a/x", "b"]);
    refused(
        house.perform(list("none", None)).await,
        Kind::NotFound,
        "no vault `none`",
    );
}

async fn a_reader_never_sees_what_an_acknowledged_write_replaced(_: &Token, house: House) {
    house.create("kv").await;
    house.set("kv", "a", &0_u64.to_be_bytes()).await;
    let house = Arc::new(house);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (house, acknowledged) = (house.clone(), acknowledged.clone());
        readers.spawn(async move {
            loop {
                let at_least = acknowledged.load(Ordering::SeqCst);
                let value = house.current("kv", "a").await.unwrap();
                let seen = u64::from_be_bytes(value.try_into().unwrap());
                assert!(seen >= at_least, "read {seen} after {at_least} was acknowledged");
                if at_least == 100 {
                    return;
                }
            }
        });
    }
    for n in 1..=100_u64 {
        house.set("kv", "a", &n.to_be_bytes()).await;
        acknowledged.store(n, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    readers.join_all().await;
}

async fn writers_at_once_take_every_ordinal_once(_: &Token, house: House) {
    house.create("kv").await;
    let house = Arc::new(house);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..40_u8 {
        let house = house.clone();
        writers.spawn(async move { (house.set("kv", "a", &[n]).await.ordinal, n) });
    }
    let mut written = writers.join_all().await;
    written.sort_unstable();
    assert_eq!(
        written.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    for (ordinal, n) in written {
        assert_eq!(house.read("kv", "a", VersionRef::Ordinal(ordinal)).await.unwrap(), [n]);
    }
}

async fn a_moved_row_does_not_open(_: &Token, house: House) {
    house.create("kv").await;
    house.create("kw").await;
    let old = house.set("kv", "a", b"old").await;
    let current = house.set("kv", "a", b"current").await;
    let sibling = house.set("kv", "b", b"sibling").await;
    let foreign = house.set("kw", "a", b"foreign").await;
    let place = |version: &Version| {
        let (id, store) = (version.id.to_string(), house.node.store.clone());
        async move {
            secret_version::Entity::find_by_id(id)
                .one(store.read())
                .await
                .unwrap()
                .unwrap()
        }
    };
    let kept = place(&current).await.sealed;
    for other in [&old, &sibling, &foreign] {
        overwrite(&house.node.store, &current, place(other).await.sealed).await;
        let error = refused(house.read_afresh("kv", "a").await, Kind::Internal, "internal error");
        assert!(error.detail().contains("does not open"), "{error:?}");
    }
    overwrite(&house.node.store, &current, kept).await;
    assert_eq!(house.read_afresh("kv", "a").await.unwrap(), b"current");
}

/// A storage writer's hand.
async fn overwrite(store: &Store, version: &Version, sealed: Vec<u8>) {
    let id = version.id.to_string();
    store
        .transact(move |tx| {
            let (id, sealed) = (id.clone(), sealed.clone());
            Box::pin(async move {
                secret_version::Entity::update_many()
                    .col_expr(secret_version::Column::Sealed, Expr::val(sealed))
                    .filter(secret_version::Column::Id.eq(id))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}

#[test]
fn a_hot_secret_is_read_without_database_and_token() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.set("kv", "a", b"hot").await;
        house.set("kv", "b", b"cold").await;
        assert_eq!(house.current("kv", "a").await.unwrap(), b"hot");
        house
            .node
            .store
            .transact(|tx| {
                Box::pin(async move {
                    secret::Entity::delete_many().exec(tx.conn()).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let calls = house.node.hsm.calls();
        std::fs::rename(token.tokens(), token.dir().join("away")).unwrap();
        assert_eq!(house.current("kv", "a").await.unwrap(), b"hot");
        assert_eq!(house.node.hsm.calls(), calls);
        refused(house.current("kv", "b").await, Kind::NotFound, "no secret `b`");
    });
}

#[test]
fn a_node_sees_what_another_one_acknowledged() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        let two = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        for n in 0..20_u8 {
            let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
            writer.set("kv", "a", &[n]).await;
            assert_eq!(reader.current("kv", "a").await.unwrap(), [n]);
            assert_eq!(writer.current("kv", "a").await.unwrap(), [n]);
        }
        one.perform(delete("kv", "a")).await.unwrap();
        refused(two.current("kv", "a").await, Kind::NotFound, "recover it");
    });
}

#[test]
fn every_access_is_recorded_and_no_value_stands_anywhere_in_clear() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.create("kv").await;
        house.set("kv", "a", CANARY.as_bytes()).await;
        house.current("kv", "a").await.unwrap();
        let nobody = caller("nobody");
        let denied = house
            .node
            .gate
            .perform(&nobody, &house.vault, read("kv", "a", VersionRef::Current))
            .await;
        let error = refused(denied, Kind::Denied, "ReadSecret");
        assert!(error.public().contains("vaults/kv/secrets/a"), "{error:?}");

        assert_eq!(
            house.node.recorded().await,
            [
                "CreateVault vaults/kv  done",
                "SetSecret vaults/kv/secrets/a 1 done",
                "ReadSecret vaults/kv/secrets/a 1 done",
                "ReadSecret vaults/kv/secrets/a  denied",
            ]
        );
        let looked_at = files_without(token.dir(), CANARY.as_bytes());
        assert!(looked_at >= 4, "database, journal and token were not looked at");
    });
}

/// Looks into every file below `folder`; how many there were.
fn files_without(folder: &Path, canary: &[u8]) -> usize {
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            seen += files_without(&path, canary);
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes.windows(canary.len()).any(|window| window == canary);
            assert!(!found, "{} holds the value", path.display());
            seen += 1;
        }
    }
    seen
}
