//! Revocation lists of roots whose keys are elsewhere: taken, served as our own are, and obeyed.

use std::sync::Arc;

use futures::FutureExt;
use tracing::{error, warn};

use super::issuers::repo as issuers;
use super::issuers::{IssuerRow, Member, Origin, Role, Stage};
use super::revoked::repo::{self, CrlRow};
use super::signer::{List, Signer};
use super::{Authority, ONLY_SHARD, crl::Published, halt};
use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::x509::chain::{Facts, Issuer};
use crate::x509::root_list::{self, RootList};

/// Takes the revocation list of a root whose key is elsewhere. If it revokes an issuing CA that signs, or is about to,
/// issuing is stopped.
#[derive(Clone, Debug)]
pub struct ImportList {
    /// Of which authority.
    pub authority: Label,
    /// DER.
    pub list: Vec<u8>,
}

impl Operation for ImportList {
    const ACTION: Action = Action::PublishCrl;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    /// The labels of the issuing CAs that it revokes.
    type Output = Vec<String>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Vec<String>> {
        authority.is_called(&self.authority).await?;
        let rows = issuers::issuers(authority.0.gate.store().read()).await?;
        let own: Vec<IssuerRow> = rows.into_iter().filter(|row| row.authority == self.authority).collect();
        let (root, read) = self.judge(&own, permit)?;
        permit.note("issuer", root.label.clone());
        permit.note("crl_number", read.number.to_string());
        let revoked = revoked_by(&root, &read, &own)?;
        let stops = revoked.iter().any(|row| row.stage <= Stage::Active);
        let labels: Vec<String> = revoked.into_iter().map(|row| row.label.clone()).collect();
        if !labels.is_empty() {
            permit.note("revokes", labels.join(", "));
        }
        let stop = halt::Stop {
            authority: Some(self.authority.clone()),
            profile: None,
            reason: format!("the list of `{}` revokes {}", root.label, labels.join(", ")),
            stopped_at: permit.now(),
            stopped_by: permit.caller().principal.to_string(),
        };
        let row = CrlRow {
            issuer: root.label,
            shard: ONLY_SHARD,
            number: read.number,
            revision: 0,
            list: self.list,
            this_update: read.this_update,
            next_update: read.next_update,
        };
        let engine = authority.clone();
        permit
            .commit(move |tx| {
                let (engine, row, stop) = (engine.clone(), row.clone(), stop.clone());
                async move {
                    if !repo::store_crl(tx, &row).await? {
                        return Err(Error::conflict(format!(
                            "a list of `{}` with this number or a higher one is there already: give each list a higher number",
                            row.issuer
                        )));
                    }
                    if stops {
                        engine.stop_in(tx, stop).await?;
                    }
                    Ok(())
                }
                .boxed()
            })
            .await?;
        Ok(labels)
    }
}

impl ImportList {
    /// Whose list it is, and what it says.
    fn judge(&self, own: &[IssuerRow], permit: &Permit) -> Result<(IssuerRow, RootList)> {
        let mut refused = None;
        let elsewhere = |row: &&IssuerRow| row.role == Role::Root && row.origin != Origin::Token;
        // Those that were retired are revoked by nobody any more.
        for root in own.iter().filter(elsewhere).filter(|row| row.stage != Stage::Retired) {
            match root_list::read(&Issuer::read(&root.certificate)?, &self.list, permit.now()) {
                Ok(read) => return Ok((root.clone(), read)),
                // What is said of the right root says more than that the others did not sign it.
                Err(error @ crate::x509::X509Error::Signature(_)) => refused = refused.or(Some(error)),
                Err(error) => return Err(error.into()),
            }
        }
        Err(refused.map_or_else(
            || {
                Error::conflict(format!(
                    "`{}` has no root whose list is made elsewhere: those of roots in the token are made by themselves, and \
                     the chain is imported before the list",
                    self.authority
                ))
            },
            Error::from,
        ))
    }
}

/// The issuing CAs whose certificates, or one above them, the list revokes.
fn revoked_by<'a>(root: &IssuerRow, read: &RootList, own: &'a [IssuerRow]) -> Result<Vec<&'a IssuerRow>> {
    let mut found = Vec::new();
    let below = |row: &&IssuerRow| row.role == Role::Issuing && row.parent == root.label;
    for row in own.iter().filter(below).filter(|row| row.stage != Stage::Requested) {
        if is_revoked(root, read, row)? {
            found.push(row);
        }
    }
    Ok(found)
}

fn is_revoked(root: &IssuerRow, read: &RootList, issuing: &IssuerRow) -> Result<bool> {
    let signer = Issuer::read(&root.certificate)?;
    for der in std::iter::once(&issuing.certificate).chain(&issuing.chain) {
        if signer.verify(der).is_ok() && read.revoked.contains(&Facts::read(der)?.serial) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Refuses an issuing CA that its root's list, as it was imported last, revokes already.
pub(super) async fn check(tx: &Tx, root: &IssuerRow, issuing: &IssuerRow) -> Result<()> {
    let Some(last) = repo::newer_crl(tx.conn(), &root.label, ONLY_SHARD, 0).await? else {
        return Ok(());
    };
    if is_revoked(root, &root_list::inspect(&last.list)?, issuing)? {
        return Err(Error::invalid(format!(
            "the chain is revoked by list {} of `{}`: have another certificate signed",
            last.number, root.label
        )));
    }
    Ok(())
}

impl Authority {
    /// Says that the next list is to be made, while there is time: nobody here can.
    pub(super) async fn warn_of_imported(&self, member: &Member, now: Timestamp) {
        let label = member.signer.label();
        for list in member.signer.lists.iter().filter(|_| member.stage.is_in_bundle()) {
            match self.imported_list(&member.signer, list).await {
                Ok(last) if now >= last.half() => warn!(
                    issuer = label,
                    crl.number = last.number,
                    "the revocation list of `{label}`, whose key is elsewhere, is good until {}: make the next one and \
                     import it",
                    last.next_update
                ),
                // None was imported: it is published elsewhere.
                Err(e) if e.kind() == Kind::NotFound => {}
                Ok(_) => {}
                Err(e) => error!(issuer = label, error = %e.detail(), "the revocation list of `{label}` is not served"),
            }
        }
    }

    /// The newest list of a root whose key is elsewhere, as it was imported.
    pub(super) async fn imported_list(&self, signer: &Signer, list: &List) -> Result<Arc<Published>> {
        let label = signer.label();
        let newer = repo::newer_crl(self.0.gate.store().read(), label, list.shard, list.number()).await?;
        let last = newer.map(|row| list.keep(row.into())).or_else(|| list.last());
        match last {
            Some(last) if self.now() < last.next_update => Ok(last),
            Some(last) => Err(Error::unavailable(format!(
                "the revocation list of `{label}` was good until {}: the next one is made where its key is, and imported by \
                 `ca import --crl`",
                last.next_update
            ))),
            None => Err(Error::not_found(format!(
                "the revocation list of `{label}` was not imported here: it is where its key is"
            ))),
        }
    }
}
