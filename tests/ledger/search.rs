//! Searching: whatever the index holds, an answer is what the log holds.

use std::fs;
use std::path::Path;

use chancery::audit::{Decision, Log, Outcome, Page, Proved, Query, Record};
use chancery::clock::Timestamp;
use chancery::store::entity::audit_rebuild;

use sea_orm::{ConnectionTrait as _, EntityTrait as _, PaginatorTrait as _};

use super::beside;
use super::support::audit::{Ledger, record};
use super::support::child::PATIENCE;
use super::support::postgres::Postgres;
use super::support::softhsm::with_token;

/// Two stretches of the index and a rest.
const RECORDS: u64 = 9_000;
const INDEXED: u64 = 8_192;

/// A record of many kinds: some frequent, some rare, some there once.
pub(crate) fn varied(number: u64) -> Record {
    let mut varied = record(number);
    varied.action = if number.is_multiple_of(3) {
        "SetSecret"
    } else {
        "ReadSecret"
    }
    .into();
    varied.resource = format!("vaults/kv-{}/secrets/app/{}", number % 5, number % 400);
    if number % 1_000 == 7 {
        varied.caller.id = "spiffe://chancery.test/workload/rare".into();
        varied.outcome = Outcome::Denied;
        varied.decision = Decision::Deny;
    }
    if number.is_multiple_of(11) {
        varied.detail.insert("serial".into(), format!("{number:06x}"));
    }
    varied
}

pub(crate) async fn fill(ledger: &Ledger, numbers: impl Iterator<Item = u64>) {
    let records: Vec<_> = numbers.map(varied).collect();
    futures::future::try_join_all(records.iter().map(|record| ledger.log.append(record)))
        .await
        .unwrap();
}

type Fits = fn(&Record) -> bool;

/// Questions, and what fits each.
fn questions() -> Vec<(Query, Fits)> {
    let none = Query::default;
    let text = |text: &str| Some(text.to_owned());
    vec![
        (none(), |_| true),
        (
            Query {
                action: text("SetSecret"),
                ..none()
            },
            |r| r.action == "SetSecret",
        ),
        (
            Query {
                caller: text("spiffe://chancery.test/workload/rare"),
                ..none()
            },
            |r| r.caller.id.ends_with("rare"),
        ),
        (
            Query {
                outcome: Some(Outcome::Denied),
                ..none()
            },
            |r| r.outcome == Outcome::Denied,
        ),
        (
            Query {
                decision: Some(Decision::Deny),
                action: text("SetSecret"),
                ..none()
            },
            |r| r.decision == Decision::Deny && r.action == "SetSecret",
        ),
        (
            Query {
                resource: text("vaults/kv-2/secrets/app/77"),
                ..none()
            },
            |r| r.resource == "vaults/kv-2/secrets/app/77",
        ),
        (
            Query {
                resource_prefix: text("vaults/kv-3/secrets/app/1"),
                ..none()
            },
            |r| r.resource.starts_with("vaults/kv-3/secrets/app/1"),
        ),
        (
            Query {
                record: Some(record(5_000).id),
                ..none()
            },
            |r| r.id == record(5_000).id,
        ),
        (
            Query {
                request: Some(record(8_999).request),
                ..none()
            },
            |r| r.request == record(8_999).request,
        ),
        (
            Query {
                serial: text("0005fb"),
                ..none()
            },
            |r| r.detail.get("serial").is_some_and(|serial| serial == "0005fb"),
        ),
        (
            Query {
                since: Some(Timestamp::from_unix(1_795_509_327)),
                until: Some(Timestamp::from_unix(1_795_509_331)),
                action: text("ReadSecret"),
                ..none()
            },
            |r| r.action == "ReadSecret" && (1_795_509_327_000..1_795_509_331_000).contains(&r.time_ms),
        ),
        (
            Query {
                action: text("NoSuchAct"),
                ..none()
            },
            |_| false,
        ),
        (
            Query {
                node: text("n9"),
                ..none()
            },
            |_| false,
        ),
    ]
}

/// Every page of an answer.
async fn all(ledger: &Ledger, query: &Query, limit: usize) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let Page { records, next, .. } = ledger.log.search(query, cursor.as_deref(), limit).await.unwrap();
        assert!(records.len() <= limit);
        found.extend(records.into_iter().map(|found| found.record));
        if next.is_none() {
            return found;
        }
        assert_ne!(next, cursor);
        cursor = next;
    }
}

/// That each question has its answer, newest first, whatever the pages' size.
async fn answers(ledger: &Ledger) {
    let mut held = Vec::new();
    while u64::try_from(held.len()).unwrap() < ledger.log.size() {
        let from = u64::try_from(held.len()).unwrap();
        held.extend(ledger.log.entries(from, u64::MAX).await.unwrap().records);
    }
    let numbered: Vec<_> = (0..RECORDS).map(varied).collect();
    for (query, fits) in questions() {
        let wanted = numbered.iter().zip(&held).rev().filter(|(record, _)| fits(record));
        let wanted: Vec<_> = wanted.map(|(_, bytes)| bytes.clone()).collect();
        for limit in [1_000, 37] {
            assert!(all(ledger, &query, limit).await == wanted, "{query:?} by {limit}");
        }
    }
}

/// How far the index has come.
async fn indexed(ledger: &Ledger) -> Option<u64> {
    let nothing = Query {
        node: Some("n9".into()),
        ..Query::default()
    };
    let page = ledger.log.search(&nothing, None, 1).await.ok()?;
    page.logs.iter().map(|log| log.indexed).min().flatten()
}

pub(crate) async fn is_indexed(ledger: &Ledger) {
    let begun = std::time::Instant::now();
    while indexed(ledger).await != Some(INDEXED) {
        assert!(begun.elapsed() < PATIENCE, "the index does not come");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn index_of(folder: &Path) -> std::path::PathBuf {
    folder.join("journal/search-1.db")
}

#[test]
fn a_search_answers_what_the_log_holds_whatever_the_index_does() {
    with_token(|token| async move {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let open = || Ledger::open_in_segments(&token, folder, "n1", 700_000);
        let ledger = open().await;
        fill(&ledger, 0..RECORDS).await;
        answers(&ledger).await;
        is_indexed(&ledger).await;
        answers(&ledger).await;
        assert!(
            fs::read_dir(folder.join("journal")).unwrap().count() > 6,
            "several segments"
        );
        ledger.log.close().await.unwrap();
        drop(ledger);

        // As it was left; then gone; then spoilt; then another log's.
        let kept = fs::read(index_of(folder)).unwrap();
        let spoilt: [&dyn Fn(&Path); 3] = [&|_| {}, &|index| fs::remove_file(index).unwrap(), &|index| {
            fs::write(index, b"no database").unwrap()
        }];
        for spoil in spoilt {
            spoil(&index_of(folder));
            let ledger = open().await;
            is_indexed(&ledger).await;
            answers(&ledger).await;
            ledger.log.close().await.unwrap();
        }
        // One that leads astray while it is used.
        let ledger = open().await;
        is_indexed(&ledger).await;
        let index = beside(&format!("sqlite:{}", index_of(folder).display())).await;
        let astray = "UPDATE audit_chunk SET offsets = randomblob(1024)";
        index.execute_unprepared(astray).await.unwrap();
        answers(&ledger).await;
        is_indexed(&ledger).await;
        answers(&ledger).await;
        // Roots that are not those of the records prove nothing, and are made anew.
        ledger.log.sign_now().await.unwrap();
        let wrong = "UPDATE audit_chunk SET root = randomblob(32)";
        index.execute_unprepared(wrong).await.unwrap();
        let proof = async || ledger.log.prove(&Proved::Index(8_500), None).await;
        assert!(proof().await.unwrap_err().public().contains("does not give the root"));
        let begun = std::time::Instant::now();
        while let Err(error) = proof().await {
            assert!(begun.elapsed() < PATIENCE, "{error}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        index.close().await.unwrap();
        ledger.log.close().await.unwrap();
        drop(ledger);

        let other = tempfile::tempdir().unwrap();
        let ledger = Ledger::open_in_segments(&token, other.path(), "n1", 700_000).await;
        fill(&ledger, (0..RECORDS).rev()).await;
        ledger.log.close().await.unwrap();
        drop(ledger);
        fs::write(index_of(other.path()), kept).unwrap();
        let ledger = Ledger::open_in_segments(&token, other.path(), "n1", 700_000).await;
        is_indexed(&ledger).await;
        assert_eq!(
            all(&ledger, &Query::default(), 1_000).await.last(),
            Some(&varied(RECORDS - 1).to_bytes())
        );
        let rare = Query {
            record: Some(varied(17).id),
            ..Query::default()
        };
        assert_eq!(all(&ledger, &rare, 10).await, [varied(17).to_bytes()]);
        ledger.log.close().await.unwrap();
    });
}

/// How many of the records that set a secret are found.
async fn found_set(ledger: &Ledger) -> usize {
    let set = Query {
        action: Some("SetSecret".into()),
        ..Query::default()
    };
    all(ledger, &set, 1_000).await.len()
}

async fn is_made_anew(ledger: &Ledger, store: &sea_orm::DatabaseConnection) {
    let begun = std::time::Instant::now();
    while audit_rebuild::Entity::find().count(store).await.unwrap() > 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not come to an end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    while ledger.log.index_lag().1 > 0 {
        assert!(begun.elapsed() < PATIENCE, "it does not come to an end");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[test]
fn an_index_is_made_anew_while_it_is_used_and_goes_on_after_a_restart() {
    with_token(|token| async move {
        let folder = tempfile::tempdir().unwrap();
        let journal = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let rows = Postgres::shared().database();
        for (is_journal, url) in [(true, &journal), (false, &rows)] {
            let open = async || match is_journal {
                true => Ledger::open_in_segments(&token, folder.path(), "n1", 700_000).await,
                false => Ledger::open_rows(&token, url, "n1").await,
            };
            let ledger = open().await;
            fill(&ledger, 0..RECORDS).await;
            is_indexed(&ledger).await;
            let whole = found_set(&ledger).await;
            assert_eq!(whole, usize::try_from(RECORDS / 3).unwrap());
            let begun = std::time::Instant::now();
            while ledger.log.index_lag() != (RECORDS - INDEXED, 0) {
                assert!(begun.elapsed() < PATIENCE, "{:?}", ledger.log.index_lag());
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
            let store = beside(url).await;
            let index = match is_journal {
                true => beside(&format!("sqlite:{}", index_of(folder.path()).display())).await,
                false => beside(url).await,
            };

            // Somebody who can write the index has hidden records; nothing shows it.
            let hide = "DELETE FROM audit_posting";
            index.execute_unprepared(hide).await.unwrap();
            assert!(found_set(&ledger).await < whole);
            let node = ledger.log.rebuildable(None).await.unwrap();
            let ask = async || {
                let node = node.clone();
                let asked = ledger.store.transact(move |tx| {
                    let node = node.clone();
                    Box::pin(async move { Log::ask_rebuild(tx, &node).await })
                });
                asked.await.unwrap();
                ledger.log.rebuild();
            };
            ask().await;
            // What the index had is not given up meanwhile.
            assert_eq!(indexed(&ledger).await, Some(INDEXED));
            is_made_anew(&ledger, &store).await;
            assert_eq!(found_set(&ledger).await, whole);
            answers(&ledger).await;
            assert_eq!(
                ledger.log.rebuildable(Some("n9")).await.unwrap_err().kind(),
                chancery::error::Kind::NotFound
            );

            // It ended after the first of two stretches: the next start does the second one only.
            index.execute_unprepared(hide).await.unwrap();
            index.close().await.unwrap();
            ledger.log.close().await.unwrap();
            drop(ledger);
            let left = "INSERT INTO audit_rebuild (log, next) VALUES ('n1', 1)";
            store.execute_unprepared(left).await.unwrap();
            let ledger = open().await;
            is_made_anew(&ledger, &store).await;
            let hidden = (0..INDEXED / 2).filter(|number| number.is_multiple_of(3)).count();
            assert_eq!(found_set(&ledger).await, whole - hidden);
            store.close().await.unwrap();
            ledger.log.close().await.unwrap();
        }
    });
}

#[test]
fn two_nodes_records_are_found_from_either_and_when_one_is_gone() {
    with_token(|token| async move {
        let database = Postgres::shared().database();
        let one = Ledger::open_rows(&token, &database, "n1").await;
        let two = Ledger::open_rows(&token, &database, "n2").await;
        tokio::join!(
            fill(&one, (0..RECORDS * 2).step_by(2)),
            fill(&two, (1..RECORDS * 2).step_by(2))
        );
        let wanted: Vec<_> = (0..RECORDS * 2).rev().map(|number| varied(number).to_bytes()).collect();
        let check = async |ledger: &Ledger| {
            assert!(all(ledger, &Query::default(), 1_000).await == wanted);
            let set = Query {
                action: Some("SetSecret".into()),
                ..Query::default()
            };
            let set = all(ledger, &set, 100).await;
            assert_eq!(set.len(), usize::try_from(RECORDS * 2 / 3).unwrap());
            assert!(wanted.iter().filter(|record| set.contains(record)).eq(set.iter()));
            let of_one = Query {
                node: Some("n2".into()),
                ..Query::default()
            };
            let of_one = all(ledger, &of_one, 1_000).await;
            assert!(of_one.iter().eq(wanted.iter().step_by(2)));
        };
        check(&one).await;
        is_indexed(&one).await;
        check(&two).await;
        two.log.close().await.unwrap();
        drop(two);
        check(&one).await;
        one.log.close().await.unwrap();
    });
}
