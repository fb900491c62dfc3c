//! Two server processes on one PostgreSQL and one token: what one has answered, the other knows with the next request.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use serde_json::Value;
use support::child::run;
use support::postgres::Postgres;
use support::process::{Cli, Service};
use support::server::{enroll, environment, launch};
use support::softhsm;

/// One node: its process and what a client of it has in its environment.
struct Node {
    _service: Service,
    env: BTreeMap<String, String>,
}

#[test]
fn what_one_process_answered_the_other_knows() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let token = softhsm::initialise(&at("token"));
    let postgres = Postgres::start();
    let url = postgres.database();

    // Both found the service at the same time: one makes each key and certificate, the other finds it.
    let (launch_a, port_a) = launch(&token, folder.path(), "a", &url);
    let (launch_b, port_b) = launch(&token, folder.path(), "b", &url);
    let (mut service_a, mut service_b) = (launch_a.spawn(), launch_b.spawn());
    service_a.wait_ready();
    service_b.wait_ready();
    let roots = |port: u16| {
        let url = format!("https://127.0.0.1:{port}/roots.pem");
        run(Command::new("curl").args(["--silent", "--show-error", "--fail", "--insecure", &url]))
    };
    assert_eq!(roots(port_a), roots(port_b), "two roots");
    fs::write(at("roots.pem"), roots(port_a)).unwrap();
    let a = Node {
        _service: service_a,
        env: environment(folder.path(), port_a, &at("admin")),
    };
    let b = Node {
        _service: service_b,
        env: environment(folder.path(), port_b, &at("admin")),
    };
    let on = |node: &Node, args: &[&str]| Cli::new(node.env.clone(), args);

    enroll(&a.env, &fs::read_to_string(at("a/first-token")).unwrap(), &at("admin"));
    on(&a, &["vault", "create", "--name", "kv-prod"]).ok();
    for round in 0..10 {
        let (writer, reader) = if round % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let value = format!("value {round}");
        on(writer, &["secret", "set", "--name", "shared"])
            .stdin(value.clone())
            .ok();
        assert_eq!(on(reader, &["secret", "get", "--name", "shared"]).ok(), value);
    }

    let id = "spiffe://chancery.test/web";
    on(&a, &["identity", "create", "--id", id]).ok();
    let join = on(&a, &["--quiet", "identity", "token", "--id", id]).ok();
    enroll(&b.env, &join, &at("web"));
    let read = |port: u16| {
        let env = environment(folder.path(), port, &at("web"));
        Cli::new(env, &["secret", "get", "--name", "shared"]).run()
    };
    let assign = [
        "role",
        "assign",
        "--role",
        "Secrets User",
        "--principal",
        id,
        "--scope",
        "vaults/kv-prod",
    ];
    let assigned: Value = serde_json::from_str(&on(&a, &assign).ok()).unwrap();
    assert_eq!(read(port_b).0, 0, "a role assigned on one node");
    on(
        &a,
        &["--yes", "role", "revoke", "--id", assigned["id"].as_str().unwrap()],
    )
    .ok();
    assert_eq!(read(port_b).0, 4, "a role revoked on one node");
    let role = |verb: &'static str, allow: &'static str| ["role", verb, "--name", "Deployer", "--allow", allow];
    on(&a, &role("create", "ReadSecret")).ok();
    let mut given = assign;
    given[3] = "Deployer";
    on(&b, &given).ok();
    assert_eq!(read(port_a).0, 0, "a role made on one node and assigned on another");
    on(&a, &role("update", "ShowSecret")).ok();
    assert_eq!(read(port_b).0, 4, "a role changed on one node");
    on(&b, &assign).ok();
    assert_eq!(read(port_a).0, 0);

    on(&a, &["identity", "disable", "--id", id]).ok();
    let (code, _, said) = read(port_b);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("is disabled"), "{said}");
    on(&b, &["identity", "enable", "--id", id]).ok();
    assert_eq!(read(port_a).0, 0, "enabled on one node");

    let cert = at("web/cert.pem").display().to_string();
    let serial = run(Command::new("openssl").args(["x509", "-noout", "-serial", "-in", &cert]));
    let serial = String::from_utf8(serial)
        .unwrap()
        .trim()
        .trim_start_matches("serial=")
        .to_lowercase();
    on(
        &a,
        &[
            "--yes",
            "ca",
            "revoke",
            "--serial",
            &serial,
            "--reason",
            "key-compromise",
        ],
    )
    .ok();
    let (code, _, said) = read(port_b);
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("revoked"), "{said}");

    for (node, name) in [(&a, "a"), (&b, "b")] {
        let url = format!("{}/api/audit/log", node.env["CHANCERY_ADDR"]);
        let (cacert, cert, key) = (
            &node.env["CHANCERY_CACERT"],
            &node.env["CHANCERY_CLIENT_CERT"],
            &node.env["CHANCERY_CLIENT_KEY"],
        );
        let told = run(Command::new("curl").args([
            "--silent",
            "--show-error",
            "--fail",
            "--cacert",
            cacert,
            "--cert",
            cert,
            "--key",
            key,
            &url,
        ]));
        let told: Value = serde_json::from_slice(&told).unwrap();
        assert_eq!(told["origin"], format!("chancery.test/audit/{name}"), "a log a node");
        let vkey = at(&format!("{name}.vkey"));
        fs::write(&vkey, told["verifier_key"].as_str().unwrap()).unwrap();
        on(node, &["audit", "verify", "--key", &vkey.display().to_string()]).ok();
    }
}
