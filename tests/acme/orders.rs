//! Orders, authorizations and challenges (rows 46 to 70).

use chancery::key_type::KeyType;
use chancery::x509::{csr, key};
use serde_json::{Value, json};

use crate::house::{Acme, client};
use crate::support::acme::{World, b64, challenge, request};
use crate::support::softhsm::with_token;

async fn refused(client: &crate::support::acme::Client, identifiers: Value, kind: &str) -> Value {
    let answer = client
        .post(&client.url("newOrder"), &json!({ "identifiers": identifiers }))
        .await;
    answer.problem(400, kind)
}

#[tokio::test]
async fn row_46_row_47_an_order_says_what_it_is_and_keeps_it() {
    let client = client().await;
    let (url, placed) = client.order(&["a.row46.test", "B.row46.test", "a.row46.test"]).await;
    assert_eq!(placed["status"], "pending");
    assert!(placed["expires"].as_str().unwrap().ends_with('Z'));
    let names = json!([{"type": "dns", "value": "a.row46.test"}, {"type": "dns", "value": "b.row46.test"}]);
    assert_eq!(placed["identifiers"], names);
    assert_eq!(placed["authorizations"].as_array().unwrap().len(), 2);
    assert_eq!(placed["profile"], "server-tls");
    assert!(placed.get("certificate").is_none());

    client.authorize(&World::shared(), &url).await;
    let (done, _) = client.finalize(&url, &["b.row46.test", "a.row46.test"]).await;
    assert_eq!(done.header("location"), url);
    let done = done.is(200).json();
    assert_eq!(done["status"], "valid");
    for kept in ["expires", "identifiers", "authorizations", "finalize", "profile"] {
        assert_eq!(done[kept], placed[kept], "{kept}");
    }
    assert_eq!(client.get(&url).await.json(), done);
}

#[tokio::test]
async fn row_29_row_48_bad_identifiers_are_told_apart() {
    let client = client().await;
    refused(&client, json!([]), "malformed").await;
    refused(
        &client,
        json!([{"type": "email", "value": "a@b.test"}]),
        "unsupportedIdentifier",
    )
    .await;
    refused(&client, json!([{"type": "dns", "value": "a b.test"}]), "malformed").await;
    refused(
        &client,
        json!([{"type": "ip", "value": "224.0.0.1"}]),
        "rejectedIdentifier",
    )
    .await;
    let several = json!([{"type": "email", "value": "x"}, {"type": "dns", "value": "good.test"},
        {"type": "ip", "value": "0.0.0.0"}]);
    let problem = refused(&client, several, "compound").await;
    let subproblems = problem["subproblems"].as_array().unwrap();
    let kinds: Vec<&Value> = subproblems.iter().map(|one| &one["type"]).collect();
    assert_eq!(
        kinds,
        [
            "urn:ietf:params:acme:error:unsupportedIdentifier",
            "urn:ietf:params:acme:error:rejectedIdentifier"
        ]
    );
    // Row 29: identifiers stand in subproblems only.
    assert!(problem.get("identifier").is_none());
    assert_eq!(subproblems[1]["identifier"], json!({"type": "ip", "value": "0.0.0.0"}));
    let many: Vec<Value> = (0..101)
        .map(|n| json!({"type": "dns", "value": format!("n{n}.test")}))
        .collect();
    refused(&client, json!(many), "malformed").await;
}

#[tokio::test]
async fn row_49_names_are_in_certificate_form() {
    let client = client().await;
    refused(&client, json!([{"type": "dns", "value": "bücher.test"}]), "malformed").await;
    refused(&client, json!([{"type": "dns", "value": "xn--a.test"}]), "malformed").await;
    let (_, placed) = client.order(&["XN--Bcher-kva.row49.test"]).await;
    assert_eq!(placed["identifiers"][0]["value"], "xn--bcher-kva.row49.test");
}

#[tokio::test]
async fn row_50_row_51_a_wildcard_is_authorized_by_its_base_name_and_dns_only() {
    let client = client().await;
    for bad in ["*.*.row50.test", "a.*.row50.test", "*row50.test", "*"] {
        refused(&client, json!([{"type": "dns", "value": bad}]), "malformed").await;
    }
    let (_, placed) = client.order(&["*.row50.test", "row50.test"]).await;
    assert_eq!(placed["identifiers"][0]["value"], "*.row50.test");
    let url = |n: usize| placed["authorizations"][n].as_str().unwrap();
    let wild = client.get(url(0)).await.json();
    assert_eq!(wild["identifier"]["value"], "row50.test");
    assert_eq!(wild["wildcard"], true);
    let methods = |authorization: &Value| {
        let challenges = authorization["challenges"].as_array().unwrap();
        let mut methods: Vec<String> = challenges
            .iter()
            .map(|challenge| challenge["type"].as_str().unwrap().to_owned())
            .collect();
        methods.sort();
        methods
    };
    assert_eq!(methods(&wild), ["dns-01", "dns-account-01"]);
    let plain = client.get(url(1)).await.json();
    assert!(plain.get("wildcard").is_none());
    assert_eq!(methods(&plain), ["dns-01", "dns-account-01", "http-01", "tls-alpn-01"]);
}

#[tokio::test]
async fn row_52_a_time_that_is_asked_for_is_not_quietly_another() {
    let client = client().await;
    for field in ["notBefore", "notAfter"] {
        let asked = json!({"identifiers": [{"type": "dns", "value": "row52.test"}], field: "2030-01-01T00:00:00Z"});
        client
            .post(&client.url("newOrder"), &asked)
            .await
            .problem(400, "malformed");
    }
}

#[tokio::test]
async fn row_53_row_54_only_a_ready_order_is_finalized_and_a_failure_ends_it() {
    let client = client().await;
    let (url, placed) = client.order(&["row53.test", "other.row53.test"]).await;
    let (answer, _) = client.finalize(&url, &["row53.test", "other.row53.test"]).await;
    answer.problem(403, "orderNotReady");
    // The web server has no such file.
    let authorization = placed["authorizations"][0].as_str().unwrap();
    let seen = client.get(authorization).await.json();
    let url_of = challenge(&seen, "http-01")["url"].as_str().unwrap().to_owned();
    client.post(&url_of, &json!({})).await.is(200);
    let ended = client.until(&url, "invalid").await;
    assert!(
        ended["error"]["detail"].as_str().unwrap().contains("row53.test"),
        "{ended}"
    );
    let (answer, _) = client.finalize(&url, &["row53.test", "other.row53.test"]).await;
    answer.problem(403, "orderNotReady");
}

#[tokio::test]
async fn row_55_row_56_row_57_a_bad_request_is_refused_and_the_order_stays_ready() {
    let client = client().await;
    let other = crate::house::client().await;
    let names = ["row55.test", "www.row55.test"];
    let (url, placed) = client.order(&names).await;
    let finalize = placed["finalize"].as_str().unwrap();
    client.authorize(&World::shared(), &url).await;
    for (what, csr) in [
        ("no request", b64(b"nonsense")),
        ("padding", format!("{}=", b64(&request(&names).0))),
        ("a name too few", b64(&request(&names[..1]).0)),
        (
            "a name too many",
            b64(&request(&["row55.test", "www.row55.test", "x.row55.test"]).0),
        ),
        ("another name", b64(&request(&["row55.test", "ftp.row55.test"]).0)),
    ] {
        let answer = client.post(finalize, &json!({ "csr": csr })).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        answer.problem(400, "badCSR");
    }
    // The key of an account, one's own and another's.
    for holder in [&client, &other] {
        let pkcs8 = holder.key.pkcs8().unwrap();
        let names: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
        let csr = csr::create(&pkcs8, &names).unwrap();
        client
            .post(finalize, &json!({"csr": b64(&csr)}))
            .await
            .problem(400, "badCSR");
    }
    let weak = {
        let key = key::generate(KeyType::EcP256).unwrap();
        let mut der = csr::create(&key, &names.map(|name| name.parse().unwrap())).unwrap();
        *der.last_mut().unwrap() ^= 1;
        der
    };
    client
        .post(finalize, &json!({"csr": b64(&weak)}))
        .await
        .problem(400, "badCSR");
    assert_eq!(client.get(&url).await.json()["status"], "ready");
    client.finalize(&url, &names).await.0.is(200);
}

#[tokio::test]
async fn row_58_row_59_of_concurrent_finalizations_one_makes_one_certificate() {
    let client = client().await;
    let (url, _) = client.order(&["row59.test"]).await;
    client.authorize(&World::shared(), &url).await;
    let all = futures::future::join_all((0..6).map(|_| client.finalize(&url, &["row59.test"]))).await;
    assert_eq!(all.iter().filter(|(answer, _)| answer.status == 200).count(), 1);
    for (answer, _) in all.into_iter().filter(|(answer, _)| answer.status != 200) {
        answer.problem(403, "orderNotReady");
    }
    let order = client.until(&url, "valid").await;
    let chain = client.get(order["certificate"].as_str().unwrap()).await.is(200).text();
    let (answer, _) = client.finalize(&url, &["row59.test"]).await;
    answer.problem(403, "orderNotReady");
    assert_eq!(client.get(order["certificate"].as_str().unwrap()).await.text(), chain);
}

#[test]
fn row_60_row_62_an_order_and_its_authorizations_end() {
    with_token(|token| async move {
        let acme = Acme::open(token, "order_life_s = 3600\nauthorization_life_s = 1800").await;
        let client = acme.client().await;
        let (late, _) = client.order(&["late.test"]).await;
        let (ready, placed) = client.order(&["ready.test"]).await;
        let authorization = placed["authorizations"][0].as_str().unwrap();
        let pending = client.get(authorization).await.json();
        client.authorize(&acme.world, &ready).await;
        let shown = client.get(authorization).await.json();
        assert_eq!(shown["status"], "valid");
        assert!(shown["expires"].as_str().unwrap() < pending["expires"].as_str().unwrap());
        acme.advance(1_801).await;
        assert_eq!(client.get(authorization).await.json()["status"], "expired");
        assert_eq!(client.get(&ready).await.json()["status"], "invalid");
        assert_eq!(client.get(&late).await.json()["status"], "pending");
        acme.advance(1_801).await;
        assert_eq!(client.get(&late).await.json()["status"], "invalid");
        let (answer, _) = client.finalize(&ready, &["ready.test"]).await;
        answer.problem(403, "orderNotReady");
    });
}

#[tokio::test]
async fn row_63_tokens_are_long_and_no_two_are_the_same() {
    let client = client().await;
    let (_, placed) = client.order(&["row63.test", "www.row63.test"]).await;
    let mut tokens = std::collections::BTreeSet::new();
    for authorization in placed["authorizations"].as_array().unwrap() {
        let authorization = client.get(authorization.as_str().unwrap()).await.json();
        for challenge in authorization["challenges"].as_array().unwrap() {
            let token = challenge["token"].as_str().unwrap().to_owned();
            assert!(token.len() >= 22 && !token.contains('='), "{token}");
            assert!(tokens.insert(token));
        }
    }
    assert_eq!(tokens.len(), 8);
}

#[tokio::test]
async fn row_64_row_66_a_response_triggers_and_looking_does_not() {
    let client = client().await;
    let (url, placed) = client.order(&["row64.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    let seen = client.get(authorization).await.json();
    let http = challenge(&seen, "http-01");
    let challenge_url = http["url"].as_str().unwrap();
    let looked = client.get(challenge_url).await.is(200);
    assert_eq!(looked.link("up").as_deref(), Some(authorization));
    assert_eq!(looked.json()["status"], "pending");
    World::shared().answer(http["token"].as_str().unwrap(), &client.key.thumbprint());
    let answer = client
        .post(challenge_url, &json!({"keyAuthorization": "x", "type": "dns-01"}))
        .await
        .is(200);
    assert_eq!(answer.link("up").as_deref(), Some(authorization));
    let now = answer.json()["status"].as_str().unwrap().to_owned();
    assert!(["processing", "valid"].contains(&now.as_str()), "{now}");
    client.get(challenge_url).await.is(200);
    client.until(&url, "ready").await;
    let valid = client.get(authorization).await.json();
    assert_eq!(valid["challenges"].as_array().unwrap().len(), 1);
    assert!(valid["challenges"][0]["validated"].is_string(), "{valid}");
}

#[tokio::test]
async fn row_65_a_second_response_changes_nothing_that_is_decided() {
    let client = client().await;
    let (url, placed) = client.order(&["row65.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    client.authorize(&World::shared(), &url).await;
    let seen = client.get(authorization).await.json();
    let challenge_url = seen["challenges"][0]["url"].as_str().unwrap();
    client.post(challenge_url, &json!({})).await.is(200);
    assert_eq!(client.get(authorization).await.json(), seen);
}

#[tokio::test]
async fn row_67_row_68_a_failed_challenge_says_why_and_stays() {
    let client = client().await;
    let (_, placed) = client.order(&["row68.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    let seen = client.get(authorization).await.json();
    let http = challenge(&seen, "http-01");
    World::shared().serve(http["token"].as_str().unwrap(), "something else");
    client.post(http["url"].as_str().unwrap(), &json!({})).await.is(200);
    let ended = client.until(authorization, "invalid").await;
    let failed = challenge(&ended, "http-01");
    assert_eq!(failed["status"], "invalid");
    assert_eq!(failed["error"]["type"], "urn:ietf:params:acme:error:incorrectResponse");
    assert!(
        failed["error"]["detail"].as_str().unwrap().contains("something else"),
        "{failed}"
    );
    assert!(failed.get("validated").is_none());
}

#[tokio::test]
async fn row_69_a_deactivated_authorization_is_never_relied_on() {
    let client = client().await;
    let (url, placed) = client.order(&["row69.test"]).await;
    let authorization = placed["authorizations"][0].as_str().unwrap();
    client.authorize(&World::shared(), &url).await;
    client
        .post(authorization, &json!({"status": "valid"}))
        .await
        .problem(400, "malformed");
    let gone = client
        .post(authorization, &json!({"status": "deactivated"}))
        .await
        .is(200)
        .json();
    assert_eq!(gone["status"], "deactivated");
    client
        .post(authorization, &json!({"status": "deactivated"}))
        .await
        .problem(400, "malformed");
    assert_eq!(client.get(&url).await.json()["status"], "invalid");
    let (answer, _) = client.finalize(&url, &["row69.test"]).await;
    answer.problem(403, "orderNotReady");
}

#[test]
fn row_70_an_authorization_is_relied_on_again_by_its_account_for_its_very_name() {
    with_token(|token| async move {
        let acme = Acme::open(token, "reuse_authorizations = true\nauthorization_life_s = 864000").await;
        let (client, other) = (acme.client().await, acme.client().await);
        let (url, _) = client.order(&["reuse.test"]).await;
        client.authorize(&acme.world, &url).await;
        let again = client.order(&["reuse.test"]).await.1;
        assert_eq!(again["status"], "ready");
        assert_eq!(other.order(&["reuse.test"]).await.1["status"], "pending");
        assert_eq!(client.order(&["*.reuse.test"]).await.1["status"], "pending");
        assert_eq!(client.order(&["www.reuse.test"]).await.1["status"], "pending");
    });
}

#[test]
fn row_73_a_wildcard_is_shown_by_a_text_record_and_caa_is_asked_for_it() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (url, placed) = client.order(&["*.row73.test"]).await;
        let seen = client.get(placed["authorizations"][0].as_str().unwrap()).await.json();
        let dns = challenge(&seen, "dns-01");
        let said = format!("{}.{}", dns["token"].as_str().unwrap(), client.key.thumbprint());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, said.as_bytes());
        acme.world.text("_acme-challenge.row73.test", "something else");
        acme.world.text("_acme-challenge.row73.test", &b64(digest.as_ref()));
        client.post(dns["url"].as_str().unwrap(), &json!({})).await.is(200);
        client.until(&url, "ready").await;
        acme.world.caa("row73.test", "issue", "ca.test");
        acme.world.caa("row73.test", "issuewild", "other.test");
        let (answer, _) = client.finalize(&url, &["*.row73.test"]).await;
        answer.problem(403, "caa");
        assert_eq!(client.get(&url).await.json()["status"], "ready", "it may be put right");
        acme.world.caa("row73.test", "issuewild", "ca.test");
        client.finalize(&url, &["*.row73.test"]).await.0.is(200);
        // Row 70: it says nothing about the name itself.
        assert_eq!(client.order(&["row73.test"]).await.1["status"], "pending");
    });
}

/// R6: what one of several names forbids is found wherever it stands, and it alone is named.
#[test]
fn r06_the_holder_of_each_name_is_asked_by_its_own_name() {
    with_token(|token| async move {
        let acme = Acme::open(token, "reuse_authorizations = true").await;
        let client = acme.client().await;
        let names: Vec<String> = (0..5).map(|n| format!("n{n}.r6.test")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (url, _) = client.order(&names).await;
        client.authorize(&acme.world, &url).await;
        for name in &names {
            acme.world.caa(name, "issue", "other.test");
            let (answer, _) = client.finalize(&url, &names).await;
            let problem = answer.problem(403, "caa");
            let detail = problem["detail"].as_str().unwrap();
            let named = names.iter().filter(|other| detail.contains(**other));
            assert_eq!(named.collect::<Vec<_>>(), [name], "{detail}");
            // One of several records is enough.
            acme.world.caa(name, "issue", "ca.test");
        }
        client.finalize(&url, &names).await.0.is(200);
    });
}

/// R7: with the shortest reuse that anybody asks for, seven hours, and orders that live for days.
#[test]
fn r07_what_was_shown_too_long_ago_is_not_relied_on_and_caa_is_asked_at_each_finalization() {
    with_token(|token| async move {
        const SEVEN_HOURS: u64 = 25_200;
        let settings = "reuse_authorizations = true\nauthorization_life_s = 25200\norder_life_s = 864000";
        let acme = Acme::open(token, settings).await;
        let (client, names) = (acme.client().await, ["r7.test"]);
        let (first, _) = client.order(&names).await;
        client.authorize(&acme.world, &first).await;
        let (second, placed) = client.order(&names).await;
        assert_eq!(
            placed["status"], "pending",
            "what ends before the order is not relied on"
        );
        client.authorize(&acme.world, &second).await;
        acme.advance(SEVEN_HOURS - 10).await;
        for order in [&first, &second] {
            assert_eq!(client.get(order).await.json()["status"], "ready");
        }
        client.finalize(&first, &names).await.0.is(200);

        // The order was ready, and its own time is not over; what it relies on is too old.
        acme.advance(11).await;
        client.finalize(&second, &names).await.0.problem(403, "orderNotReady");
        let (third, _) = client.order(&names).await;
        client.authorize(&acme.world, &third).await;

        // What the holder says has changed since, long within that time.
        acme.advance(3_600).await;
        acme.world.caa("r7.test", "issue", "other.test");
        client.finalize(&third, &names).await.0.problem(403, "caa");
        acme.world.caa("r7.test", "issue", "ca.test");
        client.finalize(&third, &names).await.0.is(200);
    });
}

#[test]
fn every_act_of_an_order_has_its_record_and_its_own_policy() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let before = acme.records().await.len();
        let client = acme.client().await;
        client.certificate(&acme.world, &["recorded.test"]).await;
        let acts = [
            "CreateAcmeAccount done",
            "CreateAcmeOrder done",
            "RespondToAcmeChallenge done",
            "RecordAcmeValidation done",
            "FinalizeAcmeOrder intent",
            "FinalizeAcmeOrder done",
            "DownloadAcmeCertificate done",
        ];
        assert_eq!(acme.records().await[before..], acts);
        let entries = acme.house.services.log.entries(before as u64 + 1, 1).await.unwrap();
        let record: Value = serde_json::from_slice(&entries.records[0]).unwrap();
        let id = client.kid.as_ref().unwrap().rsplit('/').next().unwrap();
        assert_eq!(record["caller"]["id"], format!("acme:internal/{id}"));
        assert_eq!(record["resource"], format!("authorities/internal/accounts/{id}"));
        assert_eq!(record["policy"], json!(["builtin:acme-account"]));
    });
}
