//! Who holds which role where, and the cached decision over it.
//!
//! Assignments lie in the store and, indexed by whom they are for, in memory; so do the groups that identities are in. A
//! decision asks the store first whether another node changed them, so a role that was taken away anywhere is gone with the
//! next request everywhere. What a decision *is* is said in [`policy`](crate::policy); operations on assignments are in
//! `access`.
//!
//! SECURITY: whatever fails here (the store, an assignment that does not parse) is an error, never a permit.

mod explain;
mod index;
mod repo;
mod roles;
mod shards;
mod simulate;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use moka::sync::Cache;
use serde::Deserialize;

pub use self::explain::Reason;
use self::index::{Held, Index, Read};
pub use self::roles::StoredRole;
pub use self::simulate::{Alterations, Altered, Change};
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{
    Action, Assignment, CustomRole, CustomRoles, Decision, Engine, Group, PolicyFile, Principal, Resource, RoleName,
    Scope, Slice, SpiffeId, Who,
};
use crate::store::{Store, Topic, Tx};

/// How many decisions are remembered.
const DECISIONS: u64 = 100_000;

/// How many slices are remembered.
const SLICES: u64 = 10_000;

/// In how many groups one registration or one entry can put an identity.
const MOST_GROUPS: usize = 256;

/// Where an operator's policies are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A folder of files `*.cedar`.
    pub folder: Option<PathBuf>,
}

impl Settings {
    /// Reads the files, in the order of their names.
    ///
    /// # Errors
    /// `Invalid`, naming the file that cannot be read or does not hold together.
    pub fn files(&self) -> Result<Vec<PolicyFile>> {
        let Some(folder) = &self.folder else {
            return Ok(Vec::new());
        };
        let cannot =
            |path: &Path, e: std::io::Error| Error::invalid(format!("`{}` cannot be read: {e}", path.display()));
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).map_err(|e| cannot(folder, e))? {
            let path = entry.map_err(|e| cannot(folder, e))?.path();
            if path.extension().is_some_and(|extension| extension == "cedar") {
                files.push(PolicyFile {
                    name: path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                    text: fs::read_to_string(&path).map_err(|e| cannot(&path, e))?,
                });
            }
        }
        files.sort_by(|one, other| one.name.cmp(&other.name));
        Engine::new()?.with_files(&files)?;
        Ok(files)
    }
}

/// By what an identity is in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// By a claim that was shown for this registration entry when it was used last.
    Entry(Id),
    /// By its registration.
    Registration,
}

/// An assignment as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleAssignment {
    /// What is assigned.
    pub assignment: Assignment,
    /// When it was.
    pub created: Timestamp,
}

/// An assignment that was checked to mean something; [`Authz::assign`] takes no other.
#[derive(Clone, Debug)]
pub struct Grant {
    assignment: Assignment,
    /// The role as it was then, if somebody made it.
    role: Option<CustomRole>,
}

/// The roles of all callers. Cheap to clone.
#[derive(Clone)]
pub struct Authz(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    decisions: Cache<DecisionKey, Arc<Remembered>>,
    engine: Engine,
    index: ArcSwap<Index>,
    /// Held while the index is replaced, so that no change is lost between two.
    replacing: Mutex<()>,
    slices: Cache<SliceKey, Arc<Slice>>,
    store: Store,
}

/// The version is that of what the principal holds.
type DecisionKey = (Principal, Action, Resource, u64);

/// The version is that of what the principal holds; the scopes are those that the slice is for, none if for all.
type SliceKey = (Principal, u64, Vec<Scope>);

struct Remembered {
    decision: Decision,
    until: Option<Timestamp>,
}

/// The roles as of one moment, for many decisions in one request.
#[derive(Clone)]
pub struct View {
    authz: Arc<Inner>,
    index: Arc<Index>,
}

impl Authz {
    /// Reads all assignments.
    ///
    /// # Errors
    /// `Internal`, if the built-in policy or a stored assignment is not valid; the store's.
    pub async fn open(store: Store, clock: Arc<dyn Clock>) -> Result<Self> {
        Self::open_with(store, clock, &[]).await
    }

    /// The same, with policies that an operator wrote.
    ///
    /// # Errors
    /// As there; `Invalid` for policies that do not hold together.
    pub async fn open_with(store: Store, clock: Arc<dyn Clock>, files: &[PolicyFile]) -> Result<Self> {
        let engine = Engine::new()?.with_files(files)?;
        let generation = store.fresh(Topic::Policy).await?;
        let read = read(&store).await?;
        Ok(Self(Arc::new(Inner {
            clock,
            decisions: Cache::new(DECISIONS),
            engine,
            index: ArcSwap::from_pointee(Index::new(read, generation, 1)),
            replacing: Mutex::default(),
            slices: Cache::new(SLICES),
            store,
        })))
    }

    /// Whether `principal` may do `action` on `resource` now.
    ///
    /// # Errors
    /// As [`Authz::view`].
    pub async fn decide(&self, principal: &Principal, action: Action, resource: &Resource) -> Result<Decision> {
        Ok(self.view().await?.decide(principal, action, resource))
    }

    /// The roles as every node had committed them when this was called.
    ///
    /// # Errors
    /// The store's; the request must then be refused.
    pub async fn view(&self) -> Result<View> {
        let generation = self.0.store.fresh(Topic::Policy).await?;
        let mut index = self.0.index.load_full();
        while index.generation != generation {
            let version = index.version;
            let read = read(&self.0.store).await?;
            let _replacing = self.0.replacing();
            index = self.0.index.load_full();
            // A change of our own that was committed meanwhile may not be in what was read: read again.
            if index.version == version {
                index = Arc::new(Index::new(read, generation, version + 1));
                self.0.index.store(index.clone());
            }
        }
        Ok(View {
            authz: self.0.clone(),
            index,
        })
    }

    /// Checks that an assignment can mean something.
    ///
    /// # Errors
    /// `Invalid`, if the role holds no action in the scope or the assignment has ended already.
    pub fn grant(&self, assignment: Assignment) -> Result<Grant> {
        let (begins, now) = (assignment.not_before, self.0.clock.now());
        if assignment.expires.is_some_and(|end| end <= now) {
            return Err(Error::invalid(
                "the assignment would have ended already: choose a later end",
            ));
        }
        if assignment
            .expires
            .is_some_and(|end| begins.is_some_and(|begins| end <= begins))
        {
            return Err(Error::invalid(
                "the assignment would end before it begins: choose a later end",
            ));
        }
        let customs = self.0.index.load().roles.clone();
        self.0.engine.check(&assignment, &customs)?;
        let role = match &assignment.role {
            RoleName::BuiltIn(_) => None,
            RoleName::Custom(name) => customs.get(name).cloned(),
        };
        Ok(Grant { assignment, role })
    }

    /// Assigns a role.
    ///
    /// # Errors
    /// `Conflict`, if the same assignment holds already, or its role was changed meanwhile; `NotFound`, if it was deleted;
    /// the store's.
    pub async fn assign(&self, tx: &Tx, grant: &Grant) -> Result<()> {
        self.hold_role(tx, grant).await?;
        let assignment = &grant.assignment;
        let gone = repo::insert(tx, assignment, self.0.clock.now()).await?;
        self.replace_on_commit(tx, assignment.who.clone(), gone, Some(assignment.clone()));
        Ok(())
    }

    /// Takes a role away and says which.
    ///
    /// INVARIANT: once somebody is Administrator of everything without an end, somebody always is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`, if it is the last administrator's; the store's.
    pub async fn revoke(&self, tx: &Tx, id: Id) -> Result<Assignment> {
        let assignment = repo::find(tx.conn(), id).await?.ok_or_else(|| simulate::unknown(id))?;
        if assignment.is_lasting_administrator() {
            check_others(&assignment, &repo::lock_administrators(tx).await?)?;
        }
        repo::delete(tx, id).await?;
        self.replace_on_commit(tx, assignment.who.clone(), vec![id], None);
        Ok(assignment)
    }

    /// Whether an assignment could be taken back now.
    ///
    /// # Errors
    /// As [`Self::revoke`].
    async fn check_revocable(&self, id: Id) -> Result<()> {
        let conn = self.0.store.read();
        let assignment = repo::find(conn, id).await?.ok_or_else(|| simulate::unknown(id))?;
        match assignment.is_lasting_administrator() {
            true => check_others(&assignment, &repo::administrators(conn).await?),
            false => Ok(()),
        }
    }

    /// A page of assignments in the order of their making, those after `after`.
    ///
    /// # Errors
    /// The store's.
    pub async fn list(&self, after: Option<Id>, limit: u32) -> Result<Vec<RoleAssignment>> {
        repo::page(self.0.store.read(), after, limit).await
    }

    /// Who is Administrator of everything without an end.
    ///
    /// # Errors
    /// The store's.
    pub async fn administrators(&self) -> Result<Vec<SpiffeId>> {
        let all = repo::administrators(self.0.store.read()).await?;
        let named = |assignment: Assignment| match assignment.who {
            Who::Identity(id) => Some(id),
            Who::Group(_) | Who::Prefix(_) => None,
        };
        Ok(all.into_iter().filter_map(named).collect())
    }

    /// Puts an identity into these groups by `origin`, and into no others by it.
    ///
    /// SECURITY: as strong as every role that the groups hold.
    ///
    /// # Errors
    /// `Invalid`, if they are too many; the store's.
    pub async fn set_groups(&self, tx: &Tx, id: &SpiffeId, origin: Origin, groups: &BTreeSet<Group>) -> Result<()> {
        if groups.len() > MOST_GROUPS {
            return Err(Error::invalid(format!(
                "`{id}` would be in {} groups by one registration or entry: at most {MOST_GROUPS}",
                groups.len()
            )));
        }
        repo::set_groups(tx, id, origin, groups).await?;
        let (id, groups) = (id.clone(), groups.clone());
        self.replace_on_commit_by(tx, move |index| index.grouped(&id, origin, &groups));
        Ok(())
    }

    fn replace_on_commit(&self, tx: &Tx, who: Who, gone: Vec<Id>, added: Option<Assignment>) {
        self.replace_on_commit_by(tx, move |index| index.changed(&who, &gone, added));
    }

    fn replace_on_commit_by(&self, tx: &Tx, change: impl FnOnce(&Index) -> Index + Send + 'static) {
        tx.touch(Topic::Policy);
        let inner = self.0.clone();
        tx.on_commit(move || {
            let _replacing = inner.replacing();
            let next = change(&inner.index.load());
            inner.index.store(Arc::new(next));
        });
    }
}

/// Whether somebody else of these administrators stays.
fn check_others(assignment: &Assignment, administrators: &[Assignment]) -> Result<()> {
    match administrators.iter().any(|other| other.id != assignment.id) {
        true => Ok(()),
        false => Err(Error::conflict(format!(
            "`{}` is the last administrator: make another one first, an identity by its name and without an end",
            assignment.who
        ))),
    }
}

async fn read(store: &Store) -> Result<Read> {
    let conn = store.read();
    // The roles last: whatever is assigned was made before.
    let (assignments, members) = (repo::all(conn).await?, repo::members(conn).await?);
    let stored = repo::roles(conn).await?;
    Ok(Read {
        assignments,
        members,
        roles: CustomRoles::new(stored.into_iter().map(|stored| stored.role))?,
    })
}

impl View {
    /// Whether `principal` may do `action` on `resource`.
    pub fn decide(&self, principal: &Principal, action: Action, resource: &Resource) -> Decision {
        let held = self.index.held(principal);
        let now = self.authz.clock.now();
        let key = (principal.clone(), action, resource.clone(), held.version);
        if let Some(remembered) = self.authz.decisions.get(&key)
            && remembered.until.is_none_or(|until| now < until)
        {
            return remembered.decision.clone();
        }
        let slice = match self.slice(principal, &held, resource, now) {
            Ok(slice) => slice,
            Err(e) => {
                tracing::error!(%principal, "the roles of `{principal}` do not hold together: {}", e.detail());
                return Decision::failed();
            }
        };
        let decision = self.authz.engine.decide(&slice, action, resource);
        let remembered = Remembered {
            decision: decision.clone(),
            until: slice.until(),
        };
        self.authz.decisions.insert(key, Arc::new(remembered));
        decision
    }

    /// In which groups an identity is, and by what.
    pub fn groups(&self, id: &SpiffeId) -> Vec<(Origin, Group)> {
        self.index.groups(id)
    }

    /// The slice by which `principal`, who holds this, is judged on `resource`.
    fn slice(&self, principal: &Principal, held: &Held, resource: &Resource, now: Timestamp) -> Result<Arc<Slice>> {
        let (slices, chosen) = (&self.authz.slices, held.choose(resource));
        let key = (principal.clone(), held.version, chosen.scopes);
        if let Some(slice) = slices.get(&key)
            && slice.until().is_none_or(|until| now < until)
        {
            return Ok(slice);
        }
        let assignments = chosen.assignments.iter().map(|one| &**one);
        let slice = self
            .authz
            .engine
            .slice(principal, &held.groups(), assignments, &self.index.roles, now)?;
        let slice = Arc::new(slice);
        slices.insert(key, slice.clone());
        Ok(slice)
    }
}

impl Inner {
    fn replacing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
