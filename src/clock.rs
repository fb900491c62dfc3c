//! Time, by one door.
//!
//! Pure functions take `now: Timestamp`; structs that act over time hold an `Arc<dyn Clock>`. Nothing else reads the
//! machine's clock: clippy forbids the ambient calls.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

/// A moment in whole seconds since 1970-01-01T00:00:00Z. The only time type in rooms; shown as RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From seconds since the epoch.
    pub const fn from_unix(seconds: i64) -> Self {
        Self(seconds)
    }

    /// Seconds since the epoch.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// The time from `earlier` to this moment; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// As the `time` crate has it; a moment outside its range is clamped to the epoch.
    pub fn to_offset(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Parses RFC 3339, for example `2026-11-24T08:00:00Z`; fractions of a second are cut.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(Self::from)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        Self(at.unix_timestamp())
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to_offset().format(&Rfc3339) {
            Ok(text) => f.write_str(&text),
            Err(_) => write!(f, "@{}", self.0),
        }
    }
}

/// Tells the time and waits for it.
#[async_trait]
pub trait Clock: Send + Sync {
    /// Now, in whole seconds.
    fn now(&self) -> Timestamp {
        Timestamp::from_unix(self.now_millis().div_euclid(1000))
    }

    /// Now, in milliseconds since the epoch.
    fn now_millis(&self) -> i64;

    /// Returns once `at` is reached; before that, if the clock is put back. Whoever waits looks again at what is due:
    /// what it computed by the wrong time may be far away now, or be needed anew.
    async fn sleep_until(&self, at: Timestamp);

    /// Returns after `by`.
    async fn sleep(&self, by: Duration);
}

/// The machine's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one door to the machine's clock")]
    fn now_millis(&self) -> i64 {
        let now = OffsetDateTime::now_utc();
        i64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
    }

    async fn sleep_until(&self, at: Timestamp) {
        // INVARIANT: at most a minute at a time, so that a stepped or suspended wall clock is noticed.
        let mut last = self.now_millis();
        loop {
            let now = self.now_millis();
            let left_ms = at.unix().saturating_mul(1000).saturating_sub(now);
            let Ok(left_ms) = u64::try_from(left_ms) else { return };
            if left_ms == 0 || now < last {
                return;
            }
            last = now;
            self.sleep(Duration::from_millis(left_ms.min(60_000))).await;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the one door to timers")]
    async fn sleep(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

/// A clock that a test moves by hand.
#[derive(Debug)]
pub struct ManualClock {
    now: watch::Sender<i64>,
}

impl ManualClock {
    /// Starts at `at`.
    pub fn new(at: Timestamp) -> Self {
        Self {
            now: watch::Sender::new(at.unix().saturating_mul(1000)),
        }
    }

    /// Moves forward and wakes whoever is due.
    pub fn advance(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.now.send_modify(|now| *now = now.saturating_add(by));
    }

    /// Steps to `at`, forward or back, as a machine's clock may.
    pub fn set(&self, at: Timestamp) {
        self.now.send_replace(at.unix().saturating_mul(1000));
    }

    async fn reach(&self, at_millis: i64) {
        let mut now = self.now.subscribe();
        let mut last = i64::MIN;
        // The sender lives as long as `self`, so waiting cannot fail.
        let due = |now: &i64| {
            let is_put_back = *now < std::mem::replace(&mut last, *now);
            *now >= at_millis || is_put_back
        };
        let _ = now.wait_for(due).await;
    }
}

#[async_trait]
impl Clock for ManualClock {
    fn now_millis(&self) -> i64 {
        *self.now.borrow()
    }

    async fn sleep_until(&self, at: Timestamp) {
        self.reach(at.unix().saturating_mul(1000)).await;
    }

    async fn sleep(&self, by: Duration) {
        let by = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
        self.reach(self.now_millis().saturating_add(by)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_moves_a_year_in_a_millisecond() {
        let clock = std::sync::Arc::new(ManualClock::new(Timestamp::from_unix(1_000)));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_unix(1_000 + 31_536_000)).await }
        });
        clock.advance(Duration::from_secs(31_536_000));
        sleeper.await.unwrap();
        assert_eq!(clock.now().unix(), 31_537_000);
    }

    #[tokio::test]
    async fn r21_whoever_sleeps_looks_again_when_the_clock_is_put_back() {
        let clock = std::sync::Arc::new(ManualClock::new(Timestamp::from_unix(1_000_000)));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_unix(1_000_060)).await }
        });
        tokio::task::yield_now().await;
        clock.set(Timestamp::from_unix(500_000));
        sleeper.await.unwrap();
        assert_eq!(clock.now().unix(), 500_000);
    }

    #[test]
    fn shown_as_rfc_3339() {
        assert_eq!(Timestamp::from_unix(0).to_string(), "1970-01-01T00:00:00Z");
        assert_eq!(
            Timestamp::parse_rfc3339("1970-01-01T00:01:00.9Z"),
            Some(Timestamp::from_unix(60))
        );
    }
}
