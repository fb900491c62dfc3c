//! A renewal, killed by SIGKILL before and after each of its steps, and gone on with by another process.
//!
//! The process that is killed and the one that goes on are this test program, run again with the rooms of a node in it;
//! they share what a restarted server has: the token's folder, the database and the audit journal.

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
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery::lifecycle::RevokeCertificate;
use chancery::store::entity::{acme_challenge, certificate_version, renewal};
use chancery::wire;
use sea_orm::{EntityTrait, PaginatorTrait};
use support::child::free_port;
use support::pebble::Pebble;
use support::renewing::{Node, PATIENCE, answer_challenges, hook, label, make_keys, pebble, serve, spec, sqlite};
use support::softhsm::{Token, initialise, with_token};

const NAME: &str = "a_renewal_killed_at_any_step_goes_on";
/// Says to the child what it is for.
const PHASE: &str = "CHANCERY_TEST_PHASE";

/// Every switch on the way, and how often it is passed until it hits. The second time is that of a replacement.
const POINTS: &[&str] = &[
    "lifecycle.key_ready.before:1",
    "lifecycle.key_ready.after:1",
    "lifecycle.csr_ready.before:1",
    "lifecycle.csr_ready.after:1",
    "lifecycle.ordered.before:1",
    "lifecycle.ordered.after:1",
    "lifecycle.published.before:1",
    "lifecycle.published.after:1",
    "lifecycle.proven.before:1",
    "lifecycle.proven.after:1",
    "lifecycle.finalized.before:1",
    "lifecycle.finalized.after:1",
    "lifecycle.issued.before:1",
    "lifecycle.issued.after:1",
    "lifecycle.current.before:1",
    "lifecycle.current.after:1",
    "lifecycle.written.before:1",
    "lifecycle.written.after:1",
    "lifecycle.delivered.before:1",
    "lifecycle.delivered.after:1",
    "lifecycle.verified.before:1",
    "lifecycle.verified.after:1",
    "lifecycle.due.before:1",
    "lifecycle.due.after:1",
    "lifecycle.revoked.before:1",
    "lifecycle.revoked.after:1",
    "lifecycle.ordered.before:2",
    "lifecycle.ordered.after:2",
    "lifecycle.issued.before:2",
    "lifecycle.current.before:2",
    "lifecycle.written.after:2",
    "lifecycle.verified.before:2",
];

#[test]
fn a_renewal_killed_at_any_step_goes_on() {
    if std::env::var(PHASE).is_ok() {
        with_token(live);
        return;
    }
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let (pebble, port) = pebble(0, 7_776_000);
                while let Some(point) = POINTS.get(next.fetch_add(1, Ordering::SeqCst)) {
                    killed_at(point, &pebble, port);
                }
            });
        }
    });
}

/// One kill and what follows.
fn killed_at(point: &str, pebble: &Pebble, http_port: u16) {
    let said_before = pebble.log().len();
    let dir = tempfile::tempdir().unwrap();
    let token = initialise(dir.path());
    let child = |fault: Option<&str>| {
        let mark = dir.path().join("mark");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args([NAME, "--exact", "--nocapture", "--test-threads=1"])
            .env(
                PHASE,
                format!("{} {http_port} {}", pebble.directory(), pebble.ca_file().display()),
            )
            .env("CHANCERY_TEST_TOKEN", token.dir())
            .envs([token.environment()]);
        if let Some(point) = fault {
            command.env("CHANCERY_FAULT", point).env("CHANCERY_FAULT_MARK", &mark);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        if let Some(point) = fault {
            let hit = fs::read_to_string(&mark).unwrap_or_default();
            assert_eq!(hit, point.split(':').next().unwrap(), "the switch was not met:\n{said}");
            assert_eq!(output.status.signal(), Some(9), "{said}");
        } else {
            assert!(
                output.status.success() && said.contains("1 passed"),
                "after {point}: {said}"
            );
        }
    };
    fs::write(token.dir().join("port"), free_port().to_string()).unwrap();
    child(Some(point));
    child(None);

    // Every certificate that Pebble signed is found in the store: the leaves have serials of 16 digits.
    let log = pebble.log();
    let signed: BTreeSet<&str> = log[said_before..]
        .lines()
        .filter_map(|line| line.split_once("Issued certificate serial ")?.1.split(' ').next())
        .map(|serial| serial.trim_start_matches('0'))
        .collect();
    let stored = fs::read_to_string(token.dir().join("serials")).unwrap();
    let stored: BTreeSet<&str> = stored.lines().map(|serial| serial.trim_start_matches('0')).collect();
    assert_eq!(signed, stored, "after {point}");
}

/// The life of a certificate from wherever it is to its replacement after a revocation.
async fn live(token: Token) {
    let phase = std::env::var(PHASE).unwrap();
    let mut parts = phase.splitn(3, ' ');
    let (directory, http_port, ca) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    if token.hsm().find("audit").await.unwrap().is_none() {
        make_keys(&token).await;
    }
    let node = Node::start(&token, &sqlite(&token), "n1").await;
    node.gate.close_intents(&[]).await.unwrap();
    answer_challenges(node.store.clone(), http_port.parse().unwrap()).await;
    let port: u16 = fs::read_to_string(token.dir().join("port")).unwrap().parse().unwrap();
    let taken = token.dir().join("served");
    fs::create_dir_all(&taken).unwrap();
    serve(taken.clone(), port).await;
    if !token.dir().join("made").exists() {
        node.set_up_at(directory, Some(fs::read_to_string(ca).unwrap())).await;
        make(&node, token.dir(), port).await;
        fs::write(token.dir().join("made"), "").unwrap();
    }

    let scheduler = node.schedule();
    node.wait_version("www", 1).await;
    wait_for_a_plan(&node).await;
    if node.show("www").await.current.unwrap().ordinal == 1 {
        let revoked = node
            .perform(RevokeCertificate {
                vault: label("kv-prod"),
                name: "www".parse().unwrap(),
                reason: wire::RevocationReason::Superseded,
            })
            .await;
        // It may have been stored as revoked before the kill.
        assert!(revoked.is_ok() || revoked.is_err_and(|e| e.public().contains("was revoked at")));
    }
    node.wait_version("www", 2).await;
    scheduler.stop().await;
    judge(&node, token.dir()).await;
}

async fn make(node: &Node, dir: &Path, port: u16) {
    let reload = dir.join("reload");
    let taken = dir.join("served");
    hook(
        &reload,
        &format!("cp \"$CHANCERY_CERT_DIR\"/current/*.pem {}/", taken.display()),
    );
    let asked = wire::CreateCertificate {
        deliver: Some(wire::Deliver {
            directory: dir.join("www"),
            owner: None,
            mode: None,
            pkcs12_password_file: None,
            hook: vec![reload.display().to_string()],
        }),
        verify: Some(wire::Verify {
            address: format!("127.0.0.1:{port}"),
            server_name: None,
            within_s: Some(10),
        }),
        ..spec("www", "default")
    };
    node.create(asked).await.unwrap();
}

/// Waits until the issuer's suggestion has been asked for and stored.
async fn wait_for_a_plan(node: &Node) {
    let begun = Instant::now();
    loop {
        let rows = renewal::Entity::find().all(node.store.read()).await.unwrap();
        if rows.len() > 1 && rows.iter().any(|row| row.window_start.is_some()) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{rows:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Nothing lost, nothing doubled, nothing without its record.
async fn judge(node: &Node, dir: &Path) {
    let read = node.store.read();
    let versions = certificate_version::Entity::find().all(read).await.unwrap();
    let serials: Vec<&str> = versions.iter().map(|row| row.serial.as_str()).collect();
    fs::write(dir.join("serials"), serials.join("\n")).unwrap();
    assert_eq!(versions.iter().map(|row| row.ordinal).collect::<Vec<_>>(), [1, 2]);
    assert!(versions[0].revoked_at.is_some() && versions[1].revoked_at.is_none());
    assert_eq!(acme_challenge::Entity::find().count(read).await.unwrap(), 0);
    let rows = renewal::Entity::find().all(read).await.unwrap();
    assert_eq!(
        rows.iter().filter(|row| row.state == "verified").count(),
        2,
        "{rows:#?}"
    );
    assert_eq!(
        rows.iter().filter(|row| row.state == "due" && !row.stopped).count(),
        1,
        "{rows:#?}"
    );
    assert_eq!(rows.len(), 3);

    let records = node.records().await;
    for intent in records.iter().filter(|record| record["outcome"] == "intent") {
        let closing = records.iter().filter(|record| record["closes"] == intent["id"]).count();
        assert_eq!(closing, 1, "{intent}");
    }
    // A change has its record exactly if it happened: each state of each renewal is reached once.
    for row in rows.iter().filter(|row| row.state == "verified") {
        for state in [
            "key_ready",
            "csr_ready",
            "ordered",
            "issued",
            "current",
            "delivered",
            "verified",
        ] {
            let reached = records
                .iter()
                .filter(|record| record["detail"]["renewal"] == row.id && record["detail"]["reached"] == state);
            assert_eq!(reached.count(), 1, "{state} of {}", row.id);
        }
    }
}
