//! Where a log's records are kept: a journal on this node's disk, or rows in the store.

use super::journal::{Journal, Trouble};
use super::rows::Rows;
use super::tree::Tree;

/// The kind of place, and what went wrong there last.
pub(super) enum Sink {
    Journal { journal: Journal, trouble: Option<Trouble> },
    Rows(Rows),
}

impl Sink {
    pub(super) fn journal(journal: Journal) -> Self {
        Self::Journal { journal, trouble: None }
    }

    pub(super) fn rows(rows: Rows) -> Self {
        Self::Rows(rows)
    }

    /// Appends `records` behind `tree`, durable on return. On an error nothing may be appended before [`Self::heal`].
    pub(super) fn append(&mut self, tree: &Tree, records: &[&[u8]]) -> Result<(), String> {
        match self {
            Self::Journal { journal, trouble } => journal.append(tree, records).map_err(|met| {
                let text = met.to_string();
                *trouble = Some(met);
                text
            }),
            Self::Rows(rows) => rows.append(tree.size(), records),
        }
    }

    /// After a failure: compares what is there with `tree`, takes away what nobody was told is durable, and makes the
    /// sink usable again. Nothing to do otherwise.
    pub(super) fn heal(&mut self, tree: &Tree) -> Result<(), String> {
        match self {
            Self::Journal { journal, trouble } => {
                if let Some(met) = trouble {
                    journal.recover(tree, met)?;
                    *trouble = None;
                }
            }
            Self::Rows(rows) => rows.recover(tree)?,
        }
        Ok(())
    }
}
