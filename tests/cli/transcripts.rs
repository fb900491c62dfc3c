//! Golden transcripts in `tests/golden/cli/`: `$ chancery ARGS`, then what it wrote, `! ` before lines of stderr and
//! `[exit N]` at the end. `GOLDEN=update` rewrites them; review reads the diff.

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Runs each command of a transcript as somebody without any settings.
fn play(transcript: &str) -> String {
    let home = tempfile::tempdir().unwrap();
    let mut played = String::new();
    for line in transcript.lines() {
        let Some(command) = line.strip_prefix("$ ") else {
            if line.starts_with('#') {
                writeln!(played, "{line}").unwrap();
            }
            continue;
        };
        let mut words = words(command);
        assert_eq!(words.remove(0), "chancery");
        let output = Command::new(env!("CARGO_BIN_EXE_chancery"))
            .args(words)
            .env_clear()
            .env("HOME", home.path())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        writeln!(played, "{line}").unwrap();
        played.push_str(&String::from_utf8(output.stdout).unwrap());
        for line in String::from_utf8(output.stderr).unwrap().lines() {
            writeln!(played, "{}", format!("! {line}").trim_end()).unwrap();
        }
        writeln!(played, "[exit {}]", output.status.code().unwrap()).unwrap();
    }
    played
}

/// Words as a shell reads them, with single quotes only.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for (nth, part) in command.split('\'').enumerate() {
        if nth % 2 == 1 {
            words.last_mut().unwrap().push_str(part);
        } else {
            let mut plain = part.split(' ');
            words.last_mut().unwrap().push_str(plain.next().unwrap());
            words.extend(plain.map(str::to_owned));
        }
    }
    words
}

#[test]
fn transcripts_are_as_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/cli");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let golden = std::fs::read_to_string(&path).unwrap();
        let played = play(&golden);
        if std::env::var_os("GOLDEN").is_some_and(|it| it == "update") {
            std::fs::write(&path, played).unwrap();
        } else {
            assert_eq!(
                played,
                golden,
                "{} differs: if that is meant, run the test with GOLDEN=update",
                path.display()
            );
        }
        count += 1;
    }
    assert!(count >= 3, "the transcripts were not found");
}
