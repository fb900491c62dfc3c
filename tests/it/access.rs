//! Who may read what, for how long.

use std::time::Duration;

use serde_json::{Value, json};

use crate::house::{TestHouse, stranger};

on_both! {
    a_role_opens_one_vault_and_its_end_closes_it => role;
    a_revoked_certificate_is_refused_with_the_next_request => revoked;
    a_certificate_ends_and_is_renewed_before => expired;
    a_join_token_is_used_once_and_its_answer_can_be_asked_for_again => join_token;
    every_act_is_in_the_log => logged;
}

const SECRET: &str = "/api/vaults/kv-prod/secrets/db-password";

async fn with_secret(house: &TestHouse) {
    house
        .call(&house.admin, "PUT", SECRET, json!({ "value": "correct horse" }))
        .await
        .ok();
}

async fn role(house: TestHouse) {
    with_secret(&house).await;
    let web = house.workload("web").await;
    let refusal = house.call(&web.peer, "GET", SECRET, Value::Null).await.refused(403);
    assert!(refusal.contains("ReadSecret") && refusal.contains("role"), "{refusal}");

    let id = house.assign("web", "Secrets User", "vaults/kv-prod").await;
    let read = house.call(&web.peer, "GET", SECRET, Value::Null).await.ok();
    assert_eq!(read["value"], "correct horse");
    house
        .call(&web.peer, "PUT", SECRET, json!({ "value": "x" }))
        .await
        .refused(403);

    let path = format!("/api/role-assignments/{id}");
    assert!(
        house
            .call(&house.admin, "DELETE", &path, Value::Null)
            .await
            .status
            .is_success()
    );
    house.call(&web.peer, "GET", SECRET, Value::Null).await.refused(403);
}

async fn revoked(house: TestHouse) {
    with_secret(&house).await;
    let web = house.workload("web").await;
    house.assign("web", "Secrets User", "vaults/kv-prod").await;
    house.call(&web.peer, "GET", SECRET, Value::Null).await.ok();

    let path = format!("/api/authorities/internal/certificates/{}/revoke", web.serial);
    house
        .call(&house.admin, "POST", &path, json!({ "reason": "key-compromise" }))
        .await
        .ok();
    let refusal = house.call(&web.peer, "GET", SECRET, Value::Null).await.refused(401);
    assert!(refusal.contains("revoked"), "{refusal}");
}

async fn expired(house: TestHouse) {
    let web = house.workload("web").await;
    let csr = crate::house::request_pem(&web.key, &[]);
    house
        .call(&web.peer, "POST", "/api/reenroll", json!({ "csr_pem": csr }))
        .await
        .ok();
    house.advance(Duration::from_secs(40 * 86_400)).await;
    let refusal = house
        .call(&web.peer, "POST", "/api/reenroll", json!({ "csr_pem": csr }))
        .await
        .refused(401);
    assert!(refusal.contains("ended"), "{refusal}");
}

async fn join_token(house: TestHouse) {
    let token = house.token("web").await;
    let key = chancery::x509::key::generate(chancery::key_type::KeyType::EcP256).unwrap();
    let first = house.try_enroll(&token, &key).await.ok();
    let again = house.try_enroll(&token, &key).await.ok();
    assert_eq!(
        first["chain_pem"], again["chain_pem"],
        "a lost answer is answered again"
    );
    let other = chancery::x509::key::generate(chancery::key_type::KeyType::EcP256).unwrap();
    house.try_enroll(&token, &other).await.refused(401);

    let late = house.token("late").await;
    house.advance(Duration::from_secs(8 * 86_400)).await;
    house.try_enroll(&late, &other).await.refused(401);
    house.try_enroll("cj_nonsense", &other).await.refused(401);
}

async fn logged(house: TestHouse) {
    with_secret(&house).await;
    let web = house.workload("web").await;
    house.call(&web.peer, "GET", SECRET, Value::Null).await.refused(403);
    house.call(&stranger(), "GET", SECRET, Value::Null).await.refused(401);
    house.advance(Duration::from_secs(2)).await;
    let records = loop {
        let records = house.records().await;
        // Strangers are counted and written once a second, by a task of the gate's.
        if records.iter().any(|r| r["caller"]["id"] == "unknown") {
            break records;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        house.advance(Duration::from_secs(1)).await;
    };
    let of = |action: &str| records.iter().filter(|r| r["action"] == action).collect::<Vec<_>>();
    assert_eq!(of("SetSecret")[0]["outcome"], "done");
    assert_eq!(of("SetSecret")[0]["resource"], "vaults/kv-prod/secrets/db-password");
    assert_eq!(of("ReadSecret")[0]["outcome"], "denied");
    assert_eq!(of("ReadSecret")[0]["caller"]["id"], "spiffe://chancery.test/web");
    assert_eq!(of("ReadSecret")[0]["caller"]["serial"], web.serial.as_str());
    // Every intent has its outcome.
    for intent in records.iter().filter(|r| r["outcome"] == "intent") {
        assert!(records.iter().any(|r| r["closes"] == intent["id"]), "open: {intent}");
    }
    let told = serde_json::to_string(&records).unwrap();
    assert!(!told.contains("correct horse"), "a value is in the log");
}
