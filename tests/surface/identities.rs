//! Identities: registered, enrolled by a join token, enrolled again by their certificate.

use chancery::key_type::KeyType;
use chancery::secret::Secret;
use chancery::x509::{csr, key, pem};
use serde_json::json;

use crate::house::House;
use crate::support::softhsm::with_token;

fn request(key: &Secret) -> String {
    pem::encode(pem::CERTIFICATE_REQUEST, &csr::create(key, &[]).unwrap())
}

#[test]
fn a_workload_gets_its_first_certificate_and_the_next() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, stranger) = (house.client("admin").await, house.stranger());
        let id = "spiffe://chancery.test/web";
        let made = admin
            .post("/api/identities", &json!({"id": id, "ttl_s": 600}))
            .await
            .is(201)
            .json();
        assert_eq!((&made["id"], &made["ttl_s"]), (&json!(id), &json!(600)));
        let first = admin.call("GET", "/api/identities?limit=1").await.is(200).json();
        assert_eq!(first["items"][0]["id"], "spiffe://chancery.test/admin");
        let rest = format!("/api/identities?limit=1&cursor={}", first["next"].as_str().unwrap());
        assert_eq!(admin.call("GET", &rest).await.is(200).json()["items"], json!([made]));
        admin
            .post("/api/identities", &json!({"id": id}))
            .await
            .problem(409, "conflict");
        admin
            .post("/api/identities", &json!({"id": "web"}))
            .await
            .problem(400, "invalid");

        let made = admin
            .post("/api/identities/tokens", &json!({"identity": id}))
            .await
            .is(201)
            .json();
        let secret = made["token"].as_str().unwrap();
        let (own, other) = (
            key::generate(KeyType::EcP256).unwrap(),
            key::generate(KeyType::EcP256).unwrap(),
        );
        let ask = |key: &Secret| json!({"token": secret, "csr_pem": request(key)});
        let enrolled = stranger.post("/api/enroll", &ask(&own)).await.is(201).json();
        assert_eq!(enrolled["identity"], id);
        let repeated = stranger.post("/api/enroll", &ask(&own)).await.is(201).json();
        assert_eq!(repeated["serial"], enrolled["serial"]);
        stranger
            .post("/api/enroll", &ask(&other))
            .await
            .problem(401, "unauthenticated");
        let unknown = json!({"token": "cj_x", "csr_pem": request(&own)});
        let says = stranger
            .post("/api/enroll", &unknown)
            .await
            .problem(401, "unauthenticated");
        assert!(!says.contains("cj_x"), "{says}");

        let web = house.holder(enrolled["chain_pem"].as_str().unwrap());
        web.post("/api/identities", &json!({"id": id}))
            .await
            .problem(403, "denied");
        let next = json!({"csr_pem": request(&other)});
        let renewed = web.post("/api/reenroll", &next).await.is(201).json();
        assert_eq!(renewed["identity"], id);
        assert_ne!(renewed["serial"], enrolled["serial"]);
        stranger
            .post("/api/reenroll", &next)
            .await
            .problem(401, "unauthenticated");

        let entries = house.node.log.entries(0, 1000).await.unwrap();
        let said = entries.records.concat();
        assert!(!said.windows(secret.len()).any(|window| window == secret.as_bytes()));
    });
}

/// Disabled is not expired, nor revoked: no certificate helps, and the text says so.
#[test]
fn who_is_disabled_is_refused_with_the_next_request_until_enabled_again() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        let id = "spiffe://chancery.test/web";
        let own = key::generate(KeyType::EcP256).unwrap();
        let next = json!({"csr_pem": request(&own)});
        web.post("/api/reenroll", &next).await.is(201);
        let invited = admin
            .post("/api/identities/tokens", &json!({"identity": id}))
            .await
            .is(201)
            .json();
        let enroll = json!({"token": invited["token"], "csr_pem": request(&own)});

        let which = json!({"id": id});
        web.post("/api/identities/disable", &which).await.problem(403, "denied");
        let disabled = admin.post("/api/identities/disable", &which).await.is(200).json();
        assert!(disabled["disabled"].is_string(), "{disabled}");
        for refused in [
            web.call("GET", "/api/vaults").await,
            web.post("/api/reenroll", &next).await,
            house.stranger().post("/api/enroll", &enroll).await,
        ] {
            let says = refused.problem(401, "unauthenticated");
            assert!(
                says.contains("is disabled") && says.contains("enable it again"),
                "{says}"
            );
        }
        // Others are not concerned, and a second time changes nothing.
        let again = admin.post("/api/identities/disable", &which).await.is(200).json();
        assert_eq!(again["disabled"], disabled["disabled"]);
        let listed = admin.call("GET", "/api/identities").await.is(200).json();
        let of = |id: &str| {
            listed["items"]
                .as_array()
                .unwrap()
                .iter()
                .find(|it| it["id"] == id)
                .cloned()
                .unwrap()
        };
        assert_eq!(of(id), disabled);
        assert!(of("spiffe://chancery.test/admin")["disabled"].is_null());

        let enabled = admin.post("/api/identities/enable", &which).await.is(200).json();
        assert!(enabled["disabled"].is_null(), "{enabled}");
        web.post("/api/reenroll", &next).await.is(201);
        house.stranger().post("/api/enroll", &enroll).await.is(201);

        // Nobody locks the house and throws the key away.
        let admins = json!({"id": "spiffe://chancery.test/admin"});
        let says = admin
            .post("/api/identities/disable", &admins)
            .await
            .problem(409, "conflict");
        assert!(says.contains("take the role away first"), "{says}");
        let unknown = json!({"id": "spiffe://chancery.test/nobody"});
        admin
            .post("/api/identities/disable", &unknown)
            .await
            .problem(404, "not_found");

        let recorded = house.node.recorded().await;
        let of = |action: &str| recorded.iter().filter(|record| record.starts_with(action)).count();
        assert!(of("DisableIdentity") >= 4 && of("EnableIdentity") == 1, "{recorded:#?}");
    });
}
