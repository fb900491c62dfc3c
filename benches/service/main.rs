//! The figures of the README: this machine's limits, the service beside them, and on request OpenBao in the same run.
//!
//! `make bench` runs it whole; `cargo bench --bench service -- reads writes` runs parts: limits, reads, writes, keys,
//! decide, issue, connect, renew, acme, status, revoke, search, backup, scale. Client and server share the machine. `PEERS=1` adds OpenBao,
//! `SECONDS_EACH=n` sets how long each row is measured, `SCALE=1` adds the rows
//! beside a million certificates and searches ten million audit records (`RECORDS=n` for another number).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    clippy::cast_precision_loss,
    unreachable_pub,
    reason = "a benchmark may panic: that is how it says that something is wrong"
)]

mod acme;
mod backup;
mod decide;
mod fill;
mod keys;
mod load;
mod openbao;
mod revocation;
mod scale;
mod search;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery::hsm::{Hsm, KeyRef};
use chancery::key_type::KeyType;
use chancery::x509;
use hyper::Method;
use load::{Shot, Target};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use support::pebble::{self, Pebble};
use support::process::{Launch, Service};
use support::softhsm;

const CONNECTIONS: [usize; 3] = [1, 16, 64];

fn main() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    // SoftHSM is told of its token by the environment only, so start again with it set.
    if std::env::var_os("CHANCERY_BENCH_TOKEN").is_none() {
        let folder = tempfile::tempdir().unwrap();
        let token = softhsm::initialise(folder.path());
        let status = Command::new(std::env::current_exe().unwrap())
            .args(std::env::args_os().skip(1))
            .envs([token.environment()])
            .env("CHANCERY_BENCH_TOKEN", folder.path())
            .status()
            .unwrap();
        drop(folder);
        std::process::exit(status.code().unwrap_or(1));
    }
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(everything(&|part| asked.is_empty() || asked.iter().any(|a| a == part)));
}

async fn everything(wanted: &dyn Fn(&str) -> bool) {
    let seconds = std::env::var("SECONDS_EACH")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(3);
    let time = Duration::from_secs(seconds);
    let peers = std::env::var("PEERS").is_ok_and(|peers| peers == "1");
    println!(
        "client and server share {} cores; {seconds} s a row",
        std::thread::available_parallelism().unwrap()
    );
    if wanted("limits") {
        println!("\nthis machine's limits");
        token_rate(time).await;
        disk_rate(time);
    }

    let folder = tempfile::tempdir().unwrap();
    let service = Launch::dev(folder.path()).start();
    let chancery = target(&service.env(), service.pid());
    if wanted("reads") || wanted("writes") {
        service
            .cli(&["secret", "set", "--name", "kib"])
            .stdin("x".repeat(1024))
            .ok();
    }
    if wanted("reads") {
        println!("\nread a secret of 1 KiB");
        for connections in CONNECTIONS {
            load::run(&chancery, connections, time, |_, _| {
                get("/api/vaults/kv-prod/secrets/kib")
            })
            .await
            .print("chancery");
        }
    }
    if wanted("writes") {
        println!("\nwrite a secret of 1 KiB");
        let body = Bytes::from(serde_json::json!({ "value": "y".repeat(1024) }).to_string());
        for connections in CONNECTIONS {
            let body = body.clone();
            let shot = move |connection, _| Shot {
                method: Method::PUT,
                path: format!("/api/vaults/kv-prod/secrets/bench-{connection}"),
                body: body.clone(),
            };
            load::run(&chancery, connections, time, shot).await.print("chancery");
        }
    }
    if wanted("keys") {
        keys::run(&service, &chancery, time, &CONNECTIONS).await;
    }
    if wanted("issue") {
        println!("\nsign a P-256 request, stored and audited, key in the token");
        for connections in CONNECTIONS {
            let requests = requests(connections, |csr| {
                serde_json::json!({ "profile": "server-tls", "csr_pem": csr }).to_string()
            });
            let shot = move |connection: usize, _| Shot {
                method: Method::POST,
                path: "/api/authorities/internal/issue".to_owned(),
                body: requests[connection].clone(),
            };
            load::run(&chancery, connections, time, shot).await.print("chancery");
        }
    }
    if wanted("connect") {
        println!("\nconnect by mTLS, read a secret, close");
        service.cli(&["secret", "set", "--name", "small"]).stdin("x").ok();
        for connections in CONNECTIONS {
            load::connect_again(&chancery, connections, time, || {
                get("/api/vaults/kv-prod/secrets/small")
            })
            .await
            .print("chancery");
        }
    }
    if wanted("renew") {
        renewals(&service, &chancery).await;
    }
    drop(service);
    if wanted("decide") {
        decide::run().await;
    }
    if wanted("acme") {
        acme::run(time).await;
    }
    if wanted("status") {
        revocation::status(time).await;
    }
    if wanted("revoke") {
        revocation::revoke(time).await;
    }
    if wanted("search") {
        search::run(time).await;
    }
    if wanted("backup") {
        backup::run().await;
    }
    if wanted("scale") && std::env::var("SCALE").is_ok_and(|scale| scale == "1") {
        scale::run(time).await;
    }
    if peers {
        openbao::run(wanted, time, &CONNECTIONS).await;
    }
}

fn get(path: &str) -> Shot {
    Shot {
        method: Method::GET,
        path: path.to_owned(),
        body: Bytes::new(),
    }
}

/// A request body per connection, each with a CSR of its own key.
fn requests(count: usize, body: impl Fn(&str) -> String) -> Arc<[Bytes]> {
    (0..count)
        .map(|n| {
            let key = x509::key::generate(KeyType::EcP256).unwrap();
            let names = [x509::name::Name::Dns(format!("bench-{n}.chancery.test"))];
            let csr = x509::csr::create(&key, &names).unwrap();
            Bytes::from(body(&x509::pem::encode("CERTIFICATE REQUEST", &csr)))
        })
        .collect()
}

/// The service that `env` describes, with the administrator's certificate.
fn target(env: &BTreeMap<String, String>, pid: u32) -> Target {
    let file = |name: &str| Path::new(&env[name]).to_owned();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(file("CHANCERY_CACERT")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_file_iter(file("CHANCERY_CLIENT_CERT"))
        .unwrap()
        .map(|c| c.unwrap())
        .collect();
    let key = PrivateKeyDer::from_pem_file(file("CHANCERY_CLIENT_KEY")).unwrap();
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    let address = env["CHANCERY_ADDR"].trim_start_matches("https://").to_owned();
    Target {
        address: address.parse().unwrap(),
        host: address.rsplit_once(':').unwrap().0.to_owned(),
        tls: Some(Arc::new(tls)),
        headers: Vec::new(),
        content_type: "application/json",
        least_bytes: 0,
        pid,
    }
}

/// What the token can sign, at most.
async fn token_rate(time: Duration) {
    let hsm = Hsm::open(&softhsm::Token::at(Path::new(&std::env::var_os("CHANCERY_BENCH_TOKEN").unwrap())).settings())
        .unwrap();
    hsm.generate("bench", KeyType::EcP256).await.unwrap();
    for callers in CONNECTIONS {
        let end = Instant::now() + time;
        let tasks: Vec<_> = (0..callers)
            .map(|_| {
                let hsm = hsm.clone();
                tokio::spawn(async move {
                    let key = KeyRef {
                        label: "bench".to_owned(),
                        kind: KeyType::EcP256,
                    };
                    let mut signed = 0_u64;
                    while Instant::now() < end {
                        hsm.sign(&key, b"to be signed").await.unwrap();
                        signed += 1;
                    }
                    signed
                })
            })
            .collect();
        let mut signed = 0;
        for task in tasks {
            signed += task.await.unwrap();
        }
        println!(
            "{:<34} {callers:>3} callers     {:>9.0}/s",
            "P-256 in the token",
            signed as f64 / time.as_secs_f64()
        );
    }
    hsm.close();
}

/// How often the disk makes 300 bytes durable.
fn disk_rate(time: Duration) {
    let mut file = tempfile::tempfile_in(".").unwrap();
    let (start, mut synced) = (Instant::now(), 0_u64);
    while start.elapsed() < time {
        file.write_all(&[7; 300]).unwrap();
        file.sync_data().unwrap();
        synced += 1;
    }
    println!(
        "{:<34}  one writer     {:>9.0}/s",
        "fdatasync of 300 bytes",
        synced as f64 / time.as_secs_f64()
    );
}

/// Certificates renewed through Pebble by the service's four workers: key, order, validation, issue, recorded.
async fn renewals(service: &Service, target: &Target) {
    const COUNT: usize = 60;
    println!("\nrenew through Pebble (its answers are most of the time)");
    let http = service.env()["CHANCERY_HTTP"]
        .rsplit_once(':')
        .unwrap()
        .1
        .trim_end_matches('/')
        .parse()
        .unwrap();
    let pebble = Pebble::start(pebble::Config {
        nonce_reject: 0,
        authz_reuse: 0,
        ..pebble::Config::answering_on(http)
    });
    let (directory, ca) = (pebble.directory(), pebble.ca_file());
    let ca = ca.to_str().unwrap();
    service
        .cli(&[
            "issuer",
            "create",
            "--name",
            "pebble",
            "--directory",
            &directory,
            "--ca-file",
            ca,
        ])
        .ok();
    let post = |path: String, body: serde_json::Value| {
        let body = if body.is_null() {
            Bytes::new()
        } else {
            Bytes::from(body.to_string())
        };
        target.once(Shot {
            method: Method::POST,
            path,
            body,
        })
    };
    // The n-th version of every certificate, as the service lists them.
    let have = |version: u64| {
        let listed: serde_json::Value =
            serde_json::from_str(&service.cli(&["cert", "list", "-o", "json"]).ok()).unwrap();
        let of = |certificate: &serde_json::Value| certificate["current"]["ordinal"] == version;
        listed
            .as_array()
            .unwrap()
            .iter()
            .filter(|certificate| of(certificate))
            .count()
    };
    let wait = async |version: u64| {
        let patience = Instant::now() + Duration::from_secs(300);
        while have(version) < COUNT {
            assert!(Instant::now() < patience, "certificates do not come");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    for n in 0..COUNT {
        let spec = serde_json::json!({
            "name": format!("bench-{n}"), "issuer": "pebble", "dns_names": [format!("bench-{n}.chancery.test")],
        });
        post("/api/vaults/kv-prod/certificates".to_owned(), spec).await;
    }
    wait(1).await;
    let start = Instant::now();
    for n in 0..COUNT {
        let path = format!("/api/vaults/kv-prod/certificates/bench-{n}/renew");
        post(path, serde_json::Value::Null).await;
    }
    wait(2).await;
    let rate = COUNT as f64 / start.elapsed().as_secs_f64();
    println!("{:<34}   4 workers     {rate:>9.1}/s", "chancery");
}
