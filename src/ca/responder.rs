//! The key that signs OCSP answers for the issuing CA, and the certificate that says it may.
//!
//! The key is in the token, the certificate comes by the same way as every other, and both nodes of a cluster share
//! them. It is renewed long before it ends, by upkeep or by the first request that finds it ending.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::issue::{self, Alongside, Issued, Prepared};
use super::issuers::Member;
use super::revoked::repo::{self, ResponderRow};
use super::{Authority, TokenKey};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::hsm::KeyRef;
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::x509::chain;
use crate::x509::key::PublicKey;
use crate::x509::profile::Validity;
use crate::x509::serial::Serial;
use crate::x509::tbs;

/// The profile that responders' certificates are listed under.
const PROFILE: &str = "ocsp-responder";
/// How long one is good for.
const LIFE: Duration = Duration::from_secs(30 * 86_400);
/// How far it is backdated: whoever reads an answer may have a slow clock.
const BACKDATE: Duration = Duration::from_secs(300);

/// A responder that may sign.
pub(super) struct Responder {
    pub(super) certificate: Vec<u8>,
    pub(super) key: KeyRef,
    pub(super) public: PublicKey,
    pub(super) validity: Validity,
}

impl Responder {
    fn read(certificate: Vec<u8>, key: &TokenKey) -> Result<Self> {
        Ok(Self {
            validity: chain::Facts::read(&certificate)?.validity,
            certificate,
            key: key.key.clone(),
            public: PublicKey::from_spki(&key.spki)?,
        })
    }

    /// When the next one is due.
    pub(super) fn renewal(&self) -> Timestamp {
        self.validity.not_after - LIFE / 3
    }
}

/// Issues the responder's next certificate.
#[derive(Clone, Debug)]
pub struct RenewResponder {
    authority: Label,
    /// The label of the issuer that it answers for.
    issuer: String,
}

impl Operation for RenewResponder {
    const ACTION: Action = Action::RenewResponder;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = Vec<u8>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Vec<u8>> {
        let signer = authority
            .signer(&self.issuer)
            .ok_or_else(|| Error::not_found(format!("there is no issuer `{}`", self.issuer)))?;
        let key = &authority.0.keys.ocsp;
        let now = permit.now();
        let validity = Validity {
            not_before: (now - BACKDATE).max(signer.issuer.validity().not_before),
            not_after: (now + LIFE).min(signer.issuer.validity().not_after),
        };
        let public = PublicKey::from_spki(&key.spki)?;
        // RFC 5280 appendix A.1: ub-common-name.
        let name: String = format!("OCSP {}", signer.label()).chars().take(64).collect();
        let serial = Serial::random(permit.entropy())?;
        let tbs = tbs::ocsp_responder(&name, &public, &serial, validity, &signer.issuer)?;
        let issuer = Some(&signer.issuer);
        let clock = authority.0.gate.clock().as_ref();
        let prepared = Prepared::new(permit, tbs, issuer, PROFILE, signer.label(), clock)?;
        let alongside = StoreResponder {
            issuer: signer.label().to_owned(),
            key_label: key.key.label.clone(),
        };
        let hsm = &authority.0.hsm;
        let issued = issue::sign_and_store(hsm, signer.key()?, issuer, &[], permit, prepared, alongside).await?;
        Ok(issued.certificate)
    }
}

/// Makes the certificate the responder's, in the commit that stores it. Of two nodes that renew at once either counts.
struct StoreResponder {
    issuer: String,
    key_label: String,
}

impl Alongside for StoreResponder {
    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        let row = ResponderRow {
            issuer: self.issuer.clone(),
            key_label: self.key_label.clone(),
            certificate: issued.certificate.clone(),
            not_after: issued.validity.not_after,
        };
        async move { repo::store_responder(tx, &row).await }.boxed()
    }
}

impl Authority {
    /// The responder of an issuing CA, renewed if that is due; an older one as long as it is good, if it cannot be.
    pub(super) async fn responder(&self, member: &Member) -> Result<Arc<Responder>> {
        let (now, signer) = (self.now(), &member.signer);
        // SECURITY: strangers ask. A clock from before the CA began has no younger one than the CA itself.
        let begun = now.max(signer.issuer.validity().not_before);
        let young = |responder: &Arc<Responder>| responder.validity.not_before <= begun && now < responder.renewal();
        if let Some(responder) = signer.responder.load_full().filter(young) {
            return Ok(responder);
        }
        let _alone = signer.renewing.lock().await;
        if let Some(responder) = signer.responder.load_full().filter(young) {
            return Ok(responder);
        }
        // Another node may have renewed it, or this one before its last end.
        let (store, key) = (self.0.gate.store(), &self.0.keys.ocsp);
        let row = repo::responder(store.read(), signer.label(), &key.key.label).await?;
        if let Some(certificate) = row {
            let responder = Arc::new(Responder::read(certificate, key)?);
            signer.responder.store(Some(responder.clone()));
            if young(&responder) {
                return Ok(responder);
            }
        }
        let operation = RenewResponder {
            authority: member.authority.clone(),
            issuer: signer.label().to_owned(),
        };
        match self.0.gate.perform(&self.caller()?, self, operation).await {
            Ok(certificate) => {
                let responder = Arc::new(Responder::read(certificate, key)?);
                signer.responder.store(Some(responder.clone()));
                Ok(responder)
            }
            Err(e) => {
                let last = signer.responder.load_full();
                last.filter(|last| now < last.validity.not_after)
                    .ok_or_else(|| Error::unavailable("no OCSP answer can be signed now: try again").because(e))
            }
        }
    }
}
