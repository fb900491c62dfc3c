//! What README shows under "Play with it", and what the pages on keys, policy, secrets and vaults show, is run as it
//! stands there.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::support::child::run;
use crate::support::process::{CHANCERY, Launch};

const README: &str = include_str!("../../README.md");
const KEYS: &str = include_str!("../../docs/keys.md");
const POLICY: &str = include_str!("../../docs/policy.md");
const SECRETS: &str = include_str!("../../docs/secrets.md");
const VAULTS: &str = include_str!("../../docs/vaults.md");

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

/// Runs all that a page shows; what it said.
fn play_page(page: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let service = Launch::dev(&home.path().join("play")).start();
    let blocks = page.split("```sh\n").skip(1);
    let commands: Vec<&str> = blocks.map(|block| block.split("```").next().unwrap()).collect();
    play(&commands.concat(), home.path(), &service.env())
}

#[test]
fn what_the_page_on_secrets_shows_works() {
    let said = play_page(SECRETS);
    // Read by default, by `AWSPREVIOUS`, by `AWSPENDING`, and by default after each step.
    let read: Vec<&str> = said.lines().filter(|line| line.ends_with("horse")).collect();
    assert_eq!(
        read,
        [
            "second horse",
            "first horse",
            "third horse",
            "second horse",
            "third horse"
        ],
        "{said}"
    );
}

#[test]
fn what_the_page_on_policy_shows_works() {
    let said = play_page(POLICY);
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
fn what_the_page_on_vaults_shows_works() {
    let said = play_page(VAULTS);
    assert!(
        said.lines().any(|line| line.starts_with("secret{")),
        "it is read after the recovery, before the deletion's answer: {said}"
    );
}

#[test]
fn what_the_page_on_keys_shows_works() {
    let said = play_page(KEYS);

    assert_eq!(said.matches("attack at dawn").count(), 3, "{said}");
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
