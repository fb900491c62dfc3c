//! Vaults and secrets.

use chancery::policy::Role;
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
        assert_eq!(
            vault,
            json!({
                "name": "kv", "created": START.to_string(), "created_by": "spiffe://chancery.test/officer",
                "retention_days": 90, "purge_protection": false, "revision": 1,
            })
        );
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
        replaced["labels"] = json!(["AWSPREVIOUS"]);
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

#[test]
fn what_stands_beside_a_value_is_set_and_changed() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/a";
        let body = json!({
            "value": "x", "enabled": false, "not_before": "2026-01-01T00:00:00Z", "expires": "2026-02-01T00:00:00Z",
            "content_type": "text/plain", "tags": {"env": "prod"},
        });
        let set = client.put(path, &[], &body).await.is(200).json();
        assert_eq!(
            (&set["enabled"], &set["expires"], &set["labels"]),
            (&json!(false), &json!("2026-02-01T00:00:00Z"), &json!(["AWSCURRENT"]))
        );
        let says = client.call("GET", path).await.problem(409, "conflict");
        assert!(says.contains("is disabled: enable it"), "{says}");

        let metadata = format!("{path}/metadata");
        let shown = client.call("GET", &metadata).await.is(200);
        assert_eq!(shown.header("etag"), "\"1\"");
        let stale = [("if-match", "\"2\"")];
        client
            .patch(&metadata, &stale, &json!({"enabled": true}))
            .await
            .problem(409, "conflict");
        let at_one = [("if-match", "\"1\"")];
        let change = json!({"enabled": true, "expires": null, "content_type": null});
        let changed = client.patch(&metadata, &at_one, &change).await.is(200);
        assert_eq!(changed.header("etag"), "\"2\"");
        let changed = changed.json();
        assert_eq!(
            (
                &changed["enabled"],
                changed.get("expires"),
                changed.get("content_type"),
                &changed["not_before"]
            ),
            (&json!(true), None, None, &json!("2026-01-01T00:00:00Z"))
        );
        client.call("GET", path).await.is(200);
        for (wrong, body) in [
            (&metadata, json!({"value": "y"})),
            (&metadata, json!({"expires": "tomorrow"})),
            (&metadata, json!({"expires": "2025-12-31T00:00:00Z"})),
            (&format!("{path}/versions/0/metadata"), json!({})),
        ] {
            client.patch(wrong, &[], &body).await.problem(400, "invalid");
        }
        client
            .patch(&format!("{path}/versions/7/metadata"), &[], &json!({}))
            .await
            .problem(404, "not_found");
        let one = format!("{path}/versions/1/metadata");
        assert_eq!(client.call("GET", &one).await.is(200).json(), changed);

        // Whoever may read may not change.
        house.node.assign("user", Role::SecretsUser).await;
        let user = house.client("user").await;
        user.call("GET", &one).await.is(200);
        user.patch(&one, &[], &json!({"enabled": false}))
            .await
            .problem(403, "denied");
        for path in [
            format!("{path}/versions/1/destroy"),
            format!("{path}/versions/1/recover"),
        ] {
            let body = if path.ends_with("recover") { "" } else { "{}" };
            let json = [("content-type", "application/json")];
            user.send(user.request("POST", &path, &json, body.into()))
                .await
                .problem(403, "denied");
        }
        user.put(&format!("{path}/labels/blue"), &[], &json!({"version": "1"}))
            .await
            .problem(403, "denied");
    });
}

#[test]
fn labels_point_at_versions_and_versions_are_destroyed() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/db%2Fpassword";
        let key = [("idempotency-key", "k1")];
        let first = client.put(path, &key, &json!({"value": "1"})).await.is(200).json();
        assert_eq!(
            client.put(path, &key, &json!({"value": "1"})).await.is(200).json(),
            first
        );
        client
            .put(path, &key, &json!({"value": "2"}))
            .await
            .problem(409, "conflict");
        client
            .put(path, &[("idempotency-key", "a b")], &json!({"value": "2"}))
            .await
            .problem(400, "invalid");
        let pending = json!({"value": "2", "labels": ["AWSPENDING"]});
        let pending = client.put(path, &[], &pending).await.is(200).json();
        assert_eq!(
            (&pending["current"], &pending["labels"]),
            (&json!(false), &json!(["AWSPENDING"]))
        );
        let read = |version: &str| {
            let path = format!("{path}/versions/{version}");
            let client = &client;
            async move { client.call("GET", &path).await.is(200).json()["value"].clone() }
        };
        assert_eq!(client.call("GET", path).await.is(200).json()["value"], "1");
        assert_eq!(read("AWSPENDING").await, "2");

        let label = format!("{path}/labels/AWSCURRENT");
        let to_pending = json!({"version": "AWSPENDING"});
        let says = client.put(&label, &[], &to_pending).await.problem(409, "conflict");
        assert!(says.contains("points at version 1"), "{says}");
        let to_pending = json!({"version": "AWSPENDING", "from": "1"});
        let finished = client.put(&label, &[], &to_pending).await.is(200);
        assert_eq!(finished.header("etag"), "\"3\"");
        assert_eq!(finished.json()["labels"], json!(["AWSCURRENT", "AWSPENDING"]));
        assert_eq!(client.call("GET", path).await.is(200).json()["value"], "2");
        assert_eq!(read("AWSPREVIOUS").await, "1");
        let label = format!("{path}/labels/AWSPENDING");
        client
            .call("DELETE", &format!("{label}?from=1"))
            .await
            .problem(409, "conflict");
        let taken = client.call("DELETE", &format!("{label}?from=2")).await.is(200).json();
        assert_eq!(taken["labels"], json!(["AWSCURRENT"]));
        client
            .call("DELETE", &format!("{path}/labels/AWSCURRENT"))
            .await
            .problem(400, "invalid");

        let one = format!("{path}/versions/1");
        let later = client
            .post(&format!("{one}/destroy"), &json!({"delay_s": 3600}))
            .await
            .is(200)
            .json();
        let until = (START + std::time::Duration::from_secs(3600)).to_string();
        assert_eq!(later["recoverable_until"], until);
        client.call("GET", &one).await.problem(404, "not_found");
        let kept = client.call("POST", &format!("{one}/recover")).await.is(200).json();
        assert_eq!(kept.get("recoverable_until"), None);
        assert_eq!(read("1").await, "1");
        let gone = client.post(&format!("{one}/destroy"), &json!({})).await.is(200).json();
        assert_eq!(gone["destroyed"], START.to_string());
        let says = client.call("GET", &one).await.problem(404, "not_found");
        assert!(says.contains("destroyed for good"), "{says}");
    });
}

#[test]
fn a_list_is_narrowed() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        for (name, tags) in [
            ("db%2Fa", json!({"env": "prod"})),
            ("db%2Fb", json!({"env": "test"})),
            ("web", json!({"env": "prod"})),
        ] {
            let body = json!({"value": "x", "tags": tags});
            client
                .put(&format!("/api/vaults/kv/secrets/{name}"), &[], &body)
                .await
                .is(200);
        }
        let names = |query: &'static str| {
            let client = &client;
            async move {
                let path = format!("/api/vaults/kv/secrets?{query}");
                let page = client.call("GET", &path).await.is(200).json();
                let items = page["items"].as_array().unwrap();
                (
                    items.iter().map(|it| it["name"].clone()).collect::<Vec<_>>(),
                    page["next"].clone(),
                )
            }
        };
        assert_eq!(names("prefix=db%2F").await.0, ["db/a", "db/b"]);
        assert_eq!(names("tag=env:prod").await.0, ["db/a", "web"]);
        assert_eq!(names("tag=env:prod&prefix=w&state=enabled").await.0, ["web"]);
        let first = names("tag=env:prod&limit=1").await;
        assert_eq!(first, (vec![json!("db/a")], json!("db/a")));
        assert_eq!(names("tag=env:prod&limit=1&cursor=db%2Fa").await.0, ["web"]);
        for wrong in ["state=odd", "tag=:x", "order=name"] {
            client
                .call("GET", &format!("/api/vaults/kv/secrets?{wrong}"))
                .await
                .problem(400, "invalid");
        }
    });
}

#[test]
fn a_value_is_made_by_the_rules_and_not_answered() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let path = "/api/vaults/kv/secrets/made";
        let rules = json!({"generate": {
            "kind": "password",
            "length": 40,
            "exclude": ["punctuation", "uppercase"],
            "exclude_characters": "0o1l",
            "require_each": true,
        }});
        let once = [("idempotency-key", "one")];
        let set = client.put(path, &once, &rules).await.is(200);
        assert!(set.json().get("value").is_none());
        let value = client.call("GET", path).await.is(200).json()["value"].clone();
        let value = value.as_str().unwrap();
        assert_eq!(value.len(), 40);
        assert!(
            value.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{value}"
        );
        assert!(!value.contains(['0', 'o', '1', 'l']), "{value}");
        // Sent again it is the same version; sent anew it is another value.
        client.put(path, &once, &rules).await.is(200);
        assert_eq!(client.call("GET", path).await.is(200).json()["ordinal"], 1);
        client.put(path, &[], &rules).await.is(200);
        let next = client.call("GET", path).await.is(200).json();
        assert_eq!(next["ordinal"], 2);
        assert_ne!(next["value"], value);

        for (body, says) in [
            (json!({}), "either `value` or `generate`"),
            (
                json!({"value": "x", "generate": {"kind": "uuid"}}),
                "either `value` or `generate`",
            ),
            (json!({"generate": {"kind": "pin"}}), "`password`, `token`, `uuid`"),
            (json!({"generate": {"kind": "uuid", "length": 3}}), "one length"),
            (
                json!({"generate": {"kind": "token", "require_each": true}}),
                "only passwords",
            ),
            (json!({"generate": {"kind": "password", "length": 5000}}), "1 to 4096"),
            (
                json!({"generate": {"kind": "password", "exclude": ["vowels"]}}),
                "`lowercase`",
            ),
        ] {
            let said = client.put(path, &[], &body).await.problem(400, "invalid");
            assert!(said.contains(says), "{said}");
        }
    });
}

#[test]
fn a_backup_is_taken_and_restored() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        for vault in ["kv", "kw"] {
            client.post("/api/vaults", &json!({"name": vault})).await.is(201);
        }
        let path = "/api/vaults/kv/secrets/db%2Fa";
        // Longer than other bodies may be.
        let value = "x".repeat(60_000);
        for _ in 0..12 {
            client.put(path, &[], &json!({"value": value})).await.is(200);
        }
        let backup = client.call("POST", &format!("{path}/backup")).await.is(200).json();
        assert_eq!(backup["name"], "db/a");
        let restore = json!({"value": backup["value"]});
        let to = "/api/vaults/kw/restore/secrets";
        let restored = client.post(to, &restore).await.is(201).json();
        assert_eq!((&restored["name"], &restored["ordinal"]), (&json!("db/a"), &json!(12)));
        let read = client.call("GET", "/api/vaults/kw/secrets/db%2Fa/versions/3").await;
        assert_eq!(read.is(200).json()["value"], value);
        client.post(to, &restore).await.problem(409, "conflict");

        for (body, says) in [
            (json!({"value": "AAAA"}), "no backup"),
            (json!({"value": "?"}), "base64"),
            (json!({}), "value"),
        ] {
            let said = client.post(to, &body).await.problem(400, "invalid");
            assert!(said.contains(says), "{said}");
        }
        let said = client
            .post("/api/vaults/kw/restore/keys", &restore)
            .await
            .problem(400, "invalid");
        assert!(said.contains("one of the secrets"), "{said}");

        client
            .post("/api/vaults/kv/keys", &json!({"name": "k", "type": "ec-p256"}))
            .await
            .is(201);
        let backup = client.call("POST", "/api/vaults/kv/keys/k/backup").await.is(200).json();
        client.call("DELETE", "/api/vaults/kv/keys/k").await.is(200);
        client.call("POST", "/api/vaults/kv/keys/k/purge").await.is(204);
        let restored = client
            .post("/api/vaults/kw/restore/keys", &json!({"value": backup["value"]}))
            .await
            .is(201);
        assert_eq!(restored.json()["jwk"]["crv"], "P-256");
    });
}

#[test]
fn a_secret_is_rotated() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = house.client("officer").await;
        client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
        let (secret, rotation) = ("/api/vaults/kv/secrets/a", "/api/vaults/kv/secrets/a/rotation");
        let policy = json!({"rotator": "db", "every_s": 86_400, "generate": {"kind": "token", "length": 16}});
        client.put(rotation, &[], &policy).await.is(404);
        client.put(secret, &[], &json!({"value": "first"})).await.is(200);
        client.call("GET", rotation).await.is(404);
        for wrong in [
            json!({"rotator": "db"}),
            json!({"rotator": "db", "every_s": 86_400, "cron": "@daily"}),
            json!({"rotator": "db", "every_s": 1}),
            json!({"rotator": "db", "cron": "never"}),
            json!({"rotator": "none", "every_s": 86_400}),
            json!({"rotator": "db", "every_s": 86_400, "command": ["/bin/sh"]}),
            json!({"rotator": "db", "every_s": 86_400, "generate": {"kind": "dice"}}),
        ] {
            client.put(rotation, &[], &wrong).await.is(400);
        }

        let set = client.put(rotation, &[], &policy).await.is(200).json();
        assert_eq!(set["state"], "scheduled");
        assert_eq!(set["every_s"], 86_400);
        assert_eq!(set["generate"]["length"], 16);
        assert_eq!(
            set["next"],
            (START + std::time::Duration::from_secs(86_400)).to_string()
        );
        assert_eq!(client.call("GET", rotation).await.is(200).json(), set);
        let path = "/api/vaults/kv/secrets/a/rotate";
        let begun = client.call("POST", path).await.is(202).json();
        assert_eq!(
            (&begun["state"], &begun["step"]),
            (&json!("rotating"), &json!("pending"))
        );

        let vault = &house.services.vault;
        assert_eq!(vault.rotate_due(&house.services.gate).await.unwrap(), 1);
        let value = client.call("GET", secret).await.is(200).json();
        assert_eq!(
            (&value["ordinal"], value["value"].as_str().unwrap().len()),
            (&json!(2), 22)
        );
        let done = client.call("GET", rotation).await.is(200).json();
        assert_eq!(
            (&done["state"], &done["rotated"]),
            (&json!("scheduled"), &json!(START.to_string()))
        );
        client.call("DELETE", rotation).await.is(204);
        client.call("DELETE", rotation).await.is(404);
        client.call("POST", path).await.is(404);
    });
}
