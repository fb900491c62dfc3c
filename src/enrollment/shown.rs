//! A certificate by what a registration entry takes: an OIDC issuer's JWT, or a client certificate that is no
//! identity's yet.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustls::pki_types::CertificateDer;

use super::identities::spell_groups;
use super::{Enrolled, Enrollment};
use crate::authz::{Authz, Origin};
use crate::ca::{Alongside, Issued};
use crate::clock::Timestamp;
use crate::error::{Kind, Result};
use crate::gate::{Effect, Gate, Operation, Permit};
use crate::identity::entry::Entry;
use crate::identity::proof::Proof;
use crate::identity::register::Registration;
use crate::identity::{Caller, Identity, RequestRef, Shown};
use crate::policy::{Action, Group, Resource, SpiffeId};
use crate::store::Tx;
use crate::x509::chain::sha256;
use crate::x509::csr::Csr;

/// Who asks for a certificate, and for which.
pub struct Request<'a> {
    /// Where the request comes from.
    pub source: SocketAddr,
    /// The request.
    pub request: RequestRef,
    /// The identity that is asked for, if the caller says.
    pub wanted: Option<SpiffeId>,
    /// For which key: PKCS #10, PEM or DER. Its names are not looked at.
    pub csr: &'a [u8],
}

/// Trades what an entry takes for a certificate; the same thing and key get the same certificate again.
struct EnrollShown {
    by: &'static str,
    csr: Csr,
    key_digest: String,
    shown: Shown,
}

/// Enrols whoever brings a JWT that a registration entry takes. It is good once, but for the key that used it.
///
/// SECURITY: what no entry takes is refused before the gate and recorded in aggregate, so that strangers cannot fill the
/// log; whatever one takes is recorded one by one, with the entry and what became of it.
///
/// # Errors
/// `Unauthenticated`, if no entry takes it or it was used by another key; `Invalid` for the request; `Unavailable`, if
/// its issuer is not reached; as [`Gate::perform`].
pub async fn enroll_by_jwt(gate: &Gate, engine: &Enrollment, asked: Request<'_>, jwt: &str) -> Result<Enrolled> {
    let csr = Csr::parse(asked.csr)?;
    let now = gate.clock().now();
    let judged = engine.identity.judge_jwt(jwt, asked.wanted.as_ref(), now).await;
    let op = EnrollShown {
        by: "oidc",
        key_digest: sha256(csr.key().spki()),
        csr,
        shown: known(gate, &asked, judged)?,
    };
    let caller = Caller::enrolling(asked.source, asked.request);
    gate.perform(&caller, engine, op).await
}

/// Enrols whoever shows a client certificate, leaf first, its key proven, that a registration entry takes.
///
/// # Errors
/// As [`enroll_by_jwt`].
pub async fn enroll_by_certificate(
    gate: &Gate,
    engine: &Enrollment,
    asked: Request<'_>,
    chain: &[CertificateDer<'_>],
) -> Result<Enrolled> {
    let csr = Csr::parse(asked.csr)?;
    let (now, key_digest) = (gate.clock().now(), sha256(csr.key().spki()));
    let wanted = asked.wanted.as_ref();
    let judged = engine.identity.judge_certificate(chain, &key_digest, wanted, now).await;
    let op = EnrollShown {
        by: "x509",
        key_digest,
        csr,
        shown: known(gate, &asked, judged)?,
    };
    let caller = Caller::enrolling(asked.source, asked.request);
    gate.perform(&caller, engine, op).await
}

fn known(gate: &Gate, asked: &Request<'_>, judged: Result<Shown>) -> Result<Shown> {
    judged.inspect_err(|error| {
        if error.kind() == Kind::Unauthenticated {
            gate.refuse(asked.source.ip(), error.public());
        }
    })
}

impl Operation for EnrollShown {
    const ACTION: Action = Action::Enroll;
    const EFFECT: Effect = Effect::Act;
    type Engine = Enrollment;
    type Output = Enrolled;

    fn resource(&self) -> Resource {
        Resource::Identities
    }

    async fn run(self, engine: &Enrollment, permit: &Permit) -> Result<Enrolled> {
        let Shown {
            entry,
            proof,
            subject,
            groups,
        } = self.shown;
        permit.note("by", self.by);
        permit.note("entry", entry.id.to_string());
        permit.note("identity", entry.identity.to_string());
        permit.note("key", self.key_digest.clone());
        permit.note("subject", subject);
        if let Some(groups) = &groups {
            permit.note("groups", spell_groups(groups));
        }
        let registration = engine.identity.enrollable(&entry.identity).await?;
        engine
            .issue_for(
                permit,
                &registration,
                &self.csr,
                proof,
                self.key_digest,
                groups.map(|groups| (entry, groups)),
            )
            .await
    }
}

impl Enrollment {
    /// Issues a certificate for what was shown, or gives the one that it gave this key before. With it the identity is in
    /// the groups that the entry was shown.
    pub(super) async fn issue_for(
        &self,
        permit: &Permit,
        registration: &Registration,
        csr: &Csr,
        proof: Proof,
        key_digest: String,
        groups: Option<(Entry, BTreeSet<Group>)>,
    ) -> Result<Enrolled> {
        let now = permit.now();
        if let Some(serial) = self.identity.given(&proof, &key_digest, now).await? {
            return self.repeat(permit, registration.id.clone(), serial).await;
        }
        let spending = Spending {
            authz: self.authz.clone(),
            groups,
            identity: self.identity.clone(),
            key_digest,
            now,
            proof,
        };
        self.issue(permit, registration, csr, spending).await
    }

    /// Gives a certificate again whose answer was lost.
    pub(super) async fn repeat(&self, permit: &Permit, id: SpiffeId, serial: String) -> Result<Enrolled> {
        let issued = self.authority.issued(&serial).await?;
        permit.note("serial", serial);
        permit.note("repeated", "yes");
        permit.commit(|_| async { Ok(()) }.boxed()).await?;
        Ok(self.enrolled(id, &issued))
    }
}

/// What becomes of a proof, in the commits of the certificate.
///
/// CRASH: before the reservation nothing is spent. Between reservation and certificate the proof is spent on the key,
/// which can ask again and gets another certificate; the first was handed to nobody. Afterwards the key gets the same
/// certificate, whatever became of the answer.
struct Spending {
    authz: Authz,
    groups: Option<(Entry, BTreeSet<Group>)>,
    identity: Identity,
    key_digest: String,
    now: Timestamp,
    proof: Proof,
}

impl Alongside for Spending {
    fn reserved<'t>(&'t self, tx: &'t Tx, _: &'t str) -> BoxFuture<'t, Result<()>> {
        self.identity.spend(tx, &self.proof, &self.key_digest, self.now).boxed()
    }

    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            // SECURITY: an entry that was changed or deleted meanwhile puts nobody into a group.
            if let Some((entry, groups)) = &self.groups
                && self.identity.holds_entry(tx, entry.id, &entry.way).await?
            {
                let origin = Origin::Entry(entry.id);
                self.authz.set_groups(tx, &entry.identity, origin, groups).await?;
            }
            self.identity.give(tx, &self.proof, &issued.serial).await
        }
        .boxed()
    }
}
