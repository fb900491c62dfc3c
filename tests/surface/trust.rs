//! The trust bundle, in its three forms, and rotation by the API.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chancery::x509::key::PublicKey;
use chancery::x509::{chain, pem};
use serde_json::{Value, json};

use crate::house::House;
use crate::support::softhsm::with_token;

#[test]
fn the_bundle_says_the_same_in_three_forms_to_everybody() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let stranger = house.stranger();
        let roots = stranger.call("GET", "/roots.pem").await.is(200).body;
        let as_pem = stranger.call("GET", "/trust-bundle").await.is(200);
        assert_eq!(as_pem.header("content-type"), "application/pem-certificate-chain");
        assert_eq!(as_pem.body, roots);
        assert_eq!(as_pem.header("cache-control"), "public, max-age=3600");
        assert_eq!(as_pem.header("vary"), "accept");
        let root = pem::decode_all(pem::CERTIFICATE, std::str::from_utf8(&roots).unwrap()).unwrap();

        let json = stranger.call("GET", "/trust-bundle?format=json").await.is(200);
        let (tag, bundle) = (json.header("etag").to_owned(), json.json());
        assert_eq!(bundle["roots"][0]["label"], "internal-root-1");
        assert_eq!(bundle["issuers"][0]["stage"], "active");

        let spiffe = stranger.call("GET", "/trust-bundle?format=spiffe").await.is(200).json();
        let key = &spiffe["keys"][0];
        assert_eq!(
            (&key["use"], &key["kty"], &key["crv"]),
            (&json!("x509-svid"), &json!("EC"), &json!("P-256"))
        );
        assert_eq!(STANDARD.decode(key["x5c"][0].as_str().unwrap()).unwrap(), root[0]);
        let part = |name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
        let point = [vec![4], part("x"), part("y")].concat();
        let spki = chain::Issuer::read(&root[0]).unwrap().key().spki().to_vec();
        assert!(spki.ends_with(&point) && PublicKey::from_spki(&spki).is_ok());
        assert_eq!(spiffe["spiffe_sequence"], bundle["sequence"]);
        assert_eq!(spiffe["spiffe_refresh_hint"], 3600);

        for (accept, kind) in [
            ("text/html, application/json;q=0.9", "application/json"),
            ("application/jwk-set+json", "application/jwk-set+json"),
            ("*/*", "application/pem-certificate-chain"),
        ] {
            let request = stranger.request("GET", "/trust-bundle", &[("accept", accept)], Default::default());
            assert_eq!(stranger.send(request).await.is(200).header("content-type"), kind);
        }
        let known = [("if-none-match", tag.as_str())];
        let request = stranger.request("GET", "/trust-bundle?format=json", &known, Default::default());
        assert!(stranger.send(request).await.is(304).body.is_empty());
        stranger
            .call("GET", "/trust-bundle?format=xml")
            .await
            .problem(400, "invalid");
    });
}

#[test]
fn a_rotation_is_begun_by_those_who_may_and_seen_by_others() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let (admin, auditor) = (house.client("admin").await, house.client("auditor").await);
        let path = "/api/authorities/internal/rotation";
        auditor.post(path, &json!({})).await.problem(403, "denied");
        auditor.call("GET", path).await.is(200);
        let other = "/api/authorities/other/rotation";
        admin.post(other, &json!({})).await.problem(404, "not_found");
        let wrong = json!({"key_type": "aes-256"});
        assert!(
            admin
                .post(path, &wrong)
                .await
                .problem(400, "invalid")
                .contains("signs nothing")
        );
        let begun = admin.post(path, &json!({"key_type": "ec-p384"})).await.is(202).json();
        let new = &begun["issuers"][2];
        assert_eq!(
            (&new["label"], &new["stage"]),
            (&json!("internal-issuing-2"), &json!("requested"))
        );
        assert_eq!(new["next"], "prepare");
        admin.post(path, &json!({"root": true})).await.problem(409, "conflict");
        let taint = "/api/authorities/internal/issuers/1/taint";
        let why = admin.post(taint, &Value::Null).await.problem(409, "conflict");
        assert!(why.contains("ca rotate"), "{why}");
        admin
            .post("/api/authorities/internal/issuers/9/retire", &json!({}))
            .await
            .problem(404, "not_found");
    });
}
