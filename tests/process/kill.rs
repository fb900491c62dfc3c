//! The service, killed by SIGKILL before and after each persist of an authority, a vault and a log, and restarted from
//! disk: nothing answered is lost, a change is there exactly if its record is, and no intent stays open.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery::wire;
use serde_json::Value;

use crate::support::child::PATIENCE;
use crate::support::process::{Launch, Service};

/// Every pair, and which passes of it kill: early ones are within the first start, late ones under requests.
const POINTS: &[(&str, &[u32])] = &[
    ("audit.checkpoint", &[2]),
    ("audit.drain", &[1]),
    ("audit.segment", &[1]),
    ("audit.write", &[1, 12]),
    ("ca.crl_number", &[1]),
    ("ca.crl_store", &[1]),
    ("ca.reserve", &[1, 3]),
    ("ca.sign", &[1, 3]),
    ("ca.store", &[1, 3]),
    ("custody.generate", &[1, 3]),
    ("kek.activate", &[1]),
    ("kek.request", &[1]),
    ("kek.wrap", &[1, 2]),
    ("rotation.finish", &[1]),
    ("rotation.pending", &[1]),
    ("rotation.set", &[1]),
    ("rotation.test", &[1]),
    ("seal.dek", &[1]),
    ("store.commit", &[1, 12]),
    ("vault.key", &[1, 2]),
    ("vault.restore", &[1]),
    ("vault.set", &[2]),
];
/// How often the work is done until the switch must have hit.
const MOST_ROUNDS: usize = 12;

/// What the service was asked, and whether it answered that it was done.
#[derive(Default)]
struct Asked {
    secrets: Vec<(String, bool)>,
    keys: Vec<(String, bool)>,
    brought: Vec<(String, bool)>,
    copies: Vec<(String, bool)>,
    rotated: Vec<String>,
    enrolled: usize,
    revoked: Vec<String>,
}

#[test]
fn killed_at_any_persist_it_goes_on_from_disk() {
    let points: Vec<(String, u32)> = POINTS
        .iter()
        .flat_map(|(pair, passes)| {
            let sides = ["before", "after"].map(|side| format!("{pair}.{side}"));
            sides
                .into_iter()
                .flat_map(|name| passes.iter().map(move |nth| (name.clone(), *nth)))
        })
        .collect();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((name, nth)) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    kill_and_judge(name, *nth);
                }
            });
        }
    });
}

fn kill_and_judge(name: &str, nth: u32) {
    let home = tempfile::tempdir().unwrap();
    let rotator = rotator(home.path());
    let launch = Launch::dev(&home.path().join("dev"))
        .args(["--rotator", &format!("target={rotator}")])
        .fault(name, nth);
    let mut service = launch.spawn();
    let mut asked = Asked::default();
    let status = loop {
        if let Some(status) = work(&mut service, &mut asked, home.path(), name) {
            break status;
        }
        assert!(
            asked.secrets.len() < MOST_ROUNDS,
            "{name}:{nth} is not passed:\n{}",
            service.log()
        );
    };
    assert_eq!(status.signal(), Some(9), "{name}:{nth}: {}", service.log());
    assert_eq!(launch.fault_hit().as_deref(), Some(name));
    let service = service.restart();
    judge_rotations(&service, &asked, home.path(), &format!("{name}:{nth}"));
    judge(&service, &asked, &format!("{name}:{nth}"));
}

/// A rotator whose targets are files: the last value that each was set to.
fn rotator(home: &Path) -> String {
    let path = home.join("rotator");
    let script = format!(
        "#!/bin/sh\nasked=$(cat)\nnew=$(printf %s \"$asked\" | sed 's/.*\"new\":{{[^}}]*\"value\":\"\\([^\"]*\\)\".*/\\1/')\n\
         target={}/target-$CHANCERY_SECRET\n\
         case $CHANCERY_ROTATION_STEP in\nset) printf %s \"$new\" > \"$target\";;\n\
         *) [ \"$new\" = \"$(cat \"$target\")\" ];;\nesac\n",
        home.display()
    );
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Every rotation that was begun ends by itself, and what is current is what its target was set to; nothing is rotated
/// twice.
fn judge_rotations(service: &Service, asked: &Asked, home: &Path, point: &str) {
    for name in &asked.rotated {
        let begun = Instant::now();
        let ended = loop {
            let (code, shown, said) = service
                .cli(&["secret", "rotation", "show", "--name", name, "-o", "json"])
                .run();
            assert!(code == 0 || code == 3, "{name} after {point}: {said}");
            let Ok(rotation) = serde_json::from_str::<wire::SecretRotation>(&shown) else {
                break None;
            };
            if rotation.state == "scheduled" {
                break Some(rotation);
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{rotation:?} after {point}: {}",
                service.log()
            );
            thread::sleep(Duration::from_millis(100));
        };
        let Some(rotation) = ended else { continue };
        let records = service.records();
        let resource = format!("vaults/kv-prod/secrets/{name}");
        let done = |step: &str| {
            let of = |record: &&Value| {
                record["resource"] == resource.as_str()
                    && record["action"] == "RunRotation"
                    && record["outcome"] == "done"
                    && record["detail"]["step"] == step
            };
            records.iter().filter(of).count()
        };
        let times = usize::from(rotation.rotated.is_some());
        assert_eq!(
            ["pending", "set", "test", "finish"].map(done),
            [times; 4],
            "steps of {name} after {point}"
        );
        let value = service.cli(&["secret", "get", "--name", name]).ok();
        let target = fs::read_to_string(home.join(format!("target-{name}"))).ok();
        let expected = target.unwrap_or_else(|| "first".to_owned());
        assert_eq!(value, expected, "{name} after {point}");
        let versions = service.cli(&["secret", "versions", "--name", name, "-o", "json"]).ok();
        let versions: Vec<wire::SecretVersion> = serde_json::from_str(&versions).unwrap();
        assert_eq!(versions.len(), 1 + times, "versions of {name} after {point}");
    }
}

/// Starts, then one round of everything that persists; the end of the service as soon as there is one.
fn work(service: &mut Service, asked: &mut Asked, home: &Path, point: &str) -> Option<std::process::ExitStatus> {
    let begun = Instant::now();
    while !service.log().lines().any(|line| line == "ready") {
        if let Some(status) = service.wait(Duration::ZERO) {
            return Some(status);
        }
        assert!(begun.elapsed() < PATIENCE, "{}", service.log());
        thread::sleep(Duration::from_millis(10));
    }
    let round = asked.secrets.len();
    let secret = format!("s{round}");
    let (code, ..) = service
        .cli(&["secret", "set", "--name", &secret])
        .stdin(secret.as_str())
        .run();
    asked.secrets.push((secret.clone(), code == 0));
    let backup = home.join(format!("b{round}"));
    let to = backup.to_str().unwrap();
    let from = format!("@{to}");
    for words in [
        &["vault", "create", "--name", "kv-copy"][..],
        &["secret", "backup", "--name", &secret, "--to", to],
    ] {
        let (_, _, _) = service.cli(words).run();
    }
    let (code, ..) = service.cli(&["secret", "restore", "--vault", "kv-copy", &from]).run();
    asked.copies.push((secret, code == 0));
    let rotated = format!("r{round}");
    let _ = service.cli(&["secret", "set", "--name", &rotated]).stdin("first").run();
    let (rules, policy) = (
        ["--generate", "token"],
        [
            "secret",
            "rotation",
            "set",
            "--name",
            &rotated,
            "--every",
            "30d",
            "--rotator",
            "target",
        ],
    );
    let _ = service.cli(&[&policy[..], &rules].concat()).run();
    let _ = service.cli(&["secret", "rotate", "--name", &rotated]).run();
    asked.rotated.push(rotated.clone());
    rests(service, &rotated);
    let key = format!("k{round}");
    let (code, ..) = service
        .cli(&["key", "create", "--name", &key, "--type", "aes-256"])
        .run();
    asked.keys.push((key.clone(), code == 0));
    let (code, ..) = service
        .cli(&[
            "key",
            "import",
            "--name",
            &key,
            "--new-version",
            "--type",
            "aes-256",
            "--format",
            "raw",
        ])
        .stdin("a key of exactly thirty-two byte")
        .run();
    asked.brought.push((key, code == 0));

    let id = format!("spiffe://chancery.test/w{round}");
    let (_, _, _) = service.cli(&["identity", "create", "--id", &id]).run();
    let (_, token, _) = service.cli(&["--quiet", "identity", "token", "--id", &id]).run();
    let folder = home.join(format!("w{round}"));
    let enroll = [
        "agent",
        "enroll",
        "--once",
        "--token-file",
        "-",
        "--dir",
        folder.to_str().unwrap(),
    ];
    if service.wait(Duration::ZERO).is_none() {
        let (code, ..) = service.cli(&enroll).stdin(token.trim()).run();
        asked.enrolled += usize::from(code == 0);
    }
    let (_, listed, _) = service.cli(&["ca", "issued", "-o", "json"]).run();
    let issued: Vec<wire::IssuedCertificate> = serde_json::from_str(&listed).unwrap_or_default();
    if let Some(newest) = issued.iter().find(|it| it.names.iter().any(|name| name.ends_with(&id))) {
        let revoke = ["--yes", "ca", "revoke", "--serial", &newest.serial];
        if service.cli(&revoke).run().0 == 0 {
            asked.revoked.push(newest.serial.clone());
        }
    }
    // For the points that are passed by nothing else.
    if point.starts_with("kek.") {
        for words in [
            &["vault", "rekey", "--kek"][..],
            &["vault", "rekey", "--kek", "--watch"],
        ] {
            let (_, _, _) = service.cli(words).run();
        }
    }
    let export = home.join(format!("log{round}"));
    let _ = service
        .cli(&["audit", "export", "--to", export.to_str().unwrap()])
        .run();
    service.wait(Duration::ZERO)
}

/// Waits until a rotation has ended, or the service.
fn rests(service: &mut Service, name: &str) {
    let begun = Instant::now();
    while service.wait(Duration::ZERO).is_none() && begun.elapsed() < PATIENCE {
        let (code, shown, _) = service
            .cli(&["secret", "rotation", "show", "--name", name, "-o", "json"])
            .run();
        let rotation = serde_json::from_str::<wire::SecretRotation>(&shown);
        if code == 0 && rotation.is_ok_and(|rotation| rotation.state == "scheduled") {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn judge(service: &Service, asked: &Asked, point: &str) {
    let records = service.records();
    let done = |test: &dyn Fn(&Value) -> bool| {
        records
            .iter()
            .filter(|record| record["outcome"] == "done" && test(record))
            .count()
    };

    for (name, answered) in &asked.secrets {
        let (code, value, said) = service.cli(&["secret", "get", "--name", name]).run();
        assert!(code == 0 || !answered, "{name} is lost after {point}: {said}");
        assert!(code == 3 || value == *name, "{name} after {point}: {value}{said}");
        let resource = format!("vaults/kv-prod/secrets/{name}");
        let set = done(&|record| record["resource"] == resource.as_str() && record["action"] == "SetSecret");
        assert_eq!(set, usize::from(code == 0), "records of {name} after {point}");
    }

    for (name, answered) in &asked.copies {
        let get = ["secret", "get", "--vault", "kv-copy", "--name", name];
        let (code, value, said) = service.cli(&get).run();
        assert!(
            code == 0 || !answered,
            "the copy of {name} is lost after {point}: {said}"
        );
        assert!(
            code == 3 || value == *name,
            "the copy of {name} after {point}: {value}{said}"
        );
        let resource = format!("vaults/kv-copy/secrets/{name}");
        let made = done(&|record| record["resource"] == resource.as_str() && record["action"] == "RestoreSecret");
        assert_eq!(
            made,
            usize::from(code == 0),
            "records of the copy of {name} after {point}"
        );
    }

    for (name, answered) in &asked.keys {
        let (code, _, said) = service.cli(&["key", "encrypt", "--name", name]).stdin("x").run();
        assert!(code == 0 || !answered, "{name} is lost after {point}: {said}");
        assert!(code == 0 || code == 3, "{name} after {point}: {said}");
        let resource = format!("vaults/kv-prod/keys/{name}");
        let made = done(&|record| record["resource"] == resource.as_str() && record["action"] == "CreateKey");
        assert_eq!(made, usize::from(code == 0), "records of {name} after {point}");
    }

    for (name, answered) in &asked.brought {
        let (code, ..) = service.cli(&["key", "show", "--name", name, "--version", "2"]).run();
        assert!(code == 0 || !answered, "the version of {name} is lost after {point}");
        assert!(code == 0 || code == 3, "the version of {name} after {point}");
        let resource = format!("vaults/kv-prod/keys/{name}");
        let made = done(&|record| record["resource"] == resource.as_str() && record["action"] == "ImportKey");
        assert_eq!(
            made,
            usize::from(code == 0),
            "records of the version of {name} after {point}"
        );
    }

    let listed = service.cli(&["ca", "issued", "--limit", "1000", "-o", "json"]).ok();
    let issued: Vec<wire::IssuedCertificate> = serde_json::from_str(&listed).unwrap();
    for certificate in &issued {
        let of = |key: &str| {
            done(&|record| {
                record["detail"]["serial"] == certificate.serial.as_str() && !record["detail"][key].is_null()
            })
        };
        let (made, revoked) = (of("not_after"), of("reason_code"));
        assert_eq!(
            made,
            usize::from(certificate.state != "reserved"),
            "{certificate:?} after {point}"
        );
        assert_eq!(
            revoked,
            usize::from(certificate.state == "revoked"),
            "{certificate:?} after {point}"
        );
    }
    let known: BTreeSet<&str> = issued.iter().map(|it| it.serial.as_str()).collect();
    assert!(asked.enrolled <= known.len(), "after {point}");
    for serial in records.iter().filter_map(|record| record["detail"]["serial"].as_str()) {
        assert!(known.contains(serial), "{serial} cannot be found after {point}");
    }
    for serial in &asked.revoked {
        let state = issued
            .iter()
            .find(|it| it.serial == *serial)
            .map(|it| it.state.as_str());
        assert_eq!(state, Some("revoked"), "{serial} after {point}");
    }

    // What the service does by itself since its start may be under way, and ends; what the kill left open never would.
    let begun = Instant::now();
    loop {
        let records = service.records();
        let ends_of = |intent: &Value| records.iter().filter(|record| record["closes"] == intent["id"]).count();
        let intents = || records.iter().filter(|record| record["outcome"] == "intent");
        if intents().all(|intent| ends_of(intent) == 1) {
            break;
        }
        let open: Vec<_> = intents().filter(|intent| ends_of(intent) != 1).collect();
        assert!(begun.elapsed() < PATIENCE, "{open:?} after {point}");
        thread::sleep(Duration::from_millis(100));
    }
    let proven = service.cli(&["audit", "verify", "-o", "json"]).ok();
    let proven: Value = serde_json::from_str(&proven).unwrap();
    assert_eq!(
        proven["open_intents"].as_array().map(Vec::len),
        Some(0),
        "{proven} after {point}"
    );

    // A rotation of the KEK that was begun goes on by itself, and no key is left behind.
    let rekeyed = service.cli(&["vault", "rekey", "--kek", "--watch", "-o", "json"]).ok();
    let keks: Vec<wire::Kek> = serde_json::from_str(&rekeyed).unwrap();
    let (newest, others) = keks.split_last().unwrap();
    assert_eq!(newest.stage, "active", "{keks:?} after {point}");
    assert!(newest.data_keys > 0, "{keks:?} after {point}");
    for kek in others {
        assert_eq!(
            (kek.stage.as_str(), kek.data_keys),
            ("former", 0),
            "{keks:?} after {point}"
        );
    }

    // The vault and the authority still work.
    service.cli(&["secret", "set", "--name", "after"]).stdin("after").ok();
    assert_eq!(service.cli(&["secret", "get", "--name", "after"]).ok(), "after");
}
