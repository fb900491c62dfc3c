//! The assignments in memory, by whom they are for, and the groups of each identity.
//!
//! What somebody holds lies under a few keys: its name, each path that it lies below, each of its groups. So a decision
//! takes as long beside 10^5 assignments to others as it does alone.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::Origin;
use super::shards::Shards;
use crate::id::Id;
use crate::policy::{Assignment, CustomRoles, Group, Principal, Resource, Scope, SpiffeId, Who, group_key, keys_of};

/// Up to so many assignments one slice holds all that somebody has. Each costs every decision a microsecond, so of more
/// there is a slice for the scopes that a resource lies in.
const WHOLE: usize = 32;

/// What is assigned to one [`Who`].
#[derive(Default)]
struct Bucket {
    /// Grows with every change in here.
    version: u64,
    by_scope: HashMap<Scope, Vec<Arc<Assignment>>>,
    count: usize,
}

impl Bucket {
    fn add(&mut self, assignment: Arc<Assignment>) {
        self.by_scope
            .entry(assignment.scope.clone())
            .or_default()
            .push(assignment);
        self.count += 1;
    }
}

/// In which groups an identity is.
struct Membership {
    version: u64,
    by_origin: Vec<(Origin, Group)>,
    keys: Vec<String>,
}

impl Membership {
    fn new(version: u64, by_origin: Vec<(Origin, Group)>) -> Self {
        let keys: BTreeSet<String> = by_origin.iter().map(|(_, group)| group_key(group)).collect();
        Self {
            version,
            by_origin,
            keys: keys.into_iter().collect(),
        }
    }
}

/// What a principal holds.
pub(super) struct Held {
    /// Grows with every change to what this principal holds; never used twice.
    pub(super) version: u64,
    buckets: Vec<Arc<Bucket>>,
    membership: Option<Arc<Membership>>,
}

/// What of it matters for one resource.
pub(super) struct Chosen {
    /// Assignments.
    pub(super) assignments: Vec<Arc<Assignment>>,
    /// Those of the scopes that matter in which something is held; none, if all of it is in `assignments`.
    pub(super) scopes: Vec<Scope>,
}

impl Held {
    /// What matters for `resource`.
    pub(super) fn choose(&self, resource: &Resource) -> Chosen {
        let count: usize = self.buckets.iter().map(|bucket| bucket.count).sum();
        if count <= WHOLE {
            return Chosen {
                assignments: self.all().cloned().collect(),
                scopes: Vec::new(),
            };
        }
        let mut chosen = Chosen {
            assignments: Vec::new(),
            scopes: Vec::new(),
        };
        for scope in resource.scopes() {
            let before = chosen.assignments.len();
            let held = self.buckets.iter().filter_map(|bucket| bucket.by_scope.get(&scope));
            chosen.assignments.extend(held.flatten().cloned());
            if chosen.assignments.len() > before {
                chosen.scopes.push(scope);
            }
        }
        chosen
    }

    /// The groups of whoever holds it.
    pub(super) fn groups(&self) -> Vec<Group> {
        let by_origin = self.membership.iter().flat_map(|membership| &membership.by_origin);
        by_origin.map(|(_, group)| group.clone()).collect()
    }

    /// All of it, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Assignment>> {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.by_scope.values().flatten())
    }
}

/// A stored membership: who is in which group, and by what.
pub(super) type Member = (SpiffeId, Origin, Group);

/// What the store has.
#[derive(Default)]
pub(super) struct Read {
    pub(super) assignments: Vec<Assignment>,
    pub(super) members: Vec<Member>,
    pub(super) roles: CustomRoles,
}

/// All assignments and groups as of one moment.
#[derive(Clone)]
pub(super) struct Index {
    buckets: Shards<Bucket>,
    memberships: Shards<Membership>,
    /// The version that this was read from the store as.
    read: u64,
    /// The roles that people made.
    pub(super) roles: CustomRoles,
    /// What other nodes had changed when this was read.
    pub(super) generation: u64,
    /// Grows with every change to anything in here.
    pub(super) version: u64,
}

impl Index {
    pub(super) fn new(read: Read, generation: u64, version: u64) -> Self {
        let Read {
            assignments,
            members,
            roles,
        } = read;
        let mut filled: HashMap<String, Bucket> = HashMap::new();
        for assignment in assignments {
            filled
                .entry(assignment.who.key())
                .or_default()
                .add(Arc::new(assignment));
        }
        let mut buckets = Shards::default();
        for (key, bucket) in filled {
            buckets.insert(key, Bucket { version, ..bucket });
        }
        let mut groups: HashMap<SpiffeId, Vec<(Origin, Group)>> = HashMap::new();
        for (id, origin, group) in members {
            groups.entry(id).or_default().push((origin, group));
        }
        let mut memberships = Shards::default();
        for (id, by_origin) in groups {
            memberships.insert(id.to_string(), Membership::new(version, by_origin));
        }
        Self {
            buckets,
            memberships,
            read: version,
            roles,
            generation,
            version,
        }
    }

    /// What `principal` holds.
    ///
    /// INVARIANT: the version is that of the last change to anything that can matter for it. A bucket that becomes empty
    /// stays, so that the version never goes back to one that meant something else.
    pub(super) fn held(&self, principal: &Principal) -> Held {
        let mut held = Held {
            version: self.read,
            buckets: Vec::new(),
            membership: None,
        };
        let Principal::Spiffe(id) = principal else { return held };
        let membership = self.memberships.get(id.as_str());
        held.version = held.version.max(membership.map_or(0, |membership| membership.version));
        let groups = membership.iter().flat_map(|membership| &membership.keys);
        for key in keys_of(id).chain(groups.map(String::as_str)) {
            if let Some(bucket) = self.buckets.get(key) {
                held.version = held.version.max(bucket.version);
                held.buckets.push(bucket.clone());
            }
        }
        held.membership = membership.cloned();
        held
    }

    /// Every assignment whose scope a resource lies in, in no order.
    pub(super) fn around(&self, resource: &Resource) -> Vec<Arc<Assignment>> {
        let scopes = resource.scopes();
        let held = self.buckets.all().flat_map(|(_, bucket)| {
            let around = scopes.iter().filter_map(|scope| bucket.by_scope.get(scope));
            around.flatten()
        });
        held.cloned().collect()
    }

    /// Every assignment, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Assignment>> {
        let buckets = self.buckets.all();
        buckets.flat_map(|(_, bucket)| bucket.by_scope.values().flatten())
    }

    /// Whether anything is said of an identity by its name.
    pub(super) fn is_known(&self, id: &str) -> bool {
        self.buckets.get(id).is_some() || self.memberships.get(id).is_some()
    }

    /// The identities of which something is said by their names, those that are asked for.
    pub(super) fn known(&self, wanted: impl Fn(&SpiffeId) -> bool) -> BTreeSet<SpiffeId> {
        let given = self.buckets.all().map(|(key, _)| key);
        let grouped = self.memberships.all().map(|(id, _)| id);
        // A path and a group are no identities.
        let ids = given.chain(grouped).filter_map(|key| key.parse().ok());
        ids.filter(|id| wanted(id)).collect()
    }

    /// This path, and those below it of which something is said; what lies around another comes before it.
    pub(super) fn paths(&self, path: &Who) -> BTreeSet<Who> {
        let outer = path.key();
        let given = self.buckets.all().map(|(key, _)| key);
        // A group and an identity are no paths.
        let below = given.filter(|key| key.starts_with(&outer) && key.ends_with('/'));
        let below = below.filter_map(|key| format!("{key}*").parse().ok());
        below.chain([path.clone()]).collect()
    }

    /// Who is in a group, in the order of their names.
    pub(super) fn members(&self, group: &Group) -> Vec<SpiffeId> {
        let key = group_key(group);
        let in_it = self
            .memberships
            .all()
            .filter(|(_, membership)| membership.keys.contains(&key));
        // What stands in here was an identity's name when it came.
        let mut members: Vec<SpiffeId> = in_it.filter_map(|(id, _)| id.parse().ok()).collect();
        members.sort();
        members
    }

    /// In which groups an identity is, and by what.
    pub(super) fn groups(&self, id: &SpiffeId) -> Vec<(Origin, Group)> {
        self.memberships
            .get(id.as_str())
            .map_or_else(Vec::new, |membership| membership.by_origin.clone())
    }

    /// The index after a change: `gone` of `who` are no more, `added` is new.
    pub(super) fn changed(&self, who: &Who, gone: &[Id], added: Option<Assignment>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let key = who.key();
        let mut bucket = Bucket {
            version: next.version,
            ..Bucket::default()
        };
        let before = self.buckets.get(&key);
        let kept = before.iter().flat_map(|bucket| bucket.by_scope.values().flatten());
        // What is added may be here already, read from the store between its commit and this.
        for one in kept.filter(|one| !gone.contains(&one.id) && added.as_ref().is_none_or(|new| new.id != one.id)) {
            bucket.add(one.clone());
        }
        if let Some(added) = added {
            bucket.add(Arc::new(added));
        }
        next.buckets.insert(key, bucket);
        next
    }

    /// The index with other roles that people made: for whoever may hold one, everything is decided anew.
    pub(super) fn with_roles(&self, roles: CustomRoles) -> Self {
        let version = self.version + 1;
        Self {
            roles,
            read: version,
            version,
            ..self.clone()
        }
    }

    /// The same, to be read from the store anew with the next request.
    pub(super) fn stale(&self) -> Self {
        Self {
            generation: self.generation.wrapping_sub(1),
            version: self.version + 1,
            ..self.clone()
        }
    }

    /// The index after an identity was put into `groups` by `origin`, and into no others by it.
    pub(super) fn grouped(&self, id: &SpiffeId, origin: Origin, groups: &BTreeSet<Group>) -> Self {
        let mut next = self.clone();
        next.version += 1;
        let mut by_origin = self.groups(id);
        by_origin.retain(|(other, _)| *other != origin);
        by_origin.extend(groups.iter().map(|group| (origin, group.clone())));
        next.memberships
            .insert(id.to_string(), Membership::new(next.version, by_origin));
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::policy::Role;

    fn id(text: &str) -> SpiffeId {
        format!("spiffe://chancery.test/{text}").parse().unwrap()
    }

    fn reader(seed: u64, who: &str, scope: &str) -> Assignment {
        let id = Id::random(&SeededEntropy::new(seed)).unwrap();
        Assignment::lasting(id, who.parse::<Who>().unwrap(), Role::Reader, scope.parse().unwrap())
    }

    fn read(assignments: Vec<Assignment>) -> Read {
        Read {
            assignments,
            ..Read::default()
        }
    }

    fn held(index: &Index, who: &str) -> (u64, BTreeSet<Id>) {
        let held = index.held(&Principal::Spiffe(id(who)));
        (held.version, held.all().map(|one| one.id).collect())
    }

    #[test]
    fn an_assignment_that_was_read_before_its_own_hook_ran_stands_once() {
        let assignment = reader(1, "spiffe://chancery.test/admin", "/");
        let index = Index::new(read(vec![assignment.clone()]), 1, 2);
        let changed = index.changed(&assignment.who, &[], Some(assignment.clone()));
        assert_eq!(held(&changed, "admin"), (3, BTreeSet::from([assignment.id])));
    }

    #[test]
    fn what_is_held_is_by_name_path_and_group_and_no_version_means_two_things() {
        let own = reader(1, "spiffe://chancery.test/team-a/web", "/");
        let team = reader(2, "spiffe://chancery.test/team-a/*", "/");
        let all = reader(3, "spiffe://chancery.test/*", "/");
        let ops = reader(4, "group:ops", "/");
        let ops_too = reader(5, "group:ops", "vaults/kv");
        let group: Group = "ops".parse().unwrap();
        let first = Index::new(read(vec![own.clone(), team.clone()]), 0, 1);
        let steps: Vec<Index> = vec![first.clone(), first.changed(&all.who, &[], Some(all.clone()))];
        let mut steps = steps;
        let mut step = |next: &dyn Fn(&Index) -> Index| steps.push(next(steps.last().unwrap()));
        step(&|index| index.changed(&ops.who, &[], Some(ops.clone())));
        step(&|index| {
            index.grouped(
                &id("team-a/web"),
                Origin::Registration,
                &BTreeSet::from([group.clone()]),
            )
        });
        step(&|index| index.changed(&team.who, &[team.id], None));
        step(&|index| index.changed(&ops.who, &[ops.id], Some(ops_too.clone())));
        step(&|index| index.changed(&ops.who, &[ops_too.id], None));
        step(&|index| index.changed(&ops.who, &[], Some(ops.clone())));
        step(&|index| index.grouped(&id("team-a/web"), Origin::Registration, &BTreeSet::new()));
        step(&|index| index.changed(&all.who, &[all.id], None));
        let ids = |of: &[&Assignment]| of.iter().map(|one| one.id).collect::<BTreeSet<_>>();
        let expected = [
            ids(&[&own, &team]),
            ids(&[&own, &team, &all]),
            ids(&[&own, &team, &all]),
            ids(&[&own, &team, &all, &ops]),
            ids(&[&own, &all, &ops]),
            ids(&[&own, &all, &ops_too]),
            ids(&[&own, &all]),
            ids(&[&own, &all, &ops]),
            ids(&[&own, &all]),
            ids(&[&own]),
        ];
        let mut seen: HashMap<u64, BTreeSet<Id>> = HashMap::new();
        for (index, expected) in steps.iter().zip(expected) {
            let (version, found) = held(index, "team-a/web");
            assert_eq!(found, expected);
            assert_eq!(
                seen.entry(version).or_insert_with(|| found.clone()),
                &found,
                "version {version}"
            );
        }
        assert!(held(steps.last().unwrap(), "team-ab").1.is_empty());
    }

    #[test]
    fn of_many_assignments_those_around_the_resource_are_chosen() {
        let who = "spiffe://chancery.test/web";
        let mut many: Vec<Assignment> = (0..100)
            .map(|number| reader(number, who, &format!("vaults/kv/secrets/{number}")))
            .collect();
        many.push(reader(200, who, "vaults/kv"));
        many.push(reader(201, "spiffe://chancery.test/*", "vaults/kv"));
        let index = Index::new(read(many), 0, 1);
        let chosen = index
            .held(&Principal::Spiffe(id("web")))
            .choose(&"vaults/kv/secrets/7".parse().unwrap());
        let mut scopes: Vec<String> = chosen.assignments.iter().map(|one| one.scope.to_string()).collect();
        scopes.sort();
        assert_eq!(scopes, ["vaults/kv", "vaults/kv", "vaults/kv/secrets/7"]);
        assert_eq!(chosen.scopes.len(), 2);
    }
}
