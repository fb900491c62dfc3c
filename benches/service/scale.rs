//! The same beside a million stored certificates as beside none.

use std::time::Duration;

use bytes::Bytes;
use hyper::Method;
use serde_json::json;

use super::fill;
use super::load::{self, Figures, Shot};
use super::revocation::{Bench, revocations};
use super::{get, requests};

const STORED: u32 = 1_000_000;

/// What a list is asked for.
const LISTS: [(&str, &str); 7] = [
    ("a page, newest first", "limit=100"),
    ("a page by owner", "limit=100&owner=spiffe://chancery.test/owner-7"),
    ("a page by name's end", "limit=100&name=*.example.test"),
    ("a page by expiry", "limit=100&expires_within_s=2592000"),
    (
        "a page by status and profile",
        "limit=100&status=revoked&profile=server-tls",
    ),
    ("look up a name", "name=h500000.example.test"),
    ("look up a serial", "serial=1b"),
];

async fn rows(bench: &Bench, time: Duration) -> Vec<(&'static str, Figures)> {
    let target = bench.target();
    let mut rows = Vec::new();
    for connections in [1, 16] {
        let requests = requests(connections, |csr| {
            json!({ "profile": "server-tls", "csr_pem": csr }).to_string()
        });
        let shot = move |connection: usize, _| Shot {
            method: Method::POST,
            path: "/api/authorities/internal/issue".to_owned(),
            body: requests[connection].clone(),
        };
        rows.push(("issue", load::run(&target, connections, time, shot).await));
    }
    rows.push(("revoke, and get the list", revocations(bench, 200).await));
    for (what, query) in LISTS {
        let path = format!("/api/authorities/internal/certificates?{query}");
        let shot = move |_, _| Shot {
            body: Bytes::new(),
            ..get(&path)
        };
        rows.push((what, load::run(&target, 1, time / 2, shot).await));
    }
    rows
}

pub async fn run(time: Duration) {
    println!("\nbeside no stored certificates, and beside {STORED}");
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(folder.path(), 16);
    let start = bench.restart_after(async {}).await;
    println!("{:<34} {:>9.0} ms", "start, empty", start.as_secs_f64() * 1e3);
    let empty = rows(&bench, time).await;
    let start = bench
        .restart_after(fill::certificates(folder.path(), STORED, false, 16))
        .await;
    println!("{:<34} {:>9.0} ms", "start, full", start.as_secs_f64() * 1e3);
    for ((what, before), (_, after)) in empty.iter().zip(rows(&bench, time).await) {
        before.print(&format!("{what}, empty"));
        after.print(&format!("{what}, full"));
        println!(
            "{:<34}     {:.2} of the empty rate, {:.2} times its p50",
            "",
            after.per_second / before.per_second,
            after.p50.as_secs_f64() / before.p50.as_secs_f64()
        );
    }
}
