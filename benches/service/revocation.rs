//! What relying parties ask for, and how long it takes until they are told of a revocation.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery::x509::{chain, pem};
use hyper::Method;
use serde_json::json;

use super::fill::{self, ISSUER};
use super::load::{self, Figures, Sender, Shot, Target};
use super::support::child::{free_port, run as run_to_end};
use super::support::process::{Launch, Service};
use super::{CONNECTIONS, get, requests};

/// Revocations that are timed in a row.
const REVOKED: usize = 200;

/// A service in `folder` with these lines in its hierarchy in place of the built-in ones.
pub struct Bench {
    launch: Launch,
    pub service: Service,
}

impl Bench {
    pub fn start(folder: &Path, shards: u32) -> Self {
        let (tls, http) = (free_port(), free_port());
        drop(Launch::dev_on(folder, tls, http).start());
        let hierarchy = include_str!("../../pki/hierarchy.toml")
            .replace("shards = 16", &format!("shards = {shards}"))
            .replace("live_per_s = 100", "live_per_s = 1000000");
        std::fs::write(folder.join("hierarchy.toml"), hierarchy).unwrap();
        let config = std::fs::read_to_string(folder.join("chancery.toml")).unwrap()
            + &format!("\n[ca]\nhierarchy = {:?}\n", folder.join("hierarchy.toml"));
        std::fs::write(folder.join("bench.toml"), config).unwrap();
        let launch = Launch::server(&folder.join("bench.toml"), folder);
        Self {
            service: launch.start(),
            launch,
        }
    }

    /// Stops it, and gives the time that the next start takes.
    pub async fn restart_after(&mut self, change: impl Future<Output = ()>) -> Duration {
        self.service.end();
        change.await;
        let before = Instant::now();
        self.service = self.launch.start();
        before.elapsed()
    }

    pub fn target(&self) -> Target {
        super::target(&self.service.env(), self.service.pid())
    }

    /// Its plain-HTTP listener.
    pub fn plain(&self) -> Target {
        let address = self.service.env()["CHANCERY_HTTP"].clone();
        let address = address.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Target {
            address: address.parse().unwrap(),
            host: address.rsplit_once(':').unwrap().0.to_owned(),
            tls: None,
            headers: Vec::new(),
            content_type: "application/ocsp-request",
            least_bytes: 100,
            pid: self.service.pid(),
        }
    }
}

/// A certificate that was issued: its chain in DER and the path of the list that it names.
pub struct Made {
    pub chain: Vec<Vec<u8>>,
    pub serial: String,
    list: String,
}

pub async fn issue(target: &Target, sender: &mut Sender, body: &Bytes) -> Made {
    let shot = Shot {
        method: Method::POST,
        path: "/api/authorities/internal/issue".to_owned(),
        body: body.clone(),
    };
    let issued: serde_json::Value = serde_json::from_slice(&target.shoot(sender, shot).await).unwrap();
    let chain = pem::decode_all(pem::CERTIFICATE, issued["chain_pem"].as_str().unwrap()).unwrap();
    let list = chain::crl_addresses(&chain[0]).unwrap().remove(0);
    Made {
        list: list.split_at(list.find("/crl/").unwrap()).1.to_owned(),
        serial: issued["serial"].as_str().unwrap().to_owned(),
        chain,
    }
}

/// Revokes, and gets the list, which must say so.
async fn revoke_and_look(target: &Target, sender: &mut Sender, plain: &Target, reader: &mut Sender, made: &Made) {
    let shot = Shot {
        method: Method::POST,
        path: format!("/api/authorities/internal/certificates/{}/revoke", made.serial),
        body: Bytes::from(json!({ "reason": "superseded" }).to_string()),
    };
    target.shoot(sender, shot).await;
    let list = plain.shoot(reader, get(&made.list)).await;
    let serial = hex::decode(&made.serial).unwrap();
    // New entries stand at the end.
    let found = list.windows(serial.len()).rev().any(|window| window == serial);
    assert!(found, "the list does not say what was answered");
}

/// Revocations one after the other, each until a list that has it is there.
pub async fn revocations(bench: &Bench, count: usize) -> Figures {
    let (target, plain) = (bench.target(), bench.plain());
    let (mut sender, mut reader) = (target.connect().await, plain.connect().await);
    let body = requests(1, |csr| json!({ "profile": "server-tls", "csr_pem": csr }).to_string())[0].clone();
    let mut made = Vec::new();
    for _ in 0..=count {
        made.push(issue(&target, &mut sender, &body).await);
    }
    // The first list after a start reads all that was revoked.
    let first = made.pop().unwrap();
    revoke_and_look(&target, &mut sender, &plain, &mut reader, &first).await;
    let (begun, cpu) = (Instant::now(), load::cpu_of(target.pid));
    let mut taken = Vec::new();
    for made in &made {
        let before = Instant::now();
        revoke_and_look(&target, &mut sender, &plain, &mut reader, made).await;
        taken.push(before.elapsed());
    }
    load::of(1, begun.elapsed(), load::cpu_of(target.pid) - cpu, taken)
}

/// OCSP and lists, as relying parties get them.
pub async fn status(time: Duration) {
    println!("\nwhat relying parties ask for, over plain HTTP");
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::start(folder.path(), 16);
    let (target, plain) = (bench.target(), bench.plain());
    let body = requests(1, |csr| json!({ "profile": "server-tls", "csr_pem": csr }).to_string())[0].clone();
    let made = issue(&target, &mut target.connect().await, &body).await;
    let at = |name: &str| folder.path().join(name).display().to_string();
    for (name, der) in [("leaf.pem", &made.chain[0]), ("issuer.pem", &made.chain[1])] {
        std::fs::write(at(name), pem::encode(pem::CERTIFICATE, der)).unwrap();
    }
    let request = |nonce: &str| {
        run_to_end(
            Command::new("openssl")
                .args(["ocsp", "-issuer", &at("issuer.pem"), "-cert", &at("leaf.pem")])
                .args([nonce, "-reqout", &at("request.der")]),
        );
        Bytes::from(std::fs::read(at("request.der")).unwrap())
    };
    let encoded = STANDARD.encode(request("-no_nonce"));
    let encoded = encoded.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let kept = format!("/ocsp/{ISSUER}/{encoded}");
    let nonce = request("-nonce");
    for connections in CONNECTIONS {
        let path = kept.clone();
        let shot = move |_, _| get(&path);
        load::run(&plain, connections, time, shot)
            .await
            .print("OCSP, GET, signed once");
        let body = nonce.clone();
        let shot = move |_, _| Shot {
            method: Method::POST,
            path: format!("/ocsp/{ISSUER}"),
            body: body.clone(),
        };
        load::run(&plain, connections, time, shot)
            .await
            .print("OCSP with a nonce, signed each");
        let path = made.list.clone();
        let shot = move |_, _| get(&path);
        load::run(&plain, connections, time, shot)
            .await
            .print("revocation list, GET");
    }
}

/// The time of a revocation by how many there are, and issuing beside the making of long lists.
pub async fn revoke(time: Duration) {
    println!("\nrevoke, and get the list that says so");
    for shards in [16, 1] {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::start(folder.path(), shards);
        let mut revoked = 0;
        for upto in [0, 10_000, 100_000] {
            if upto > revoked {
                let add = upto - revoked;
                bench
                    .restart_after(fill::certificates(folder.path(), add, true, shards))
                    .await;
            }
            revoked = upto;
            let lists = if shards == 1 { "1 list" } else { "16 lists" };
            revocations(&bench, REVOKED)
                .await
                .print(&format!("{upto} revoked before, {lists}"));
        }
        if shards == 1 {
            beside_long_lists(&bench, time).await;
        }
    }
}

/// Issuing while a list of all that is revoked is made anew, again and again.
async fn beside_long_lists(bench: &Bench, time: Duration) {
    let (target, plain) = (bench.target(), bench.plain());
    let requests = requests(16, |csr| json!({ "profile": "server-tls", "csr_pem": csr }).to_string());
    let body = requests[0].clone();
    let shot = move |connection: usize, _| Shot {
        method: Method::POST,
        path: "/api/authorities/internal/issue".to_owned(),
        body: requests[connection].clone(),
    };
    load::run(&target, 16, time, shot.clone()).await.print("issue, alone");
    let over = Arc::new(AtomicBool::new(false));
    let revoking = tokio::spawn({
        let (target, over) = (target.clone(), over.clone());
        async move {
            let (mut sender, mut reader) = (target.connect().await, plain.connect().await);
            let mut lists = 0;
            while !over.load(Ordering::Relaxed) {
                let made = issue(&target, &mut sender, &body).await;
                revoke_and_look(&target, &mut sender, &plain, &mut reader, &made).await;
                lists += 1;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            lists
        }
    });
    load::run(&target, 16, time, shot)
        .await
        .print("issue, beside lists of 100000");
    over.store(true, Ordering::Relaxed);
    println!("{:<34}     {} lists made meanwhile", "", revoking.await.unwrap());
}
