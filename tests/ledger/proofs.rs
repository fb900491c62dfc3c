//! Proofs as files: they hold against the public key alone, for our verifier and for Go's, and nothing else does.

use std::fs;

use chancery::audit::Proved;
use chancery::cli::verify::{Proven, verify_proof};

use super::search::{fill, is_indexed, varied};
use super::support::audit::Ledger;
use super::support::postgres::Postgres;
use super::support::softhsm::with_token;
use super::support::sumdb;

/// Around the edges of a stretch of the index.
const SIZES: [u64; 8] = [1, 2, 3, 255, 4_096, 4_097, 8_192, 9_000];

fn included(text: &str, key: &str) -> Result<(u64, u64, Vec<u8>), String> {
    match verify_proof(text, key, None).map_err(|finding| finding.to_string())? {
        Proven::Included {
            index, size, record, ..
        } => Ok((index, size, record)),
        Proven::Grown { .. } => panic!("not what was asked"),
    }
}

fn grown(text: &str, key: &str, since: &str) -> Result<(u64, u64), String> {
    match verify_proof(text, key, Some(since)).map_err(|finding| finding.to_string())? {
        Proven::Grown { from, size, .. } => Ok((from, size)),
        Proven::Included { .. } => panic!("not what was asked"),
    }
}

/// Each line but the first of what stands before the checkpoint, changed, left out and doubled.
fn spoilt(text: &str) -> Vec<String> {
    let (head, note) = text.split_once("\n\n").unwrap();
    let lines: Vec<_> = head.lines().collect();
    let mut spoilt = Vec::new();
    for n in 1..lines.len() {
        let mut other = lines.clone();
        let changed = match other[n].strip_prefix("index ") {
            Some(index) => format!("index {}", index.parse::<u64>().unwrap() + 1),
            None => {
                let at = other[n].len() / 2;
                let with = if &other[n][at..=at] == "A" { "B" } else { "A" };
                format!("{}{with}{}", &other[n][..at], &other[n][at + 1..])
            }
        };
        other[n] = &changed;
        spoilt.push(other.join("\n"));
        let mut other = lines.clone();
        other.remove(n);
        spoilt.push(other.join("\n"));
        let mut other = lines.clone();
        other.insert(n, lines[n]);
        spoilt.push(other.join("\n"));
    }
    spoilt.into_iter().map(|head| format!("{head}\n\n{note}")).collect()
}

#[test]
fn r27_a_proof_holds_by_the_key_alone_and_no_other_does() {
    with_token(|token| async move {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let ledger = Ledger::open(&token, "n1").await;
        let key = ledger.log.verifier_key();
        let mut kept: Vec<(u64, String)> = Vec::new();
        for size in SIZES {
            fill(&ledger, ledger.log.size()..size).await;
            let checkpoint = ledger.log.sign_now().await.unwrap().to_string();
            if size == 9_000 {
                is_indexed(&ledger).await;
            }
            for index in [0, 1, size / 3, size / 2, 4_095, 4_096, size - 1] {
                if index >= size {
                    let refusal = ledger.log.prove(&Proved::Index(index), None).await.unwrap_err();
                    assert!(refusal.public().contains("is not signed"), "{refusal}");
                    continue;
                }
                let (node, text) = ledger.log.prove(&Proved::Index(index), None).await.unwrap();
                let record = ledger.log.entries(index, 1).await.unwrap().records.remove(0);
                assert_eq!(included(&text, &key), Ok((index, size, record)));
                assert_eq!(node, "n1");
                let said = sumdb::judge_proof(&file("one.tlog-proof", &text), &key, None);
                assert_eq!(said, Ok(format!("record {index} of {size}")));
                for spoilt in spoilt(&text) {
                    assert!(included(&spoilt, &key).is_err(), "{spoilt}");
                }
            }
            for (old, since) in &kept {
                let text = ledger.log.prove_grown(*old, None).await.unwrap();
                assert_eq!(grown(&text, &key, since), Ok((*old, size)));
                let said = sumdb::judge_proof(&file("growth", &text), &key, Some(&file("older", since)));
                assert_eq!(said, Ok(format!("{old} grew to {size}")));
                for spoilt in spoilt(&text) {
                    assert!(grown(&spoilt, &key, since).is_err(), "{old} to {size}: {spoilt}");
                }
            }
            kept.push((size, checkpoint));
        }
        let by_id = Proved::Record(varied(4_321).id);
        let (_, text) = ledger.log.prove(&by_id, None).await.unwrap();
        let whole = included(&text, &key).unwrap();
        assert_eq!(whole.2, varied(4_321).to_bytes());
        let none = Proved::Record(varied(77_777).id);
        assert!(
            ledger
                .log
                .prove(&none, None)
                .await
                .unwrap_err()
                .public()
                .contains("has a record")
        );

        // Another log's key, another's checkpoint, a checkpoint that covers other records.
        let other = Ledger::open_with_key(&token, "n2", "other").await;
        assert!(included(&text, &other.log.verifier_key()).is_err());
        fill(&other, (0..300).rev()).await;
        let foreign = other.log.sign_now().await.unwrap();
        let growth = ledger.log.prove_grown(255, None).await.unwrap();
        assert!(grown(&growth, &key, &foreign).unwrap_err().contains("is of the log"));
        assert!(grown(&growth, &key, &kept[2].1).unwrap_err().contains("covers 3"));
        assert!(
            verify_proof(&growth, &key, None)
                .unwrap_err()
                .to_string()
                .contains("--since")
        );
        let refusal = other.log.prove_grown(301, None).await.unwrap_err();
        assert!(refusal.public().contains("was rolled back"), "{refusal}");
        other.log.close().await.unwrap();
        ledger.log.close().await.unwrap();
    });
}

#[test]
fn a_record_of_a_node_that_is_gone_is_proven_by_another() {
    with_token(|token| async move {
        let database = Postgres::shared().database();
        let one = Ledger::open_rows(&token, &database, "n1").await;
        let two = Ledger::open_rows(&token, &database, "n2").await;
        fill(&two, 0..5_000).await;
        two.log.sign_now().await.unwrap();
        let key = two.log.verifier_key();
        two.log.close().await.unwrap();
        drop(two);
        let (node, text) = one.log.prove(&Proved::Record(varied(2_500).id), None).await.unwrap();
        assert_eq!(node, "n2");
        assert_eq!(included(&text, &key).unwrap().2, varied(2_500).to_bytes());
        let refusal = one.log.prove(&Proved::Index(0), Some("n3")).await.unwrap_err();
        assert!(refusal.public().contains("ask that node"), "{refusal}");
        one.log.close().await.unwrap();
    });
}
