//! Refusals say what to do, and lose nothing.

use serde_json::{Value, json};

use crate::house::{TestHouse, stranger};

on_both! {
    a_stranger_is_told_how_to_get_in => unknown;
    bad_input_is_told_what_to_change => bad_input;
}

async fn unknown(house: TestHouse) {
    for (method, path) in [
        ("GET", "/api/vaults"),
        ("GET", "/api/audit/entries"),
        ("POST", "/api/role-assignments"),
    ] {
        let refusal = house.call(&stranger(), method, path, Value::Null).await.refused(401);
        assert!(refusal.contains("certificate"), "{refusal}");
    }
}

async fn bad_input(house: TestHouse) {
    let admin = &house.admin;
    for (method, path, body, hint) in [
        ("POST", "/api/vaults", json!({ "name": "Not A Label" }), "a-z"),
        ("POST", "/api/vaults", json!({ "name": "v", "colour": "red" }), "colour"),
        (
            "PUT",
            "/api/vaults/kv-prod/secrets/a",
            json!({ "value": "x".repeat(70_000) }),
            "65",
        ),
        (
            "PUT",
            "/api/vaults/kv-prod/secrets/a",
            json!({ "value": "%%", "encoding": "base64" }),
            "base64",
        ),
        (
            "PUT",
            "/api/vaults/kv-prod/secrets/..%2Fa",
            json!({ "value": "x" }),
            "..",
        ),
        (
            "POST",
            "/api/role-assignments",
            json!({ "principal": "web", "role": "Reader", "scope": "/" }),
            "spiffe://",
        ),
    ] {
        let answer = house.call(admin, method, path, body).await;
        assert!(
            matches!(answer.status.as_u16(), 400 | 413 | 422),
            "{path}: {}",
            answer.status
        );
        let text = String::from_utf8_lossy(&answer.bytes).into_owned();
        assert!(text.contains(hint), "{path}: {text}");
    }
    house
        .call(admin, "GET", "/api/vaults/kv-prod/secrets/none", Value::Null)
        .await
        .refused(404);
    house
        .call(admin, "POST", "/api/vaults", json!({ "name": "kv-prod" }))
        .await
        .refused(409);
}
