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
fn r41_who_is_disabled_is_refused_with_the_next_request_until_enabled_again() {
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

/// What an entry asks for is written, shown, changed and deleted by people; strangers get nothing by it.
#[test]
fn registration_entries_are_made_shown_changed_and_deleted() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        let id = "spiffe://chancery.test/job";
        let path = "/api/identities/spiffe%3A%2F%2Fchancery.test%2Fjob";
        let entry =
            json!({"by": "oidc", "issuer": "https://issuer.test", "audience": "chancery", "claims": {"sub": "a"}});
        let made = admin
            .post("/api/identities", &json!({"id": id, "grace_s": 60, "entry": entry}))
            .await
            .is(201)
            .json();
        assert_eq!(
            (&made["grace_s"], &made["entries"][0]["by"]),
            (&json!(60), &json!("oidc"))
        );
        // One more way to the same identity; lifetime and grace are not changed in passing.
        let own = json!({"by": "x509", "name": "uri:spiffe://chancery.test/web"});
        admin
            .post("/api/identities", &json!({"id": id, "entry": own}))
            .await
            .is(201);
        admin
            .post("/api/identities", &json!({"id": id, "entry": own, "grace_s": 9}))
            .await
            .problem(409, "conflict");
        let wrong = json!({"id": id, "entry": {"by": "oidc", "issuer": "https://a.test", "audience": "b"}});
        admin.post("/api/identities", &wrong).await.problem(400, "invalid");
        let wrong = json!({"id": id, "entry": {"by": "word"}});
        admin.post("/api/identities", &wrong).await.problem(400, "invalid");

        let shown = admin.call("GET", path).await.is(200).json();
        let entries = shown["entries"].as_array().unwrap();
        assert!(
            entries.len() == 2 && entries.contains(&made["entries"][0]),
            "{entries:?}"
        );
        let mine = entries.iter().find(|entry| entry["by"] == "x509").unwrap();
        let listed = admin.call("GET", "/api/identities").await.is(200).json();
        let listed = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .find(|it| it["id"] == id)
            .cloned();
        assert!(listed.unwrap().get("entries").is_none());

        let own = format!("{path}/entries/{}", mine["id"].as_str().unwrap());
        // By our own certificate, as long as the entry says so.
        let csr_pem = request(&key::generate(KeyType::EcP256).unwrap());
        let ask = json!({"csr_pem": csr_pem, "identity": id});
        let enrolled = web.post("/api/enroll/certificate", &ask).await.is(201).json();
        assert_eq!(enrolled["identity"], id);
        house
            .stranger()
            .post("/api/enroll/certificate", &ask)
            .await
            .problem(401, "unauthenticated");
        let other = json!({"by": "x509", "name": "uri:spiffe://chancery.test/other"});
        assert_eq!(admin.put(&own, &[], &other).await.is(200).json()["name"], other["name"]);
        web.post("/api/enroll/certificate", &json!({"csr_pem": csr_pem}))
            .await
            .problem(401, "unauthenticated");
        admin.call("DELETE", &own).await.is(204);
        admin.call("DELETE", &own).await.problem(404, "not_found");

        let jwt = json!({"jwt": "a.b.c", "csr_pem": csr_pem});
        let says = house
            .stranger()
            .post("/api/enroll/jwt", &jwt)
            .await
            .problem(401, "unauthenticated");
        assert!(says.contains("not a JWT") && !says.contains("a.b.c"), "{says}");

        let updated = admin.put(path, &[], &json!({"ttl_s": 600})).await.is(200).json();
        assert_eq!((&updated["ttl_s"], updated.get("grace_s")), (&json!(600), None));
        let long = json!({"grace_s": 31 * 86_400});
        admin.put(path, &[], &long).await.problem(400, "invalid");
        for refused in [
            web.call("GET", path).await,
            web.put(path, &[], &json!({})).await,
            web.call("DELETE", &own).await,
            web.put(&own, &[], &other).await,
        ] {
            refused.problem(403, "denied");
        }

        let recorded = house.node.recorded().await;
        for action in ["UpdateIdentity", "UpdateEntry", "DeleteEntry", "ShowIdentity"] {
            assert!(
                recorded.iter().any(|record| record.starts_with(action)),
                "{action}: {recorded:#?}"
            );
        }
    });
}

/// Grace is for renewing, and for nothing else; a revoked certificate has none, however long ago it ended.
#[test]
fn who_has_grace_renews_after_the_end_and_does_nothing_else() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web, lost) = (
            house.client("admin").await,
            house.client("web").await,
            house.client("web").await,
        );
        let path = "/api/identities/spiffe%3A%2F%2Fchancery.test%2Fweb";
        admin.put(path, &[], &json!({"grace_s": 3_600})).await.is(200);
        let revoke = format!("/api/authorities/internal/certificates/{}/revoke", lost.serial);
        admin.post(&revoke, &json!({"reason": "key-compromise"})).await.is(200);
        let next = || json!({"csr_pem": request(&key::generate(KeyType::EcP256).unwrap())});

        // Past the end of all that there is: an hour by the profile.
        house.node.log.sign_now().await.unwrap();
        house.node.clock.advance(std::time::Duration::from_secs(3_601));
        let says = web.call("GET", "/api/vaults").await.problem(401, "unauthenticated");
        assert!(says.contains("ended at"), "{says}");
        let renewed = web.post("/api/reenroll", &next()).await.is(201).json();
        let fresh = house.holder(renewed["chain_pem"].as_str().unwrap());
        fresh.post("/api/reenroll", &next()).await.is(201);
        let says = lost
            .post("/api/reenroll", &next())
            .await
            .problem(401, "unauthenticated");
        assert!(says.contains("is revoked"), "{says}");
        let says = admin
            .post("/api/reenroll", &next())
            .await
            .problem(401, "unauthenticated");
        assert!(says.contains("ended at"), "nobody else has grace: {says}");

        house.node.log.sign_now().await.unwrap();
        house.node.clock.advance(std::time::Duration::from_secs(3_600));
        let says = web.post("/api/reenroll", &next()).await.problem(401, "unauthenticated");
        assert!(says.contains("ended at"), "{says}");

        let entries = house.node.log.entries(0, 1000).await.unwrap();
        let late = entries.records.iter().filter(|record| {
            let record: serde_json::Value = serde_json::from_slice(record).unwrap();
            record["action"] == "Reenroll" && record["outcome"] == "done" && record["detail"]["ended"].is_string()
        });
        assert_eq!(late.count(), 1);
    });
}

/// What one way takes is nothing to the others.
#[test]
fn r10_a_credential_is_good_on_its_own_path_only() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, web) = (house.client("admin").await, house.client("web").await);
        let id = "spiffe://chancery.test/web";
        let made = admin
            .post("/api/identities/tokens", &json!({"identity": id}))
            .await
            .is(201)
            .json();
        let join = made["token"].as_str().unwrap();
        let csr_pem = request(&key::generate(KeyType::EcP256).unwrap());
        let jwt = "eyJhbGciOiJub25lIn0.eyJpc3MiOiJodHRwczovL2EudGVzdCJ9.";
        let stranger = house.stranger();
        for (path, body) in [
            ("/api/enroll/jwt", json!({"jwt": join, "csr_pem": csr_pem})),
            ("/api/enroll", json!({"token": jwt, "csr_pem": csr_pem})),
            ("/api/enroll/certificate", json!({"csr_pem": csr_pem})),
            ("/api/reenroll", json!({"csr_pem": csr_pem})),
        ] {
            let says = stranger.post(path, &body).await.problem(401, "unauthenticated");
            assert!(!says.contains(join) && !says.contains(jwt), "{says}");
        }
        for (path, body) in [
            ("/api/enroll/certificate", json!({"token": join, "csr_pem": csr_pem})),
            ("/api/enroll/jwt", json!({"token": join, "csr_pem": csr_pem})),
            ("/api/enroll", json!({"jwt": jwt, "csr_pem": csr_pem})),
            ("/api/reenroll", json!({"jwt": jwt, "csr_pem": csr_pem})),
        ] {
            let says = web.post(path, &body).await.problem(400, "invalid");
            assert!(!says.contains(join) && !says.contains(jwt), "{says}");
        }
        // A certificate of ours is no other's, unless an entry says so.
        web.post("/api/enroll/certificate", &json!({"csr_pem": csr_pem}))
            .await
            .problem(401, "unauthenticated");
        let ask = json!({"token": join, "csr_pem": csr_pem});
        assert_eq!(stranger.post("/api/enroll", &ask).await.is(201).json()["identity"], id);
    });
}
