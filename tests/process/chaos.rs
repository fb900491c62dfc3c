//! Everything at once: callers who write, read, encrypt and rotate, and nodes that are killed at random under them. Beside
//! each caller stands a model of what may be there. Whatever was answered is there, and whatever is there was asked for;
//! every answer has its record, and a change is there exactly if its record is.
//!
//! `CHAOS_SECONDS` says for how long (8 if it is not said), `CHAOS_SEED` with which seed the kills and acts begin.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use reqwest::{Method, StatusCode};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};

use crate::support::child::{PATIENCE, run};
use crate::support::postgres::Postgres;
use crate::support::process::{Cli, Launch, Service};
use crate::support::server::{enroll, environment, launch};
use crate::support::softhsm;

const CALLERS: u64 = 6;
/// What was asked before a kill is over by then, also in the database.
const SETTLES: Duration = Duration::from_millis(400);

#[test]
fn nothing_answered_is_lost_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
    chaos(folder.path(), &url, &["a"]);
}

#[test]
fn nothing_answered_is_lost_on_two_nodes_of_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let postgres = Postgres::start();
    chaos(folder.path(), &postgres.database(), &["a", "b"]);
}

/// Not a good source of chance, but one that can be asked for the same again.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

struct Node {
    service: Option<Service>,
    launch: Launch,
    env: BTreeMap<String, String>,
}

fn chaos(folder: &Path, url: &str, names: &[&str]) {
    let seconds = setting("CHAOS_SECONDS").unwrap_or(8);
    let seed = setting("CHAOS_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        u64::from(now.unwrap().subsec_nanos()) | 1
    });
    println!("CHAOS_SEED={seed}");
    let token = softhsm::initialise(&folder.join("token"));
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let (launch, port) = launch(&token, folder, name, url);
        let service = launch.start();
        if nodes.is_empty() {
            let address = format!("https://127.0.0.1:{port}/roots.pem");
            let roots = run(Command::new("curl").args(["--silent", "--show-error", "--fail", "--insecure", &address]));
            fs::write(folder.join("roots.pem"), roots).unwrap();
        }
        nodes.push(Node {
            service: Some(service),
            launch,
            env: environment(folder, port, &folder.join("admin")),
        });
    }
    let first_token = fs::read_to_string(folder.join(names[0]).join("first-token")).unwrap();
    enroll(&nodes[0].env, &first_token, &folder.join("admin"));
    Cli::new(nodes[0].env.clone(), &["vault", "create", "--name", "kv-prod"]).ok();

    let caller = Arc::new(Caller {
        http: client(&nodes[0].env),
        addresses: nodes.iter().map(|node| node.env["CHANCERY_ADDR"].clone()).collect(),
        asked: AtomicU64::new(0),
        acts: Mutex::default(),
    });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let work: Vec<_> = (0..CALLERS)
        .map(|number| {
            let worker = Worker::new(caller.clone(), number, Dice(seed.wrapping_add(number) | 1));
            runtime.spawn(worker.work(over.clone()))
        })
        .collect();

    // Pinned before anything happens.
    for node in &mut nodes {
        let key = runtime.block_on(caller.log_key(&node.env["CHANCERY_ADDR"]));
        let file = folder.join(format!("log-{}", node.env["CHANCERY_ADDR"].rsplit(':').next().unwrap()));
        fs::write(&file, key).unwrap();
        node.env
            .insert("CHANCERY_AUDIT_KEY".to_owned(), file.display().to_string());
    }
    let mut dice = Dice(seed | 1);
    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(300 + dice.throw(1_200)));
        let victim = usize::try_from(dice.throw(nodes.len() as u64)).unwrap();
        let node = &mut nodes[victim];
        node.service.take().unwrap().kill();
        kills += 1;
        node.service = Some(node.launch.start());
    }
    over.store(true, Ordering::SeqCst);
    let workers: Vec<Worker> = work.into_iter().map(|work| runtime.block_on(work).unwrap()).collect();
    let mut done = 0;
    for worker in &workers {
        done += worker.answered;
        runtime.block_on(worker.judge());
    }
    println!("{kills} kills, {done} answered acts");
    assert!(kills > 0, "the service was never killed");
    assert!(done >= 20, "hardly anything was answered: {done}");

    let mut records = BTreeMap::new();
    for node in &nodes {
        open_intents_end(node);
        for record in runtime.block_on(caller.records(&node.env["CHANCERY_ADDR"])) {
            if let Some(trace) = record["trace"].as_str()
                && record["outcome"] == "done"
            {
                *records.entry(trace.to_owned()).or_insert(0) += 1;
            }
        }
        Cli::new(node.env.clone(), &["audit", "verify"]).ok();
    }
    let there: BTreeSet<String> = workers
        .iter()
        .flat_map(|worker| worker.there.lock().unwrap().clone())
        .collect();
    for (trace, act) in caller.acts.lock().unwrap().iter() {
        let recorded = records.get(trace).copied().unwrap_or(0);
        match act {
            Act::Change if there.contains(trace) => assert_eq!(recorded, 1, "{trace} is there"),
            Act::Change => assert_eq!(recorded, 0, "{trace} is not there"),
            Act::Answered => assert_eq!(recorded, 1, "{trace} was answered"),
            Act::Unknown => assert!(recorded <= 1, "{trace} was recorded {recorded} times"),
        }
    }
    for mut node in nodes {
        assert!(node.service.take().unwrap().end().success());
    }
}

/// What a kill left open is closed at the next start.
fn open_intents_end(node: &Node) {
    let begun = Instant::now();
    loop {
        let proven = Cli::new(node.env.clone(), &["audit", "verify", "-o", "json"]).ok();
        let proven: Value = serde_json::from_str(&proven).unwrap();
        if proven["open_intents"].as_array().map(Vec::len) == Some(0) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{proven}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn client(env: &BTreeMap<String, String>) -> reqwest::Client {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(&env["CHANCERY_CACERT"]).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let chain = CertificateDer::pem_file_iter(&env["CHANCERY_CLIENT_CERT"])
        .unwrap()
        .map(|one| one.unwrap())
        .collect();
    let key = PrivateKeyDer::from_pem_file(&env["CHANCERY_CLIENT_KEY"]).unwrap();
    let tls = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .unwrap();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

/// What became of something that was asked, by its trace.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    /// It was a change of which is found out whether it was made.
    Change,
    /// It was answered.
    Answered,
    /// Nobody knows.
    Unknown,
}

/// What is asked of whichever node, each with a trace of its own.
struct Caller {
    http: reqwest::Client,
    addresses: Vec<String>,
    asked: AtomicU64,
    acts: Mutex<BTreeMap<String, Act>>,
}

impl Caller {
    /// The answer; none, if nobody knows whether it was done.
    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> (String, Option<(StatusCode, Value)>) {
        let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        let trace = format!("{number:032x}");
        let at = usize::try_from(number).unwrap() % self.addresses.len();
        let mut request = self
            .http
            .request(method, format!("{}/api/vaults/kv-prod/{path}", self.addresses[at]))
            .header("traceparent", format!("00-{trace}-00000000000000ff-01"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = async {
            let answer = request.send().await.ok()?;
            let status = answer.status();
            let body = answer.bytes().await.ok()?;
            Some((status, serde_json::from_slice(&body).unwrap_or(Value::Null)))
        };
        let answer = answer.await.filter(|(status, _)| !status.is_server_error());
        (trace, answer)
    }

    fn note(&self, trace: &str, act: Act) {
        self.acts.lock().unwrap().insert(trace.to_owned(), act);
    }

    /// By what one node's log is verified.
    async fn log_key(&self, address: &str) -> String {
        let url = format!("{address}/api/audit/log");
        let log = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
        let log: chancery::wire::AuditLog = serde_json::from_slice(&log).unwrap();
        log.verifier_key
    }

    /// One node's whole log.
    async fn records(&self, address: &str) -> Vec<Value> {
        let mut records = Vec::new();
        loop {
            let url = format!("{address}/api/audit/entries?from={}", records.len());
            let page = self.http.get(url).send().await.unwrap().bytes().await.unwrap();
            let page: chancery::wire::AuditEntries = serde_json::from_slice(&page).unwrap();
            let page = page.records().unwrap();
            if page.len() < 2 {
                return records;
            }
            records.extend(page.iter().map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap()));
        }
    }
}

/// How a secret may stand.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    value: Option<String>,
    is_deleted: bool,
}

/// One caller and the objects that are its own, with the model of them.
struct Worker {
    caller: Arc<Caller>,
    dice: Dice,
    number: u64,
    /// How the secret may stand.
    secret: BTreeSet<State>,
    /// Every value that was sent, by its trace; the place of its version, if that was answered.
    values: Vec<(String, String, Option<u64>)>,
    /// What was encrypted, and what came of it.
    sealed: Vec<(String, String)>,
    /// Rotations by their traces; the place of the version, if that was answered.
    rotations: Vec<(String, Option<u64>)>,
    is_key_there: bool,
    answered: u64,
    /// The changes of which it was found out in the end that they were made.
    there: Mutex<BTreeSet<String>>,
}

impl Worker {
    fn new(caller: Arc<Caller>, number: u64, dice: Dice) -> Self {
        let nothing = State {
            value: None,
            is_deleted: false,
        };
        Self {
            caller,
            dice,
            number,
            secret: BTreeSet::from([nothing]),
            values: Vec::new(),
            sealed: Vec::new(),
            rotations: Vec::new(),
            is_key_there: false,
            answered: 0,
            there: Mutex::default(),
        }
    }

    async fn work(mut self, over: Arc<AtomicBool>) -> Self {
        while !over.load(Ordering::SeqCst) {
            match self.dice.throw(10) {
                0..=2 => self.set().await,
                3..=5 => self.read().await,
                6 => self.delete_or_recover().await,
                7 => self.rotate().await,
                _ => self.encrypt_or_decrypt().await,
            }
        }
        self
    }

    /// Waits until what nobody knows of is over.
    async fn settle(&self) {
        tokio::time::sleep(SETTLES).await;
    }

    fn secret_path(&self, rest: &str) -> String {
        format!("secrets/chaos-{}{rest}", self.number)
    }

    fn key_path(&self, rest: &str) -> String {
        format!("keys/chaos-{}{rest}", self.number)
    }

    /// What may be there after something that is possible in some states and makes others of these.
    fn after(&mut self, known: Option<bool>, change: impl Fn(&State) -> Option<State>) {
        let before = std::mem::take(&mut self.secret);
        self.secret = before
            .iter()
            .flat_map(|state| match (known, change(state)) {
                (Some(true), next) => vec![next],
                (Some(false), Some(_)) => vec![],
                (Some(false), None) => vec![Some(state.clone())],
                (None, next) => vec![Some(state.clone()), next],
            })
            .flatten()
            .collect();
        assert!(
            !self.secret.is_empty(),
            "worker {}: it cannot be so from {before:?}",
            self.number
        );
    }

    async fn set(&mut self) {
        let value = format!("{}-{}", self.number, self.values.len());
        let body = json!({ "value": value });
        let (trace, answer) = self.caller.ask(Method::PUT, &self.secret_path(""), Some(&body)).await;
        self.caller.note(&trace, Act::Change);
        let known = answer.as_ref().map(|(status, _)| status.is_success());
        let ordinal = answer.as_ref().and_then(|(_, body)| body["ordinal"].as_u64());
        self.values.push((trace, value.clone(), ordinal));
        self.after(known, |state| {
            (!state.is_deleted).then(|| State {
                value: Some(value.clone()),
                is_deleted: false,
            })
        });
        match known {
            Some(_) => self.answered += 1,
            None => self.settle().await,
        }
    }

    async fn read(&mut self) {
        let (trace, answer) = self.caller.ask(Method::GET, &self.secret_path(""), None).await;
        let Some((status, body)) = answer else {
            self.caller.note(&trace, Act::Unknown);
            return;
        };
        self.answered += 1;
        let seen = body["value"].as_str().map(str::to_owned);
        assert_eq!(status.is_success(), seen.is_some(), "{status} {body}");
        assert!(
            status.is_success() || status == StatusCode::NOT_FOUND,
            "{status} {body}"
        );
        if status.is_success() {
            self.caller.note(&trace, Act::Answered);
        }
        let before = self.secret.clone();
        self.secret.retain(|state| match &seen {
            Some(_) => !state.is_deleted && state.value == seen,
            None => state.is_deleted || state.value.is_none(),
        });
        assert!(
            !self.secret.is_empty(),
            "{seen:?} was read where there may be {before:?}"
        );
    }

    async fn delete_or_recover(&mut self) {
        let is_deleted = self.secret.iter().next_back().is_some_and(|state| state.is_deleted);
        let (method, path) = match is_deleted {
            true => (Method::POST, self.secret_path("/recover")),
            false => (Method::DELETE, self.secret_path("")),
        };
        let (trace, answer) = self.caller.ask(method, &path, None).await;
        let known = answer.map(|(status, body)| {
            assert!(
                status.is_success() || [StatusCode::NOT_FOUND, StatusCode::CONFLICT].contains(&status),
                "{status} {body}"
            );
            status.is_success()
        });
        self.caller.note(
            &trace,
            match known {
                Some(true) => Act::Answered,
                _ => Act::Unknown,
            },
        );
        self.after(known, |state| {
            (state.value.is_some() && state.is_deleted == is_deleted).then(|| State {
                is_deleted: !is_deleted,
                ..state.clone()
            })
        });
        match known {
            Some(_) => self.answered += 1,
            None => self.settle().await,
        }
    }

    /// Whether it has its key, which is made if it is not.
    async fn has_key(&mut self) -> bool {
        if !self.is_key_there {
            let body = json!({ "name": format!("chaos-{}", self.number), "type": "aes-256" });
            let (trace, answer) = self.caller.ask(Method::POST, "keys", Some(&body)).await;
            self.caller.note(&trace, Act::Unknown);
            match answer {
                // It was made by one of whose end nobody knew.
                Some((status, body)) => {
                    assert!(status.is_success() || status == StatusCode::CONFLICT, "{status} {body}");
                    self.is_key_there = true;
                }
                None => self.settle().await,
            }
        }
        self.is_key_there
    }

    async fn rotate(&mut self) {
        if !self.has_key().await {
            return;
        }
        let (trace, answer) = self
            .caller
            .ask(Method::POST, &self.key_path("/rotate"), Some(&json!({})))
            .await;
        self.caller.note(&trace, Act::Change);
        let ordinal = answer.map(|(status, body)| {
            assert!(status.is_success(), "{status} {body}");
            body["ordinal"].as_u64().unwrap()
        });
        self.rotations.push((trace, ordinal));
        match ordinal {
            Some(_) => self.answered += 1,
            None => self.settle().await,
        }
    }

    async fn encrypt_or_decrypt(&mut self) {
        if !self.has_key().await {
            return;
        }
        let count = self.sealed.len() as u64;
        if count == 0 || self.dice.throw(2) == 0 {
            let plain = BASE64.encode(format!("{}:{count}", self.number));
            let body = json!({ "plaintext": plain });
            let path = self.key_path("/encrypt");
            let (trace, answer) = self.caller.ask(Method::POST, &path, Some(&body)).await;
            if let Some(body) = self.answer(&trace, answer) {
                self.sealed
                    .push((plain, body["ciphertext"].as_str().unwrap().to_owned()));
            }
        } else {
            let (plain, sealed) = self.sealed[usize::try_from(self.dice.throw(count)).unwrap()].clone();
            let body = json!({ "ciphertext": sealed });
            let path = self.key_path("/decrypt");
            let (trace, answer) = self.caller.ask(Method::POST, &path, Some(&body)).await;
            if let Some(body) = self.answer(&trace, answer) {
                assert_eq!(body["plaintext"], plain);
            }
        }
    }

    fn answer(&mut self, trace: &str, answer: Option<(StatusCode, Value)>) -> Option<Value> {
        let act = if answer.is_some() { Act::Answered } else { Act::Unknown };
        self.caller.note(trace, act);
        let (status, body) = answer?;
        assert!(status.is_success(), "{status} {body}");
        self.answered += 1;
        Some(body)
    }

    /// Asks until it is answered.
    async fn insist(&self, method: Method, path: &str, body: Option<&Value>) -> (StatusCode, Value) {
        let begun = Instant::now();
        loop {
            let (trace, answer) = self.caller.ask(method.clone(), path, body).await;
            self.caller.note(&trace, Act::Unknown);
            match answer {
                Some(answer) => return answer,
                None => assert!(begun.elapsed() < PATIENCE, "{path} is not answered"),
            }
            self.settle().await;
        }
    }

    /// What there is at the end, against all that was asked.
    async fn judge(&self) {
        let (status, body) = self.insist(Method::GET, &self.secret_path(""), None).await;
        let last = State {
            value: body["value"].as_str().map(str::to_owned),
            is_deleted: false,
        };
        let is_so = match status {
            StatusCode::OK => self.secret.contains(&last),
            _ => self
                .secret
                .iter()
                .any(|state| state.is_deleted || state.value.is_none()),
        };
        assert!(is_so, "{status} {body} is not one of {:?}", self.secret);
        if status != StatusCode::OK {
            let path = self.secret_path("/recover");
            let (_, _) = self.insist(Method::POST, &path, None).await;
        }
        // Every value that was answered is the one of its version; of the others, those that are there.
        let mut there = BTreeMap::new();
        for ordinal in 1.. {
            let path = self.secret_path(&format!("/versions/{ordinal}"));
            let (status, body) = self.insist(Method::GET, &path, None).await;
            if status == StatusCode::NOT_FOUND {
                break;
            }
            there.insert(body["value"].as_str().unwrap().to_owned(), ordinal);
        }
        for (trace, value, ordinal) in &self.values {
            let found = there.get(value).copied();
            assert!(
                ordinal.is_none() || found == *ordinal,
                "{value} was version {ordinal:?}, and is {found:?}"
            );
            if found.is_some() {
                self.there.lock().unwrap().insert(trace.clone());
            }
        }
        assert!(there.len() <= self.values.len(), "there are values that nobody sent");

        if !self.is_key_there {
            return;
        }
        let (_, versions) = self
            .insist(Method::GET, &self.key_path("/versions?limit=1000"), None)
            .await;
        let ordinals: BTreeSet<u64> = versions["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["ordinal"].as_u64().unwrap())
            .collect();
        assert_eq!(
            ordinals.len() as u64,
            *ordinals.last().unwrap(),
            "a version is missing: {ordinals:?}"
        );
        let answered: BTreeSet<u64> = self.rotations.iter().filter_map(|(_, ordinal)| *ordinal).collect();
        assert!(answered.is_subset(&ordinals), "{answered:?} {ordinals:?}");
        let unanswered = self.rotations.iter().filter(|(_, ordinal)| ordinal.is_none()).count();
        // The first was made by no rotation.
        let made = ordinals.len() - 1 - answered.len();
        assert!(
            made <= unanswered,
            "{made} versions came of {unanswered} unanswered rotations"
        );
        for (trace, ordinal) in &self.rotations {
            match ordinal {
                Some(_) => drop(self.there.lock().unwrap().insert(trace.clone())),
                // Which of them were made, their versions do not say.
                None => self.caller.note(trace, Act::Unknown),
            }
        }
        for (plain, sealed) in &self.sealed {
            let body = json!({ "ciphertext": sealed });
            let (status, body) = self.insist(Method::POST, &self.key_path("/decrypt"), Some(&body)).await;
            assert_eq!(
                (status, body["plaintext"].as_str()),
                (StatusCode::OK, Some(plain.as_str()))
            );
        }
    }
}
