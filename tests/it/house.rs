//! A service to test, and who calls it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chancery::clock::{ManualClock, Timestamp};
use chancery::config::Config;
use chancery::enrollment;
use chancery::entropy::SeededEntropy;
use chancery::key_type::KeyType;
use chancery::secret::Secret;
use chancery::server::House;
use chancery::surface::{self, Peer};
use chancery::x509;
use http_body_util::BodyExt;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::softhsm::Token;

/// Where the tests' time begins.
pub const START: Timestamp = Timestamp::from_unix(1_800_000_000);

/// Runs a test on SQLite and on PostgreSQL.
macro_rules! on_both {
    ($($(#[$doc:meta])* $test:ident => $body:ident;)*) => { $(
        $(#[$doc])*
        mod $test {
            #[test]
            fn on_sqlite() {
                $crate::support::softhsm::with_token(|token| async move {
                    let url = format!("sqlite:{}", token.dir().join("chancery.db").display());
                    super::$body($crate::house::TestHouse::open(token, url, 1).await).await;
                });
            }

            #[test]
            fn on_postgres() {
                $crate::support::softhsm::with_token(|token| async move {
                    // Taken down with the process of this one test.
                    let postgres = $crate::support::postgres::Postgres::start();
                    let url = postgres.database();
                    super::$body($crate::house::TestHouse::open(token, url, 1).await).await;
                });
            }
        }
    )* };
}

/// A service, its clock, and its first administrator.
pub struct TestHouse {
    pub house: House,
    pub clock: Arc<ManualClock>,
    pub admin: Peer,
    routes: axum::Router,
    plain: axum::Router,
}

/// A workload with its key and certificate.
pub struct Workload {
    pub peer: Peer,
    pub serial: String,
    pub key: Secret,
}

/// What a request got.
pub struct Answer {
    pub status: StatusCode,
    pub body: Value,
    pub bytes: Vec<u8>,
}

impl Answer {
    /// The answer's JSON, if it is a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!(
            self.status.is_success(),
            "{}: {}",
            self.status,
            String::from_utf8_lossy(&self.bytes)
        );
        self.body
    }

    /// The problem's detail, if it is a refusal with this status.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert!(self.body["request_id"].is_string(), "{text}");
        self.body["detail"].as_str().unwrap_or_default().to_owned()
    }
}

/// Parts of one service share token and store: its nodes.
pub async fn node(token: &Token, url: &str, name: &str, seed: u64, clock: Arc<ManualClock>) -> House {
    let settings = token.settings();
    let text = format!(
        "node = \"{name}\"\nzone = \"chancery.test\"\nhttp_url = \"http://chancery.test:8080\"\n\
         [store]\nurl = {url:?}\n\
         [hsm]\nmodule = {:?}\ntoken_label = {:?}\npin = {{ file = {:?} }}\n\
         [audit]\njournal = {:?}\n",
        settings.module.display().to_string(),
        settings.token_label,
        token.dir().join("pin").display().to_string(),
        token.dir().join(format!("audit-{name}")).display().to_string(),
    );
    let config = Config::parse(&text).unwrap();
    let entropy = Arc::new(SeededEntropy::new(seed));
    House::open(&config, SocketAddr::from(([127, 0, 0, 1], 8080)), clock, entropy)
        .await
        .unwrap()
}

fn peer(chain_pem: &str) -> Peer {
    let chain = CertificateDer::pem_slice_iter(chain_pem.as_bytes())
        .map(|der| der.unwrap())
        .collect();
    Peer {
        chain,
        addr: SocketAddr::from(([127, 0, 0, 1], 40_000)),
    }
}

/// Somebody who shows no certificate.
pub fn stranger() -> Peer {
    Peer {
        chain: Arc::new([]),
        addr: SocketAddr::from(([127, 0, 0, 1], 40_001)),
    }
}

impl TestHouse {
    /// Opens a node on this store, enrols its administrator and makes the vault `kv-prod`.
    pub async fn open(token: Token, url: String, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::new(START));
        let house = node(&token, &url, "n1", seed, clock.clone()).await;
        let mut test = Self {
            routes: surface::tls_routes(house.services.clone()),
            plain: surface::plain_routes(house.services.clone()),
            house,
            clock,
            admin: stranger(),
        };
        let services = &test.house.services;
        let first = enrollment::bootstrap_token(&services.gate, &services.enrollment)
            .await
            .unwrap()
            .unwrap();
        let first = std::str::from_utf8(first.token.expose()).unwrap().to_owned();
        test.admin = test.enroll(&first).await.peer;
        let made = json!({ "name": "kv-prod" });
        test.call(&test.admin, "POST", "/api/vaults", made).await.ok();
        test
    }

    /// One request; `Value::Null` is no body.
    pub async fn call(&self, peer: &Peer, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("content-type", "application/json")
            .extension(peer.clone())
            .body(body)
            .unwrap();
        answer(self.routes.clone(), request).await
    }

    /// One request on the plain-HTTP listener.
    pub async fn plain(&self, path: &str) -> Answer {
        answer(
            self.plain.clone(),
            Request::builder().uri(path).body(Body::empty()).unwrap(),
        )
        .await
    }

    /// Trades a join token for a certificate.
    pub async fn enroll(&self, token: &str) -> Workload {
        let key = x509::key::generate(KeyType::EcP256).unwrap();
        let enrolled = self.try_enroll(token, &key).await.ok();
        Workload {
            peer: peer(enrolled["chain_pem"].as_str().unwrap()),
            serial: enrolled["serial"].as_str().unwrap().to_owned(),
            key,
        }
    }

    pub async fn try_enroll(&self, token: &str, key: &Secret) -> Answer {
        let csr = request_pem(key, &[]);
        self.call(
            &stranger(),
            "POST",
            "/api/enroll",
            json!({ "token": token, "csr_pem": csr }),
        )
        .await
    }

    /// Registers a workload by its path and makes a join token for it.
    pub async fn token(&self, path: &str) -> String {
        let id = format!("spiffe://chancery.test/{path}");
        let registered = self
            .call(&self.admin, "POST", "/api/identities", json!({ "id": id }))
            .await;
        assert!(
            registered.status.is_success() || registered.status == StatusCode::CONFLICT,
            "{}",
            registered.body
        );
        let made = self
            .call(&self.admin, "POST", "/api/identities/tokens", json!({ "identity": id }))
            .await
            .ok();
        made["token"].as_str().unwrap().to_owned()
    }

    /// A workload that is enrolled.
    pub async fn workload(&self, path: &str) -> Workload {
        self.enroll(&self.token(path).await).await
    }

    /// Gives a workload a role.
    pub async fn assign(&self, path: &str, role: &str, scope: &str) -> String {
        let body = json!({ "principal": format!("spiffe://chancery.test/{path}"), "role": role, "scope": scope });
        let made = self.call(&self.admin, "POST", "/api/role-assignments", body).await.ok();
        made["id"].as_str().unwrap().to_owned()
    }

    /// Lets time pass. What was recorded is signed before: a leap must not look like a log that nobody signed for days.
    pub async fn advance(&self, by: Duration) {
        self.house.services.log.sign_now().await.unwrap();
        self.clock.advance(by);
    }

    /// Every record so far.
    pub async fn records(&self) -> Vec<Value> {
        let log = &self.house.services.log;
        let mut records = Vec::new();
        loop {
            let entries = log.entries(records.len() as u64, 1000).await.unwrap();
            if entries.records.is_empty() {
                return records;
            }
            records.extend(
                entries
                    .records
                    .iter()
                    .map(|bytes| serde_json::from_slice::<Value>(bytes).unwrap()),
            );
        }
    }
}

/// A certificate signing request, PEM.
pub fn request_pem(key: &Secret, names: &[x509::name::Name]) -> String {
    x509::pem::encode("CERTIFICATE REQUEST", &x509::csr::create(key, names).unwrap())
}

async fn answer(routes: axum::Router, request: Request<Body>) -> Answer {
    let response = routes.oneshot(request).await.unwrap();
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes().to_vec();
    Answer {
        status,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        bytes,
    }
}
