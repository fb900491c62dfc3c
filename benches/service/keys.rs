//! Keys in use, and OpenBao's transit engine beside them: a KiB encrypted and decrypted, a P-256 signature.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::load::{self, Shot, Target};
use super::support::process::Service;

fn post(path: &str, body: Bytes) -> Shot {
    Shot {
        method: Method::POST,
        path: path.to_owned(),
        body,
    }
}

/// One request over and over.
async fn row(target: &Target, connections: &[usize], time: Duration, path: &str, body: &Value, what: &str) {
    let body = Bytes::from(body.to_string());
    for &connections in connections {
        let (path, body) = (path.to_owned(), body.clone());
        load::run(target, connections, time, move |_, _| post(&path, body.clone()))
            .await
            .print(what);
    }
}

async fn answer(target: &Target, path: &str, body: &Value) -> Value {
    let answer = target.once(post(path, Bytes::from(body.to_string()))).await;
    serde_json::from_slice(&answer).unwrap()
}

/// The service's rows: keys sealed in the database, and keys in the token.
pub async fn run(service: &Service, target: &Target, time: Duration, connections: &[usize]) {
    for (protection, place) in [("software", ""), ("hsm", ", in the HSM")] {
        for (kind, name) in [("aes-256", "aes"), ("ec-p256", "ec"), ("rsa-2048", "rsa")] {
            let name = format!("{name}-{protection}");
            let what = ["--type", kind, "--protection", protection];
            service
                .cli(&[&["key", "create", "--name", &name], what.as_slice()].concat())
                .ok();
        }
        let path = |name: &str, act: &str| format!("/api/vaults/kv-prod/keys/{name}-{protection}/{act}");
        let encrypt = json!({ "plaintext": BASE64.encode([b'x'; 1024]) });
        let sealed = answer(target, &path("aes", "encrypt"), &encrypt).await;
        println!("\nencrypt 1 KiB, AES-256-GCM{place}");
        row(target, connections, time, &path("aes", "encrypt"), &encrypt, "chancery").await;
        println!("\ndecrypt 1 KiB, AES-256-GCM{place}");
        let decrypt = json!({ "ciphertext": sealed["ciphertext"] });
        row(target, connections, time, &path("aes", "decrypt"), &decrypt, "chancery").await;
        let sign = json!({ "message": BASE64.encode([b'x'; 32]) });
        println!("\nsign 32 bytes, P-256{place}");
        row(target, connections, time, &path("ec", "sign"), &sign, "chancery").await;
        println!("\nsign 32 bytes, RSA-2048{place}");
        row(target, connections, time, &path("rsa", "sign"), &sign, "chancery").await;
    }
}

/// Transit's rows.
pub async fn openbao(target: &Target, time: Duration, connections: &[usize]) {
    for (name, kind) in [("aes", "aes256-gcm96"), ("ec", "ecdsa-p256"), ("rsa", "rsa-2048")] {
        let body = Bytes::from(json!({ "type": kind }).to_string());
        target.once(post(&format!("/v1/transit/keys/{name}"), body)).await;
    }
    let encrypt = json!({ "plaintext": BASE64.encode([b'x'; 1024]) });
    let path = "/v1/transit/encrypt/aes";
    let sealed = answer(target, path, &encrypt).await;
    row(target, connections, time, path, &encrypt, "openbao: encrypt").await;
    let decrypt = json!({ "ciphertext": sealed["data"]["ciphertext"] });
    row(
        target,
        connections,
        time,
        "/v1/transit/decrypt/aes",
        &decrypt,
        "openbao: decrypt",
    )
    .await;
    let sign = json!({ "input": BASE64.encode([b'x'; 32]) });
    row(
        target,
        connections,
        time,
        "/v1/transit/sign/ec",
        &sign,
        "openbao: sign, P-256",
    )
    .await;
    row(
        target,
        connections,
        time,
        "/v1/transit/sign/rsa",
        &sign,
        "openbao: sign, RSA-2048",
    )
    .await;
}
