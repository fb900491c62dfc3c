//! Vaults and secrets.

use serde_json::json;

use crate::house::House;
use crate::support::node::START;
use crate::support::softhsm::with_token;

#[test]
fn a_secret_goes_through_its_life() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        let vault = client.post("/api/vaults", &json!({"name": "kv"})).await.is(201).json();
        assert_eq!(vault, json!({"name": "kv", "created": START.to_string()}));
        assert_eq!(client.call("GET", "/api/vaults/kv").await.is(200).json(), vault);
        assert_eq!(
            client.call("GET", "/api/vaults").await.is(200).json(),
            json!({"items": [vault]})
        );

        // A name with a slash stands in one segment.
        let path = "/api/vaults/kv/secrets/db%2Fpassword";
        let tags = json!({"team": "a"});
        let body = json!({"value": "hunter2", "content_type": "text/plain", "tags": tags});
        let first = client.put(path, &[], &body).await.is(200).json();
        assert_eq!(
            (&first["name"], &first["ordinal"], &first["current"]),
            (&json!("db/password"), &json!(1), &json!(true))
        );
        let second = client
            .put(path, &[], &json!({"value": "/wA=", "encoding": "base64"}))
            .await
            .is(200)
            .json();

        let read = client.call("GET", path).await.is(200);
        assert_eq!(read.header("cache-control"), "no-store");
        assert_eq!(
            read.header("etag"),
            format!("\"{}\"", second["version"].as_str().unwrap())
        );
        assert_eq!(read.json()["value"], "/wA=");
        assert_eq!(read.json()["encoding"], "base64");
        for version in ["1", first["version"].as_str().unwrap()] {
            let read = client
                .call("GET", &format!("{path}/versions/{version}"))
                .await
                .is(200)
                .json();
            assert_eq!((&read["value"], &read["encoding"]), (&json!("hunter2"), &json!("utf8")));
        }
        let versions = client
            .call("GET", &format!("{path}/versions?limit=1"))
            .await
            .is(200)
            .json();
        assert_eq!(versions["items"], json!([second]));
        let next = versions["next"].as_str().unwrap();
        let rest = client
            .call("GET", &format!("{path}/versions?cursor={next}"))
            .await
            .is(200)
            .json();
        let mut replaced = first;
        replaced["current"] = json!(false);
        assert_eq!(rest, json!({"items": [replaced]}));

        let known = client.call("GET", &format!("{path}/metadata")).await.is(200).json();
        assert_eq!(known["ordinal"], 2);
        assert_eq!(
            client.call("GET", "/api/vaults/kv/secrets").await.is(200).json(),
            json!({"items": [known]})
        );

        let deleted = client.call("DELETE", path).await.is(200).json();
        assert_eq!(deleted["deleted"], START.to_string());
        let says = client.call("GET", path).await.problem(404, "not_found");
        assert!(says.contains("recover it before"), "{says}");
        client
            .put(path, &[], &json!({"value": "x"}))
            .await
            .problem(409, "conflict");
        assert_eq!(
            client.call("POST", &format!("{path}/recover")).await.is(200).json(),
            known
        );
        client.call("GET", path).await.is(200);
    });
}

#[test]
fn conditions_are_headers() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let (path, body) = ("/api/vaults/kv/secrets/a", json!({"value": "x"}));
        client
            .put(path, &[("if-match", "*")], &body)
            .await
            .problem(409, "conflict");
        let first = client.put(path, &[("if-none-match", "*")], &body).await.is(200).json();
        client
            .put(path, &[("if-none-match", "*")], &body)
            .await
            .problem(409, "conflict");
        let tag = format!("\"{}\"", first["version"].as_str().unwrap());
        client.put(path, &[("if-match", &tag)], &body).await.is(200);
        client
            .put(path, &[("if-match", &tag)], &body)
            .await
            .problem(409, "conflict");
        client.put(path, &[("if-match", "2")], &body).await.is(200);
        for wrong in [("if-match", "W/\"x\""), ("if-none-match", "2")] {
            client.put(path, &[wrong], &body).await.problem(400, "invalid");
        }
    });
}
