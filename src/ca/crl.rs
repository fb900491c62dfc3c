//! Publishing revocation lists: rebuilt after every revocation and before they grow old.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use tracing::warn;

use super::repo::{self, CrlRow};
use super::{Authority, SHARD, Signer};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::policy::{Action, Resource};
use crate::x509::crl::{self, Issue};

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
    revision: i64,
}

impl Published {
    /// Whether it says all that is revoked, and is in the first half of its life.
    fn is_fresh(&self, revision: i64, now: Timestamp) -> bool {
        let half = self.this_update + self.next_update.since(self.this_update) / 2;
        self.revision >= revision && now < half
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

        // First the count, then the rows: the list reaches at least as far as it says.
        let revision = repo::issuer(store.read(), signer.label())
            .await?
            .map_or(0, |(_, revision)| revision);
        // RFC 5280 §3.3: an entry stays until it was on one list issued after the certificate's end.
        let ending = this_update - hierarchy.crl_validity();
        let entries = repo::revoked(store.read(), signer.label(), ending).await?;

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
        let to_be_signed = crl::to_be_signed(&signer.issuer, issue, &entries)?;
        let signature = authority.0.hsm.sign(&signer.key, &to_be_signed).await?;
        let row = CrlRow {
            issuer: signer.label().to_owned(),
            shard: SHARD,
            number,
            revision,
            list: crl::assemble(&signer.issuer, &to_be_signed, &signature)?,
            this_update,
            next_update,
        };
        fault::point("ca.crl_store.before");
        let published = Published::from(row.clone());
        permit
            .commit(move |tx| {
                let row = row.clone();
                async move { repo::store_crl(tx, &row).await }.boxed()
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
        let signer = self
            .signer(issuer)
            .filter(|_| shard == SHARD)
            .ok_or_else(|| Error::not_found(format!("there is no list `{issuer}/{shard}`")))?;
        self.refresh().await?;
        let revision = signer.revision.load(Ordering::SeqCst);
        if let Some(published) = signer.fresh(revision, self.now()) {
            return Ok(published);
        }
        let _alone = signer.publishing.lock().await;
        let revision = signer.revision.load(Ordering::SeqCst);
        if let Some(published) = signer.fresh(revision, self.now()) {
            return Ok(published);
        }
        // Another node may have made it.
        if let Some(row) = repo::newest_crl(self.0.gate.store().read(), signer.label(), shard).await? {
            signer.keep(row.into());
            if let Some(published) = signer.fresh(revision, self.now()) {
                return Ok(published);
            }
        }
        // SECURITY: strangers ask for lists; without a pause they would fill the log while the token is away.
        let now = self.now();
        if now.unix().saturating_sub(signer.failed_at.load(Ordering::SeqCst)) < PAUSE_S {
            return signer.last_good(now).ok_or_else(|| {
                Error::unavailable(format!(
                    "the revocation list of `{issuer}` cannot be made now: try again"
                ))
                .retry_after(Duration::from_secs(PAUSE_S.unsigned_abs()))
            });
        }
        let operation = PublishCrl {
            issuer: signer.label().to_owned(),
            authority: self.name().clone(),
        };
        match self.0.gate.perform(&self.caller()?, self, operation).await {
            Ok(published) => Ok(signer.keep(published)),
            Err(e) => {
                signer.failed_at.store(now.unix(), Ordering::SeqCst);
                match signer.last_good(now) {
                    Some(last) => {
                        warn!(
                            issuer,
                            crl.number = last.number,
                            error = %e.detail(),
                            "the revocation list of `{issuer}` could not be renewed; the last one is served until {}",
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

impl Signer {
    /// The last list, as long as it is good.
    fn last_good(&self, now: Timestamp) -> Option<Arc<Published>> {
        self.published.load_full().filter(|last| now < last.next_update)
    }

    fn fresh(&self, revision: i64, now: Timestamp) -> Option<Arc<Published>> {
        self.published
            .load_full()
            .filter(|published| published.is_fresh(revision, now))
    }

    fn keep(&self, published: Published) -> Arc<Published> {
        let published = Arc::new(published);
        self.published.store(Some(published.clone()));
        published
    }
}
