//! Lists by cursor.

use serde::{Deserialize, Serialize};

/// Items in a page if the caller does not say.
pub const LIMIT_DEFAULT: u32 = 100;

/// The most items in a page; a larger wish is cut to it.
pub const LIMIT_MAX: u32 = 1000;

/// One page of a list. An empty page with a `next` is possible: the caller may not see what was on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// What the caller may see of this page.
    pub items: Vec<T>,
    /// The cursor of the next page; none at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// The query of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// The `next` of the page before; none for the first page. Opaque to callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// How many items at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

impl PageQuery {
    /// How many items to answer: within 1 to [`LIMIT_MAX`].
    pub fn limit(&self) -> u32 {
        self.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
    }
}
