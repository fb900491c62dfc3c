//! Signed requests: flattened JSON Web Signatures as ACME narrows them (RFC 8555 §6.2), read strictly.
//!
//! Reading is pure: bytes in, parts out. Who signed, whether the nonce is good and whether the signature holds is
//! judged by whoever knows accounts and nonces.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::jwk::{Algorithm, Jwk, Members};
use super::problem::Problem;

/// Largest body taken, in bytes; a CSR with a hundred names is a tenth of it.
pub const LARGEST: usize = 128 * 1024;

/// The members of a flattened JWS (RFC 7515 §7.2.2); a member that stands twice is refused by serde.
#[derive(Deserialize)]
pub(super) struct Flattened {
    pub(super) protected: String,
    pub(super) payload: String,
    pub(super) signature: String,
    pub(super) header: Option<IgnoredAny>,
    pub(super) signatures: Option<IgnoredAny>,
}

/// The protected header; a member that stands twice is refused by serde.
#[derive(Deserialize)]
struct Header {
    alg: String,
    nonce: Option<String>,
    url: Option<String>,
    jwk: Option<Members>,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
}

/// Whose signature it is said to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Of the key that stands in the request.
    Key(Box<Jwk>),
    /// Of the key of the account with this URL.
    Account(String),
}

/// A request's parts, not verified yet.
#[derive(Debug)]
pub struct Jws {
    /// The algorithm.
    pub algorithm: Algorithm,
    /// The nonce, if there is one, as it is written.
    pub nonce: Option<String>,
    /// The payload; empty in a POST-as-GET.
    pub payload: Vec<u8>,
    /// The signer.
    pub signer: Signer,
    /// The URL that the client means.
    pub url: String,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Jws {
    /// Reads a request's body.
    ///
    /// # Errors
    /// `malformed`, `badSignatureAlgorithm`, `badPublicKey`.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        // Serde would take an array for the members in their order.
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Problem::malformed("the body is not a JWS: send flattened JSON"));
        }
        let outer: Flattened = serde_json::from_slice(body).map_err(|e| {
            Problem::malformed(format!(
                "the body is not a JWS in flattened JSON with `protected`, `payload` and `signature`: {e}"
            ))
        })?;
        if outer.header.is_some() || outer.signatures.is_some() {
            return Err(Problem::malformed(
                "a JWS here has one signature and no unprotected header: leave out `header` and `signatures`",
            ));
        }
        let protected = decode("protected", &outer.protected)?;
        let header: Header = serde_json::from_slice(&protected)
            .map_err(|e| Problem::malformed(format!("the protected header cannot be read: {e}")))?;
        if header.crit.is_some() || header.b64.is_some() {
            return Err(Problem::malformed(
                "`crit` and `b64` are not understood here: leave them out of the protected header",
            ));
        }
        let algorithm = Algorithm::named(&header.alg)?;
        let signer = match (header.jwk, header.kid) {
            (Some(jwk), None) => Signer::Key(Box::new(Jwk::new(jwk)?)),
            (None, Some(kid)) => Signer::Account(kid),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::malformed(
                    "the protected header needs either `jwk` or `kid`, not both",
                ));
            }
        };
        Ok(Self {
            algorithm,
            nonce: header.nonce,
            payload: decode("payload", &outer.payload)?,
            signer,
            url: header
                .url
                .ok_or_else(|| Problem::malformed("the protected header has no `url`"))?,
            message: [outer.protected.as_bytes(), b".", outer.payload.as_bytes()].concat(),
            signature: decode("signature", &outer.signature)?,
        })
    }

    /// Verifies that `key` signed it.
    ///
    /// # Errors
    /// As [`Jwk::verify`].
    pub fn verify(&self, key: &Jwk) -> Result<(), Problem> {
        key.verify(self.algorithm, &self.message, &self.signature)
    }

    /// The payload as the JSON object that a path takes. Unknown members are ignored, as the RFC asks (§7.3, §7.5.1).
    ///
    /// # Errors
    /// `malformed`; an empty payload is one, because only a POST-as-GET has it.
    pub fn read<T: serde::de::DeserializeOwned>(payload: &[u8]) -> Result<T, Problem> {
        if payload.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Problem::malformed("the payload is not a JSON object"));
        }
        serde_json::from_slice(payload)
            .map_err(|e| Problem::malformed(format!("the payload is not what this path takes: {e}")))
    }
}

/// Strict base64url: no padding, no line ends, no loose bits (RFC 8555 §6.1).
pub(super) fn decode(what: &str, text: &str) -> Result<Vec<u8>, Problem> {
    BASE64URL
        .decode(text)
        .map_err(|e| Problem::malformed(format!("`{what}` is not base64url without padding: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::problem::ProblemType;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn body(protected: &Value) -> Value {
        json!({
            "protected": BASE64URL.encode(protected.to_string()),
            "payload": "",
            "signature": "AAAA",
        })
    }

    fn kid() -> Value {
        json!({"alg": "ES256", "kid": "https://a/1", "nonce": "AAAA", "url": "https://a/2"})
    }

    fn refusal(body: &Value) -> Problem {
        Jws::parse(body.to_string().as_bytes()).unwrap_err()
    }

    #[test]
    fn a_request_has_one_protected_header_and_one_signer() {
        let jws = Jws::parse(body(&kid()).to_string().as_bytes()).unwrap();
        assert_eq!(jws.signer, Signer::Account("https://a/1".to_owned()));
        assert!(jws.payload.is_empty());

        for (member, value) in [
            ("header", json!({})),
            ("signatures", json!([])),
            ("payload", json!("AA==")),
        ] {
            let mut bad = body(&kid());
            bad[member] = value;
            assert_eq!(refusal(&bad).kind, ProblemType::Malformed, "{member}");
        }
        for (member, value) in [
            ("jwk", json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"})),
            ("b64", json!(false)),
            ("crit", json!(["b64"])),
            ("kid", Value::Null),
            ("url", Value::Null),
        ] {
            let mut bad = kid();
            bad[member] = value;
            let problem = refusal(&body(&bad));
            assert!(
                matches!(problem.kind, ProblemType::Malformed | ProblemType::BadPublicKey),
                "{member}: {problem}"
            );
        }
        for alg in ["none", "HS256", "PS256"] {
            let mut bad = kid();
            bad["alg"] = json!(alg);
            assert_eq!(refusal(&body(&bad)).kind, ProblemType::BadSignatureAlgorithm);
        }
        for twice in [
            r#"{"protected":"e30","payload":"","payload":"","signature":""}"#.to_owned(),
            json!({"protected": BASE64URL.encode(r#"{"alg":"ES256","kid":"a","kid":"b","url":"c"}"#), "payload": "",
                "signature": ""})
            .to_string(),
            r#"["e30","",""]"#.to_owned(),
        ] {
            let problem = Jws::parse(twice.as_bytes()).unwrap_err();
            assert_eq!(problem.kind, ProblemType::Malformed, "{problem}");
        }
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Jws::parse(&bytes);
            let _ = Jws::parse(&json!({"protected": BASE64URL.encode(&bytes), "payload": "", "signature": ""}).to_string().into_bytes());
        }
    }
}
