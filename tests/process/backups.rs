//! The whole service, backed up while it is written to, lost, and put back: what was answered before the backup is there,
//! with its records in the old log; the new log quotes the old one, so that a fork shows.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chancery::wire;
use serde_json::Value;

use crate::support::child::{PATIENCE, free_port, run};
use crate::support::postgres::Postgres;
use crate::support::process::{CHANCERY, Cli, Launch, Service};
use crate::support::server::elsewhere;

/// By how much CRL numbers jump.
const JUMP: u64 = 1 << 32;

/// One who sets the versions 1.. of a secret: how many were begun, how many answered.
#[derive(Default)]
struct Writer {
    begun: AtomicU64,
    answered: AtomicU64,
}

impl Writer {
    fn write(&self, service: &Service, name: &str, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let next = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let set = service.cli(&["secret", "set", "--name", name]);
            set.stdin(format!("{name} {next}")).ok();
            self.answered.store(next, Ordering::SeqCst);
        }
    }
}

/// What is lost: the database and the journal.
fn lose(folder: &Path, to: &str) {
    let lost = folder.join(to);
    fs::create_dir(&lost).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("chancery.db") || name == "audit" {
            fs::rename(&path, lost.join(name)).unwrap();
        }
    }
}

fn at(path: &Path) -> String {
    format!("@{}", path.display())
}

fn restore(config: &Path, backup: &Path) -> Cli {
    let config = config.to_str().unwrap();
    Cli::new(
        BTreeMap::new(),
        &["-o", "json", "backup", "restore", "--config", config, &at(backup)],
    )
}

/// The verifier key of the log that the service has now, as a file.
fn key_of(service: &Service, file: &Path) -> PathBuf {
    let env = service.env();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail"])
        .args(["--cacert", &env["CHANCERY_CACERT"]])
        .args(["--cert", &env["CHANCERY_CLIENT_CERT"]])
        .args(["--key", &env["CHANCERY_CLIENT_KEY"]])
        .arg(format!("{}/api/audit/log", env["CHANCERY_ADDR"]));
    let log: wire::AuditLog = serde_json::from_slice(&run(&mut curl)).unwrap();
    fs::write(file, log.verifier_key).unwrap();
    file.to_owned()
}

/// The numbers of the lists that were published.
fn lists(records: &[Value]) -> Vec<u64> {
    let published = records.iter().filter(|record| record["action"] == "PublishCrl");
    let numbers = published.filter_map(|record| record["detail"]["crl_number"].as_str());
    numbers.map(|number| number.parse().unwrap()).collect()
}

/// The records in an exported log (c2sp.org/tlog-tiles: two bytes of length before each), in order.
fn exported(folder: &Path) -> Vec<Value> {
    let mut bundles = Vec::new();
    let mut folders = vec![folder.join("tile/entries")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path)
            } else {
                bundles.push(path)
            }
        }
    }
    bundles.sort();
    let mut records = Vec::new();
    for bundle in bundles {
        let bytes = fs::read(bundle).unwrap();
        let mut left = bytes.as_slice();
        while let [a, b, rest @ ..] = left {
            let (record, rest) = rest.split_at(usize::from(u16::from_be_bytes([*a, *b])));
            records.push(serde_json::from_slice(record).unwrap());
            left = rest;
        }
    }
    records
}

/// What is done to a file.
type Spoil<'s> = &'s dyn Fn(&mut Vec<u8>);

#[test]
fn a_service_comes_back_from_a_backup_made_under_load() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let mut service = Launch::dev_on(&folder, free_port(), free_port()).start();
    let config = folder.join("chancery.toml");
    service.cli(&["secret", "set", "--name", "kept"]).stdin("kept").ok();
    service.cli(&["key", "create", "--name", "k", "--type", "aes-256"]).ok();
    // The ciphertext is no text.
    let mut encrypt = Command::new("sh");
    encrypt.args(["-c", "printf text | \"$0\" key encrypt --name k", CHANCERY]);
    let sealed = run(encrypt.envs(service.env()));
    service
        .cli(&["identity", "create", "--id", "spiffe://chancery.test/w"])
        .ok();
    let token = ["--quiet", "identity", "token", "--id", "spiffe://chancery.test/w"];
    let join = service.cli(&token).ok();

    // Made while three write, each its own secret.
    let file = home.path().join("chancery.backup");
    let writers: Vec<_> = (0..3).map(|_| Writer::default()).collect();
    let stop = AtomicBool::new(false);
    let (before, after) = thread::scope(|scope| {
        for (n, writer) in writers.iter().enumerate() {
            let (service, stop) = (&service, &stop);
            scope.spawn(move || writer.write(service, &format!("w{n}"), stop));
        }
        let begun = Instant::now();
        while writers.iter().any(|writer| writer.answered.load(Ordering::SeqCst) < 2) {
            assert!(begun.elapsed() < PATIENCE);
            thread::sleep(Duration::from_millis(10));
        }
        let count = |of: fn(&Writer) -> &AtomicU64| -> Vec<_> {
            writers.iter().map(|writer| of(writer).load(Ordering::SeqCst)).collect()
        };
        let before = count(|writer| &writer.answered);
        service.cli(&["backup", "create", "--to", file.to_str().unwrap()]).ok();
        let after = count(|writer| &writer.begun);
        stop.store(true, Ordering::SeqCst);
        (before, after)
    });
    let there = service.cli(&["backup", "create", "--to", file.to_str().unwrap()]).run();
    assert_eq!(there.0, 2, "{}", there.2);

    // Verified beside the service that runs, with the token and without.
    let verify = |args: &[&str]| Cli::new(BTreeMap::new(), args).run();
    let from = at(&file);
    let with = ["backup", "verify", "--config", config.to_str().unwrap(), &from];
    let (code, told, said) = verify(&with);
    assert_eq!(code, 0, "{told}{said}");
    assert!(said.contains("authentic"), "{said}");
    let (code, _, said) = verify(&["backup", "verify", &at(&file)]);
    assert_eq!(code, 0, "{said}");
    let whole = fs::read(&file).unwrap();
    let spoiled = home.path().join("spoiled");
    let spoils: [Spoil; 3] = [
        &|bytes| bytes.truncate(bytes.len() - 1),
        &|bytes| bytes.push(0),
        &|bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        },
    ];
    for spoil in spoils {
        let mut bytes = whole.clone();
        spoil(&mut bytes);
        fs::write(&spoiled, bytes).unwrap();
        assert_eq!(verify(&["backup", "verify", &at(&spoiled)]).0, 7);
    }
    // A change with a hash that fits is found by the token.
    let mut bytes = whole.clone();
    let (body, end) = (bytes.len() - 32, bytes.len());
    bytes[body - 40] ^= 1;
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes[..body]);
    bytes[body..end].copy_from_slice(hash.as_ref());
    fs::write(&spoiled, bytes).unwrap();
    assert_eq!(verify(&["backup", "verify", &at(&spoiled)]).0, 0);
    let (code, _, said) = verify(&["backup", "verify", "--config", config.to_str().unwrap(), &at(&spoiled)]);
    assert_eq!(code, 7, "{said}");
    assert!(!whole.windows(4).any(|bytes| bytes == b"kept"));

    // The service goes on, and its log with it, until it is lost.
    service.cli(&["secret", "set", "--name", "late"]).stdin("late").ok();
    let later = home.path().join("later");
    service.cli(&["audit", "export", "--to", later.to_str().unwrap()]).ok();
    let records = service.records();
    let published = lists(&records).into_iter().max().unwrap();
    let created: Vec<_> = records
        .iter()
        .filter(|record| record["action"] == "CreateBackup")
        .collect();
    let outcomes: Vec<_> = created
        .iter()
        .map(|record| record["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["intent", "done"]);
    let id = created[0]["detail"]["backup"].as_str().unwrap();
    assert_eq!(service.end().code(), Some(0));
    let (code, _, said) = restore(&config, &file).run();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("leave the folder empty"), "{said}");
    fs::rename(folder.join("audit"), folder.join("audit-aside")).unwrap();
    let (code, _, said) = restore(&config, &file).run();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("is not empty"), "{said}");
    fs::rename(folder.join("audit-aside"), folder.join("audit")).unwrap();
    lose(&folder, "lost");

    restore(&config, &file).ok();
    let mut service = Launch::server(&config, &folder).start();
    assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
    assert_eq!(
        service
            .cli(&["key", "decrypt", "--name", "k"])
            .stdin(sealed.clone())
            .ok(),
        "text"
    );
    assert_eq!(service.cli(&["secret", "get", "--name", "late"]).run().0, 3);
    service.cli(&["secret", "set", "--name", "new"]).stdin("new").ok();
    assert_eq!(service.cli(&["secret", "get", "--name", "new"]).ok(), "new");
    // A join token that the lost service may have taken is not taken again.
    let env = service.env();
    let dir = home.path().join("w");
    let enroll = [
        "agent",
        "enroll",
        "--once",
        "--token-file",
        "-",
        "--dir",
        dir.to_str().unwrap(),
    ];
    assert_ne!(Cli::new(env.clone(), &enroll).stdin(join).run().0, 0);

    // Of each writer exactly a beginning of what it was answered, and its records in the old log.
    let old = folder.join(format!("audit-before-{}/node1", &id[..8]));
    let old_records = exported(&old);
    for (n, (before, after)) in before.into_iter().zip(after).enumerate() {
        let name = format!("w{n}");
        let value = service.cli(&["secret", "get", "--name", &name]).ok();
        let count: u64 = value.strip_prefix(&format!("{name} ")).unwrap().parse().unwrap();
        assert!((before..=after).contains(&count), "{name}: {before} {count} {after}");
        let versions = service.cli(&["secret", "versions", "--name", &name, "-o", "json"]).ok();
        let versions: Vec<Value> = serde_json::from_str(&versions).unwrap();
        assert_eq!(u64::try_from(versions.len()).unwrap(), count);
        let resource = format!("vaults/kv-prod/secrets/{name}");
        let done = old_records.iter().filter(|record| {
            record["action"] == "SetSecret" && record["outcome"] == "done" && record["resource"] == resource.as_str()
        });
        assert!(u64::try_from(done.count()).unwrap() >= count, "{name}");
    }

    // The new log begins with what it follows; both verify.
    let records = service.records();
    assert_eq!(records[0]["action"], "RestoreBackup");
    assert_eq!(records[0]["caller"]["id"], "system:restore");
    let checkpoint = fs::read_to_string(old.join("checkpoint")).unwrap();
    let lines: Vec<_> = checkpoint.lines().collect();
    let detail = &records[0]["detail"];
    for (name, expected) in [
        ("backup", id),
        ("old_log", lines[0]),
        ("old_size", lines[1]),
        ("old_root", lines[2]),
        ("old_checkpoint", checkpoint.as_str()),
    ] {
        assert_eq!(detail[name], expected, "{name}");
    }
    let new_key = key_of(&service, &home.path().join("new.vkey"));
    let log = detail["log"].as_str().unwrap();
    assert!(log.starts_with(&format!("{}/", lines[0])), "{log}");
    assert!(fs::read_to_string(&new_key).unwrap().starts_with(&format!("{log}+")));
    service
        .cli(&["audit", "verify", "--key", new_key.to_str().unwrap()])
        .ok();
    service.cli(&["audit", "verify", "--from", old.to_str().unwrap()]).ok();
    // What was kept from outside after the backup shows that the old log went on.
    let later = later.join("checkpoint");
    let since = [
        "audit",
        "verify",
        "--from",
        old.to_str().unwrap(),
        "--since",
        later.to_str().unwrap(),
    ];
    let (code, _, said) = service.cli(&since).run();
    assert_eq!(code, 7, "{said}");
    let kept: u64 = fs::read_to_string(&later)
        .unwrap()
        .lines()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert!(kept > lines[1].parse().unwrap());

    // Lists go on behind any number that the lost service may have given out.
    let begun = Instant::now();
    while lists(&service.records()).is_empty() {
        assert!(begun.elapsed() < PATIENCE);
        thread::sleep(Duration::from_millis(100));
    }
    assert!(lists(&service.records()).into_iter().min().unwrap() >= JUMP.min(published + JUMP));
    // It starts again as any other, and its log is the same.
    assert_eq!(service.end().code(), Some(0));
    let mut service = Launch::server(&config, &folder).start();
    service
        .cli(&["audit", "verify", "--key", new_key.to_str().unwrap()])
        .ok();
    assert_eq!(service.end().code(), Some(0));

    // What SQLite had PostgreSQL takes, and gives back.
    let database = Postgres::shared().database();
    let config = elsewhere(&folder, "on-postgres", &database);
    restore(&config, &file).ok();
    let mut service = Launch::server(&config, &folder).start();
    assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
    service.cli(&["secret", "set", "--name", "new"]).stdin("new").ok();
    let back = home.path().join("postgres.backup");
    service.cli(&["backup", "create", "--to", back.to_str().unwrap()]).ok();
    assert_eq!(service.end().code(), Some(0));
    let database = format!("sqlite:{}", folder.join("again.db").display());
    let config = elsewhere(&folder, "again", &database);
    restore(&config, &back).ok();
    let service = Launch::server(&config, &folder).start();
    assert_eq!(service.cli(&["secret", "get", "--name", "new"]).ok(), "new");
    assert_eq!(
        service.cli(&["key", "decrypt", "--name", "k"]).stdin(sealed).ok(),
        "text"
    );
    // Its log quotes the second one, whose name is again another.
    let again = service.records();
    assert_ne!(again[0]["detail"]["old_log"], lines[0]);
    assert_ne!(again[0]["detail"]["old_log"], again[0]["detail"]["log"]);
}

#[test]
fn all_is_put_back_or_nothing() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let mut service = Launch::dev_on(&folder, free_port(), free_port()).start();
    let config = folder.join("chancery.toml");
    service.cli(&["secret", "set", "--name", "kept"]).stdin("kept").ok();

    // A disk that is full leaves no half file.
    let file = home.path().join("chancery.backup");
    let limited = |blocks: u32, args: &[&str]| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut sh = Command::new("sh");
        sh.args(["-c", &script, CHANCERY]).args(args).envs(service_env(&folder));
        let output = sh.output().unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let to = file.to_str().unwrap();
    let (code, said) = limited(8, &["backup", "create", "--to", to]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cannot be written"), "{said}");
    let left: Vec<_> = fs::read_dir(home.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["dev"]);
    service.cli(&["backup", "create", "--to", to]).ok();
    assert_eq!(service.end().code(), Some(0));
    lose(&folder, "lost");

    // Another token, and another node.
    let stranger = home.path().join("stranger");
    assert_eq!(Launch::dev(&stranger).start().end().code(), Some(0));
    lose(&stranger, "lost");
    let (code, _, said) = restore(&stranger.join("chancery.toml"), &file).run();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("does not open by this token"), "{said}");
    assert!(!stranger.join("chancery.db").exists() && !stranger.join("audit").exists());
    let text = fs::read_to_string(&config).unwrap();
    let other = folder.join("other.toml");
    fs::write(
        &other,
        format!("node = \"node7\"\n{}", text.replace("node = ", "# node = ")),
    )
    .unwrap();
    let (code, _, said) = restore(&other, &file).run();
    assert_eq!(code, 5, "{said}");
    assert!(said.contains("of node `node1`"), "{said}");

    // A disk that is full.
    let from = at(&file);
    let restoring = ["backup", "restore", "--config", config.to_str().unwrap(), &from];
    let (code, said) = limited(150, &restoring);
    assert_ne!(code, Some(0), "{said}");
    // Killed anywhere, it is done again, until it is done.
    for (point, nth) in [
        ("backup.rows.before", 2),
        ("backup.rows.after", 20),
        ("backup.restore.before", 1),
        ("backup.restore.after", 1),
    ] {
        let mark = home.path().join("mark");
        let killed = restore(&config, &file)
            .env("CHANCERY_FAULT", format!("{point}:{nth}"))
            .env("CHANCERY_FAULT_MARK", &mark)
            .run();
        assert_eq!(killed.0, -1, "{point}: {}", killed.2);
        assert_eq!(fs::read_to_string(&mark).unwrap(), point);
    }
    let (code, _, said) = restore(&config, &file).run();
    assert_eq!(code, 5, "it is done: {said}");
    assert!(said.contains("is not empty"), "{said}");
    let service = Launch::server(&config, &folder).start();
    assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
    let key = key_of(&service, &home.path().join("new.vkey"));
    service.cli(&["audit", "verify", "--key", key.to_str().unwrap()]).ok();
}

/// What `chancery dev` wrote for a shell.
fn service_env(folder: &Path) -> Vec<(String, String)> {
    let text = fs::read_to_string(folder.join("env")).unwrap();
    text.lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}
