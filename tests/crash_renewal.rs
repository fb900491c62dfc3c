//! A renewal of the real service, killed by SIGKILL before and after each of its steps, and gone on with after a restart
//! from disk.

#![cfg(feature = "faults")]
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

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery::wire;
use support::child::free_port;
use support::pebble::Pebble;
use support::process::{Launch, Service};
use support::renewing::{PATIENCE, hook, pebble, serve};

/// Every switch on the way, and how often it is passed until it hits: the second time is that of the replacement of a
/// revoked version.
const POINTS: &[(&str, u32)] = &[
    ("lifecycle.key_ready.before", 1),
    ("lifecycle.key_ready.after", 1),
    ("lifecycle.csr_ready.before", 1),
    ("lifecycle.csr_ready.after", 1),
    ("lifecycle.ordered.before", 1),
    ("lifecycle.ordered.after", 1),
    ("lifecycle.published.before", 1),
    ("lifecycle.published.after", 1),
    ("lifecycle.proven.before", 1),
    ("lifecycle.proven.after", 1),
    ("lifecycle.finalized.before", 1),
    ("lifecycle.finalized.after", 1),
    ("lifecycle.issued.before", 1),
    ("lifecycle.issued.after", 1),
    ("lifecycle.current.before", 1),
    ("lifecycle.current.after", 1),
    ("lifecycle.written.before", 1),
    ("lifecycle.written.after", 1),
    ("lifecycle.delivered.before", 1),
    ("lifecycle.delivered.after", 1),
    ("lifecycle.verified.before", 1),
    ("lifecycle.verified.after", 1),
    ("lifecycle.due.before", 1),
    ("lifecycle.due.after", 1),
    ("lifecycle.revoked.before", 1),
    ("lifecycle.revoked.after", 1),
    ("lifecycle.ordered.before", 2),
    ("lifecycle.issued.before", 2),
    ("lifecycle.written.after", 2),
];

/// The steps of one renewal, in order.
const STATES: [&str; 7] = [
    "key_ready",
    "csr_ready",
    "ordered",
    "issued",
    "current",
    "delivered",
    "verified",
];

#[test]
fn a_renewal_killed_at_any_step_goes_on() {
    // The TLS servers that take the certificates over outlast the services.
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (pebble, http) = pebble(0, 7_776_000);
                while let Some((point, nth)) = POINTS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    killed_at(point, *nth, &pebble, http, &runtime);
                }
            });
        }
    });
}

/// One kill and what follows.
fn killed_at(point: &str, nth: u32, pebble: &Pebble, http: u16, runtime: &tokio::runtime::Runtime) {
    let said_before = pebble.log().len();
    let home = tempfile::tempdir().unwrap();
    let taken = home.path().join("served");
    fs::create_dir_all(&taken).unwrap();
    let served_at = runtime.block_on(serve(taken.clone(), free_port()));
    let launch = Launch::dev_on(&home.path().join("dev"), free_port(), http).fault(point, nth);

    let mut service = launch.start();
    make(&service, pebble, home.path(), &taken, &served_at);
    let status = loop {
        if let Some(status) = service.wait(Duration::from_millis(50)) {
            break status;
        }
        // Those that are not met by the first order are met by a revocation or what follows from it.
        if (nth > 1 || point.starts_with("lifecycle.revoked")) && ordinal_done(&service) == Some(1) {
            let _ = service.cli(&["--yes", "cert", "revoke", "--name", "www"]).run();
        }
    };
    assert_eq!(launch.fault_hit().as_deref(), Some(point), "{}", service.log());
    assert_eq!(status.signal(), Some(9), "{}", service.log());

    let service = service.restart();
    let begun = Instant::now();
    while ordinal_done(&service) != Some(2) {
        if ordinal_done(&service) == Some(1) {
            // It may have been stored as revoked before the kill; then its replacement is on its way.
            let (code, _, said) = service.cli(&["--yes", "cert", "revoke", "--name", "www"]).run();
            assert!(code == 0 || said.contains("was revoked at"), "after {point}: {said}");
        }
        assert!(begun.elapsed() < PATIENCE, "after {point}: {}", service.log());
        thread::sleep(Duration::from_millis(100));
    }
    judge(&service, &format!("{point}:{nth}"), &pebble.log()[said_before..]);
}

fn make(service: &Service, pebble: &Pebble, home: &Path, taken: &Path, served_at: &str) {
    let reload = home.join("reload");
    hook(
        &reload,
        &format!("cp \"$CHANCERY_CERT_DIR\"/current/*.pem {}/", taken.display()),
    );
    let directory = pebble.directory();
    let issuer = ["issuer", "create", "--name", "pebble", "--directory", &directory];
    let ca_file = pebble.ca_file();
    service
        .cli(&[&issuer[..], &["--ca-file", ca_file.to_str().unwrap()]].concat())
        .ok();
    let create = [
        "cert",
        "create",
        "--name",
        "www",
        "--issuer",
        "pebble",
        "--dns",
        "www.example.test",
    ];
    let www = home.join("www");
    let deliver = [
        "--deliver-to",
        www.to_str().unwrap(),
        "--hook",
        reload.to_str().unwrap(),
    ];
    let verify = ["--profile", "default", "--verify", served_at];
    // It may be killed before it answers.
    let _ = service.cli(&[&create[..], &deliver, &verify].concat()).run();
}

/// Which version is current, once its renewal is done; nothing while that runs or the service is away.
fn ordinal_done(service: &Service) -> Option<u64> {
    let (code, shown, _) = service.cli(&["cert", "show", "--name", "www", "-o", "json"]).run();
    let shown: wire::Certificate = serde_json::from_str(&shown).ok().filter(|_| code == 0)?;
    let done = shown.renewal.is_some_and(|renewal| renewal.is_done());
    shown.current.filter(|_| done).map(|version| version.ordinal)
}

/// Nothing lost, nothing doubled, nothing without its record.
fn judge(service: &Service, point: &str, pebble_said: &str) {
    let listed = service.cli(&["renewal", "list", "-o", "json"]).ok();
    let renewals: Vec<wire::Renewal> = serde_json::from_str(&listed).unwrap();
    let mut states: Vec<&str> = renewals.iter().map(|renewal| renewal.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["scheduled", "verified", "verified"], "after {point}");

    // Every certificate that Pebble signed is known.
    let trimmed = |serial: &str| serial.trim_start_matches('0').to_owned();
    let signed: BTreeSet<String> = pebble_said
        .lines()
        .filter_map(|line| line.split_once("Issued certificate serial ")?.1.split(' ').next())
        .map(trimmed)
        .collect();
    let known: BTreeSet<String> = renewals
        .iter()
        .filter_map(|renewal| renewal.serial.as_deref())
        .map(trimmed)
        .collect();
    assert_eq!(signed, known, "after {point}");

    // A change has its record exactly if it happened: each state of each renewal is reached once.
    let records = service.records();
    for renewal in renewals.iter().filter(|renewal| renewal.is_done()) {
        for state in STATES {
            let reached = records
                .iter()
                .filter(|record| record["detail"]["renewal"] == renewal.id && record["detail"]["reached"] == state);
            assert_eq!(reached.count(), 1, "{state} of {}, after {point}", renewal.id);
        }
    }
    // And every intent has one end.
    for intent in records.iter().filter(|record| record["outcome"] == "intent") {
        let ends = records.iter().filter(|record| record["closes"] == intent["id"]).count();
        assert_eq!(ends, 1, "{intent}, after {point}");
    }
    service.cli(&["audit", "verify"]).ok();
}
