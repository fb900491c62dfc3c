//! What README shows under "Play with it" is run as it stands there.

use std::path::Path;
use std::process::Command;

use crate::support::child::run;
use crate::support::process::{CHANCERY, Launch};

const README: &str = include_str!("../../README.md");

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

#[test]
fn what_readme_plays_works() {
    let home = tempfile::tempdir().unwrap();
    let _service = Launch::dev(&home.path().join("play")).start();
    let programs = Path::new(CHANCERY).parent().unwrap().display();

    let said = run(Command::new("bash")
        .args(["-euo", "pipefail", "-c", &played()])
        .env("PATH", format!("{programs}:/usr/bin:/bin"))
        .env("HOME", home.path())
        .current_dir(home.path()));

    let said = String::from_utf8(said).unwrap();
    assert_eq!(
        said.matches("correct horse").count(),
        2,
        "the administrator and the workload read it: {said}"
    );
}
