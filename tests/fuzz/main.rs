//! Every parser of what others send, against input that is wrong: first the stored corpus, then mutations of it.
//!
//! A target must answer each input with a result or a clear error: no panic, no long computation, and an error text that
//! is short and printable. What is accepted must also hold together, as each target says. What was found once lies in
//! `tests/fuzz/corpus/<target>/` under a name that tells it.
//!
//! A fixed number of mutations by default; `FUZZ_SECONDS=600` runs each target for so long, from another seed each time
//! (`FUZZ_SEED` repeats one). A new parser is a function here and a folder of good examples.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::disallowed_methods,
        clippy::allow_attributes,
        reason = "a test may panic: that is how it fails"
    )
)]

mod mutation;
mod targets;

use std::fmt::Display;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use self::mutation::{Random, mutated};

/// Mutations of a target in an ordinary run.
const ROUNDS: u64 = 4_000;
/// Longest that one input may take, in a build without optimization on a busy machine.
const LONGEST: Duration = Duration::from_secs(5);
/// Longest error text, in bytes, beside what it quotes.
const LONGEST_TEXT: usize = 2_000;
/// An octet may be shown as `\u{10}`.
const ESCAPED: usize = 8;

/// Tries a target; `words` are bits that its language is made of.
fn drive(name: &str, words: &[&str], target: impl Fn(&[u8])) {
    let corpus = corpus(name);
    for (path, input) in &corpus {
        attempt(name, &target, input, || path.display().to_string());
    }
    let inputs: Vec<Vec<u8>> = corpus.into_iter().map(|(_, input)| input).collect();
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let until = number("FUZZ_SECONDS").map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let seed = number("FUZZ_SEED").unwrap_or_else(|| match until {
        Some(_) => u64::from(std::process::id()) << 32 | u64::from(Instant::now().elapsed().subsec_nanos()),
        None => 1,
    });
    let mut random = Random::new(seed);
    let mut round = 0;
    while until.map_or(round < ROUNDS, |until| Instant::now() < until) {
        let input = mutated(&mut random, &inputs, words);
        attempt(name, &target, &input, || format!("mutation {round} of seed {seed}"));
        round += 1;
    }
    println!(
        "{name}: {round} mutations of {} examples from seed {seed}",
        inputs.len()
    );
}

fn corpus(name: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fuzz/corpus")
        .join(name);
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "no examples in {}", folder.display());
    paths
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

/// One input. If it fails, it is written down so that it can be looked at and taken into the corpus.
fn attempt(name: &str, target: &impl Fn(&[u8]), input: &[u8], origin: impl Fn() -> String) {
    let mut took = Duration::ZERO;
    // A machine that is busy with others is no fault of the input's: it is slow if it is so each time.
    for _ in 0..3 {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| target(input)));
        took = begun.elapsed();
        match outcome {
            Ok(()) if took < LONGEST => return,
            Ok(()) => {}
            Err(_) => break,
        }
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(name);
    fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("found-{}", hex::encode(&openssl::sha::sha256(input)[..8])));
    fs::write(&file, input).unwrap();
    panic!(
        "{name} fails on {} after {took:?}; the input is in {}",
        origin(),
        file.display()
    );
}

/// A refusal must be fit to be shown.
fn shown(error: &impl Display, input: &[u8]) {
    let text = error.to_string();
    assert!(!text.is_empty(), "an error without a text");
    assert!(
        text.len() <= LONGEST_TEXT + ESCAPED * input.len(),
        "an error of {} bytes",
        text.len()
    );
    assert!(
        !text.chars().any(char::is_control),
        "an error with control characters: {text:?}"
    );
}
