//! What the service issued, judged from outside: it keeps the rules, and a row that was changed is found.

use std::fs;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};

use crate::support::process::Launch;

#[test]
fn r05_everything_that_was_issued_is_judged_again_and_a_changed_row_is_found() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let mut service = Launch::dev(&folder).start();
    for (profile, name) in [
        ("server-tls", "www.chancery.test"),
        ("server-short", "www.chancery.test"),
        ("mtls", "10.0.0.1"),
        ("user", "jo@chancery.test"),
        ("code-signing", "builds@chancery.test"),
    ] {
        let kind = if profile == "code-signing" {
            "rsa-3072"
        } else {
            "ec-p521"
        };
        let issue = ["cert", "issue", "--profile", profile, "--key-type", kind, "--san", name];
        let said = service.cli(&issue).ok();
        let chain = home.path().join("chain.pem");
        fs::write(&chain, said).unwrap();
        service.cli(&["cert", "lint", chain.to_str().unwrap()]).ok();
    }
    service.cli(&["cert", "audit"]).ok();

    service.end();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let path = format!("sqlite:{}", folder.join("chancery.db").display());
        let mut store = SqliteConnection::connect(&path).await.unwrap();
        for change in [
            "UPDATE issued SET names = '[\"dns:evil.test\"]' WHERE profile = 'mtls'",
            "UPDATE issued SET certificate = (SELECT certificate FROM issued WHERE profile = 'mtls') \
             WHERE profile = 'server-short'",
        ] {
            store.execute(change).await.unwrap();
        }
        store.close().await.unwrap();
    });
    let service = service.restart();
    let (code, out, err) = service.cli(&["cert", "audit", "-o", "tsv"]).run();
    assert_eq!(code, 7, "{out}{err}");
    for lint in ["names_are_the_rows", "serial_is_the_rows", "key_is_the_rows"] {
        assert!(out.contains(lint), "{lint}: {out}");
    }
}
