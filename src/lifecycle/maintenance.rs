//! Maintenance windows: times in which a certificate is left alone, as `<cron> for <duration>` in UTC.
//!
//! The `cron` crate does the calendar, but it does not read crontab(5): it wants a seconds field, counts weekdays from
//! 1 = Sunday and joins day-of-month and weekday by *and*. This module reads the five fields people type and hands the
//! crate explicit lists.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, Utc};
use cron::Schedule;

use super::window::Window;
use crate::clock::Timestamp;
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

/// A five-field crontab time: fires at the start of each matching minute.
#[derive(Clone, Debug)]
struct Crontab {
    /// One schedule, or two whose union it is: crontab(5) joins a restricted day of month and a restricted weekday by
    /// *or*.
    schedules: Vec<Schedule>,
}

impl Crontab {
    fn parse(line: &str) -> Result<Self, String> {
        let line = match line {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => {
                return Err("of the @ names only @yearly, @monthly, @weekly, @daily and @hourly are times".to_owned());
            }
            other => other,
        };
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            return Err(format!("it has {} fields of time, not 5", fields.len()));
        };
        let minutes = MINUTES.expand(minute)?;
        let hours = HOURS.expand(hour)?;
        let days = DAYS.expand(day)?;
        let months = MONTHS.expand(month)?;
        // The crate counts from 1 = Sunday; crontab has 0 and 7 for it.
        let mut weekdays: Vec<u32> = WEEKDAYS.expand(weekday)?.into_iter().map(|n| n % 7 + 1).collect();
        weekdays.sort_unstable();
        weekdays.dedup();

        let schedule = |days: &str, weekdays: &str| {
            let line = format!(
                "0 {} {} {days} {} {weekdays}",
                list(&minutes),
                list(&hours),
                list(&months)
            );
            Schedule::from_str(&line).map_err(|e| format!("it has no meaning as a time: {e}"))
        };
        // As crontab(5): a field that starts with `*` does not count as restricted, even if it has a step.
        let either = !day.starts_with('*') && !weekday.starts_with('*');
        let schedules = if either {
            vec![schedule(&list(&days), "*")?, schedule("*", &list(&weekdays))?]
        } else {
            vec![schedule(&list(&days), &list(&weekdays))?]
        };
        Ok(Self { schedules })
    }

    /// The last firing at or before `at`.
    fn last_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let behind: DateTime<Utc> = DateTime::from_timestamp(at.unix().checked_add(1)?, 0)?;
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&behind).next_back())
            .map(|start| Timestamp::from_unix(start.timestamp()))
            .max()
    }
}

fn list(values: &[u32]) -> String {
    values.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
}

/// One of the five fields.
struct Field {
    what: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MINUTES: Field = Field {
    what: "minute",
    least: 0,
    most: 59,
    names: &[],
};
const HOURS: Field = Field {
    what: "hour",
    least: 0,
    most: 23,
    names: &[],
};
const DAYS: Field = Field {
    what: "day of month",
    least: 1,
    most: 31,
    names: &[],
};
const MONTHS: Field = Field {
    what: "month",
    least: 1,
    most: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Field = Field {
    what: "weekday",
    least: 0,
    most: 7,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

impl Field {
    /// All values of `text`: `*`, numbers, names, ranges and steps, joined by commas.
    fn expand(&self, text: &str) -> Result<Vec<u32>, String> {
        let mut values = Vec::new();
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, Some(self.number(step)?)),
                None => (item, None),
            };
            let (first, last) = if range == "*" {
                // 7 is a second name of Sunday, not an eighth day.
                (self.least, if self.most == 7 { 6 } else { self.most })
            } else if let Some((first, last)) = range.split_once('-') {
                let (first, last) = (self.value(first)?, self.value(last)?);
                // `fri-sun` ends on the Sunday that follows.
                (
                    first,
                    if self.most == 7 && last == 0 && first > 0 {
                        7
                    } else {
                        last
                    },
                )
            } else {
                // What stands in a text is judged first: then it may be shown.
                let value = self.value(range)?;
                if step.is_some() {
                    return Err(format!("the {} `{item}` has a step without a range", self.what));
                }
                (value, value)
            };
            if first > last {
                return Err(format!("the {} range `{item}` runs backwards", self.what));
            }
            let step = step.unwrap_or(1);
            if step == 0 {
                return Err(format!("the {} `{item}` has a step of 0", self.what));
            }
            values.extend((first..=last).step_by(usize::try_from(step).unwrap_or(usize::MAX)));
        }
        values.sort_unstable();
        values.dedup();
        Ok(values)
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        let value = match self.names.iter().position(|name| *name == lower) {
            Some(index) => u32::try_from(index).unwrap_or(0) + self.least,
            None => self.number(text)?,
        };
        if (self.least..=self.most).contains(&value) {
            Ok(value)
        } else {
            Err(format!(
                "the {} `{text}` is not in {}-{}",
                self.what, self.least, self.most
            ))
        }
    }

    fn number(&self, text: &str) -> Result<u32, String> {
        if text.is_empty() || text.len() > 4 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(format!(
                "the {} has `{}`, which is no number",
                self.what,
                text.escape_debug()
            ));
        }
        text.parse()
            .map_err(|_| format!("the {} has `{text}`, which is no number", self.what))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::OffsetDateTime;

    use super::*;

    /// crontab(5), spelled out minute by minute and without the crate: the reference to judge the adapter by.
    fn naive(line: &str, at: OffsetDateTime) -> bool {
        fn matches(field: &str, value: u32, top: u32, sunday: bool) -> bool {
            field.split(',').any(|item| {
                let (range, step) = item.split_once('/').map_or((item, 1), |(r, s)| (r, s.parse().unwrap()));
                let (first, last): (u32, u32) = if range == "*" {
                    (if top == 31 || top == 12 { 1 } else { 0 }, top)
                } else if let Some((a, b)) = range.split_once('-') {
                    (a.parse().unwrap(), b.parse().unwrap())
                } else {
                    (range.parse().unwrap(), range.parse().unwrap())
                };
                let hit = |value: u32| value >= first && value <= last && (value - first).is_multiple_of(step);
                hit(value) || (sunday && value == 0 && hit(7) && range != "*")
            })
        }
        let fields: Vec<&str> = line.split(' ').collect();
        let day = matches(fields[2], at.day().into(), 31, false);
        let weekday = matches(fields[4], at.weekday().number_days_from_sunday().into(), 6, true);
        let days = if fields[2].starts_with('*') || fields[4].starts_with('*') {
            day && weekday
        } else {
            day || weekday
        };
        at.second() == 0
            && matches(fields[0], at.minute().into(), 59, false)
            && matches(fields[1], at.hour().into(), 23, false)
            && matches(fields[3], u8::from(at.month()).into(), 12, false)
            && days
    }

    fn field(least: u32, most: u32) -> impl Strategy<Value = String> {
        let item = prop_oneof![
            Just("*".to_owned()),
            (1..=most).prop_map(|step| format!("*/{step}")),
            (least..=most).prop_map(|n| n.to_string()),
            (least..=most, least..=most).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            (least..=most, least..=most, 1..=most).prop_map(|(a, b, s)| format!("{}-{}/{s}", a.min(b), a.max(b))),
        ];
        prop::collection::vec(item, 1..3).prop_map(|items| items.join(","))
    }

    fn line() -> impl Strategy<Value = String> {
        (field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 7))
            .prop_map(|(m, h, d, mon, w)| format!("{m} {h} {d} {mon} {w}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn fires_exactly_when_crontab_fires(line in line(), at in 1_700_000_000_i64..1_900_000_000) {
            let crontab = Crontab::parse(&line).unwrap();
            let found = crontab.last_at_or_before(Timestamp::from_unix(at));
            if let Some(found) = found {
                prop_assert!(naive(&line, found.to_offset()), "{line} does not fire at {found}");
            }
            // Nothing between what was found and now, as far back as four days.
            let mut minute = at - at.rem_euclid(60);
            let stop = found.map_or(i64::MIN, Timestamp::unix).max(at - 4 * 86_400);
            while minute > stop {
                prop_assert!(!naive(&line, Timestamp::from_unix(minute).to_offset()), "{line} fires at {minute}");
                minute -= 60;
            }
        }

        #[test]
        fn never_panics(line in "\\PC{0,40}") {
            let _ = line.parse::<MaintenanceWindow>();
            let _ = format!("{line} for 1h").parse::<MaintenanceWindow>();
        }
    }

    fn fires(line: &str, before: &str) -> String {
        Crontab::parse(line)
            .unwrap()
            .last_at_or_before(Timestamp::parse_rfc3339(before).unwrap())
            .unwrap()
            .to_string()
    }

    #[test]
    fn weekdays_are_unix_weekdays() {
        // 2026-11-24 is a Tuesday.
        let tuesday = "2026-11-24T12:00:00Z";
        for (line, at) in [
            ("0 3 * * 0", "2026-11-22T03:00:00Z"),
            ("0 3 * * 7", "2026-11-22T03:00:00Z"),
            ("0 3 * * sun", "2026-11-22T03:00:00Z"),
            ("0 3 * * 1", "2026-11-23T03:00:00Z"),
            ("0 3 * * MON-Wed", "2026-11-24T03:00:00Z"),
            ("0 3 * * fri-sun", "2026-11-22T03:00:00Z"),
            ("0 3 * * 5-7", "2026-11-22T03:00:00Z"),
            ("@weekly", "2026-11-22T00:00:00Z"),
            ("@daily", "2026-11-24T00:00:00Z"),
            ("@hourly", "2026-11-24T12:00:00Z"),
            ("0 0 1 nov *", "2026-11-01T00:00:00Z"),
            // Either the 1st or a Friday.
            ("0 0 1 * 5", "2026-11-20T00:00:00Z"),
        ] {
            assert_eq!(fires(line, tuesday), at, "{line}");
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
