//! Times on the wire: RFC 3339 text for a [`Timestamp`], by `#[serde(with = "rfc3339")]`.

use serde::{Deserialize, Deserializer, Serializer};

use crate::clock::Timestamp;

pub(super) fn serialize<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(at)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
    parse(&String::deserialize(from)?)
}

fn parse<E: serde::de::Error>(text: &str) -> Result<Timestamp, E> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| {
        E::custom(format_args!(
            "`{}` is not a time: write RFC 3339, for example 2026-11-24T08:00:00Z",
            text.escape_debug()
        ))
    })
}

/// The same for an optional time; with `#[serde(default, skip_serializing_if = "Option::is_none")]`.
pub(super) mod option {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::clock::Timestamp;

    pub(in crate::wire) fn serialize<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
        match at {
            Some(at) => to.collect_str(at),
            None => to.serialize_none(),
        }
    }

    pub(in crate::wire) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Timestamp>, D::Error> {
        Option::<String>::deserialize(from)?
            .map(|text| super::parse(&text))
            .transpose()
    }
}
