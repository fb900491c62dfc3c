//! A JWT (RFC 7519, in JWS compact serialisation): what it says, whether a key signed it, whether now is its time.

use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::SKEW;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The longest token that is read, in bytes.
const LONGEST: usize = 16 * 1024;
/// The longest life of a token that is taken: what lies around for longer is no proof of who shows it now.
const LONGEST_LIFE: Duration = Duration::from_secs(86_400);
/// Signatures that are taken. SECURITY: no `none` and no HMAC, whose key would be a public key.
const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::RS256,
];

/// A token as it came: believed in nothing.
pub(super) struct Unverified<'t> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    /// Base64 of the signature.
    pub(super) signature: &'t str,
    signed: &'t str,
    issuer: String,
    payload: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

impl<'t> Unverified<'t> {
    /// Reads a token.
    ///
    /// # Errors
    /// `Unauthenticated`, if it is none or is signed in a way that is not taken. SECURITY: no text repeats it.
    pub(super) fn parse(text: &'t str) -> Result<Self> {
        let none = || refuse("that is not a JWT: give the whole token, three parts with dots between them");
        let text = text.trim();
        if text.len() > LONGEST {
            return Err(none());
        }
        let (signed, signature) = text.rsplit_once('.').ok_or_else(none)?;
        let (header, payload) = signed.split_once('.').ok_or_else(none)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| none());
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| none())?;
        let algorithm = Algorithm::from_str(&header.alg)
            .ok()
            .filter(|algorithm| ALGORITHMS.contains(algorithm))
            .ok_or_else(|| {
                refuse("the token's signature is of no kind that is taken: use RS256, PS256, ES256, ES384 or EdDSA")
            })?;
        // RFC 7515 §4.1.11: whatever it names must be understood, and nothing is.
        if header.crit.is_some() {
            return Err(refuse("the token has critical headers, which are not understood here"));
        }
        let payload = decode(payload)?;
        let claims: Map<String, Value> = serde_json::from_slice(&payload).map_err(|_| none())?;
        let issuer = text_of(&claims, "iss")
            .ok_or_else(|| refuse("the token names no issuer (`iss`): ask its issuer for one that does"))?;
        Ok(Self {
            algorithm,
            key_id: header.kid,
            signature,
            signed,
            issuer,
            payload,
        })
    }

    /// Who it says has made it.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// What the signature is over.
    pub(super) fn signed(&self) -> &'t [u8] {
        self.signed.as_bytes()
    }

    /// What it says. To be called once its signature is verified.
    pub(super) fn claims(&self) -> Result<Claims> {
        let all: Map<String, Value> =
            serde_json::from_slice(&self.payload).map_err(|e| Error::internal("a token changed").because(e))?;
        let missing = |name: &str| {
            refuse(format!(
                "the token says no `{name}` in seconds: ask its issuer for one that does"
            ))
        };
        Ok(Claims {
            expires: time_of(&all, "exp").ok_or_else(|| missing("exp"))?,
            issued: time_of(&all, "iat").ok_or_else(|| missing("iat"))?,
            not_before: match all.contains_key("nbf") {
                true => Some(time_of(&all, "nbf").ok_or_else(|| missing("nbf"))?),
                false => None,
            },
            all: Value::Object(all),
        })
    }
}

/// What a token says whose signature is verified.
pub(super) struct Claims {
    pub(super) expires: Timestamp,
    issued: Timestamp,
    not_before: Option<Timestamp>,
    all: Value,
}

impl Claims {
    /// Whether now is its time, and whether its life is short enough.
    pub(super) fn judge_time(&self, now: Timestamp) -> Result<()> {
        let begins = self.not_before.map_or(self.issued, |at| at.max(self.issued));
        if now + SKEW < begins {
            return Err(refuse(format!(
                "the token is valid from {begins} on, and it is {now} here: wait, or set the clock"
            )));
        }
        if self.expires + SKEW <= now {
            return Err(refuse(format!(
                "the token ended at {}, and it is {now} here: get a new one from its issuer",
                self.expires
            )));
        }
        if self.expires.since(self.issued) > LONGEST_LIFE {
            return Err(refuse(format!(
                "the token lives for longer than {} s: have its issuer make short-lived ones",
                LONGEST_LIFE.as_secs()
            )));
        }
        Ok(())
    }

    /// Whether it is for this audience (RFC 7519 §4.1.3): one text, or a list of them.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        self.all.get("aud").is_some_and(|aud| holds(aud, audience))
    }

    /// Whether a claim has this value; a name that begins with `/` is a path (RFC 6901).
    pub(super) fn says(&self, name: &str, value: &str) -> bool {
        self.claim(name).is_some_and(|claim| holds(claim, value))
    }

    /// The texts in a claim, which is one or a list of them; none, if there is no such claim.
    pub(super) fn texts(&self, name: &str) -> Result<Vec<&str>> {
        let no_texts = || {
            refuse(format!(
                "the token's `{}` is no text and no list of texts: have its issuer write groups so",
                name.escape_debug()
            ))
        };
        match self.claim(name) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one]),
            Some(Value::Array(items)) => items.iter().map(|item| item.as_str().ok_or_else(no_texts)).collect(),
            Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(no_texts()),
        }
    }

    fn claim(&self, name: &str) -> Option<&Value> {
        match name.starts_with('/') {
            true => self.all.pointer(name),
            false => self.all.get(name),
        }
    }

    /// Its `sub`, shortened, for the record.
    pub(super) fn subject(&self) -> String {
        let subject = self.all.get("sub").and_then(Value::as_str).unwrap_or_default();
        subject.chars().take(256).collect()
    }
}

/// Whether a claim is this text, or a list that has it.
fn holds(claim: &Value, text: &str) -> bool {
    match claim {
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(text)),
        Value::Bool(_) | Value::Number(_) => {
            let written = claim.to_string();
            written == text
        }
        Value::String(said) => said == text,
        Value::Null | Value::Object(_) => false,
    }
}

fn text_of(claims: &Map<String, Value>, name: &str) -> Option<String> {
    claims.get(name)?.as_str().map(str::to_owned)
}

/// RFC 7519 §2, NumericDate: seconds, perhaps with a fraction, which is cut.
fn time_of(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let number = claims.get(name)?;
    let seconds = number.as_i64().or_else(|| {
        let seconds = number.as_f64()?;
        // What a float holds exactly; beyond it no clock goes.
        (0.0..9e15).contains(&seconds).then_some(seconds as i64)
    })?;
    (seconds >= 0).then(|| Timestamp::from_unix(seconds))
}

fn refuse(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::unauthenticated(text)
}
