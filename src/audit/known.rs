//! What the store knows of this node's log when it is opened: the newest checkpoint, held against the log.

use std::sync::Arc;

use super::note::Verifier;
use super::repo;
use super::tree::{Hash, Tree};
use crate::error::{Error, Result};
use crate::store::{Drained, Store};

/// A checkpoint that the store has of this log.
pub(super) struct Known {
    pub(super) text: Arc<str>,
    pub(super) size: u64,
    pub(super) root: Hash,
    /// The tree that it was signed over, if the store has that too.
    pub(super) tree: Option<Tree>,
    /// How far the outbox was drained then.
    pub(super) drained: Drained,
}

/// The newest of them.
pub(super) async fn known_checkpoint(store: &Store, verifier: &Verifier) -> Result<Option<Known>> {
    let Some(registered) = repo::registered(store).await? else {
        return Ok(None);
    };
    if registered.origin != verifier.origin() {
        return Err(Error::internal(format!(
            "the audit log of node `{}` is registered as `{}`, not `{}`: keep zone and node name, or give the node a new name",
            store.node(),
            registered.origin,
            verifier.origin()
        )));
    }
    let Some(text) = registered.checkpoint else {
        return Ok(None);
    };
    let (size, root) = verifier.open(&text).ok_or_else(|| {
        Error::internal(format!(
            "the store's checkpoint of audit log `{}` is not signed by the audit key: token and store do not belong together",
            verifier.origin()
        ))
    })?;
    // SECURITY: the frontier is the database's word, until it gives the root that the audit key signed.
    let frontier = registered.frontier.and_then(|frontier| Tree::of(size, &frontier));
    Ok(Some(Known {
        text: text.into(),
        size,
        root,
        tree: frontier.filter(|tree| tree.root() == root),
        drained: registered.drained,
    }))
}

/// The tree that the checkpoint covers, if it is the one that was signed.
pub(super) fn compare(verifier: &Verifier, size: u64, then: Option<Tree>, known: &Known) -> Result<Tree> {
    let (origin, covered) = (verifier.origin(), known.size);
    match then {
        Some(tree) if tree.root() == known.root => Ok(tree),
        Some(_) => Err(Error::internal(format!(
            "the first {covered} records of audit log `{origin}` are not those of its signed checkpoint: put back the log that was there"
        ))),
        None => Err(Error::internal(format!(
            "audit log `{origin}` has {size} records, but its signed checkpoint covers {covered}: put back the log that was there"
        ))),
    }
}
