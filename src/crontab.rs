//! Times as crontab(5) writes them, in UTC. Pure.
//!
//! The `cron` crate does the calendar, but it does not read crontab(5): it wants a seconds field, counts weekdays from
//! 1 = Sunday and joins day-of-month and weekday by *and*. This module reads the five fields people type and hands the
//! crate explicit lists.

use std::str::FromStr;

use chrono::{DateTime, Utc};
use cron::Schedule;

use crate::clock::Timestamp;

/// A five-field crontab time: fires at the start of each matching minute.
#[derive(Clone, Debug)]
pub struct Crontab {
    /// One schedule, or two whose union it is: crontab(5) joins a restricted day of month and a restricted weekday by
    /// *or*.
    schedules: Vec<Schedule>,
}

impl Crontab {
    /// Reads five fields, or one of `@yearly`, `@monthly`, `@weekly`, `@daily` and `@hourly`.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub fn parse(line: &str) -> Result<Self, String> {
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
    pub fn last_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let behind: DateTime<Utc> = DateTime::from_timestamp(at.unix().checked_add(1)?, 0)?;
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&behind).next_back())
            .map(|start| Timestamp::from_unix(start.timestamp()))
            .max()
    }

    /// The first firing after `at`.
    pub fn next_after(&self, at: Timestamp) -> Option<Timestamp> {
        let from: DateTime<Utc> = DateTime::from_timestamp(at.unix(), 0)?;
        self.schedules
            .iter()
            .filter_map(|schedule| schedule.after(&from).next())
            .map(|start| Timestamp::from_unix(start.timestamp()))
            .min()
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
            if let Some(next) = crontab.next_after(Timestamp::from_unix(at)) {
                prop_assert!(next.unix() > at);
                prop_assert!(naive(&line, next.to_offset()), "{line} does not fire at {next}");
                prop_assert!(crontab.last_at_or_before(next) == Some(next));
                prop_assert!(crontab.last_at_or_before(Timestamp::from_unix(next.unix() - 1)) == found);
            }
            // Nothing between what was found and now, as far back as four days.
            let mut minute = at - at.rem_euclid(60);
            let stop = found.map_or(i64::MIN, Timestamp::unix).max(at - 4 * 86_400);
            while minute > stop {
                prop_assert!(!naive(&line, Timestamp::from_unix(minute).to_offset()), "{line} fires at {minute}");
                minute -= 60;
            }
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
}
