//! The audit log from outside: what an export proves, and that no change of one goes unseen.
//!
//! The log is a real one, signed by a token; it is changed as somebody with the export's folder, or with the journal's
//! disk, would change it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

mod proofs;
mod search;
mod sinks;
#[path = "../support/mod.rs"]
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery::cli::export::Export;
use chancery::cli::verify::{Finding, Report, Source, verify_export};
use chancery::store::{self, Store};
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use support::audit::{Ledger, exported, record};
use support::child::PATIENCE;
use support::postgres::Postgres;
use support::softhsm::with_token;
use support::sumdb;
use support::wire::Wire;

/// Enough for two full tiles, one that is not, and a second level.
const RECORDS: u64 = 700;

/// A genuine export, and copies of it to spoil.
struct Genuine {
    folder: PathBuf,
    copies: tempfile::TempDir,
    records: Vec<Vec<u8>>,
    checkpoint: String,
    key: String,
}

impl Genuine {
    async fn new(ledger: &Ledger) -> Self {
        let copies = tempfile::tempdir().unwrap();
        let folder = copies.path().join("genuine");
        let (records, checkpoint) = exported(&ledger.log, &folder).await;
        Self {
            folder,
            copies,
            records,
            checkpoint,
            key: ledger.log.verifier_key(),
        }
    }

    /// A copy with these records in its bundles, and the tiles of the genuine ones.
    fn with_records(&self, name: &str, records: &[Vec<u8>]) -> PathBuf {
        let copy = self.copies.path().join(name);
        let forged = self.forged(&format!("{name}-bundles"), records);
        copy_tree(&self.folder, &copy);
        fs::remove_dir_all(copy.join("tile/entries")).unwrap();
        copy_tree(&forged.join("tile/entries"), &copy.join("tile/entries"));
        copy
    }

    /// A whole export of these records, tiles and all, under the genuine checkpoint.
    fn forged(&self, name: &str, records: &[Vec<u8>]) -> PathBuf {
        let copy = self.copies.path().join(name);
        let mut export = Export::begin(&copy).unwrap();
        records.iter().for_each(|record| export.push(record).unwrap());
        export.finish(&self.checkpoint).unwrap();
        copy
    }

    fn verified(&self) -> u64 {
        self.verify(&self.folder).unwrap().proven
    }

    fn verify(&self, folder: &Path) -> Result<Report, Finding> {
        verify_export(folder, &self.key, None)
    }

    fn refuses(&self, folder: &Path, record: Option<u64>, text: &str) {
        let finding = self.verify(folder).expect_err(text);
        assert!(
            finding.to_string().contains(text),
            "expected `{text}`, found: {finding}"
        );
        assert_eq!(finding.record(), record, "{finding}");
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn id_of(record: &[u8]) -> String {
    let read: serde_json::Value = serde_json::from_slice(record).unwrap();
    read["id"].as_str().unwrap().to_owned()
}

#[test]
fn what_was_done_to_the_records_is_named() {
    with_token(|token| async move {
        let ledger = Ledger::open(&token, "n1").await;
        ledger.fill(0, RECORDS).await;
        let genuine = Genuine::new(&ledger).await;
        let report = genuine.verify(&genuine.folder).unwrap();
        assert_eq!((report.proven, report.unproven), (RECORDS, 0));
        assert_eq!(report.origin, "chancery.test/audit/n1");

        let spoil = |spoil: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut records = genuine.records.clone();
            spoil(&mut records);
            records
        };
        let edit = |records: &mut Vec<Vec<u8>>| {
            let text = String::from_utf8(records[300].clone()).unwrap();
            records[300] = text.replace("db-password", "db-passwore").into_bytes();
        };
        let swap = |records: &mut Vec<Vec<u8>>| records.swap(10, 400);
        let neighbours = |records: &mut Vec<Vec<u8>>| records.swap(10, 11);
        let drop_one = |records: &mut Vec<Vec<u8>>| drop(records.remove(300));
        let drop_first = |records: &mut Vec<Vec<u8>>| drop(records.remove(0));
        let drop_more = |records: &mut Vec<Vec<u8>>| drop(records.drain(300..310));
        let double = |records: &mut Vec<Vec<u8>>| records.insert(301, records[300].clone());
        let replace = |records: &mut Vec<Vec<u8>>| records[301] = records[300].clone();
        let put_in = |records: &mut Vec<Vec<u8>>| records.insert(300, record(9_000).to_bytes());
        let cut = |records: &mut Vec<Vec<u8>>| records.truncate(650);
        let cut_much = |records: &mut Vec<Vec<u8>>| records.truncate(300);
        let more = |records: &mut Vec<Vec<u8>>| records.push(record(9_000).to_bytes());
        let id = |index: usize| id_of(&genuine.records[index]);

        type Spoil<'a> = &'a dyn Fn(&mut Vec<Vec<u8>>);
        let cases: &[(&str, Spoil<'_>, u64, String)] = &[
            ("edit", &edit, 300, format!("record 300 (id {}) was changed", id(300))),
            (
                "swap",
                &swap,
                10,
                format!("record 10 (id {}) and record 400 (id {}) were swapped", id(400), id(10)),
            ),
            ("neighbours", &neighbours, 10, "were swapped".to_owned()),
            (
                "drop",
                &drop_one,
                300,
                format!("record 300 is missing: record 301 follows record 299 (id {})", id(299)),
            ),
            (
                "drop-first",
                &drop_first,
                0,
                "record 0 is missing: record 1 follows the log's start".to_owned(),
            ),
            (
                "drop-more",
                &drop_more,
                300,
                "records 300 to 309 are missing".to_owned(),
            ),
            (
                "double",
                &double,
                301,
                format!("record 301 (id {}) is there twice, at 300 and at 301", id(300)),
            ),
            ("replace", &replace, 301, "is there twice, at 300 and at 301".to_owned()),
            ("put-in", &put_in, 300, "was put in: it was never signed".to_owned()),
            ("cut", &cut, 650, "cut: records 650 to 699 are missing".to_owned()),
            (
                "cut-much",
                &cut_much,
                256,
                "cut: `tile/entries/001` with records 256 to 511 is missing".to_owned(),
            ),
            (
                "more",
                &more,
                700,
                "was added: the checkpoint covers 700 records".to_owned(),
            ),
        ];
        for (name, how, index, text) in cases {
            let folder = genuine.with_records(name, &spoil(how));
            // A bundle that is not full is named by its width: give the spoiled one the name that is looked for.
            let last = fs::read_dir(folder.join("tile/entries/002.p")).ok();
            if let Some(found) = last.and_then(|mut found| found.next()) {
                fs::rename(found.unwrap().path(), folder.join("tile/entries/002.p/188")).unwrap();
            }
            genuine.refuses(&folder, Some(*index), text);
        }

        // Somebody who makes the tiles anew hides the place, not the deed.
        let folder = genuine.forged("forged", &spoil(&edit));
        genuine.refuses(&folder, None, "the records are not those that were signed");
        let folder = genuine.forged("forged-double", &spoil(&replace));
        genuine.refuses(&folder, Some(301), "has the id");
        let folder = genuine.forged("forged-cut", &spoil(&cut));
        genuine.refuses(&folder, Some(512), "is missing");

        // With the tile of its records alone made anew, the tile above narrows it to 256.
        let folder = genuine.with_records("forged-tile", &spoil(&edit));
        fs::copy(
            genuine.copies.path().join("forged/tile/0/001"),
            folder.join("tile/0/001"),
        )
        .unwrap();
        genuine.refuses(&folder, Some(256), "one of records 256 to 511 was changed");

        ledger.log.close().await.unwrap();
    });
}

#[test]
fn go_agrees() {
    with_token(|token| async move {
        let ledger = Ledger::open(&token, "n1").await;
        // Around the edges of tiles, and from nothing on.
        for size in [0, 1, 255, 256, 257, RECORDS] {
            ledger.fill(ledger.log.size(), size).await;
            let genuine = Genuine::new(&ledger).await;
            assert_eq!(genuine.verified(), size);
            let said = sumdb::judge(&genuine.folder, &genuine.key).unwrap();
            assert!(said.starts_with(&format!("{size} records")), "{said}");
        }
        let genuine = Genuine::new(&ledger).await;
        let mut records = genuine.records.clone();
        records.swap(10, 11);
        sumdb::judge(&genuine.with_records("swap", &records), &genuine.key).unwrap_err();
        ledger.log.close().await.unwrap();
    });
}

#[test]
fn a_changed_byte_in_any_exported_file_is_seen() {
    with_token(|token| async move {
        let ledger = Ledger::open(&token, "n1").await;
        ledger.fill(0, RECORDS).await;
        let genuine = Genuine::new(&ledger).await;
        let files = files(&genuine.folder);
        assert_eq!(
            files.len(),
            1 + 3 + 3 + 1,
            "checkpoint, bundles, leaf tiles, the level above"
        );
        for file in files {
            let whole = fs::read(&file).unwrap();
            let step = if file.ends_with("checkpoint") {
                1
            } else {
                whole.len() / 40 + 1
            };
            for at in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
                let mut bytes = whole.clone();
                bytes[at] ^= 1;
                fs::write(&file, &bytes).unwrap();
                genuine
                    .verify(&genuine.folder)
                    .expect_err(&format!("byte {at} of {}", file.display()));
            }
            for bytes in [&whole[..whole.len() - 1], &[&whole[..], b"\n"].concat()] {
                fs::write(&file, bytes).unwrap();
                genuine
                    .verify(&genuine.folder)
                    .expect_err(&format!("length of {}", file.display()));
            }
            fs::remove_file(&file).unwrap();
            genuine
                .verify(&genuine.folder)
                .expect_err(&format!("without {}", file.display()));
            fs::write(&file, &whole).unwrap();
        }
        // A tile's byte does not cast doubt on the records.
        let tile = genuine.folder.join("tile/0/001");
        let mut bytes = fs::read(&tile).unwrap();
        bytes[32 * 44] ^= 1;
        fs::write(&tile, &bytes).unwrap();
        genuine.refuses(
            &genuine.folder,
            Some(300),
            "hash tile `tile/0/001` was changed at the hash of record 300; the records are whole",
        );
        bytes[32 * 44] ^= 1;
        fs::write(&tile, &bytes).unwrap();
        fs::write(genuine.folder.join("tile/0/003"), b"").unwrap();
        genuine.refuses(&genuine.folder, Some(RECORDS), "`tile/0/003` is no part of this log");
        ledger.log.close().await.unwrap();
    });
}

#[test]
fn another_key_or_another_log_proves_nothing() {
    with_token(|token| async move {
        let ledger = Ledger::open(&token, "n1").await;
        ledger.fill(0, 3).await;
        let genuine = Genuine::new(&ledger).await;
        let other = Ledger::open_with_key(&token, "n2", "another-key").await;
        other.fill(0, 3).await;
        let foreign = other.log.sign_now().await.unwrap();

        let refusal = |key: &str| verify_export(&genuine.folder, key, None).unwrap_err().to_string();
        assert!(
            refusal(&other.log.verifier_key()).contains("is of the log `chancery.test/audit/n1`, but the key is of")
        );
        assert!(refusal("x").contains("name+id+base64"));
        let renamed = genuine.key.replace("n1", "n9");
        assert!(refusal(&renamed).contains("its id does not belong to name and key"));

        // The other log's records and checkpoint, in the place of this one's.
        fs::write(genuine.folder.join("checkpoint"), foreign.as_bytes()).unwrap();
        genuine.refuses(&genuine.folder, None, "is of the log `chancery.test/audit/n2`");

        // The same log by name, but signed by another key.
        let copy = tempfile::tempdir().unwrap();
        let twin = Ledger::open_in(&token, copy.path(), "n1", "another-key").await;
        twin.fill(0, 3).await;
        fs::write(
            genuine.folder.join("checkpoint"),
            twin.log.sign_now().await.unwrap().as_bytes(),
        )
        .unwrap();
        genuine.refuses(&genuine.folder, None, "is signed by another key");
        for log in [ledger.log, other.log, twin.log] {
            log.close().await.unwrap();
        }
    });
}

#[test]
fn an_older_checkpoint_shows_a_rewritten_or_rolled_back_log() {
    with_token(|token| async move {
        let ledger = Ledger::open(&token, "n1").await;
        ledger.fill(0, 300).await;
        let older = ledger.log.sign_now().await.unwrap().to_string();
        ledger.fill(300, 320).await;
        let newer = ledger.log.sign_now().await.unwrap().to_string();
        let key = ledger.log.verifier_key();
        let records = ledger.log.entries(0, u64::MAX).await.unwrap().records;

        // As a running service tells it, with a tail that nothing covers yet.
        let mut source = Source::new(&key, Some(&older)).unwrap();
        records.iter().for_each(|record| source.push(record));
        source.push(&record(9_000).to_bytes());
        let report = source.finish(&newer).unwrap();
        assert_eq!((report.proven, report.unproven, report.since), (320, 1, Some(300)));
        assert_eq!(
            report.to_string(),
            "log `chancery.test/audit/n1`: 320 records proven, the first 300 of them as the older checkpoint had them; \
             records 320 to 320 are not proven: no checkpoint covers them yet"
        );

        let mut short = Source::new(&key, None).unwrap();
        records.iter().take(310).for_each(|record| short.push(record));
        let finding = short.finish(&newer).unwrap_err();
        assert!(
            finding
                .to_string()
                .contains("has 310 records, but its checkpoint covers 320"),
            "{finding}"
        );

        // As an anchor holds them, a torn one among them: every one is held against the log.
        let judged = |since: &str, newest: &str| {
            let mut source = Source::new(&key, Some(since))?;
            records.iter().for_each(|record| source.push(record));
            source.finish(newest)
        };
        let torn: String = older.chars().take(40).collect();
        let anchored = format!("{torn}\n{older}\n{newer}\n");
        assert_eq!(judged(&anchored, &newer).unwrap().since, Some(320));
        let twin = Ledger::open_in(&token, &token.dir().join("twin"), "n1", "audit").await;
        twin.fill(1_000, 1_310).await;
        let forked = twin.log.sign_now().await.unwrap().to_string();
        twin.log.close().await.unwrap();
        let anchored = format!("{older}\n{forked}\n{newer}\n");
        let finding = judged(&anchored, &newer).unwrap_err();
        assert!(
            finding
                .to_string()
                .contains("the first 310 records are not those of the older checkpoint"),
            "{finding}"
        );
        let spoilt = anchored.replacen("\n300\n", "\n299\n", 1);
        assert!(judged(&spoilt, &newer).unwrap_err().to_string().contains("was changed"));

        // Put back to an older state, with the genuine checkpoint of that state.
        let mut back = Source::new(&key, Some(&newer)).unwrap();
        records.iter().take(300).for_each(|record| back.push(record));
        let finding = back.finish(&older).unwrap_err();
        assert!(finding.to_string().contains("rolled back"), "{finding}");
        ledger.log.close().await.unwrap();

        // Written anew by somebody who has the audit key: only an older checkpoint tells.
        let elsewhere = tempfile::tempdir().unwrap();
        let rewritten = Ledger::open_in(&token, elsewhere.path(), "n1", "audit").await;
        rewritten.fill(1, 330).await;
        let folder = elsewhere.path().join("export");
        exported(&rewritten.log, &folder).await;
        verify_export(&folder, &key, None).unwrap();
        let finding = verify_export(&folder, &key, Some(&older)).unwrap_err();
        assert!(finding.to_string().contains("was rewritten"), "{finding}");
        rewritten.log.close().await.unwrap();
    });
}

#[test]
fn an_intent_without_an_outcome_is_told() {
    with_token(|token| async move {
        use chancery::audit::Outcome;
        let ledger = Ledger::open(&token, "n1").await;
        let mut records = [record(1), record(2), record(3)];
        records[0].outcome = Outcome::Intent;
        records[1].outcome = Outcome::Intent;
        records[2].closes = Some(records[0].id);
        for record in &records {
            ledger.log.append(record).await.unwrap();
        }
        let genuine = Genuine::new(&ledger).await;
        let report = genuine.verify(&genuine.folder).unwrap();
        assert_eq!(report.open_intents.len(), 1);
        assert_eq!(report.open_intents[0].id, records[1].id.to_string());
        assert!(report.to_string().contains("has no outcome yet"));
        ledger.log.close().await.unwrap();
    });
}

#[test]
fn two_nodes_without_disks_keep_their_logs_in_postgres() {
    with_token(|token| async move {
        let database = Postgres::shared().database();
        let one = Ledger::open_rows(&token, &database, "n1").await;
        let two = Ledger::open_rows(&token, &database, "n2").await;
        tokio::join!(one.fill(0, 300), two.fill(300, 500));
        for (ledger, count) in [(&one, 300), (&two, 200)] {
            let genuine = Genuine::new(ledger).await;
            assert_eq!(genuine.verified(), count);
        }
        one.log.close().await.unwrap();
        two.log.close().await.unwrap();
    });
}

/// A connection beside the service's, for what a writer of the database does.
async fn beside(url: &str) -> DatabaseConnection {
    Database::connect(url).await.unwrap()
}

/// Tries until it works.
async fn eventually(ledger: &Ledger, number: u64) {
    let begun = std::time::Instant::now();
    while let Err(error) = ledger.log.append(&record(number)).await {
        assert!(begun.elapsed() < PATIENCE, "does not heal: {error:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[test]
fn a_second_process_under_a_nodes_name_is_refused_and_after_a_takeover_the_first_one_stops() {
    with_token(|token| async move {
        let url = Postgres::shared().database();
        let one = Ledger::open_rows(&token, &url, "n1").await;
        one.fill(0, 3).await;
        let settings = store::Settings { url: url.clone() };
        let refusal = Store::open(&settings, &"n1".parse().unwrap()).await.err().unwrap();
        let text = refusal.to_string();
        assert!(
            text.contains("the node name `n1` is in use by another process: stop it first"),
            "{text}"
        );

        // The connection that holds the name is lost, and the second process is quicker.
        let beside = beside(&url).await;
        let held = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                    (SELECT oid FROM pg_database WHERE datname = current_database())";
        beside.execute_unprepared(held).await.unwrap();
        let two = Ledger::open_rows(&token, &url, "n1").await;
        let error = one.log.append(&record(3)).await.unwrap_err();
        assert!(
            error.detail().contains("another process has opened the audit log"),
            "{error:?}"
        );
        two.fill(3, 5).await;
        // It goes on trying, and touches neither what the second has acknowledged nor what that has signed.
        let signed = two.log.sign_now().await.unwrap();
        one.log.accepts().unwrap_err();
        one.log.append(&record(6)).await.unwrap_err();
        let _ = one.log.close().await;
        let kept = beside
            .query_one_raw(Statement::from_string(
                DbBackend::Postgres,
                "SELECT checkpoint FROM audit_log",
            ))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(kept.try_get_by_index::<String>(0).unwrap(), *signed);
        assert_eq!(Genuine::new(&two).await.verified(), 5);
        two.log.close().await.unwrap();
    });
}

#[test]
fn a_batch_whose_commit_comes_after_its_answer_was_lost_is_taken_back() {
    with_token(|token| async move {
        let url = Postgres::shared().database();
        let wire = Wire::to(&url).await;
        let ledger = Ledger::open_rows(&token, &wire.url, "n1").await;
        ledger.fill(0, 3).await;
        let slow = record(3).id;
        let statement = format!(
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON audit_entry DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (position('{slow}'::bytea in NEW.record) > 0) EXECUTE FUNCTION slow()"
        );
        let beside = beside(&url).await;
        beside.execute_unprepared(&statement).await.unwrap();

        let slow = tokio::spawn({
            let log = ledger.log.clone();
            async move { log.append(&record(3)).await }
        });
        tokio::time::sleep(Duration::from_millis(800)).await;
        wire.cut();
        slow.await.unwrap().unwrap_err();
        eventually(&ledger, 4).await;
        ledger.fill(5, 7).await;
        // The readers' connections were cut too, and each is noticed when it is used.
        let mut good = 0;
        while good < 20 {
            let read = ledger.log.entries(0, 1).await;
            good = if read.is_ok() { good + 1 } else { 0 };
        }
        let genuine = Genuine::new(&ledger).await;
        assert_eq!(genuine.verified(), 6);
        let expected: Vec<_> = [0, 1, 2, 4, 5, 6].map(|n| record(n).to_bytes()).into();
        assert_eq!(genuine.records, expected);
        ledger.log.close().await.unwrap();
    });
}

#[test]
fn a_start_does_not_read_rows_that_are_signed_but_has_them_checked() {
    with_token(|token| async move {
        let url = Postgres::shared().database();
        let beside = beside(&url).await;
        let reopened = |ledger: Ledger| async {
            ledger.log.close().await.unwrap();
            drop(ledger);
            Ledger::open_rows(&token, &url, "n1").await
        };
        let ledger = Ledger::open_rows(&token, &url, "n1").await;
        ledger.fill(0, 300).await;
        ledger.log.sign_now().await.unwrap();
        beside
            .execute_unprepared("UPDATE audit_entry SET idx = -1 WHERE idx = 5")
            .await
            .unwrap();

        let ledger = reopened(ledger).await;
        ledger.fill(300, 310).await;
        let begun = std::time::Instant::now();
        let finding = loop {
            if let Err(finding) = ledger.log.health() {
                break finding;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing was found");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert!(
            finding.detail().contains("audit record 5 of node `n1` is missing"),
            "{finding:?}"
        );
        let error = ledger.log.entries(0, 10).await.unwrap_err();
        assert!(
            error.public().contains("audit record 5 of node `n1` is missing"),
            "{error:?}"
        );
        beside
            .execute_unprepared("UPDATE audit_entry SET idx = 5 WHERE idx = -1")
            .await
            .unwrap();

        // Of a log from before there were frontiers, the tree is made once and kept.
        ledger.log.sign_now().await.unwrap();
        let sign = "UPDATE audit_log SET frontier = NULL";
        beside.execute_unprepared(sign).await.unwrap();
        let ledger = reopened(ledger).await;
        let kept = beside
            .query_one_raw(Statement::from_string(
                DbBackend::Postgres,
                "SELECT frontier FROM audit_log",
            ))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            kept.try_get_by_index::<Vec<u8>>(0).unwrap().len(),
            32 * 5,
            "310 has five bits"
        );
        assert_eq!(Genuine::new(&ledger).await.verified(), 310);

        // Signed rows that are cut refuse at once.
        ledger.log.close().await.unwrap();
        beside
            .execute_unprepared("DELETE FROM audit_entry WHERE idx >= 308")
            .await
            .unwrap();
        drop(ledger);
        let refusal = Ledger::refused_rows(&token, &url, "n1").await;
        assert!(
            refusal.contains(
                "audit record 309 of node `n1` is missing from table audit_entry, but the signed checkpoint covers 310"
            ),
            "{refusal}"
        );
    });
}
