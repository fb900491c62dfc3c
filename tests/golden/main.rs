//! What is reviewed as text: a file here is compared with what the code says now.
//!
//! `GOLDEN=update` rewrites the files; review reads the diff.

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

mod policy_matrix;
mod ungated_routes;

use std::path::Path;

/// Compares `text` with the golden file `name`.
fn compare(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        std::fs::write(&file, text).unwrap();
    }
    let reviewed = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        reviewed == text,
        "{} differs; if that is meant, run with GOLDEN=update and let review read the diff. It would be:\n{text}",
        file.display()
    );
}
