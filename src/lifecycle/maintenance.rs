//! Maintenance windows: times in which a certificate is left alone, as `<cron> for <duration>` in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::window::Window;
use crate::clock::Timestamp;
use crate::crontab::Crontab;
use crate::error::{Error, Result};

const MINUTE: u64 = 60;
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest text, in bytes: every minute, hour, day and month by its number is shorter.
const MOST_TEXT: usize = 512;

/// One recurring window: it starts whenever the crontab line fires and lasts for a fixed time. UTC.
#[derive(Clone, Debug)]
pub struct MaintenanceWindow {
    source: String,
    starts: Crontab,
    duration: Duration,
}

impl MaintenanceWindow {
    /// The occurrence that covers `at`, if one does: its first and its last second. The newest, if they overlap.
    pub fn covering(&self, at: Timestamp) -> Option<Window> {
        let start = self.starts.last_at_or_before(at)?;
        let end = start + (self.duration - Duration::from_secs(1));
        (end >= at).then_some(Window { start, end })
    }
}

impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

impl FromStr for MaintenanceWindow {
    type Err = Error;

    /// Reads, for example, `30 2 * * mon-fri for 90m` or `@weekly for 1d`.
    fn from_str(text: &str) -> Result<Self> {
        if text.len() > MOST_TEXT {
            return Err(Error::invalid(format!(
                "a maintenance window of {} bytes is not read: write at most {MOST_TEXT}, and several for several times",
                text.len()
            )));
        }
        let wrong = |why: &str| {
            Error::invalid(format!(
                "`{}` is not a maintenance window: {why}; write a crontab time and a duration, for example `0 22 * * 5 for 8h`",
                text.escape_debug()
            ))
        };
        let (line, duration) = text
            .rsplit_once(" for ")
            .ok_or_else(|| wrong("it has no ` for <duration>`"))?;
        let duration =
            parse_duration(duration.trim()).ok_or_else(|| wrong("the duration is not a number with m, h or d"))?;
        if duration < Duration::from_secs(MINUTE) || duration > LONGEST {
            return Err(wrong("the duration is not between 1m and 366d"));
        }
        Ok(Self {
            source: text.to_owned(),
            starts: Crontab::parse(line.trim()).map_err(|why| wrong(&why))?,
            duration,
        })
    }
}

fn parse_duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match unit {
        "m" => MINUTE,
        "h" => 60 * MINUTE,
        "d" => 24 * 60 * MINUTE,
        _ => return None,
    };
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(Duration::from_secs(digits.parse::<u64>().ok()?.checked_mul(unit)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn never_panics(line in "\\PC{0,40}") {
            let _ = line.parse::<MaintenanceWindow>();
            let _ = format!("{line} for 1h").parse::<MaintenanceWindow>();
        }
    }

    #[test]
    fn a_window_covers_from_its_start_for_its_duration() {
        let window: MaintenanceWindow = "0 22 * * * for 8h".parse().unwrap();
        let covers = |at: &str| window.covering(Timestamp::parse_rfc3339(at).unwrap()).is_some();
        assert!(!covers("2026-11-24T21:59:59Z"));
        assert!(covers("2026-11-24T22:00:00Z"));
        assert!(covers("2026-11-25T05:59:59Z"));
        assert!(!covers("2026-11-25T06:00:00Z"));
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for (line, why) in [
            ("0 3 * *  for 1h", "4 fields"),
            ("0 0 3 * * * for 1h", "6 fields"),
            ("60 3 * * * for 1h", "`60` is not in 0-59"),
            ("0 3 * * 8 for 1h", "`8` is not in 0-7"),
            ("0 3 * * 5-1 for 1h", "runs backwards"),
            ("5/10 3 * * * for 1h", "without a range"),
            ("*/0 3 * * * for 1h", "step of 0"),
            ("@reboot for 1h", "only @yearly"),
            ("0 3 * * *", "no ` for <duration>`"),
            ("0 3 * * * for 10", "not a number"),
            ("0 3 * * * for 0m", "between 1m"),
            ("0 3 * * * for ü", "not a number"),
        ] {
            let error = line.parse::<MaintenanceWindow>().unwrap_err();
            assert!(error.public().contains(why), "{line}: {error}");
        }
    }
}
