//! Vaults over HTTP: changed, deleted, recovered, removed; and what stands against it.

use std::time::Duration;

use serde_json::json;

use crate::house::House;
use crate::support::node::START;
use crate::support::softhsm::with_token;

#[test]
fn a_vault_goes_through_its_life() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        let body = json!({"name": "kv", "retention_days": 30, "tags": {"team": "a"}});
        let made = client.post("/api/vaults", &body).await.is(201);
        assert_eq!(made.header("etag"), "\"1\"");
        assert_eq!(made.json()["retention_days"], 30);
        for wrong in [
            json!({"name": "kw", "retention_days": 5}),
            json!({"name": "kw", "days": 30}),
        ] {
            client.post("/api/vaults", &wrong).await.problem(400, "invalid");
        }

        let path = "/api/vaults/kv";
        let change = json!({"tags": {}, "retention_days": 7});
        let stale = [("if-match", "\"2\"")];
        client.patch(path, &stale, &change).await.problem(409, "conflict");
        let changed = client.patch(path, &[("if-match", "\"1\"")], &change).await.is(200);
        assert_eq!(changed.header("etag"), "\"2\"");
        let changed = changed.json();
        assert_eq!((&changed["retention_days"], changed.get("tags")), (&json!(7), None));
        assert_eq!(client.call("GET", path).await.is(200).json(), changed);

        client
            .put("/api/vaults/kv/secrets/a", &[], &json!({"value": "x"}))
            .await
            .is(200);
        for (kind, body) in [
            ("secrets", json!(null)),
            ("keys", json!({"name": "a", "type": "aes-256"})),
        ] {
            if kind == "keys" {
                client.post("/api/vaults/kv/keys", &body).await.is(201);
            }
            let object = format!("/api/vaults/kv/{kind}/a");
            let purge = format!("{object}/purge");
            client.call("POST", &purge).await.problem(409, "conflict");
            client.call("DELETE", &object).await.is(200);
            client.call("POST", &purge).await.is(204);
            client.call("POST", &purge).await.problem(404, "not_found");
            client
                .call("POST", &format!("{object}/recover"))
                .await
                .problem(404, "not_found");
        }
        client
            .put("/api/vaults/kv/secrets/a", &[], &json!({"value": "y"}))
            .await
            .is(200);

        let deleted = client.call("DELETE", path).await.is(200).json();
        let until = START + Duration::from_secs(7 * 86_400);
        assert_eq!(deleted["recoverable_until"], until.to_string());
        let says = client
            .call("GET", "/api/vaults/kv/secrets/a")
            .await
            .problem(404, "not_found");
        assert!(says.contains("vault `kv` was deleted"), "{says}");
        client.call("GET", path).await.problem(404, "not_found");
        assert_eq!(
            client.call("GET", "/api/vaults").await.is(200).json(),
            json!({"items": []})
        );
        assert_eq!(
            client.call("GET", "/api/deleted-vaults").await.is(200).json(),
            json!({"items": [deleted]})
        );
        client
            .post("/api/vaults", &json!({"name": "kv"}))
            .await
            .problem(409, "conflict");
        client.call("POST", "/api/deleted-vaults/kv/recover").await.is(200);
        let read = client.call("GET", "/api/vaults/kv/secrets/a").await.is(200).json();
        assert_eq!(read["value"], "y");
        client
            .call("POST", "/api/deleted-vaults/kv/purge")
            .await
            .problem(409, "conflict");
        client.call("DELETE", path).await.is(200);
        client.call("POST", "/api/deleted-vaults/kv/purge").await.is(204);
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        client
            .call("GET", "/api/vaults/kv/secrets/a")
            .await
            .problem(404, "not_found");
    });
}

#[test]
fn a_vault_with_certificates_is_not_deleted_and_a_deleted_one_gets_none() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let admin = house.client("admin").await;
        let issuer = json!({"name": "pebble", "directory": "https://127.0.0.1:14000/dir"});
        admin.post("/api/issuers", &issuer).await.is(201);
        for vault in ["kv", "kw"] {
            admin.post("/api/vaults", &json!({"name": vault})).await.is(201);
        }
        let spec = json!({"name": "www", "issuer": "pebble", "dns_names": ["www.chancery.test"]});
        admin.post("/api/vaults/kv/certificates", &spec).await.is(202);
        let says = admin.call("DELETE", "/api/vaults/kv").await.problem(409, "conflict");
        assert!(says.contains("has certificates"), "{says}");
        admin.call("GET", "/api/vaults/kv").await.is(200);

        admin.call("DELETE", "/api/vaults/kw").await.is(200);
        admin
            .post("/api/vaults/kw/certificates", &spec)
            .await
            .problem(404, "not_found");
    });
}

#[test]
fn purge_protection_is_never_switched_off() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let admin = house.client("admin").await;
        let body = json!({"name": "kv", "purge_protection": true});
        assert_eq!(
            admin.post("/api/vaults", &body).await.is(201).json()["purge_protection"],
            true
        );
        let off = json!({"purge_protection": false});
        let says = admin.patch("/api/vaults/kv", &[], &off).await.problem(409, "conflict");
        assert!(says.contains("nobody can switch off"), "{says}");
        admin.call("DELETE", "/api/vaults/kv").await.is(200);
        let says = admin
            .call("POST", "/api/deleted-vaults/kv/purge")
            .await
            .problem(409, "conflict");
        assert!(says.contains("kept until"), "{says}");
    });
}
