//! When to renew: pure arithmetic over a certificate's validity, the issuer's wish and the maintenance windows.
//!
//! The caller draws once, persists the pick, and draws again only if the issuer's window changes. Nothing here reads a
//! clock or a random source.

use std::time::Duration;

use super::maintenance::MaintenanceWindow;
use crate::clock::Timestamp;
use crate::error::{Error, Result};

/// The least time between two renewals of one certificate that the issuer asks for out of turn; doubled each time in a
/// row, and never more than a third of the lifetime.
const HURRY_SPACING: Duration = Duration::from_secs(3600);

/// From `not_before` to `not_after`, both inclusive (RFC 5280 §4.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first second of validity.
    pub not_before: Timestamp,
    /// The last second of validity.
    pub not_after: Timestamp,
}

impl Validity {
    /// `not_after - not_before`; zero if they are the wrong way round.
    pub fn lifetime(&self) -> Duration {
        self.not_after.since(self.not_before)
    }

    /// The moment at which `numerator / denominator` of the lifetime has passed.
    fn part(&self, numerator: u32, denominator: u32) -> Timestamp {
        let seconds = u128::from(self.lifetime().as_secs()) * u128::from(numerator) / u128::from(denominator.max(1));
        self.not_before + Duration::from_secs(u64::try_from(seconds).unwrap_or(u64::MAX))
    }
}

/// A span of time from which the start of a renewal is drawn, both ends inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first moment.
    pub start: Timestamp,
    /// Its last moment.
    pub end: Timestamp,
}

impl Window {
    /// Uniform: `draw` is a random number over all of `u64`.
    fn draw(&self, draw: u64) -> Timestamp {
        let span = u128::from(self.end.since(self.start).as_secs()) + 1;
        let offset = (u128::from(draw) * span) >> 64;
        self.start + Duration::from_secs(u64::try_from(offset).unwrap_or(0))
    }
}

/// The part of the lifetime after which to renew when the issuer suggests nothing, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction(u16);

impl Default for Fraction {
    /// Two thirds.
    fn default() -> Self {
        Self(667)
    }
}

impl Fraction {
    /// From whole percent.
    ///
    /// # Errors
    /// `Invalid` unless it lies between a third and five sixths of the lifetime.
    pub fn from_percent(percent: u8) -> Result<Self> {
        if (34..=83).contains(&percent) {
            Ok(Self(u16::from(percent) * 10))
        } else {
            Err(Error::invalid(format!(
                "`{percent}` percent of the lifetime is no time to renew at: use 34 to 83"
            )))
        }
    }
}

/// What a pick depends on.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// The validity of the certificate to be replaced.
    pub validity: Validity,
    /// What the issuer suggests (RFC 9773 §4.2), if it does.
    pub suggested: Option<Window>,
    /// When it suggests nothing.
    pub fraction: Fraction,
    /// Times in which the certificate is left alone.
    pub maintenance: &'a [MaintenanceWindow],
    /// How many renewals in a row, up to this certificate, were [`Basis::Hurried`].
    pub hurried: u32,
    /// The present.
    pub now: Timestamp,
}

/// Why a renewal starts when it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// The issuer wants it before a third of the lifetime has passed: a sign that it will revoke.
    Hurried,
    /// The configured fraction of the lifetime.
    Lifetime,
    /// The issuer's suggested window.
    Suggested,
}

impl Basis {
    /// The word in the store and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hurried => "hurried",
            Self::Lifetime => "lifetime",
            Self::Suggested => "suggested",
        }
    }
}

/// When to start, and why then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pick {
    /// Never before now, and never after the end of validity unless that has passed.
    pub at: Timestamp,
    /// What it was drawn from.
    pub basis: Basis,
}

/// Picks the start of a renewal; `draw` is a random number over all of `u64`.
///
/// The window is cut to the part of the lifetime between 1/3 and 5/6, because an issuer may suggest the whole of a short
/// lifetime. A window that ends before 1/3 is an instruction rather than a suggestion and is followed as it stands, but
/// not in a loop: see [`Plan::hurried`]. A maintenance window moves the start behind it, or before it if behind would be
/// later than 11/12 of the lifetime; an expired certificate is worse than a disturbed maintenance, so if neither is
/// possible the start stays. A start in the past means now (RFC 9773 §4.2).
pub fn pick(plan: &Plan<'_>, draw: u64) -> Pick {
    let validity = &plan.validity;
    let (low, high) = (validity.part(1, 3), validity.part(5, 6));
    let (window, basis) = match plan.suggested {
        Some(wish) if wish.end < low => {
            let third = low.since(validity.not_before);
            let spacing = HURRY_SPACING
                .saturating_mul(2_u32.saturating_pow(plan.hurried))
                .min(third);
            // INVARIANT: however often the issuer hurries, renewals keep their distance.
            let floor = validity.not_before + spacing;
            let start = wish.start.max(floor);
            let end = wish.end.max(start);
            (Window { start, end }, Basis::Hurried)
        }
        Some(wish) => {
            let start = wish.start.clamp(low, high);
            let end = wish.end.clamp(start, high);
            (Window { start, end }, Basis::Suggested)
        }
        None => {
            let start = validity.part(u32::from(plan.fraction.0), 1000).min(high);
            let end = (start + validity.lifetime() / 20).min(high);
            (Window { start, end }, Basis::Lifetime)
        }
    };
    let drawn = window.draw(draw).max(plan.now);
    let latest = validity.part(11, 12).max(plan.now);
    let earliest = low.min(drawn).max(plan.now);
    let at = free_after(plan.maintenance, drawn, latest)
        .or_else(|| free_before(plan.maintenance, drawn, earliest))
        .unwrap_or(drawn);
    Pick { at, basis }
}

/// The first moment in `from..=until` outside all windows.
fn free_after(windows: &[MaintenanceWindow], from: Timestamp, until: Timestamp) -> Option<Timestamp> {
    let mut at = from;
    // Windows may hand over to each other without a gap, but not for ever: the bound is far beyond any sane set.
    for _ in 0..10_000 {
        if at > until {
            return None;
        }
        match windows
            .iter()
            .filter_map(|window| window.covering(at))
            .map(|w| w.end)
            .max()
        {
            Some(end) => at = end + Duration::from_secs(1),
            None => return Some(at),
        }
    }
    None
}

/// The last moment in `since..=from` outside all windows.
fn free_before(windows: &[MaintenanceWindow], from: Timestamp, since: Timestamp) -> Option<Timestamp> {
    let mut at = from;
    for _ in 0..10_000 {
        if at < since {
            return None;
        }
        match windows
            .iter()
            .filter_map(|window| window.covering(at))
            .map(|w| w.start)
            .min()
        {
            Some(start) => at = start - Duration::from_secs(1),
            None => return Some(at),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn t(unix: i64) -> Timestamp {
        Timestamp::from_unix(unix)
    }

    fn plan(lifetime: i64, suggested: Option<(i64, i64)>) -> Plan<'static> {
        Plan {
            validity: Validity {
                not_before: t(0),
                not_after: t(lifetime),
            },
            suggested: suggested.map(|(start, end)| Window {
                start: t(start),
                end: t(end),
            }),
            fraction: Fraction::default(),
            maintenance: &[],
            hurried: 0,
            now: t(0),
        }
    }

    #[test]
    fn without_a_suggestion_two_thirds_of_the_lifetime() {
        let early = pick(&plan(90 * DAY, None), 0);
        assert_eq!((early.at.unix() / DAY, early.basis), (60, Basis::Lifetime));
        let late = pick(&plan(90 * DAY, None), u64::MAX);
        assert_eq!(late.at.unix() / DAY, 64);
    }

    #[test]
    fn a_suggestion_of_the_whole_lifetime_is_cut() {
        let wish = Some((0, 40));
        assert_eq!(pick(&plan(40, wish), 0).at, t(13));
        assert_eq!(pick(&plan(40, wish), u64::MAX).at, t(33));
    }

    #[test]
    fn a_window_in_the_past_means_now() {
        let mut plan = plan(90 * DAY, Some((2 * DAY, 3 * DAY)));
        plan.now = t(10 * DAY);
        assert_eq!(
            pick(&plan, 7),
            Pick {
                at: t(10 * DAY),
                basis: Basis::Hurried
            }
        );
    }

    #[test]
    fn a_window_that_is_always_in_the_past_does_not_loop() {
        let mut plan = plan(90 * DAY, Some((-10, -5)));
        let starts: Vec<i64> = (0..12)
            .map(|hurried| {
                plan.hurried = hurried;
                pick(&plan, 7).at.unix()
            })
            .collect();
        assert_eq!(starts[..3], [3600, 7200, 14_400]);
        assert_eq!(starts[11], 30 * DAY);
    }

    #[test]
    fn a_window_too_late_is_brought_forward() {
        let pick = pick(&plan(90 * DAY, Some((89 * DAY, 90 * DAY))), u64::MAX);
        assert_eq!(pick.at, t(75 * DAY));
    }

    #[test]
    fn a_fraction_is_checked() {
        assert_eq!(Fraction::from_percent(50).unwrap(), Fraction(500));
        for bad in [0, 33, 84, 100] {
            assert!(Fraction::from_percent(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn maintenance_moves_the_start_behind_it_or_before_it_or_gives_way() {
        // 1970-01-01 was a Thursday. From 00:00 for 20 hours each day: day 60 00:00 moves to day 60 20:00:00.
        let nightly: MaintenanceWindow = "0 0 * * * for 20h".parse().unwrap();
        let mut wish = plan(90 * DAY, Some((60 * DAY, 60 * DAY)));
        let windows = [nightly];
        wish.maintenance = &windows;
        assert_eq!(pick(&wish, 1).at, t(60 * DAY + 20 * 3600));

        // From March 1 (day 59) for 31 days, on a lifetime that ends on day 90: only before it is there room.
        let march = ["0 0 1 3 * for 31d".parse().unwrap()];
        wish.maintenance = &march;
        assert_eq!(pick(&wish, 1).at, t(59 * DAY - 1));

        let always = ["* * * * * for 1h".parse().unwrap()];
        wish.maintenance = &always;
        assert_eq!(pick(&wish, 1).at, t(60 * DAY));
    }

    proptest! {
        #[test]
        fn every_pick_lies_between_a_third_and_five_sixths(
            lifetime in 10_i64..400 * DAY,
            start in -100 * DAY..400 * DAY,
            length in 1_i64..100 * DAY,
            ari in any::<bool>(),
            now in 0_i64..400 * DAY,
            draw: u64,
            hurried in 0_u32..40,
        ) {
            let mut plan = plan(lifetime, ari.then_some((start, start + length)));
            plan.now = t(now);
            plan.hurried = hurried;
            let pick = pick(&plan, draw);
            prop_assert!(pick.at >= plan.now);
            if pick.basis != Basis::Hurried {
                prop_assert!(pick.at >= t(lifetime / 3));
            }
            prop_assert!(pick.at <= t(lifetime * 5 / 6).max(plan.now));
        }

        #[test]
        fn a_draw_is_within_its_window_and_reaches_both_ends(start in 0_i64..1000, span in 0_i64..1000, draw: u64) {
            let window = Window { start: t(start), end: t(start + span) };
            let at = window.draw(draw);
            prop_assert!(window.start <= at && at <= window.end);
            prop_assert_eq!(window.draw(0), window.start);
            prop_assert_eq!(window.draw(u64::MAX), window.end);
        }
    }
}
