//! How the databases walk: along an index, whatever is asked for.

use sea_orm::{ConnectionTrait, DbBackend, QueryTrait, TransactionTrait};

use super::super::repo;
use super::*;

/// Every walk, and the index that it goes along on SQLite.
fn walks() -> Vec<(Walk, &'static str)> {
    let text = || "x".to_owned();
    vec![
        (Walk::All, "issued_id"),
        (Walk::Ends(NOW, NOW), "issued_ends"),
        (Walk::Issuer(text()), "issued_issuer"),
        (Walk::Key(text()), "issued_key"),
        (Walk::Named(text()), "PRIMARY KEY"),
        (Walk::Owner(text()), "issued_owner"),
        (Walk::Profile(text()), "issued_profile"),
        (Walk::Reserved, "issued_reserved"),
        (Walk::Revoked, "issued_revoked"),
        (Walk::Serial(text()), "sqlite_autoindex_issued_1"),
        (Walk::Under("dns:test.".to_owned()), "PRIMARY KEY"),
    ]
}

fn places(walk: &Walk) -> [Option<Place>; 2] {
    let key = match walk {
        Walk::Ends(..) => "7",
        Walk::Under(_) => "dns:test.a",
        _ => "",
    };
    let (id, key) = (format!("{:032x}", 7), key.to_owned());
    [None, Some(Place { id, key })]
}

#[tokio::test]
async fn no_filter_reads_the_whole_table_or_sorts() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(sqlite(&folder)).await;
    for (walk, index) in walks() {
        for place in places(&walk) {
            let mut statement = repo::query(&walk, place.as_ref(), 100).build(DbBackend::Sqlite);
            statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
            let plan = store.read().query_all_raw(statement).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
            assert!(plan[0].contains(index), "{walk:?} {place:?}: {plan:?}");
            for step in &plan {
                let by_index = step.starts_with("SEARCH ") || step.contains(" USING INDEX ");
                assert!(
                    by_index && !step.contains("TEMP B-TREE"),
                    "{walk:?} {place:?}: {plan:?}"
                );
            }
            // Only a list of all of a kind, from its start, has nothing to enter its index by.
            let unbounded = matches!(walk, Walk::All | Walk::Reserved | Walk::Revoked) && place.is_none();
            assert_eq!(plan[0].starts_with("SCAN "), unbounded, "{walk:?} {place:?}: {plan:?}");
        }
    }
}

#[tokio::test]
async fn a_keys_fitness_is_asked_without_reading_its_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(sqlite(&folder)).await;
    let mut statement = DbBackend::Sqlite.build(&crate::ca::repo::unfit_query(&["a", "b"]));
    statement.sql = format!("EXPLAIN QUERY PLAN {}", statement.sql);
    let plan = store.read().query_all_raw(statement).await.unwrap();
    let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "detail").unwrap()).collect();
    assert!(
        plan.iter().any(|step| step.contains("INDEX issued_compromised_key")),
        "{plan:?}"
    );
    assert!(plan.iter().all(|step| !step.starts_with("SCAN ")), "{plan:?}");
}

#[tokio::test]
async fn nor_does_one_on_postgresql() {
    let url = Postgres::shared().database();
    let store = open(url).await;
    let session = store.read().begin().await.unwrap();
    // A small table is read whole for good reason; with that forbidden, what no index can do shows.
    for what in [
        "seqscan",
        "bitmapscan",
        "sort",
        "incremental_sort",
        "hashjoin",
        "mergejoin",
    ] {
        session
            .execute_unprepared(&format!("SET LOCAL enable_{what} = off"))
            .await
            .unwrap();
    }
    for (walk, _) in walks() {
        for place in places(&walk) {
            let mut statement = repo::query(&walk, place.as_ref(), 100).build(DbBackend::Postgres);
            statement.sql = format!("EXPLAIN {}", statement.sql);
            let plan = session.query_all_raw(statement).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.try_get("", "QUERY PLAN").unwrap()).collect();
            let plan = plan.join("\n");
            assert!(plan.contains("Index"), "{walk:?} {place:?}: {plan}");
            assert!(
                !plan.contains("Seq Scan") && !plan.contains("Sort"),
                "{walk:?} {place:?}: {plan}"
            );
        }
    }
}
