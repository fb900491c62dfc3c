//! The store on both engines: group commit, leases, generations between nodes, a database that goes away.

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

use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::error::{Error, Kind, Result};
use chancery::store::entity::lease;
use chancery::store::{CommitSink, Drained, OutboxRecord, Settings, Store, Topic, Tx};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, sea_query::Expr};
use support::postgres::Postgres;
use support::wire::Wire;

async fn open(url: &str, node: &str) -> Store {
    Store::open(&Settings { url: url.to_owned() }, &node.parse().unwrap())
        .await
        .unwrap()
}

fn sqlite(folder: &tempfile::TempDir) -> String {
    format!("sqlite:{}", folder.path().join("chancery.db").display())
}

fn insert(name: String) -> impl for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static {
    move |tx| {
        let row = lease::ActiveModel {
            name: Set(name.clone()),
            holder: Set("x".to_owned()),
            expires_at: Set(0),
        };
        async move {
            lease::Entity::insert(row).exec_without_returning(tx.conn()).await?;
            tx.touch(Topic::Secrets);
            Ok(())
        }
        .boxed()
    }
}

/// Of many changes at once, each third one fails after it has written: exactly the others are there.
async fn only_what_succeeds_is_there(store: Store) {
    let tasks = (0..120).map(|i| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .transact(move |tx| {
                    async move {
                        insert(format!("row {i}"))(tx).await?;
                        if i % 3 == 0 {
                            Err(Error::conflict("each third"))
                        } else {
                            Ok(i)
                        }
                    }
                    .boxed()
                })
                .await
        })
    });
    for (i, result) in join_all(tasks).await.into_iter().enumerate() {
        assert_eq!(result.unwrap().is_ok(), i % 3 != 0);
    }
    assert_eq!(lease::Entity::find().count(store.read()).await.unwrap(), 80);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_succeeds_is_there_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    only_what_succeeds_is_there(open(&sqlite(&folder), "n1").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_succeeds_is_there_on_postgres() {
    only_what_succeeds_is_there(open(&Postgres::shared().database(), "n1").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_sees_another_ones_commit_as_soon_as_it_is_acknowledged() {
    let url = Postgres::shared().database();
    let (a, b) = tokio::join!(open(&url, "a"), open(&url, "b"));
    let mut last = b.fresh(Topic::Secrets).await.unwrap();
    let policy = b.fresh(Topic::Policy).await.unwrap();
    for i in 0..50 {
        a.transact(insert(format!("row {i}"))).await.unwrap();
        let now = b.fresh(Topic::Secrets).await.unwrap();
        assert!(now > last, "commit {i} was acknowledged and not seen");
        last = now;
    }
    assert_eq!(b.fresh(Topic::Policy).await.unwrap(), policy, "another topic");
    assert_eq!(
        a.fresh(Topic::Secrets).await.unwrap(),
        0,
        "its own commits are not another node's"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_nodes_gets_the_lease_and_the_other_after_it_ends() {
    let url = Postgres::shared().database();
    let (a, b) = tokio::join!(open(&url, "a"), open(&url, "b"));
    let (now, term) = (Timestamp::from_unix(1_000), Duration::from_secs(30));
    for round in 0..20 {
        let name = format!("lease {round}");
        let (first, second) = tokio::join!(a.lease(&name, term, now), b.lease(&name, term, now));
        assert!(first.unwrap() ^ second.unwrap(), "exactly one holder in round {round}");
        let (first, second) = tokio::join!(a.lease(&name, term, now + term), b.lease(&name, term, now + term));
        assert!(first.unwrap() | second.unwrap(), "nobody got an ended lease");
    }
}

/// Two nodes lock the same two rows in opposite order: PostgreSQL ends one of them, and it is run again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_between_nodes_is_run_again() {
    fn both(first: &'static str, second: &'static str) -> impl Fn(&Tx) -> BoxFuture<'_, Result<()>> + Send + Sync {
        move |tx| {
            async move {
                for name in [first, second] {
                    lease::Entity::update_many()
                        .col_expr(lease::Column::ExpiresAt, Expr::col(lease::Column::ExpiresAt).add(1))
                        .filter(lease::Column::Name.eq(name))
                        .exec(tx.conn())
                        .await?;
                    // Holds the first row's lock long enough for the other node to take its own.
                    use sea_orm::ConnectionTrait;
                    tx.conn().execute_unprepared("SELECT pg_sleep(0.2)").await?;
                }
                Ok(())
            }
            .boxed()
        }
    }
    use sea_orm::sea_query::ExprTrait;
    let url = Postgres::shared().database();
    let (a, b) = tokio::join!(open(&url, "a"), open(&url, "b"));
    a.transact(insert("one".to_owned())).await.unwrap();
    a.transact(insert("two".to_owned())).await.unwrap();
    let (first, second) = tokio::join!(a.transact(both("one", "two")), b.transact(both("two", "one")));
    first.unwrap();
    second.unwrap();
    let rows = lease::Entity::find().all(a.read()).await.unwrap();
    assert!(
        rows.iter().all(|row| row.expires_at == 2),
        "each change was made exactly twice: {rows:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_goes_away_fails_clearly_and_comes_back_without_a_restart() {
    let mut postgres = Postgres::start();
    let store = open(&postgres.database(), "n1").await;
    store.transact(insert("before".to_owned())).await.unwrap();
    postgres.kill();
    let error = store.transact(insert("during".to_owned())).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    assert!(
        store.fresh(Topic::Policy).await.is_err(),
        "a cache must not be believed now"
    );
    postgres.resume();
    let mut tries = 0;
    while let Err(error) = store.transact(insert(format!("after {tries}"))).await {
        tries += 1;
        assert!(tries < 50, "does not heal: {error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(
        lease::Entity::find()
            .filter(lease::Column::Name.eq("during"))
            .count(store.read())
            .await
            .unwrap(),
        0
    );
}

#[derive(Default)]
struct Sink(std::sync::Mutex<Vec<OutboxRecord>>);

impl CommitSink for Sink {
    fn committed(&self, records: Vec<OutboxRecord>) -> BoxFuture<'static, Result<()>> {
        self.0.lock().unwrap().extend(records);
        async { Ok(()) }.boxed()
    }

    fn drained(&self) -> Drained {
        Drained::default()
    }
}

fn recorded(name: &'static str) -> impl for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static {
    move |tx| {
        async move {
            insert(name.to_owned())(tx).await?;
            tx.record(name.to_owned(), vec![1]);
            Ok(())
        }
        .boxed()
    }
}

/// A store behind a wire, and beside it a connection that is not; a change called `slow` is committed for seconds.
async fn behind_a_wire() -> (Store, Wire, sea_orm::DatabaseConnection) {
    use sea_orm::ConnectionTrait;
    let url = Postgres::shared().database();
    let wire = Wire::to(&url).await;
    let store = open(&wire.url, "n1").await;
    let beside = sea_orm::Database::connect(&url).await.unwrap();
    beside
        .execute_unprepared(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON lease DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.name = 'slow') EXECUTE FUNCTION slow()",
        )
        .await
        .unwrap();
    (store, wire, beside)
}

/// Makes the change `slow` and loses the connection while it is committed.
async fn lose_the_answer(store: &Store, wire: &Wire) {
    let change = tokio::spawn({
        let store = store.clone();
        async move { store.transact(recorded("slow")).await }
    });
    tokio::time::sleep(Duration::from_millis(800)).await;
    wire.cut();
    let error = change.await.unwrap().unwrap_err();
    assert!(chancery::store::is_commit_unknown(&error), "{error:?}");
}

async fn is_there(connection: &sea_orm::DatabaseConnection, name: &str) -> bool {
    lease::Entity::find_by_id(name).one(connection).await.unwrap().is_some()
}

/// A node that only reads after a commit in doubt: what it reads before the commit comes is not believed afterwards,
/// though nobody asks for a change; and the change gets its record.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_while_a_commit_is_in_doubt_is_not_believed_once_it_came() {
    let (store, wire, beside) = behind_a_wire().await;
    let sink = std::sync::Arc::new(Sink::default());
    store.attach_sink(sink.clone());
    lose_the_answer(&store, &wire).await;

    // As a cache does it: the generation first, then what is cached.
    let mut cached = None;
    while !is_there(&beside, "slow").await {
        let Ok(generation) = store.fresh(Topic::Secrets).await else {
            // The readers' connection was lost too, and is made anew.
            continue;
        };
        if !is_there(&beside, "slow").await {
            assert_ne!(Some(generation), cached, "believed while it may come at any moment");
            cached = Some(generation);
        }
    }
    let cached = cached.expect("it comes after its answer was lost");
    let begun = std::time::Instant::now();
    loop {
        let (one, two) = (
            store.fresh(Topic::Secrets).await.unwrap(),
            store.fresh(Topic::Secrets).await.unwrap(),
        );
        assert!(one > cached, "what was cached before it came is believed");
        if one == two {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the doubt is never settled");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ids: Vec<_> = sink.0.lock().unwrap().iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids, ["slow"], "settled, and its record is not handed over");
}

/// A session whose other end is gone without its noticing holds its locks for hours: it is ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_does_not_notice_that_it_is_lost_is_ended() {
    use sea_orm::ConnectionTrait;
    let (store, wire, beside) = behind_a_wire().await;
    // Long beyond what is waited for.
    beside
        .execute_unprepared(
            "CREATE OR REPLACE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
             AS $$ BEGIN PERFORM pg_sleep(3600); RETURN NULL; END $$",
        )
        .await
        .unwrap();
    lose_the_answer(&store, &wire).await;
    let mut tries = 0;
    while let Err(error) = store.transact(recorded("after")).await {
        tries += 1;
        assert!(tries < 20, "the lost session stays in the way: {error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(!is_there(&beside, "slow").await, "it was ended, so it never comes");
}

/// The connection is lost while a commit is under way, and the commit comes after all: nobody was told that it
/// happened, so caches must not be believed, its record must reach the log, and the next change must work.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_after_its_answer_was_lost_is_found_recorded_and_in_nobodys_way() {
    let (store, wire, beside) = behind_a_wire().await;
    let sink = std::sync::Arc::new(Sink::default());
    store.attach_sink(sink.clone());
    store.transact(recorded("before")).await.unwrap();
    let believed = store.fresh(Topic::Secrets).await.unwrap();

    lose_the_answer(&store, &wire).await;

    let mut tries = 0;
    while let Err(error) = store.transact(recorded("after")).await {
        tries += 1;
        assert!(tries < 20, "the late commit stays in the way: {error:?}");
    }
    // The readers' connection was lost too; until it is made anew, nothing is believed either.
    let now = loop {
        if let Ok(now) = store.fresh(Topic::Secrets).await {
            break now;
        }
    };
    assert!(now > believed, "caches are still believed");
    let names: Vec<_> = lease::Entity::find()
        .all(&beside)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.name)
        .collect();
    assert!(
        names.contains(&"slow".to_owned()),
        "it was meant to come after all: {names:?}"
    );
    let ids: Vec<_> = sink.0.lock().unwrap().iter().map(|record| record.id.clone()).collect();
    assert_eq!(ids, ["before", "slow", "after"], "each record once, in commit order");
}
