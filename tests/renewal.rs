//! Renewals against a real Pebble, in process, with a real token: ordered, proven by http-01, delivered, seen served,
//! renewed by the scheduler; and what happens when something on the way fails.

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

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::audit::{self, Log};
use chancery::authz::Authz;
use chancery::clock::{Clock, SystemClock};
use chancery::entropy::{Entropy, OsEntropy};
use chancery::error::{Kind, Result};
use chancery::gate::{Gate, Operation};
use chancery::hsm::KeyRef;
use chancery::id::{Id, Label};
use chancery::identity::Caller;
use chancery::key_type::KeyType;
use chancery::lifecycle::{
    CreateCertificate, DownloadCertificate, Lifecycle, ListCertificates, ListRenewals, RenewCertificate,
    RevokeCertificate, Scheduler, Settings, ShowCertificate, ShowRenewal,
};
use chancery::policy::{Assignment, Principal, Role, Scope};
use chancery::seal::Sealer;
use chancery::store::entity::{acme_challenge, certificate_version, issuer, renewal};
use chancery::store::{self, Store};
use chancery::upstream::solver::http_01;
use chancery::upstream::{CreateIssuer, ListIssuers, ShowIssuer, Upstream};
use chancery::vault::{CreateVault, Vault};
use chancery::wire;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sea_orm::{EntityTrait, PaginatorTrait};
use support::child::free_port;
use support::pebble::{Config, Pebble};
use support::postgres::Postgres;
use support::softhsm::{Token, with_token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One node: every room that a renewal goes through.
struct Node {
    gate: Gate,
    log: Log,
    store: Store,
    vault: Vault,
    upstream: Arc<Upstream>,
    lifecycle: Arc<Lifecycle>,
    caller: Caller,
}

fn key(label: &str, kind: KeyType) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind,
    }
}

async fn make_keys(token: &Token) {
    let hsm = token.hsm();
    hsm.generate("kek", KeyType::Aes256).await.unwrap();
    hsm.generate("audit", KeyType::Ed25519).await.unwrap();
}

fn sqlite(token: &Token) -> String {
    format!("sqlite:{}", token.dir().join("chancery.db").display())
}

fn label(text: &str) -> Label {
    text.parse().unwrap()
}

impl Node {
    async fn start(token: &Token, url: &str, name: &str) -> Self {
        let hsm = token.hsm();
        let settings = store::Settings { url: url.to_owned() };
        let store = Store::open(&settings, &label(name)).await.unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let authz = Authz::open(store.clone(), clock.clone()).await.unwrap();
        let settings = audit::Settings {
            journal: Some(token.dir().join(format!("audit-{name}"))),
            ..audit::Settings::default()
        };
        let origin = format!("chancery.test/audit/{name}");
        let audit_key = key("audit", KeyType::Ed25519);
        let log = Log::open(&settings, &origin, &store, hsm.clone(), audit_key, clock.clone())
            .await
            .unwrap();
        let gate = Gate::new(
            authz.clone(),
            log.clone(),
            store.clone(),
            clock.clone(),
            entropy.clone(),
        );
        let kek = key("kek", KeyType::Aes256);
        let sealer = Sealer::new(store.clone(), hsm, kek, entropy.clone(), clock.clone());
        let vault = Vault::new(&Default::default(), store.clone(), sealer.clone(), entropy.clone());
        let upstream = Arc::new(Upstream::new(store.clone(), sealer.clone(), clock.clone()));
        let settings = Settings {
            delivery_roots: vec![token.dir().to_owned()],
            hook_roots: vec![token.dir().to_owned()],
            verify_within_s: 2,
            retry_first_s: 1,
            retry_longest_s: 2,
            stop_after: 2,
            ..Settings::default()
        };
        let lifecycle = Lifecycle::new(&settings, store.clone(), sealer, upstream.clone(), clock, entropy);
        let principal = "spiffe://chancery.test/admin";
        assign_administrator(&store, &authz, principal).await;
        Self {
            gate,
            log,
            store,
            vault,
            upstream,
            lifecycle: Arc::new(lifecycle),
            caller: Caller {
                principal: Principal::Spiffe(principal.parse().unwrap()),
                serial: None,
                not_after: None,
                source: None,
                request: Id::random(&OsEntropy).unwrap(),
            },
        }
    }

    fn schedule(&self) -> Scheduler {
        Scheduler::start(self.gate.clone(), self.lifecycle.clone())
    }

    async fn perform<O: Operation<Engine = Lifecycle>>(&self, op: O) -> Result<O::Output> {
        self.gate.perform(&self.caller, &*self.lifecycle, op).await
    }

    async fn set_up(&self, pebble: &Pebble) {
        let name = label("kv-prod");
        self.gate
            .perform(&self.caller, &self.vault, CreateVault { name })
            .await
            .unwrap();
        self.create_issuer(
            "pebble",
            &pebble.directory(),
            Some(fs::read_to_string(pebble.ca_file()).unwrap()),
        )
        .await
        .unwrap();
    }

    async fn create_issuer(&self, name: &str, directory: &str, ca_pem: Option<String>) -> Result<wire::Issuer> {
        let asked = wire::CreateIssuer {
            name: label(name),
            directory: directory.to_owned(),
            ca_pem,
            contacts: vec!["mailto:ops@example.org".to_owned()],
        };
        self.gate
            .perform(&self.caller, &*self.upstream, CreateIssuer(asked))
            .await
    }

    async fn create(&self, spec: wire::CreateCertificate) -> Result<wire::Certificate> {
        let vault = label("kv-prod");
        self.perform(CreateCertificate { vault, spec }).await
    }

    async fn show(&self, name: &str) -> wire::Certificate {
        let (vault, name) = (label("kv-prod"), name.parse().unwrap());
        self.perform(ShowCertificate { vault, name }).await.unwrap()
    }

    async fn renew(&self, name: &str) -> wire::Renewal {
        let (vault, name) = (label("kv-prod"), name.parse().unwrap());
        self.perform(RenewCertificate { vault, name }).await.unwrap()
    }

    async fn renewal(&self, id: &str) -> wire::Renewal {
        let op = ShowRenewal::locate(&self.lifecycle, id.parse().unwrap()).await.unwrap();
        self.perform(op).await.unwrap()
    }

    /// Waits until the renewal is as wished.
    async fn wait(&self, id: &str, wish: impl Fn(&wire::Renewal) -> bool) -> wire::Renewal {
        let begun = Instant::now();
        loop {
            let found = self.renewal(id).await;
            if wish(&found) {
                return found;
            }
            assert!(!found.is_over() && begun.elapsed() < PATIENCE, "{found:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until a version with at least this ordinal is current and its renewal is done.
    async fn wait_version(&self, name: &str, ordinal: u64) -> wire::CertificateVersion {
        let begun = Instant::now();
        loop {
            let found = self.show(name).await;
            let done = found.renewal.as_ref().is_some_and(wire::Renewal::is_done);
            if let Some(current) = found.current.clone().filter(|v| v.ordinal >= ordinal && done) {
                return current;
            }
            assert!(begun.elapsed() < PATIENCE, "{found:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn records(&self) -> Vec<serde_json::Value> {
        let entries = self.log.entries(0, 10_000).await.unwrap();
        entries
            .records
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).unwrap())
            .collect()
    }
}

async fn assign_administrator(store: &Store, authz: &Authz, principal: &str) {
    let grant = authz
        .grant(Assignment {
            id: Id::random(&OsEntropy).unwrap(),
            principal: principal.parse().unwrap(),
            role: Role::Administrator,
            scope: Scope::Everything,
            expires: None,
        })
        .unwrap();
    let authz = authz.clone();
    let assigned = store
        .transact(move |tx| {
            let (authz, grant) = (authz.clone(), grant.clone());
            Box::pin(async move { authz.assign(tx, &grant).await })
        })
        .await;
    // A second node on the same store finds it done.
    assert!(assigned.is_ok() || assigned.is_err_and(|e| e.kind() == Kind::Conflict));
}

fn spec(name: &str, profile: &str) -> wire::CreateCertificate {
    wire::CreateCertificate {
        name: name.parse().unwrap(),
        issuer: label("pebble"),
        dns_names: vec![format!("{name}.example.test"), format!("alt-{name}.example.test")],
        key_type: KeyType::EcP256,
        profile: Some(profile.to_owned()),
        renew_at_percent: None,
        maintenance: Vec::new(),
        deliver: None,
        verify: None,
    }
}

/// A plain-HTTP listener that answers challenges out of `store`, as the service's does.
async fn answer_challenges(store: Store, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let store = store.clone();
            tokio::spawn(async move {
                let mut head = vec![0; 4096];
                let n = stream.read(&mut head).await.unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..n]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
                let answer = match http_01::answer(&store, token).await.unwrap() {
                    Some(body) => format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                    None => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
                };
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
}

/// A TLS server that serves the pair in `dir`, whatever that is at the moment of the connection.
async fn serve(dir: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(chain) = CertificateDer::pem_file_iter(dir.join("fullchain.pem")) else {
                continue;
            };
            let chain: Vec<_> = chain.map(Result::unwrap).collect();
            let key = PrivateKeyDer::from_pem_file(dir.join("privkey.pem")).unwrap();
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ServerConfig::builder_with_provider(provider)
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(chain, key)
                .unwrap();
            if let Ok(mut tls) = TlsAcceptor::from(Arc::new(config)).accept(stream).await {
                let _ = tls.shutdown().await;
            }
        }
    });
    address
}

/// Writes a hook.
fn hook(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Adds delivery into `dir/www`, a hook that takes the files over into `dir/served`, and a server that serves those.
async fn served(spec: wire::CreateCertificate, dir: &Path) -> wire::CreateCertificate {
    let (www, taken) = (dir.join("www"), dir.join("served"));
    fs::create_dir_all(&taken).unwrap();
    let reload = dir.join("reload");
    hook(
        &reload,
        &format!("cp \"$CHANCERY_CERT_DIR\"/current/*.pem {}/", taken.display()),
    );
    wire::CreateCertificate {
        deliver: Some(wire::Deliver {
            directory: www,
            owner: None,
            mode: None,
            pkcs12_password_file: None,
            hook: vec![reload.display().to_string()],
        }),
        verify: Some(wire::Verify {
            address: serve(taken).await,
            server_name: None,
            within_s: None,
        }),
        ..spec
    }
}

fn pebble(authz_reuse: u8, validity: u64) -> (Pebble, u16) {
    let port = free_port();
    let mut config = Config::answering_on(port);
    config.authz_reuse = authz_reuse;
    config.profiles.push(("quick".to_owned(), validity));
    (Pebble::start(config), port)
}

async fn the_whole_life(token: &Token, node: Node, authz_reuse: u8) {
    let (pebble, port) = pebble(authz_reuse, 15);
    answer_challenges(node.store.clone(), port).await;
    node.set_up(&pebble).await;
    let scheduler = node.schedule();

    let made = node
        .create(served(spec("www", "quick"), token.dir()).await)
        .await
        .unwrap();
    assert_eq!(made.dns_names, ["www.example.test", "alt-www.example.test"]);
    let first = made.renewal.unwrap();
    let done = node.wait(&first.id, wire::Renewal::is_done).await;
    let version = node.wait_version("www", 1).await;
    assert_eq!(done.serial.as_deref(), Some(version.serial.as_str()));
    assert_eq!((version.not_after.unix() - version.not_before.unix() + 1) / 15, 1);

    // The scheduler renews it before it ends, and the new one is the one that is served.
    let second = node.wait_version("www", 2).await;
    assert_ne!(second.serial, version.serial);
    assert!(second.not_before < version.not_after, "there was a gap");
    scheduler.stop().await;

    let (vault, name) = (label("kv-prod"), "www".parse().unwrap());
    let chain = node.perform(DownloadCertificate { vault, name }).await.unwrap();
    assert_eq!(
        fs::read_to_string(token.dir().join("www/fullchain.pem"))
            .unwrap()
            .trim(),
        chain.trim()
    );
    assert_eq!(
        acme_challenge::Entity::find().count(node.store.read()).await.unwrap(),
        0
    );
    let shown = node
        .gate
        .perform(&node.caller, &*node.upstream, ShowIssuer { name: label("pebble") })
        .await
        .unwrap();
    assert!(shown.account.unwrap().starts_with("https://"));

    // Every step is in the log, and every intent has an end.
    let records = node.records().await;
    let of = |outcome: &str| {
        let steps = records
            .iter()
            .filter(|record| record["action"] == "RunRenewal" && record["outcome"] == outcome);
        steps.count()
    };
    assert!(of("done") >= 14, "{}", of("done"));
    assert_eq!(of("failed"), 0);
    let open = node.store.open_intents().await.unwrap();
    assert!(open.is_empty(), "{open:?}");
    for state in [
        "key_ready",
        "csr_ready",
        "ordered",
        "issued",
        "current",
        "delivered",
        "verified",
    ] {
        assert!(
            records.iter().any(|record| record["detail"]["reached"] == state),
            "no record of reaching `{state}`"
        );
    }
}

#[test]
fn ordered_delivered_served_and_renewed_with_every_name_proven_each_time() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        the_whole_life(&token, node, 0).await;
    });
}

#[test]
fn ordered_delivered_served_and_renewed_with_authorizations_used_again() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        the_whole_life(&token, node, 100).await;
    });
}

#[test]
fn ordered_delivered_served_and_renewed_on_postgresql() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &Postgres::shared().database(), "n1").await;
        the_whole_life(&token, node, 0).await;
    });
}

/// Each renewal is worked on by one node only, and any node answers for any other.
#[test]
fn two_nodes_share_the_work() {
    with_token(|token| async move {
        make_keys(&token).await;
        let url = Postgres::shared().database();
        let (one, two) = (
            Node::start(&token, &url, "n1").await,
            Node::start(&token, &url, "n2").await,
        );
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(two.store.clone(), port).await;
        one.set_up(&pebble).await;
        let mut ids = Vec::new();
        for n in 0..6 {
            let made = one.create(spec(&format!("c{n}"), "default")).await.unwrap();
            ids.push(made.renewal.unwrap().id);
        }
        let schedulers = [one.schedule(), two.schedule()];
        for id in &ids {
            one.wait(id, wire::Renewal::is_done).await;
        }
        for scheduler in schedulers {
            scheduler.stop().await;
        }
        assert_eq!(
            certificate_version::Entity::find()
                .count(one.store.read())
                .await
                .unwrap(),
            6
        );
        let page = wire::PageQuery {
            cursor: None,
            limit: Some(4),
        };
        let listed = one
            .perform(ListCertificates {
                vault: label("kv-prod"),
                page,
            })
            .await
            .unwrap();
        assert_eq!((listed.items.len(), listed.next.as_deref()), (4, Some("c3")));
        let failed = |record: &serde_json::Value| record["action"] == "RunRenewal" && record["outcome"] == "failed";
        assert!(!one.records().await.iter().any(failed) && !two.records().await.iter().any(failed));
    });
}

#[test]
fn a_failing_hook_is_told_and_what_was_issued_is_kept() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let asked = served(spec("www", "default"), token.dir()).await;
        let reload = token.dir().join("reload");
        let good = fs::read_to_string(&reload).unwrap();
        hook(&reload, "echo 'nginx: [emerg] no' >&2; exit 7");
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;

        let failed = node.wait(&id, |renewal| renewal.failures >= 2).await;
        assert_eq!(failed.state, "current");
        let text = failed.last_error.unwrap();
        assert!(
            text.contains("exit status: 7") && text.contains("nginx: [emerg] no"),
            "{text}"
        );
        assert!(failed.next_attempt.is_some());

        fs::write(&reload, good).unwrap();
        assert_eq!(node.renew("www").await.id, id, "the one that waits goes on");
        let done = node.wait(&id, wire::Renewal::is_done).await;
        assert_eq!((done.failures, done.last_error), (0, None));
        assert_eq!(
            node.show("www").await.current.unwrap().ordinal,
            1,
            "nothing was ordered twice"
        );
        scheduler.stop().await;
    });
}

#[test]
fn a_server_that_goes_on_with_the_old_certificate_is_found_out() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let asked = served(spec("www", "default"), token.dir()).await;
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;
        node.wait(&id, wire::Renewal::is_done).await;
        let old = node.show("www").await.current.unwrap();

        hook(&token.dir().join("reload"), "exit 0");
        let second = node.renew("www").await;
        let stuck = node.wait(&second.id, |renewal| renewal.failures > 0).await;
        assert_eq!(stuck.state, "delivered");
        let text = stuck.last_error.unwrap();
        assert!(text.contains(&format!("serial {} (valid until", old.serial)), "{text}");
        // It is not finished, and yet the next renewal is planned.
        let page = wire::PageQuery::default();
        let all = node.perform(ListRenewals(page)).await.unwrap().items;
        assert!(all.iter().any(|renewal| renewal.state == "scheduled"), "{all:#?}");
        scheduler.stop().await;
    });
}

#[test]
fn an_issuer_that_is_down_is_waited_for() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (mut pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let first = node.create(spec("www", "default")).await.unwrap().renewal.unwrap();
        node.wait(&first.id, wire::Renewal::is_done).await;

        pebble.stop();
        let second = node.renew("www").await;
        // More failures than it takes to stop at refusals: an outage stops nothing.
        let waits = node.wait(&second.id, |renewal| renewal.failures >= 3).await;
        assert_eq!(waits.state, "csr_ready");
        let text = waits.last_error.unwrap();
        assert!(text.contains("issuer `pebble` failed at the order"), "{text}");

        // It comes back without a memory: our account, the predecessor, all is gone.
        pebble.resume();
        let done = node.wait(&second.id, wire::Renewal::is_done).await;
        assert_eq!(done.failures, 0);
        scheduler.stop().await;
    });
}

#[test]
fn a_name_that_is_only_refused_stops_and_says_why() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let mut blocked = spec("blocked", "default");
        blocked.dns_names = vec!["blocked.test".to_owned()];
        let mut odd = spec("odd", "no-such-profile");
        odd.dns_names.truncate(1);
        // Nobody answers on the port yet.
        let unproven = spec("unproven", "default");
        let mut ids = Vec::new();
        for asked in [blocked, odd, unproven] {
            ids.push(node.create(asked).await.unwrap().renewal.unwrap().id);
        }
        for (id, why) in ids.iter().zip([
            "rejectedIdentifier",
            "invalidProfile",
            "`unproven.example.test`: connection",
        ]) {
            let stopped = node.wait(id, wire::Renewal::is_failed).await;
            let text = stopped.last_error.unwrap();
            assert!(
                text.contains("stopped after 2 refusals") && text.contains(why),
                "{text}"
            );
            assert!(text.contains("chancery cert renew --name"), "{text}");
            assert_eq!(stopped.next_attempt, None);
        }
        assert_eq!(
            acme_challenge::Entity::find().count(node.store.read()).await.unwrap(),
            0
        );

        answer_challenges(node.store.clone(), port).await;
        assert_eq!(node.renew("unproven").await.id, ids[2]);
        node.wait(&ids[2], wire::Renewal::is_done).await;
        scheduler.stop().await;
    });
}

#[test]
fn what_is_revoked_is_replaced_at_once() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, port) = pebble(0, 7_776_000);
        answer_challenges(node.store.clone(), port).await;
        node.set_up(&pebble).await;
        let scheduler = node.schedule();
        let first = node.create(spec("www", "default")).await.unwrap().renewal.unwrap();
        node.wait(&first.id, wire::Renewal::is_done).await;
        let revoke = || RevokeCertificate {
            vault: label("kv-prod"),
            name: "www".parse().unwrap(),
            reason: wire::RevocationReason::KeyCompromise,
        };
        let revoked = node.perform(revoke()).await.unwrap();
        assert!(revoked.current.unwrap().revoked.is_some());
        let second = node.wait_version("www", 2).await;
        assert_eq!(second.revoked, None);
        scheduler.stop().await;
        let rows = renewal::Entity::find().all(node.store.read()).await.unwrap();
        assert_eq!(rows.iter().filter(|row| row.basis == "requested").count(), 1);
    });
}

#[test]
fn what_cannot_work_is_refused_before_anything_is_made() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, _) = pebble(0, 7_776_000);
        let refused = async |asked: wire::CreateCertificate, why: &str| {
            let error = node.create(asked).await.unwrap_err();
            assert!(error.public().contains(why), "{error}");
        };
        refused(spec("www", "default"), "no issuer `pebble`").await;
        let ca = fs::read_to_string(pebble.ca_file()).unwrap();
        node.create_issuer("pebble", &pebble.directory(), Some(ca.clone()))
            .await
            .unwrap();
        let again = node
            .create_issuer("pebble", &pebble.directory(), Some(ca))
            .await
            .unwrap_err();
        assert_eq!(again.kind(), Kind::Conflict);
        refused(spec("www", "default"), "no vault `kv-prod`").await;
        let name = label("kv-prod");
        node.gate
            .perform(&node.caller, &node.vault, CreateVault { name })
            .await
            .unwrap();

        let outside = wire::CreateCertificate {
            deliver: Some(wire::Deliver {
                directory: "/srv/www".into(),
                owner: None,
                mode: None,
                pkcs12_password_file: None,
                hook: Vec::new(),
            }),
            ..spec("www", "default")
        };
        refused(outside, "delivery_roots").await;
        let window = wire::CreateCertificate {
            maintenance: vec!["0 25 * * * for 1h".to_owned()],
            ..spec("www", "default")
        };
        refused(window, "`25` is not in 0-23").await;
        let page = wire::PageQuery::default();
        let issuers = node
            .gate
            .perform(&node.caller, &*node.upstream, ListIssuers(page))
            .await
            .unwrap();
        assert_eq!(issuers.items.len(), 1);

        node.create(spec("www", "default")).await.unwrap();
        refused(spec("www", "default"), "exists already").await;
    });
}

/// The directory's own TLS is judged by the roots given, and the account key is never in clear.
#[test]
fn an_untrusted_directory_is_a_matter_of_configuration() {
    with_token(|token| async move {
        make_keys(&token).await;
        let node = Node::start(&token, &sqlite(&token), "n1").await;
        let (pebble, _) = pebble(0, 7_776_000);
        node.set_up(&pebble).await;
        node.create_issuer("stranger", &pebble.directory(), None).await.unwrap();
        let scheduler = node.schedule();
        let asked = wire::CreateCertificate {
            issuer: label("stranger"),
            ..spec("www", "default")
        };
        let id = node.create(asked).await.unwrap().renewal.unwrap().id;
        let stopped = node.wait(&id, wire::Renewal::is_failed).await;
        let text = stopped.last_error.unwrap();
        assert!(text.contains("not trusted") && text.contains("--ca-file"), "{text}");
        scheduler.stop().await;
        for row in issuer::Entity::find().all(node.store.read()).await.unwrap() {
            // An EC key in PKCS#8 names its curve.
            let curve = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
            assert!(!row.account_key.windows(curve.len()).any(|part| part == curve));
        }
    });
}
