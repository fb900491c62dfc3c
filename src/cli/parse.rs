//! Arguments that need more than `FromStr` of a room.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::clock::Timestamp;
use crate::key_type::KeyType;
use crate::wire::OrNull;

/// A duration: `90s`, `15m`, `12h`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || "write a whole number and a unit: 90s, 15m, 12h or 30d".to_owned();
    let (number, unit) = text
        .char_indices()
        .next_back()
        .and_then(|(at, _)| text.split_at_checked(at))
        .ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(seconds) {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err(wrong()),
    }
}

/// A moment: RFC 3339, or a day, which begins at midnight in UTC.
pub(super) fn time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text)
        .or_else(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))
        .ok_or_else(|| "write a day or a time in RFC 3339: 2026-11-24 or 2026-11-24T08:00:00Z".to_owned())
}

/// A moment, or `none`.
pub(super) fn time_or_none(text: &str) -> Result<OrNull, String> {
    match text {
        "none" => Ok(OrNull(None)),
        _ => time(text).map(|time| OrNull(Some(time))),
    }
}

/// A duration, or `none`.
pub(super) fn duration_or_none(text: &str) -> Result<Duration, String> {
    match text {
        "none" => Ok(Duration::ZERO),
        _ => duration(text),
    }
}

/// One of these kinds of key, which `--help` lists.
pub(super) fn key_type(taken: &[KeyType]) -> impl TypedValueParser<Value = KeyType> {
    PossibleValuesParser::new(taken.iter().map(|kind| kind.as_str())).try_map(|name| name.parse::<KeyType>())
}

/// `key=value`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write key=value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_may_be_a_day() {
        assert_eq!(time("2026-11-24"), time("2026-11-24T01:00:00+01:00"));
        assert!(time("2026-11-24").is_ok());
        for wrong in ["", "tomorrow", "2026-11-31", "2026-11-24T08:00"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "s", "10", "0s", "-1s", "1.5h", "1w", "ä", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
