//! Sinks beside a real log: what they get over restarts, failures and time that goes on.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::audit::log::Log;
use crate::audit::log::tests::Node;
use crate::audit::record::tests::sample;
use crate::error::Kind;

pub(super) fn batch(first: u64, count: u64) -> Batch {
    Batch {
        node: "n1".into(),
        first,
        records: (first..first + count).map(|seed| sample(seed).to_bytes()).collect(),
    }
}

fn sink(text: &str) -> SinkSettings {
    toml::from_str(text).unwrap()
}

async fn append(log: &Log, seeds: std::ops::Range<u64>) {
    for seed in seeds {
        log.append(&sample(seed)).await.unwrap();
    }
}

/// Until all sinks are at the log's end; time goes on meanwhile.
async fn caught_up(node: &Node, log: &Log) {
    while log.sinks().iter().any(|lag| lag.records > 0) {
        node.clock.advance(Duration::from_millis(100));
        tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
}

fn lines(seeds: std::ops::Range<u64>) -> String {
    let batch = batch(seeds.start, seeds.end - seeds.start);
    String::from_utf8(batch.lines()).unwrap()
}

#[tokio::test]
async fn a_file_gets_each_record_once_over_restarts_and_a_crash_repeats_but_leaves_out_none() {
    for journal in [true, false] {
        let mut node = Node::new(journal);
        let path = node.folder.path().join("audit.jsonl");
        let read = || std::fs::read_to_string(&path).unwrap_or_default();
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        append(&log, 0..3).await;
        log.close().await.unwrap();
        drop((log, store));

        // One that is new begins now.
        node.settings.sink = vec![sink(&format!("name = 'f'\nkind = 'file'\npath = '{}'", path.display()))];
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        append(&log, 3..6).await;
        log.close().await.unwrap();
        assert_eq!(read(), lines(3..6));
        drop((log, store));

        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        append(&log, 6..8).await;
        caught_up(&node, &log).await;
        assert_eq!(read(), lines(3..8));
        drop((log, store));

        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        append(&log, 8..9).await;
        log.close().await.unwrap();
        let text = read();
        assert!(text.ends_with(&lines(6..9)) || text == lines(3..9), "{text}");
    }
}

struct Hook {
    down: AtomicBool,
    /// It reads what comes and never answers.
    silent: AtomicBool,
    requests: AtomicUsize,
    got: Mutex<Vec<u64>>,
}

const KEY: &str = "0123456789abcdef01234567";

async fn take(hook: &Hook, request: Request<Incoming>) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    hook.requests.fetch_add(1, Ordering::SeqCst);
    if hook.silent.load(Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    if hook.down.load(Ordering::SeqCst) {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let header = |name: &str| parts.headers[name].to_str().unwrap().to_owned();
    let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
    let signed = [format!("{id}.{at}.").as_bytes(), &body].concat();
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.as_bytes());
    let signature = BASE64_STANDARD
        .decode(header("webhook-signature").strip_prefix("v1,").unwrap())
        .unwrap();
    if hmac::verify(&key, &signed, &signature).is_err() {
        return StatusCode::FORBIDDEN;
    }
    let records: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
    let indices = records.iter().map(|record| record["index"].as_u64().unwrap());
    hook.got.lock().unwrap().extend(indices);
    StatusCode::NO_CONTENT
}

/// Serves a hook that is down: where.
async fn serve(tls: Option<TlsAcceptor>) -> (Arc<Hook>, SocketAddr) {
    let hook = Arc::new(Hook {
        down: AtomicBool::new(true),
        silent: AtomicBool::new(false),
        requests: AtomicUsize::new(0),
        got: Mutex::new(Vec::new()),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = hook.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let hook = served.clone();
            let service = service_fn(move |request| {
                let hook = hook.clone();
                async move {
                    let mut answer = Response::new(Empty::<Bytes>::new());
                    *answer.status_mut() = take(&hook, request).await;
                    Ok::<_, std::convert::Infallible>(answer)
                }
            });
            let tls = tls.clone();
            tokio::spawn(async move {
                match tls {
                    None => drop(
                        http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service)
                            .await,
                    ),
                    Some(tls) => {
                        // Who does not trust us ends the handshake.
                        let Ok(stream) = tls.accept(stream).await else { return };
                        drop(
                            http1::Builder::new()
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        );
                    }
                }
            });
        }
    });
    (hook, address)
}

async fn hook(node: &mut Node, more: &str) -> Arc<Hook> {
    let (hook, address) = serve(None).await;
    let key = node.folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    node.settings.sink = vec![sink(&format!(
        "name = 'hook'\nkind = 'webhook'\nurl = 'http://{address}/audit'\nkey = {{ file = '{}' }}\nbegin = 'first'\n{more}",
        key.display()
    ))];
    hook
}

async fn tried(hook: &Hook) {
    while hook.requests.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_webhook_that_was_down_gets_all_signed_and_in_order_and_holds_up_nobody() {
    let mut node = Node::new(true);
    let hook = hook(&mut node, "").await;
    let store = node.store().await;
    let log = node.log(&store).await.unwrap();
    append(&log, 0..600).await;
    tried(&hook).await;
    // What is not signed for so long would stop acts by itself.
    log.sign_now().await.unwrap();
    node.clock.advance(Duration::from_secs(3_600));
    log.accepts().unwrap();
    assert_eq!(log.sinks()[0].records, 600);
    hook.down.store(false, Ordering::SeqCst);
    caught_up(&node, &log).await;
    assert_eq!(*hook.got.lock().unwrap(), (0..600).collect::<Vec<_>>());
    log.close().await.unwrap();
}

#[tokio::test]
async fn acts_are_refused_while_a_sink_that_must_not_be_is_behind_and_what_is_begun_is_recorded() {
    for (more, records) in [("max_behind_records = 5", 6), ("max_behind_s = 20", 1)] {
        let mut node = Node::new(true);
        let hook = hook(&mut node, &format!("on_failure = 'refuse'\n{more}")).await;
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        append(&log, 0..records - 1).await;
        node.clock.advance(Duration::from_secs(11));
        log.accepts().unwrap();
        append(&log, records - 1..records).await;
        tried(&hook).await;
        if records == 1 {
            log.accepts().unwrap();
            node.clock.advance(Duration::from_secs(21));
        }
        let error = log.accepts().unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.detail().contains("`hook`"), "{}", error.detail());
        assert!(!error.public().contains("`hook`"), "{}", error.public());
        assert!(log.health().is_err());
        append(&log, records..records + 1).await;

        hook.down.store(false, Ordering::SeqCst);
        caught_up(&node, &log).await;
        log.accepts().unwrap();
        log.health().unwrap();
        assert_eq!(*hook.got.lock().unwrap(), (0..=records).collect::<Vec<_>>());
        log.close().await.unwrap();
    }
}

/// A root as a PEM file, and a server with a certificate from it for this host.
fn private(folder: &std::path::Path, name: &str) -> (std::path::PathBuf, TlsAcceptor) {
    let root_key = rcgen::KeyPair::generate().unwrap();
    let mut root = rcgen::CertificateParams::default();
    root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let file = folder.join(name);
    std::fs::write(&file, root.self_signed(&root_key).unwrap().pem()).unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf
        .signed_by(&key, &rcgen::Issuer::from_params(&root, &root_key))
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn a_webhook_with_a_root_of_its_own_is_reached_by_that_root_only() {
    let folder = tempfile::tempdir().unwrap();
    let (root, tls) = private(folder.path(), "root.pem");
    let (other, _) = private(folder.path(), "other.pem");
    let (hook, address) = serve(Some(tls)).await;
    hook.down.store(false, Ordering::SeqCst);
    let key = folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    let outlet = |ca: &str| {
        let text = format!(
            "name = 'h'\nkind = 'webhook'\nurl = 'https://{address}/'\nkey = {{ file = '{}' }}\n{ca}",
            key.display()
        );
        Outlet::new(&sink(&text)).unwrap()
    };
    let ca = |path: &std::path::Path| format!("ca = '{}'", path.display());
    let clock = crate::clock::SystemClock;
    for stranger in [outlet(&ca(&other)), outlet("")] {
        let mut outlet = stranger;
        let why = outlet.give(&batch(0, 3), &clock).await.unwrap_err();
        assert!(why.contains("certificate"), "{why}");
    }
    assert_eq!(hook.requests.load(Ordering::SeqCst), 0);
    outlet(&ca(&root)).give(&batch(0, 3), &clock).await.unwrap();
    assert_eq!(*hook.got.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn a_webhook_that_never_answers_is_given_up_in_time_and_tried_again() {
    let mut node = Node::new(true);
    let hook = hook(&mut node, "timeout_s = 1").await;
    hook.silent.store(true, Ordering::SeqCst);
    hook.down.store(false, Ordering::SeqCst);
    let store = node.store().await;
    let log = node.log(&store).await.unwrap();
    append(&log, 0..3).await;
    while hook.requests.load(Ordering::SeqCst) < 2 {
        node.clock.advance(Duration::from_millis(100));
        tokio::time::timeout(Duration::from_millis(20), std::future::pending::<()>())
            .await
            .unwrap_err();
    }
    assert_eq!(log.sinks()[0].records, 3);
    hook.silent.store(false, Ordering::SeqCst);
    caught_up(&node, &log).await;
    assert_eq!(*hook.got.lock().unwrap(), [0, 1, 2]);
    log.close().await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_put_back_gives_no_second_grace() {
    let mut node = Node::new(true);
    let hook = hook(&mut node, "on_failure = 'refuse'\nmax_behind_records = 1").await;
    let store = node.store().await;
    let log = node.log(&store).await.unwrap();
    append(&log, 0..3).await;
    tried(&hook).await;
    log.accepts().unwrap();
    node.clock.set(node.clock.now() - Duration::from_secs(3_600));
    log.accepts().unwrap_err();
    hook.down.store(false, Ordering::SeqCst);
    caught_up(&node, &log).await;
    log.accepts().unwrap();
    log.close().await.unwrap();
}
