//! What every request gets: a caller, an id, an end, and refusals that say what to do.

use std::time::Duration;

use axum::body::Body;
use serde_json::{Value, json};

use crate::house::House;
use crate::support::softhsm::with_token;

const CANARY: &str = "canary-77b0c2-in-the-wrong-place";

#[test]
fn who_is_not_known_or_may_not_is_told_so_and_recorded() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let officer = house.client("officer").await;
        officer.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/a";
        officer.put(path, &[], &json!({"value": "x"})).await.is(200);

        for _ in 0..3 {
            house.stranger().call("GET", path).await.problem(401, "unauthenticated");
        }
        // Whoever is not known learns nothing about what there is.
        house
            .stranger()
            .call("GET", "/api/vaults/none")
            .await
            .problem(401, "unauthenticated");

        let says = house.client("web").await.call("GET", path).await.problem(403, "denied");
        assert!(
            says.contains("ReadSecret") && says.contains("vaults/kv/secrets/a"),
            "{says}"
        );

        // The connection stays open; the next request is refused.
        let revoked = house.client("officer").await;
        revoked.call("GET", path).await.is(200);
        let admin = house.client("admin").await;
        let revoke = format!("/api/authorities/internal/certificates/{}/revoke", revoked.serial);
        let reason = json!({"reason": "key-compromise"});
        assert_eq!(admin.post(&revoke, &reason).await.is(200).json()["state"], "revoked");
        revoked.call("GET", path).await.problem(401, "unauthenticated");
        house.node.wait(Duration::from_secs(3601)).await;
        officer.call("GET", path).await.problem(401, "unauthenticated");

        let refusals = || async {
            let recorded = house.node.recorded().await;
            recorded
                .iter()
                .filter(|record| record.starts_with("Authenticate"))
                .count()
        };
        for _ in 0..200 {
            if refusals().await >= 3 {
                break;
            }
            house.node.clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(refusals().await, 3, "no certificate (four times), revoked, ended");
        let denied = "ReadSecret vaults/kv/secrets/a  denied".to_owned();
        assert!(house.node.recorded().await.contains(&denied));
    });
}

#[test]
fn a_wrong_request_is_told_what_is_wrong_and_never_hears_its_values() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/a";
        for body in [
            json!({"value": "x", CANARY: 1}),
            json!({"value": {"secret": CANARY}}),
            json!({"value": "x", "encoding": CANARY}),
            json!({"value": CANARY, "encoding": "base64"}),
            json!([CANARY]),
        ] {
            let says = client.put(path, &[], &body).await.problem(400, "invalid");
            assert!(!says.contains(CANARY), "{says}");
        }
        let long = "x".repeat(65_537);
        client
            .put(path, &[], &json!({"value": long}))
            .await
            .problem(400, "invalid");
        client
            .put(path, &[], &json!({"value": "x".repeat(600_000)}))
            .await
            .problem(400, "invalid");
        // The longest value in its longest spelling still goes through.
        let escaped = format!("{{\"value\":\"{}\"}}", "\\u0000".repeat(65_536));
        let json = [("content-type", "application/json")];
        client
            .send(client.request("PUT", path, &json, Body::from(escaped)))
            .await
            .is(200);
        let form = [("content-type", "application/x-www-form-urlencoded")];
        client
            .send(client.request("PUT", path, &form, Body::from("{}")))
            .await
            .problem(400, "invalid");

        for bad in [
            "/api/vaults/KV",
            "/api/vaults/kv/secrets/a%2F..",
            "/api/vaults?limit=x",
            "/api/vaults?x=1",
        ] {
            client.call("GET", bad).await.problem(400, "invalid");
        }
        client
            .call("GET", "/api/vaults/kv/secrets/a/versions/-1")
            .await
            .problem(400, "invalid");
        client
            .call("GET", "/api/vaults/kv/secrets?cursor=..")
            .await
            .problem(400, "invalid");
        client.call("GET", "/api/nothing").await.problem(404, "not_found");
        let method = client.call("PATCH", path).await;
        assert_eq!(method.header("allow"), "GET,HEAD,PUT,DELETE");
        method.problem(405, "invalid");
    });
}

#[test]
fn a_request_has_one_id_everywhere() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        let own = "00112233445566778899aabbccddeeff";
        let request = client.request("GET", "/api/vaults", &[("x-request-id", own)], Body::empty());
        let answer = client.send(request).await.is(200);
        assert_eq!(answer.header("x-request-id"), own);
        let entries = house.node.log.entries(0, 100).await.unwrap();
        let record: Value = serde_json::from_slice(entries.records.last().unwrap()).unwrap();
        assert_eq!(
            (&record["action"], &record["request"]),
            (&json!("ListVaults"), &json!(own))
        );
        assert_eq!(record["caller"]["source"], "192.0.2.7:4711");

        let foreign = client.request("GET", "/api/vaults", &[("x-request-id", "not ours")], Body::empty());
        let given = client.send(foreign).await.is(200);
        assert_eq!(given.header("x-request-id").len(), 32);
    });
}

#[test]
fn a_request_is_found_by_its_trace() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (client, auditor) = (house.client("officer").await, house.client("auditor").await);
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        for headers in [&[("traceparent", &*parent)][..], &[]] {
            let request = client.request("GET", "/api/vaults", headers, Body::empty());
            client.send(request).await.is(200);
        }
        let path = format!("/api/audit/records?trace={trace}");
        let found = auditor.call("GET", &path).await.is(200).json();
        let items = found["items"].as_array().unwrap();
        assert_eq!(items.len(), 1, "{found}");
        let record: Value = serde_json::from_str(items[0]["record"].as_str().unwrap()).unwrap();
        assert_eq!(
            (&record["action"], &record["trace"]),
            (&json!("ListVaults"), &json!(trace))
        );
    });
}

#[test]
fn a_change_whose_caller_went_away_is_finished() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        for n in 0..4 {
            let body = json!({"name": format!("kv-{n}")});
            let mut going = Box::pin(client.post("/api/vaults", &body));
            // The token is asked for a data key; the caller does not wait for it.
            assert!(futures::poll!(&mut going).is_pending());
            drop(going);
        }
        let made = async {
            while client.call("GET", "/api/vaults").await.json()["items"]
                .as_array()
                .unwrap()
                .len()
                < 4
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), made).await.unwrap();
        let recorded = house.node.recorded().await;
        let created = recorded
            .iter()
            .filter(|record| record.starts_with("CreateVault") && record.ends_with("done"));
        assert_eq!(created.count(), 4);
    });
}
