//! Transport, nonces and signatures (rows 1 to 30).

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING};
use serde_json::{Value, json};

use crate::house::{Acme, client, served, stranger};
use crate::support::acme::{Key, b64};
use crate::support::softhsm::with_token;

#[tokio::test]
async fn row_01_it_is_served_by_https_only() {
    let client = stranger().await;
    for (name, url) in client.directory.as_object().unwrap() {
        assert!(name == "meta" || url.as_str().unwrap().starts_with("https://"), "{url}");
    }
}

#[tokio::test]
async fn row_02_row_61_the_directory_has_what_there_is_and_no_pre_authorization() {
    let directory = stranger().await.directory;
    for name in ["newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"] {
        assert!(directory[name].is_string(), "{name}");
    }
    assert!(directory.get("newAuthz").is_none());
}

#[tokio::test]
async fn row_03_every_answer_but_the_directory_links_to_it() {
    let (directory, _) = served();
    let client = client().await;
    let answer = client.request("GET", directory, &[], Vec::new()).await;
    assert_eq!(answer.link("index"), None);
    let (order, _) = client.order(&["row03.test"]).await;
    for answer in [
        client.get(&order).await.is(200),
        client.get(&format!("{order}0")).await.is(404),
        client
            .request("HEAD", &client.url("newNonce"), &[], Vec::new())
            .await
            .is(200),
        client.request("GET", &order, &[], Vec::new()).await.is(405),
    ] {
        assert_eq!(answer.link("index").as_deref(), Some(directory));
    }
}

#[tokio::test]
async fn row_04_get_is_for_directory_and_nonces_only() {
    let client = client().await;
    let (order, placed) = client.order(&["row04.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    for url in [
        &order,
        authorization,
        &client.url("newOrder"),
        client.kid.as_ref().unwrap(),
    ] {
        let answer = client.request("GET", url, &[], Vec::new()).await;
        assert!(answer.header("allow").contains("POST"), "{url}");
        answer.problem(405, "malformed");
    }
}

#[tokio::test]
async fn row_05_a_post_as_get_has_an_empty_payload() {
    let (directory, _) = served();
    let client = client().await;
    assert_eq!(client.get(directory).await.is(200).json(), client.directory);
    let nonce = client.get(&client.url("newNonce")).await.is(204);
    assert!(!nonce.header("replay-nonce").is_empty());
    let (order, _) = client.order(&["row05.test"]).await;
    client.get(&order).await.is(200);
    client.post(&order, &json!({})).await.problem(400, "malformed");
    let protected = client.protected(&order).await;
    let mut without = client.key.jws(&protected, "");
    without.as_object_mut().unwrap().remove("payload");
    client.send(&order, &without).await.problem(400, "malformed");
}

#[tokio::test]
async fn row_06_other_content_types_are_refused() {
    let client = client().await;
    let url = client.url("newOrder");
    let jws = client
        .key
        .jws(&client.protected(&url).await, "{}")
        .to_string()
        .into_bytes();
    for kind in ["application/json", "application/jose+json; charset=utf-8", "text/plain"] {
        let answer = client
            .request("POST", &url, &[("content-type", kind)], jws.clone())
            .await;
        answer.problem(415, "malformed");
    }
    client.request("POST", &url, &[], jws).await.problem(415, "malformed");
}

#[tokio::test]
async fn row_08_scripts_of_any_page_may_be_clients() {
    let client = client().await;
    let answer = client.get(client.kid.as_ref().unwrap()).await.is(200);
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert!(answer.header("access-control-expose-headers").contains("Replay-Nonce"));
}

#[tokio::test]
async fn row_09_row_10_errors_are_problems_of_registered_types() {
    let client = client().await;
    let answer = client.get(&format!("{}/none", client.kid.as_ref().unwrap())).await;
    // Not one of the server's paths: no document of ACME's.
    assert!(!answer.is(404).text().contains("urn:ietf:params:acme"));
    let order = client.url("newOrder").replace("new-order", "order/nothing");
    client.get(&order).await.problem(404, "malformed");
}

#[tokio::test]
async fn row_12_fresh_nonces_come_by_head_and_get_and_are_not_cached() {
    let client = stranger().await;
    let url = client.url("newNonce");
    for (method, status) in [("HEAD", 200), ("GET", 204)] {
        let answer = client.request(method, &url, &[], Vec::new()).await.is(status);
        assert!(!answer.header("replay-nonce").is_empty());
        assert_eq!(answer.header("cache-control"), "no-store");
        assert!(answer.body.is_empty());
    }
}

#[tokio::test]
async fn row_13_every_answer_to_a_post_brings_a_nonce_that_works() {
    let client = client().await;
    let url = client.url("newOrder");
    let mut protected = client.protected(&url).await;
    protected["nonce"] = json!(b64(&[7; 40]));
    let refused = client.send(&url, &client.key.jws(&protected, "{}")).await;
    protected["nonce"] = json!(refused.header("replay-nonce"));
    refused.problem(400, "badNonce");
    let payload = json!({"identifiers": [{"type": "dns", "value": "row13.test"}]}).to_string();
    let placed = client.send(&url, &client.key.jws(&protected, &payload)).await.is(201);
    protected["nonce"] = json!(placed.header("replay-nonce"));
    client.send(&url, &client.key.jws(&protected, &payload)).await.is(201);
}

#[tokio::test]
async fn row_14_nonces_differ_and_one_that_is_no_base64url_is_malformed() {
    let client = client().await;
    let (one, other) = (client.nonce().await, client.nonce().await);
    assert_ne!(one, other);
    assert!(
        one.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'),
        "{one}"
    );
    let url = client.url("newOrder");
    for bad in ["a=", "a b", "ä", "+/+/"] {
        let mut protected = client.protected(&url).await;
        protected["nonce"] = json!(bad);
        client
            .send(&url, &client.key.jws(&protected, "{}"))
            .await
            .problem(400, "malformed");
    }
}

#[tokio::test]
async fn row_15_a_nonce_is_good_once() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    let protected = client.protected(&url).await;
    let jws = client.key.jws(&protected, "");
    client.send(&url, &jws).await.is(200);
    for _ in 0..2 {
        client.send(&url, &jws).await.problem(400, "badNonce");
    }
    // Of the same server, made by nobody, and absent.
    let mut forged = protected.clone();
    let text = client.nonce().await;
    forged["nonce"] = json!(format!("{}A{}", &text[..20], &text[21..]));
    if forged["nonce"] != text {
        client
            .send(&url, &client.key.jws(&forged, ""))
            .await
            .problem(400, "badNonce");
    }
    forged.as_object_mut().unwrap().remove("nonce");
    client
        .send(&url, &client.key.jws(&forged, ""))
        .await
        .problem(400, "badNonce");
    // A request that fails has used its nonce too.
    let order = client.url("newOrder");
    let jws = client.key.jws(&client.protected(&order).await, "{}");
    client.send(&order, &jws).await.problem(400, "malformed");
    client.send(&order, &jws).await.problem(400, "badNonce");
}

#[tokio::test]
async fn row_15_of_concurrent_uses_one_wins() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    for _ in 0..4 {
        let jws = client.key.jws(&client.protected(&url).await, "");
        let all = futures::future::join_all((0..16).map(|_| client.send(&url, &jws))).await;
        let won = all.iter().filter(|answer| answer.status == 200).count();
        assert_eq!(won, 1);
        for answer in all.into_iter().filter(|answer| answer.status != 200) {
            answer.problem(400, "badNonce");
        }
    }
}

#[tokio::test]
async fn row_16_a_request_is_one_flattened_signature_without_unprotected_header() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    let good = client.key.jws(&client.protected(&url).await, "");
    let (protected, signature) = (&good["protected"], &good["signature"]);
    let general = json!({"payload": "", "signatures": [{"protected": protected, "signature": signature}]});
    client.send(&url, &general).await.problem(400, "malformed");
    for (member, value) in [("header", json!({"kid": client.kid})), ("signatures", json!([]))] {
        let mut bad = good.clone();
        bad[member] = value;
        client.send(&url, &bad).await.problem(400, "malformed");
    }
    for (member, value) in [("b64", json!(false)), ("crit", json!(["b64"]))] {
        let mut protected = client.protected(&url).await;
        protected[member] = value;
        client
            .send(&url, &client.key.jws(&protected, ""))
            .await
            .problem(400, "malformed");
    }
    // The request was good all the while.
    client.send(&url, &good).await.is(200);
}

#[tokio::test]
async fn row_17_each_key_type_signs_by_its_algorithm_and_macs_never_do() {
    let stranger = stranger().await;
    for key in [
        Key::es256(),
        Key::ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "ES384", "P-384", 48),
        Key::ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "ES512", "P-521", 66),
        Key::ed25519(),
        Key::rsa(),
    ] {
        let client = stranger.registered(key).await;
        client.get(client.kid.as_ref().unwrap()).await.is(200);
    }
    let client = stranger.registered(Key::es256()).await;
    let url = client.kid.clone().unwrap();
    for alg in ["none", "HS256", "HS512"] {
        let mut protected = client.protected(&url).await;
        protected["alg"] = json!(alg);
        client
            .send(&url, &client.key.jws(&protected, ""))
            .await
            .problem(400, "badSignatureAlgorithm");
    }
}

#[tokio::test]
async fn row_18_an_unsupported_algorithm_is_answered_with_those_that_are() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    let mut protected = client.protected(&url).await;
    protected["alg"] = json!("PS256");
    let problem = client
        .send(&url, &client.key.jws(&protected, ""))
        .await
        .problem(400, "badSignatureAlgorithm");
    let algorithms = problem["algorithms"].as_array().unwrap();
    assert!(
        algorithms.contains(&json!("ES256")) && algorithms.contains(&json!("EdDSA")),
        "{problem}"
    );
}

#[tokio::test]
async fn row_19_a_refused_key_is_told_why() {
    let client = stranger().await;
    let url = client.url("newAccount");
    let weak = b64(&[0xc1; 128]);
    for (jwk, alg, why) in [
        (json!({"kty": "RSA", "n": weak, "e": "AQAB"}), "RS256", "1024 bits"),
        (
            json!({"kty": "EC", "crv": "P-256", "x": b64(&[1; 32]), "y": b64(&[1; 32])}),
            "ES256",
            "curve",
        ),
        (json!({"kty": "oct", "k": "AAAA"}), "ES256", "use an EC key"),
    ] {
        let mut protected = client.protected(&url).await;
        (protected["jwk"], protected["alg"]) = (jwk, json!(alg));
        let problem = client
            .send(&url, &client.key.jws(&protected, "{}"))
            .await
            .problem(400, "badPublicKey");
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
    }
}

#[tokio::test]
async fn row_20_the_signed_url_is_the_requests_own() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    for wrong in [
        client.url("newOrder"),
        format!("{url}/"),
        format!("{url}?x"),
        url.replace("https://", "HTTPS://"),
        url.replace("127.0.0.1", "localhost"),
    ] {
        let jws = client.key.jws(&client.protected(&wrong).await, "");
        client.send(&url, &jws).await.problem(403, "unauthorized");
    }
}

#[tokio::test]
async fn row_21_row_22_either_jwk_or_kid_each_where_it_belongs() {
    let client = client().await;
    let (account, order) = (client.url("newAccount"), client.url("newOrder"));
    let mut both = client.protected(&order).await;
    both["jwk"] = client.key.jwk.clone();
    client
        .send(&order, &client.key.jws(&both, "{}"))
        .await
        .problem(400, "malformed");
    let mut neither = client.protected(&order).await;
    neither.as_object_mut().unwrap().remove("kid");
    client
        .send(&order, &client.key.jws(&neither, "{}"))
        .await
        .problem(400, "malformed");
    client.by_key().post(&order, &json!({})).await.problem(400, "malformed");
    client.post(&account, &json!({})).await.problem(400, "malformed");
}

#[tokio::test]
async fn row_23_an_unknown_account_does_not_exist() {
    let mut client = client().await;
    let known = client.kid.clone().unwrap();
    for kid in [
        known.rsplit_once('/').unwrap().0.to_owned() + "/00000000000000000000000000000000",
        "nonsense".to_owned(),
        known.replace("https", "http"),
    ] {
        client.kid = Some(kid);
        client
            .post(&client.url("newOrder"), &json!({}))
            .await
            .problem(400, "accountDoesNotExist");
    }
}

#[tokio::test]
async fn row_24_what_belongs_to_another_account_is_neither_shown_nor_changed() {
    let (owner, other) = (client().await, client().await);
    let (order, placed) = owner.order(&["row24.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    let seen = owner.get(authorization).await.json();
    let challenge = seen["challenges"][0]["url"].as_str().unwrap();
    for url in [&order, authorization, challenge] {
        other.get(url).await.problem(404, "malformed");
    }
    other.post(challenge, &json!({})).await.problem(404, "malformed");
    other
        .post(authorization, &json!({"status": "deactivated"}))
        .await
        .problem(404, "malformed");
    other
        .post(&format!("{order}/finalize"), &json!({"csr": ""}))
        .await
        .problem(404, "malformed");
    other
        .get(owner.kid.as_ref().unwrap())
        .await
        .problem(403, "unauthorized");
    let status = json!({"status": "deactivated"});
    other
        .post(owner.kid.as_ref().unwrap(), &status)
        .await
        .problem(403, "unauthorized");
    assert_eq!(owner.get(authorization).await.is(200).json(), seen);
}

#[tokio::test]
async fn row_25_a_signature_that_does_not_hold_is_refused() {
    let client = client().await;
    let url = client.url("newOrder");
    let impostor = client.with_key(Key::es256());
    impostor.post(&url, &json!({})).await.problem(403, "unauthorized");

    let mut tampered = client.key.jws(&client.protected(&url).await, "{}");
    tampered["payload"] = json!(b64(br#"{"identifiers":[{"type":"dns","value":"x.test"}]}"#));
    client.send(&url, &tampered).await.problem(403, "unauthorized");

    let mut unfit = client.protected(&url).await;
    unfit["alg"] = json!("RS256");
    client
        .send(&url, &client.key.jws(&unfit, "{}"))
        .await
        .problem(400, "badSignatureAlgorithm");
}

#[tokio::test]
async fn row_26_padding_is_refused() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    for member in ["protected", "payload", "signature"] {
        let mut padded = client.key.jws(&client.protected(&url).await, "");
        padded[member] = json!(format!("{}=", padded[member].as_str().unwrap()));
        client.send(&url, &padded).await.problem(400, "malformed");
    }
}

#[tokio::test]
async fn row_27_leading_zeros_of_a_key_are_no_part_of_it() {
    let client = stranger().await.registered(Key::rsa()).await;
    let mut padded = client.by_key();
    let exponent = padded.key.jwk["e"].as_str().unwrap().to_owned();
    assert_eq!(exponent, "AQAB");
    padded.key.jwk["e"] = json!("AAEAAQ");
    let answer = padded.post(&client.url("newAccount"), &json!({})).await.is(200);
    assert_eq!(answer.header("location"), client.kid.unwrap());
}

#[tokio::test]
async fn row_30_bodies_are_bounded() {
    let client = client().await;
    let url = client.url("newOrder");
    let long = json!({"identifiers": [], "x": "x".repeat(200_000)});
    client.post(&url, &long).await.problem(413, "malformed");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let jws = client.key.jws(&client.protected(&url).await, &deep[..20_000]);
    client.send(&url, &jws).await.problem(400, "malformed");
    for body in [Value::Null, json!([]), json!("x"), json!({})] {
        client.send(&url, &body).await.problem(400, "malformed");
    }
}

#[test]
fn row_15_an_old_nonce_is_refused_and_its_use_forgotten_later() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let url = client.kid.clone().unwrap();
        let jws = client.key.jws(&client.protected(&url).await, "");
        acme.advance(4_000).await;
        client.send(&url, &jws).await.problem(400, "badNonce");
        client.get(&url).await.is(200);
    });
}

#[test]
fn strangers_are_recorded_in_aggregate_and_polls_not_at_all() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (order, _) = client.order(&["quiet.test"]).await;
        let before = acme.records().await;
        for _ in 0..5 {
            client.get(&order).await.is(200);
            client
                .with_key(Key::es256())
                .get(&order)
                .await
                .problem(403, "unauthorized");
        }
        acme.advance(2).await;
        let mut after = acme.records().await;
        while after.len() == before.len() {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            after = acme.records().await;
        }
        assert_eq!(after[before.len()..], ["Authenticate denied"]);
    });
}
