//! What those who run the service look at: health, metrics, the audit log, roles.

use std::sync::Arc;

use chancery::cli::verify::{Proven, verify_proof};
use serde_json::json;

use crate::house::{Client, House};
use crate::support::softhsm::with_token;

#[test]
fn health_is_public_and_metrics_are_not() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let stranger = house.stranger();
        for path in ["/healthz", "/readyz", "/version"] {
            stranger.call("GET", path).await.is(200);
        }
        stranger.call("GET", "/metrics").await.problem(401, "unauthenticated");
        house
            .client("web")
            .await
            .call("GET", "/metrics")
            .await
            .problem(403, "denied");
        let allowed = house.client("auditor").await.call("GET", "/metrics").await.is(200);
        let counted = "chancery_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1";
        let text = String::from_utf8(allowed.body).unwrap();
        for said in [
            counted,
            "chancery_issuer_not_after_seconds{issuer=\"internal-root-1\"} ",
            "chancery_audit_healthy 1",
        ] {
            assert!(text.contains(said), "{text}");
        }
        let own = Client {
            routes: &house.metrics,
            chain: Arc::new([]),
            serial: String::new(),
        };
        own.call("GET", "/metrics").await.is(200);
        own.call("GET", "/api/vaults").await.problem(404, "not_found");
    });
}

#[test]
fn the_log_is_searched_and_the_search_is_recorded() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        house
            .client("officer")
            .await
            .call("GET", "/api/audit/log")
            .await
            .problem(403, "denied");
        let search = |query: &str| {
            let path = format!("/api/audit/records?{query}");
            let auditor = &auditor;
            async move { auditor.call("GET", &path).await.is(200).json() }
        };
        let found = search("outcome=denied&action=ReadAuditLog&resource=audit").await;
        let item = &found["items"][0];
        let index = item["index"].as_u64().unwrap();
        let lies = house.node.log.entries(index, 1).await.unwrap().records;
        assert_eq!(item["record"].as_str().unwrap().as_bytes(), lies[0]);
        assert_eq!(item["node"], "n1");
        assert_eq!(found["logs"][0]["indexed"], 0);
        assert_eq!(found["next"], serde_json::Value::Null);

        // What was asked and how much was found.
        let record = search("limit=1").await["items"][0]["record"]
            .as_str()
            .unwrap()
            .to_owned();
        let record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!(record["action"], "ReadAuditLog");
        assert_eq!(record["detail"]["found"], "1");
        let asked: serde_json::Value = serde_json::from_str(record["detail"]["search"].as_str().unwrap()).unwrap();
        assert_eq!(
            asked,
            serde_json::json!({"action": "ReadAuditLog", "outcome": "denied", "resource": "audit"})
        );
        for wrong in [
            "outcome=bad",
            "decision=bad",
            "record=1",
            "request=x",
            "since=soon",
            "cursor=x",
            "colour=red",
        ] {
            let refused = auditor.call("GET", &format!("/api/audit/records?{wrong}")).await;
            refused.problem(400, "invalid");
        }
    });
}

#[test]
fn a_proof_is_given_to_who_may_read_the_log() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        let key = house.node.log.verifier_key();
        let older = house.node.log.sign_now().await.unwrap();
        let covered = older.lines().nth(1).unwrap();
        let found = auditor.call("GET", "/api/audit/records?limit=1").await.is(200).json();
        let record = found["items"][0]["record"].as_str().unwrap().to_owned();
        let id = serde_json::from_str::<serde_json::Value>(&record).unwrap()["id"].clone();
        house.node.log.sign_now().await.unwrap();
        let by_id = format!("/api/audit/proof?record={}", id.as_str().unwrap());
        let proof = auditor.call("GET", &by_id).await.is(200);
        let proof = String::from_utf8(proof.body.to_vec()).unwrap();
        match verify_proof(&proof, &key, None).unwrap() {
            Proven::Included { record: proven, .. } => assert_eq!(proven, record.into_bytes()),
            other @ Proven::Grown { .. } => panic!("{other:?}"),
        }
        let growth = auditor
            .call("GET", &format!("/api/audit/proof?since={covered}"))
            .await
            .is(200);
        let growth = String::from_utf8(growth.body.to_vec()).unwrap();
        verify_proof(&growth, &key, Some(&older)).unwrap();
        for wrong in ["", "?index=0&since=1", "?record=x", "?index=-1"] {
            let refused = auditor.call("GET", &format!("/api/audit/proof{wrong}")).await;
            refused.problem(400, "invalid");
        }
        auditor
            .call("GET", "/api/audit/proof?index=99999")
            .await
            .problem(404, "not_found");
        auditor
            .call("GET", "/api/audit/proof?since=99999")
            .await
            .problem(409, "conflict");
    });
}

#[test]
fn the_log_is_read_by_who_may() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let auditor = house.client("auditor").await;
        let log = auditor.call("GET", "/api/audit/log").await.is(200).json();
        assert_eq!(log["origin"], "chancery.test/audit/n1");
        assert_eq!(log["verifier_key"], house.node.log.verifier_key());
        let entries = auditor
            .call("GET", "/api/audit/entries?from=0&max=1")
            .await
            .is(200)
            .json();
        let bytes = house.node.log.entries(0, 1).await.unwrap().records;
        let read: chancery::wire::AuditEntries = serde_json::from_value(entries).unwrap();
        assert_eq!(read.records().unwrap(), bytes);
        house.node.log.sign_now().await.unwrap();
        let note = auditor.call("GET", "/api/audit/checkpoint").await.is(200);
        assert!(note.body.starts_with(b"chancery.test/audit/n1\n"));
        for path in ["log", "entries", "records", "proof?index=0", "checkpoint"] {
            let refused = house
                .client("officer")
                .await
                .call("GET", &format!("/api/audit/{path}"))
                .await;
            refused.problem(403, "denied");
        }
    });
}

#[test]
fn a_role_works_from_its_assignment_to_its_revocation() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        house
            .client("officer")
            .await
            .post("/api/vaults", &json!({"name": "kv"}))
            .await
            .is(201);
        let show = "/api/vaults/kv";
        web.call("GET", show).await.problem(403, "denied");
        let asked = json!({"principal": "spiffe://chancery.test/web", "role": "reader", "scope": "vaults/kv"});
        let assigned = admin.post("/api/role-assignments", &asked).await.is(201).json();
        assert_eq!(
            (&assigned["role"], &assigned["scope"]),
            (&json!("Reader"), &json!("vaults/kv"))
        );
        admin
            .post("/api/role-assignments", &asked)
            .await
            .problem(409, "conflict");
        web.call("GET", show).await.is(200);

        let mut listed = Vec::new();
        let mut path = "/api/role-assignments?limit=2".to_owned();
        loop {
            let page = admin.call("GET", &path).await.is(200).json();
            listed.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_str() else { break };
            path = format!("/api/role-assignments?limit=2&cursor={next}");
        }
        assert!(listed.contains(&assigned), "{listed:?}");
        assert_eq!(listed.len(), 4);

        let one = format!("/api/role-assignments/{}", assigned["id"].as_str().unwrap());
        web.call("DELETE", &one).await.problem(403, "denied");
        admin.call("DELETE", &one).await.is(204);
        web.call("GET", show).await.problem(403, "denied");
        admin.call("DELETE", &one).await.problem(404, "not_found");
        for (field, wrong) in [("principal", "web"), ("role", "king"), ("scope", "vaults")] {
            let mut asked = asked.clone();
            asked[field] = json!(wrong);
            admin
                .post("/api/role-assignments", &asked)
                .await
                .problem(400, "invalid");
        }
    });
}
