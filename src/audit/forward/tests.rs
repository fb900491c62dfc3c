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

use super::super::log::Log;
use super::super::log::tests::Node;
use super::super::record::tests::sample;
use super::*;
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
    requests: AtomicUsize,
    got: Mutex<Vec<u64>>,
}

const KEY: &str = "0123456789abcdef01234567";

async fn take(hook: &Hook, request: Request<Incoming>) -> StatusCode {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    hook.requests.fetch_add(1, Ordering::SeqCst);
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

async fn hook(node: &mut Node, more: &str) -> Arc<Hook> {
    let hook = Arc::new(Hook {
        down: AtomicBool::new(true),
        requests: AtomicUsize::new(0),
        got: Mutex::new(Vec::new()),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/audit", listener.local_addr().unwrap());
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
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    let key = node.folder.path().join("key");
    std::fs::write(&key, KEY).unwrap();
    node.settings.sink = vec![sink(&format!(
        "name = 'hook'\nkind = 'webhook'\nurl = '{url}'\nkey = {{ file = '{}' }}\nbegin = 'first'\n{more}",
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
