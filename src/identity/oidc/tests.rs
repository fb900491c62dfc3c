//! What of an issuer is asked and taken. The whole, with a real issuer, is tried in `tests/enrollment/`.

use super::fetch::{check_url, is_outside};
use super::keys::Key;
use serde_json::json;

#[test]
fn only_addresses_outside_are_asked() {
    for inside in [
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",
        "0.1.2.3",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ] {
        assert!(!is_outside(inside.parse().unwrap(), false), "{inside}");
    }
    for outside in ["10.96.0.1", "192.0.2.1", "fd00::1", "2001:db8::1"] {
        assert!(is_outside(outside.parse().unwrap(), false), "{outside}");
    }
    assert!(is_outside("127.0.0.1".parse().unwrap(), true));
    assert!(!is_outside("169.254.169.254".parse().unwrap(), true));

    for (url, loopback) in [
        ("http://localhost/", true),
        ("http://127.0.0.1:80/", true),
        ("http://[::1]/", true),
        ("https://issuer.test/realm", false),
    ] {
        check_url(url, loopback).unwrap();
    }
    for (url, loopback) in [
        ("http://localhost/", false),
        ("https://127.0.0.1/", false),
        ("https://[::1]/", false),
        ("https://2130706433/", false),
        ("http://issuer.test/", true),
        ("http://localhost.issuer.test/", true),
        ("ftp://issuer.test/", false),
        ("https://a:b@issuer.test/", false),
        ("https://issuer.test/#x", false),
        ("issuer.test", false),
        ("", false),
    ] {
        assert!(check_url(url, loopback).is_err(), "{url}");
    }
}

#[test]
fn a_key_is_for_the_signatures_that_its_kind_makes() {
    let ec = |curve: &str| json!({"kty": "EC", "crv": curve, "x": "AAAA", "y": "AAAA", "kid": "1"});
    let rsa = json!({"kty": "RSA", "n": "AAAA", "e": "AQAB"});
    let with = |mut key: serde_json::Value, name: &str, value: serde_json::Value| {
        key[name] = value;
        key
    };
    let algorithms = |key: &serde_json::Value| Key::read(key).map(|key| format!("{:?}", key.algorithms()));
    assert_eq!(algorithms(&ec("P-256")).unwrap(), "[ES256]");
    assert_eq!(algorithms(&ec("P-384")).unwrap(), "[ES384]");
    assert_eq!(algorithms(&rsa).unwrap(), "[PS256, RS256]");
    assert_eq!(
        algorithms(&with(rsa.clone(), "alg", json!("RS256"))).unwrap(),
        "[RS256]"
    );
    assert_eq!(
        algorithms(&json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})).unwrap(),
        "[EdDSA]"
    );
    for none in [
        ec("P-521"),
        ec("secp256k1"),
        with(ec("P-256"), "use", json!("enc")),
        with(ec("P-256"), "key_ops", json!(["encrypt"])),
        with(ec("P-256"), "alg", json!("RS256")),
        with(rsa.clone(), "alg", json!("RS512")),
        json!({"kty": "oct", "k": "AAAA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AAAA"}),
        json!("key"),
    ] {
        assert_eq!(algorithms(&none), None, "{none}");
    }
}
