//! A node that renews: every room that a renewal goes through, over a real token and store, by the machine's clock;
//! with the plain-HTTP and TLS servers around it.

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
    CreateCertificate, Lifecycle, RenewCertificate, Scheduler, Settings, ShowCertificate, ShowRenewal,
};
use chancery::policy::{Assignment, Principal, Role, Scope, Who};
use chancery::seal::Sealer;
use chancery::store::{self, Store};
use chancery::upstream::solver::http_01;
use chancery::upstream::{CreateIssuer, Upstream};
use chancery::vault::{CreateVault, Vault};
use chancery::wire;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::child::free_port;
use super::pebble::{Config, Pebble};
use super::softhsm::Token;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One node: every room that a renewal goes through.
pub struct Node {
    pub gate: Gate,
    pub log: Log,
    pub store: Store,
    pub vault: Vault,
    pub upstream: Arc<Upstream>,
    pub lifecycle: Arc<Lifecycle>,
    pub caller: Caller,
}

fn key(label: &str, kind: KeyType) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind,
    }
}

pub async fn make_keys(token: &Token) {
    let hsm = token.hsm();
    hsm.generate("kek", KeyType::Aes256).await.unwrap();
    hsm.generate("audit", KeyType::Ed25519).await.unwrap();
}

pub fn sqlite(token: &Token) -> String {
    format!("sqlite:{}", token.dir().join("chancery.db").display())
}

pub fn label(text: &str) -> Label {
    text.parse().unwrap()
}

impl Node {
    pub async fn start(token: &Token, url: &str, name: &str) -> Self {
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
        let sealer = Sealer::new(store.clone(), hsm.clone(), kek, entropy.clone(), clock.clone());
        let vault = Vault::new(
            &Default::default(),
            store.clone(),
            sealer.clone(),
            hsm,
            clock.clone(),
            entropy.clone(),
        );
        let upstream = Arc::new(Upstream::new(store.clone(), sealer.clone(), clock.clone()));
        let settings = Settings {
            delivery_roots: vec![token.dir().to_owned()],
            password_roots: vec![token.dir().to_owned()],
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
                request: Id::random(&OsEntropy).unwrap().into(),
            },
        }
    }

    pub fn schedule(&self) -> Scheduler {
        Scheduler::start(self.gate.clone(), self.lifecycle.clone())
    }

    pub async fn perform<O: Operation<Engine = Lifecycle>>(&self, op: O) -> Result<O::Output> {
        self.gate.perform(&self.caller, &*self.lifecycle, op).await
    }

    pub async fn set_up(&self, pebble: &Pebble) {
        let ca = fs::read_to_string(pebble.ca_file()).unwrap();
        self.set_up_at(&pebble.directory(), Some(ca)).await;
    }

    pub async fn set_up_at(&self, directory: &str, ca_pem: Option<String>) {
        let name = label("kv-prod");
        self.gate
            .perform(&self.caller, &self.vault, CreateVault::new(name))
            .await
            .unwrap();
        self.create_issuer("pebble", directory, ca_pem).await.unwrap();
    }

    pub async fn create_issuer(&self, name: &str, directory: &str, ca_pem: Option<String>) -> Result<wire::Issuer> {
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

    pub async fn create(&self, spec: wire::CreateCertificate) -> Result<wire::Certificate> {
        let vault = label("kv-prod");
        self.perform(CreateCertificate { vault, spec }).await
    }

    pub async fn show(&self, name: &str) -> wire::Certificate {
        let (vault, name) = (label("kv-prod"), name.parse().unwrap());
        self.perform(ShowCertificate { vault, name }).await.unwrap()
    }

    pub async fn renew(&self, name: &str) -> wire::Renewal {
        let (vault, name) = (label("kv-prod"), name.parse().unwrap());
        self.perform(RenewCertificate { vault, name }).await.unwrap()
    }

    pub async fn renewal(&self, id: &str) -> wire::Renewal {
        let op = ShowRenewal::locate(&self.lifecycle, id.parse().unwrap()).await.unwrap();
        self.perform(op).await.unwrap()
    }

    /// Waits until the renewal is as wished.
    pub async fn wait(&self, id: &str, wish: impl Fn(&wire::Renewal) -> bool) -> wire::Renewal {
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
    pub async fn wait_version(&self, name: &str, ordinal: u64) -> wire::CertificateVersion {
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

    pub async fn records(&self) -> Vec<serde_json::Value> {
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
        .grant(Assignment::lasting(
            Id::random(&OsEntropy).unwrap(),
            principal.parse::<Who>().unwrap(),
            Role::Administrator,
            Scope::Everything,
        ))
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

pub fn spec(name: &str, profile: &str) -> wire::CreateCertificate {
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
pub async fn answer_challenges(store: Store, port: u16) -> JoinHandle<()> {
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
    })
}

/// A TLS server that serves the pair in `dir`, whatever that is at the moment of the connection.
pub async fn serve(dir: PathBuf, port: u16) -> String {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
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
pub fn hook(path: &Path, script: &str) {
    fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Adds delivery into `dir/www`, a hook that takes the files over into `dir/served`, and a server that serves those.
pub async fn served(spec: wire::CreateCertificate, dir: &Path) -> wire::CreateCertificate {
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
            address: serve(taken, free_port()).await,
            server_name: None,
            within_s: None,
        }),
        ..spec
    }
}

pub fn pebble(authz_reuse: u8, validity: u64) -> (Pebble, u16) {
    let port = free_port();
    let mut config = Config::answering_on(port);
    config.authz_reuse = authz_reuse;
    config.profiles.push(("quick".to_owned(), validity));
    (Pebble::start(config), port)
}
