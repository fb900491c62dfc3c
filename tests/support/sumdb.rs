//! Go's own transparency log library as a judge of exported audit logs; its program is in `tests/peers/sumdb/`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::child::run;

/// What Go says of an exported log: its size and root, or what is wrong.
///
/// `key` is the log's verifier key, `origin+hash+base64`.
pub fn judge(folder: &Path, key: &str) -> Result<String, String> {
    let output = Command::new(&*PROGRAM).arg(folder).arg(key).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

/// What Go says of one proof, of growth with the older checkpoint: what it proves, or what is wrong.
pub fn judge_proof(proof: &Path, key: &str, older: Option<&Path>) -> Result<String, String> {
    let output = Command::new(&*PROGRAM)
        .arg("proof")
        .arg(proof)
        .arg(key)
        .args(older)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if output.status.success() { Ok(said) } else { Err(said) }
}

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let go = String::from_utf8(run(&mut Command::new(root.join(".ci/go")))).unwrap();
    let program = root.join("target/peers/bin/sumdb");
    run(Command::new(go.trim())
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(root.join("tests/peers/sumdb")));
    program
});
