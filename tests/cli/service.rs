//! A TLS service that plays back answers and remembers what it was asked and by whom.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Response, StatusCode, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
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
}

#[derive(Default)]
struct Played {
    answers: Mutex<Vec<Answer>>,
    asked: Mutex<Vec<Asked>>,
    callers: Mutex<Vec<Option<CertificateDer<'static>>>>,
}

pub(crate) struct FakeService {
    pub(crate) authority: Authority,
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
        let played = Arc::new(Played::default());
        played.answers.lock().unwrap().extend_from_slice(answers);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tls = server_config(&authority);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(serve(listener, tls, played.clone()));
        let service = Self {
            authority,
            folder,
            address,
            played,
            _runtime: runtime,
        };
        std::fs::write(service.roots(), service.authority.pem()).unwrap();
        service.set_caller("first");
        service
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
        let (certificate, key) = self.authority.issue(name);
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

async fn answer(State(played): State<Arc<Played>>, method: Method, uri: Uri, body: Bytes) -> Response<Body> {
    played.asked.lock().unwrap().push(Asked {
        target: format!("{method} {uri}").replace(&origin(&uri), ""),
        body: body.to_vec(),
    });
    let mut answers = played.answers.lock().unwrap();
    let found = answers
        .iter()
        .position(|answer| method == answer.method && uri.path() == answer.path);
    let Some(found) = found else {
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
