//! A little OIDC issuer over HTTPS: discovery, keys that rotate, and all that a hostile one might answer.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chancery::clock::Timestamp;
use chancery::key_type::KeyType;
use chancery::x509::key;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// How it answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Well,
    Down,
    Huge,
    Slow,
    /// Well, but half a second late.
    Late,
    /// To a redirect, which ends inside.
    Redirects,
    /// Its configuration is another issuer's.
    Speaks,
    /// Its keys are said to be at the address where clouds keep credentials.
    PointsInside,
}

struct Play {
    mood: Mood,
    cache: &'static str,
    published: Vec<Value>,
    asked: usize,
    url: String,
}

pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    play: Arc<Mutex<Play>>,
}

/// A key of an issuer.
pub(crate) struct Key {
    id: String,
    pub(crate) key: EncodingKey,
    algorithm: Algorithm,
}

impl Key {
    pub(crate) fn new(id: &str) -> Self {
        let pkcs8 = key::generate(KeyType::EcP256).unwrap();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_ec_der(pkcs8.expose()),
            algorithm: Algorithm::ES256,
        }
    }

    pub(crate) fn rsa(id: &str, algorithm: Algorithm) -> Self {
        let pkcs8 = key::generate(KeyType::Rsa2048).unwrap();
        // RSA keys are taken in PKCS#1 there.
        let rsa = openssl::rsa::Rsa::private_key_from_der(
            &openssl::pkey::PKey::private_key_from_pkcs8(pkcs8.expose())
                .unwrap()
                .rsa()
                .unwrap()
                .private_key_to_der()
                .unwrap(),
        )
        .unwrap();
        Self {
            id: id.to_owned(),
            key: EncodingKey::from_rsa_der(&rsa.private_key_to_der().unwrap()),
            algorithm,
        }
    }

    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = serde_json::to_value(Jwk::from_encoding_key(&self.key, self.algorithm).unwrap()).unwrap();
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        jsonwebtoken::encode(&header, claims, &self.key).unwrap()
    }
}

impl Issuer {
    pub(crate) async fn start() -> Self {
        let own = KeyPair::generate().unwrap();
        let mut root = CertificateParams::new(Vec::new()).unwrap();
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = root.self_signed(&own).unwrap().pem();
        let ca = rcgen::Issuer::new(root, own);
        let leaf_key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])
            .unwrap()
            .signed_by(&leaf_key, &ca)
            .unwrap();
        let mut tls =
            rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![leaf.der().clone()],
                    PrivateKeyDer::from(PrivatePkcs8KeyDer::from(leaf_key.serialize_der())),
                )
                .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("https://localhost:{}", address.port());
        let play = Arc::new(Mutex::new(Play {
            mood: Mood::Well,
            cache: "max-age=60",
            published: Vec::new(),
            asked: 0,
            url: url.clone(),
        }));
        tokio::spawn(serve(listener, Arc::new(tls), play.clone()));
        Self { url, ca_pem, play }
    }

    pub(crate) fn publish(&self, keys: &[&Key]) {
        self.play.lock().unwrap().published = keys.iter().map(|key| key.jwk()).collect();
    }

    pub(crate) fn be(&self, mood: Mood) {
        self.play.lock().unwrap().mood = mood;
    }

    pub(crate) fn cache(&self, control: &'static str) {
        self.play.lock().unwrap().cache = control;
    }

    /// How often its keys were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.play.lock().unwrap().asked
    }

    /// What a good token says at `now`.
    pub(crate) fn claims(&self, now: Timestamp) -> Value {
        json!({
            "iss": self.url,
            "aud": ["chancery", "other"],
            "sub": "system:serviceaccount:prod:web",
            "iat": now.unix(),
            "nbf": now.unix(),
            "exp": now.unix() + 600,
            "jti": "1",
            "kubernetes.io": {"namespace": "prod"},
            "ref_protected": true,
        })
    }
}

/// A token whose header and signature are whatever they are.
pub(crate) fn forged(header: &Value, claims: &Value, signature: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!(
        "{}.{}.{}",
        part(header),
        part(claims),
        URL_SAFE_NO_PAD.encode(signature)
    )
}

async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, play: Arc<Mutex<Play>>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let router = Router::new().fallback(answer).with_state(play);
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, router) = (acceptor.clone(), router.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            // The client may hang up whenever it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                .await;
        });
    }
}

async fn answer(State(play): State<Arc<Mutex<Play>>>, uri: Uri) -> Response {
    let (mood, cache, url, published) = {
        let mut play = play.lock().unwrap();
        play.asked += usize::from(uri.path() == "/keys");
        (play.mood, play.cache, play.url.clone(), play.published.clone())
    };
    if mood == Mood::Late {
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    match (mood, uri.path()) {
        (Mood::Down, _) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        (Mood::Redirects, _) => (
            StatusCode::FOUND,
            [(header::LOCATION, "http://169.254.169.254/latest/")],
        )
            .into_response(),
        (Mood::Huge, "/keys") => axum::Json(json!({"keys": [], "x": "x".repeat(1 << 20)})).into_response(),
        (Mood::Slow, "/keys") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            StatusCode::NO_CONTENT.into_response()
        }
        (_, "/.well-known/openid-configuration") => {
            let issuer = if mood == Mood::Speaks {
                "https://other.test"
            } else {
                &url
            };
            let keys = if mood == Mood::PointsInside {
                "https://169.254.169.254/keys".to_owned()
            } else {
                format!("{url}/keys")
            };
            axum::Json(json!({"issuer": issuer, "jwks_uri": keys})).into_response()
        }
        (_, "/keys") => (
            [(header::CACHE_CONTROL, cache)],
            axum::Json(json!({ "keys": published })),
        )
            .into_response(),
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
