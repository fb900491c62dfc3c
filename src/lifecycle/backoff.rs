//! When to try again after a failure. Pure.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Error, Kind};

/// What helps against a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody has to change something, with us or with the issuer.
    Configuration,
    /// The issuer refuses; the same order will not do.
    Permanent,
    /// Waiting as long as the issuer says.
    RateLimited,
    /// Waiting.
    Transient,
}

impl Class {
    /// The class of `error`, by its kind.
    pub(super) fn of(error: &Error) -> Self {
        match error.kind() {
            Kind::Denied | Kind::Invalid | Kind::NotFound | Kind::Unauthenticated => Self::Configuration,
            Kind::Conflict => Self::Permanent,
            Kind::RateLimited => Self::RateLimited,
            Kind::Internal | Kind::Unavailable => Self::Transient,
        }
    }

    /// Whether waiting alone does not help.
    pub(super) fn is_refusal(self) -> bool {
        matches!(self, Self::Configuration | Self::Permanent)
    }

    /// The word in the audit record.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Permanent => "permanent",
            Self::RateLimited => "rate-limited",
            Self::Transient => "transient",
        }
    }
}

/// How patient we are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// The bound of the first wait; doubled with each failure.
    pub(super) first: Duration,
    /// The bound of every wait.
    pub(super) longest: Duration,
    /// So many refusals in a row stop a renewal.
    pub(super) stop_after: u32,
}

/// A failure that has just happened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Failure {
    pub(super) class: Class,
    /// Failures in a row, with this one.
    pub(super) failures: u32,
    /// Refusals in a row, with this one.
    pub(super) refusals: u32,
    /// When the issuer wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    /// When the certificate in use ends.
    pub(super) expires: Option<Timestamp>,
    pub(super) now: Timestamp,
}

impl Patience {
    /// When to try again; `None`: not by itself. `draw` is a random number over all of `u64`.
    ///
    /// Full jitter over a doubling bound. A refusal, or a limit of which the issuer does not say when it ends, waits
    /// eight times as long, because issuers count (a common limit is five failed validations an hour). The bound shrinks as the certificate in use comes to its end, so that
    /// a short-lived one gets several tries; what the issuer asks for is never undercut.
    pub(super) fn next(&self, failure: &Failure, draw: u64) -> Option<Timestamp> {
        if failure.class.is_refusal() && failure.refusals >= self.stop_after {
            return None;
        }
        let counted = failure.class.is_refusal() || failure.class == Class::RateLimited;
        let factor = if counted { 8 } else { 1 };
        let doublings = failure.failures.saturating_sub(1).min(31);
        let mut bound = self
            .first
            .saturating_mul(factor)
            .saturating_mul(2_u32.saturating_pow(doublings))
            .min(self.longest);
        if let Some(expires) = failure.expires.filter(|expires| *expires > failure.now) {
            bound = bound.min(expires.since(failure.now) / 8);
        }
        let span = u128::from(bound.as_secs());
        let jitter = u64::try_from((u128::from(draw) * span) >> 64).unwrap_or(0);
        let asked = failure.retry_after.unwrap_or_default();
        let wait = Duration::from_secs(1 + jitter).max(asked);
        Some(failure.now + wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience = Patience {
        first: Duration::from_secs(60),
        longest: Duration::from_secs(21_600),
        stop_after: 8,
    };

    fn failure(class: Class, failures: u32) -> Failure {
        Failure {
            class,
            failures,
            refusals: if class.is_refusal() { failures } else { 0 },
            retry_after: None,
            expires: None,
            now: Timestamp::from_unix(1000),
        }
    }

    fn wait(failure: &Failure) -> u64 {
        let next = PATIENCE.next(failure, u64::MAX).unwrap();
        next.since(failure.now).as_secs()
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u64> = (1..=12).map(|n| wait(&failure(Class::Transient, n))).collect();
        assert_eq!(waits[..4], [60, 120, 240, 480]);
        assert_eq!(waits[11], 21_600);
    }

    #[test]
    fn a_refusal_waits_longer_and_stops_in_the_end() {
        assert_eq!(wait(&failure(Class::Permanent, 1)), 480);
        assert!(PATIENCE.next(&failure(Class::Configuration, 7), 0).is_some());
        assert_eq!(PATIENCE.next(&failure(Class::Configuration, 8), 0), None);
        assert!(
            PATIENCE.next(&failure(Class::Transient, 1000), 0).is_some(),
            "an outage stops nothing"
        );
    }

    #[test]
    fn the_issuers_wish_is_kept_even_when_time_runs_out() {
        let limited = Failure {
            retry_after: Some(Duration::from_secs(7200)),
            expires: Some(Timestamp::from_unix(1800)),
            ..failure(Class::RateLimited, 1)
        };
        assert_eq!(wait(&limited), 7200);
    }

    #[test]
    fn a_short_lived_certificate_gets_several_tries() {
        let late = Failure {
            expires: Some(Timestamp::from_unix(1016)),
            ..failure(Class::Transient, 9)
        };
        assert!(wait(&late) <= 2);
    }

    proptest! {
        #[test]
        fn never_in_the_past_and_never_beyond_the_bound(failures in 1_u32..100, draw: u64, left in 1_i64..100_000) {
            let failure = Failure {
                expires: Some(Timestamp::from_unix(1000 + left)),
                ..failure(Class::Transient, failures)
            };
            let next = PATIENCE.next(&failure, draw).unwrap();
            prop_assert!(next > failure.now);
            prop_assert!(next.since(failure.now) <= PATIENCE.longest);
        }
    }
}
