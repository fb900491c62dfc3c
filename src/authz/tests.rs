//! What holds, from when to when, and who stays.

mod simulated;

use std::time::Duration;

use futures::FutureExt;

use super::*;
use crate::clock::ManualClock;
use crate::entropy::SeededEntropy;
use crate::error::Kind;
use crate::policy::{CustomName, Role, Verdict};
use crate::store;

struct House {
    authz: Authz,
    clock: Arc<ManualClock>,
    entropy: SeededEntropy,
    folder: tempfile::TempDir,
    store: Store,
}

fn spiffe(path: &str) -> SpiffeId {
    format!("spiffe://chancery.test/{path}").parse().unwrap()
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let store = Store::open(&store::Settings { url }, &"n1".parse().unwrap())
            .await
            .unwrap();
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
        let id = Id::random(&self.entropy).unwrap();
        Assignment {
            expires: expires.map(Timestamp::from_unix),
            ..Assignment::lasting(id, spiffe(who), role, scope.parse().unwrap())
        }
    }

    /// To whom the text means.
    fn given(&self, who: &str, role: Role, scope: &str) -> Assignment {
        let id = Id::random(&self.entropy).unwrap();
        Assignment::lasting(id, who.parse::<Who>().unwrap(), role, scope.parse().unwrap())
    }

    async fn group(&self, who: &str, origin: Origin, groups: &[&str]) {
        let (authz, id) = (self.authz.clone(), spiffe(who));
        let groups: BTreeSet<Group> = groups.iter().map(|group| group.parse().unwrap()).collect();
        self.store
            .transact(move |tx| {
                let (authz, id, groups) = (authz.clone(), id.clone(), groups.clone());
                async move { authz.set_groups(tx, &id, origin, &groups).await }.boxed()
            })
            .await
            .unwrap();
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
    let principal = Principal::Spiffe(spiffe("web"));
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
    assert_eq!(names, [spiffe("ann"), spiffe("bob")]);
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
        .map(|item| item.assignment.who.to_string())
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, ["a", "b", "c"].map(|who| spiffe(who).to_string()));
}

#[tokio::test]
async fn a_role_may_be_a_paths_or_a_groups() {
    let house = House::new().await;
    house
        .assign(&house.given("spiffe://chancery.test/team-a/*", Role::SecretsUser, "/"))
        .await
        .unwrap();
    house
        .assign(&house.given("group:ops", Role::SecretsUser, "/"))
        .await
        .unwrap();
    assert!(house.may_read("team-a/web").await);
    assert!(!house.may_read("team-ab/web").await);
    assert!(!house.may_read("ann").await);

    let entry = Origin::Entry(Id::random(&house.entropy).unwrap());
    house.group("ann", Origin::Registration, &["ops"]).await;
    house.group("ann", entry, &["ops", "dev"]).await;
    assert!(house.may_read("ann").await);
    house.group("ann", Origin::Registration, &[]).await;
    assert!(house.may_read("ann").await, "the entry puts it there still");

    let again = Authz::open(house.store.clone(), house.clock.clone()).await.unwrap();
    let mut groups = again.view().await.unwrap().groups(&spiffe("ann"));
    groups.sort();
    let named = |name: &str| (entry, name.parse::<Group>().unwrap());
    assert_eq!(groups, [named("dev"), named("ops")]);

    house.group("ann", entry, &["dev"]).await;
    assert!(!house.may_read("ann").await);
    house.group("ann", entry, &["ops"]).await;
    assert!(house.may_read("ann").await);
}

#[tokio::test]
async fn r28_a_denial_ends_a_remembered_permission_and_begins_when_it_is_said_to() {
    let house = House::new().await;
    house
        .assign(&house.given("group:ops", Role::SecretsUser, "/"))
        .await
        .unwrap();
    house.group("ann", Origin::Registration, &["ops"]).await;
    assert!(house.may_read("ann").await);
    let denial = Assignment {
        verdict: Verdict::Deny,
        not_before: Some(Timestamp::from_unix(1_010)),
        expires: Some(Timestamp::from_unix(1_020)),
        ..house.given(
            "spiffe://chancery.test/*",
            Role::SecretsUser,
            "vaults/kv-prod/secrets/a",
        )
    };
    house.assign(&denial).await.unwrap();
    for (wait, may) in [(0, true), (9, true), (1, false), (9, false), (1, true)] {
        house.clock.advance(Duration::from_secs(wait));
        assert_eq!(house.may_read("ann").await, may, "at {}", house.clock.now());
    }
    let now = Assignment {
        verdict: Verdict::Deny,
        ..house.given("group:ops", Role::SecretsUser, "/")
    };
    house.assign(&now).await.expect("beside the same as a permission");
    assert!(!house.may_read("ann").await);
    assert_eq!(house.revoke(now.id).await.unwrap(), now);
    assert!(house.may_read("ann").await);

    let backwards = Assignment {
        expires: Some(Timestamp::from_unix(9_000)),
        not_before: Some(Timestamp::from_unix(9_000)),
        ..house.given("group:ops", Role::Reader, "/")
    };
    let error = house.assign(&backwards).await.unwrap_err();
    assert!(error.public().contains("before it begins"), "{error}");
}

#[tokio::test]
async fn an_administrator_by_path_by_group_or_later_is_not_the_last_one() {
    let house = House::new().await;
    let ann = house.assignment("ann", Role::Administrator, "/", None);
    house.assign(&ann).await.unwrap();
    for who in ["group:ops", "spiffe://chancery.test/*"] {
        house.assign(&house.given(who, Role::Administrator, "/")).await.unwrap();
    }
    let later = Assignment {
        not_before: Some(Timestamp::from_unix(2_000)),
        ..house.assignment("bob", Role::Administrator, "/", None)
    };
    house.assign(&later).await.unwrap();
    assert_eq!(house.authz.administrators().await.unwrap(), [spiffe("ann")]);
    assert_eq!(house.revoke(ann.id).await.unwrap_err().kind(), Kind::Conflict);
}

#[tokio::test]
async fn of_many_assignments_each_holds_where_it_says() {
    let house = House::new().await;
    for number in 0..40 {
        let scope = format!("vaults/kv-{number}");
        house
            .assign(&house.assignment("web", Role::SecretsUser, &scope, None))
            .await
            .unwrap();
    }
    assert!(!house.may_read("web").await);
    let ends = house.assignment("web", Role::SecretsUser, "vaults/kv-prod/secrets/", Some(1_010));
    house.assign(&ends).await.unwrap();
    assert!(house.may_read("web").await);
    house.clock.advance(Duration::from_secs(10));
    assert!(!house.may_read("web").await);
    let denied = Assignment {
        verdict: Verdict::Deny,
        ..house.assignment("web", Role::SecretsUser, "vaults/kv-7/secrets/", None)
    };
    house.assign(&denied).await.unwrap();
    let view = house.authz.view().await.unwrap();
    let reads = |path: &str| {
        let resource = path.parse().unwrap();
        view.decide(&Principal::Spiffe(spiffe("web")), Action::ReadSecret, &resource)
            .allow
    };
    assert!(!reads("vaults/kv-7/secrets/a") && reads("vaults/kv-8/secrets/a"));
}

impl House {
    async fn change_role(&self, role: &CustomRole, is_new: bool) -> Result<StoredRole> {
        self.authz.check_role(role)?;
        let (authz, role) = (self.authz.clone(), role.clone());
        self.store
            .transact(move |tx| {
                let (authz, role) = (authz.clone(), role.clone());
                async move {
                    match is_new {
                        true => authz.create_role(tx, &role).await,
                        false => authz.update_role(tx, &role).await,
                    }
                }
                .boxed()
            })
            .await
    }

    async fn delete_role(&self, name: &str) -> Result<()> {
        let (authz, name) = (self.authz.clone(), name.parse().unwrap());
        self.store
            .transact(move |tx| {
                let (authz, name): (Authz, CustomName) = (authz.clone(), Clone::clone(&name));
                async move { authz.delete_role(tx, &name).await }.boxed()
            })
            .await
    }
}

fn role(name: &str, allow: &[Action], deny: &[Action]) -> CustomRole {
    CustomRole {
        name: name.parse().unwrap(),
        allow: allow.iter().copied().collect(),
        deny: deny.iter().copied().collect(),
    }
}

#[tokio::test]
async fn a_role_of_ones_own_means_what_it_says_last_and_stays_while_it_is_held() {
    let house = House::new().await;
    let held = |verdict, scope: &str, expires: Option<i64>| Assignment {
        role: "Deploy".parse().unwrap(),
        verdict,
        ..house.assignment("web", Role::Reader, scope, expires)
    };
    let unknown = house.assign(&held(Verdict::Allow, "/", None)).await.unwrap_err();
    assert!(unknown.public().contains("role create"), "{unknown}");
    let reads = role("Deploy", &[Action::ReadSecret], &[]);
    house.change_role(&reads, true).await.unwrap();
    assert_eq!(
        house.change_role(&reads, true).await.unwrap_err().kind(),
        Kind::Conflict
    );
    let given = held(Verdict::Allow, "/", None);
    house.assign(&given).await.unwrap();
    assert!(house.may_read("web").await);

    // What it means changes for all who hold it, and after a restart it is the same.
    house.clock.advance(Duration::from_secs(5));
    let shows = role("Deploy", &[Action::ShowSecret], &[]);
    let changed = house.change_role(&shows, false).await.unwrap();
    assert_eq!((changed.created.unix(), changed.updated.unix()), (1_000, 1_005));
    assert!(!house.may_read("web").await);
    house.change_role(&reads, false).await.unwrap();
    assert!(house.may_read("web").await);
    let again = Authz::open(house.store.clone(), house.clock.clone()).await.unwrap();
    let (who, resource) = (
        Principal::Spiffe(spiffe("web")),
        "vaults/kv-prod/secrets/a".parse().unwrap(),
    );
    assert!(again.decide(&who, Action::ReadSecret, &resource).await.unwrap().allow);
    assert_eq!(again.custom_roles().await.unwrap()[0].role, reads);

    // A role that was checked before it was changed is not given.
    let grant = house.authz.grant(held(Verdict::Allow, "vaults/kv-prod", None)).unwrap();
    house.change_role(&shows, false).await.unwrap();
    let authz = house.authz.clone();
    let late = house
        .store
        .transact(move |tx| {
            let (authz, grant) = (authz.clone(), grant.clone());
            async move { authz.assign(tx, &grant).await }.boxed()
        })
        .await
        .unwrap_err();
    assert!(late.public().contains("at the same time"), "{late}");

    let used = house.delete_role("Deploy").await.unwrap_err();
    assert_eq!(used.kind(), Kind::Conflict);
    house.revoke(given.id).await.unwrap();
    house.assign(&held(Verdict::Allow, "/", Some(1_010))).await.unwrap();
    house.clock.advance(Duration::from_secs(5));
    house
        .delete_role("Deploy")
        .await
        .expect("one that has ended is in nobody's way");
    assert!(house.authz.list(None, 10).await.unwrap().is_empty());
    assert_eq!(house.delete_role("Deploy").await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(
        house.change_role(&reads, false).await.unwrap_err().kind(),
        Kind::NotFound
    );
}

#[tokio::test]
async fn a_denied_role_does_not_come_to_hold_the_right_to_change_roles() {
    let house = House::new().await;
    house
        .change_role(&role("Guard", &[Action::ReadSecret], &[]), true)
        .await
        .unwrap();
    let denial = Assignment {
        role: "Guard".parse().unwrap(),
        verdict: Verdict::Deny,
        ..house.given("spiffe://chancery.test/*", Role::Reader, "/")
    };
    house.assign(&denial).await.unwrap();
    let more = role("Guard", &[Action::RevokeRoleAssignment], &[]);
    let refused = house.change_role(&more, false).await.unwrap_err();
    assert!(refused.public().contains("could not be helped"), "{refused}");
    house.revoke(denial.id).await.unwrap();
    house.change_role(&more, false).await.unwrap();
    let refused = house.assign(&denial).await.unwrap_err();
    assert!(refused.public().contains("right to change roles"), "{refused}");
}

#[tokio::test]
async fn what_an_operator_wrote_stands_beside_the_roles() {
    let house = House::new().await;
    house.group("web", Origin::Registration, &["payroll"]).await;
    let everybody = house.given("spiffe://chancery.test/*", Role::SecretsUser, "/");
    house.assign(&everybody).await.unwrap();
    let folder = house.folder.path().join("policy");
    fs::create_dir(&folder).unwrap();
    let settings = super::Settings {
        folder: Some(folder.clone()),
    };
    let text = r#"forbid (principal is Workload, action, resource in Vault::"vaults/kv-prod")
        unless { principal in Group::"payroll" };"#;
    fs::write(folder.join("payroll.cedar"), text).unwrap();
    fs::write(folder.join("notes.txt"), "not a policy").unwrap();
    let files = settings.files().unwrap();
    assert_eq!(files.len(), 1);
    let authz = Authz::open_with(house.store.clone(), house.clock.clone(), &files)
        .await
        .unwrap();
    let resource: Resource = "vaults/kv-prod/secrets/a".parse().unwrap();
    for (who, allow) in [("web", true), ("db", false)] {
        let principal = Principal::Spiffe(spiffe(who));
        let decision = authz.decide(&principal, Action::ReadSecret, &resource).await.unwrap();
        assert_eq!(decision.allow, allow, "{who}");
        let view = authz.view().await.unwrap();
        let later = view.decide_at(&principal, Action::ReadSecret, &resource, house.clock.now());
        assert_eq!(later, decision, "{who}");
    }
    fs::write(folder.join("bad.cedar"), "permit (principal, action, resource);").unwrap();
    let error = settings.files().unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
    assert!(error.public().contains("`bad`"), "{error}");
}
