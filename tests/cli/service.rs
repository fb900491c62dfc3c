//! A TLS service that plays back answers and remembers what it was asked and by whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair, PublicKeyData, SanType,
};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::net::TcpListener;

/// A root, and what it signs.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for `name` and its key, PEM.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

/// What to answer to the next request with this method and path.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    pub(crate) status: u16,
    pub(crate) body: &'static str,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
    pub(crate) idempotency_key: Option<String>,
}

/// How it enrols, if no answer is written down for that.
pub(crate) struct Enrolment {
    pub(crate) identity: &'static str,
    pub(crate) lifetime: Duration,
    /// So many answers get lost, once their certificate is signed.
    pub(crate) lost: usize,
}

struct Played {
    authority: Authority,
    answers: Mutex<Vec<Answer>>,
    enrolment: Mutex<Option<Enrolment>>,
    /// The keys that were certified, DER.
    certified: Mutex<Vec<Vec<u8>>>,
    asked: Mutex<Vec<Asked>>,
    callers: Mutex<Vec<Option<CertificateDer<'static>>>>,
}

pub(crate) struct FakeService {
    pub(crate) folder: tempfile::TempDir,
    address: SocketAddr,
    played: Arc<Played>,
    _runtime: tokio::runtime::Runtime,
}

impl FakeService {
    /// Starts it; each answer is given once, in order for the same method and path.
    pub(crate) fn start(answers: &[Answer]) -> Self {
        let authority = Authority::new();
        let folder = tempfile::tempdir().unwrap();
        let tls = server_config(&authority);
        let played = Arc::new(Played {
            authority,
            answers: Mutex::new(answers.to_vec()),
            enrolment: Mutex::default(),
            certified: Mutex::default(),
            asked: Mutex::default(),
            callers: Mutex::default(),
        });
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, tls, played.clone()));
        let service = Self {
            folder,
            address,
            played,
            _runtime: runtime,
        };
        std::fs::write(service.roots(), service.authority().pem()).unwrap();
        service.set_caller("first");
        service
    }

    pub(crate) fn authority(&self) -> &Authority {
        &self.played.authority
    }

    pub(crate) fn enrol(&self, enrolment: Enrolment) {
        *self.played.enrolment.lock().unwrap() = Some(enrolment);
    }

    pub(crate) fn certified(&self) -> Vec<Vec<u8>> {
        self.played.certified.lock().unwrap().clone()
    }

    pub(crate) fn url(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    pub(crate) fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the files of a client certificate.
    pub(crate) fn set_caller(&self, name: &str) {
        let (certificate, key) = self.authority().issue(name);
        replace(&self.file("client.pem"), &certificate);
        replace(&self.file("client.key"), &key);
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.played.asked.lock().unwrap().clone()
    }

    /// The client certificates of the connections so far, in order.
    pub(crate) fn callers(&self) -> Vec<Option<CertificateDer<'static>>> {
        self.played.callers.lock().unwrap().clone()
    }
}

impl Played {
    /// Signs what a request asks for.
    fn issued(&self, path: &str, body: &[u8]) -> Option<Response<Body>> {
        if path == "/roots.pem" {
            return Some(Response::new(Body::from(self.authority.pem().to_owned())));
        }
        let request: serde_json::Value = serde_json::from_slice(body).ok()?;
        if path != "/api/authorities/internal/issue" {
            return None;
        }
        let csr = CertificateSigningRequestParams::from_pem(request["csr_pem"].as_str().unwrap()).unwrap();
        let leaf = csr.signed_by(&self.authority.issuer).unwrap().pem();
        let issued = serde_json::json!({
            "serial": "5d0c8a",
            "not_before": "2026-11-24T08:00:00Z",
            "not_after": "2026-12-24T08:00:00Z",
            "chain_pem": format!("{leaf}{}", self.authority.pem()),
        });
        let answer = Response::builder()
            .status(201)
            .header("content-type", "application/json");
        Some(answer.body(Body::from(issued.to_string())).unwrap())
    }

    /// Signs a request by a token that is `good`, or by the certificate of the connection.
    fn enrolled(&self, path: &str, body: &[u8]) -> Option<Response<Body>> {
        let mut enrolment = self.enrolment.lock().unwrap();
        let enrolment = enrolment.as_mut()?;
        let request: serde_json::Value = serde_json::from_slice(body).ok()?;
        let caller = self.callers.lock().unwrap().last().cloned().flatten();
        match path {
            "/api/enroll" => assert_eq!((&request["token"], caller), (&"good".into(), None)),
            "/api/enroll/jwt" => assert!(request["jwt"].is_string() && caller.is_none()),
            "/api/enroll/certificate" => assert!(caller.is_some()),
            "/api/reenroll" => assert!(caller.is_some()),
            _ => return None,
        }
        let mut csr = CertificateSigningRequestParams::from_pem(request["csr_pem"].as_str().unwrap()).unwrap();
        self.certified.lock().unwrap().push(csr.public_key.der_bytes().to_vec());
        let now = time::OffsetDateTime::now_utc();
        csr.params.not_before = now;
        csr.params.not_after = now + enrolment.lifetime;
        csr.params.subject_alt_names = vec![SanType::URI(enrolment.identity.try_into().unwrap())];
        let leaf = csr.signed_by(&self.authority.issuer).unwrap().pem();
        let answer = Response::builder()
            .status(201)
            .header("content-type", "application/json");
        if enrolment.lost > 0 {
            enrolment.lost -= 1;
            let lost = futures::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
            return Some(answer.body(Body::from_stream(lost)).unwrap());
        }
        let enrolled = serde_json::json!({
            "identity": enrolment.identity,
            "serial": "00",
            "not_before": "2026-11-24T08:00:00Z",
            "not_after": "2026-11-24T08:00:00Z",
            "chain_pem": format!("{leaf}{}", self.authority.pem()),
            "roots_pem": self.authority.pem(),
        });
        Some(answer.body(Body::from(enrolled.to_string())).unwrap())
    }
}

pub(crate) fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(beside, path).unwrap();
}

fn server_config(authority: &Authority) -> Arc<rustls::ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (certificate, key) = authority.issue("localhost");
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}

async fn serve(listener: TcpListener, tls: Arc<rustls::ServerConfig>, played: Arc<Played>) {
    let acceptor = tokio_rustls::TlsAcceptor::from(tls);
    let router = Router::new().fallback(answer).with_state(played.clone());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (acceptor, router, played) = (acceptor.clone(), router.clone(), played.clone());
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else {
                return;
            };
            let caller = stream
                .get_ref()
                .1
                .peer_certificates()
                .map(|chain| chain[0].clone().into_owned());
            played.callers.lock().unwrap().push(caller);
            // The client may hang up whenever it likes.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
                .await;
        });
    }
}

async fn answer(
    State(played): State<Arc<Played>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    played.asked.lock().unwrap().push(Asked {
        target: format!("{method} {uri}").replace(&origin(&uri), ""),
        body: body.to_vec(),
        idempotency_key: headers
            .get("idempotency-key")
            .map(|key| key.to_str().unwrap().to_owned()),
    });
    let mut answers = played.answers.lock().unwrap();
    let found = answers
        .iter()
        .position(|answer| method == answer.method && uri.path() == answer.path);
    let Some(found) = found else {
        let signed = played.issued(uri.path(), &body);
        if let Some(answer) = signed.or_else(|| played.enrolled(uri.path(), &body)) {
            return answer;
        }
        return Response::builder()
            .status(StatusCode::IM_A_TEAPOT)
            .body(Body::empty())
            .unwrap();
    };
    let answer = answers.remove(found);
    let kind = match (answer.status, answer.body.starts_with('{')) {
        (200..300, true) => "application/json",
        (_, true) => "application/problem+json",
        (_, false) => "text/plain",
    };
    Response::builder()
        .status(answer.status)
        .header("content-type", kind)
        .header("x-request-id", "r-header")
        .body(Body::from(answer.body))
        .unwrap()
}

/// HTTP/2 requests have an absolute target.
fn origin(uri: &Uri) -> String {
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme), Some(authority)) => format!("{scheme}://{authority}"),
        _ => "\0".to_owned(),
    }
}
