//! The register against a real token that is swapped, emptied and shared.

use std::fs;
use std::path::Path;

use sea_orm::{ActiveValue, EntityTrait};

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::error::Kind;
use crate::softhsm::{LABEL, Token, with_token};
use crate::store::Settings;
use crate::store::entity::lease;

async fn store(folder: &Path, name: &str) -> Store {
    let url = format!("sqlite:{}", folder.join(name).display());
    Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap()
}

fn clock() -> ManualClock {
    ManualClock::new(Timestamp::from_unix(1_800_000_000))
}

/// Puts an empty token of the same label in the place of the one there is.
fn swap(token: &Token) {
    fs::rename(token.folder(), token.dir().join("away")).unwrap();
    token.add(LABEL);
}

async fn lease_of_another(store: &Store, name: &'static str, until: Timestamp) {
    store
        .transact(move |tx| {
            Box::pin(async move {
                lease::Entity::insert(lease::ActiveModel {
                    name: ActiveValue::Set(name.to_owned()),
                    holder: ActiveValue::Set("n2".to_owned()),
                    expires_at: ActiveValue::Set(until.unix()),
                })
                .exec_without_returning(tx.conn())
                .await?;
                Ok(())
            })
        })
        .await
        .unwrap();
}

const KINDS: [(&str, KeyType); 4] = [
    ("ca", KeyType::EcP256),
    ("audit", KeyType::Ed25519),
    ("kek", KeyType::Aes256),
    ("wrapping", KeyType::AesWrap256),
];

#[test]
fn a_key_is_made_once_and_known_again() {
    with_token(|token| async move {
        let (store, hsm) = (store(token.dir(), "db").await, token.hsm());
        for (label, kind) in KINDS {
            let made = ensure(&store, &hsm, label, kind, &clock()).await.unwrap();
            assert_eq!(made.spki_der.is_some(), kind.signs());
            let again = ensure(&store, &token.hsm(), label, kind, &clock()).await.unwrap();
            assert_eq!((again.key, again.spki_der), (made.key, made.spki_der));
        }
        let error = ensure(&store, &hsm, "ca", KeyType::Ed25519, &clock())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.public().contains("ec-p256"), "{error}");
    });
}

#[test]
fn a_planned_key_is_made_or_adopted() {
    with_token(|token| async move {
        let (store, hsm) = (store(token.dir(), "db").await, token.hsm());
        for (label, kind) in KINDS {
            // Killed after planning.
            let planned = format!("{label}-planned");
            repo::plan(&store, &planned, kind, clock().now()).await.unwrap();
            ensure(&store, &hsm, &planned, kind, &clock()).await.unwrap();
            // Killed after making.
            repo::plan(&store, label, kind, clock().now()).await.unwrap();
            let made = hsm.generate(label, kind).await.unwrap();
            let adopted = ensure(&store, &hsm, label, kind, &clock()).await.unwrap();
            assert_eq!(adopted.spki_der, made.spki_der);
        }
    });
}

#[test]
fn a_registered_key_that_is_gone_is_never_replaced() {
    with_token(|token| async move {
        let store = store(token.dir(), "db").await;
        let hsm = token.hsm();
        for (label, kind) in KINDS {
            ensure(&store, &hsm, label, kind, &clock()).await.unwrap();
        }
        hsm.close();
        swap(&token);
        let hsm = token.hsm();
        for (label, kind) in KINDS {
            let error = ensure(&store, &hsm, label, kind, &clock()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Unavailable);
            assert!(error.public().contains("no new key is made"), "{error}");
            assert_eq!(hsm.find(label).await.unwrap(), None);
        }
    });
}

#[test]
fn another_key_of_the_same_label_is_refused() {
    with_token(|token| async move {
        let store = store(token.dir(), "db").await;
        let hsm = token.hsm();
        for (label, kind) in KINDS {
            ensure(&store, &hsm, label, kind, &clock()).await.unwrap();
        }
        hsm.close();
        swap(&token);
        let hsm = token.hsm();
        for (label, kind) in KINDS {
            hsm.generate(label, kind).await.unwrap();
            let error = ensure(&store, &hsm, label, kind, &clock()).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.public().contains("another token"), "{error}");
        }
    });
}

#[test]
fn a_key_that_no_register_knows_is_not_taken() {
    with_token(|token| async move {
        let hsm = token.hsm();
        let mine = store(token.dir(), "mine").await;
        ensure(&mine, &hsm, "kek", KeyType::Aes256, &clock()).await.unwrap();
        let other = store(token.dir(), "other").await;
        for _ in 0..2 {
            let error = ensure(&other, &hsm, "kek", KeyType::Aes256, &clock())
                .await
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Conflict);
            assert!(error.public().contains("knows nothing"), "{error}");
        }
    });
}

#[test]
fn a_lost_token_makes_no_key_and_heals() {
    with_token(|token| async move {
        let store = store(token.dir(), "db").await;
        let hsm = token.hsm();
        let (here, away) = (token.folder(), token.dir().join("away"));
        fs::rename(&here, &away).unwrap();
        let error = ensure(&store, &hsm, "ca", KeyType::EcP256, &clock()).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.retry_in().is_some(), "{error}");
        fs::rename(&away, &here).unwrap();
        let start = std::time::Instant::now();
        while let Err(error) = ensure(&store, &hsm, "ca", KeyType::EcP256, &clock()).await {
            assert!(error.retry_in().is_some() && start.elapsed().as_secs() < 10, "{error}");
        }
    });
}

#[test]
fn nodes_wait_for_the_one_that_makes_the_key() {
    with_token(|token| async move {
        let store = store(token.dir(), "db").await;
        let hsm = token.hsm();
        let clock = std::sync::Arc::new(clock());
        // As another node would leave it, killed under the lease.
        lease_of_another(&store, "custody/ca", clock.now() + LEASE).await;
        let waiting = tokio::spawn({
            let (store, hsm, clock) = (store.clone(), hsm.clone(), clock.clone());
            async move { ensure(&store, &hsm, "ca", KeyType::EcP256, clock.as_ref()).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!waiting.is_finished());
        assert_eq!(hsm.find("ca").await.unwrap(), None);
        clock.advance(LEASE);
        waiting.await.unwrap().unwrap();
    });
}
