//! What README shows under "Play with it", and what `docs/keys.md` and `docs/policy.md` show, is run as it stands there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::child::run;
use crate::support::process::{CHANCERY, Launch};

const README: &str = include_str!("../../README.md");
const KEYS: &str = include_str!("../../docs/keys.md");
const POLICY: &str = include_str!("../../docs/policy.md");

/// The commands of the section, but for those that build and start the service.
fn played() -> String {
    let section = README.split("## Play with it").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|block| block.split("```").next().unwrap());
    let (started, played): (Vec<&str>, Vec<&str>) = blocks.partition(|block| block.contains("chancery dev"));
    assert_eq!(started.len(), 1, "one block starts the service");
    assert!(started[0].contains("chancery dev --dir play "), "{}", started[0]);
    played.concat()
}

/// Runs commands beside a service, as somebody with these settings; what they said.
fn play(commands: &str, home: &Path, settings: &BTreeMap<String, String>) -> String {
    let programs = Path::new(CHANCERY).parent().unwrap().display();
    let said = run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .env("PATH", format!("{programs}:/usr/bin:/bin"))
        .env("HOME", home)
        .envs(settings)
        .current_dir(home));
    String::from_utf8(said).unwrap()
}

/// The commands that a page shows.
fn shown(page: &str) -> String {
    let blocks = page.split("```sh\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap()).collect()
}

#[test]
fn what_the_page_on_policy_shows_works() {
    let home = tempfile::tempdir().unwrap();
    let service = Launch::dev(&home.path().join("play")).start();

    let said = play(&shown(POLICY), home.path(), &service.env());

    for assigned in [
        "Secrets User",
        "ci/deployers",
        "Crypto Officer",
        "2030-01-01",
        "\"deny\": true",
        "\"DeleteSecret\"",
        "\"allow\": false",
        "\"role\": \"Administrator\"",
    ] {
        assert!(said.contains(assigned), "{assigned}: {said}");
    }
}

#[test]
fn what_the_page_on_keys_shows_works() {
    let home = tempfile::tempdir().unwrap();
    let service = Launch::dev(&home.path().join("play")).start();

    let said = play(&shown(KEYS), home.path(), &service.env());

    assert_eq!(said.matches("attack at dawn").count(), 2, "{said}");
    assert!(said.contains("Verified OK"), "OpenSSL verifies it: {said}");
    assert!(said.contains("\n32\n"), "what was wrapped is unwrapped: {said}");
}

#[test]
fn what_readme_plays_works() {
    let home = tempfile::tempdir().unwrap();
    let _service = Launch::dev(&home.path().join("play")).start();
    let said = play(&played(), home.path(), &BTreeMap::new());
    assert_eq!(
        said.matches("correct horse").count(),
        2,
        "the administrator and the workload read it: {said}"
    );
}
