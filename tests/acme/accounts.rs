//! Accounts and key changes (rows 31 to 45).

use serde_json::{Value, json};

use crate::house::{Acme, client, stranger};
use crate::support::acme::{Client, Key};
use crate::support::softhsm::with_token;

#[tokio::test]
async fn row_31_row_32_an_account_is_made_once_for_a_key() {
    let stranger = stranger().await;
    let url = stranger.url("newAccount");
    let asked = json!({"contact": ["mailto:a@example.com"], "termsOfServiceAgreed": true});
    let made = stranger.post(&url, &asked).await.is(201);
    let account = made.json();
    assert_eq!(account["status"], "valid");
    assert_eq!(account["contact"], json!(["mailto:a@example.com"]));
    assert!(account["orders"].as_str().unwrap().starts_with(made.header("location")));

    let again = stranger
        .post(&url, &json!({"contact": ["mailto:b@example.com"]}))
        .await
        .is(200);
    assert_eq!(again.header("location"), made.header("location"));
    assert_eq!(again.json(), account, "what the second request asks for is ignored");
    let all = futures::future::join_all((0..4).map(|_| stranger.post(&url, &asked))).await;
    assert!(
        all.iter()
            .all(|answer| answer.header("location") == made.header("location"))
    );
}

#[tokio::test]
async fn row_32_of_concurrent_requests_with_one_key_one_makes_the_account() {
    let stranger = stranger().await.with_key(Key::es256());
    let url = stranger.url("newAccount");
    let asked = json!({});
    let all = futures::future::join_all((0..8).map(|_| stranger.post(&url, &asked))).await;
    assert_eq!(all.iter().filter(|answer| answer.status == 201).count(), 1);
    assert!(
        all.iter()
            .all(|answer| answer.header("location") == all[0].header("location"))
    );
}

#[tokio::test]
async fn row_33_an_existing_account_that_there_is_not_is_not_made() {
    let stranger = stranger().await.with_key(Key::es256());
    let url = stranger.url("newAccount");
    for _ in 0..2 {
        let answer = stranger.post(&url, &json!({"onlyReturnExisting": true})).await;
        answer.problem(400, "accountDoesNotExist");
    }
    stranger.post(&url, &json!({})).await.is(201);
    stranger.post(&url, &json!({"onlyReturnExisting": true})).await.is(200);
}

#[test]
fn row_11_row_34_terms_are_told_and_must_be_agreed_to() {
    with_token(|token| async move {
        let acme = Acme::open(
            token,
            "terms_of_service = \"https://ca.test/terms\"\nwebsite = \"https://ca.test\"",
        )
        .await;
        let stranger = acme.stranger().await;
        assert_eq!(stranger.directory["meta"]["termsOfService"], "https://ca.test/terms");
        assert_eq!(stranger.directory["meta"]["website"], "https://ca.test");
        assert_eq!(stranger.directory["meta"]["caaIdentities"], json!(["ca.test"]));
        let url = stranger.url("newAccount");
        for asked in [json!({}), json!({"termsOfServiceAgreed": false})] {
            let answer = stranger.post(&url, &asked).await;
            assert_eq!(
                answer.link("terms-of-service").as_deref(),
                Some("https://ca.test/terms")
            );
            answer.problem(403, "userActionRequired");
        }
        let made = stranger
            .post(&url, &json!({"termsOfServiceAgreed": true}))
            .await
            .is(201);
        assert_eq!(made.json()["termsOfServiceAgreed"], true);
    });
}

#[tokio::test]
async fn row_36_contacts_are_judged_when_an_account_is_made_and_changed() {
    let client = client().await;
    let stranger = client.by_key().with_key(Key::es256());
    for (contact, kind) in [
        ("tel:+123", "unsupportedContact"),
        ("mailto:a@example.com?cc=b@example.com", "invalidContact"),
        ("mailto:a@example.com,b@example.com", "invalidContact"),
    ] {
        let asked = json!({ "contact": [contact] });
        stranger
            .post(&client.url("newAccount"), &asked)
            .await
            .problem(400, kind);
        client
            .post(client.kid.as_ref().unwrap(), &asked)
            .await
            .problem(400, kind);
    }
}

#[tokio::test]
async fn row_37_row_38_an_update_changes_contacts_and_ignores_the_rest() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    let before = client.get(&url).await.is(200).json();
    let update = json!({
        "contact": ["mailto:new@example.com"], "orders": "https://x.test/", "status": "valid",
        "termsOfServiceAgreed": false, "onlyReturnExisting": true, "more": 1,
    });
    let changed = client.post(&url, &update).await.is(200).json();
    let expected = json!({"contact": ["mailto:new@example.com"], "orders": before["orders"], "status": "valid",
        "termsOfServiceAgreed": true});
    assert_eq!(changed, expected);
    assert_eq!(client.get(&url).await.json(), expected);
    assert_eq!(client.post(&url, &json!({})).await.is(200).json(), expected);
    let emptied = client.post(&url, &json!({"contact": []})).await.is(200).json();
    assert_eq!(emptied["contact"], json!([]));
}

#[tokio::test]
async fn row_39_a_deactivated_account_is_refused_for_ever() {
    let client = client().await;
    let url = client.kid.clone().unwrap();
    let (order, _) = client.order(&["row39.test"]).await;
    let gone = client
        .post(&url, &json!({"status": "deactivated"}))
        .await
        .is(200)
        .json();
    assert_eq!(gone["status"], "deactivated");
    for url in [&url, &order] {
        client.get(url).await.problem(401, "unauthorized");
    }
    client
        .post(&client.url("newOrder"), &json!({}))
        .await
        .problem(401, "unauthorized");
    let by_key = client.by_key();
    for asked in [json!({}), json!({"onlyReturnExisting": true})] {
        by_key
            .post(&client.url("newAccount"), &asked)
            .await
            .problem(401, "unauthorized");
    }
}

#[test]
fn row_40_deactivation_ends_what_is_pending_and_revokes_nothing() {
    with_token(|token| async move {
        let acme = Acme::open(token, "").await;
        let client = acme.client().await;
        let (_, chain, _) = client.certificate(&acme.world, &["kept.test"]).await;
        let (order, _) = client.order(&["pending.test"]).await;
        client
            .post(client.kid.as_ref().unwrap(), &json!({"status": "deactivated"}))
            .await
            .is(200);
        // As the store has it: its holder cannot ask any more.
        assert_eq!(acme.count("acme_order", "invalid").await, 1, "{order}");
        assert_eq!(acme.count("acme_authorization", "deactivated").await, 2);
        let facts = chancery::x509::chain::Facts::read(&crate::certificates::leaf(&chain)).unwrap();
        assert!(acme.house.services.authority.issued(&facts.serial).await.is_ok());
    });
}

/// The inner JWS of a key change.
fn inner(client: &Client, url: &str, new: &Key, change: impl FnOnce(&mut Value, &mut Value)) -> Value {
    let mut protected = json!({"alg": new.alg, "jwk": new.jwk, "url": url});
    let mut payload = json!({"account": client.kid, "oldKey": client.key.jwk});
    change(&mut protected, &mut payload);
    new.jws(&protected, &payload.to_string())
}

#[tokio::test]
async fn row_41_a_key_change_is_checked_in_every_part() {
    let client = client().await;
    let url = client.url("keyChange");
    let new = Key::es256();
    type Change = Box<dyn FnOnce(&mut Value, &mut Value)>;
    let kid = client.kid.clone();
    let stranger = Key::es256().jwk;
    let wrong: Vec<(&str, Change)> = vec![
        (
            "kid for jwk",
            Box::new(move |protected, _| {
                protected.as_object_mut().unwrap().remove("jwk");
                protected["kid"] = json!(kid);
            }),
        ),
        ("a nonce", Box::new(|protected, _| protected["nonce"] = json!("AAAA"))),
        (
            "another url",
            Box::new(|protected, _| protected["url"] = json!("https://x.test/")),
        ),
        (
            "another account",
            Box::new(|_, payload| payload["account"] = json!("https://x.test/")),
        ),
        (
            "another old key",
            Box::new(move |_, payload| payload["oldKey"] = stranger),
        ),
        (
            "no old key",
            Box::new(|_, payload| drop(payload.as_object_mut().unwrap().remove("oldKey"))),
        ),
    ];
    for (what, change) in wrong {
        let answer = client.post(&url, &inner(&client, &url, &new, change)).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        answer.problem(400, "malformed");
    }
    // Signed by another key than it names.
    let mut forged = inner(&client, &url, &new, |_, _| {});
    forged["signature"] = inner(&client, &url, &Key::es256(), |_, _| {})["signature"].clone();
    client.post(&url, &forged).await.problem(403, "unauthorized");
    client.post(&url, &json!({})).await.problem(400, "malformed");
    client.get(client.kid.as_ref().unwrap()).await.is(200);
}

#[tokio::test]
async fn row_42_row_45_no_two_accounts_share_a_key() {
    let (client, other) = (client().await, client().await);
    let url = client.url("keyChange");
    for taken in [&other, &client] {
        let answer = client.post(&url, &inner(&client, &url, &taken.key, |_, _| {})).await;
        assert_eq!(answer.header("location"), taken.kid.as_ref().unwrap());
        answer.problem(409, "malformed");
    }
}

#[tokio::test]
async fn row_43_after_a_key_change_the_new_key_goes_on_and_the_old_is_dead() {
    let client = client().await;
    let (order, placed) = client.order(&["row43.test"]).await;
    let url = client.url("keyChange");
    let new = Key::es256();
    client.post(&url, &inner(&client, &url, &new, |_, _| {})).await.is(200);
    client.get(&order).await.problem(403, "unauthorized");
    let renewed = client.with_key(new);
    assert_eq!(renewed.get(&order).await.is(200).json(), placed);
    let answer = renewed
        .by_key()
        .post(&client.url("newAccount"), &json!({}))
        .await
        .is(200);
    assert_eq!(answer.header("location"), client.kid.as_ref().unwrap());
    // The old key is free for another account.
    let other = client
        .by_key()
        .post(&client.url("newAccount"), &json!({}))
        .await
        .is(201);
    assert_ne!(other.header("location"), client.kid.as_ref().unwrap());
}

#[test]
fn row_44_the_list_of_orders_comes_by_pages_without_what_failed() {
    with_token(|token| async move {
        let acme = Acme::open(token, "orders_per_page = 2").await;
        let client = acme.client().await;
        let account = client.get(client.kid.as_ref().unwrap()).await.json();
        let list = account["orders"].as_str().unwrap().to_owned();
        assert_eq!(client.get(&list).await.is(200).json(), json!({"orders": []}));

        let mut placed = Vec::new();
        for n in 0..5 {
            placed.push(client.order(&[&format!("n{n}.test")]).await.0);
            acme.advance(1).await;
        }
        placed.reverse();
        let mut seen = Vec::new();
        let mut next = Some(list.clone());
        while let Some(page) = next {
            let answer = client.get(&page).await.is(200);
            let orders = answer.json()["orders"].as_array().unwrap().clone();
            assert!((1..=2).contains(&orders.len()));
            seen.extend(orders.iter().map(|order| order.as_str().unwrap().to_owned()));
            next = answer.link("next");
        }
        assert_eq!(seen, placed);
        acme.advance(2 * 24 * 3_600).await;
        assert_eq!(client.get(&list).await.is(200).json(), json!({"orders": []}));
    });
}
