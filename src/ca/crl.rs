//! Publishing revocation lists: rebuilt after every revocation and before they grow old.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tracing::warn;

use super::revoked::repo::{self, CrlRow};
use super::{Authority, Role, has_just_failed};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::policy::{Action, Resource};
use crate::x509::X509Error;
use crate::x509::crl::{self, Issue, Scope};

/// Seconds between two tries to publish after one failed.
const PAUSE_S: i64 = 2;

/// A published list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// DER.
    pub der: Vec<u8>,
    /// Until when it is good.
    pub next_update: Timestamp,
    /// Rises with every list of the issuer.
    pub number: u64,
    /// When it was made.
    pub this_update: Timestamp,
    /// Up to which of the issuer's revocations it reaches.
    pub(super) revision: i64,
}

impl Published {
    /// When a newer one is due, whatever was revoked.
    pub(super) fn half(&self) -> Timestamp {
        self.this_update + self.next_update.since(self.this_update) / 2
    }
}

impl From<CrlRow> for Published {
    fn from(row: CrlRow) -> Self {
        Self {
            der: row.list,
            next_update: row.next_update,
            number: row.number,
            this_update: row.this_update,
            revision: row.revision,
        }
    }
}

/// Signs and stores an issuer's list.
#[derive(Clone, Debug)]
pub struct PublishCrl {
    /// The label of the issuer's key.
    pub issuer: String,
    /// Which of its lists.
    pub shard: u32,
    authority: crate::id::Label,
}

impl Operation for PublishCrl {
    const ACTION: Action = Action::PublishCrl;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = Published;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Published> {
        let signer = authority
            .signer(&self.issuer)
            .ok_or_else(|| Error::not_found(format!("there is no issuer `{}`", self.issuer)))?;
        let (store, hierarchy) = (authority.0.gate.store(), &authority.0.hierarchy);
        let this_update = permit.now();
        permit.note("issuer", self.issuer.clone());
        permit.note("shard", self.shard.to_string());

        let (entries, revision) = {
            let mut rolls = signer.rolls.lock().await;
            let grace = hierarchy.crl_validity();
            rolls.catch_up(store, signer.label(), this_update, grace).await?;
            rolls.of(self.shard)
        };

        // CRASH: a number that was given out and not used leaves a gap, which RFC 5280 §5.2.3 allows.
        fault::point("ca.crl_number.before");
        let label = signer.label().to_owned();
        let number = permit
            .intend(move |tx| {
                let label = label.clone();
                async move {
                    let number = repo::next_crl_number(tx, &label).await?;
                    tx.note("crl_number", number.to_string());
                    Ok(number)
                }
                .boxed()
            })
            .await?;
        fault::point("ca.crl_number.after");
        permit.note("crl_number", number.to_string());
        permit.note("entries", entries.len().to_string());

        let next_update = this_update + hierarchy.crl_validity();
        let issue = Issue {
            number,
            this_update,
            next_update,
        };
        let role = authority.issuers().member(signer.label()).map(|member| member.role);
        let scope = match role {
            Some(Role::Root) => Scope::Everything,
            _ => Scope::Shard(hierarchy.pointers(signer.label(), self.shard).crl),
        };
        let issuer = signer.issuer.clone();
        let to_be_signed = apart(move || crl::to_be_signed(&issuer, issue, &scope, &entries)).await?;
        let signature = authority.0.hsm.sign(signer.key()?, &to_be_signed).await?;
        let issuer = signer.issuer.clone();
        let row = CrlRow {
            issuer: signer.label().to_owned(),
            shard: self.shard,
            number,
            revision,
            list: apart(move || crl::assemble(&issuer, &to_be_signed, &signature)).await?,
            this_update,
            next_update,
        };
        fault::point("ca.crl_store.before");
        let published = Published::from(row.clone());
        permit
            .commit(move |tx| {
                let row = row.clone();
                async move { repo::store_crl(tx, &row).await.map(|_| ()) }.boxed()
            })
            .await?;
        fault::point("ca.crl_store.after");
        Ok(published)
    }
}

impl Authority {
    /// The list of the issuer with this key, at least as new as every revocation that was answered before the call.
    ///
    /// If a newer one is due and cannot be made now, the last one is given as long as it is good.
    ///
    /// # Errors
    /// `NotFound` if there is no such issuer or shard; the gate's, the token's, the store's.
    pub async fn crl(&self, issuer: &str, shard: u32) -> Result<Arc<Published>> {
        self.refresh().await?;
        let nothing = || Error::not_found(format!("there is no list `{issuer}/{shard}`"));
        let member = self.issuers().member(issuer).cloned().ok_or_else(nothing)?;
        let (signer, name) = (member.signer, member.authority);
        let list = signer.list(shard).ok_or_else(nothing)?;
        if signer.key.is_none() {
            return self.imported_list(&signer, list).await;
        }
        let revision = signer.revision.load(Ordering::SeqCst);
        if let Some(published) = list.fresh(revision, self.now()) {
            return Ok(published);
        }
        let _alone = list.publishing.lock().await;
        let revision = signer.revision.load(Ordering::SeqCst);
        if let Some(published) = list.fresh(revision, self.now()) {
            return Ok(published);
        }
        // Another node may have made it, or this one before its last end.
        let conn = self.0.gate.store().read();
        if let Some(row) = repo::newer_crl(conn, signer.label(), shard, list.number()).await? {
            list.keep(row.into());
        }
        // What was revoked meanwhile may stand on other lists.
        if let Some(published) = list.young(self.now())
            && !repo::is_behind(conn, signer.label(), shard, list.reach.load(Ordering::SeqCst)).await?
        {
            list.reach.fetch_max(revision, Ordering::SeqCst);
            return Ok(published);
        }
        // SECURITY: strangers ask for lists; without a pause they would fill the log while the token is away.
        let now = self.now();
        if has_just_failed(list.failed_at.load(Ordering::SeqCst), PAUSE_S, now) {
            return list.last_good(now).ok_or_else(|| {
                Error::unavailable(format!(
                    "the revocation list `{issuer}/{shard}` cannot be made now: try again"
                ))
                .retry_after(Duration::from_secs(PAUSE_S.unsigned_abs()))
            });
        }
        let operation = PublishCrl {
            issuer: signer.label().to_owned(),
            shard,
            authority: name,
        };
        match self.0.gate.perform(&self.caller()?, self, operation).await {
            Ok(published) => Ok(list.keep(published)),
            Err(e) => {
                list.failed_at.store(now.unix(), Ordering::SeqCst);
                match list.last_good(now) {
                    Some(last) => {
                        warn!(
                            issuer,
                            crl.number = last.number,
                            error = %e.detail(),
                            "the revocation list `{issuer}/{shard}` could not be renewed; the last one is served until {}",
                            last.next_update
                        );
                        Ok(last)
                    }
                    None => Err(e),
                }
            }
        }
    }
}

/// Work that grows with a list's length, away from the threads that answer requests.
async fn apart<T, F>(work: F) -> Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> std::result::Result<T, X509Error> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|e| Error::internal("a revocation list was not built by a fault of ours").because(e))??)
}
