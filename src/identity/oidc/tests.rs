//! What of an issuer is asked and taken. The whole, with a real issuer, is tried in `tests/enrollment/`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::json;

use super::fetch::{check_url, is_outside};
use super::keys::Key;
use super::token::Unverified;
use crate::clock::Timestamp;

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

proptest! {
    #[test]
    fn whatever_comes_as_a_token_is_read_or_refused(
        header in "\\PC{0,40}",
        payload in "\\PC{0,60}",
        signature in proptest::collection::vec(any::<u8>(), 0..80),
        raw in "[A-Za-z0-9_.=-]{0,120}",
    ) {
        let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let _ = Unverified::parse(&raw);
        let token = format!("{}.{}.{}", part(header.as_bytes()), part(payload.as_bytes()), part(&signature));
        let _ = Unverified::parse(&token);
        let claims = format!("{{\"iss\":\"https://a.test\",\"exp\":{payload}}}");
        let token = format!("{}.{}.", part(br#"{"alg":"ES256"}"#), part(claims.as_bytes()));
        let _ = Unverified::parse(&token).and_then(|token| token.claims());
    }
}

#[test]
fn times_are_seconds_and_no_sum_of_them_overflows() {
    let judged = |exp: &str, iat: &str, now: i64| {
        let claims = format!("{{\"iss\":\"a\",\"exp\":{exp},\"iat\":{iat}}}");
        let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let token = format!("{}.{}.", part(r#"{"alg":"ES256"}"#), part(&claims));
        Unverified::parse(&token)
            .unwrap()
            .claims()?
            .judge_time(Timestamp::from_unix(now))
    };
    judged("1000", "900", 950).unwrap();
    judged("1000.9", "900.1", 1_059).unwrap();
    for (exp, iat) in [
        ("1000", "900"),
        ("-1", "900"),
        ("1e300", "900"),
        ("18446744073709551615", "900"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775807", "0"),
        ("\"1000\"", "900"),
        ("null", "900"),
        ("1060", "true"),
    ] {
        assert!(judged(exp, iat, 1_060).is_err(), "{exp} {iat}");
    }
}
