//! Whole ACME orders over HTTPS: newOrder, authorization, http-01 on loopback, finalize, download. The same raw driver
//! drives Chancery, which keeps, audits and signs in the token, and Pebble, which keeps nothing.
//!
//! A client has an account, a connection and a key of its own; each order is for a name of its own. The driver shares
//! the cores with the server, so its part is told beside each row.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use chancery::secret::Secret;
use chancery::x509::csr;
use chancery::x509::name::Name;
use hyper::Method;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use super::load::{self, Figures, Sender, Shot, Target};
use super::support::acme::{Key, World, b64, challenge};
use super::support::pebble::{Config, Pebble};
use super::support::process::Launch;

const CLIENTS: [usize; 3] = [1, 8, 32];

/// Who waits longer for an order is told apart: the server has stopped answering.
const PATIENCE: Duration = Duration::from_secs(20);

struct Client {
    target: Target,
    sender: Sender,
    directory: Value,
    key: Key,
    kid: Option<String>,
    nonce: String,
    certified: Secret,
    world: World,
}

impl Client {
    async fn register(target: Target, directory: &str, world: World) -> Self {
        let mut sender = target.connect().await;
        let get = |path: &str| Shot {
            method: Method::GET,
            path: path.to_owned(),
            body: Bytes::new(),
        };
        let directory: Value = serde_json::from_slice(&target.shoot(&mut sender, get(path(directory))).await).unwrap();
        let nonce = directory["newNonce"].as_str().unwrap();
        let (_, headers, _) = target.exchange(&mut sender, get(path(nonce))).await;
        let mut client = Self {
            nonce: headers["replay-nonce"].to_str().unwrap().to_owned(),
            target,
            sender,
            directory,
            key: Key::es256(),
            kid: None,
            certified: chancery::x509::key::generate(chancery::key_type::KeyType::EcP256).unwrap(),
            world,
        };
        let account = client.url("newAccount");
        let agreed = json!({ "termsOfServiceAgreed": true }).to_string();
        client.kid = Some(client.post(&account, &agreed).await.1);
        client
    }

    fn url(&self, name: &str) -> String {
        self.directory[name].as_str().unwrap().to_owned()
    }

    /// A signed request; the answer and its `Location`.
    async fn post(&mut self, url: &str, payload: &str) -> (Bytes, String) {
        let mut protected = json!({ "alg": self.key.alg, "nonce": self.nonce, "url": url });
        match &self.kid {
            Some(kid) => protected["kid"] = json!(kid),
            None => protected["jwk"] = self.key.jwk.clone(),
        }
        let shot = Shot {
            method: Method::POST,
            path: path(url).to_owned(),
            body: Bytes::from(self.key.jws(&protected, payload).to_string()),
        };
        let (status, headers, body) = self.target.exchange(&mut self.sender, shot).await;
        assert!(
            status.is_success(),
            "{url}: {status}: {}",
            String::from_utf8_lossy(&body)
        );
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        self.nonce = header("replay-nonce");
        (body, header("location"))
    }

    async fn json(&mut self, url: &str, payload: &str) -> Value {
        serde_json::from_slice(&self.post(url, payload).await.0).unwrap()
    }

    /// Looks after 2 ms, 4 ms and so on, until the order has this status.
    async fn until(&mut self, order: &str, mut seen: Value, status: &str) -> Value {
        let mut pause = Duration::from_millis(2);
        while seen["status"] != status {
            assert_ne!(seen["status"], "invalid", "{seen}");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
            seen = self.json(order, "").await;
        }
        seen
    }

    async fn order(&mut self, name: &str) {
        let identifiers = json!({ "identifiers": [{ "type": "dns", "value": name }] }).to_string();
        let (placed, url) = self.post(&self.url("newOrder"), &identifiers).await;
        let order: Value = serde_json::from_slice(&placed).unwrap();
        let authorization = self.json(order["authorizations"][0].as_str().unwrap(), "").await;
        let challenge = challenge(&authorization, "http-01");
        self.world
            .answer(challenge["token"].as_str().unwrap(), &self.key.thumbprint());
        self.post(challenge["url"].as_str().unwrap(), "{}").await;
        let ready = self.until(&url, order, "ready").await;
        let request = csr::create(&self.certified, &[Name::Dns(name.to_owned())]).unwrap();
        let finalize = json!({ "csr": b64(&request) }).to_string();
        let made = self.json(ready["finalize"].as_str().unwrap(), &finalize).await;
        let valid = self.until(&url, made, "valid").await;
        let (chain, _) = self.post(valid["certificate"].as_str().unwrap(), "").await;
        assert!(chain.starts_with(b"-----BEGIN CERTIFICATE-----"));
    }
}

/// An address without scheme and host.
fn path(url: &str) -> &str {
    let rest = url.strip_prefix("https://").unwrap();
    rest.split_at(rest.find('/').unwrap()).1
}

/// The figures, and the driver's own processor time for an order.
async fn orders(
    target: &Target,
    directory: &str,
    world: &World,
    clients: usize,
    time: Duration,
) -> (Figures, Duration) {
    let mut registered = Vec::new();
    for _ in 0..clients {
        registered.push(Client::register(target.clone(), directory, world.clone()).await);
    }
    let start = Instant::now() + time / 10;
    let end = start + time;
    let stalled = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = registered
        .into_iter()
        .enumerate()
        .map(|(nth, mut client)| {
            let stalled = stalled.clone();
            tokio::spawn(async move {
                let (mut taken, mut n) = (Vec::new(), 0);
                while Instant::now() < end {
                    let before = Instant::now();
                    let name = format!("h{n}.c{nth}-of-{clients}.test");
                    let ordered = tokio::time::timeout(PATIENCE, client.order(&name)).await;
                    if ordered.is_err() {
                        stalled.fetch_add(1, Ordering::Relaxed);
                        break;
                    }
                    n += 1;
                    if before >= start {
                        taken.push(before.elapsed());
                    }
                }
                taken
            })
        })
        .collect();
    tokio::time::sleep_until(start.into()).await;
    let before = load::cpu_of(std::process::id());
    let figures = load::figures(target, clients, time, tasks).await;
    let driver = load::cpu_of(std::process::id()) - before;
    let stalled = stalled.load(Ordering::Relaxed);
    if stalled > 0 {
        println!("{stalled} of {clients} clients had no certificate within {PATIENCE:?} and gave up:");
    }
    let count = figures.per_second * time.as_secs_f64();
    (figures, driver.div_f64(count.max(1.0)))
}

async fn rows(what: &str, target: &Target, directory: &str, world: &World, time: Duration) {
    for clients in CLIENTS {
        let (figures, driver) = orders(target, directory, world, clients, time).await;
        figures.print(what);
        println!(
            "{:<34}     the driver: {:>5.2} ms an order, {:.2} cores",
            "",
            driver.as_secs_f64() * 1e3,
            driver.as_secs_f64() * figures.per_second
        );
    }
}

fn target(port: u16, host: &str, roots: &std::path::Path, pid: u32) -> Target {
    let mut trusted = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).unwrap() {
        trusted.add(root.unwrap()).unwrap();
    }
    let tls = ClientConfig::builder()
        .with_root_certificates(trusted)
        .with_no_client_auth();
    Target {
        address: ([127, 0, 0, 1], port).into(),
        host: host.to_owned(),
        tls: Some(Arc::new(tls)),
        // RFC 8555 §6.1 asks for one.
        headers: vec![("user-agent", "chancery-bench".to_owned())],
        content_type: "application/jose+json",
        least_bytes: 0,
        pid,
    }
}

pub async fn run(time: Duration) {
    println!("\na whole ACME order, http-01 on loopback");
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let service = Launch::dev(folder.path())
        .args(["--acme-resolver", &world.dns.to_string()])
        .args(["--acme-http01-port", &world.http.port().to_string()])
        .start();
    let env = service.env();
    let port = env["CHANCERY_ADDR"].rsplit_once(':').unwrap().1.parse().unwrap();
    let roots = std::path::Path::new(&env["CHANCERY_CACERT"]);
    let directory = &env["CHANCERY_ACME_DIRECTORY"];
    let host = directory
        .trim_start_matches("https://")
        .split([':', '/'])
        .next()
        .unwrap();
    rows(
        "chancery",
        &target(port, host, roots, service.pid()),
        directory,
        &world,
        time,
    )
    .await;
    drop(service);
    let pebble = Pebble::start(Config {
        nonce_reject: 0,
        ..Config::answering_on(world.http.port())
    });
    let target = target(pebble.port(), "localhost", &pebble.ca_file(), pebble.pid());
    rows(
        "pebble, which keeps nothing",
        &target,
        &pebble.directory(),
        &world,
        time,
    )
    .await;
}
