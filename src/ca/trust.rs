//! What callers are judged by, read from the store: roots and issuing CAs, and what they revoked; and what others are to
//! trust us by.
//!
//! [`Trust`] holds no part of the open authority: `identity` keeps it, and the authority keeps `identity`.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::issuers::{Issuers, Member, Stage};
use super::{Authority, Role, State, issuers, repo, revoked};
use crate::clock::{Clock, Timestamp};
use crate::error::Result;
use crate::id::Label;
use crate::identity::{TrustSource, Trusted};
use crate::store::Store;

/// The installation's own authority, as a source of trust.
pub(super) struct Trust {
    pub(super) authority: Label,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Store,
}

impl TrustSource for Trust {
    fn load(&self) -> BoxFuture<'_, Result<Trusted>> {
        async move {
            let mut serials = HashSet::new();
            let (conn, now) = (self.store.read(), self.clock.now());
            let rows = issuers::repo::issuers(conn).await?;
            for row in rows.iter().filter(|row| row.authority == self.authority) {
                // What stands below it is not taken, even with its whole chain.
                if row.stage == Stage::Retired {
                    serials.insert(row.serial.clone());
                }
                let mut place = revoked::repo::start();
                while let Some((chunk, next)) =
                    revoked::repo::unexpired(conn, &row.label, now, i64::MAX, &place).await?
                {
                    serials.extend(chunk.into_iter().map(|one| one.entry.serial.to_string()));
                    place = next;
                }
            }
            Ok(Trusted {
                bundle: issuers::bundle(&rows, &self.authority),
                revoked: serials,
            })
        }
        .boxed()
    }

    fn is_revoked<'s>(&'s self, serial: &'s str) -> BoxFuture<'s, Result<bool>> {
        async move {
            let issued = repo::find(self.store.read(), serial).await?;
            Ok(issued.is_some_and(|issued| matches!(issued.state, State::Revoked { .. })))
        }
        .boxed()
    }
}

/// The longest that somebody should wait before looking again.
const LONGEST_HINT: Duration = Duration::from_secs(3_600);

/// What to trust the certificates of an authority by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustBundle {
    /// Those below the roots.
    pub issuers: Vec<BundleCertificate>,
    /// How soon to look again: several times before a new issuer signs.
    pub refresh_hint: Duration,
    /// Where chains end.
    pub roots: Vec<BundleCertificate>,
    /// Grows with every change.
    pub sequence: u64,
}

/// A certificate in the bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleCertificate {
    /// The authority that it is of.
    pub authority: Label,
    /// DER.
    pub certificate: Vec<u8>,
    /// The label of its key.
    pub label: String,
    /// Its end.
    pub not_after: Timestamp,
    /// The DER `SubjectPublicKeyInfo` of its key.
    pub spki: Vec<u8>,
    /// How far it came.
    pub stage: Stage,
}

impl Authority {
    /// What to trust an authority by (the installation's own if none is named), as the store says now; as this node last
    /// saw it if the store does not answer.
    ///
    /// # Errors
    /// `NotFound` if there is no such authority.
    pub async fn trust_bundle(&self, authority: Option<&Label>) -> Result<TrustBundle> {
        if let Err(e) = self.refresh().await {
            tracing::warn!(error = %e.detail(), "the trust bundle is given as it was last seen");
        }
        let authority = authority.unwrap_or_else(|| self.name());
        self.is_called(authority).await?;
        let issuers = self.issuers();
        let of = |issuers: &Issuers, role| -> Vec<BundleCertificate> {
            issuers.bundled(authority, role).map(BundleCertificate::of).collect()
        };
        Ok(TrustBundle {
            issuers: of(&issuers, Role::Issuing),
            refresh_hint: (self.0.hierarchy.overlap() / 10).clamp(Duration::from_secs(1), LONGEST_HINT),
            roots: of(&issuers, Role::Root),
            sequence: issuers.sequence,
        })
    }
}

impl BundleCertificate {
    fn of(member: &Member) -> Self {
        let issuer = &member.signer.issuer;
        Self {
            authority: member.authority.clone(),
            certificate: issuer.der().to_vec(),
            label: member.signer.label().to_owned(),
            not_after: issuer.validity().not_after,
            spki: issuer.key().spki().to_vec(),
            stage: member.stage,
        }
    }
}
