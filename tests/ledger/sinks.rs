//! Sinks of a log that lies in a database, on both engines: where each goes on is kept there.

use std::time::Duration;

use chancery::audit::Settings;
use chancery::store::entity::audit_sink;
use sea_orm::EntityTrait as _;
use serde_json::Value;

use super::beside;
use super::support::audit::{Ledger, record};
use super::support::child::PATIENCE;
use super::support::postgres::Postgres;
use super::support::softhsm::with_token;

#[test]
fn a_sink_goes_on_where_it_was_on_either_engine() {
    with_token(|token| async move {
        let sqlite = format!("sqlite:{}", token.dir().join("rows.db").display());
        for (engine, url) in [("sqlite", sqlite), ("postgres", Postgres::shared().database())] {
            let path = token.dir().join(format!("{engine}.jsonl"));
            let text = format!(
                "[[sink]]\nname = \"file\"\nkind = \"file\"\npath = {:?}\nbegin = \"first\"",
                path.display().to_string()
            );
            let settings: Settings = toml::from_str(&text).unwrap();
            let open = async || Ledger::open_as(&token, &url, settings.clone(), "n1").await;
            let indices = || -> Vec<u64> {
                let text = std::fs::read_to_string(&path).unwrap();
                let place = |line: &str| serde_json::from_str::<Value>(line).unwrap();
                text.lines()
                    .map(place)
                    .map(|line| {
                        let index = line["index"].as_u64().unwrap();
                        assert_eq!(line["node"], "n1");
                        let same: Value = serde_json::from_slice(&record(index).to_bytes()).unwrap();
                        assert_eq!(line["record"], same, "{engine}");
                        index
                    })
                    .collect()
            };

            let ledger = open().await;
            ledger.fill(0, 700).await;
            let database = beside(&url).await;
            let begun = std::time::Instant::now();
            loop {
                let key = ("n1".to_owned(), "file".to_owned());
                let kept = audit_sink::Entity::find_by_id(key).one(&database).await.unwrap();
                if kept.is_some_and(|kept| kept.next == 700) {
                    break;
                }
                assert!(begun.elapsed() < PATIENCE, "{engine}: it is not kept");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            assert!(indices().into_iter().eq(0..700), "{engine}");

            database.close().await.unwrap();
            ledger.log.close().await.unwrap();
            drop(ledger);
            let ledger = open().await;
            ledger.fill(700, 710).await;
            ledger.log.close().await.unwrap();
            drop(ledger);
            assert!(indices().into_iter().eq(0..710), "{engine}");
        }
    });
}
