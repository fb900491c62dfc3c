//! What is forgotten, and terms that change (row 35).

use serde_json::{Value, json};

use crate::certificates::leaf;
use crate::house::Acme;
use crate::support::acme::b64;
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

const DAY: u64 = 86_400;

#[test]
fn what_is_over_is_forgotten_and_what_a_certificate_depends_on_is_kept() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let acme = Acme::open_on(token, &postgres.database(), "n1", "keep_ended_s = 86400").await;
        let sweep = async || acme.house.services.acme.as_ref().unwrap().sweep().await.unwrap();
        let client = acme.client().await;
        let (issued, chain, _) = client.certificate(&acme.world, &["kept.test"]).await;
        let (left, placed) = client.order(&["left.test"]).await;
        let authorization = placed["authorizations"][0].as_str().unwrap().to_owned();
        // A node that went away in the middle of a validation: somebody will take it up.
        let (_, worked_on) = client.order(&["worked-on.test"]).await;
        let worked_on = worked_on["authorizations"][0].as_str().unwrap().to_owned();
        let seen = client.get(&worked_on).await.json();
        acme.begin_validation(&seen, client.kid.as_ref().unwrap()).await;

        acme.advance(DAY + 1).await;
        sweep().await;
        assert_eq!(client.get(&left).await.is(200).json()["status"], "invalid");
        acme.advance(DAY).await;
        sweep().await;
        client.get(&left).await.problem(404, "malformed");
        client.get(&authorization).await.problem(404, "malformed");
        client.get(&worked_on).await.is(200);
        let listed = client
            .get(&format!("{}/orders", client.kid.as_ref().unwrap()))
            .await
            .json();
        assert_eq!(listed["orders"], json!([issued]));
        let order = client.get(&issued).await.is(200).json();
        client.get(order["certificate"].as_str().unwrap()).await.is(200);

        // Its account can revoke it, for as long as it lasts.
        let asked = json!({"certificate": b64(&leaf(&chain))});
        client.post(&client.url("revokeCert"), &asked).await.is(200);
        let validity = chancery::x509::chain::Facts::read(&leaf(&chain)).unwrap().validity;
        let life = validity.not_after.since(validity.not_before).as_secs();
        acme.advance(life).await;
        sweep().await;
        client.get(&issued).await.problem(404, "malformed");
        let purges = acme.records().await;
        let purges = purges.iter().filter(|record| *record == "PurgeExpired done");
        assert_eq!(purges.count(), 2, "nothing is recorded where nothing is removed");
    });
}

#[test]
fn row_35_changed_terms_are_agreed_to_before_the_next_order() {
    with_token(|token| async move {
        let postgres = Postgres::start();
        let url = postgres.database();
        let before = Acme::open_on(
            token.clone(),
            &url,
            "n1",
            "terms_of_service = \"https://ca.test/terms-1\"",
        )
        .await;
        let client = before.client().await;
        client.order(&["row35.test"]).await;
        drop(before);

        let settings = "terms_of_service = \"https://ca.test/terms-2\"\nterms_must_be_agreed_again = true";
        let after = Acme::open_on(token, &url, "n2", settings).await;
        let client = client.over(after.transport());
        let asked = json!({"identifiers": [{"type": "dns", "value": "row35.test"}]});
        let answer = client.post(&client.url("newOrder"), &asked).await;
        assert_eq!(
            answer.link("terms-of-service").as_deref(),
            Some("https://ca.test/terms-2")
        );
        let problem = answer.problem(403, "userActionRequired");
        assert_eq!(problem["instance"], "https://ca.test/terms-2");
        // Whoever agrees now, has.
        after.client().await.order(&["row35.test"]).await;

        let id = client.kid.as_ref().unwrap().rsplit('/').next().unwrap().to_owned();
        let path = format!("/api/authorities/internal/acme/accounts/{id}");
        let (status, shown): (u16, Value) = after.administer("PATCH", &path, json!({"terms_agreed": true})).await;
        assert_eq!((status, &shown["terms"]), (200, &json!("https://ca.test/terms-2")));
        client.order(&["row35.test"]).await;
    });
}
