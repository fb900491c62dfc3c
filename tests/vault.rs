//! Vaults and secrets through the gate, on both engines, with a real token: versions, conditions, deletion and
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

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chancery::audit::{self, Log};
use chancery::authz::Authz;
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::entropy::{Entropy, OsEntropy};
use chancery::error::{Error, Kind, Result};
use chancery::gate::{Gate, Operation};
use chancery::hsm::{Hsm, KeyRef, Settings as HsmSettings};
use chancery::id::Id;
use chancery::identity::Caller;
use chancery::key_type::KeyType;
use chancery::policy::{Assignment, Principal, Role, Scope};
use chancery::seal::Sealer;
use chancery::secret::Secret;
use chancery::store::entity::{dek, secret, secret_version};
use chancery::store::{self, Store};
use chancery::vault::{
    CreateVault, DeleteSecret, Expect, ListSecretVersions, ListSecrets, ListVaults, RETENTION, ReadSecret,
    RecoverSecret, SetSecret, Settings, ShowSecret, ShowVault, Tags, Vault, Version, VersionRef,
};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter};
use support::postgres::Postgres;
use support::softhsm::{Token, with_token};

const CANARY: &str = "canary-8e1f44-never-in-clear";

/// One node.
struct Node {
    gate: Gate,
    log: Log,
    store: Store,
    hsm: Hsm,
    sealer: Sealer,
    vault: Vault,
    clock: Arc<ManualClock>,
    officer: Caller,
}

fn key(label: &str, kind: KeyType) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind,
    }
}

fn caller(path: &str) -> Caller {
    Caller {
        principal: Principal::Spiffe(format!("spiffe://chancery.test/{path}").parse().unwrap()),
        serial: Some("01".to_owned()),
        not_after: None,
        source: None,
        request: Id::random(&OsEntropy).unwrap(),
    }
}

async fn make_keys(token: &Token) {
    let hsm = token.hsm();
    hsm.generate("kek", KeyType::Aes256).await.unwrap();
    hsm.generate("audit", KeyType::Ed25519).await.unwrap();
}

fn sqlite(token: &Token) -> String {
    format!("sqlite:{}", token.dir().join("chancery.db").display())
}

impl Node {
    async fn start(token: &Token, url: &str, name: &str) -> Self {
        // The folder is the token: no copies of its keys in the sessions.
        let hsm = Hsm::open(&HsmSettings {
            session_copies: false,
            ..token.settings()
        })
        .unwrap();
        let settings = store::Settings { url: url.to_owned() };
        let store = Store::open(&settings, &name.parse().unwrap()).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix(1_800_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let authz = Authz::open(store.clone(), clock.clone()).await.unwrap();
        let log = Log::open(
            &audit::Settings {
                journal: Some(token.dir().join(format!("audit-{name}"))),
                ..audit::Settings::default()
            },
            &format!("chancery.test/audit/{name}"),
            &store,
            hsm.clone(),
            key("audit", KeyType::Ed25519),
            clock.clone(),
        )
        .await
        .unwrap();
        let gate = Gate::new(
            authz.clone(),
            log.clone(),
            store.clone(),
            clock.clone(),
            entropy.clone(),
        );
        let sealer = Sealer::new(
            store.clone(),
            hsm.clone(),
            key("kek", KeyType::Aes256),
            entropy.clone(),
            clock.clone(),
        );
        let vault = Vault::new(&Settings::default(), store.clone(), sealer.clone(), entropy.clone());
        let node = Self {
            gate,
            log,
            store,
            hsm,
            sealer,
            vault,
            clock,
            officer: caller("officer"),
        };
        node.assign(&authz, "officer", Role::KeyVaultAdministrator).await;
        node
    }

    async fn assign(&self, authz: &Authz, path: &str, role: Role) {
        let grant = authz
            .grant(Assignment {
                id: Id::random(&OsEntropy).unwrap(),
                principal: format!("spiffe://chancery.test/{path}").parse().unwrap(),
                role,
                scope: Scope::Everything,
                expires: None,
            })
            .unwrap();
        let authz = authz.clone();
        let assigned = self
            .store
            .transact(move |tx| {
                let (authz, grant) = (authz.clone(), grant.clone());
                Box::pin(async move { authz.assign(tx, &grant).await })
            })
            .await;
        // A second node on the same store finds it done.
        assert!(assigned.is_ok() || assigned.is_err_and(|e| e.kind() == Kind::Conflict));
    }

    async fn perform<O: Operation<Engine = Vault>>(&self, op: O) -> Result<O::Output> {
        self.gate.perform(&self.officer, &self.vault, op).await
    }

    /// Lets time pass. What is recorded is signed first: records that stay unsigned so long would stop the service.
    async fn wait(&self, by: Duration) {
        self.log.sign_now().await.unwrap();
        self.clock.advance(by);
    }

    async fn create(&self, vault: &str) {
        let name = vault.parse().unwrap();
        self.perform(CreateVault { name }).await.unwrap();
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
        let (store, sealer) = (self.store.clone(), self.sealer.clone());
        let forgetful = Vault::new(&Settings::default(), store, sealer, Arc::new(OsEntropy));
        let op = read(vault, name, VersionRef::Current);
        let found = self.gate.perform(&self.officer, &forgetful, op).await?;
        Ok(found.value.expose().to_vec())
    }
}

fn set(vault: &str, name: &str, value: &[u8], expect: Expect) -> SetSecret {
    SetSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
        value: Secret::new(value.to_vec()),
        content_type: None,
        tags: Tags::default(),
        expect,
    }
}

fn read(vault: &str, name: &str, version: VersionRef) -> ReadSecret {
    ReadSecret {
        vault: vault.parse().unwrap(),
        name: name.parse().unwrap(),
        version,
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
                    super::$story(&token, Node::start(&token, &sqlite(&token), "n1").await).await;
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
                    super::$story(&token, Node::start(&token, &url, "n1").await).await;
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
    vaults_are_made_once_and_listed,
    names_are_listed_by_pages,
    a_reader_never_sees_what_an_acknowledged_write_replaced,
    writers_at_once_take_every_ordinal_once,
    a_moved_row_does_not_open,
);

async fn values_come_back_exactly(_: &Token, node: Node) {
    node.create("kv").await;
    let most = vec![0xa5; 65_536];
    for value in [&b""[..], b"hunter2\n", b"\x00\xff\xfe", &most] {
        node.set("kv", "a", value).await;
        assert_eq!(node.current("kv", "a").await.unwrap(), value);
        assert_eq!(node.read_afresh("kv", "a").await.unwrap(), value);
    }
    let more = node.perform(set("kv", "a", &[0; 65_537], Expect::Anything)).await;
    refused(more, Kind::Invalid, "65536");

    refused(node.current("kv", "b").await, Kind::NotFound, "no secret `b`");
    refused(node.current("kw", "a").await, Kind::NotFound, "no vault `kw`");
    refused(
        node.perform(set("kw", "a", b"x", Expect::Anything)).await,
        Kind::NotFound,
        "no vault `kw`",
    );
    let keys = dek::Entity::find().count(node.store.read()).await.unwrap();
    assert_eq!(keys, 1, "no data key is made for a vault that is not there");
}

async fn versions_are_kept_in_order(_: &Token, node: Node) {
    node.create("kv").await;
    let mut set = Vec::new();
    for n in 1..=5_u8 {
        node.clock.advance(Duration::from_secs(1));
        set.push(node.set("kv", "a", &[n]).await);
    }
    assert_eq!(
        set.iter().map(|version| version.ordinal).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5]
    );
    for (n, version) in (1..).zip(&set) {
        assert_eq!(
            node.read("kv", "a", VersionRef::Ordinal(version.ordinal))
                .await
                .unwrap(),
            [n]
        );
        assert_eq!(node.read("kv", "a", VersionRef::Id(version.id)).await.unwrap(), [n]);
    }
    refused(
        node.read("kv", "a", VersionRef::Ordinal(6)).await,
        Kind::NotFound,
        "no version `6`",
    );
    // Another secret's version is none of this one's.
    let other = node.set("kv", "b", b"b").await;
    refused(
        node.read("kv", "a", VersionRef::Id(other.id)).await,
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
        let versions = node.perform(list(before)).await.unwrap();
        assert_eq!(versions.current, 5);
        seen.extend(versions.page.items);
        before = versions.page.next;
        if before.is_none() {
            break;
        }
    }
    set.reverse();
    assert_eq!(seen, set);
}

async fn a_condition_that_does_not_hold_is_a_conflict(_: &Token, node: Node) {
    node.create("kv").await;
    let current = Expect::Version(VersionRef::Current);
    refused(
        node.perform(set("kv", "a", b"x", current)).await,
        Kind::Conflict,
        "no secret `a` yet",
    );
    let first = node.perform(set("kv", "a", b"1", Expect::Absent)).await.unwrap();
    refused(
        node.perform(set("kv", "a", b"x", Expect::Absent)).await,
        Kind::Conflict,
        "version 1",
    );

    let second = node
        .perform(set("kv", "a", b"2", Expect::Version(VersionRef::Id(first.id))))
        .await
        .unwrap();
    for stale in [VersionRef::Id(first.id), VersionRef::Ordinal(1), VersionRef::Ordinal(3)] {
        let refusal = node.perform(set("kv", "a", b"x", Expect::Version(stale))).await;
        refused(refusal, Kind::Conflict, "version 2");
    }
    let third = Expect::Version(VersionRef::Ordinal(second.ordinal));
    node.perform(set("kv", "a", b"3", third)).await.unwrap();
    node.perform(set("kv", "a", b"4", current)).await.unwrap();
    assert_eq!(node.current("kv", "a").await.unwrap(), b"4");
}

async fn a_deleted_secret_can_be_recovered_until_its_retention_ends(_: &Token, node: Node) {
    node.create("kv").await;
    node.set("kv", "a", b"1").await;
    node.set("kv", "a", b"2").await;
    assert_eq!(node.current("kv", "a").await.unwrap(), b"2");
    refused(node.perform(recover("kv", "a")).await, Kind::Conflict, "not deleted");

    let deleted = node.perform(delete("kv", "a")).await.unwrap();
    assert_eq!(deleted.recoverable_until, node.clock.now() + RETENTION);
    for version in [VersionRef::Current, VersionRef::Ordinal(1)] {
        refused(node.read("kv", "a", version).await, Kind::NotFound, "recover it before");
    }
    let show = || ShowSecret {
        vault: "kv".parse().unwrap(),
        name: "a".parse().unwrap(),
    };
    refused(node.perform(show()).await, Kind::NotFound, "recover it before");
    refused(
        node.perform(delete("kv", "a")).await,
        Kind::NotFound,
        "recover it before",
    );
    for expect in [
        Expect::Anything,
        Expect::Absent,
        Expect::Version(VersionRef::Ordinal(2)),
    ] {
        refused(
            node.perform(set("kv", "a", b"x", expect)).await,
            Kind::Conflict,
            "recover it",
        );
    }

    node.wait(RETENTION - Duration::from_secs(1)).await;
    let back = node.perform(recover("kv", "a")).await.unwrap();
    assert_eq!(back.current.ordinal, 2);
    assert_eq!(node.current("kv", "a").await.unwrap(), b"2");
    assert_eq!(node.read("kv", "a", VersionRef::Ordinal(1)).await.unwrap(), b"1");
    assert_eq!(node.perform(show()).await.unwrap(), back);

    node.perform(delete("kv", "a")).await.unwrap();
    node.wait(RETENTION).await;
    refused(node.perform(recover("kv", "a")).await, Kind::NotFound, "no secret `a`");
    refused(node.current("kv", "a").await, Kind::NotFound, "no secret `a`");
    // The name is free again, and nothing of before is left.
    assert_eq!(node.set("kv", "a", b"new").await.ordinal, 1);
    assert_eq!(node.current("kv", "a").await.unwrap(), b"new");
    assert_eq!(
        secret_version::Entity::find().count(node.store.read()).await.unwrap(),
        1
    );
}

async fn vaults_are_made_once_and_listed(_: &Token, node: Node) {
    for vault in ["kw", "kv", "ku"] {
        node.create(vault).await;
    }
    let again = CreateVault {
        name: "kv".parse().unwrap(),
    };
    refused(node.perform(again).await, Kind::Conflict, "`kv` exists already");
    let mut names = Vec::new();
    let mut after = None;
    loop {
        let page = node.perform(ListVaults { after, limit: 2 }).await.unwrap();
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
    let shown = node.perform(name("kv")).await.unwrap();
    assert_eq!(shown.created_by, "spiffe://chancery.test/officer");
    refused(node.perform(name("kx")).await, Kind::NotFound, "no vault `kx`");
}

async fn names_are_listed_by_pages(_: &Token, node: Node) {
    node.create("kv").await;
    node.create("other").await;
    for name in ["b", "a/x", "c", "a"] {
        node.set("kv", name, b"v").await;
    }
    node.set("other", "a", b"v").await;
    node.perform(delete("kv", "c")).await.unwrap();
    let list = |vault: &str, after| ListSecrets {
        vault: vault.parse().unwrap(),
        after,
        limit: 2,
    };
    let first = node.perform(list("kv", None)).await.unwrap();
    let second = node.perform(list("kv", first.next)).await.unwrap();
    assert_eq!(second.next, None);
    let names: Vec<_> = first
        .items
        .iter()
        .chain(&second.items)
        .map(|secret| secret.name.to_string())
        .collect();
    assert_eq!(names, ["a", "a/x", "b"]);
    refused(
        node.perform(list("none", None)).await,
        Kind::NotFound,
        "no vault `none`",
    );
}

async fn a_reader_never_sees_what_an_acknowledged_write_replaced(_: &Token, node: Node) {
    node.create("kv").await;
    node.set("kv", "a", &0_u64.to_be_bytes()).await;
    let node = Arc::new(node);
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (node, acknowledged) = (node.clone(), acknowledged.clone());
        readers.spawn(async move {
            loop {
                let at_least = acknowledged.load(Ordering::SeqCst);
                let value = node.current("kv", "a").await.unwrap();
                let seen = u64::from_be_bytes(value.try_into().unwrap());
                assert!(seen >= at_least, "read {seen} after {at_least} was acknowledged");
                if at_least == 100 {
                    return;
                }
            }
        });
    }
    for n in 1..=100_u64 {
        node.set("kv", "a", &n.to_be_bytes()).await;
        acknowledged.store(n, Ordering::SeqCst);
        tokio::task::yield_now().await;
    }
    readers.join_all().await;
}

async fn writers_at_once_take_every_ordinal_once(_: &Token, node: Node) {
    node.create("kv").await;
    let node = Arc::new(node);
    let mut writers = tokio::task::JoinSet::new();
    for n in 0..40_u8 {
        let node = node.clone();
        writers.spawn(async move { (node.set("kv", "a", &[n]).await.ordinal, n) });
    }
    let mut written = writers.join_all().await;
    written.sort_unstable();
    assert_eq!(
        written.iter().map(|(ordinal, _)| *ordinal).collect::<Vec<_>>(),
        (1..=40).collect::<Vec<_>>()
    );
    for (ordinal, n) in written {
        assert_eq!(node.read("kv", "a", VersionRef::Ordinal(ordinal)).await.unwrap(), [n]);
    }
}

async fn a_moved_row_does_not_open(_: &Token, node: Node) {
    node.create("kv").await;
    node.create("kw").await;
    let old = node.set("kv", "a", b"old").await;
    let current = node.set("kv", "a", b"current").await;
    let sibling = node.set("kv", "b", b"sibling").await;
    let foreign = node.set("kw", "a", b"foreign").await;
    let place = |version: &Version| {
        let (id, store) = (version.id.to_string(), node.store.clone());
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
        overwrite(&node.store, &current, place(other).await.sealed).await;
        let error = refused(node.read_afresh("kv", "a").await, Kind::Internal, "internal error");
        assert!(error.detail().contains("does not open"), "{error:?}");
    }
    overwrite(&node.store, &current, kept).await;
    assert_eq!(node.read_afresh("kv", "a").await.unwrap(), b"current");
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
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        node.create("kv").await;
        node.set("kv", "a", b"hot").await;
        node.set("kv", "b", b"cold").await;
        assert_eq!(node.current("kv", "a").await.unwrap(), b"hot");
        node.store
            .transact(|tx| {
                Box::pin(async move {
                    secret::Entity::delete_many().exec(tx.conn()).await?;
                    Ok(())
                })
            })
            .await
            .unwrap();
        let calls = node.hsm.calls();
        std::fs::rename(token.tokens(), token.dir().join("away")).unwrap();
        assert_eq!(node.current("kv", "a").await.unwrap(), b"hot");
        assert_eq!(node.hsm.calls(), calls);
        refused(node.current("kv", "b").await, Kind::NotFound, "no secret `b`");
    });
}

#[test]
fn a_node_sees_what_another_one_acknowledged() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = Node::start(&token, &url, "n1").await;
        let two = Node::start(&token, &url, "n2").await;
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
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        node.create("kv").await;
        node.set("kv", "a", CANARY.as_bytes()).await;
        node.current("kv", "a").await.unwrap();
        let nobody = caller("nobody");
        let denied = node
            .gate
            .perform(&nobody, &node.vault, read("kv", "a", VersionRef::Current))
            .await;
        let error = refused(denied, Kind::Denied, "ReadSecret");
        assert!(error.public().contains("vaults/kv/secrets/a"), "{error:?}");

        let entries = node.log.entries(0, 100).await.unwrap();
        let seen: Vec<_> = entries
            .records
            .iter()
            .map(|record| serde_json::from_slice::<serde_json::Value>(record).unwrap())
            .map(|record| {
                let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
                [text("action"), text("resource"), text("version"), text("outcome")].join(" ")
            })
            .collect();
        assert_eq!(
            seen,
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
