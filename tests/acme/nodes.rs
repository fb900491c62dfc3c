//! What must hold across nodes, restarts and databases: nonces, finalizations, and what was cut off.

use std::time::Duration;

use serde_json::json;

use crate::house::Acme;
use crate::support::acme::{World, challenge};
use crate::support::postgres::Postgres;
use crate::support::process::Launch;
use crate::support::softhsm::with_token;

#[test]
fn row_15_two_nodes_on_postgres_take_each_nonce_once_and_go_on_with_each_others_orders() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let one = Acme::open_on(token, &postgres.database(), "n1", "").await;
        let two = one.beside("n2").await;
        let here = one.client().await;
        let there = here.over(two.transport());
        let url = here.kid.clone().unwrap();

        // Made by one node, used at both at once.
        for _ in 0..8 {
            let jws = here.key.jws(&here.protected(&url).await, "");
            let all = futures::future::join_all((0..8).map(|n| {
                let client = if n % 2 == 0 { here.clone() } else { there.clone() };
                let (url, jws) = (url.clone(), jws.clone());
                async move { client.send(&url, &jws).await }
            }))
            .await;
            assert_eq!(all.iter().filter(|answer| answer.status == 200).count(), 1);
            there.send(&url, &jws).await.problem(400, "badNonce");
        }

        // Placed here, answered there, finalized at both.
        let (order, placed) = here.order(&["nodes.test"]).await;
        let seen = there
            .get(placed["authorizations"][0].as_str().unwrap())
            .await
            .is(200)
            .json();
        let http = challenge(&seen, "http-01");
        one.world
            .answer(http["token"].as_str().unwrap(), &here.key.thumbprint());
        there.post(http["url"].as_str().unwrap(), &json!({})).await.is(200);
        here.until(&order, "ready").await;
        let (a, b) = tokio::join!(
            here.finalize(&order, &["nodes.test"]),
            there.finalize(&order, &["nodes.test"])
        );
        let statuses = [a.0.status.as_u16(), b.0.status.as_u16()];
        assert!(statuses.contains(&200) && statuses.contains(&403), "{statuses:?}");
        let done = there.until(&order, "valid").await;
        let chain = here.get(done["certificate"].as_str().unwrap()).await.is(200).text();
        assert_eq!(
            there.get(done["certificate"].as_str().unwrap()).await.is(200).text(),
            chain
        );

        // What one has changed about an account, the other knows.
        there
            .post(&url, &json!({"contact": ["mailto:a@example.com"]}))
            .await
            .is(200);
        assert_eq!(
            here.get(&url).await.is(200).json()["contact"],
            json!(["mailto:a@example.com"])
        );
        there.post(&url, &json!({"status": "deactivated"})).await.is(200);
        here.get(&url).await.problem(401, "unauthorized");
    });
}

#[test]
fn a_validation_whose_node_is_gone_is_taken_up_by_another() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let one = Acme::open_on(token, &postgres.database(), "n1", "").await;
        let two = one.beside("n2").await;
        let client = one.client().await;
        let (order, placed) = client.order(&["gone.test"]).await;
        let seen = client.get(placed["authorizations"][0].as_str().unwrap()).await.json();
        let http = challenge(&seen, "http-01");
        one.world
            .answer(http["token"].as_str().unwrap(), &client.key.thumbprint());
        // As a node leaves it that ends right after the response: to be validated, by whoever has the lease.
        one.begin_validation(&seen, client.kid.as_ref().unwrap()).await;
        two.house.services.acme.as_ref().unwrap().resume().await.unwrap();
        assert_eq!(client.get(&order).await.json()["status"], "pending", "the lease holds");
        two.advance(100).await;
        two.house.services.acme.as_ref().unwrap().resume().await.unwrap();
        client.until(&order, "ready").await;
    });
}

/// Killed at each persist of an order, the service goes on from disk, and the client gets its certificate by asking on.
#[test]
fn killed_at_every_persist_of_an_order_it_goes_on_from_disk() {
    const POINTS: [&str; 9] = [
        "acme.respond.before",
        "acme.respond.after",
        "acme.validated.before",
        "acme.validated.after",
        "ca.reserve.before",
        "ca.reserve.after",
        "ca.sign.after",
        "ca.store.before",
        "ca.store.after",
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    for point in POINTS {
        runtime.block_on(killed(point));
    }
}

async fn killed(point: &str) {
    let home = tempfile::tempdir().unwrap();
    let world = World::start().await;
    let (tls, http) = (crate::support::child::free_port(), crate::support::child::free_port());
    let launch = Launch::dev_on(&home.path().join("dev"), tls, http)
        .args(["--acme-resolver", &world.dns.to_string()])
        .args(["--acme-http01-port", &world.http.port().to_string()]);
    // Once without, so that what the start itself issues is there.
    drop(launch.start());
    // The start itself issues one, for the listener.
    let launch = launch.fault(point, if point.starts_with("ca.") { 2 } else { 1 });
    let service = launch.start();
    let env = service.env();
    let mut client = crate::house::connect(&env["CHANCERY_ACME_DIRECTORY"], &env["CHANCERY_CACERT"]).await;
    client = client.registered(client.key.clone()).await;
    let account = client.kid.clone().unwrap();
    let used = client.key.jws(&client.protected(&account).await, "");
    client.send(&account, &used).await.is(200);
    let fresh = client.key.jws(&client.protected(&account).await, "");
    let (order, placed) = client.order(&["killed.test"]).await;
    let seen = client.get(placed["authorizations"][0].as_str().unwrap()).await.json();
    let http = challenge(&seen, "http-01");
    world.answer(http["token"].as_str().unwrap(), &client.key.thumbprint());
    let _ = client.try_post(http["url"].as_str().unwrap(), &json!({})).await;
    if point.starts_with("ca.") {
        client.until(&order, "ready").await;
        let (request, _) = crate::support::acme::request(&["killed.test"]);
        let csr = json!({"csr": crate::support::acme::b64(&request)});
        let _ = client.try_post(&format!("{order}/finalize"), &csr).await;
    }
    let service = {
        let mut service = service;
        let status = service.wait(Duration::from_secs(20)).expect("it was not killed");
        assert!(!status.success());
        assert_eq!(launch.fault_hit().as_deref(), Some(point));
        launch.without_fault().start()
    };
    // Row 15: a nonce outlives a restart, and so does its use.
    client.send(&account, &used).await.problem(400, "badNonce");
    client.send(&account, &fresh).await.is(200);
    if point == "acme.respond.before" {
        client.post(http["url"].as_str().unwrap(), &json!({})).await.is(200);
    }
    let order = if point.starts_with("ca.") && point != "ca.reserve.before" {
        client.until(&order, "valid").await
    } else {
        client.until(&order, "ready").await;
        client.finalize(&order, &["killed.test"]).await.0.is(200).json()
    };
    client.get(order["certificate"].as_str().unwrap()).await.is(200);
    drop(service);
}
