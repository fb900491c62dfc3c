//! Filling the audit log's index, and searching by it.

use std::path::Path;
use std::time::{Duration, Instant};

use chancery::audit::{Decision, Outcome, Query, Record};
use chancery::clock::Timestamp;

use super::support::audit::{Ledger, record};
use super::support::softhsm::Token;

/// Records that wait together.
const TOGETHER: u64 = 4_096;
const NAMES: u64 = 50_000;
const CALLERS: u64 = 1_000;

/// One record in ten thousand is of a rare caller, one in a hundred is refused.
fn varied(number: u64) -> Record {
    let mut varied = record(number);
    varied.caller.id = match number % 10_000 {
        77 => "spiffe://chancery.test/workload/rare".into(),
        other => format!("spiffe://chancery.test/workload/w{}", other % CALLERS),
    };
    varied.caller.serial = Some(format!("{:040x}", number % CALLERS));
    varied.action = if number.is_multiple_of(5) {
        "SetSecret"
    } else {
        "ReadSecret"
    }
    .into();
    // Neighbours have different names.
    varied.resource = format!("vaults/kv-{}/secrets/app/{}", number % 10, number * 7_919 % NAMES);
    if number % 100 == 3 {
        varied.outcome = Outcome::Denied;
        varied.decision = Decision::Deny;
    }
    varied
}

fn questions(count: u64) -> Vec<(&'static str, Query)> {
    let none = Query::default;
    let text = |text: &str| Some(text.to_owned());
    // `record` counts milliseconds from here on.
    let begun = 1_795_509_325;
    let at = |number: u64| Some(Timestamp::from_unix(begun + i64::try_from(number / 1_000).unwrap()));
    vec![
        ("newest", none()),
        (
            "caller, one in a thousand",
            Query {
                caller: text("spiffe://chancery.test/workload/w5"),
                ..none()
            },
        ),
        (
            "caller, one in ten thousand",
            Query {
                caller: text("spiffe://chancery.test/workload/rare"),
                ..none()
            },
        ),
        (
            "action, one in five",
            Query {
                action: text("SetSecret"),
                ..none()
            },
        ),
        (
            "outcome, one in a hundred",
            Query {
                outcome: Some(Outcome::Denied),
                ..none()
            },
        ),
        (
            "decision, one in a hundred",
            Query {
                decision: Some(Decision::Deny),
                ..none()
            },
        ),
        (
            "resource, exactly",
            Query {
                resource: text("vaults/kv-0/secrets/app/0"),
                ..none()
            },
        ),
        (
            "resource, below a path",
            Query {
                resource_prefix: text("vaults/kv-3/"),
                ..none()
            },
        ),
        (
            "serial, one in a thousand",
            Query {
                serial: Some(format!("{:040x}", 9)),
                ..none()
            },
        ),
        (
            "request",
            Query {
                request: Some(record(count / 2).request),
                ..none()
            },
        ),
        (
            "record",
            Query {
                record: Some(record(count / 3).id),
                ..none()
            },
        ),
        (
            "an old time",
            Query {
                since: at(count / 4),
                until: at(count / 4 + 60_000),
                ..none()
            },
        ),
        (
            "an action within an old time",
            Query {
                action: text("SetSecret"),
                since: at(count / 4),
                until: at(count / 4 + 60_000),
                ..none()
            },
        ),
        // Each is frequent, both together never are.
        (
            "two that never meet",
            Query {
                action: text("SetSecret"),
                outcome: Some(Outcome::Denied),
                ..none()
            },
        ),
        (
            "none at all",
            Query {
                action: text("NoSuchAct"),
                ..none()
            },
        ),
    ]
}

pub async fn run(time: Duration) {
    let scale = std::env::var("SCALE").is_ok_and(|scale| scale == "1");
    let count = std::env::var("RECORDS").ok().and_then(|count| count.parse().ok());
    let count: u64 = count.unwrap_or(if scale { 10_000_000 } else { 100_000 });
    println!("\nsearch {count} audit records, pages of 100");
    let folder = std::env::var("CHANCERY_BENCH_TOKEN").unwrap();
    let token = Token::at(Path::new(&folder));
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::open_in(&token, folder.path(), "n1", "audit").await;
    let begun = Instant::now();
    for from in (0..count).step_by(usize::try_from(TOGETHER).unwrap()) {
        let records: Vec<_> = (from..count.min(from + TOGETHER)).map(varied).collect();
        futures::future::try_join_all(records.iter().map(|record| ledger.log.append(record)))
            .await
            .unwrap();
    }
    let appended = begun.elapsed().as_secs_f64();
    println!(
        "{:<34} {:>9.0} /s",
        "append, the index filled beside it",
        count as f64 / appended
    );
    ledger.log.close().await.unwrap();
    drop(ledger);
    let journal = folder.path().join("journal");
    let _ = std::fs::remove_file(journal.join("search-1.db"));

    let begun = Instant::now();
    let ledger = Ledger::open_in(&token, folder.path(), "n1", "audit").await;
    println!(
        "{:<34} {:>9.0} ms",
        "start without an index",
        begun.elapsed().as_secs_f64() * 1e3
    );
    let begun = Instant::now();
    let whole = count / TOGETHER * TOGETHER;
    let nothing = Query {
        node: Some("n9".into()),
        ..Query::default()
    };
    while ledger.log.search(&nothing, None, 1).await.unwrap().logs[0].indexed != Some(whole) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let filled = begun.elapsed().as_secs_f64();
    println!(
        "{:<34} {:>9.0} /s, at half speed",
        "make the index anew",
        whole as f64 / filled
    );
    let bytes: u64 = ["search-1.db", "search-1.db-wal"]
        .iter()
        .filter_map(|file| Some(std::fs::metadata(journal.join(file)).ok()?.len()))
        .sum();
    println!("{:<34} {:>9.1} bytes", "index, a record", bytes as f64 / count as f64);

    for (what, query) in questions(count) {
        let mut took = Vec::new();
        let begun = Instant::now();
        let mut found = 0;
        while took.len() < 20 || begun.elapsed() < time / 3 {
            let asked = Instant::now();
            found = ledger.log.search(&query, None, 100).await.unwrap().records.len();
            took.push(asked.elapsed());
        }
        took.sort();
        let at = |part: usize| took[(took.len() - 1) * part / 100].as_secs_f64() * 1e3;
        println!(
            "{what:<34} {:>9.2} ms p50, {:>8.2} ms p99, {found} found",
            at(50),
            at(99)
        );
    }
    ledger.log.close().await.unwrap();
}
