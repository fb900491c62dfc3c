//! The shape of the house, checked: floors, who may name which crate, file sizes, names, ambient calls, and that the
//! paths and commands that README and `docs/` show exist.
//!
//! Each rule is a function from text to complaints, tried below on a bad text before it is trusted with the tree.
//! A new room gets its floor in [`FLOORS`]; that is the only place to add.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::allow_attributes,
        reason = "a test may panic: that is how it fails"
    )
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms by floor. A room imports lower floors only, so neither its siblings nor anything above; on the ground
/// floor, those that stand before it.
const FLOORS: &[(u8, &[&str])] = &[
    (0, &["clock", "error", "secret", "entropy", "fault", "key_type", "id"]),
    (
        1,
        &[
            "crontab", "hsm", "policy", "program", "store", "webhook", "wire", "x509",
        ],
    ),
    (2, &["audit", "authz", "custody", "identity", "limit", "seal"]),
    (3, &["gate"]),
    (4, &["access", "backup", "ca", "upstream", "vault"]),
    (5, &["acme", "enrollment", "lifecycle"]),
    (6, &["surface"]),
    (7, &["config"]),
    (8, &["server"]),
];

/// The other staircase, lowest first: what runs beside the service, not in it.
const CLIENT_STAIRS: &[&str] = &["client", "agent", "cli"];
/// What the other staircase may import of the house, beside the ground floor.
const SHARED_WITH_CLIENT: &[&str] = &["wire", "x509"];
/// The entry: main's side of the command line, which starts the service and so may import all of it.
const ENTRY: &[&str] = &[
    "src/main.rs",
    "src/lib.rs",
    "src/cli/dev.rs",
    "src/cli/recovery.rs",
    "src/cli/server.rs",
    "src/cli/whole_backup.rs",
];

/// Modules of `tests/support/` that unit tests use too; any room's tests may import them.
const TEST_SUPPORT: &[&str] = &["child", "postgres", "softhsm"];

/// Crates that only some places may name: (crate, folders or files under `src/`, file names anywhere).
const CRATE_DOORS: &[(&str, &[&str], &[&str])] = &[
    ("axum", &["surface/", "server/", "server.rs"], &[]),
    ("axum_server", &["server/", "server.rs"], &[]),
    ("cedar_policy", &["policy/"], &[]),
    ("cryptoki", &["hsm/"], &[]),
    ("hickory_resolver", &["acme/validation/"], &[]),
    ("instant_acme", &["upstream/"], &[]),
    ("rcgen", &["x509/"], &[]),
    ("sea_orm", &["store/"], &["repo.rs"]),
    ("sqlx", &["store/"], &["repo.rs"]),
];

/// Ambient effects, and the files that are their doors.
const AMBIENT: &[(&str, &[&str])] = &[
    ("Local::now(", &["clock.rs"]),
    ("SystemRandom::new(", &["entropy.rs"]),
    ("SystemTime::now(", &["clock.rs"]),
    ("Utc::now(", &["clock.rs"]),
    (
        "env::var(",
        &["cli/", "config.rs", "config/", "fault.rs", "main.rs", "secret.rs"],
    ),
    (
        "env::var_os(",
        &["cli/", "config.rs", "config/", "fault.rs", "main.rs", "secret.rs"],
    ),
    ("now_utc(", &["clock.rs"]),
    ("rand::fill(", &["entropy.rs"]),
    ("thread_rng(", &[]),
    ("tokio::time::sleep(", &["clock.rs"]),
];

/// Names that say nothing about what a module holds.
const EMPTY_NAMES: &[&str] = &[
    "common", "helper", "helpers", "info", "manager", "misc", "types", "util", "utils",
];

/// What may lie at the top of the tree, dotfiles of tools included.
const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".clippy.toml",
    ".deny.toml",
    ".git",
    ".gitignore",
    ".rustfmt.toml",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "docs",
    "migrations",
    "pebble",
    "pki",
    "src",
    "target",
    "tests",
];

/// Lines of a file, its tests not counted.
const MOST_LINES: usize = 500;
/// Files that are longer, and how long: a list that only shrinks.
const LONGER: &[(&str, usize)] = &[];

/// What must be shown by a test that bears its number: `r07_..` for a lesson of others' accidents, `row_15_..` and
/// `row_e1_..` for a row of the ACME server's requirements, `t4_..`, `i5_..` and `c1_..` for one of its validation's.
/// (before the number, numbers)
const NUMBERED: &[(&str, &[std::ops::RangeInclusive<u32>])] = &[
    ("r", &[1..=17, 21..=21, 41..=41]),
    ("row", &[1..=6, 8..=83]),
    ("row_a", &[1..=9]),
    ("row_e", &[1..=5]),
    ("t", &[1..=6]),
    ("i", &[1..=6]),
    ("c", &[1..=5]),
];

/// The floor of a room, or nothing for a name that is not one.
fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(_, rooms)| rooms.contains(&room))
        .map(|(floor, _)| *floor)
}

/// `src/hsm/worker.rs` and `src/hsm.rs` are of room `hsm`.
fn room_of(path: &str) -> &str {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let first = inside.split('/').next().unwrap_or(inside);
    first.strip_suffix(".rs").unwrap_or(first)
}

/// Whether room `from` may import room `to`.
fn may_import(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    let stair = |room: &str| CLIENT_STAIRS.iter().position(|stair| *stair == room);
    match (stair(from), stair(to)) {
        (Some(from), Some(to)) => to < from,
        (Some(_), None) => floor(to) == Some(0) || SHARED_WITH_CLIENT.contains(&to),
        (None, Some(_)) => false,
        (None, None) if floor(from) == Some(0) => {
            let place = |room: &str| FLOORS[0].1.iter().position(|it| *it == room);
            place(to) < place(from) && place(to).is_some()
        }
        (None, None) => matches!((floor(from), floor(to)), (Some(from), Some(to)) if to < from),
    }
}

/// What of [`NUMBERED`] the names of these tests begin with: `row_e1_row_11_..`, `r08_t2_..`, `i3_and_i4_..`.
fn numbers_of(names: &BTreeSet<&str>) -> BTreeSet<(String, u32)> {
    let mut found = BTreeSet::new();
    for name in names {
        let mut kind = String::new();
        for word in name.split('_') {
            let digits = word.trim_start_matches(|c: char| c.is_ascii_lowercase());
            let letters = &word[..word.len() - digits.len()];
            match digits.parse() {
                Ok(number) if letters.len() <= 1 => {
                    let row = if letters.is_empty() { "" } else { "_" };
                    let is_row = kind == "row";
                    let kind = if is_row {
                        format!("row{row}{letters}")
                    } else {
                        letters.to_owned()
                    };
                    found.insert((kind, number));
                }
                _ if word != "row" && word != "and" => break,
                _ => {}
            }
            kind = letters.to_owned();
        }
    }
    found
}

/// The names of the functions that are tests.
fn tests_in(code: &str) -> BTreeSet<&str> {
    let after_attribute = code.split("test]").skip(1).flat_map(|rest| {
        let head = &rest[..rest.find('{').unwrap_or(rest.len())];
        named_after(head, "fn ")
    });
    let in_proptest = code.split("#[test]").skip(1).flat_map(|rest| {
        let head = &rest[..rest.find('(').unwrap_or(rest.len())];
        named_after(head, "fn ")
    });
    after_attribute.chain(in_proptest).collect()
}

/// The text without comments and without what stands in string and character literals; lines are kept.
fn code_of(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = Vec::with_capacity(bytes.len());
    let mut at = 0;
    let keep_lines = |code: &mut Vec<u8>, part: &[u8]| code.extend(part.iter().filter(|byte| **byte == b'\n'));
    while at < bytes.len() {
        let rest = &text[at..];
        let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
        let len = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if !word_before && (rest.starts_with("r\"") || rest.starts_with("r#") || rest.starts_with("br")) {
            raw_string(rest)
        } else if rest.starts_with('"') {
            quoted(rest)
        } else if rest.starts_with("'\\") || (rest.starts_with('\'') && rest.chars().nth(2) == Some('\'')) {
            1 + rest[1..]
                .char_indices()
                .skip(1)
                .find(|(_, c)| *c == '\'')
                .map_or(1, |(end, _)| end + 1)
        } else {
            0
        };
        if len == 0 {
            let char_len = rest.chars().next().map_or(1, char::len_utf8);
            code.extend_from_slice(&bytes[at..at + char_len]);
            at += char_len;
        } else {
            keep_lines(&mut code, &bytes[at..at + len]);
            at += len;
        }
    }
    String::from_utf8(code).expect("whole characters were copied")
}

/// The length of the raw string literal that `rest` begins with, or 0.
fn raw_string(rest: &str) -> usize {
    let opening = rest.trim_start_matches('b').trim_start_matches('r');
    let hashes = opening.len() - opening.trim_start_matches('#').len();
    if !opening[hashes..].starts_with('"') {
        return 0;
    }
    let start = rest.len() - opening.len() + hashes + 1;
    let end = format!("\"{}", "#".repeat(hashes));
    rest[start..]
        .find(&end)
        .map_or(rest.len(), |found| start + found + end.len())
}

/// The length of the string literal that `rest` begins with.
fn quoted(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The identifiers that follow each `prefix` in the code.
fn named_after<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    code.match_indices(prefix)
        .filter(|(at, _)| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$'))
        .map(|(at, _)| {
            let rest = &code[at + prefix.len()..];
            &rest[..rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len())]
        })
        .filter(|name| !name.is_empty())
        .collect()
}

/// Whether the code names the crate: `use name`, `name::`, `extern crate name`.
fn names_crate(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = &code[..at];
        let after = &code[at + name.len()..];
        let whole = !before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let inside_path = before.ends_with("::") && !before.ends_with(" ::");
        whole && !inside_path && (after.starts_with("::") || before.ends_with("use ") || before.ends_with("crate "))
    })
}

/// Imports against the floors.
fn floors(path: &str, code: &str) -> Vec<String> {
    if ENTRY.contains(&path) {
        return Vec::new();
    }
    let room = room_of(path);
    let mut complaints = Vec::new();
    if floor(room).is_none() && !CLIENT_STAIRS.contains(&room) {
        complaints.push(format!(
            "{path}: room `{room}` has no floor; give it one in tests/house.rs"
        ));
    }
    for way in ["use crate::{", "use crate as", "super::super::"] {
        if before_tests(path, code).contains(way) {
            complaints.push(format!(
                "{path}: `{way}` hides where things come from; write the path out"
            ));
        }
    }
    let mut imported = named_after(code, "crate::");
    let is_root = path == format!("src/{room}.rs") || path == format!("src/{room}/mod.rs");
    if is_root {
        let known = |name: &&str| floor(name).is_some() || CLIENT_STAIRS.contains(name);
        imported.extend(named_after(code, "super::").into_iter().filter(known));
    }
    for other in imported {
        if !may_import(room, other) && !TEST_SUPPORT.contains(&other) {
            complaints.push(format!(
                "{path}: `{room}` may not import `{other}`: lower floors only, no siblings"
            ));
        }
    }
    complaints
}

/// Crates that have one door.
fn doors(path: &str, code: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    let name = inside.rsplit('/').next().unwrap_or(inside);
    let mut complaints = Vec::new();
    for (krate, folders, files) in CRATE_DOORS {
        let allowed = files.contains(&name) || folders.iter().any(|folder| inside.starts_with(folder));
        if !allowed && names_crate(code, krate) {
            complaints.push(format!(
                "{path}: names `{krate}`, which has its door in {folders:?} {files:?}"
            ));
        }
    }
    let may_see_rows = files_of_rows(inside, name);
    if !may_see_rows && code.contains("store::entity") {
        complaints.push(format!("{path}: `store::entity` is for repo.rs files"));
    }
    complaints
}

fn files_of_rows(inside: &str, name: &str) -> bool {
    inside.starts_with("store/") || name == "repo.rs"
}

/// What one room alone may make, as its type is written when it is made: (type, room).
const MADE_BY: &[(&str, &str)] = &[("Caller", "identity"), ("Permit", "gate")];

/// Who a caller is, and that it may act, is said in one place each.
fn makers(path: &str, code: &str) -> Vec<String> {
    let makes = |name: &str| {
        code.match_indices(&format!("{name} {{")).any(|(at, _)| {
            let before = code[..at].trim_end_matches(['&', ' ', '\n']);
            !before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with("->")
                || before.ends_with("return")
        })
    };
    MADE_BY
        .iter()
        .filter(|(name, room)| room_of(path) != *room && makes(name))
        .map(|(name, room)| format!("{path}: makes a `{name}`, which only `{room}` may"))
        .collect()
}

/// Effects that come in by one door.
fn ambient(path: &str, code: &str) -> Vec<String> {
    let inside = path.strip_prefix("src/").unwrap_or(path);
    AMBIENT
        .iter()
        .filter(|(call, doors)| code.contains(call) && !doors.iter().any(|door| inside.starts_with(door)))
        .map(|(call, _)| format!("{path}: calls `{call}..)`; hold a Clock, an Entropy or a setting instead"))
        .collect()
}

/// The part of a file before its tests; nothing of a file that is all tests (`#![cfg(test)]`, or so named).
fn before_tests<'a>(path: &str, text: &'a str) -> &'a str {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return "";
    }
    if let Some(at) = text.find("\n#![cfg(test)]\n") {
        return &text[..at];
    }
    let found = text.match_indices("#[cfg(test)]").find(|(at, mark)| {
        let rest = text[at + mark.len()..].trim_start();
        rest.starts_with("mod ") || rest.starts_with("#[")
    });
    found.map_or(text, |(at, _)| &text[..at])
}

/// Length, opening, names, loose ends.
fn shape(path: &str, text: &str, code: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let lines = before_tests(path, text).lines().count();
    let most = LONGER
        .iter()
        .find(|(longer, _)| *longer == path)
        .map_or(MOST_LINES, |(_, most)| *most);
    if lines > most {
        complaints.push(format!("{path}: {lines} lines before its tests; at most {most}"));
    }
    if !text.starts_with("//!") && text != "fn main() {}\n" {
        complaints.push(format!(
            "{path}: opens without `//!` (what it holds, what it must never do, where to add)"
        ));
    }
    let mut names: Vec<&str> = path
        .split('/')
        .map(|part| part.strip_suffix(".rs").unwrap_or(part))
        .collect();
    names.extend(named_after(code, "mod "));
    for name in names {
        if EMPTY_NAMES.contains(&name) {
            complaints.push(format!("{path}: `{name}` says nothing about what is in it"));
        }
    }
    for loose in ["TODO", "FIXME", "XXX"] {
        if text
            .match_indices(loose)
            .any(|(at, _)| !text[at + loose.len()..].starts_with("(#"))
        {
            complaints.push(format!("{path}: a bare {loose}; write `TODO(#n):` or do it"));
        }
    }
    if code.contains("#[ignore") {
        complaints.push(format!("{path}: an ignored test is silent; fix it or remove it"));
    }
    complaints
}

/// Paths of the tree that a text shows and that are not there.
fn missing_paths(name: &str, text: &str, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let roots = [
        "src/",
        "tests/",
        "docs/",
        "pki/",
        "pebble/",
        "benches/",
        "migrations/",
        ".ci/",
    ];
    text.split(|c: char| c.is_whitespace() || "`()[]\"'|,<>{}*".contains(c))
        .map(|token| token.trim_start_matches("./").trim_end_matches(['.', ':', ';', '/']))
        .filter(|token| roots.iter().any(|root| token.starts_with(root)))
        .filter(|token| !exists(token.split('#').next().unwrap_or(token)))
        .map(|token| format!("{name}: `{token}` is not in the tree"))
        .collect()
}

/// A command as a text shows it: the words before the first option, and the long options.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Shown {
    words: Vec<String>,
    options: Vec<String>,
}

/// The `chancery ..` commands in the fenced blocks of a text, lines that end in `\` joined.
fn shown_commands(text: &str) -> BTreeSet<Shown> {
    let mut shown = BTreeSet::new();
    for (nth, block) in text.split("```").enumerate() {
        if nth % 2 == 0 {
            continue;
        }
        for line in block.replace("\\\n", " ").lines() {
            for part in line.split(['|', ';', '&', '$', '(']) {
                let mut words = part.split_whitespace().skip_while(|word| word.contains('='));
                let first = words.next().unwrap_or_default();
                if first != "chancery" && !first.ends_with("/chancery") {
                    continue;
                }
                let words: Vec<&str> = words.take_while(|word| *word != "--" && *word != "#").collect();
                let is_word =
                    |word: &&&str| word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-');
                shown.insert(Shown {
                    words: words
                        .iter()
                        .take_while(is_word)
                        .take(3)
                        .map(|word| (*word).to_owned())
                        .collect(),
                    options: words
                        .iter()
                        .filter(|word| word.starts_with("--"))
                        .map(|word| word.split('=').next().unwrap_or(word).to_owned())
                        .collect(),
                });
            }
        }
    }
    shown
}

/// What the program's own help says against a shown command.
fn not_in_help(shown: &Shown, help: Option<&str>) -> Vec<String> {
    let words = shown.words.join(" ");
    let Some(help) = help.filter(|help| help.contains("Usage:")) else {
        return vec![format!("`chancery {words}` is no command")];
    };
    let known: BTreeSet<&str> = help
        .split(|c: char| c.is_whitespace() || ",[]=<>".contains(c))
        .collect();
    shown
        .options
        .iter()
        .filter(|option| !known.contains(option.as_str()))
        .map(|option| format!("`chancery {words}` has no option `{option}`"))
        .collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file with this ending under a folder of the tree, by its path from the root.
fn files(folder: &str, ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|it| it == ending) {
                found.push((from_root(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

/// README and the pages of `docs/`.
fn pages() -> Vec<(String, String)> {
    let mut pages = files("docs", "md");
    pages.push((
        "README.md".into(),
        fs::read_to_string(root().join("README.md")).unwrap(),
    ));
    pages
}

#[track_caller]
fn none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n  {}\n", complaints.join("\n  "));
}

#[test]
fn rooms_keep_to_their_floors() {
    let sources = files("src", "rs");
    assert!(sources.len() > 5, "the tree was not found");
    none(
        sources
            .iter()
            .flat_map(|(path, text)| floors(path, &code_of(text)))
            .collect(),
    );
}

#[test]
fn crates_come_in_by_their_doors() {
    none(
        files("src", "rs")
            .iter()
            .flat_map(|(path, text)| doors(path, &code_of(before_tests(path, text))))
            .collect(),
    );
}

#[test]
fn callers_and_permits_are_made_in_one_place() {
    none(
        files("src", "rs")
            .iter()
            .flat_map(|(path, text)| makers(path, &code_of(before_tests(path, text))))
            .collect(),
    );
}

#[test]
fn ambient_effects_come_in_by_their_doors() {
    let sources = files("src", "rs");
    none(
        sources
            .iter()
            .flat_map(|(path, text)| ambient(path, &code_of(before_tests(path, text))))
            .collect(),
    );
}

#[test]
fn files_are_in_shape() {
    let mut sources = files("src", "rs");
    sources.extend(files("migrations", "rs"));
    none(
        sources
            .iter()
            .flat_map(|(path, text)| shape(path, text, &code_of(text)))
            .collect(),
    );
    let tests = files("tests", "rs");
    none(
        tests
            .iter()
            .filter(|(path, _)| path != "tests/house.rs") // its own bad examples
            .flat_map(|(path, text)| shape(path, text, &code_of(text)))
            .filter(|complaint| !complaint.contains("lines before its tests"))
            .collect(),
    );
}

#[test]
fn every_numbered_requirement_has_a_test_of_its_number() {
    let sources = [files("src", "rs"), files("tests", "rs")].concat();
    let codes: Vec<String> = sources.iter().map(|(_, text)| code_of(text)).collect();
    let found = numbers_of(&codes.iter().flat_map(|code| tests_in(code)).collect());
    let wanted = NUMBERED.iter().flat_map(|(kind, ranges)| {
        ranges
            .iter()
            .cloned()
            .flatten()
            .map(|number| ((*kind).to_owned(), number))
    });
    none(
        wanted
            .filter(|one| !found.contains(one))
            .map(|(kind, number)| format!("no test is named by `{kind}` {number}"))
            .collect(),
    );
}

#[test]
fn exceptions_only_shrink() {
    for (path, most) in LONGER {
        let text = fs::read_to_string(root().join(path)).unwrap_or_default();
        let lines = before_tests(path, &text).lines().count();
        assert!(
            *most == lines && lines > MOST_LINES,
            "{path} has {lines} lines now: write that into LONGER, or remove it"
        );
    }
}

#[test]
fn the_top_level_holds_what_it_should() {
    let extra = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !TOP_LEVEL.contains(&name.as_str()) && !name.ends_with(".swp"))
        .map(|name| format!("`{name}` does not belong at the top level"));
    none(extra.collect());
}

#[test]
fn paths_in_the_pages_exist() {
    let exists = |path: &str| root().join(path).exists();
    none(
        pages()
            .iter()
            .flat_map(|(name, text)| missing_paths(name, text, exists))
            .collect(),
    );
}

#[test]
fn configurations_in_the_pages_load() {
    let blocks = pages().into_iter().flat_map(|(name, text)| {
        let blocks = text
            .split("```toml\n")
            .skip(1)
            .map(|block| block.split("```").next().unwrap().to_owned());
        blocks.map(move |block| (name.clone(), block)).collect::<Vec<_>>()
    });
    // The others are the command line's own file.
    let servers: Vec<_> = blocks.filter(|(_, block)| block.contains("[store]")).collect();
    assert!(!servers.is_empty(), "no page shows a server's configuration");
    none(
        servers
            .iter()
            .filter_map(|(name, block)| Some(format!("{name}: {}", chancery::config::Config::parse(block).err()?)))
            .collect(),
    );
}

#[test]
fn commands_in_the_pages_exist() {
    let complaints = pages().into_iter().flat_map(|(name, text)| {
        shown_commands(&text).into_iter().flat_map(move |shown| {
            let mut words = shown.words.clone();
            let mut help = help_for(&words);
            while help.is_none() && words.len() > 1 {
                // The last word may be an argument.
                words.pop();
                help = help_for(&words);
            }
            let name = name.clone();
            not_in_help(&shown, help.as_deref())
                .into_iter()
                .map(move |complaint| format!("{name}: {complaint}"))
        })
    });
    none(complaints.collect());
}

fn help_for(words: &[String]) -> Option<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(words)
        .arg("--help")
        .output()
        .unwrap();
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The rules on bad input: each must complain, and keep quiet about the same thing done right.
mod rules {
    use super::*;

    #[test]
    fn floors_complain() {
        assert_eq!(
            floors("src/hsm/worker.rs", "use crate::store::Store;").len(),
            1,
            "a sibling"
        );
        assert_eq!(
            floors("src/hsm/worker.rs", "fn f() { crate::gate::perform() }").len(),
            1,
            "upwards, in code"
        );
        assert_eq!(
            floors("src/hsm/mod.rs", "use super::store::Store;").len(),
            1,
            "a sibling by the back stairs"
        );
        assert_eq!(
            floors("src/client/mod.rs", "use crate::store::Store;").len(),
            1,
            "the other staircase"
        );
        assert_eq!(
            floors("src/client/mod.rs", "use crate::cli::Output;").len(),
            1,
            "up the other staircase"
        );
        assert_eq!(floors("src/vault/mod.rs", "use crate::cli::Output;").len(), 1, "across");
        assert_eq!(floors("src/attic/mod.rs", "").len(), 1, "a room without a floor");
        assert_eq!(
            floors("src/ca/issue.rs", "use crate::{gate, x509};").len(),
            1,
            "a group"
        );
        assert_eq!(
            floors("src/ca/issue.rs", "use super::super::gate;").len(),
            1,
            "climbing"
        );
        none(floors(
            "src/ca/issue.rs",
            "use crate::gate::Permit;\nuse crate::ca::repo;\nuse super::repo;",
        ));
        none(floors(
            "src/cli/mod.rs",
            "use crate::client::Client;\nuse crate::wire;\nuse crate::error::Error;",
        ));
        none(floors("src/cli/dev.rs", "use crate::server::Server;"));
    }

    #[test]
    fn doors_complain() {
        assert_eq!(doors("src/vault/secret.rs", "use sea_orm::EntityTrait;").len(), 1);
        assert_eq!(
            doors("src/ca/mod.rs", "fn f(x: cryptoki::session::Session) {}").len(),
            1
        );
        assert_eq!(
            doors("src/vault/secret.rs", "use crate::store::entity::secret;").len(),
            1
        );
        assert_eq!(doors("src/lifecycle/enroll.rs", "use rcgen;").len(), 1);
        none(doors(
            "src/vault/repo.rs",
            "use sea_orm::EntityTrait;\nuse crate::store::entity::secret;",
        ));
        none(doors(
            "src/upstream/acme.rs",
            "use instant_acme::Account;\nuse crate::x509::rcgen_like;",
        ));
        none(doors("src/surface/native/mod.rs", "use axum::Router;"));
    }

    #[test]
    fn makers_complain() {
        let made = "let caller = Caller { principal, request };";
        assert_eq!(makers("src/surface/authn.rs", made).len(), 1);
        assert_eq!(makers("src/surface/authn.rs", "return Permit { gate };").len(), 1);
        none(makers("src/identity/mod.rs", made));
        none(makers(
            "src/gate/permit.rs",
            "impl Caller {\n} fn caller() -> Caller {\n} fn seen(&self) -> &Caller {\n} struct TheCaller { x: u8 }",
        ));
    }

    #[test]
    fn ambient_complains() {
        assert_eq!(ambient("src/ca/issue.rs", "let now = SystemTime::now();").len(), 1);
        assert_eq!(ambient("src/hsm/mod.rs", "let pin = std::env::var(name);").len(), 1);
        none(ambient("src/clock.rs", "SystemTime::now()"));
        none(ambient("src/cli/mod.rs", "std::env::var(name)"));
    }

    #[test]
    fn shape_complains() {
        let good = "//! A room.\nfn f() {}\n";
        none(shape("src/ca/issue.rs", good, good));
        let long = format!("//! Long.\n{}", "fn f() {}\n".repeat(MOST_LINES));
        assert_eq!(shape("src/ca/issue.rs", &long, &long).len(), 1);
        let tests = format!(
            "//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}",
            "fn f() {}\n".repeat(MOST_LINES)
        );
        none(shape("src/ca/issue.rs", &tests, &tests));
        assert_eq!(shape("src/ca/issue.rs", "fn f() {}", "").len(), 1, "no opening");
        assert_eq!(shape("src/ca/util.rs", good, good).len(), 1, "an empty name");
        assert_eq!(
            shape("src/ca/mod.rs", good, "mod helpers;").len(),
            1,
            "an empty name, declared"
        );
        assert_eq!(shape("src/ca/mod.rs", "//! A room. TODO later", "").len(), 1);
        assert_eq!(shape("tests/it/main.rs", good, "#[ignore]\nfn f() {}").len(), 1);
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        let text = "/// [`crate::gate`]\nlet a = \"crate::gate\"; // crate::gate\nlet b = r#\"crate::\"gate\"#; /* crate::gate */ let c = '\"'; let d = crate::hsm::X;";
        let code = code_of(text);
        assert_eq!(named_after(&code, "crate::"), BTreeSet::from(["hsm"]));
        assert_eq!(code.lines().count(), text.lines().count());
    }

    #[test]
    fn numbers_are_those_of_tests() {
        let code = "#[test]\nfn row_e1_row_11_a_binding_of_7() {}\n#[tokio::test]\nasync fn r08_t2_exactly() {}\n\
                    fn r09_helper() {}\n#[test]\nfn i3_and_i4_row_51_x() {}\n#[test]\nfn r14(n in 0..9) {}";
        let found = numbers_of(&tests_in(code));
        let expected = [
            ("i", 3),
            ("i", 4),
            ("r", 8),
            ("r", 14),
            ("row", 11),
            ("row", 51),
            ("row_e", 1),
            ("t", 2),
        ];
        assert_eq!(
            found,
            expected
                .map(|(kind, number)| (kind.to_owned(), number))
                .into_iter()
                .collect()
        );
    }

    #[test]
    fn missing_paths_complain() {
        let text = "see `src/lib.rs`, [here](docs/backup.md) and tests/nowhere.rs.";
        assert_eq!(
            missing_paths("README.md", text, |path| path != "tests/nowhere.rs").len(),
            1
        );
        assert_eq!(missing_paths("README.md", text, |_| false).len(), 3);
    }

    #[test]
    fn shown_commands_complain() {
        let text =
            "```sh\n$ chancery secret get --name a | cat\nX=1 chancery dev --dir d   # starts\n```\nchancery prose";
        let shown: Vec<Shown> = shown_commands(text).into_iter().collect();
        let words: Vec<String> = shown.iter().map(|shown| shown.words.join(" ")).collect();
        assert_eq!(words, ["dev", "secret get"]);
        assert_eq!(shown[1].options, ["--name"]);
        assert_eq!(not_in_help(&shown[1], None).len(), 1, "no such command");
        assert_eq!(
            not_in_help(&shown[1], Some("Usage: chancery secret get")).len(),
            1,
            "no such option"
        );
        none(not_in_help(
            &shown[1],
            Some("Usage: chancery secret get\n  -n, --name <NAME>  its name"),
        ));
    }
}
