//! Lists by cursor, cut to what the caller may see.

use crate::gate::Permit;
use crate::policy::Resource;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T, C> {
    /// What the caller may see of it; may be empty in the middle of a list.
    pub items: Vec<T>,
    /// Where the next page starts; none at the end.
    pub next: Option<C>,
}

impl<T, C> Page<T, C> {
    /// All of `rows`. A full page is followed by another.
    pub(super) fn all(rows: Vec<T>, limit: u64, cursor: impl Fn(&T) -> C) -> Self {
        let full = u64::try_from(rows.len()).is_ok_and(|len| len >= limit);
        Self {
            next: rows.last().filter(|_| full).map(cursor),
            items: rows,
        }
    }

    /// Without the rows that the caller may not see.
    pub(super) fn visible(mut self, permit: &Permit, resource: impl Fn(&T) -> Resource) -> Self {
        self.items.retain(|item| permit.allows(&resource(item)));
        self
    }
}
