//! Rotation: a new root or issuing CA takes the place of the old one, in steps that stand in the store.
//!
//! requested -> prepared -> published -> active, and the one before: active -> replaced -> tainted -> retired. Each step
//! is one commit that any node takes once it is due, so a rotation goes on by itself after a crash in any of them. A
//! new issuer is published long before it signs, and the old one stays in the trust bundle until nothing that it signed
//! is valid any more: whoever follows the bundle never meets a certificate that leads nowhere.
//!
//! It must never skip a step of an issuer, or have two that sign for one authority.

mod outside;
mod prepare;
mod progress;

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tracing::{error, info};

use super::issuers::repo as issuers;
use super::issuers::{IssuerRow, Origin, Role, Stage, bundle, key_label};
use super::revoked::repo as revocations;
use super::{Authority, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::key_type::KeyType;
use crate::policy::{Action, Resource};
use crate::store::{Topic, Tx};
use crate::x509::crl::Reason;

pub use self::outside::{ImportChain, InitAuthority, RequestCertificate};
use self::prepare::{CrossSign, PrepareIssuer};
pub use self::progress::{Progress, ShowRotation, Step};

/// How often it is looked whether the last certificate of a tainted issuer has ended.
const LOOK_EVERY: Duration = Duration::from_secs(3_600);

/// Begins a rotation. The service takes its steps by itself.
#[derive(Clone, Debug)]
pub struct RotateAuthority {
    /// Of which authority.
    pub authority: Label,
    /// The kind of the new key; that of the declaration if none is named.
    pub key_type: Option<KeyType>,
    /// A new root, and then a new issuing CA below it; otherwise an issuing CA only.
    pub root: bool,
}

impl Operation for RotateAuthority {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    /// The label of the new issuer's key.
    type Output = String;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<String> {
        authority.is_called(&self.authority).await?;
        check_kind(self.key_type)?;
        let role = if self.root { Role::Root } else { Role::Issuing };
        permit.note("role", role.as_str());
        let (engine, now) = (authority.clone(), permit.now());
        // CRASH: before the commit nothing has begun; after it every step is upkeep's, of whichever node.
        fault::point("ca.rotate_request.before");
        permit
            .commit(move |tx| {
                let (engine, asked) = (engine.clone(), self.clone());
                async move {
                    let rows = issuers::issuers(tx.conn()).await?;
                    let own = rows.iter().filter(|row| row.authority == asked.authority);
                    if let Some(on_its_way) = own.clone().find(|row| row.stage < Stage::Active) {
                        return Err(Error::conflict(format!(
                            "`{}` is on its way already: see `ca rotate --watch`",
                            on_its_way.label
                        )));
                    }
                    let mut own = own.filter(|row| row.stage == Stage::Active);
                    let origin = own
                        .find(|row| row.role == Role::Issuing)
                        .map_or(Origin::Token, |row| row.origin);
                    if role == Role::Root && origin != Origin::Token {
                        return Err(Error::conflict(format!(
                            "the root of `{}` is not in the token: `ca rotate` without `--root`, and import a chain \
                             that ends in the new one",
                            asked.authority
                        )));
                    }
                    let label = request(tx, &rows, &asked.authority, role, origin, asked.key_type, now).await?;
                    tx.note("issuer", label.clone());
                    engine.announce(tx).await?;
                    Ok(label)
                }
                .boxed()
            })
            .await
            .inspect(|_| fault::point("ca.rotate_request.after"))
    }
}

fn check_kind(asked: Option<KeyType>) -> Result<()> {
    match asked {
        Some(kind) if !kind.signs() => Err(Error::invalid(format!(
            "`{kind}` signs nothing: use an EC, Ed25519 or RSA key"
        ))),
        _ => Ok(()),
    }
}

/// Gives out the next number.
async fn request(
    tx: &Tx,
    rows: &[IssuerRow],
    authority: &Label,
    role: Role,
    origin: Origin,
    key_type: Option<KeyType>,
    now: Timestamp,
) -> Result<String> {
    let own = rows
        .iter()
        .filter(|row| row.authority == *authority && row.role == role);
    let number = own.map(|row| row.number).max().unwrap_or(0) + 1;
    let row = IssuerRow {
        label: key_label(authority, role, number),
        authority: authority.clone(),
        role,
        number,
        origin,
        stage: Stage::Requested,
        stage_at: now,
        parent: String::new(),
        key_type,
        serial: String::new(),
        certificate: Vec::new(),
        chain: Vec::new(),
        not_after: now,
    };
    issuers::insert(tx, &row).await?;
    Ok(row.label)
}

/// Says that the certificates of a replaced issuing CA are to be replaced at once.
#[derive(Clone, Debug)]
pub struct TaintIssuer {
    /// Of which authority.
    pub authority: Label,
    /// The number of the issuing CA.
    pub number: u32,
}

/// Takes a tainted issuing CA out of the trust bundle.
#[derive(Clone, Debug)]
pub struct RetireIssuer {
    /// Of which authority.
    pub authority: Label,
    /// Although certificates of it are valid yet: it is revoked then, unless its root is elsewhere and must do that.
    pub force: bool,
    /// The number of the issuing CA.
    pub number: u32,
}

impl Operation for TaintIssuer {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        let row = authority.numbered(&self.authority, self.number).await?;
        match row.stage {
            Stage::Replaced => {}
            Stage::Active => {
                return Err(Error::conflict(format!(
                    "`{}` signs: begin with `ca rotate`, so that another does",
                    row.label
                )));
            }
            stage => return Err(Error::conflict(format!("`{}` is {stage}, not replaced", row.label))),
        }
        authority.advance(permit, &row, Stage::Tainted, false).await
    }
}

impl Operation for RetireIssuer {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        let row = authority.numbered(&self.authority, self.number).await?;
        if row.stage != Stage::Tainted {
            return Err(Error::conflict(format!(
                "`{}` is {}: only a tainted issuing CA is retired",
                row.label, row.stage
            )));
        }
        let store = authority.0.gate.store();
        if !self.force && repo::has_valid(store.read(), &row.label, permit.now()).await? {
            return Err(Error::conflict(format!(
                "certificates of `{}` are valid yet: see `ca rotate --watch` for whose, or use `--force`",
                row.label
            )));
        }
        permit.note("force", self.force.to_string());
        authority.advance(permit, &row, Stage::Retired, self.force).await
    }
}

/// One step of an issuer that is due.
#[derive(Clone, Debug)]
struct AdvanceIssuer {
    row: IssuerRow,
    to: Stage,
}

impl Operation for AdvanceIssuer {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.row.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        authority.advance(permit, &self.row, self.to, false).await
    }
}

impl Authority {
    /// The issuing CA of this number.
    async fn numbered(&self, authority: &Label, number: u32) -> Result<IssuerRow> {
        let rows = issuers::issuers(self.0.gate.store().read()).await?;
        let label = key_label(authority, Role::Issuing, number);
        let found = rows.into_iter().find(|row| row.label == label);
        found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no issuing CA `{label}`: `ca show` lists those that there are"
            ))
        })
    }

    /// Takes one step; `revoke`: its certificate, too, because others are valid below it.
    ///
    /// CRASH: before the commit nothing has happened, and the step is due still; after it the next one is.
    async fn advance(&self, permit: &Permit, row: &IssuerRow, to: Stage, revoke: bool) -> Result<()> {
        permit.note("issuer", row.label.clone());
        permit.note("stage", to.as_str());
        let (engine, row, now) = (self.clone(), row.clone(), permit.now());
        let (before, after) = points(to);
        fault::point(before);
        permit
            .commit(move |tx| {
                let (engine, row) = (engine.clone(), row.clone());
                async move {
                    if !issuers::advance(tx, &row.label, row.stage, to, now).await? {
                        return Err(Error::conflict(format!(
                            "`{}` is not {} any more",
                            row.label, row.stage
                        )));
                    }
                    let rows = issuers::issuers(tx.conn()).await?;
                    let own = |other: &&IssuerRow| other.authority == row.authority;
                    match (to, row.role) {
                        (Stage::Active, role) => {
                            let active = |other: &&IssuerRow| other.role == role && other.stage == Stage::Active;
                            let others = rows.iter().filter(own).filter(active);
                            for other in others.filter(|other| other.label != row.label) {
                                issuers::advance(tx, &other.label, Stage::Active, Stage::Replaced, now).await?;
                            }
                            if role == Role::Root {
                                // What the new root is for.
                                let label =
                                    request(tx, &rows, &row.authority, Role::Issuing, row.origin, row.key_type, now)
                                        .await?;
                                tx.note("requested", label);
                            }
                        }
                        // What it stood above is not trusted by it any more. What came from outside is as it came.
                        (Stage::Retired, Role::Root) if row.origin == Origin::Token => {
                            issuers::drop_chains(tx, &row.authority).await?
                        }
                        _ => {}
                    }
                    match (revoke, row.origin) {
                        (false, _) => {}
                        (true, Origin::Token) => engine.revoke_issuer(tx, &row, now).await?,
                        // Its root's list is not ours to write.
                        (true, Origin::Foreign | Origin::Offline) => tx.note("to_be_revoked", "where its root is"),
                    }
                    engine.announce(tx).await
                }
                .boxed()
            })
            .await?;
        fault::point(after);
        Ok(())
    }

    /// Revokes an issuing CA's certificate on its root's list: whoever looks there takes nothing below it any more.
    async fn revoke_issuer(&self, tx: &Tx, row: &IssuerRow, now: Timestamp) -> Result<()> {
        let root = row.parent_label();
        let revision = revocations::next_revision(tx, &root).await?;
        revocations::mark(tx, &row.serial, Reason::Superseded, now, revision).await?;
        let (engine, serial) = (self.clone(), row.serial.clone());
        tx.on_commit(move || {
            engine.0.identity.note_revoked(&serial);
            if let Some(signer) = engine.signer(&root) {
                signer.revision.fetch_max(revision, Ordering::SeqCst);
            }
        });
        Ok(())
    }

    /// Makes the change of issuers known with its commit: to other nodes, to whoever judges callers, and to upkeep.
    async fn announce(&self, tx: &Tx) -> Result<()> {
        tx.touch(Topic::Authorities);
        let bundle = bundle(&issuers::issuers(tx.conn()).await?, self.name());
        let engine = self.clone();
        tx.on_commit(move || {
            engine.0.advances.fetch_add(1, Ordering::SeqCst);
            if let Err(e) = engine.0.identity.note_bundle(bundle) {
                error!(error = %e.detail(), "a new trust bundle cannot be read");
            }
            engine.0.woken.notify_one();
        });
        Ok(())
    }

    /// Takes every step that is due; gives the time of the next, if there will be one.
    pub(super) async fn rotate_what_is_due(&self) -> Result<Option<Timestamp>> {
        loop {
            let store = self.0.gate.store();
            let rows = issuers::issuers(store.read()).await?;
            let (overlap, replaced) = (self.0.hierarchy.overlap(), self.0.hierarchy.replaced());
            let mut next: Option<Timestamp> = None;
            let mut taken = false;
            for row in &rows {
                let Some((step, mut at)) = step(row, &rows, overlap, replaced) else {
                    continue;
                };
                if step == Step::Retire
                    && row.role == Role::Issuing
                    && repo::has_valid(store.read(), &row.label, self.now()).await?
                {
                    at = self.now() + LOOK_EVERY;
                }
                if at > self.now() {
                    next = Some(next.map_or(at, |next| next.min(at)));
                    continue;
                }
                match self.take(row, &rows, step).await {
                    Ok(()) => info!(issuer = row.label, ?step, "a step of a rotation was taken"),
                    // Another node took it, and goes on with it. Should that be wrong, it is not tried without a pause.
                    Err(e) if e.kind() == Kind::Conflict => return Ok(Some(self.now() + super::upkeep::RETRY)),
                    Err(e) => return Err(e),
                }
                taken = true;
                // All else is judged by what is there now.
                break;
            }
            if !taken {
                return Ok(next);
            }
        }
    }

    async fn take(&self, row: &IssuerRow, rows: &[IssuerRow], step: Step) -> Result<()> {
        let (caller, gate) = (self.caller()?, &self.0.gate);
        let to = match step {
            Step::Prepare => {
                let operation = PrepareIssuer::new(row, rows)?;
                gate.perform(&caller, self, operation).await?;
                return self.refresh().await;
            }
            Step::CrossSign => {
                let operation = CrossSign::new(row, rows)?;
                gate.perform(&caller, self, operation).await?;
                return self.refresh().await;
            }
            Step::Publish => Stage::Published,
            Step::Activate => Stage::Active,
            Step::Taint => Stage::Tainted,
            Step::Retire => Stage::Retired,
        };
        let operation = AdvanceIssuer { row: row.clone(), to };
        gate.perform(&caller, self, operation).await?;
        self.refresh().await
    }
}

/// The next step of an issuer and when it is due; none if nothing comes, or something else must come first.
fn step(row: &IssuerRow, rows: &[IssuerRow], overlap: Duration, replaced: Duration) -> Option<(Step, Timestamp)> {
    let at_once = row.stage_at;
    let mut own = rows.iter().filter(|other| other.authority == row.authority);
    let active = own
        .clone()
        .any(|other| other.role == row.role && other.stage == Stage::Active);
    match (row.stage, row.role) {
        // People bring its certificate.
        (Stage::Requested, _) if row.origin != Origin::Token => None,
        (Stage::Requested, _) => Some((Step::Prepare, at_once)),
        (Stage::Prepared, Role::Root) if active && row.chain.is_empty() => Some((Step::CrossSign, at_once)),
        (Stage::Prepared, _) => Some((Step::Publish, at_once)),
        (Stage::Published, _) if active => Some((Step::Activate, row.stage_at + overlap)),
        (Stage::Published, _) => Some((Step::Activate, at_once)),
        (Stage::Replaced, Role::Issuing) => Some((Step::Taint, row.stage_at + replaced)),
        (Stage::Tainted, _) => Some((Step::Retire, at_once)),
        (Stage::Replaced, Role::Root) => {
            let below = |other: &IssuerRow| {
                other.role == Role::Issuing && other.stage < Stage::Retired && other.parent_label() == row.label
            };
            // The issuing CA that the new root is for does not stand yet.
            let awaited = |other: &IssuerRow| other.role == Role::Issuing && other.stage < Stage::Active;
            (!own.any(|other| below(other) || awaited(other))).then_some((Step::Retire, at_once))
        }
        (Stage::Active | Stage::Retired, _) => None,
    }
}

/// The fault switches around a step.
fn points(to: Stage) -> (&'static str, &'static str) {
    match to {
        Stage::Requested | Stage::Prepared | Stage::Published => {
            ("ca.rotate_publish.before", "ca.rotate_publish.after")
        }
        Stage::Active => ("ca.rotate_activate.before", "ca.rotate_activate.after"),
        Stage::Replaced | Stage::Tainted => ("ca.rotate_taint.before", "ca.rotate_taint.after"),
        Stage::Retired => ("ca.rotate_retire.before", "ca.rotate_retire.after"),
    }
}
