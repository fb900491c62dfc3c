//! Upstream issuers, certificate objects and their renewals; nothing is ordered here, because no scheduler runs.

use chancery::upstream::solver::http_01;
use serde_json::json;

use crate::house::House;
use crate::support::node::START;
use crate::support::softhsm::with_token;

#[test]
fn a_certificate_object_waits_for_its_first_order() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let admin = house.client("admin").await;
        admin.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let issuer = json!({"name": "pebble", "directory": "https://127.0.0.1:14000/dir"});
        let made = admin.post("/api/issuers", &issuer).await.is(201).json();
        assert_eq!(made["directory"], issuer["directory"]);
        assert_eq!(
            admin.call("GET", "/api/issuers").await.is(200).json(),
            json!({"items": [made]})
        );
        assert_eq!(admin.call("GET", "/api/issuers/pebble").await.is(200).json(), made);
        admin.call("GET", "/api/issuers/none").await.problem(404, "not_found");

        let spec = json!({"name": "www", "issuer": "pebble", "dns_names": ["www.chancery.test"]});
        let made = admin.post("/api/vaults/kv/certificates", &spec).await.is(202).json();
        let path = "/api/vaults/kv/certificates/www";
        assert_eq!(admin.call("GET", path).await.is(200).json(), made);
        let listed = admin.call("GET", "/api/vaults/kv/certificates").await.is(200).json();
        assert_eq!(listed, json!({"items": [made]}));
        admin
            .call("GET", &format!("{path}/chain"))
            .await
            .problem(409, "conflict");
        admin
            .post(&format!("{path}/revoke"), &json!({}))
            .await
            .problem(409, "conflict");

        let renewal = admin.call("POST", &format!("{path}/renew")).await.is(202).json();
        assert_eq!(
            admin.call("GET", "/api/renewals").await.is(200).json(),
            json!({"items": [renewal]})
        );
        let one = format!("/api/renewals/{}", renewal["id"].as_str().unwrap());
        assert_eq!(admin.call("GET", &one).await.is(200).json(), renewal);
        house.client("web").await.call("GET", &one).await.problem(403, "denied");
        admin
            .call("GET", &format!("/api/renewals/{}", "0".repeat(32)))
            .await
            .problem(404, "not_found");

        // What is wrong with a field is said by its name.
        let mut wrong = spec.clone();
        wrong["dns_name"] = json!("x");
        let says = admin
            .post("/api/vaults/kv/certificates", &wrong)
            .await
            .problem(400, "invalid");
        assert!(says.contains("`dns_name`"), "{says}");
    });
}

#[test]
fn challenges_are_answered_to_everybody() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let answers = std::sync::Arc::new([http_01::Answer {
            domain: "www.chancery.test".to_owned(),
            token: "to-ken_1".to_owned(),
            key_authorization: "to-ken_1.thumb".to_owned(),
        }]);
        house
            .node
            .store
            .transact(move |tx| {
                let answers = answers.clone();
                Box::pin(async move { http_01::publish(tx, "https://ca.test/order/1", &*answers, START).await })
            })
            .await
            .unwrap();
        let plain = house.plain();
        let answer = plain.call("GET", "/.well-known/acme-challenge/to-ken_1").await.is(200);
        assert_eq!(answer.body, b"to-ken_1.thumb");
        plain
            .call("GET", "/.well-known/acme-challenge/other")
            .await
            .problem(404, "not_found");
        plain.call("GET", "/api/vaults").await.problem(404, "not_found");
    });
}
