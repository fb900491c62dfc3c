//! Nodes that share a PostgreSQL database and a token, and want the same key at the same time.

use std::sync::Arc;

use chancery::clock::SystemClock;
use chancery::custody;
use chancery::key_type::KeyType;
use chancery::store::{Settings, Store};

use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

#[test]
fn racing_nodes_make_one_key() {
    with_token(|token| async move {
        let url = Postgres::shared().database();
        let mut nodes = Vec::new();
        for n in 1..=4 {
            let settings = Settings { url: url.clone() };
            let node = format!("n{n}").parse().unwrap();
            nodes.push((Store::open(&settings, &node).await.unwrap(), token.hsm()));
        }
        for (label, kind) in [("ca", KeyType::EcP256), ("kek", KeyType::Aes256)] {
            let start = Arc::new(tokio::sync::Barrier::new(nodes.len()));
            let racing: Vec<_> = nodes
                .iter()
                .cloned()
                .map(|(store, hsm)| {
                    let start = Arc::clone(&start);
                    tokio::spawn(async move {
                        start.wait().await;
                        custody::ensure(&store, &hsm, label, kind, &SystemClock).await
                    })
                })
                .collect();
            let mut keys = Vec::new();
            for node in racing {
                keys.push(node.await.unwrap().unwrap().spki_der);
            }
            assert!(keys.windows(2).all(|pair| pair[0] == pair[1]));
        }
    });
}
