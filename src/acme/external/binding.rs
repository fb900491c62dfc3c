//! The binding that a client sends with newAccount: a JWS by the MAC key over the account's own key (RFC 8555 §7.3.4).

use aws_lc_rs::hmac;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{DOMAIN, ExternalKey, bound_to, repo};
use crate::acme::Acme;
use crate::acme::jwk::{Jwk, Members};
use crate::acme::jws::{self, Flattened};
use crate::acme::problem::Problem;
use crate::error::Result;
use crate::id::Id;
use crate::policy::SpiffeId;

/// The protected header of a binding.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    url: String,
    nonce: Option<IgnoredAny>,
    jwk: Option<IgnoredAny>,
    crit: Option<IgnoredAny>,
    b64: Option<IgnoredAny>,
}

/// Whose an account is, by an external key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The key, which may be deleted since.
    pub key: Id,
    /// Whose it is.
    pub identity: SpiffeId,
    /// The binding as the client sent it.
    pub document: Value,
}

impl Acme {
    /// The external key that signed `document`, which binds the account key `key` in a request to `url`. Whether it may be
    /// used once more is decided where it is used.
    ///
    /// # Errors
    /// `malformed`, `unauthorized`; the store's.
    pub(in crate::acme) async fn verify_binding(&self, document: &Value, key: &Jwk, url: &str) -> Result<ExternalKey> {
        let malformed = |why: String| Problem::malformed(format!("`externalAccountBinding` {why}"));
        let outer = Flattened::deserialize(document).map_err(|e| malformed(format!("is not a flattened JWS: {e}")))?;
        if outer.header.is_some() || outer.signatures.is_some() {
            return Err(malformed("has an unprotected header or several signatures: leave them out".to_owned()).into());
        }
        let header: Header = serde_json::from_slice(&jws::decode("protected", &outer.protected)?)
            .map_err(|e| malformed(format!("has a protected header without `alg`, `kid` or `url`: {e}")))?;
        let algorithm = match header.alg.as_str() {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            "HS512" => hmac::HMAC_SHA512,
            other => {
                let text = format!("is signed by `{}`: use HS256, HS384 or HS512", other.escape_debug());
                return Err(malformed(text).into());
            }
        };
        if header.nonce.is_some() || header.jwk.is_some() || header.crit.is_some() || header.b64.is_some() {
            return Err(malformed("has a `nonce`, `jwk`, `crit` or `b64`: leave them out".to_owned()).into());
        }
        if header.url != url {
            return Err(malformed("has another `url` than the request".to_owned()).into());
        }
        let members: Members = serde_json::from_slice(&jws::decode("payload", &outer.payload)?)
            .map_err(|e| malformed(format!("has a payload that is no JWK: {e}")))?;
        if Jwk::new(members)? != *key {
            return Err(malformed("is for another account key than the request's".to_owned()).into());
        }

        // SECURITY: an unknown key and a wrong MAC look alike.
        let refuse = || {
            Problem::unauthorized(
                "the external account's key is not known here, or the binding is not signed by it: check `kid` and the \
                 MAC key that go with it",
            )
        };
        let id: Id = header.kid.parse().map_err(|_| refuse())?;
        let found = repo::find(self.0.gate.store().read(), self.name(), id).await?;
        let (external, sealed) = found.ok_or_else(refuse)?;
        let mac = self.0.sealer.open(DOMAIN, &bound_to(id), &sealed).await?;
        let message = [outer.protected.as_bytes(), b".", outer.payload.as_bytes()].concat();
        let tag = jws::decode("signature", &outer.signature)?;
        hmac::verify(&hmac::Key::new(algorithm, mac.expose()), &message, &tag).map_err(|_| refuse())?;
        if external.expires.is_some_and(|end| end <= self.now()) {
            return Err(Problem::unauthorized("the external account's key has expired: ask for another").into());
        }
        if !external.is_reusable && external.used > 0 {
            return Err(repo::used().into());
        }
        Ok(external)
    }
}
