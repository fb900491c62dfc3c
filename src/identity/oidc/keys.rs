//! An issuer's public keys (RFC 7517), kept for as long as it says, within bounds.
//!
//! A key that is not known is asked for once, and not again for a while; one that the issuer no longer publishes is gone
//! with the next look. While the issuer is not reached, what it said last goes on for a bounded time.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

use super::fetch::{Fetch, Fetched};
use super::token::{Claims, Unverified};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// Keys are good for at least and at most so long, whatever the issuer says.
const FRESH: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3_600));
/// And for so long if it says nothing.
const FRESH_UNSAID: Duration = Duration::from_secs(300);
/// So much longer while the issuer is not reached.
const STALE: Duration = Duration::from_secs(3_600);
/// The pause between two looks, so that tokens with invented key ids make nobody's load.
const PAUSE: Duration = Duration::from_secs(10);
/// How many keys of one issuer are kept.
const MOST_KEYS: usize = 100;

/// One issuer.
pub(super) struct IssuerKeys {
    fetch: Fetch,
    /// Held while the issuer is asked, by one at a time.
    asking: Arc<tokio::sync::Mutex<()>>,
    /// Never held while the issuer is asked: tokens by keys that are known do not wait for it.
    state: RwLock<State>,
}

#[derive(Default)]
struct State {
    keys: Vec<Key>,
    /// From then on they are asked for anew.
    fresh_until: Timestamp,
    /// From then on they do not count.
    kept_until: Timestamp,
    /// Before that the issuer is not asked again.
    ask_at: Timestamp,
    /// Whether it did not answer when it was asked last.
    is_down: bool,
}

pub(super) struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

impl IssuerKeys {
    pub(super) fn new(issuer: &str, ca_pem: Option<&str>, loopback: bool) -> Result<Self> {
        Ok(Self {
            fetch: Fetch::new(issuer, ca_pem, loopback)?,
            asking: Arc::default(),
            state: RwLock::default(),
        })
    }

    /// What the token says, if one of the issuer's keys has signed it.
    ///
    /// # Errors
    /// `Unauthenticated`; `Unavailable`, if the issuer does not tell its keys.
    pub(super) async fn verify(self: &Arc<Self>, token: &Unverified<'_>, now: Timestamp) -> Result<Claims> {
        let key = self.key(token, now).await?;
        let verified = jsonwebtoken::crypto::verify(token.signature, token.signed(), &key, token.algorithm);
        if verified.is_ok_and(|good| good) {
            token.claims()
        } else {
            Err(Error::unauthenticated(
                "the token's signature is not by a key of its issuer: get a new token from the issuer",
            ))
        }
    }

    /// The key that the token names.
    async fn key(self: &Arc<Self>, token: &Unverified<'_>, now: Timestamp) -> Result<DecodingKey> {
        let fresh = |state: &State| state.find(token).filter(|_| now < state.fresh_until);
        if let Some(key) = fresh(&self.state()) {
            return Ok(key);
        }
        // Whoever comes while the issuer is asked waits for the answer instead of asking too.
        let one = self.asking.clone().lock_owned().await;
        if self.state().ask_at <= now {
            // SECURITY: a task of its own: else a stranger who goes away in the middle would take the answer from all who
            // come within the pause.
            let issuer = self.clone();
            let asked = tokio::spawn(async move {
                let _one = one;
                issuer.ask(now).await
            });
            asked
                .await
                .map_err(|e| Error::internal("asking an issuer for its keys").because(e))??;
        }
        let state = self.state();
        let found = state.find(token).filter(|_| now < state.kept_until);
        found.ok_or_else(|| match state.is_down {
            true => Error::unavailable("the token's issuer does not tell its keys now: try again soon")
                .retry_after(state.ask_at.since(now)),
            false => Error::unauthenticated(
                "the token is signed by a key that its issuer does not publish: get a new token from the issuer",
            ),
        })
    }

    /// Asks the issuer.
    async fn ask(&self, now: Timestamp) -> Result<()> {
        self.state_mut().ask_at = now + PAUSE;
        let fetched = self.fetch.keys().await;
        let mut state = self.state_mut();
        match fetched {
            Ok(fetched) => state.replace(fetched, now),
            Err(error) => {
                state.is_down = true;
                if state.kept_until <= now {
                    return Err(error);
                }
                tracing::warn!(error = %error.detail(), "an OIDC issuer does not tell its keys; its last ones go on");
            }
        }
        Ok(())
    }

    fn state(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn replace(&mut self, fetched: Fetched, now: Timestamp) {
        self.keys = fetched.keys.iter().filter_map(Key::read).take(MOST_KEYS).collect();
        let (least, most) = FRESH;
        self.fresh_until = now + fetched.max_age.unwrap_or(FRESH_UNSAID).clamp(least, most);
        self.kept_until = self.fresh_until + STALE;
        self.is_down = false;
    }

    /// SECURITY: the key says which signatures it is for, not the token; a token without a key id is taken only if there
    /// is no choice.
    fn find(&self, token: &Unverified<'_>) -> Option<DecodingKey> {
        let mut fitting = self.keys.iter().filter(|key| {
            key.algorithms.contains(&token.algorithm) && (token.key_id.is_none() || key.id == token.key_id)
        });
        let first = fitting.next()?;
        (fitting.next().is_none()).then(|| first.key.clone())
    }
}

impl Key {
    /// A key that signatures can be verified with; others (of other kinds, for encryption) are passed over.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
        let is_for_signing = match &jwk.common.public_key_use {
            Some(PublicKeyUse::Signature) => true,
            Some(_) => false,
            None => jwk
                .common
                .key_operations
                .as_ref()
                .is_none_or(|operations| operations.contains(&KeyOperations::Verify)),
        };
        let all: &'static [Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &[Algorithm::PS256, Algorithm::RS256],
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 => &[Algorithm::ES256],
                EllipticCurve::P384 => &[Algorithm::ES384],
                _ => return None,
            },
            AlgorithmParameters::OctetKeyPair(_) => &[Algorithm::EdDSA],
            _ => return None,
        };
        // RFC 7517 §4.4: a key may say which one it is for.
        let algorithms = match value.get("alg").and_then(Value::as_str) {
            None => all,
            Some(said) => all
                .iter()
                .position(|algorithm| format!("{algorithm:?}") == said)
                .and_then(|at| all.get(at..=at))?,
        };
        is_for_signing.then_some(())?;
        Some(Self {
            id: jwk.common.key_id.clone(),
            algorithms,
            key: DecodingKey::from_jwk(&jwk).ok()?,
        })
    }

    #[cfg(test)]
    pub(super) fn algorithms(&self) -> &[Algorithm] {
        self.algorithms
    }
}
