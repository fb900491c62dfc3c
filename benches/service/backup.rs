//! The whole service backed up and put back, with as many secrets as `OBJECTS` says (100,000).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use hyper::Method;

use super::load::{Shot, Target};
use super::support::child::free_port;
use super::support::process::{Cli, Launch};
use super::support::server::elsewhere;

const WRITERS: usize = 32;

pub async fn run() {
    let objects = std::env::var("OBJECTS").ok().and_then(|count| count.parse().ok());
    let objects: u64 = objects.unwrap_or(100_000);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    // It is found again under the same ports.
    let mut service = Launch::dev_on(&folder, free_port(), free_port()).start();
    fill(&super::target(&service.env(), service.pid()), objects).await;
    println!("\nback up {objects} secrets of 100 bytes with their records, and put them back");
    let file = home.path().join("chancery.backup");
    let to = file.to_str().unwrap();
    timed("create", || drop(service.cli(&["backup", "create", "--to", to]).ok()));
    let megabytes = std::fs::metadata(&file).unwrap().len() as f64 / 1e6;
    println!("{:<34} {megabytes:>9.1} MB", "the file");
    let at = format!("@{to}");
    let env = service.env();
    assert!(service.end().success());
    let url = format!("sqlite:{}", folder.join("again.db").display());
    let config = elsewhere(&folder, "again", &url);
    let config_at = config.to_str().unwrap();
    let offline = |verb: &str| {
        let args = ["backup", verb, "--config", config_at, &at];
        drop(Cli::new(env.clone(), &args).ok());
    };
    timed("verify", || offline("verify"));
    timed("restore", || offline("restore"));
    timed("first start after it", || {
        drop(Launch::server(&config, &folder).start())
    });
    let again = Launch::server(&config, &folder).start();
    let last = format!("o{}", objects - 1);
    let read = Cli::new(env, &["secret", "get", "--name", &last]).ok();
    assert_eq!(read, value(objects - 1));
    drop(again);
}

fn value(number: u64) -> String {
    format!("{number:0>100}")
}

fn timed(what: &str, act: impl FnOnce()) {
    let begun = Instant::now();
    act();
    println!("{what:<34} {:>9.2} s", begun.elapsed().as_secs_f64());
}

async fn fill(target: &Target, objects: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (target, next) = (target.clone(), next.clone());
            tokio::spawn(async move {
                let mut sender = target.connect().await;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= objects {
                        return;
                    }
                    let body = serde_json::json!({ "value": value(number) }).to_string();
                    let shot = Shot {
                        method: Method::PUT,
                        path: format!("/api/vaults/kv-prod/secrets/o{number}"),
                        body: Bytes::from(body),
                    };
                    target.shoot(&mut sender, shot).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}
