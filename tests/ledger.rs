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

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use chancery::cli::export::Export;
use chancery::cli::verify::{Finding, Report, Source, verify_export};
use support::audit::{Ledger, exported, record};
use support::postgres::Postgres;
use support::softhsm::with_token;
use support::sumdb;

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
        // A second process that takes itself for the first node finds its place taken.
        let twin = Ledger::open_rows(&token, &database, "n1").await;
        one.fill(500, 501).await;
        twin.log.append(&record(501)).await.unwrap_err();
        // It goes on trying, and never touches what the first has acknowledged.
        tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
        twin.log.accepts().unwrap_err();
        assert_eq!(Genuine::new(&one).await.verified(), 301);
        one.log.close().await.unwrap();
        two.log.close().await.unwrap();
    });
}
