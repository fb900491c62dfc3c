//! What a change would alter: the same engine over the assignments as they are, and as they would be.
//!
//! What somebody may do is the same wherever the same scopes lie around a resource. So one resource stands for every scope
//! that something of theirs is in, with a name that none of them mentions; there is nothing between those to miss.

use std::collections::BTreeSet;

use super::index::Index;
use super::{Authz, Origin, View};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{
    Action, Assignment, CustomRole, CustomRoles, Group, Principal, Resource, RoleName, Scope, Slice, SpiffeId, Who,
};

/// How many identities are judged by name.
const MOST_JUDGED: usize = 100;

/// A change to the roles.
#[derive(Clone, Debug)]
pub enum Change {
    /// A role is given or denied.
    Assign(Assignment),
    /// A role that somebody made means something else, for all who hold it.
    Redefine(CustomRole),
    /// An assignment is taken back.
    Revoke(Id),
}

/// What somebody gains and loses in a scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Altered {
    /// Who. A path or a group: everybody there who is not known by name, but for those below a longer path.
    pub who: Who,
    /// Where: on everything in it but for what a narrower one of the same `who` says.
    pub scope: Scope,
    /// What they may do from then on.
    pub gains: BTreeSet<Action>,
    /// What they may do no more.
    pub loses: BTreeSet<Action>,
}

/// What a change would alter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alterations {
    /// What, by who and scope.
    pub altered: Vec<Altered>,
    /// How many identities it reaches by name.
    pub reaches: usize,
    /// How many of these were looked at: the first, by their names.
    pub judged: usize,
}

impl Authz {
    /// What a change would alter, at a time. `domain` is that of whoever is in a group.
    ///
    /// # Errors
    /// As the change itself: `Invalid`, if it means nothing; `NotFound`, if there is no such assignment or role;
    /// `Conflict`, if it takes away the last administrator; the store's.
    pub async fn simulate(&self, change: &Change, domain: &str, at: Timestamp) -> Result<Alterations> {
        match change {
            Change::Assign(assignment) => drop(self.grant(assignment.clone())?),
            Change::Redefine(role) => self.check_role(role)?,
            Change::Revoke(id) => self.check_revocable(*id).await?,
        }
        let view = self.view().await?;
        let before = &view.index;
        let (after, moved) = match change {
            Change::Assign(assignment) => (
                before.changed(&assignment.who, &[], Some(assignment.clone())),
                vec![assignment.clone()],
            ),
            Change::Redefine(role) => {
                before
                    .roles
                    .get(&role.name)
                    .ok_or_else(|| super::roles::unknown(&role.name))?;
                let name = RoleName::Custom(role.name.clone());
                (
                    before.with_roles(before.roles.with(role.clone())?),
                    before
                        .all()
                        .filter(|one| one.role == name)
                        .map(|one| (**one).clone())
                        .collect(),
                )
            }
            Change::Revoke(id) => {
                let gone = before.all().find(|one| one.id == *id);
                // Another node may have taken it back since it was looked up.
                let gone = gone.ok_or_else(|| unknown(*id))?;
                (before.changed(&gone.who, &[*id], None), vec![(**gone).clone()])
            }
        };
        view.compare(&after, &moved, domain, at)
    }
}

pub(super) fn unknown(id: Id) -> Error {
    Error::not_found(format!(
        "there is no role assignment `{id}`: list them to see their ids"
    ))
}

/// Somebody who stands for a part of those whom the change reaches.
struct Sample {
    id: SpiffeId,
    who: Who,
    /// The group that it is put into for this.
    group: Option<Group>,
}

/// The assignments before or after, as they are for one sample.
struct Side<'v> {
    index: Index,
    roles: &'v CustomRoles,
}

impl View {
    fn compare(&self, after: &Index, moved: &[Assignment], domain: &str, at: Timestamp) -> Result<Alterations> {
        let acts = self.acts(after, moved);
        let (samples, reaches) = self.samples(moved, domain)?;
        let mut alterations = Alterations {
            judged: samples
                .iter()
                .filter(|sample| matches!(sample.who, Who::Identity(_)))
                .count(),
            reaches,
            ..Alterations::default()
        };
        let mut paths: Vec<(Who, Vec<Altered>)> = Vec::new();
        for sample in samples {
            let as_seen = |index: &Index| match &sample.group {
                Some(group) => index.grouped(&sample.id, Origin::Registration, &BTreeSet::from([group.clone()])),
                None => index.clone(),
            };
            let sides = [
                Side {
                    index: as_seen(&self.index),
                    roles: &self.index.roles,
                },
                Side {
                    index: as_seen(after),
                    roles: &after.roles,
                },
            ];
            let altered = self.altered(&sample, &sides, moved, &acts, at)?;
            if matches!(sample.who, Who::Prefix(_)) {
                paths.push((sample.who, altered));
            } else {
                alterations.altered.extend(altered);
            }
        }
        alterations.altered.extend(differing_paths(&paths, moved));
        Ok(alterations)
    }

    /// The actions that can be altered.
    fn acts(&self, after: &Index, moved: &[Assignment]) -> BTreeSet<Action> {
        let mut acts = BTreeSet::new();
        for assignment in moved {
            match &assignment.role {
                RoleName::BuiltIn(role) => acts.extend(self.authz.engine.acts_of(*role)),
                RoleName::Custom(name) => {
                    let known = [&self.index.roles, &after.roles];
                    for role in known.into_iter().filter_map(|roles| roles.get(name)) {
                        acts.extend(role.allow.union(&role.deny));
                    }
                }
            }
        }
        acts
    }

    /// Whoever stands for those whom the change reaches, and how many it reaches by name.
    fn samples(&self, moved: &[Assignment], domain: &str) -> Result<(Vec<Sample>, usize)> {
        let mut named = BTreeSet::new();
        let whos: BTreeSet<&Who> = moved.iter().map(|assignment| &assignment.who).collect();
        let (mut samples, mut paths) = (Vec::new(), BTreeSet::new());
        for who in whos {
            match who {
                Who::Identity(id) => drop(named.insert(id.clone())),
                Who::Group(group) => {
                    named.extend(self.index.members(group));
                    samples.push(Sample {
                        id: self.somebody(&format!("spiffe://{domain}/"))?,
                        who: who.clone(),
                        group: Some(group.clone()),
                    });
                }
                Who::Prefix(prefix) => {
                    named.extend(self.index.known(|id| prefix.covers(id)));
                    paths.extend(self.index.paths(who));
                }
            }
        }
        for who in paths {
            samples.push(Sample {
                id: self.somebody(&who.key())?,
                who,
                group: None,
            });
        }
        let reaches = named.len();
        let named = named.into_iter().take(MOST_JUDGED).map(|id| Sample {
            who: Who::Identity(id.clone()),
            id,
            group: None,
        });
        Ok((named.chain(samples).collect(), reaches))
    }

    /// Somebody directly below a path of whom nothing is said.
    fn somebody(&self, path: &str) -> Result<SpiffeId> {
        let name = unused(|name| self.index.is_known(&format!("{path}{name}")));
        format!("{path}{name}").parse()
    }

    /// What is altered for one of them: for each scope that is not altered as the one around it is.
    fn altered(
        &self,
        sample: &Sample,
        sides: &[Side<'_>; 2],
        moved: &[Assignment],
        acts: &BTreeSet<Action>,
        at: Timestamp,
    ) -> Result<Vec<Altered>> {
        let principal = Principal::Spiffe(sample.id.clone());
        let held: BTreeSet<Scope> = sides
            .iter()
            .flat_map(|side| {
                side.index
                    .held(&principal)
                    .all()
                    .map(|one| one.scope.clone())
                    .collect::<Vec<_>>()
            })
            .chain(moved.iter().map(|assignment| assignment.scope.clone()))
            .collect();
        let name = unused(|name| held.iter().any(|scope| scope.to_string().contains(name)));
        let inside = |scope: &Scope| moved.iter().any(|assignment| assignment.scope.holds(scope));
        let mut scopes: Vec<&Scope> = held.iter().filter(|scope| inside(scope)).collect();
        // Whatever lies around another comes before it.
        scopes.sort_by_cached_key(|scope| held.iter().filter(|other| other.holds(scope)).count());
        let [before, after] = [
            self.slice_of(&principal, &sides[0], at)?,
            self.slice_of(&principal, &sides[1], at)?,
        ];

        let mut altered: Vec<(Altered, BTreeSet<Action>)> = Vec::new();
        for scope in scopes {
            let mut here = Altered {
                who: sample.who.clone(),
                scope: scope.clone(),
                gains: BTreeSet::new(),
                loses: BTreeSet::new(),
            };
            let mut possible = BTreeSet::new();
            for resource in scope.samples(&name) {
                for action in acts {
                    let Some((could, can)) = self.both(&before, &after, *action, &resource) else {
                        continue;
                    };
                    possible.insert(*action);
                    match (could, can) {
                        (false, true) => here.gains.insert(*action),
                        (true, false) => here.loses.insert(*action),
                        _ => false,
                    };
                }
            }
            altered.push((here, possible));
        }
        Ok(differing(altered))
    }

    /// Whether an action is permitted before and after; none, if it does not apply to the resource.
    fn both(&self, before: &Slice, after: &Slice, action: Action, resource: &Resource) -> Option<(bool, bool)> {
        let engine = &self.authz.engine;
        Some((
            engine.may(before, action, resource)?,
            engine.may(after, action, resource)?,
        ))
    }

    fn slice_of(&self, principal: &Principal, side: &Side<'_>, at: Timestamp) -> Result<Slice> {
        let held = side.index.held(principal);
        let assignments = held.all().map(|one| &**one);
        self.authz
            .engine
            .slice(principal, &held.groups(), assignments, side.roles, at)
    }
}

/// Those of one sample that say something else than what lies around them, the widest first.
fn differing(altered: Vec<(Altered, BTreeSet<Action>)>) -> Vec<Altered> {
    let mut told = Vec::new();
    for (at, (here, possible)) in altered.iter().enumerate() {
        // The last before it that lies around it is the nearest.
        let around = altered
            .iter()
            .take(at)
            .rev()
            .find(|(other, _)| other.scope.holds(&here.scope));
        let as_around = |of: fn(&Altered) -> &BTreeSet<Action>| {
            let around = around.into_iter().flat_map(|(other, _)| of(other));
            let around: BTreeSet<Action> = around.filter(|action| possible.contains(action)).copied().collect();
            around == *of(here)
        };
        if !as_around(|altered| &altered.gains) || !as_around(|altered| &altered.loses) {
            told.push(here.clone());
        }
    }
    told
}

/// Those of the paths that say something else than the path around them; they come before what lies in them.
fn differing_paths(paths: &[(Who, Vec<Altered>)], moved: &[Assignment]) -> Vec<Altered> {
    let mut told = Vec::new();
    for (at, (who, altered)) in paths.iter().enumerate() {
        let key = who.key();
        let around = paths
            .iter()
            .take(at)
            .rev()
            .find(|(other, _)| key.starts_with(&other.key()));
        let around = around.map_or(&[][..], |(_, altered)| altered);
        let same = altered.len() == around.len()
            && altered
                .iter()
                .zip(around)
                .all(|(one, other)| (&one.scope, &one.gains, &one.loses) == (&other.scope, &other.gains, &other.loses));
        if same {
            continue;
        }
        told.extend(altered.iter().cloned());
        if altered.is_empty() {
            // The change does not reach them, as it does those around.
            told.extend(moved.iter().map(|assignment| Altered {
                who: who.clone(),
                scope: assignment.scope.clone(),
                gains: BTreeSet::new(),
                loses: BTreeSet::new(),
            }));
        }
    }
    told
}

/// A name that is not taken.
fn unused(is_taken: impl Fn(&str) -> bool) -> String {
    let names = (0_u64..).map(|number| format!("any-other-{number}"));
    names.into_iter().find(|name| !is_taken(name)).unwrap_or_default()
}
