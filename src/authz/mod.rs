//! Who holds which role where, and the cached decision over it.
//!
//! Assignments lie in the store and, indexed by principal, in memory. A decision asks the store first whether another
//! node changed them, so a role that was taken away anywhere is gone with the next request everywhere. What a decision
//! *is* is said in [`policy`](crate::policy); operations on assignments are in `enrollment`.
//!
//! SECURITY: whatever fails here (the store, an assignment that does not parse) is an error, never a permit.

mod index;
mod repo;

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use moka::sync::Cache;

use self::index::Index;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{Action, Assignment, Decision, Engine, Principal, Resource, Role, Scope, Slice, SpiffeId};
use crate::store::{Store, Topic, Tx};

/// How many decisions are remembered.
const DECISIONS: u64 = 100_000;

/// How many principals' slices are remembered.
const SLICES: u64 = 10_000;

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
pub struct Grant(Assignment);

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
    slices: Cache<(Principal, u64), Arc<Slice>>,
    store: Store,
}

/// The version is that of what the principal holds.
type DecisionKey = (Principal, Action, Resource, u64);

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
        let generation = store.fresh(Topic::Policy).await?;
        let assignments = repo::all(store.read()).await?;
        Ok(Self(Arc::new(Inner {
            clock,
            decisions: Cache::new(DECISIONS),
            engine: Engine::new()?,
            index: ArcSwap::from_pointee(Index::new(assignments, generation, 1)),
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
            let assignments = repo::all(self.0.store.read()).await?;
            let _replacing = self.0.replacing();
            index = self.0.index.load_full();
            // A change of our own that was committed meanwhile may not be in what was read: read again.
            if index.version == version {
                index = Arc::new(Index::new(assignments, generation, version + 1));
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
        if !assignment.holds(self.0.clock.now()) {
            return Err(Error::invalid(
                "the assignment would have ended already: choose a later end",
            ));
        }
        self.0.engine.check(&assignment)?;
        Ok(Grant(assignment))
    }

    /// Assigns a role.
    ///
    /// # Errors
    /// `Conflict`, if the same assignment holds already; the store's.
    pub async fn assign(&self, tx: &Tx, grant: &Grant) -> Result<()> {
        let Grant(assignment) = grant;
        let gone = repo::insert(tx, assignment, self.0.clock.now()).await?;
        self.replace_on_commit(tx, assignment.principal.clone(), gone, Some(assignment.clone()));
        Ok(())
    }

    /// Takes a role away and says which.
    ///
    /// INVARIANT: once somebody is Administrator of everything without an end, somebody always is.
    ///
    /// # Errors
    /// `NotFound`; `Conflict`, if it is the last administrator's; the store's.
    pub async fn revoke(&self, tx: &Tx, id: Id) -> Result<Assignment> {
        let assignment = repo::find(tx, id).await?.ok_or_else(|| {
            Error::not_found(format!(
                "there is no role assignment `{id}`: list them to see their ids"
            ))
        })?;
        if is_lasting_administrator(&assignment) {
            let others = repo::lock_administrators(tx).await?;
            if others.iter().all(|other| other.id == id) {
                return Err(Error::conflict(format!(
                    "`{}` is the last administrator: make another one first, without an end",
                    assignment.principal
                )));
            }
        }
        repo::delete(tx, id).await?;
        self.replace_on_commit(tx, assignment.principal.clone(), vec![id], None);
        Ok(assignment)
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
        Ok(all.into_iter().map(|assignment| assignment.principal).collect())
    }

    fn replace_on_commit(&self, tx: &Tx, principal: SpiffeId, gone: Vec<Id>, added: Option<Assignment>) {
        tx.touch(Topic::Policy);
        let inner = self.0.clone();
        tx.on_commit(move || {
            let _replacing = inner.replacing();
            let next = inner.index.load().changed(&principal, &gone, added);
            inner.index.store(Arc::new(next));
        });
    }
}

fn is_lasting_administrator(assignment: &Assignment) -> bool {
    assignment.role == Role::Administrator && assignment.scope == Scope::Everything && assignment.expires.is_none()
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
        let slice = match self.authz.slice(principal, &held, now) {
            Ok(slice) => slice,
            Err(e) => {
                tracing::error!(%principal, "the roles of `{principal}` do not hold together: {}", e.detail());
                return Decision {
                    allow: false,
                    policies: vec!["error:assignments".to_owned()],
                };
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
}

impl Inner {
    fn replacing(&self) -> std::sync::MutexGuard<'_, ()> {
        self.replacing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slice(&self, principal: &Principal, held: &index::Held, now: Timestamp) -> Result<Arc<Slice>> {
        let key = (principal.clone(), held.version);
        if let Some(slice) = self.slices.get(&key)
            && slice.until().is_none_or(|until| now < until)
        {
            return Ok(slice);
        }
        let slice = Arc::new(self.engine.slice(principal, &held.assignments, now)?);
        self.slices.insert(key, slice.clone());
        Ok(slice)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;

    use super::*;
    use crate::clock::ManualClock;
    use crate::entropy::SeededEntropy;
    use crate::error::Kind;
    use crate::store::Settings;

    struct House {
        authz: Authz,
        clock: Arc<ManualClock>,
        entropy: SeededEntropy,
        folder: tempfile::TempDir,
        store: Store,
    }

    impl House {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
            let store = Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap();
            let clock = Arc::new(ManualClock::new(Timestamp::from_unix(1_000)));
            Self {
                authz: Authz::open(store.clone(), clock.clone()).await.unwrap(),
                clock,
                entropy: SeededEntropy::new(1),
                folder,
                store,
            }
        }

        fn assignment(&self, who: &str, role: Role, scope: &str, expires: Option<i64>) -> Assignment {
            Assignment {
                id: Id::random(&self.entropy).unwrap(),
                principal: format!("spiffe://chancery.test/{who}").parse().unwrap(),
                role,
                scope: scope.parse().unwrap(),
                expires: expires.map(Timestamp::from_unix),
            }
        }

        async fn assign(&self, assignment: &Assignment) -> Result<()> {
            let grant = self.authz.grant(assignment.clone())?;
            let authz = self.authz.clone();
            self.store
                .transact(move |tx| {
                    let (authz, grant) = (authz.clone(), grant.clone());
                    async move { authz.assign(tx, &grant).await }.boxed()
                })
                .await
        }

        async fn revoke(&self, id: Id) -> Result<Assignment> {
            let authz = self.authz.clone();
            self.store
                .transact(move |tx| {
                    let authz = authz.clone();
                    async move { authz.revoke(tx, id).await }.boxed()
                })
                .await
        }

        async fn may_read(&self, who: &str) -> bool {
            let principal = Principal::Spiffe(format!("spiffe://chancery.test/{who}").parse().unwrap());
            let resource = "vaults/kv-prod/secrets/a".parse().unwrap();
            self.authz
                .decide(&principal, Action::ReadSecret, &resource)
                .await
                .unwrap()
                .allow
        }
    }

    #[tokio::test]
    async fn a_role_holds_from_its_assignment_to_its_revocation_and_after_a_restart() {
        let house = House::new().await;
        assert!(!house.may_read("web").await);
        let first = house.assignment("web", Role::SecretsUser, "vaults/kv-prod", None);
        house.assign(&first).await.unwrap();
        assert!(house.may_read("web").await);
        assert!(!house.may_read("db").await);

        let again = Authz::open(house.store.clone(), house.clock.clone()).await.unwrap();
        let principal = Principal::Spiffe(first.principal.clone());
        let resource = "vaults/kv-prod/secrets/a".parse().unwrap();
        assert!(
            again
                .decide(&principal, Action::ReadSecret, &resource)
                .await
                .unwrap()
                .allow
        );

        assert_eq!(house.revoke(first.id).await.unwrap(), first);
        assert!(!house.may_read("web").await, "a remembered decision outlived its role");
        assert_eq!(house.revoke(first.id).await.unwrap_err().kind(), Kind::NotFound);
        drop(house.folder);
    }

    #[tokio::test]
    async fn a_remembered_decision_ends_with_its_assignment() {
        let house = House::new().await;
        let ends = house.assignment("web", Role::SecretsUser, "/", Some(1_010));
        house.assign(&ends).await.unwrap();
        assert!(house.may_read("web").await);
        house.clock.advance(Duration::from_secs(9));
        assert!(house.may_read("web").await);
        house.clock.advance(Duration::from_secs(1));
        assert!(!house.may_read("web").await);

        let late = house.assignment("web", Role::SecretsUser, "/", Some(1_010));
        assert_eq!(house.assign(&late).await.unwrap_err().kind(), Kind::Invalid);
        let fresh = house.assignment("web", Role::SecretsUser, "/", None);
        house.assign(&fresh).await.expect("one that has ended makes room");
        assert!(house.may_read("web").await);
        assert_eq!(house.authz.list(None, 10).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn the_same_assignment_twice_is_a_conflict() {
        let house = House::new().await;
        house
            .assign(&house.assignment("web", Role::SecretsUser, "/", None))
            .await
            .unwrap();
        let error = house
            .assign(&house.assignment("web", Role::SecretsUser, "/", None))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.public().contains("revoke"), "{error}");
    }

    #[tokio::test]
    async fn the_last_administrator_stays() {
        let house = House::new().await;
        assert!(house.authz.administrators().await.unwrap().is_empty());
        let ann = house.assignment("ann", Role::Administrator, "/", None);
        let bob = house.assignment("bob", Role::Administrator, "/", None);
        let guest = house.assignment("guest", Role::Administrator, "/", Some(9_000));
        let local = house.assignment("local", Role::Administrator, "vaults/kv-prod", None);
        for assignment in [&ann, &bob, &guest, &local] {
            house.assign(assignment).await.unwrap();
        }
        let mut names = house.authz.administrators().await.unwrap();
        names.sort();
        assert_eq!(names, [ann.principal.clone(), bob.principal.clone()]);
        house.revoke(bob.id).await.unwrap();
        let error = house.revoke(ann.id).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict);
        assert!(error.public().contains("last administrator"), "{error}");
        assert!(house.may_read("ann").await);
        house.revoke(guest.id).await.unwrap();
        house.revoke(local.id).await.unwrap();
    }

    #[tokio::test]
    async fn two_removals_at_once_leave_one_administrator() {
        let house = House::new().await;
        let ann = house.assignment("ann", Role::Administrator, "/", None);
        let bob = house.assignment("bob", Role::Administrator, "/", None);
        house.assign(&ann).await.unwrap();
        house.assign(&bob).await.unwrap();
        let (a, b) = tokio::join!(house.revoke(ann.id), house.revoke(bob.id));
        assert!(a.is_ok() != b.is_ok(), "{a:?} {b:?}");
        assert_eq!(house.authz.administrators().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_change_that_fails_changes_no_decision() {
        let house = House::new().await;
        let grant = house
            .authz
            .grant(house.assignment("web", Role::SecretsUser, "/", None))
            .unwrap();
        let authz = house.authz.clone();
        let result: Result<()> = house
            .store
            .transact(move |tx| {
                let (authz, grant) = (authz.clone(), grant.clone());
                async move {
                    authz.assign(tx, &grant).await?;
                    Err(Error::conflict("no"))
                }
                .boxed()
            })
            .await;
        assert!(result.is_err());
        assert!(!house.may_read("web").await);
    }

    #[tokio::test]
    async fn assignments_are_listed_by_page() {
        let house = House::new().await;
        for who in ["a", "b", "c"] {
            house
                .assign(&house.assignment(who, Role::Reader, "/", None))
                .await
                .unwrap();
        }
        let first = house.authz.list(None, 2).await.unwrap();
        let rest = house
            .authz
            .list(first.last().map(|item| item.assignment.id), 2)
            .await
            .unwrap();
        let mut seen: Vec<_> = first
            .iter()
            .chain(&rest)
            .map(|item| item.assignment.principal.path())
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, ["/a", "/b", "/c"]);
    }
}
