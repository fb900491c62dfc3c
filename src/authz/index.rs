//! The assignments in memory, by who holds them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::policy::{Assignment, Principal, SpiffeId};

/// What a principal holds.
#[derive(Clone)]
pub(super) struct Held {
    /// Grows with every change to what this principal holds; never used twice.
    pub(super) version: u64,
    pub(super) assignments: Arc<[Assignment]>,
}

/// All assignments as of one moment.
#[derive(Clone)]
pub(super) struct Index {
    by_principal: HashMap<SpiffeId, Held>,
    /// What other nodes had changed when this was read.
    pub(super) generation: u64,
    /// Grows with every change to anything in here.
    pub(super) version: u64,
}

impl Index {
    pub(super) fn new(assignments: Vec<Assignment>, generation: u64, version: u64) -> Self {
        let mut lists: HashMap<SpiffeId, Vec<Assignment>> = HashMap::new();
        for assignment in assignments {
            lists.entry(assignment.principal.clone()).or_default().push(assignment);
        }
        let held = |list: Vec<Assignment>| Held {
            version,
            assignments: list.into(),
        };
        Self {
            by_principal: lists.into_iter().map(|(who, list)| (who, held(list))).collect(),
            generation,
            version,
        }
    }

    /// What `principal` holds; nothing has version 0, because there is only one way to hold nothing.
    pub(super) fn held(&self, principal: &Principal) -> Held {
        let held = match principal {
            Principal::Spiffe(id) => self.by_principal.get(id),
            Principal::Account(_) | Principal::System(_) => None,
        };
        held.cloned().unwrap_or_else(|| Held {
            version: 0,
            assignments: Arc::new([]),
        })
    }

    /// The index after a change: `gone` of `principal` are no more, `added` is new.
    pub(super) fn changed(&self, principal: &SpiffeId, gone: &[crate::id::Id], added: Option<Assignment>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let kept = self.by_principal.get(principal);
        let list: Vec<Assignment> = kept
            .iter()
            .flat_map(|held| held.assignments.iter())
            // What is added may be here already, read from the store between its commit and this.
            .filter(|held| !gone.contains(&held.id) && added.as_ref().is_none_or(|new| new.id != held.id))
            .cloned()
            .chain(added.clone())
            .collect();
        if list.is_empty() {
            next.by_principal.remove(principal);
        } else {
            let held = Held {
                version: next.version,
                assignments: list.into(),
            };
            next.by_principal.insert(principal.clone(), held);
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::Id;
    use crate::policy::Role;

    #[test]
    fn an_assignment_that_was_read_before_its_own_hook_ran_stands_once() {
        let principal: SpiffeId = "spiffe://chancery.test/admin".parse().unwrap();
        let assignment = Assignment {
            id: Id::random(&SeededEntropy::new(1)).unwrap(),
            principal: principal.clone(),
            role: Role::Administrator,
            scope: "/".parse().unwrap(),
            expires: None,
        };
        let read = Index::new(vec![assignment.clone()], 1, 2);
        let changed = read.changed(&principal, &[], Some(assignment));
        assert_eq!(changed.by_principal[&principal].assignments.len(), 1);
    }
}
