//! The inventory: what an authority issued or reserved, narrowed by whatever is known of it.
//!
//! A list walks along one index, the narrowest that the filter names, and judges each row that it meets by the rest. So
//! every page costs the same at any number of certificates: a page ends when it is full, or when [`LOOKED_AT`] rows were
//! looked at, and says where the next one goes on.
//!
//! To add a filter: a field of [`Filter`], what it means in `matches`, and if few rows have it, an index and its walk.

mod filter;
pub(super) mod repo;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use self::filter::key;
pub use self::filter::{Filter, NamePattern, Status};
use super::{Authority, IssuedCertificate};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Store;

/// How many rows a page looks at, at most.
const LOOKED_AT: usize = 5_000;

/// Rows in one read, once a page is not filled by the first.
const CHUNK: u64 = 1_000;

/// A page of issued certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedPage {
    /// In the order of the list; may be empty in its middle.
    pub items: Vec<IssuedCertificate>,
    /// The cursor of the next page; none at the end.
    pub next: Option<String>,
}

/// Lists what an authority issued or reserved, its own CA certificates included. Newest first; soonest to end first where
/// only the end narrows the list; by name where only what a name ends in does.
#[derive(Clone, Debug)]
pub struct ListIssued {
    /// Whose.
    pub authority: Label,
    /// The `next` of the page before; none for the first page.
    pub cursor: Option<String>,
    /// Which; all by default.
    pub filter: Filter,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ListIssued {
    const ACTION: Action = Action::ListIssued;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = IssuedPage;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<IssuedPage> {
        authority.is_called(&self.authority).await?;
        let issuers = authority.0.issuers.load_full();
        let is_ours = |one: &IssuedCertificate| {
            let member = issuers.member(&one.issuer);
            member.is_some_and(|member| member.authority == self.authority)
        };
        self.page(authority.0.gate.store(), permit.now(), is_ours).await
    }
}

impl ListIssued {
    async fn page(
        &self,
        store: &Store,
        now: Timestamp,
        is_ours: impl Fn(&IssuedCertificate) -> bool,
    ) -> Result<IssuedPage> {
        let walk = self.filter.walk(now);
        let mut place = match &self.cursor {
            Some(cursor) => Some(walk.place(cursor).ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is no cursor of this list: leave it out, or give the filters of the page before",
                    cursor.escape_debug()
                ))
            })?),
            None => None,
        };
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let mut items = Vec::new();
        let (mut looked_at, mut chunk) = (0, u64::from(self.limit) + 1);
        loop {
            let rows = repo::walk(store.read(), &walk, place.as_ref(), chunk).await?;
            let more = u64::try_from(rows.len()).is_ok_and(|len| len >= chunk);
            looked_at += rows.len();
            for (at, one) in rows {
                if items.len() == wanted {
                    let next = place.map(|place| place.to_string());
                    return Ok(IssuedPage { items, next });
                }
                if is_ours(&one) && self.filter.matches(&one, now) && walk.is_first(&at, &one) {
                    items.push(one);
                }
                place = Some(at);
            }
            if !more || looked_at >= LOOKED_AT {
                let next = place.filter(|_| more).map(|place| place.to_string());
                return Ok(IssuedPage { items, next });
            }
            chunk = chunk.max(CHUNK);
        }
    }
}

/// Where in the order of a list a row stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ca) struct Place {
    id: String,
    /// What the list is ordered by before the id: the end, in unix seconds, or the name's key. Empty if nothing.
    key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)?;
        f.write_str(&self.key)
    }
}

/// The keys by which a certificate's names are found, each once.
pub(super) fn keys(names: &[String]) -> BTreeSet<String> {
    names.iter().map(|name| key(name)).collect()
}
