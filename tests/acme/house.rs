//! A service to test: in process with a clock to move, or the real program, one for all tests that only talk to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::config::Config;
use chancery::enrollment;
use chancery::entropy::OsEntropy;
use chancery::key_type::KeyType;
use chancery::server::House;
use chancery::surface::{self, Peer};
use chancery::x509::{csr, key, pem};
use rustls::pki_types::CertificateDer;
use sea_orm::{ConnectionTrait, QueryResult, Statement};
use serde_json::{Value, json};
use tokio::sync::OnceCell;
use tower::ServiceExt;

use crate::support::acme::{Client, Key, Transport, World};
use crate::support::process::{Cli, Launch};
use crate::support::softhsm::Token;

/// Where the directory of a service in process is.
pub(crate) const DIRECTORY: &str = "https://ca.test/acme/internal/directory";
/// Where the clock of a service in process begins.
pub(crate) const START: Timestamp = Timestamp::from_unix(1_800_000_000);

/// A service in process.
pub(crate) struct Acme {
    pub(crate) house: House,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) world: World,
    pub(crate) token: Token,
    admin: Arc<OnceCell<Chain>>,
    settings: String,
    url: String,
}

type Chain = Arc<[CertificateDer<'static>]>;

impl Acme {
    /// On SQLite, with these settings of `[acme]` beside those that the tests need.
    pub(crate) async fn open(token: Token, settings: &str) -> Self {
        let url = format!("sqlite:{}", token.dir().join("chancery.db").display());
        Self::open_on(token, &url, "n1", settings).await
    }

    pub(crate) async fn open_on(token: Token, url: &str, node: &str, settings: &str) -> Self {
        let world = World::start().await;
        let clock = Arc::new(ManualClock::new(START));
        Self {
            house: house(&token, url, node, settings, &world, clock.clone()).await,
            clock,
            world,
            token,
            admin: Arc::default(),
            settings: settings.to_owned(),
            url: url.to_owned(),
        }
    }

    /// Another node on the same store and token, with the same settings, clock and world.
    pub(crate) async fn beside(&self, node: &str) -> Self {
        self.beside_with(node, &self.settings).await
    }

    /// The same, with other settings of `[acme]`.
    pub(crate) async fn beside_with(&self, node: &str, settings: &str) -> Self {
        let (clock, world) = (self.clock.clone(), self.world.clone());
        Self {
            house: house(&self.token, &self.url, node, settings, &world, clock.clone()).await,
            clock,
            world,
            token: self.token.clone(),
            admin: self.admin.clone(),
            settings: settings.to_owned(),
            url: self.url.clone(),
        }
    }

    pub(crate) fn transport(&self) -> Transport {
        Transport::Routes(surface::tls_routes(self.house.services.clone()))
    }

    /// Without an account.
    pub(crate) async fn stranger(&self) -> Client {
        Client::new(self.transport(), DIRECTORY).await
    }

    pub(crate) async fn client(&self) -> Client {
        self.stranger().await.registered(Key::es256()).await
    }

    /// Lets seconds pass. What was recorded is signed before: a leap must not look like a log that nobody signed.
    pub(crate) async fn advance(&self, seconds: u64) {
        self.house.services.log.sign_now().await.unwrap();
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn sql(&self, statement: &str) -> Vec<QueryResult> {
        let store = self.house.services.gate.store();
        let statement = Statement::from_string(store.read().get_database_backend(), statement);
        store.read().query_all_raw(statement).await.unwrap()
    }

    /// A request of the first administrator's, who is made when first asked for: status and JSON.
    pub(crate) async fn administer(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let services = &self.house.services;
        let chain = self.admin.get_or_init(|| async {
            let token = enrollment::bootstrap_token(&services.gate, &services.enrollment)
                .await
                .unwrap()
                .unwrap();
            let key = key::generate(KeyType::EcP256).unwrap();
            let csr = pem::encode("CERTIFICATE REQUEST", &csr::create(&key, &[]).unwrap());
            let token = std::str::from_utf8(token.token.expose()).unwrap().to_owned();
            let asked = json!({"token": token, "csr_pem": csr});
            let (_, enrolled) = self.call(Arc::new([]), "POST", "/api/enroll", &asked).await;
            let chain = pem::decode_all(pem::CERTIFICATE, enrolled["chain_pem"].as_str().unwrap()).unwrap();
            chain.into_iter().map(CertificateDer::from).collect()
        });
        self.call(chain.await.clone(), method, path, &body).await
    }

    /// As whoever follows it sees it, in our own words.
    pub(crate) async fn trust_bundle(&self) -> Value {
        let nobody = Arc::new([]);
        self.call(nobody, "GET", "/trust-bundle?format=json", &Value::Null)
            .await
            .1
    }

    /// Waits until upkeep has brought an issuer to this stage. What fails because the log has not signed anything since the
    /// clock leapt is tried again after half a minute: now and then one passes.
    pub(crate) async fn until_issuer(&self, label: &str, stage: &str) {
        let seen = async {
            for round in 1.. {
                if round % 100 == 0 {
                    self.advance(31).await;
                }
                let bundle = self.trust_bundle().await;
                let members = ["roots", "issuers"].map(|part| bundle[part].as_array().unwrap().clone());
                if members
                    .iter()
                    .flatten()
                    .any(|one| one["label"] == label && one["stage"] == stage)
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), seen).await.unwrap();
    }

    async fn call(&self, chain: Chain, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let peer = Peer {
            chain,
            addr: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .extension(peer)
            .body(body)
            .unwrap();
        let routes = surface::tls_routes(self.house.services.clone());
        let answer = routes.oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = axum::body::to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// How many rows of a table have this status.
    pub(crate) async fn count(&self, table: &str, status: &str) -> i64 {
        let rows = self
            .sql(&format!("select count(*) from {table} where status = '{status}'"))
            .await;
        rows[0].try_get_by_index(0).unwrap()
    }

    /// Leaves an authorization as a node does that ends right after a response.
    pub(crate) async fn begin_validation(&self, authorization: &Value, account_url: &str) {
        let url = authorization["challenges"][0]["url"].as_str().unwrap();
        let id = url.rsplit('/').nth(1).unwrap();
        let until = (self.clock.now() + Duration::from_secs(90)).unix();
        self.sql(&format!(
            "update acme_authorization set method = 'http-01', account_url = '{account_url}', holder = 'n1', \
             leased_until = {until} where id = '{id}'"
        ))
        .await;
    }

    /// Whether a serial is on the list that its certificate names, and with which reason.
    pub(crate) async fn revoked(&self, certificate: &[u8]) -> Option<Option<u8>> {
        use x509_parser::prelude::*;
        let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
        let points = certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::CRLDistributionPoints(points) => Some(points.points.clone()),
                _ => None,
            });
        let points = points.unwrap();
        let Some(DistributionPointName::FullName(names)) = &points[0].distribution_point else {
            panic!("no point");
        };
        let GeneralName::URI(url) = names[0] else {
            panic!("no URI")
        };
        let path = url.strip_prefix("http://").unwrap().split_once('/').unwrap().1;
        let list = self.fetch(&format!("/{path}")).await;
        let (_, list) = CertificateRevocationList::from_der(&list).unwrap();
        let mut entries = list.iter_revoked_certificates();
        let entry = entries.find(|entry| entry.raw_serial() == certificate.raw_serial())?;
        Some(entry.reason_code().map(|(_, reason)| reason.0))
    }

    /// A page of the plain listener.
    pub(crate) async fn plain(&self, path: &str) -> String {
        String::from_utf8(self.fetch(path).await).unwrap()
    }

    async fn fetch(&self, path: &str) -> Vec<u8> {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let routes = surface::plain_routes(self.house.services.clone());
        let answer = routes.oneshot(request).await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{path}");
        axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .unwrap()
            .to_vec()
    }

    /// Every record so far: action and outcome.
    pub(crate) async fn records(&self) -> Vec<String> {
        let entries = self.house.services.log.entries(0, 1000).await.unwrap();
        let text = |record: &serde_json::Value, name: &str| record[name].as_str().unwrap().to_owned();
        let records = entries
            .records
            .iter()
            .map(|bytes| serde_json::from_slice(bytes).unwrap());
        records
            .map(|record: serde_json::Value| [text(&record, "action"), text(&record, "outcome")].join(" "))
            .collect()
    }
}

async fn house(token: &Token, url: &str, node: &str, acme: &str, world: &World, clock: Arc<dyn Clock>) -> House {
    let settings = token.settings();
    let text = format!(
        "node = \"{node}\"\nzone = \"chancery.test\"\nhttp_url = \"http://chancery.test:8080\"\n\
         [store]\nurl = {url:?}\n\
         [hsm]\nmodule = {:?}\ntoken_label = {:?}\npin = {{ file = {:?} }}\n\
         [audit]\njournal = {:?}\n\
         [acme]\n{acme}\n\
         [acme.validation]\nallow_networks = [\"127.0.0.0/8\"]\nresolvers = [\"{}\"]\nhttp01_port = {}\n\
         issuer_domains = [\"ca.test\"]\n",
        settings.module.display().to_string(),
        settings.token_label,
        token.pin_file().display().to_string(),
        token.dir().join(format!("audit-{node}")).display().to_string(),
        world.dns,
        world.http.port(),
    );
    let config = Config::parse(&text).unwrap();
    House::open(
        &config,
        SocketAddr::from(([127, 0, 0, 1], 8080)),
        clock,
        Arc::new(OsEntropy),
    )
    .await
    .unwrap()
}

/// The real program, one for all tests: where its directory and its roots are.
fn real() -> &'static BTreeMap<String, String> {
    static REAL: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    REAL.get_or_init(|| {
        let (tell, told) = std::sync::mpsc::channel();
        // It ends with the thread that started it, so with all tests.
        std::thread::spawn(move || {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("acme");
            let _ = std::fs::remove_dir_all(&folder);
            let world = World::shared();
            let service = Launch::dev(&folder)
                .args(["--acme-resolver", &world.dns.to_string()])
                .args(["--acme-http01-port", &world.http.port().to_string()])
                .start();
            tell.send(service.env()).unwrap();
            loop {
                std::thread::park();
            }
        });
        told.recv().expect("the service did not start")
    })
}

/// The real program's directory and the file with its roots.
pub(crate) fn served() -> (&'static str, &'static str) {
    let env = real();
    (&env["CHANCERY_ACME_DIRECTORY"], &env["CHANCERY_CACERT"])
}

/// The command line as the real program's administrator, in JSON if it says something; a failure fails the test.
#[track_caller]
pub(crate) fn cli(args: &[&str]) -> Value {
    let said = cli_text(args);
    if said.is_empty() {
        return Value::Null;
    }
    serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}"))
}

/// The same, as it was written.
#[track_caller]
pub(crate) fn cli_text(args: &[&str]) -> String {
    Cli::new(real().clone(), args).ok()
}

/// A client of the real program, without an account.
pub(crate) async fn stranger() -> Client {
    let (directory, roots) = served();
    connect(directory, roots).await
}

/// A client of a real program.
pub(crate) async fn connect(directory: &str, roots: &str) -> Client {
    let roots = reqwest::Certificate::from_pem(&std::fs::read(roots).unwrap()).unwrap();
    // A second test of the program finds it installed.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let client = reqwest::Client::builder().tls_certs_only([roots]).build().unwrap();
    Client::new(Transport::Https(client), directory).await
}

/// A client of the real program, with an account.
pub(crate) async fn client() -> Client {
    stranger().await.registered(Key::es256()).await
}
