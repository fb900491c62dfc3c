//! The native API as a client sees it: routes, answers and refusals, over the real rooms behind the real gate. Requests
//! go straight into the routes, as the listener would pass them on.

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

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use chancery::error::Result;
use chancery::identity::{Bundle, Identity, TrustSource, Trusted};
use chancery::policy::Role;
use chancery::surface::metrics::Metrics;
use chancery::surface::{Peer, Services, metrics_routes, tls_routes};
use chancery::vault::{Settings, Vault};
use futures::FutureExt;
use futures::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber,
};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use support::node::{Node, START, make_keys, sqlite};
use support::softhsm::{Token, with_token};
use tower::ServiceExt;

const CANARY: &str = "canary-77b0c2-in-the-wrong-place";

/// A root that certifies callers.
struct Root {
    der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

impl Root {
    fn new() -> Self {
        let mut params = lasting(1);
        params.distinguished_name.push(rcgen::DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        Self {
            der,
            issuer: Issuer::new(params, key),
        }
    }

    fn certify(&self, path: &str, serial: u64) -> CertificateDer<'static> {
        let mut params = lasting(serial);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let id = format!("spiffe://chancery.test/{path}");
        params.subject_alt_names = vec![SanType::URI(id.try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        params.signed_by(&key, &self.issuer).unwrap().der().clone()
    }
}

fn lasting(serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let at = |by: i64| time::OffsetDateTime::from_unix_timestamp(START.unix() + by).unwrap();
    params.serial_number = Some(SerialNumber::from(serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    (params.not_before, params.not_after) = (at(-3600), at(3600));
    params
}

struct Source(Mutex<Trusted>);

impl TrustSource for Source {
    fn load(&self) -> BoxFuture<'_, Result<Trusted>> {
        let trusted = self.0.lock().unwrap().clone();
        async move { Ok(trusted) }.boxed()
    }
}

/// A node with its routes.
struct House {
    node: Node,
    root: Root,
    identity: Identity,
    routes: Router,
    metrics: Router,
}

impl House {
    async fn open(token: &Token) -> Self {
        make_keys(token).await;
        let node = Node::start(token, &sqlite(token), "n1").await;
        node.assign("officer", Role::KeyVaultAdministrator).await;
        node.assign("auditor", Role::Auditor).await;
        let root = Root::new();
        let identity = Identity::new("chancery.test".parse().unwrap(), node.store.clone());
        let bundle = Bundle {
            roots: vec![root.der.clone()],
            issuers: Vec::new(),
        };
        let trusted = Trusted {
            bundle,
            ..Trusted::default()
        };
        identity.attach(Arc::new(Source(Mutex::new(trusted)))).await.unwrap();
        let services = Arc::new(Services {
            gate: node.gate.clone(),
            identity: identity.clone(),
            log: node.log.clone(),
            metrics: Metrics::new(prometheus_client::registry::Registry::default()),
            vault: Vault::new(
                &Settings::default(),
                node.store.clone(),
                node.sealer.clone(),
                node.entropy.clone(),
            ),
        });
        Self {
            node,
            root,
            identity,
            routes: tls_routes(services.clone()),
            metrics: metrics_routes(services),
        }
    }

    fn client(&self, path: &str, serial: u64) -> Client<'_> {
        Client {
            routes: &self.routes,
            chain: Arc::new([self.root.certify(path, serial)]),
        }
    }

    fn stranger(&self) -> Client<'_> {
        Client {
            routes: &self.routes,
            chain: Arc::new([]),
        }
    }
}

/// One connection, in effect.
struct Client<'a> {
    routes: &'a Router,
    chain: Arc<[CertificateDer<'static>]>,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn is(self, status: u16) -> Self {
        let said = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{said}");
        self
    }

    /// A problem of this status and kind; what it says.
    #[track_caller]
    fn problem(self, status: u16, kind: &str) -> String {
        let answer = self.is(status);
        assert_eq!(answer.header("content-type"), "application/problem+json");
        let problem = answer.json();
        assert_eq!(problem["kind"], kind, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["request_id"], answer.header("x-request-id"), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

impl Client<'_> {
    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = Peer {
            chain: self.chain.clone(),
            addr: "192.0.2.7:4711".parse().unwrap(),
        };
        request.extension(peer).body(body).unwrap()
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, 1 << 22).await.unwrap().to_vec(),
        }
    }

    async fn call(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method, path, &[], Body::empty())).await
    }

    async fn put(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        all.extend(headers);
        self.send(self.request("PUT", path, &all, Body::from(body.to_string())))
            .await
    }

    async fn post(&self, path: &str, body: &Value) -> Answer {
        let json = [(header::CONTENT_TYPE.as_str(), "application/json")];
        self.send(self.request("POST", path, &json, Body::from(body.to_string())))
            .await
    }
}

#[test]
fn a_secret_goes_through_its_life() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer", 10);
        let vault = client.post("/api/vaults", &json!({"name": "kv"})).await.is(201).json();
        assert_eq!(vault, json!({"name": "kv", "created": START.to_string()}));
        assert_eq!(client.call("GET", "/api/vaults/kv").await.is(200).json(), vault);
        assert_eq!(
            client.call("GET", "/api/vaults").await.is(200).json(),
            json!({"items": [vault]})
        );

        // A name with a slash stands in one segment.
        let path = "/api/vaults/kv/secrets/db%2Fpassword";
        let tags = json!({"team": "a"});
        let body = json!({"value": "hunter2", "content_type": "text/plain", "tags": tags});
        let first = client.put(path, &[], &body).await.is(200).json();
        assert_eq!(
            (&first["name"], &first["ordinal"], &first["current"]),
            (&json!("db/password"), &json!(1), &json!(true))
        );
        let second = client
            .put(path, &[], &json!({"value": "/wA=", "encoding": "base64"}))
            .await
            .is(200)
            .json();

        let read = client.call("GET", path).await.is(200);
        assert_eq!(read.header("cache-control"), "no-store");
        assert_eq!(
            read.header("etag"),
            format!("\"{}\"", second["version"].as_str().unwrap())
        );
        assert_eq!(read.json()["value"], "/wA=");
        assert_eq!(read.json()["encoding"], "base64");
        for version in ["1", first["version"].as_str().unwrap()] {
            let read = client
                .call("GET", &format!("{path}/versions/{version}"))
                .await
                .is(200)
                .json();
            assert_eq!((&read["value"], &read["encoding"]), (&json!("hunter2"), &json!("utf8")));
        }
        let versions = client
            .call("GET", &format!("{path}/versions?limit=1"))
            .await
            .is(200)
            .json();
        assert_eq!(versions["items"], json!([second]));
        let next = versions["next"].as_str().unwrap();
        let rest = client
            .call("GET", &format!("{path}/versions?cursor={next}"))
            .await
            .is(200)
            .json();
        let mut replaced = first;
        replaced["current"] = json!(false);
        assert_eq!(rest, json!({"items": [replaced]}));

        let known = client.call("GET", &format!("{path}/metadata")).await.is(200).json();
        assert_eq!(known["ordinal"], 2);
        assert_eq!(
            client.call("GET", "/api/vaults/kv/secrets").await.is(200).json(),
            json!({"items": [known]})
        );

        let deleted = client.call("DELETE", path).await.is(200).json();
        assert_eq!(deleted["deleted"], START.to_string());
        let says = client.call("GET", path).await.problem(404, "not_found");
        assert!(says.contains("recover it before"), "{says}");
        client
            .put(path, &[], &json!({"value": "x"}))
            .await
            .problem(409, "conflict");
        assert_eq!(
            client.call("POST", &format!("{path}/recover")).await.is(200).json(),
            known
        );
        client.call("GET", path).await.is(200);
    });
}

#[test]
fn conditions_are_headers() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer", 10);
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let (path, body) = ("/api/vaults/kv/secrets/a", json!({"value": "x"}));
        client
            .put(path, &[("if-match", "*")], &body)
            .await
            .problem(409, "conflict");
        let first = client.put(path, &[("if-none-match", "*")], &body).await.is(200).json();
        client
            .put(path, &[("if-none-match", "*")], &body)
            .await
            .problem(409, "conflict");
        let tag = format!("\"{}\"", first["version"].as_str().unwrap());
        client.put(path, &[("if-match", &tag)], &body).await.is(200);
        client
            .put(path, &[("if-match", &tag)], &body)
            .await
            .problem(409, "conflict");
        client.put(path, &[("if-match", "2")], &body).await.is(200);
        for wrong in [("if-match", "W/\"x\""), ("if-none-match", "2")] {
            client.put(path, &[wrong], &body).await.problem(400, "invalid");
        }
    });
}

#[test]
fn who_is_not_known_or_may_not_is_told_so_and_recorded() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let officer = house.client("officer", 10);
        officer.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/a";
        officer.put(path, &[], &json!({"value": "x"})).await.is(200);

        for _ in 0..3 {
            house.stranger().call("GET", path).await.problem(401, "unauthenticated");
        }
        // Whoever is not known learns nothing about what there is.
        house
            .stranger()
            .call("GET", "/api/vaults/none")
            .await
            .problem(401, "unauthenticated");

        let says = house.client("web", 11).call("GET", path).await.problem(403, "denied");
        assert!(
            says.contains("ReadSecret") && says.contains("vaults/kv/secrets/a"),
            "{says}"
        );

        // The connection stays open; the next request is refused.
        let revoked = house.client("officer", 0xbad);
        revoked.call("GET", path).await.is(200);
        house.identity.note_revoked("0bad");
        revoked.call("GET", path).await.problem(401, "unauthenticated");
        house.node.clock.advance(Duration::from_secs(3601));
        officer.call("GET", path).await.problem(401, "unauthenticated");

        let refusals = || async {
            let recorded = house.node.recorded().await;
            recorded
                .iter()
                .filter(|record| record.starts_with("Authenticate"))
                .count()
        };
        while refusals().await < 3 {
            house.node.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(refusals().await, 3, "no certificate (four times), revoked, ended");
        let denied = "ReadSecret vaults/kv/secrets/a  denied".to_owned();
        assert!(house.node.recorded().await.contains(&denied));
    });
}

#[test]
fn a_wrong_request_is_told_what_is_wrong_and_never_hears_its_values() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer", 10);
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/a";
        for body in [
            json!({"value": "x", CANARY: 1}),
            json!({"value": {"secret": CANARY}}),
            json!({"value": "x", "encoding": CANARY}),
            json!({"value": CANARY, "encoding": "base64"}),
            json!([CANARY]),
        ] {
            let says = client.put(path, &[], &body).await.problem(400, "invalid");
            assert!(!says.contains(CANARY), "{says}");
        }
        let long = "x".repeat(65_537);
        client
            .put(path, &[], &json!({"value": long}))
            .await
            .problem(400, "invalid");
        client
            .put(path, &[], &json!({"value": "x".repeat(600_000)}))
            .await
            .problem(400, "invalid");
        // The longest value in its longest spelling still goes through.
        let escaped = format!("{{\"value\":\"{}\"}}", "\\u0000".repeat(65_536));
        let json = [("content-type", "application/json")];
        client
            .send(client.request("PUT", path, &json, Body::from(escaped)))
            .await
            .is(200);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        client
            .send(client.request("PUT", path, &form, Body::from("{}")))
            .await
            .problem(400, "invalid");

        for bad in [
            "/api/vaults/KV",
            "/api/vaults/kv/secrets/a%2F..",
            "/api/vaults?limit=x",
            "/api/vaults?x=1",
        ] {
            client.call("GET", bad).await.problem(400, "invalid");
        }
        client
            .call("GET", "/api/vaults/kv/secrets/a/versions/x")
            .await
            .problem(400, "invalid");
        client
            .call("GET", "/api/vaults/kv/secrets?cursor=..")
            .await
            .problem(400, "invalid");
        client.call("GET", "/api/nothing").await.problem(404, "not_found");
        let method = client.call("PATCH", path).await;
        assert_eq!(method.header("allow"), "GET,HEAD,PUT,DELETE");
        method.problem(405, "invalid");
    });
}

#[test]
fn a_request_has_one_id_everywhere() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer", 10);
        let own = "00112233445566778899aabbccddeeff";
        let request = client.request("GET", "/api/vaults", &[("x-request-id", own)], Body::empty());
        let answer = client.send(request).await.is(200);
        assert_eq!(answer.header("x-request-id"), own);
        let entries = house.node.log.entries(0, 10).await.unwrap();
        let record: Value = serde_json::from_slice(&entries.records[0]).unwrap();
        assert_eq!(record["request"], own);
        assert_eq!(record["caller"]["source"], "192.0.2.7:4711");

        let foreign = client.request("GET", "/api/vaults", &[("x-request-id", "not ours")], Body::empty());
        let given = client.send(foreign).await.is(200);
        assert_eq!(given.header("x-request-id").len(), 32);
    });
}

#[test]
fn a_change_whose_caller_went_away_is_finished() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer", 10);
        for n in 0..4 {
            let body = json!({"name": format!("kv-{n}")});
            let mut going = Box::pin(client.post("/api/vaults", &body));
            // The token is asked for a data key; the caller does not wait for it.
            assert!(futures::poll!(&mut going).is_pending());
            drop(going);
        }
        let made = async {
            while client.call("GET", "/api/vaults").await.json()["items"]
                .as_array()
                .unwrap()
                .len()
                < 4
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), made).await.unwrap();
        let recorded = house.node.recorded().await;
        let created = recorded
            .iter()
            .filter(|record| record.starts_with("CreateVault") && record.ends_with("done"));
        assert_eq!(created.count(), 4);
    });
}

#[test]
fn health_is_public_and_metrics_are_not() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let stranger = house.stranger();
        for path in ["/healthz", "/readyz", "/version"] {
            stranger.call("GET", path).await.is(200);
        }
        stranger.call("GET", "/metrics").await.problem(401, "unauthenticated");
        house
            .client("web", 11)
            .call("GET", "/metrics")
            .await
            .problem(403, "denied");
        let allowed = house.client("auditor", 12).call("GET", "/metrics").await.is(200);
        let counted = "chancery_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1";
        assert!(String::from_utf8(allowed.body).unwrap().contains(counted));
        let own = Client {
            routes: &house.metrics,
            chain: Arc::new([]),
        };
        own.call("GET", "/metrics").await.is(200);
        own.call("GET", "/api/vaults").await.problem(404, "not_found");
    });
}

#[test]
fn the_log_is_read_by_who_may() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor", 12);
        let log = auditor.call("GET", "/api/audit/log").await.is(200).json();
        assert_eq!(log["origin"], "chancery.test/audit/n1");
        assert_eq!(log["verifier_key"], house.node.log.verifier_key());
        let entries = auditor
            .call("GET", "/api/audit/entries?from=0&max=1")
            .await
            .is(200)
            .json();
        let bytes = house.node.log.entries(0, 1).await.unwrap().records;
        let read: chancery::wire::AuditEntries = serde_json::from_value(entries).unwrap();
        assert_eq!(read.records().unwrap(), bytes);
        house.node.log.sign_now().await.unwrap();
        let note = auditor.call("GET", "/api/audit/checkpoint").await.is(200);
        assert!(note.body.starts_with(b"chancery.test/audit/n1\n"));
        for path in ["log", "entries", "checkpoint"] {
            let refused = house
                .client("officer", 10)
                .call("GET", &format!("/api/audit/{path}"))
                .await;
            refused.problem(403, "denied");
        }
    });
}
