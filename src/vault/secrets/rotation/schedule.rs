//! When a secret is rotated, and when a failed step is tried again. Pure.

use std::fmt;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::crontab::Crontab;
use crate::error::{Error, Result};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
/// The longest time between two rotations by interval.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);
/// The longest text of a crontab, in bytes.
const MOST_TEXT: usize = 512;

/// After a first failure, at most so long until the next try; doubled with each.
const RETRY_FIRST: Duration = MINUTE;
const RETRY_LONGEST: Duration = HOUR;
/// So many failures in a row pause a rotation.
const RETRY_MOST: u32 = 8;

/// When it is time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cadence {
    /// When a crontab(5) line fires, in UTC.
    Cron(String),
    /// So long after the rotation before.
    Every(Duration),
}

/// When a secret is rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    cadence: Cadence,
    window: Option<Duration>,
}

impl Schedule {
    /// By `cadence`. With `window` a rotation begins at some moment, drawn by chance, in so long a time from then on.
    ///
    /// # Errors
    /// `Invalid` for a time that never comes, or that is too short or too long.
    pub fn new(cadence: Cadence, window: Option<Duration>) -> Result<Self> {
        match &cadence {
            Cadence::Every(every) if !(HOUR..=LONGEST).contains(every) => {
                return Err(Error::invalid(
                    "a secret is not rotated so often or so seldom: give an interval of 1h to 3650d",
                ));
            }
            Cadence::Every(_) => {}
            Cadence::Cron(line) => {
                crontab(line)?.next_after(Timestamp::from_unix(0)).ok_or_else(|| {
                    Error::invalid(format!("`{}` never comes: give a time that does", line.escape_debug()))
                })?;
            }
        }
        if let Some(window) = window {
            let most = match &cadence {
                Cadence::Every(every) => *every,
                Cadence::Cron(_) => HOUR * 24,
            };
            if window < MINUTE || window > most {
                return Err(Error::invalid(format!(
                    "a window of {} s is not taken: give 1m to 24h, and no more than the interval",
                    window.as_secs()
                )));
            }
        }
        Ok(Self { cadence, window })
    }

    /// When it is time.
    pub fn cadence(&self) -> &Cadence {
        &self.cadence
    }

    /// In how long a time from then on a rotation begins.
    pub fn window(&self) -> Option<Duration> {
        self.window
    }

    /// When the next rotation begins, if the last one was at `last`. `draw` is a random number over all of `u64`.
    ///
    /// # Errors
    /// `Invalid` if that time never comes.
    pub(super) fn next(&self, last: Timestamp, now: Timestamp, draw: u64) -> Result<Timestamp> {
        let start = match &self.cadence {
            Cadence::Every(every) => (last + *every).max(now),
            Cadence::Cron(line) => crontab(line)?.next_after(now).ok_or_else(|| {
                Error::invalid(format!("`{}` never comes again: set another time", line.escape_debug()))
            })?,
        };
        Ok(start + part(self.window.unwrap_or_default(), draw))
    }

    /// Whether a rotation may begin at `now`. One by crontab begins within its window only: if the service was away by
    /// then, it waits for the next.
    pub(super) fn may_begin(&self, now: Timestamp) -> Result<bool> {
        match (&self.cadence, self.window) {
            (Cadence::Cron(line), Some(window)) => {
                let start = crontab(line)?.last_at_or_before(now);
                Ok(start.is_some_and(|start| now < start + window))
            }
            _ => Ok(true),
        }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cadence {
            Cadence::Cron(line) => write!(f, "cron {line}")?,
            Cadence::Every(every) => write!(f, "every {} s", every.as_secs())?,
        }
        match self.window {
            Some(window) => write!(f, " within {} s", window.as_secs()),
            None => Ok(()),
        }
    }
}

fn crontab(line: &str) -> Result<Crontab> {
    let why = match line.len() {
        0..=MOST_TEXT => match Crontab::parse(line) {
            Ok(crontab) => return Ok(crontab),
            Err(why) => why,
        },
        _ => format!("it is longer than {MOST_TEXT} bytes"),
    };
    let shown: String = line.chars().take(64).collect();
    Err(Error::invalid(format!(
        "`{}` is not a time of crontab: {why}; write five fields, for example `0 3 * * sun`",
        shown.escape_debug()
    )))
}

/// A part of `span`.
fn part(span: Duration, draw: u64) -> Duration {
    let part = (u128::from(draw) * u128::from(span.as_secs())) >> 64;
    Duration::from_secs(u64::try_from(part).unwrap_or(0))
}

/// When to try again after so many failures in a row; `None`: not by itself.
pub(super) fn retry(failures: u32, now: Timestamp, draw: u64) -> Option<Timestamp> {
    if failures >= RETRY_MOST {
        return None;
    }
    let doublings = failures.saturating_sub(1).min(16);
    let bound = RETRY_FIRST
        .saturating_mul(2_u32.saturating_pow(doublings))
        .min(RETRY_LONGEST);
    Some(now + bound / 2 + part(bound / 2, draw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_rfc3339(text).unwrap()
    }

    #[test]
    fn the_next_time_is_by_interval_or_by_crontab() {
        let now = at("2026-12-01T12:00:00Z");
        let every = Schedule::new(Cadence::Every(HOUR * 24), None).unwrap();
        assert_eq!(every.next(now, now, 0).unwrap(), at("2026-12-02T12:00:00Z"));
        // What was missed is done at once.
        assert_eq!(every.next(at("2026-01-01T00:00:00Z"), now, 0).unwrap(), now);

        let cron = Schedule::new(Cadence::Cron("0 3 * * sun".to_owned()), Some(HOUR * 4)).unwrap();
        assert_eq!(cron.next(now, now, 0).unwrap(), at("2026-12-06T03:00:00Z"));
        assert_eq!(cron.next(now, now, u64::MAX).unwrap(), at("2026-12-06T06:59:59Z"));
        assert!(cron.may_begin(at("2026-12-06T06:59:59Z")).unwrap());
        assert!(!cron.may_begin(at("2026-12-06T07:00:00Z")).unwrap());
        let unbounded = Schedule::new(Cadence::Cron("0 3 * * sun".to_owned()), None).unwrap();
        assert!(unbounded.may_begin(at("2026-12-06T07:00:00Z")).unwrap());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (cadence, window, why) in [
            (Cadence::Every(MINUTE), None, "1h to 3650d"),
            (Cadence::Every(LONGEST + MINUTE), None, "1h to 3650d"),
            (Cadence::Every(HOUR), Some(HOUR * 2), "no more than the interval"),
            (
                Cadence::Cron("@daily".to_owned()),
                Some(Duration::from_secs(1)),
                "1m to 24h",
            ),
            (Cadence::Cron("99 * * * *".to_owned()), None, "not in 0-59"),
            (Cadence::Cron("0 0 31 feb *".to_owned()), None, "never comes"),
            (Cadence::Cron("0 ".repeat(400)), None, "longer than"),
        ] {
            let error = Schedule::new(cadence, window).unwrap_err();
            assert!(error.public().contains(why), "{error}");
        }
    }

    #[test]
    fn tries_are_further_and_further_apart_and_end() {
        let now = at("2026-12-01T12:00:00Z");
        let waits: Vec<u64> = (1..RETRY_MOST)
            .map(|failures| retry(failures, now, u64::MAX).unwrap().since(now).as_secs())
            .collect();
        assert_eq!(waits, [59, 119, 239, 479, 959, 1919, 3599]);
        assert!(retry(1, now, 0).unwrap() > now);
        assert_eq!(retry(RETRY_MOST, now, 0), None);
    }
}
