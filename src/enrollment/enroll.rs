//! The first certificate, by a join token.

use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{Enrolled, Enrollment};
use crate::ca::{Alongside, Issued};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::register::{JoinToken, TokenDigest, UNKNOWN_TOKEN};
use crate::identity::{Caller, Identity, RequestRef};
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::x509::chain::sha256;
use crate::x509::csr::Csr;

/// Trades a join token for the first certificate; the same token and key get the same certificate again.
pub struct Enroll {
    token: TokenDigest,
    csr: Csr,
}

/// Enrols whoever brings a join token, from `source` in `request`. The request for a certificate is PKCS #10, PEM or
/// DER; its names are not looked at.
///
/// SECURITY: a token that was never made is refused before the gate and recorded in aggregate, so that strangers cannot
/// fill the log; whoever has a real one is recorded one by one, with what became of it.
///
/// # Errors
/// `Unauthenticated`, if the token cannot be used (any more, or by this key); `Invalid` for the request; as
/// [`Gate::perform`].
pub async fn redeem(
    gate: &Gate,
    engine: &Enrollment,
    source: SocketAddr,
    request: RequestRef,
    token: &str,
    csr: &[u8],
) -> Result<Enrolled> {
    let known = match JoinToken::parse(token) {
        Ok(token) => Some(token.digest()),
        Err(e) if e.kind() == Kind::Invalid => None,
        Err(e) => return Err(e),
    };
    let token = match known {
        Some(token) if engine.identity.is_token_known(&token).await? => token,
        Some(_) | None => {
            gate.refuse(source.ip(), UNKNOWN_TOKEN);
            return Err(Error::unauthenticated(UNKNOWN_TOKEN));
        }
    };
    let csr = Csr::parse(csr)?;
    let caller = Caller::enrolling(source, request);
    gate.perform(&caller, engine, Enroll { token, csr }).await
}

impl Operation for Enroll {
    const ACTION: Action = Action::Enroll;
    const EFFECT: Effect = Effect::Act;
    type Engine = Enrollment;
    type Output = Enrolled;

    fn resource(&self) -> Resource {
        Resource::Identities
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Enrolled> {
        let now = permit.now();
        let key_digest = sha256(self.csr.key().spki());
        permit.note("key", key_digest.clone());
        let claim = engine.identity.look_up(&self.token, &key_digest, now).await?;
        permit.note("identity", claim.registration.id.to_string());
        if let Some(serial) = claim.serial {
            return engine.repeat(permit, claim.registration.id, serial).await;
        }
        let redemption = Redemption {
            identity: engine.identity.clone(),
            token: self.token,
            key_digest,
            now,
        };
        engine.issue(permit, &claim.registration, &self.csr, redemption).await
    }
}

/// What becomes of the token, in the commits of the certificate.
///
/// CRASH: before the reservation nothing is bound. Between reservation and certificate the token is bound to the key,
/// which can ask again and gets another certificate; the first was handed to nobody. Afterwards the key gets the same
/// certificate, whatever became of the answer.
struct Redemption {
    identity: Identity,
    token: TokenDigest,
    key_digest: String,
    now: Timestamp,
}

impl Alongside for Redemption {
    fn reserved<'t>(&'t self, tx: &'t Tx, _: &'t str) -> BoxFuture<'t, Result<()>> {
        self.identity.claim(tx, &self.token, &self.key_digest, self.now).boxed()
    }

    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        self.identity.redeem(tx, &self.token, &issued.serial).boxed()
    }
}
