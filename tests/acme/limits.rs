//! How much one may ask for (row 28).

use chancery::x509::pem;
use serde_json::{Value, json};

use crate::certificates::leaf;
use crate::house::Acme;
use crate::support::acme::{Answer, Client, Key, b64, challenge, request};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

/// Where a refusal leads to.
const HELP: &str = "http://chancery.test:8080/acme/limits";

async fn enter(client: &Client) -> Answer {
    let client = client.with_key(Key::es256());
    client
        .post(&client.url("newAccount"), &json!({"termsOfServiceAgreed": true}))
        .await
}

async fn order(client: &Client, names: &[&str]) -> Answer {
    let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
    client
        .post(&client.url("newOrder"), &json!({ "identifiers": identifiers }))
        .await
}

/// Refused, and told for how long and by which setting; in seconds.
#[track_caller]
fn limited(answer: Answer, setting: &str) -> u64 {
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert_eq!(answer.link("help").as_deref(), Some(HELP));
    let problem = answer.problem(429, "rateLimited");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains(setting) && detail.contains(&format!("in {wait} s")),
        "{detail}"
    );
    wait
}

#[test]
fn row_28_new_accounts_from_a_source_are_limited_and_known_ones_are_not() {
    with_token(|token| async move {
        let acme = Acme::open(token, "limits.accounts_per_source = { count = 2, per_s = 600 }").await;
        let stranger = acme.stranger().await;
        let known = acme.client().await;
        enter(&stranger).await.is(201);
        let wait = limited(enter(&stranger).await, "acme.limits.accounts_per_source");
        assert!((299..=301).contains(&wait), "{wait}");
        let known = known.by_key();
        known.post(&known.url("newAccount"), &json!({})).await.is(200);
        acme.advance(wait).await;
        enter(&stranger).await.is(201);
        limited(enter(&stranger).await, "acme.limits.accounts_per_source");
    });
}

#[test]
fn row_28_a_refusal_leads_to_a_page_that_says_what_the_limits_are() {
    with_token(|token| async move {
        let settings = "limits.orders_per_account = { count = 1, per_s = 77 }";
        let postgres = Postgres::start();
        let acme = Acme::open_on(token, &postgres.database(), "n1", settings).await;
        let page = acme
            .plain(HELP.strip_prefix("http://chancery.test:8080").unwrap())
            .await;
        for said in ["1 within 77 s   (acme.limits.orders_per_account)", "Retry-After"] {
            assert!(page.contains(said), "{page}");
        }
        // No other refusal leads there.
        let client = acme.client().await;
        let other = client.post(&client.url("newOrder"), &json!({"identifiers": []})).await;
        assert_eq!((other.status.as_u16(), other.link("help")), (400, None));

        let elsewhere = "limits_explanation = \"https://ca.test/limits\"";
        let acme = acme.beside_with("n2", &format!("{settings}\n{elsewhere}")).await;
        let client = acme.client().await;
        order(&client, &["a.help.test"]).await.is(201);
        let refused = order(&client, &["b.help.test"]).await.is(429);
        assert_eq!(refused.link("help").as_deref(), Some("https://ca.test/limits"));
    });
}

#[test]
fn row_28_orders_are_limited_by_account_domain_and_names_and_renewals_are_not() {
    with_token(|token| async move {
        let settings = "limits.orders_per_account = { count = 4, per_s = 4000 }\n\
             limits.orders_per_domain = { count = 3, per_s = 3000 }\n\
             limits.orders_per_names = { count = 2, per_s = 2000 }";
        let acme = Acme::open(token, settings).await;
        let client = acme.client().await;
        let (_, chain, _) = client.certificate(&acme.world, &["a.one.test"]).await;
        order(&client, &["a.one.test"]).await.is(201);
        limited(order(&client, &["a.one.test"]).await, "acme.limits.orders_per_names");
        // What was refused has counted for nothing.
        order(&client, &["b.one.test"]).await.is(201);
        limited(
            order(&client, &["x.two.test", "c.one.test"]).await,
            "acme.limits.orders_per_domain",
        );
        order(&client, &["x.two.test"]).await.is(201);
        limited(
            order(&client, &["x.three.test"]).await,
            "acme.limits.orders_per_account",
        );
        let other = acme.client().await;
        order(&other, &["x.three.test"]).await.is(201);

        let facts = chancery::x509::chain::Facts::read(&leaf(&chain)).unwrap();
        let issuer = hex::decode(facts.issuer_key_id.unwrap()).unwrap();
        let id = format!("{}.{}", b64(&issuer), b64(&hex::decode(facts.serial).unwrap()));
        let renewal = json!({"identifiers": [{"type": "dns", "value": "a.one.test"}], "replaces": id});
        client.post(&client.url("newOrder"), &renewal).await.is(201);
    });
}

#[test]
fn row_28_a_name_whose_validation_fails_and_fails_is_not_tried_on_and_on() {
    with_token(|token| async move {
        let acme = Acme::open(token, "limits.failed_validations = { count = 2, per_s = 7200 }").await;
        let client = acme.client().await;
        for _ in 0..2 {
            let (url, placed) = client.order(&["failing.test"]).await;
            let authorization = client.get(placed["authorizations"][0].as_str().unwrap()).await.json();
            let challenge = challenge(&authorization, "http-01");
            // Nothing is served under its token.
            client
                .post(challenge["url"].as_str().unwrap(), &json!({}))
                .await
                .is(200);
            client.until(&url, "invalid").await;
        }
        let wait = limited(
            order(&client, &["other.test", "failing.test"]).await,
            "acme.limits.failed_validations",
        );
        order(&client, &["other.test"]).await.is(201);
        order(&acme.client().await, &["failing.test"]).await.is(201);
        acme.advance(wait).await;
        order(&client, &["failing.test"]).await.is(201);
    });
}

#[test]
fn row_28_limits_hold_on_two_nodes_on_postgres_and_after_a_restart() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let settings = "limits.orders_per_names = { count = 5, per_s = 86400 }";
        let one = Acme::open_on(token, &postgres.database(), "n1", settings).await;
        let two = one.beside("n2").await;
        let here = one.client().await;
        let there = here.over(two.transport());
        let all = futures::future::join_all((0..12).map(|n| {
            let client = if n % 2 == 0 { here.clone() } else { there.clone() };
            async move { order(&client, &["limits.test"]).await }
        }))
        .await;
        assert_eq!(all.iter().filter(|answer| answer.status == 201).count(), 5);
        for answer in all.into_iter().filter(|answer| answer.status != 201) {
            limited(answer, "acme.limits.orders_per_names");
        }
        let again = two.beside("n3").await;
        let client = here.over(again.transport());
        limited(order(&client, &["limits.test"]).await, "acme.limits.orders_per_names");
        // Two orders for the same domain in the other order of their names are the same to the store.
        let pairs = (0..8).map(|n| {
            let client = if n % 2 == 0 { here.clone() } else { there.clone() };
            let names = if n % 2 == 0 {
                ["a.l1.test", "a.l2.test"]
            } else {
                ["b.l2.test", "b.l1.test"]
            };
            async move { order(&client, &names).await.is(201) }
        });
        futures::future::join_all(pairs).await;
    });
}

#[test]
fn what_is_issued_by_request_is_limited_by_caller_and_names() {
    with_token(|token| async move {
        let settings = "[ca.limits]\nper_caller = { count = 3, per_s = 3000 }\nper_names = { count = 2, per_s = 2000 }";
        let acme = Acme::open(token, settings).await;
        let issue = async |name: &str| {
            let csr = pem::encode("CERTIFICATE REQUEST", &request(&[name]).0);
            let asked = json!({"csr_pem": csr, "profile": "server-tls"});
            acme.administer("POST", "/api/authorities/internal/issue", asked).await
        };
        for _ in 0..2 {
            assert_eq!(issue("a.test").await.0, 201);
        }
        let (status, problem) = issue("a.test").await;
        assert_eq!(status, 429, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("ca.limits.per_names"),
            "{problem}"
        );
        assert_eq!(issue("b.test").await.0, 201);
        let (status, problem) = issue("c.test").await;
        assert_eq!(status, 429, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains("ca.limits.per_caller"),
            "{problem}"
        );
        acme.advance(1_001).await;
        assert_eq!(issue("c.test").await.0, 201);
        // Refused before anything was signed or kept.
        let refused = acme.records().await;
        let refused = refused.iter().filter(|record| *record == "IssueCertificate failed");
        assert_eq!(refused.count(), 2);
    });
}
