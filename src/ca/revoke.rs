//! Revoking: for good, and known to `identity` before anybody is told. By serial, by certificate (also one of ours that
//! the store has lost), and by key: all certificates of a key that is in other hands.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::FutureExt;

use super::issue::labelled;
use super::issuers::Member;
use super::repo::{self, Reservation};
use super::revoked::repo as revocations;
use super::{Authority, IssuedCertificate, ONLY_SHARD, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::identity::{Caller, RequestRef};
use crate::policy::{Action, Resource};
use crate::store::{Topic, Tx};
use crate::x509::chain;
use crate::x509::crl::Reason;
use crate::x509::csr;
use crate::x509::serial::Serial;

/// Revokes a certificate, or a serial that was reserved for one.
#[derive(Clone, Debug)]
pub struct RevokeIssued {
    /// Whose certificate it is.
    pub authority: Label,
    /// Why.
    pub reason: Reason,
    /// Which.
    pub serial: Serial,
}

impl Operation for RevokeIssued {
    const ACTION: Action = Action::RevokeIssued;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = IssuedCertificate;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<IssuedCertificate> {
        authority.is_called(&self.authority).await?;
        authority
            .revoke(permit, &self.authority, &self.serial, self.reason)
            .await
    }
}

/// Revokes a certificate that is shown, whether the store knows it or not.
#[derive(Clone, Debug)]
pub struct RevokeShown {
    /// Whose certificate it is.
    pub authority: Label,
    /// DER.
    pub certificate: Vec<u8>,
    /// Why.
    pub reason: Reason,
}

impl Operation for RevokeShown {
    const ACTION: Action = Action::RevokeIssued;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = IssuedCertificate;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<IssuedCertificate> {
        authority.is_called(&self.authority).await?;
        let store = authority.0.gate.store();
        let facts = chain::Facts::read(&self.certificate)?;
        // SECURITY: a foreign certificate with a serial of ours must not revoke ours.
        let issuers = authority.0.issuers.load_full();
        let mut own = issuers.issuing().filter(|member| member.authority == self.authority);
        let issued = own.find(|member| member.signer.issuer.verify(&self.certificate).is_ok());
        let Some(Member { signer, .. }) = issued else {
            return Err(Error::not_found(format!(
                "`{}` has not issued this certificate: look at its issuer for who can revoke it",
                self.authority
            )));
        };
        if repo::find(store.read(), &facts.serial).await?.is_some() {
            let serial = facts.serial.parse()?;
            return authority.revoke(permit, &self.authority, &serial, self.reason).await;
        }
        // A database that was put back to an older state does not know what was issued since.
        permit.note("serial", facts.serial.clone());
        permit.note("reason_code", self.reason.as_str());
        permit.note("stored", "no");
        let addresses = chain::crl_addresses(&self.certificate)?;
        let shard = signer.lists.iter().map(|list| list.shard).find(|shard| {
            let address = authority.0.hierarchy.pointers(signer.label(), *shard).crl;
            addresses.contains(&address)
        });
        let row = Reservation {
            serial: facts.serial,
            id: Id::ordered(permit.entropy(), authority.0.gate.clock().now_millis())?.to_string(),
            issuer: signer.label().to_owned(),
            profile: UNKNOWN.to_owned(),
            profile_hash: String::new(),
            tbs: Vec::new(),
            spki_sha256: facts.spki_sha256,
            subject: facts.subject,
            names: facts.names.iter().map(labelled).collect(),
            requested_by: UNKNOWN.to_owned(),
            shard: shard.unwrap_or(ONLY_SHARD),
            validity: facts.validity,
            created: permit.now(),
        };
        let (engine, certificate) = (authority.clone(), self.certificate);
        let (reason, now) = (self.reason, permit.now());
        permit
            .commit(move |tx| {
                let (engine, row, certificate) = (engine.clone(), row.clone(), certificate.clone());
                async move {
                    repo::insert_shown(tx, &row, &certificate).await?;
                    let found = repo::find(tx.conn(), &row.serial)
                        .await?
                        .ok_or_else(|| Error::internal(format!("`{}` was stored and is not there", row.serial)))?;
                    engine.mark(tx, found, reason, now).await
                }
                .boxed()
            })
            .await
    }
}

/// Who asked for it, and by which profile, if the store has lost it.
const UNKNOWN: &str = "unknown";

/// Revokes all certificates of a key that is compromised. No other is issued for it.
#[derive(Clone, Debug)]
pub struct RevokeKey {
    /// Whose certificates they are.
    pub authority: Label,
    /// SHA-256 of the DER `SubjectPublicKeyInfo`, lower-case hexadecimal.
    pub spki_sha256: String,
}

impl Operation for RevokeKey {
    const ACTION: Action = Action::RevokeIssued;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = Vec<IssuedCertificate>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Vec<IssuedCertificate>> {
        authority.is_called(&self.authority).await?;
        let (key, reason, now) = (self.spki_sha256, Reason::KeyCompromise, permit.now());
        permit.note("key", key.clone());
        permit.note("reason_code", reason.as_str());
        let labels = authority.issuing_labels(&self.authority);
        let engine = authority.clone();
        permit
            .commit(move |tx| {
                let (engine, labels, key) = (engine.clone(), labels.clone(), key.clone());
                async move {
                    let mut noted = Vec::new();
                    for label in &labels {
                        let revision = revocations::next_revision(tx, label).await?;
                        let revoked = revocations::mark_key(tx, label, &key, reason, now, revision).await?;
                        noted.extend(revoked.into_iter().map(|one| (one, revision)));
                    }
                    let revoked: Vec<IssuedCertificate> = noted.iter().map(|(one, _)| one.clone()).collect();
                    if revoked.is_empty() {
                        return Err(no_certificate_of(&key));
                    }
                    tx.note("certificates", revoked.len().to_string());
                    tx.touch(Topic::Authorities);
                    // INVARIANT: as in `mark`.
                    tx.on_commit(move || {
                        for (one, revision) in &noted {
                            engine.note(one, *revision);
                        }
                    });
                    Ok(revoked)
                }
                .boxed()
            })
            .await
    }
}

fn no_certificate_of(key: &str) -> Error {
    Error::not_found(format!(
        "there is no certificate of the key `{}` that is not revoked: nothing is left to do",
        key.escape_debug()
    ))
}

/// Revokes all certificates of the key that signed `proof`, a certificate request that says nothing but that the key is
/// compromised ([`csr::compromised_key`]): whoever holds the key may ask, from `source` in `request`.
///
/// SECURITY: what proves nothing, or is about a key without certificates, is refused before the gate and recorded in
/// aggregate, so that strangers cannot fill the log.
///
/// # Errors
/// `Invalid` for the proof; `NotFound` if no certificate of the key is left to revoke; as
/// [`Gate::perform`](crate::gate::Gate::perform).
pub async fn revoke_proven(
    authority: &Authority,
    source: SocketAddr,
    request: RequestRef,
    proof: &[u8],
) -> Result<Vec<IssuedCertificate>> {
    let gate = &authority.0.gate;
    let refuse = |error: Error| {
        gate.refuse(source.ip(), "no proof of a compromised key of ours");
        error
    };
    let key = csr::compromised_key(proof).map_err(|e| refuse(e.into()))?;
    let spki_sha256 = chain::sha256(key.spki());
    authority.refresh().await?;
    let issuers = authority.0.issuers.load_full();
    let mut certifying = BTreeSet::new();
    for member in issuers.issuing() {
        if revocations::is_certified(gate.store().read(), member.signer.label(), &spki_sha256).await? {
            certifying.insert(&member.authority);
        }
    }
    if certifying.is_empty() {
        return Err(refuse(no_certificate_of(&spki_sha256)));
    }
    let mut revoked = Vec::new();
    for name in certifying {
        let operation = RevokeKey {
            authority: name.clone(),
            spki_sha256: spki_sha256.clone(),
        };
        let caller = Caller::proving(source, request);
        revoked.extend(gate.perform(&caller, authority, operation).await?);
    }
    Ok(revoked)
}

impl Authority {
    /// The labels of all that issued to subjects for an authority.
    fn issuing_labels(&self, authority: &Label) -> Vec<String> {
        let issuers = self.issuers();
        let own = issuers.issuing().filter(|member| member.authority == *authority);
        own.map(|member| member.signer.label().to_owned()).collect()
    }

    /// Revokes what an authority issued, within another room's act, which has judged who may ask for it.
    ///
    /// # Errors
    /// `NotFound` if the authority has not issued it, `Conflict` if it is revoked already; the store's.
    pub async fn revoke(
        &self,
        permit: &Permit,
        authority: &Label,
        serial: &Serial,
        reason: Reason,
    ) -> Result<IssuedCertificate> {
        let (serial, now) = (serial.to_string(), permit.now());
        permit.note("serial", serial.clone());
        permit.note("reason_code", reason.as_str());
        // Not a part of the transaction: what it finds never changes but to be revoked, which is asked again within.
        let found = repo::find(self.0.gate.store().read(), &serial).await?;
        let own = self.issuing_labels(authority);
        let Some(found) = found.filter(|found| own.contains(&found.issuer)) else {
            return Err(Error::not_found(format!(
                "`{authority}` has not issued `{serial}`: `ca issued` lists what it has"
            )));
        };
        let engine = self.clone();
        permit
            .commit(move |tx| {
                let (engine, found) = (engine.clone(), found.clone());
                async move { engine.mark(tx, found, reason, now).await }.boxed()
            })
            .await
    }

    async fn mark(
        &self,
        tx: &Tx,
        found: IssuedCertificate,
        reason: Reason,
        now: Timestamp,
    ) -> Result<IssuedCertificate> {
        let revision = revocations::next_revision(tx, &found.issuer).await?;
        if !revocations::mark(tx, &found.serial, reason, now, revision).await? {
            return Err(Error::conflict(format!(
                "`{}` is revoked already: nothing is left to do",
                found.serial
            )));
        }
        tx.touch(Topic::Authorities);
        let revoked = IssuedCertificate {
            state: State::Revoked { at: now, reason },
            ..found
        };
        // INVARIANT: before the answer, so that the first request after it is refused. Nothing here can fail, and the
        // list is rebuilt later: revoking never depends on a signature.
        let (engine, noted) = (self.clone(), revoked.clone());
        tx.on_commit(move || engine.note(&noted, revision));
        Ok(revoked)
    }

    fn note(&self, revoked: &IssuedCertificate, revision: i64) {
        self.0.identity.note_revoked(&revoked.serial);
        if let Some(signer) = self.signer(&revoked.issuer) {
            signer.revision.fetch_max(revision, std::sync::atomic::Ordering::SeqCst);
        }
        self.0.woken.notify_one();
    }
}
