//! Break-glass: a new administrator by the token's PIN, on the host, when all others are lost.

use std::collections::BTreeMap;
use std::fs;

use crate::support::child::free_port;
use crate::support::process::{Cli, Launch};

const PIN: &str = "token/pin";

#[test]
fn a_new_administrator_by_the_tokens_pin() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let mut service = Launch::dev_on(&folder, free_port(), free_port()).start();
    let config = folder.join("chancery.toml");
    let pin = fs::read(folder.join(PIN)).unwrap();
    let recover = |pin: &[u8]| {
        let args = ["recovery", "administrator", "--config", config.to_str().unwrap()];
        Cli::new(BTreeMap::new(), &args).stdin(pin).run()
    };

    // Not beside a service that runs.
    let (code, told, said) = recover(&pin);
    assert_eq!((code, told.as_str()), (1, ""), "{said}");
    assert!(
        said.contains("in use by another process") && said.contains("stop it"),
        "{said}"
    );
    assert_eq!(service.end().code(), Some(0));

    // All administrators are lost; who has not the PIN gets no other.
    let env = service.env();
    fs::remove_dir_all(folder.join("admin")).unwrap();
    for wrong in [&b"000000"[..], b"", &pin[1..]] {
        let (code, told, said) = recover(wrong);
        assert_eq!((code, told.as_str()), (4, ""), "{said}");
        assert!(said.contains("not the PIN of the service's token"), "{said}");
    }
    // Nor does who changes what is configured: the token itself has to open.
    let lie = folder.join("lie");
    fs::write(&lie, "000000").unwrap();
    let text = fs::read_to_string(&config).unwrap();
    let changed = text.replace(folder.join(PIN).to_str().unwrap(), lie.to_str().unwrap());
    assert_ne!(text, changed);
    fs::write(&config, changed).unwrap();
    let (code, told, said) = recover(b"000000");
    assert_eq!((code, told.as_str()), (1, ""), "{said}");
    fs::write(&config, text).unwrap();

    let (code, token, said) = recover(&pin);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("spiffe://chancery.test/recovered/"), "{said}");
    assert!(!said.contains(token.trim()), "{said}");

    let service = Launch::server(&config, &folder).start();
    let admin = folder.join("admin");
    let enroll = [
        "agent",
        "enroll",
        "--once",
        "--token-file",
        "-",
        "--dir",
        admin.to_str().unwrap(),
    ];
    Cli::new(env.clone(), &enroll).stdin(token.clone()).ok();
    let roles = service.cli(&["role", "list", "-o", "json"]).ok();
    assert!(roles.contains("spiffe://chancery.test/recovered/"), "{roles}");
    // Once only.
    let other = folder.join("other");
    let again = [
        "agent",
        "enroll",
        "--once",
        "--token-file",
        "-",
        "--dir",
        other.to_str().unwrap(),
    ];
    assert_ne!(Cli::new(env, &again).stdin(token).run().0, 0);

    // What was done is recorded, and by whom; what was refused left nothing.
    let records = service.records();
    let done: Vec<_> = records
        .iter()
        .filter(|record| record["caller"]["id"] == "system:break-glass")
        .map(|record| (record["action"].as_str().unwrap(), record["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        done,
        [
            ("CreateIdentity", "done"),
            ("AssignRole", "done"),
            ("CreateJoinToken", "done")
        ]
    );
    service.cli(&["audit", "verify"]).ok();
}
