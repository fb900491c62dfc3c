//! Keys over HTTP: their life, their uses, and who may do what.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chancery::policy::Role;
use serde_json::{Value, json};

use crate::house::{Client, House};
use crate::support::softhsm::with_token;

const KEYS: &str = "/api/vaults/kv/keys";

async fn vault<'h>(house: &'h House) -> Client<'h> {
    let client = house.client("officer").await;
    client.post("/api/vaults", &json!({"name": "kv"})).await.is(201);
    client
}

#[test]
fn a_key_goes_through_its_life() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = vault(&house).await;
        let body = json!({"name": "team/sign", "type": "ec-p256", "tags": {"team": "a"}});
        let made = client.post(KEYS, &body).await.is(201);
        assert_eq!(made.header("etag"), "\"1\"");
        let key = made.json();
        assert_eq!(
            (
                &key["name"],
                &key["type"],
                &key["ordinal"],
                &key["current"],
                &key["enabled"]
            ),
            (
                &json!("team/sign"),
                &json!("ec-p256"),
                &json!(1),
                &json!(true),
                &json!(true)
            )
        );
        assert_eq!(key["key_ops"], json!(["sign", "verify"]));
        assert_eq!(key["jwk"]["crv"], "P-256");
        assert!(
            key["public_key_pem"]
                .as_str()
                .unwrap()
                .starts_with("-----BEGIN PUBLIC KEY-----")
        );
        client.post(KEYS, &body).await.problem(409, "conflict");

        let path = format!("{KEYS}/team%2Fsign");
        assert_eq!(client.call("GET", &path).await.is(200).json(), key);
        let rotated = client.post(&format!("{path}/rotate"), &json!({})).await.is(200);
        assert_eq!(rotated.header("etag"), "\"2\"");
        let rotated = rotated.json();
        assert_eq!((&rotated["ordinal"], &rotated["id"]), (&json!(2), &key["id"]));
        for version in ["1", key["version"].as_str().unwrap()] {
            let old = client
                .call("GET", &format!("{path}/versions/{version}"))
                .await
                .is(200)
                .json();
            assert_eq!(
                (&old["ordinal"], &old["current"], &old["jwk"]),
                (&json!(1), &json!(false), &key["jwk"])
            );
        }
        let versions = client.call("GET", &format!("{path}/versions")).await.is(200).json();
        let ordinals: Vec<_> = versions["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| &it["ordinal"])
            .collect();
        assert_eq!(ordinals, [&json!(2), &json!(1)]);
        let listed = client.call("GET", KEYS).await.is(200).json();
        assert_eq!(listed["items"][0]["revision"], 2);
        assert_eq!(listed["items"][0].get("jwk"), None);

        let disabled = json!({"enabled": false, "expires": "2090-01-01T00:00:00Z"});
        client
            .patch(&path, &[("if-match", "\"1\"")], &disabled)
            .await
            .problem(409, "conflict");
        client
            .patch(&path, &[("if-match", "x")], &disabled)
            .await
            .problem(400, "invalid");
        let changed = client
            .patch(&path, &[("if-match", "\"2\"")], &disabled)
            .await
            .is(200)
            .json();
        assert_eq!(
            (&changed["enabled"], &changed["expires"], &changed["revision"]),
            (&json!(false), &json!("2090-01-01T00:00:00Z"), &json!(3))
        );
        let sign = json!({"message": BASE64.encode("x")});
        let says = client
            .post(&format!("{path}/sign"), &sign)
            .await
            .problem(409, "conflict");
        assert!(says.contains("is disabled"), "{says}");
        let back = json!({"enabled": true, "expires": null});
        let changed = client
            .patch(&format!("{path}/versions/2"), &[], &back)
            .await
            .is(200)
            .json();
        assert_eq!(changed.get("expires"), None);
        client.post(&format!("{path}/sign"), &sign).await.is(200);

        let deleted = client.call("DELETE", &path).await.is(200).json();
        assert_eq!(deleted["name"], "team/sign");
        client
            .post(&format!("{path}/sign"), &sign)
            .await
            .problem(404, "not_found");
        client.call("POST", &format!("{path}/recover")).await.is(200);
        client.post(&format!("{path}/sign"), &sign).await.is(200);
    });
}

#[test]
fn a_key_that_is_brought_becomes_the_next_version() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = vault(&house).await;
        let body = json!({"name": "k", "type": "aes-256", "key_ops": ["decrypt"], "tags": {"team": "a"}});
        let key = client.post(KEYS, &body).await.is(201).json();
        let path = format!("{KEYS}/k/import");
        let brought = json!({"type": "aes-256", "format": "raw", "key": BASE64.encode([7; 32])});
        let says = client.post(&path, &brought).await.problem(409, "conflict");
        assert!(says.contains("import a new version of it"), "{says}");
        let mut next = brought.clone();
        next["new_version"] = json!(true);
        let made = client.post(&path, &next).await.is(201);
        assert_eq!(made.header("etag"), "\"2\"");
        let made = made.json();
        assert_eq!((&made["id"], &made["ordinal"]), (&key["id"], &json!(2)));
        assert_eq!((&made["key_ops"], &made["tags"]), (&key["key_ops"], &key["tags"]));
        let conditional = |body: Value, tag| {
            let (client, path) = (&client, path.as_str());
            async move { client.post_with(path, &[("if-match", tag)], &body).await }
        };
        conditional(next.clone(), "\"1\"").await.problem(409, "conflict");
        let says = conditional(brought, "\"2\"").await.problem(400, "invalid");
        assert!(says.contains("`new_version`"), "{says}");
        next["protection"] = json!("hsm");
        let says = client.post(&path, &next).await.problem(400, "invalid");
        assert!(says.contains("have protection `software`"), "{says}");
        next["protection"] = json!("software");
        conditional(next, "\"2\"").await.is(201);
    });
}

#[test]
fn two_keys_agree_on_a_secret() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let officer = vault(&house).await;
        house.node.assign("user", Role::CryptoUser).await;
        let user = house.client("user").await;
        let mut made = Vec::new();
        for (name, protection) in [("a", "software"), ("b", "hsm")] {
            let body = json!({"name": name, "type": "ec-p384", "key_ops": ["deriveBits"], "protection": protection});
            let key = officer.post(KEYS, &body).await.is(201).json();
            assert_eq!(
                (&key["key_ops"], &key["jwk"]["key_ops"]),
                (&json!(["deriveBits"]), &json!([]))
            );
            made.push(key);
        }
        let path = |name: &str| format!("{KEYS}/{name}/derive");
        let peer = |text: &str| json!({"peer": BASE64.encode(text)});
        let pem = made[1]["public_key_pem"].as_str().unwrap();
        let one = user.post(&path("a"), &peer(pem)).await.is(200).json();
        let jwk = made[0]["jwk"].to_string();
        let other = user.post(&path("b"), &peer(&jwk)).await.is(200).json();
        assert_eq!(one["secret"], other["secret"]);
        assert_eq!(BASE64.decode(one["secret"].as_str().unwrap()).unwrap().len(), 48);
        assert_eq!(
            (&one["algorithm"], &one["ordinal"], &one["name"]),
            (&json!("ECDH"), &json!(1), &json!("a"))
        );
        let says = user.post(&path("a"), &peer("hunter2!")).await.problem(400, "invalid");
        assert!(says.contains("cannot be read") && !says.contains("hunter2"), "{says}");
        let auditor = house.client("auditor").await;
        let says = auditor.post(&path("a"), &peer(pem)).await.problem(403, "denied");
        assert!(says.contains("DeriveSecret"), "{says}");
        let both = json!({"name": "c", "type": "ec-p384", "key_ops": ["deriveBits", "sign"]});
        officer.post(KEYS, &both).await.problem(400, "invalid");
    });
}

#[test]
fn what_is_encrypted_wrapped_and_signed_comes_back() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let officer = vault(&house).await;
        for (name, kind) in [
            ("aes", "aes-256"),
            ("rsa", "rsa-2048"),
            ("ec", "ec-p384"),
            ("mac", "hmac-256"),
        ] {
            officer.post(KEYS, &json!({"name": name, "type": kind})).await.is(201);
        }
        // Whoever uses keys needs no more than that role.
        house.node.assign("user", Role::CryptoUser).await;
        let client = house.client("user").await;
        let call = |name: &str, act: &str, body: Value| {
            let (client, path) = (&client, format!("{KEYS}/{name}/{act}"));
            async move { client.post(&path, &body).await }
        };
        let plain = BASE64.encode("attack at dawn");
        let context = json!({"tenant": "a", "table": "b"});
        let sealed = call("aes", "encrypt", json!({"plaintext": plain, "context": context}))
            .await
            .is(200);
        assert_eq!(sealed.header("cache-control"), "no-store");
        let sealed = sealed.json();
        assert_eq!(
            (&sealed["algorithm"], &sealed["ordinal"]),
            (&json!("ENVELOPE"), &json!(1))
        );
        let open = |context: &Value| json!({"ciphertext": sealed["ciphertext"], "context": context});
        let opened = call("aes", "decrypt", open(&context)).await.is(200).json();
        assert_eq!(opened["plaintext"], json!(plain));
        let says = call("aes", "decrypt", open(&json!({"tenant": "a"})))
            .await
            .problem(400, "invalid");
        assert!(says.contains("does not decrypt"), "{says}");
        let moved = json!({"ciphertext": sealed["ciphertext"], "context": context, "to_context": {}});
        let moved = call("aes", "re-encrypt", moved).await.is(200).json();
        let opened = call("aes", "decrypt", json!({"ciphertext": moved["ciphertext"]}))
            .await
            .is(200)
            .json();
        assert_eq!(opened["plaintext"], json!(plain));

        for (name, algorithm) in [("aes", "AES-GCM"), ("aes", "AES-CBC"), ("rsa", "RSA-OAEP-256")] {
            let ask = json!({"plaintext": plain, "algorithm": algorithm});
            let mut sealed = call(name, "encrypt", ask).await.is(200).json();
            assert_eq!(sealed["algorithm"], algorithm);
            let fields = sealed.as_object_mut().unwrap();
            fields.retain(|name, _| ["ciphertext", "iv", "tag", "algorithm"].contains(&name.as_str()));
            let opened = call(name, "decrypt", sealed).await.is(200).json();
            assert_eq!(opened["plaintext"], json!(plain), "{algorithm}");
        }
        for name in ["aes", "rsa"] {
            let wrapped = call(name, "wrap", json!({"key": plain})).await.is(200).json();
            let key = call(name, "unwrap", json!({"wrapped": wrapped["wrapped"]}))
                .await
                .is(200)
                .json();
            assert_eq!(key["key"], json!(plain));
            let made = call(name, "data-key", json!({"bytes": 16})).await.is(200).json();
            let opened = call(name, "decrypt", json!({"ciphertext": made["ciphertext"]}))
                .await
                .is(200)
                .json();
            assert_eq!(opened["plaintext"], made["plaintext"]);
            let wrapped_only = call(name, "data-key", json!({"plaintext": false})).await.is(200).json();
            assert_eq!(wrapped_only.get("plaintext"), None);
        }
        for (name, algorithm) in [("rsa", "RS256"), ("rsa", "PS512"), ("ec", "ES384"), ("mac", "HS256")] {
            for format in ["jose", "der"] {
                let ask = json!({"message": plain, "algorithm": algorithm, "format": format});
                let signed = call(name, "sign", ask).await.is(200).json();
                let verify = |message: &str| {
                    let signature = &signed["signature"];
                    json!({"message": message, "algorithm": algorithm, "format": format, "signature": signature})
                };
                for (message, valid) in [(plain.as_str(), true), ("eA==", false)] {
                    let verdict = call(name, "verify", verify(message)).await.is(200).json();
                    assert_eq!(verdict["valid"], valid, "{algorithm} {format}");
                }
            }
        }
        let random = client
            .post("/api/vaults/kv/random", &json!({"bytes": 3}))
            .await
            .is(200)
            .json();
        assert_eq!(random["random"].as_str().unwrap().len(), 4);
    });
}

#[test]
fn wrong_requests_say_what_is_wrong_and_repeat_nothing() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let client = vault(&house).await;
        client
            .post(KEYS, &json!({"name": "aes", "type": "aes-256"}))
            .await
            .is(201);
        let says = client
            .post(KEYS, &json!({"name": "x", "type": "rsa-1024"}))
            .await
            .problem(400, "invalid");
        assert!(says.contains("`rsa-2048`"), "{says}");
        let tpm = json!({"name": "x", "type": "ec-p256", "protection": "tpm"});
        let says = client.post(KEYS, &tpm).await.problem(400, "invalid");
        assert!(says.contains("use one of `hsm`, `software`"), "{says}");
        let ops = json!({"name": "x", "type": "ec-p256", "key_ops": ["encrypt"]});
        let says = client.post(KEYS, &ops).await.problem(400, "invalid");
        assert!(says.contains("`sign`, `verify`"), "{says}");
        for (act, body, expected) in [
            ("encrypt", json!({"plaintext": "hunter2!"}), "column"),
            (
                "encrypt",
                json!({"plaintext": "", "algorithm": "RSA1_5"}),
                "`RSA-OAEP-256`",
            ),
            (
                "encrypt",
                json!({"plaintext": "", "algorithm": "RSA-OAEP"}),
                "does not go with",
            ),
            ("encrypt", json!({"plaintext": BASE64.encode(vec![0; 65_537])}), "65536"),
            ("encrypt", json!({"plaintext": "", "version": "0"}), "is not a version"),
            ("decrypt", json!({"ciphertext": "AAAA"}), "ENVELOPE"),
            ("sign", json!({"message": ""}), "may not be used for `sign`"),
            ("data-key", json!({"bytes": 1025}), "1 to 1024"),
        ] {
            let answer = client.post(&format!("{KEYS}/aes/{act}"), &body).await;
            let says = String::from_utf8(answer.body).unwrap();
            assert!(says.contains(expected), "{act}: {says}");
            assert!(matches!(answer.status.as_u16(), 400 | 409), "{act}: {says}");
            assert!(!says.contains("hunter2"), "{says}");
        }
        let neither = client
            .post(&format!("{KEYS}/aes/sign"), &json!({}))
            .await
            .problem(400, "invalid");
        assert!(neither.contains("`message` or `digest`"), "{neither}");
        client
            .post(&format!("{KEYS}/none/encrypt"), &json!({"plaintext": ""}))
            .await
            .problem(404, "not_found");
    });
}

#[test]
fn who_uses_keys_cannot_change_them_and_who_looks_cannot_use_them() {
    with_token(|token| async move {
        let house = House::open(&token).await;
        let officer = vault(&house).await;
        officer
            .post(KEYS, &json!({"name": "a", "type": "aes-256"}))
            .await
            .is(201);
        let path = format!("{KEYS}/a");
        house.node.assign("user", Role::CryptoUser).await;
        let user = house.client("user").await;
        user.call("GET", &path).await.is(200);
        user.post(KEYS, &json!({"name": "b", "type": "aes-256"}))
            .await
            .problem(403, "denied");
        user.post(&format!("{path}/rotate"), &json!({}))
            .await
            .problem(403, "denied");
        user.patch(&path, &[], &json!({"enabled": false}))
            .await
            .problem(403, "denied");
        user.call("DELETE", &path).await.problem(403, "denied");

        let auditor = house.client("auditor").await;
        auditor.call("GET", &path).await.is(200);
        auditor.call("GET", KEYS).await.is(200);
        let says = auditor
            .post(&format!("{path}/encrypt"), &json!({"plaintext": ""}))
            .await
            .problem(403, "denied");
        assert!(says.contains("EncryptData"), "{says}");
        auditor
            .post("/api/vaults/kv/random", &json!({"bytes": 1}))
            .await
            .problem(403, "denied");

        let stranger = house.stranger();
        stranger
            .post(&format!("{path}/encrypt"), &json!({"plaintext": ""}))
            .await
            .is(401);
    });
}
