//! Fields of a change that are left out, `null`, or set.

use serde::{Deserialize, Deserializer, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;

/// A time, or `null` for none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OrNull(#[serde(with = "rfc3339::option")] pub Option<Timestamp>);

/// A text, or `null` for none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TextOrNull(pub Option<String>);

/// A field that stands there, be it `null`.
pub(super) fn said<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}
