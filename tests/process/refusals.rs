//! A service that cannot start, or must not, says why and what to do, and ends with the exit code of `docs/cli.md`.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::support::child::{PATIENCE, free_port};
use crate::support::process::{Launch, Service};

/// Starts what must not start; what it said.
#[track_caller]
fn refused(launch: &Launch, code: i32, hints: &[&str]) {
    let mut service = launch.spawn();
    let status = service
        .wait(PATIENCE)
        .unwrap_or_else(|| panic!("it serves: {}", service.log()));
    let log = service.log();
    assert_eq!(status.code(), Some(code), "{log}");
    let said = log
        .lines()
        .rev()
        .find(|line| line.starts_with("error: "))
        .unwrap_or_else(|| panic!("{log}"));
    for hint in hints {
        assert!(said.contains(hint), "`{hint}` is not in: {said}");
    }
    assert!(!log.lines().any(|line| line == "ready"), "{log}");
}

/// A folder of `chancery dev` that served, holds a secret and ended well.
fn served(home: &Path) -> PathBuf {
    let folder = home.join("dev");
    let mut service = Launch::dev(&folder).start();
    service.cli(&["secret", "set", "--name", "a"]).stdin("kept").ok();
    assert_eq!(service.end().code(), Some(0));
    folder
}

/// The server on the configuration that `chancery dev` left, with one change.
fn server(folder: &Path, from: &str, to: &str) -> Launch {
    let text = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    let changed = text.replace(from, to);
    assert_ne!(text, changed, "`{from}` is not in the configuration");
    let config = folder.join("changed.toml");
    fs::write(&config, changed).unwrap();
    Launch::server(&config, folder)
}

/// Once the cause is gone, everything is there.
fn serves_again(folder: &Path) -> Service {
    let service = Launch::dev(folder).start();
    assert_eq!(service.cli(&["secret", "get", "--name", "a"]).ok(), "kept");
    service.cli(&["audit", "verify"]).ok();
    service
}

#[test]
fn a_configuration_that_is_wrong() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    refused(
        &server(&folder, "token_label", "tokenlabel"),
        2,
        &["line 14, column 1", "tokenlabel", "token_label"],
    );
    let held = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let address = held.local_addr().unwrap().to_string();
    let text = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    let listen = text.lines().find(|line| line.starts_with("listen")).unwrap();
    refused(
        &server(&folder, listen, &format!("listen = {address:?}")),
        2,
        &[&address, "in use"],
    );
    serves_again(&folder);
}

#[test]
fn a_token_that_does_not_open() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    let other = folder.join("other-pin");
    fs::write(&other, "000000").unwrap();
    let pin = folder.join("token/pin");
    refused(
        &server(&folder, pin.to_str().unwrap(), other.to_str().unwrap()),
        1,
        &["PIN", "hsm.pin"],
    );
    refused(
        &server(&folder, "token_label = \"chancery\"", "token_label = \"elsewhere\""),
        1,
        &["elsewhere", "hsm.token_label"],
    );
    refused(
        &server(&folder, "libsofthsm2.so", "libnone.so"),
        1,
        &["libnone.so", "hsm.module"],
    );
    serves_again(&folder);
}

#[test]
fn a_database_that_cannot_be_written() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    let database = folder.join("chancery.db");
    refused(
        &server(&folder, "chancery.db", "none/chancery.db"),
        1,
        &["audit-1", "use the store that it belongs to"],
    );
    // What was committed last may stand in the file beside it, which SQLite throws away with a database it cannot read.
    let files = ["chancery.db", "chancery.db-wal"].map(|name| folder.join(name));
    let whole = files.each_ref().map(|file| fs::read(file).ok());
    fs::write(
        &database,
        "not a database, but long enough to look like one at first sight".repeat(100),
    )
    .unwrap();
    refused(&Launch::dev(&folder), 1, &["database"]);
    for (file, whole) in files.iter().zip(whole) {
        match whole {
            Some(bytes) => fs::write(file, bytes).unwrap(),
            None => drop(fs::remove_file(file)),
        }
    }
    serves_again(&folder);
}

#[test]
fn a_second_service_on_the_same_folder() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    let first = serves_again(&folder);
    refused(
        &server(&folder, "zone", "node = \"node1\"\nzone"),
        1,
        &["in use by another process", "stop it first"],
    );
    assert_eq!(first.cli(&["secret", "get", "--name", "a"]).ok(), "kept");
}

#[test]
fn a_token_and_a_store_of_different_generations() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    let tokens = |folder: &Path| folder.join("token/tokens");
    let copy = |from: &Path, to: &Path| {
        let copied = Command::new("cp").arg("-a").args([from, to]).status();
        assert!(copied.unwrap().success());
    };
    let older = home.path().join("older");
    copy(&folder, &older);
    let mut service = Launch::dev(&folder).start();
    service.cli(&["vault", "rekey", "--kek"]).ok();
    service.cli(&["vault", "rekey", "--kek", "--watch"]).ok();
    assert_eq!(service.end().code(), Some(0));

    // The token from before it: nothing is made in the new key's place.
    let newer_token = home.path().join("newer-token");
    copy(&tokens(&folder), &newer_token);
    fs::remove_dir_all(tokens(&folder)).unwrap();
    copy(&tokens(&older), &tokens(&folder));
    refused(
        &Launch::dev(&folder),
        1,
        &["`kek-2`", "bring that token back", "no new key is made"],
    );
    fs::remove_dir_all(tokens(&folder)).unwrap();
    copy(&newer_token, &tokens(&folder));
    assert_eq!(serves_again(&folder).end().code(), Some(0));

    // The store from before it, unless whoever starts it says that the newer one is lost.
    fs::remove_dir_all(&folder).unwrap();
    fs::rename(&older, &folder).unwrap();
    fs::remove_dir_all(tokens(&folder)).unwrap();
    copy(&newer_token, &tokens(&folder));
    refused(
        &Launch::dev(&folder),
        1,
        &["`kek-2`", "the store is older than the token", "adopt_keks"],
    );
    let adopting = server(&folder, "[hsm]", "[vault]\nadopt_keks = [\"kek-2\"]\n\n[hsm]");
    let mut service = adopting.start();
    service.signal(Signal::TERM);
    assert_eq!(service.wait(PATIENCE).and_then(|status| status.code()), Some(0));
    let service = serves_again(&folder);
    let keks = service.cli(&["vault", "rekey", "--kek", "--watch"]).ok();
    assert!(keks.contains("kek-2"), "{keks}");
}

#[test]
fn a_log_that_is_not_what_was_written() {
    let home = tempfile::tempdir().unwrap();
    let folder = served(home.path());
    let journal = newest_segment(&folder.join("audit"));
    let whole = fs::read(&journal).unwrap();

    // One byte of a record, in its middle.
    let at = find(&whole, b"CreateVault");
    let mut tampered = whole.clone();
    tampered[at] ^= 1;
    fs::write(&journal, &tampered).unwrap();
    refused(&Launch::dev(&folder), 1, &["audit journal", "record", "damaged"]);

    // Cut below what a checkpoint covers.
    fs::write(&journal, &whole[..at]).unwrap();
    refused(&Launch::dev(&folder), 1, &["audit"]);

    // Gone.
    fs::remove_file(&journal).unwrap();
    refused(&Launch::dev(&folder), 1, &["audit"]);

    fs::write(&journal, &whole).unwrap();
    let mut service = serves_again(&folder);
    service.signal(Signal::TERM);
    assert_eq!(service.wait(PATIENCE).and_then(|status| status.code()), Some(0));
}

fn newest_segment(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| fs::metadata(path).is_ok_and(|it| it.is_file() && it.len() > 1000))
        .collect();
    files.sort();
    files.pop().expect("a journal file")
}

fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
        .expect("it is in the journal")
}
