//! The limiter on the real store.

use std::sync::Arc;

use futures::FutureExt;

use super::*;
use crate::store::{Settings, Tx};

const HOUR: u32 = 3_600;
const NOW: i64 = 1_800_000_000_000;

async fn store(folder: &tempfile::TempDir) -> Store {
    let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
    Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap()
}

fn take(rule: Rule, key: &str, now: i64) -> Take {
    rule.take(key.to_owned(), "things", "limits.things", now).unwrap()
}

async fn write(store: &Store, takes: Vec<Take>) -> Result<()> {
    let takes = Arc::new(takes);
    store
        .transact(move |tx: &Tx| {
            for take in takes.iter() {
                tx.together(take.clone());
            }
            async { Ok(()) }.boxed()
        })
        .await
}

#[tokio::test]
async fn so_many_come_at_once_and_then_evenly() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let rule = Rule::new(3, HOUR);
    for _ in 0..3 {
        check(&store, &[take(rule, "a", NOW)]).await.unwrap();
        write(&store, vec![take(rule, "a", NOW)]).await.unwrap();
    }
    let refused = write(&store, vec![take(rule, "a", NOW)]).await.unwrap_err();
    assert_eq!(refused.kind(), Kind::RateLimited);
    let wait = refused.retry_in().unwrap();
    assert!(
        wait > Duration::from_secs(1_199) && wait <= Duration::from_secs(1_201),
        "{wait:?}"
    );
    assert!(refused.public().contains("`limits.things`"), "{}", refused.public());
    let peeked = check(&store, &[take(rule, "b", NOW), take(rule, "a", NOW)])
        .await
        .unwrap_err();
    assert_eq!(peeked.public(), refused.public());

    // Whoever waits as told is served, once.
    let later = NOW + i64::try_from(wait.as_millis()).unwrap();
    write(&store, vec![take(rule, "a", later)]).await.unwrap();
    write(&store, vec![take(rule, "a", later)]).await.unwrap_err();
    write(&store, vec![take(rule, "b", NOW)]).await.unwrap();
    // Rest gives all of them back, and not more.
    let rested = NOW + 100 * 3_600_000;
    for _ in 0..3 {
        write(&store, vec![take(rule, "a", rested)]).await.unwrap();
    }
    write(&store, vec![take(rule, "a", rested)]).await.unwrap_err();
}

#[tokio::test]
async fn of_many_at_once_exactly_so_many_come_through() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let rule = Rule::new(5, HOUR);
    let all = (0..40).map(|n| {
        let key = ["a", "b"][n % 2];
        write(&store, vec![take(rule, key, NOW)])
    });
    let done = futures::future::join_all(all).await;
    assert_eq!(done.iter().filter(|one| one.is_ok()).count(), 10);
    assert!(
        done.iter()
            .filter_map(|one| one.as_ref().err())
            .all(|e| e.kind() == Kind::RateLimited)
    );
}

#[tokio::test]
async fn what_is_refused_by_one_limit_counts_for_none() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let (tight, loose) = (Rule::new(1, HOUR), Rule::new(2, HOUR));
    let both = || vec![take(tight, "tight", NOW), take(loose, "loose", NOW)];
    write(&store, both()).await.unwrap();
    write(&store, both()).await.unwrap_err();
    write(&store, vec![take(loose, "loose", NOW)]).await.unwrap();
    write(&store, vec![take(loose, "loose", NOW)]).await.unwrap_err();
    // What has happened is counted all the same.
    write(&store, vec![take(tight, "tight", NOW).anyway()]).await.unwrap();
    let refused = check(&store, &[take(tight, "tight", NOW)]).await.unwrap_err();
    assert!(refused.retry_in().unwrap() > Duration::from_secs(7_000));
}

#[tokio::test]
async fn what_is_paid_off_is_forgotten_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let rule = Rule::new(1, HOUR);
    write(&store, vec![take(rule, "old", NOW)]).await.unwrap();
    write(&store, vec![take(rule, "new", NOW + 3_000_000)]).await.unwrap();
    sweep(&store, Timestamp::from_unix(NOW / 1_000 + 3_601)).await.unwrap();
    let left = repo::paid(store.read(), ["old", "new"].into_iter()).await.unwrap();
    assert_eq!(left.keys().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn no_limit_counts_nothing() {
    assert!(Rule::new(0, 0).take("a".to_owned(), "things", "x", NOW).is_none());
    assert!(Rule::new(0, 0).check("x").is_ok());
    assert!(Rule::new(1, 0).check("x").is_err());
}
