//! Renewal information and `replaces` (RFC 9773, rows A1 to A9).

use chancery::clock::{Clock, Timestamp};
use chancery::x509::chain::Facts;
use serde_json::{Value, json};

use crate::certificates::leaf;
use crate::house::{Acme, client};
use crate::support::acme::{Answer, Client, World, b64};
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

/// What RFC 9773 §4.1 calls a certificate, by a reading of its own.
fn id(chain: &str) -> String {
    use x509_parser::prelude::*;
    let leaf = leaf(chain);
    let issuer = Facts::read(&leaf).unwrap().issuer_key_id.unwrap();
    let (_, certificate) = X509Certificate::from_der(&leaf).unwrap();
    format!(
        "{}.{}",
        b64(&hex::decode(issuer).unwrap()),
        b64(certificate.raw_serial())
    )
}

async fn info(client: &Client, id: &str) -> Answer {
    let url = format!("{}/{id}", client.url("renewalInfo"));
    client.request("GET", &url, &[], Vec::new()).await
}

fn window(info: &Value) -> (Timestamp, Timestamp) {
    let at = |name: &str| Timestamp::parse_rfc3339(info["suggestedWindow"][name].as_str().unwrap()).unwrap();
    (at("start"), at("end"))
}

async fn replace(client: &Client, names: &[&str], id: &str) -> Answer {
    let identifiers: Vec<Value> = names.iter().map(|name| json!({"type": "dns", "value": name})).collect();
    let asked = json!({"identifiers": identifiers, "replaces": id});
    client.post(&client.url("newOrder"), &asked).await
}

#[tokio::test]
async fn row_a1_row_a2_row_a4_anybody_may_ask_when_to_renew() {
    let client = client().await;
    let (_, chain, _) = client.certificate(&World::shared(), &["row-a1.test"]).await;
    let answer = info(&client, &id(&chain)).await.is(200);
    assert_eq!(answer.header("retry-after"), "21600");
    assert_eq!(answer.header("cache-control"), "public, max-age=21600");
    assert!(answer.link("index").is_some());
    let (start, end) = window(&answer.json());
    let validity = Facts::read(&leaf(&chain)).unwrap().validity;
    assert!(validity.not_before < start && start < end && end < validity.not_after);
    assert!(answer.json().get("explanationURL").is_none());

    info(&client, "nonsense").await.problem(400, "malformed");
    let (issuer, _) = id(&chain)
        .split_once('.')
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap();
    info(&client, &format!("{issuer}.AIdlQyE"))
        .await
        .problem(404, "malformed");
    // Row 4: by GET only.
    let url = format!("{}/{}", client.url("renewalInfo"), id(&chain));
    client.get(&url).await.problem(405, "malformed");
}

#[test]
fn row_a8_the_window_of_a_revoked_certificate_is_over_and_the_page_says_why() {
    with_token(|token| async move {
        let acme = Acme::open(token, "renewal_explanation = \"https://ca.test/why\"").await;
        let client = acme.client().await;
        let (_, chain, _) = client.certificate(&acme.world, &["row-a8.test"]).await;
        let before = info(&client, &id(&chain)).await.json();
        assert!(window(&before).0 > acme.clock.now());
        assert!(before.get("explanationURL").is_none());
        let asked = json!({"certificate": b64(&leaf(&chain))});
        client.post(&client.url("revokeCert"), &asked).await.is(200);
        let after = info(&client, &id(&chain)).await.json();
        let (start, end) = window(&after);
        assert!(start < end && end < acme.clock.now());
        assert_eq!(after["explanationURL"], "https://ca.test/why");
    });
}

#[test]
fn row_a5_row_a6_row_a7_a_certificate_is_replaced_by_one_order_that_does_not_fail() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (_, chain, _) = client
            .certificate(&acme.world, &["a.row-a5.test", "b.row-a5.test"])
            .await;
        let id = id(&chain);
        replace(&client, &["a.row-a5.test"], "nonsense")
            .await
            .problem(400, "malformed");
        replace(&client, &["c.row-a5.test"], &id)
            .await
            .problem(400, "malformed");
        let other = acme.client().await;
        replace(&other, &["a.row-a5.test"], &id)
            .await
            .problem(403, "unauthorized");

        let placed = replace(&client, &["b.row-a5.test", "c.row-a5.test"], &id).await.is(201);
        assert_eq!(placed.json()["replaces"], id);
        let url = placed.header("location").to_owned();
        assert_eq!(client.get(&url).await.json()["replaces"], id);
        replace(&client, &["a.row-a5.test"], &id)
            .await
            .problem(409, "alreadyReplaced");

        // It runs out, and the certificate is free again; it still says what it was for.
        acme.advance(86_401).await;
        let again = replace(&client, &["a.row-a5.test"], &id).await.is(201);
        let (over, url) = (client.get(&url).await.json(), again.header("location").to_owned());
        assert_eq!(
            (over["status"].as_str(), &over["replaces"]),
            (Some("invalid"), &json!(id))
        );
        client.authorize(&acme.world, &url).await;
        let done = client.finalize(&url, &["a.row-a5.test"]).await.0.is(200).json();
        assert_eq!(done["replaces"], id);
        acme.advance(86_401).await;
        replace(&client, &["a.row-a5.test"], &id)
            .await
            .problem(409, "alreadyReplaced");
    });
}

#[test]
fn row_a6_of_two_nodes_on_postgres_one_replaces() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let one = Acme::open_on(token, &postgres.database(), "n1", "").await;
        let two = one.beside("n2").await;
        let here = one.client().await;
        let there = here.over(two.transport());
        let (_, chain, _) = here.certificate(&one.world, &["row-a6.test"]).await;
        let id = id(&chain);
        for _ in 0..2 {
            let all = futures::future::join_all((0..6).map(|n| {
                let client = if n % 2 == 0 { here.clone() } else { there.clone() };
                let id = id.clone();
                async move { replace(&client, &["row-a6.test"], &id).await }
            }))
            .await;
            let placed = all.iter().filter(|answer| answer.status == 201).count();
            assert_eq!(placed, 1);
            for lost in all.into_iter().filter(|answer| answer.status != 201) {
                lost.problem(409, "alreadyReplaced");
            }
            // The one that won runs out, and all ask again.
            one.advance(86_401).await;
        }
    });
}
