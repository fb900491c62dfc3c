//! How much one may ask for: rates that hold over all nodes and restarts, in the store.
//!
//! A rate is a generic cell rate algorithm: one row a key says up to when what was asked for is paid off. Up to `count`
//! may come at once; then they come back evenly. What is asked for is written down in the commit of the act itself, as a
//! part that the changes of a batch share: it counts exactly if the act is done.
//!
//! A room has rules in its settings, spells the keys, and adds the [`Take`]s to its transaction. It must never keep a
//! count in memory: another node would not know of it.

mod repo;

use std::time::Duration;

use serde::Deserialize;

use crate::clock::Timestamp;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// So many within so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// How many may come at once, and within `per_s`. 0: there is no limit.
    pub count: u32,
    /// How long it takes until all of them may come again, in seconds.
    pub per_s: u32,
}

impl Rule {
    /// So many within so many seconds.
    pub const fn new(count: u32, per_s: u32) -> Self {
        Self { count, per_s }
    }

    /// Judges a rule that stands in `setting`.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(self, setting: &str) -> Result<()> {
        if self.count > 0 && self.per_s == 0 {
            return Err(Error::invalid(format!(
                "`{setting}` has `per_s = 0`: say within how many seconds, or `count = 0` for no limit"
            )));
        }
        Ok(())
    }

    /// One more of what `key` counts; nothing if there is no limit. `what` and `setting` tell whoever is refused.
    pub fn take(self, key: String, what: &'static str, setting: &'static str, now_millis: i64) -> Option<Take> {
        (self.count > 0).then(|| Take {
            key,
            now: now_millis.saturating_mul(1_000),
            rule: self,
            what,
            setting,
            anyway: false,
        })
    }

    /// How long it takes until one more may come, in microseconds.
    fn step(self) -> i64 {
        i64::from(self.per_s) * 1_000_000 / i64::from(self.count.max(1))
    }
}

/// One of what a key counts, to be written in a transaction by `tx.together`.
#[derive(Clone, Debug)]
pub struct Take {
    key: String,
    /// Microseconds since the epoch.
    now: i64,
    rule: Rule,
    what: &'static str,
    setting: &'static str,
    /// Whether it is counted even if it does not fit.
    anyway: bool,
}

impl Take {
    /// Counted even if it does not fit: it has happened.
    #[must_use]
    pub fn anyway(self) -> Self {
        Self { anyway: true, ..self }
    }

    /// Up to when what was asked for may be unpaid, if `more` are asked for, so that they fit.
    fn room(&self, more: u32) -> i64 {
        let left = i64::from(self.rule.count.saturating_sub(more));
        self.now.saturating_add(left.saturating_mul(self.rule.step()))
    }

    /// Why it is refused, when what was asked for before is paid off at `paid`.
    fn refusal(&self, paid: i64) -> Error {
        let wait = paid.saturating_sub(self.room(1)).max(1);
        let wait = Duration::from_micros(u64::try_from(wait).unwrap_or_default());
        // Whole seconds, so that whoever waits them comes late enough.
        let wait = Duration::from_secs(wait.as_secs().saturating_add(1));
        Error::new(
            Kind::RateLimited,
            format!(
                "too many {} ({} within {} s at most): try again in {} s, or have `{}` raised",
                self.what,
                self.rule.count,
                self.rule.per_s,
                wait.as_secs(),
                self.setting
            ),
        )
        .retry_after(wait)
    }
}

/// Whether one more would be refused now; nothing is counted.
///
/// # Errors
/// `RateLimited`, saying how long to wait; the store's.
pub async fn check(store: &Store, takes: &[Take]) -> Result<()> {
    let paid = repo::paid(store.read(), takes.iter().map(|take| take.key.as_str())).await?;
    let late = |take: &&Take| paid.get(&take.key).is_some_and(|paid| *paid > take.room(1));
    match takes.iter().find(late) {
        Some(take) => Err(take.refusal(paid.get(&take.key).copied().unwrap_or_default())),
        None => Ok(()),
    }
}

/// Forgets what is paid off.
///
/// # Errors
/// The store's.
pub async fn sweep(store: &Store, now: Timestamp) -> Result<()> {
    repo::forget(store, now.unix().saturating_mul(1_000_000)).await
}

#[cfg(test)]
mod tests;
