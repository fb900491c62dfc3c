//! A stranger may open connections, but not so many, and not for so long, that others find none.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::{Duration, Instant};

use http_body_util::Empty;
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::open::{Open, address, config};
use crate::support::child::{PATIENCE, free_port};
use crate::support::process::{Launch, Service};

const MOST: usize = 12;
const MOST_PER_SOURCE: usize = 8;
const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

fn bounded(folder: &Path, idle_s: u64) -> Service {
    drop(Launch::dev_on(folder, free_port(), free_port()).start());
    let mut config = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    config.push_str(&format!(
        "\n[connections]\nmost = {MOST}\nmost_per_source = {MOST_PER_SOURCE}\nidle_s = {idle_s}\n"
    ));
    let file = folder.join("bounded.toml");
    fs::write(&file, config).unwrap();
    Launch::server(&file, folder).start()
}

/// Opens connections until one is not served.
fn fill(service: &Service, source: Ipv4Addr) -> Vec<Open> {
    let mut held = Vec::new();
    loop {
        assert!(held.len() <= MOST, "there is no bound");
        let mut next = Open::from(service, source).unwrap();
        if next.ask().is_err() {
            return held;
        }
        held.push(next);
    }
}

#[test]
fn connections_are_bounded_and_those_that_are_open_go_on() {
    let home = tempfile::tempdir().unwrap();
    let service = bounded(&home.path().join("dev"), 600);
    let mut of_one = fill(&service, ONE);
    assert_eq!(of_one.len(), MOST_PER_SOURCE);
    // Others still come in, until there is no room at all.
    let mut of_two = fill(&service, TWO);
    assert_eq!(of_two.len(), MOST - MOST_PER_SOURCE);
    assert!(Open::from(&service, THREE).unwrap().ask().is_err());
    for open in of_one.iter_mut().chain(&mut of_two) {
        open.healthy();
    }
    assert!(
        service.log().contains("the TLS listener turns connections away"),
        "{}",
        service.log()
    );

    // A place that is given back is taken by the next.
    of_one.pop();
    let begun = Instant::now();
    let mut next = loop {
        let mut next = Open::from(&service, THREE).unwrap();
        if next.ask().is_ok() {
            break next;
        }
        assert!(begun.elapsed() < PATIENCE, "its place is not given back");
    };
    next.healthy();
    of_two.iter_mut().for_each(Open::healthy);
}

#[test]
fn connections_that_nobody_uses_are_ended() {
    let home = tempfile::tempdir().unwrap();
    let service = bounded(&home.path().join("dev"), 2);
    let mut idle = fill(&service, ONE);
    let mut used = fill(&service, TWO);
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        used.iter_mut().for_each(Open::healthy);
        std::thread::sleep(Duration::from_millis(200));
    }
    idle.iter_mut().for_each(Open::ended);
    used.iter_mut().for_each(Open::healthy);
    // Their places are free again.
    assert_eq!(fill(&service, ONE).len(), MOST_PER_SOURCE);
}

/// Where a connection has no request to wait for.
#[test]
fn connections_over_http_2_that_nobody_uses_are_ended() {
    let home = tempfile::tempdir().unwrap();
    let service = bounded(&home.path().join("dev"), 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let stream = TcpStream::connect(address(&service)).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(config(&service, "h2"))
            .connect(name, stream)
            .await
            .unwrap();
        let (mut requests, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let ended = tokio::spawn(connection);
        let ask = Request::get("https://localhost/healthz")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        assert_eq!(requests.send_request(ask).await.unwrap().status(), 200);
        // In whatever way: what counts is that neither side believes in it any more.
        let _ = tokio::time::timeout(PATIENCE, ended)
            .await
            .expect("it is ended")
            .unwrap();
        assert!(requests.is_closed());
    });
}
