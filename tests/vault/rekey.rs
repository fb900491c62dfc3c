//! The keys that seal are replaced under readers and writers: everything opens before, meanwhile and after, what was
//! tampered with is refused and not lost, and what was retired opens no more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use chancery::error::{Kind, Result};
use chancery::gate::Operation;
use chancery::hsm::{Hsm, Settings as HsmSettings};
use chancery::key_type::KeyType;
use chancery::policy::Role;
use chancery::seal::{Kek, KekStage, Sealer};
use chancery::store::entity::dek;
use chancery::vault::{BackupSecret, ListKeks, ObjectBackup, RestoreSecret, RetireKek, RotateKek, Settings, Vault};
use sea_orm::sea_query::Expr;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use crate::support::node::{Node, caller, make_keys, sqlite};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;
use crate::{House, refused, set};

impl House {
    /// By an administrator of everything.
    async fn govern<O: Operation<Engine = Vault>>(&self, op: O) -> Result<O::Output> {
        self.node.gate.perform(&caller("admin"), &self.vault, op).await
    }

    async fn keks(&self) -> Vec<Kek> {
        self.govern(ListKeks).await.unwrap()
    }

    /// Stage and number of data keys of each generation.
    async fn stages(&self) -> Vec<(KekStage, u64)> {
        let keks = self.keks().await;
        keks.iter().map(|kek| (kek.stage, kek.data_keys)).collect()
    }

    async fn rotate_kek(&self) {
        self.govern(RotateKek).await.unwrap();
        self.vault.rekey(&self.node.gate).await.unwrap();
    }

    /// A process that has opened no data key yet.
    async fn another_process(&self) -> Vault {
        let node = &self.node;
        let kek = self.node.sealer.kek_of(1);
        let sealer = Sealer::new(
            node.store.clone(),
            node.hsm.clone(),
            kek,
            node.entropy.clone(),
            node.clock.clone(),
        );
        engine(node, sealer, node.hsm.clone())
    }

    async fn read_by(&self, vault: &Vault, of: &str, name: &str) -> Result<Vec<u8>> {
        let op = crate::read(of, name, chancery::vault::VersionRef::Current);
        let found = self.node.gate.perform(&self.officer, vault, op).await?;
        Ok(found.value.expose().to_vec())
    }

    async fn back_up(&self, name: &str) -> Vec<u8> {
        let op = BackupSecret {
            vault: "kv".parse().unwrap(),
            name: name.parse().unwrap(),
        };
        self.perform(op).await.unwrap().to_bytes()
    }

    async fn restore(&self, vault: &str, bytes: &[u8]) -> Result<()> {
        let op = RestoreSecret {
            vault: vault.parse().unwrap(),
            backup: ObjectBackup::of_secret(bytes)?,
        };
        self.perform(op).await.map(drop)
    }
}

fn engine(node: &Node, sealer: Sealer, hsm: Hsm) -> Vault {
    Vault::new(
        &Settings::default(),
        node.store.clone(),
        sealer,
        hsm,
        node.clock.clone(),
        node.entropy.clone(),
    )
}

/// Flips a bit of the wrapped key of a domain.
async fn damage(house: &House, domain: &'static str) {
    let row = dek::Entity::find()
        .filter(dek::Column::Domain.eq(domain))
        .one(house.node.store.read())
        .await
        .unwrap()
        .unwrap();
    let mut wrapped = row.wrapped;
    *wrapped.last_mut().unwrap() ^= 1;
    house
        .node
        .store
        .transact(move |tx| {
            let (wrapped, id) = (wrapped.clone(), row.id.clone());
            Box::pin(async move {
                dek::Entity::update_many()
                    .col_expr(dek::Column::Wrapped, Expr::value(wrapped))
                    .filter(dek::Column::Id.eq(id))
                    .exec(tx.conn())
                    .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}

/// Runs each story on both engines, with an administrator.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            use super::*;
            $(#[test]
            fn $story() {
                with_token(|token| async move {
                    make_keys(&token).await;
                    let house = House::open(&token, &sqlite(&token), "n1").await;
                    house.node.assign("admin", Role::Administrator).await;
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
                    house.node.assign("admin", Role::Administrator).await;
                    super::$story(house).await;
                });
            })*
        }
    };
}

on_both_engines!(
    a_new_kek_wraps_every_data_key_and_all_opens,
    a_kek_is_replaced_under_readers_and_writers,
    a_wrapped_key_that_was_tampered_with_is_not_given_up,
    only_an_administrator_replaces_the_kek,
    a_generation_that_the_store_does_not_know_is_refused,
);

async fn a_new_kek_wraps_every_data_key_and_all_opens(house: House) {
    for vault in ["kv", "kw"] {
        house.create(vault).await;
        house.set(vault, "a", vault.as_bytes()).await;
    }
    let backup = house.back_up("a").await;
    assert_eq!(house.stages().await, [(KekStage::Active, 2)]);

    house.rotate_kek().await;
    assert_eq!(house.stages().await, [(KekStage::Former, 0), (KekStage::Active, 2)]);
    assert_eq!(house.keks().await[1].label, "kek-2");
    // What is open stays open, and a process that starts now opens it by the new one.
    for vault in ["kv", "kw"] {
        assert_eq!(house.current(vault, "a").await.unwrap(), vault.as_bytes());
        let fresh = house.another_process().await;
        assert_eq!(house.read_by(&fresh, vault, "a").await.unwrap(), vault.as_bytes());
    }
    // A vault that is made now, and a backup from before.
    house.create("kx").await;
    house.restore("kx", &backup).await.unwrap();
    assert_eq!(house.current("kx", "a").await.unwrap(), b"kv");
    assert_eq!(house.stages().await, [(KekStage::Former, 0), (KekStage::Active, 3)]);

    refused(
        house.govern(RetireKek { generation: 2 }).await,
        Kind::Conflict,
        "only a former one",
    );
    refused(
        house.govern(RetireKek { generation: 9 }).await,
        Kind::NotFound,
        "no generation 9",
    );
    house.rotate_kek().await;
    let newer = house.back_up("a").await;
    house.govern(RetireKek { generation: 1 }).await.unwrap();
    let stages = house.stages().await;
    assert_eq!(
        stages,
        [(KekStage::Retired, 0), (KekStage::Former, 0), (KekStage::Active, 3)]
    );
    house.create("ky").await;
    refused(house.restore("ky", &backup).await, Kind::Invalid, "was retired");
    house.restore("ky", &newer).await.unwrap();
    // Every step is recorded, and the making of a key before it was made.
    let recorded = house.node.recorded().await;
    let outcomes = |outcome: &str| {
        let wanted = format!("RotateKek /  {outcome}");
        recorded.iter().filter(|record| **record == wanted).count()
    };
    assert_eq!((outcomes("intent"), outcomes("done")), (2, 2 + 2 + 2 + 3 + 1));
}

async fn a_kek_is_replaced_under_readers_and_writers(house: House) {
    for n in 0..4 {
        house.create(&format!("kv{n}")).await;
        house.set(&format!("kv{n}"), "a", b"a").await;
    }
    let house = Arc::new(house);
    let over = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..4 {
        let (house, over) = (house.clone(), over.clone());
        tasks.spawn(async move {
            let vault = format!("kv{n}");
            let mut rounds = 0_u32;
            while !over.load(Ordering::Relaxed) || rounds < 3 {
                let value = rounds.to_string();
                house.set(&vault, "b", value.as_bytes()).await;
                let fresh = house.another_process().await;
                assert_eq!(house.read_by(&fresh, &vault, "b").await.unwrap(), value.as_bytes());
                assert_eq!(house.current(&vault, "a").await.unwrap(), b"a");
                rounds += 1;
            }
        });
    }
    for _ in 0..3 {
        house.rotate_kek().await;
    }
    over.store(true, Ordering::Relaxed);
    tasks.join_all().await;
    let stages = house.stages().await;
    assert_eq!(stages.last(), Some(&(KekStage::Active, 4)));
    assert_eq!(stages.iter().map(|(_, keys)| keys).sum::<u64>(), 4);
}

async fn a_wrapped_key_that_was_tampered_with_is_not_given_up(house: House) {
    for vault in ["bad", "kv"] {
        house.create(vault).await;
        house.set(vault, "a", vault.as_bytes()).await;
    }
    damage(&house, "vault/bad").await;
    house.govern(RotateKek).await.unwrap();
    let failed = house.vault.rekey(&house.node.gate).await;
    assert!(failed.is_err(), "what does not open is said");
    assert_eq!(house.stages().await, [(KekStage::Former, 1), (KekStage::Active, 1)]);
    let fresh = house.another_process().await;
    assert_eq!(house.read_by(&fresh, "kv", "a").await.unwrap(), b"kv");
    assert!(house.read_by(&fresh, "bad", "a").await.is_err());
    refused(
        house.govern(RetireKek { generation: 1 }).await,
        Kind::Conflict,
        "wraps 1 data keys yet",
    );
    // Put right again, it is wrapped anew like the rest.
    damage(&house, "vault/bad").await;
    house.vault.rekey(&house.node.gate).await.unwrap();
    assert_eq!(house.stages().await, [(KekStage::Former, 0), (KekStage::Active, 2)]);
    let fresh = house.another_process().await;
    assert_eq!(house.read_by(&fresh, "bad", "a").await.unwrap(), b"bad");
}

async fn only_an_administrator_replaces_the_kek(house: House) {
    refused(house.perform(RotateKek).await, Kind::Denied, "RotateKek");
    refused(
        house.perform(RetireKek { generation: 1 }).await,
        Kind::Denied,
        "RotateKek",
    );
    refused(house.perform(ListKeks).await, Kind::Denied, "ListKeks");
    house.govern(RotateKek).await.unwrap();
    refused(
        house.govern(RotateKek).await,
        Kind::Conflict,
        "`kek-2` is on its way already",
    );
}

async fn a_generation_that_the_store_does_not_know_is_refused(house: House) {
    house.create("kv").await;
    house.set("kv", "a", b"a").await;
    let (vault, gate) = (&house.vault, &house.node.gate);
    vault.check_keks(gate, &[]).await.unwrap();
    house.node.hsm.generate("kek-2", KeyType::Aes256).await.unwrap();
    refused(
        vault.check_keks(gate, &[]).await,
        Kind::Conflict,
        "`kek-2`, a later generation",
    );
    refused(
        house.govern(RotateKek).await,
        Kind::Conflict,
        "that this store knows nothing about",
    );
    assert_eq!(house.stages().await, [(KekStage::Active, 1)]);
    // Whoever knows whose it is says so.
    let adopted = ["kek-2".to_owned()];
    vault.check_keks(gate, &adopted).await.unwrap();
    vault.check_keks(gate, &adopted).await.unwrap();
    vault.rekey(gate).await.unwrap();
    assert_eq!(house.stages().await, [(KekStage::Former, 0), (KekStage::Active, 1)]);
    let fresh = house.another_process().await;
    assert_eq!(house.read_by(&fresh, "kv", "a").await.unwrap(), b"a");
}

#[test]
fn a_token_without_a_generation_that_the_store_knows_is_refused() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        house.node.assign("admin", Role::Administrator).await;
        house.create("kv").await;
        let folder = token.folder();
        let older = token.dir().join("older");
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([&folder, &older])
            .status();
        assert!(copied.unwrap().success());
        house.rotate_kek().await;
        house.vault.check_keks(&house.node.gate, &[]).await.unwrap();

        std::fs::rename(&folder, token.dir().join("newer")).unwrap();
        std::fs::rename(&older, &folder).unwrap();
        let hsm = Hsm::open(&HsmSettings {
            session_copies: false,
            ..token.settings()
        });
        let vault = engine(&house.node, house.node.sealer.clone(), hsm.unwrap());
        let error = vault.check_keks(&house.node.gate, &[]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        assert_eq!(house.stages().await, [(KekStage::Former, 0), (KekStage::Active, 1)]);
    });
}

#[test]
fn every_node_wraps_by_the_newest_kek_at_once() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let one = House::open(&token, &url, "n1").await;
        one.node.assign("admin", Role::Administrator).await;
        let other = House::open(&token, &url, "n2").await;
        one.create("kv").await;
        one.set("kv", "a", b"a").await;
        assert_eq!(other.current("kv", "a").await.unwrap(), b"a");
        // Asked for at one node, done by the other.
        one.govern(RotateKek).await.unwrap();
        other.vault.rekey(&other.node.gate).await.unwrap();
        assert_eq!(one.stages().await, [(KekStage::Former, 0), (KekStage::Active, 1)]);
        for (node, vault) in [(&one, "kw"), (&other, "kx")] {
            node.create(vault).await;
            node.perform(set(vault, "a", b"x", chancery::vault::Expect::Anything))
                .await
                .unwrap();
        }
        assert_eq!(one.stages().await, [(KekStage::Former, 0), (KekStage::Active, 3)]);
        assert_eq!(one.current("kx", "a").await.unwrap(), b"x");
        let backup = other.back_up("a").await;
        one.govern(RetireKek { generation: 1 }).await.unwrap();
        one.restore("kw2", &backup).await.unwrap_err();
        one.create("kw2").await;
        one.restore("kw2", &backup).await.unwrap();
    });
}
