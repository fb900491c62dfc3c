//! A node with its routes, and clients that speak to them.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use chancery::backup::Backups;
use chancery::ca::{Authority, Keys, TokenKey};
use chancery::enrollment::{CreateIdentity, CreateJoinToken, Enrollment, redeem};
use chancery::entropy::OsEntropy;
use chancery::hsm::KeyRef;
use chancery::identity::{Caller, Identity};
use chancery::key_type::KeyType;
use chancery::lifecycle::{self, Lifecycle};
use chancery::policy::{Role, SpiffeId, system};
use chancery::surface::metrics::Metrics;
use chancery::surface::{Peer, Services, metrics_routes, plain_routes, tls_routes};
use chancery::upstream::Upstream;
use chancery::vault::{ExecSettings, RotatorSettings, Rotators, Settings, Vault};
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::profile::Profile;
use chancery::x509::{csr, key, pem};
use rustls::pki_types::CertificateDer;
use serde_json::Value;
use tower::ServiceExt;

use crate::support::node::{Node, make_keys, sqlite};
use crate::support::softhsm::Token;

async fn signing_key(node: &Node, label: String) -> TokenKey {
    let made = node.hsm.generate(&label, KeyType::EcP256).await.unwrap();
    TokenKey {
        key: KeyRef {
            label,
            kind: KeyType::EcP256,
        },
        spki: made.spki_der.unwrap(),
    }
}

/// A node with its routes.
pub(crate) struct House {
    pub(crate) node: Node,
    pub(crate) services: Arc<Services>,
    pub(crate) routes: Router,
    plain: Router,
    pub(crate) metrics: Router,
}

impl House {
    pub(crate) async fn open(token: &Token) -> Self {
        make_keys(token).await;
        let node = Node::start(token, &sqlite(token), "n1").await;
        node.assign("officer", Role::KeyVaultAdministrator).await;
        node.assign("auditor", Role::Auditor).await;
        node.assign("admin", Role::Administrator).await;
        let identity = Identity::new("chancery.test".parse().unwrap(), node.store.clone());
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://chancery.test".to_owned(),
        };
        let hierarchy = Hierarchy::built_in(place).unwrap();
        let (root, issuing) = Keys::labels(&hierarchy);
        let keys = Keys {
            root: signing_key(&node, root).await,
            issuing: signing_key(&node, issuing).await,
            ocsp: signing_key(&node, Keys::ocsp_label(&hierarchy)).await,
        };
        let profiles = Profile::built_in().unwrap();
        let (gate, hsm) = (node.gate.clone(), node.hsm.clone());
        let authority = Authority::open(gate, hsm, identity.clone(), hierarchy, profiles, keys)
            .await
            .unwrap();
        let upstream = Arc::new(Upstream::new(
            node.store.clone(),
            node.sealer.clone(),
            node.clock.clone(),
        ));
        let services = Arc::new(Services {
            acme: None,
            backups: Backups::new(
                node.store.clone(),
                node.log.clone(),
                node.sealer.clone(),
                "chancery.test".to_owned(),
            ),
            authority: authority.clone(),
            authz: node.authz.clone(),
            enrollment: Enrollment::new(identity.clone(), node.authz.clone(), authority.clone()).unwrap(),
            gate: node.gate.clone(),
            identity,
            lifecycle: Arc::new(Lifecycle::new(
                &lifecycle::Settings::default(),
                node.store.clone(),
                node.sealer.clone(),
                upstream.clone(),
                node.clock.clone(),
                node.entropy.clone(),
            )),
            log: node.log.clone(),
            metrics: Metrics::new(prometheus_client::registry::Registry::default()),
            upstream,
            vault: Vault::new(
                &Settings::default(),
                node.store.clone(),
                node.sealer.clone(),
                node.hsm.clone(),
                node.clock.clone(),
                node.entropy.clone(),
            )
            .with_rotators(rotators()),
        });
        Self {
            node,
            routes: tls_routes(services.clone()),
            plain: plain_routes(services.clone()),
            metrics: metrics_routes(services.clone()),
            services,
        }
    }

    /// Somebody with a certificate of this path.
    pub(crate) async fn client(&self, path: &str) -> Client<'_> {
        let id: SpiffeId = format!("spiffe://chancery.test/{path}").parse().unwrap();
        let (gate, enrollment) = (&self.node.gate, &self.services.enrollment);
        let bootstrap = Caller::system(system::BOOTSTRAP, &OsEntropy).unwrap();
        let register = CreateIdentity::by_token(id.clone(), None);
        // The second certificate of one identity.
        let _ = gate.perform(&bootstrap, enrollment, register).await;
        let token = CreateJoinToken { id, life: None };
        let token = gate.perform(&bootstrap, enrollment, token).await.unwrap().token;
        let token = std::str::from_utf8(token.expose()).unwrap();
        let csr = csr::create(&key::generate(KeyType::EcP256).unwrap(), &[]).unwrap();
        let source = "192.0.2.7:4711".parse().unwrap();
        let enrolled = redeem(gate, enrollment, source, bootstrap.request, token, &csr)
            .await
            .unwrap();
        Client {
            serial: enrolled.serial,
            ..self.holder(&enrolled.chain_pem)
        }
    }

    /// Somebody who shows this chain, PEM.
    pub(crate) fn holder(&self, chain_pem: &str) -> Client<'_> {
        let chain = pem::decode_all(pem::CERTIFICATE, chain_pem).unwrap();
        Client {
            routes: &self.routes,
            chain: chain.into_iter().map(CertificateDer::from).collect(),
            serial: String::new(),
        }
    }

    /// Somebody on the plain-HTTP listener.
    pub(crate) fn plain(&self) -> Client<'_> {
        Client {
            routes: &self.plain,
            chain: Arc::new([]),
            serial: String::new(),
        }
    }

    /// Somebody without a certificate.
    pub(crate) fn stranger(&self) -> Client<'_> {
        Client {
            routes: &self.routes,
            chain: Arc::new([]),
            serial: String::new(),
        }
    }
}

/// One connection, in effect.
pub(crate) struct Client<'a> {
    pub(crate) routes: &'a Router,
    pub(crate) chain: Arc<[CertificateDer<'static>]>,
    pub(crate) serial: String,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    pub(crate) fn is(self, status: u16) -> Self {
        let said = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{said}");
        self
    }

    /// A problem of this status and kind; what it says.
    #[track_caller]
    pub(crate) fn problem(self, status: u16, kind: &str) -> String {
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
    pub(crate) fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
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

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: axum::body::to_bytes(body, 1 << 22).await.unwrap().to_vec(),
        }
    }

    pub(crate) async fn call(&self, method: &str, path: &str) -> Answer {
        self.send(self.request(method, path, &[], Body::empty())).await
    }

    pub(crate) async fn put(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        all.extend(headers);
        self.send(self.request("PUT", path, &all, Body::from(body.to_string())))
            .await
    }

    pub(crate) async fn patch(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        all.extend(headers);
        self.send(self.request("PATCH", path, &all, Body::from(body.to_string())))
            .await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, &[], body).await
    }

    pub(crate) async fn post_with(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        let mut all = vec![(header::CONTENT_TYPE.as_str(), "application/json")];
        all.extend(headers);
        self.send(self.request("POST", path, &all, Body::from(body.to_string())))
            .await
    }
}

/// One rotator, `db`, to whom everything is well.
fn rotators() -> Rotators {
    let db = RotatorSettings {
        name: "db".parse().unwrap(),
        vaults: None,
        exec: Some(ExecSettings {
            command: vec!["/bin/true".to_owned()],
            user: None,
            timeout_s: 10,
        }),
        webhook: None,
    };
    Rotators::configured(&[db]).unwrap()
}
