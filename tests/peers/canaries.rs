//! Nothing secret in clear: values are planted, the service is worked hard, and then everything it left is searched.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use rustix::process::Signal;

use crate::support::child::PATIENCE;
use crate::support::process::{Launch, Service};

/// A value that must not be found, and the only files that may hold it.
struct Canary {
    name: &'static str,
    value: Vec<u8>,
    home: Vec<PathBuf>,
}

impl Canary {
    fn new(name: &'static str, value: impl Into<Vec<u8>>, home: &[&Path]) -> Self {
        Self {
            name,
            value: value.into(),
            home: home.iter().map(|path| path.to_path_buf()).collect(),
        }
    }

    /// The value as it may be spelled: as it is, in hexadecimal, in base64 at each of the three alignments.
    fn spellings(&self) -> Vec<Vec<u8>> {
        let mut spellings = vec![self.value.clone(), hex::encode(&self.value).into_bytes()];
        for skipped in 0..3.min(self.value.len()) {
            let whole = (self.value.len() - skipped) / 3 * 3;
            let part = &self.value[skipped..skipped + whole];
            spellings.push(STANDARD_NO_PAD.encode(part).into_bytes());
            spellings.push(URL_SAFE_NO_PAD.encode(part).into_bytes());
        }
        spellings
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        self.spellings()
            .iter()
            .any(|spelling| bytes.windows(spelling.len()).any(|window| window == spelling))
    }
}

/// Every file under a folder, once: links are not followed.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

fn assert_absent(canaries: &[Canary], place: &str, bytes: &[u8]) {
    for canary in canaries {
        assert!(!canary.is_in(bytes), "the {} is in {place}", canary.name);
    }
}

/// A token's PIN, wherever `dev` keeps it.
fn pin_file(folder: &Path) -> PathBuf {
    files(folder)
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name == "pin"))
        .expect("the token's folder holds `pin`")
}

fn search(canaries: &[Canary], folder: &Path, service: &Service) {
    for path in files(folder) {
        let bytes = fs::read(&path).unwrap();
        for canary in canaries.iter().filter(|canary| !canary.home.contains(&path)) {
            assert!(!canary.is_in(&bytes), "the {} is in {}", canary.name, path.display());
        }
    }
    for of_process in ["environ", "cmdline"] {
        let path = format!("/proc/{}/{of_process}", service.pid());
        assert_absent(canaries, &path, &fs::read(&path).unwrap());
    }
}

#[test]
fn the_search_finds_what_it_looks_for() {
    let canary = Canary::new("value", "a planted value", &[]);
    for spelled in [
        "before a planted value after".to_owned(),
        hex::encode("a planted value"),
        STANDARD_NO_PAD.encode("x a planted value y"),
        STANDARD_NO_PAD.encode("xx a planted value y"),
        URL_SAFE_NO_PAD.encode("xxx a planted value y"),
    ] {
        assert!(canary.is_in(spelled.as_bytes()), "{spelled}");
    }
    assert!(!canary.is_in(b"another planted value"[..10].as_ref()));
}

#[test]
fn no_secret_is_left_in_clear_anywhere() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let launch = Launch::dev(&folder).env("CHANCERY_LOG", "trace");
    let service = launch.start();
    let workload = home.path().join("workload");

    let value = "canary-of-a-secret-9f1c7b20e4";
    let token = service.cli(&["identity", "create", "--id", "spiffe://chancery.test/web"]);
    token.ok();
    let token = service
        .cli(&["--quiet", "identity", "token", "--id", "spiffe://chancery.test/web"])
        .ok();
    let mut said = String::new();
    said += &service.cli(&["secret", "set", "--name", "canary"]).stdin(value).ok();
    let plain = "canary-of-a-plaintext-55d0e1a9c3";
    let sealed = home.path().join("sealed");
    said += &service
        .cli(&["key", "create", "--name", "canary", "--type", "aes-256"])
        .ok();
    let encrypted = service
        .cli(&["-o", "json", "key", "encrypt", "--name", "canary"])
        .stdin(plain)
        .ok();
    let encrypted: serde_json::Value = serde_json::from_str(&encrypted).unwrap();
    let ciphertext = encrypted["ciphertext"].as_str().unwrap();
    fs::write(&sealed, STANDARD.decode(ciphertext).unwrap()).unwrap();
    let from = format!("@{}", sealed.display());
    assert_eq!(service.cli(&["key", "decrypt", "--name", "canary", &from]).ok(), plain);
    for args in [
        &["secret", "show", "--name", "canary"][..],
        &["secret", "versions", "--name", "canary"],
        &["secret", "list"],
        &[
            "agent",
            "enroll",
            "--once",
            "--token-file",
            "-",
            "--dir",
            workload.to_str().unwrap(),
        ],
        &[
            "agent",
            "enroll",
            "--once",
            "--token-file",
            "-",
            "--dir",
            home.path().join("late").to_str().unwrap(),
        ],
        &["audit", "export", "--to", home.path().join("log").to_str().unwrap()],
        &["secret", "get", "--name", "nothing"],
    ] {
        let (_, stdout, stderr) = service.cli(args).stdin(token.trim()).run();
        said += &stdout;
        said += &stderr;
    }
    assert_eq!(service.cli(&["secret", "get", "--name", "canary"]).ok(), value);

    let pin = pin_file(&folder);
    let key = workload.join("key.pem").canonicalize().unwrap();
    let canaries = [
        Canary::new("secret", value, &[]),
        Canary::new("plaintext", plain, &[]),
        Canary::new("join token", token.trim(), &[]),
        Canary::new("PIN", fs::read_to_string(&pin).unwrap().trim(), &[&pin]),
        Canary::new(
            "workload's key",
            fs::read_to_string(&key).unwrap().lines().nth(1).unwrap(),
            &[&key],
        ),
    ];
    assert_absent(&canaries, "what the command line said", said.as_bytes());
    search(&canaries, home.path(), &service);

    let service = service.restart();
    assert_eq!(service.cli(&["secret", "get", "--name", "canary"]).ok(), value);
    search(&canaries, home.path(), &service);
}

#[test]
fn a_crash_leaves_no_core() {
    let home = tempfile::tempdir().unwrap();
    let mut service = Launch::dev(home.path()).start();

    let limits = fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");

    service.signal(Signal::ABORT);
    let status = service.wait(PATIENCE).expect("SIGABRT ends it");
    assert!(!status.core_dumped(), "{status}");
}
