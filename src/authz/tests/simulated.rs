//! What a change would alter, before it is made.

use super::*;
use crate::authz::{Altered, Change};
use crate::policy::CustomRole;

const DOMAIN: &str = "chancery.test";

impl House {
    async fn simulate(&self, change: &Change) -> Result<Vec<Altered>> {
        let found = self.authz.simulate(change, DOMAIN, self.clock.now()).await?;
        assert_eq!(found.judged, found.reaches);
        Ok(found.altered)
    }

    fn denied(&self, who: &str, role: Role, scope: &str) -> Assignment {
        Assignment {
            verdict: Verdict::Deny,
            ..self.given(who, role, scope)
        }
    }

    async fn redefine(&self, role: &CustomRole, create: bool) {
        let (authz, role) = (self.authz.clone(), role.clone());
        self.store
            .transact(move |tx| {
                let (authz, role) = (authz.clone(), role.clone());
                async move {
                    match create {
                        true => authz.create_role(tx, &role).await,
                        false => authz.update_role(tx, &role).await,
                    }
                }
                .boxed()
            })
            .await
            .unwrap();
    }
}

/// `who scope +gains -loses`.
fn spelled(altered: &[Altered]) -> Vec<String> {
    let names = |actions: &BTreeSet<Action>| {
        actions
            .iter()
            .map(|action| action.as_str())
            .collect::<Vec<_>>()
            .join(",")
    };
    let row = |row: &Altered| {
        format!(
            "{} {} +{} -{}",
            row.who,
            row.scope,
            names(&row.gains),
            names(&row.loses)
        )
    };
    altered.iter().map(row).collect()
}

#[tokio::test]
async fn an_assignment_alters_what_nothing_else_gives_or_takes() {
    let house = House::new().await;
    let web = "spiffe://chancery.test/web";
    house
        .assign(&house.denied(web, Role::SecretsUser, "vaults/kv/secrets/pay/"))
        .await
        .unwrap();
    house
        .assign(&house.given(web, Role::SecretsUser, "vaults/kv/secrets/a"))
        .await
        .unwrap();
    let given = house.given(web, Role::SecretsUser, "vaults/kv");
    let reads = "BackupSecret";
    let altered = house.simulate(&Change::Assign(given.clone())).await.unwrap();
    let rows = spelled(&altered);
    assert_eq!(altered.len(), 3, "{rows:?}");
    assert_eq!(altered[0].scope.to_string(), "vaults/kv");
    assert!(altered[0].gains.contains(&Action::ReadSecret), "{rows:?}");
    assert!(!rows[0].contains(reads), "{rows:?}");
    let reached: BTreeSet<String> = altered.iter().skip(1).map(|row| row.scope.to_string()).collect();
    assert_eq!(
        reached,
        BTreeSet::from(["vaults/kv/secrets/a".to_owned(), "vaults/kv/secrets/pay/".to_owned()])
    );
    for row in &altered[1..] {
        assert!(row.gains.is_empty() && row.loses.is_empty(), "{rows:?}");
    }
    house.assign(&given).await.unwrap();
    // Back again, and the same once more: nothing.
    let back = house.simulate(&Change::Revoke(given.id)).await.unwrap();
    assert_eq!(back[0].loses, altered[0].gains);
    assert!(back[0].gains.is_empty());
    let same = house.given(web, Role::SecretsUser, "vaults/kv");
    assert_eq!(house.simulate(&Change::Assign(same)).await.unwrap(), []);
    assert!(!house.may_read("nobody").await);
}

#[tokio::test]
async fn a_path_and_a_group_stand_for_those_who_are_not_known() {
    let house = House::new().await;
    house.group("team/ann", Origin::Registration, &["ops"]).await;
    let own = house.given("spiffe://chancery.test/team/ann", Role::SecretsUser, "/");
    house.assign(&own).await.unwrap();
    let team = house.given("spiffe://chancery.test/team/*", Role::SecretsUser, "vaults/kv");
    let rows = spelled(&house.simulate(&Change::Assign(team)).await.unwrap());
    // Ann may already.
    assert_eq!(rows.len(), 1, "{rows:?}");
    assert!(
        rows[0].starts_with("spiffe://chancery.test/team/* vaults/kv +"),
        "{rows:?}"
    );

    let ops = house.denied("group:ops", Role::SecretsUser, "vaults/kv");
    let rows = spelled(&house.simulate(&Change::Assign(ops.clone())).await.unwrap());
    assert_eq!(
        rows.len(),
        1,
        "whoever is in it and holds nothing has nothing to lose: {rows:?}"
    );
    assert!(
        rows[0].starts_with("spiffe://chancery.test/team/ann vaults/kv + -"),
        "{rows:?}"
    );
    let ops = house.given("group:ops", Role::CryptoUser, "vaults/kv");
    let rows = spelled(&house.simulate(&Change::Assign(ops)).await.unwrap());
    assert_eq!(rows.len(), 2, "{rows:?}");
    assert!(rows[1].starts_with("group:ops vaults/kv +"), "{rows:?}");
}

#[tokio::test]
async fn what_would_be_refused_is_refused() {
    let house = House::new().await;
    let ann = house.assignment("ann", Role::Administrator, "/", None);
    house.assign(&ann).await.unwrap();
    let refused = [
        (Change::Revoke(ann.id), Kind::Conflict),
        (Change::Revoke(Id::from([7; 16])), Kind::NotFound),
        (
            Change::Assign(house.assignment("web", Role::SecretsUser, "audit", None)),
            Kind::Invalid,
        ),
        (
            Change::Assign(house.assignment("web", Role::SecretsUser, "/", Some(10))),
            Kind::Invalid,
        ),
        (
            Change::Redefine(CustomRole {
                name: "Deployer".parse().unwrap(),
                allow: BTreeSet::from([Action::ReadSecret]),
                deny: BTreeSet::new(),
            }),
            Kind::NotFound,
        ),
    ];
    for (change, kind) in refused {
        assert_eq!(house.simulate(&change).await.unwrap_err().kind(), kind, "{change:?}");
    }
}

/// A small world in which everything meets everything.
struct World {
    house: House,
    assignments: Vec<Assignment>,
    deployer: CustomRole,
    seed: u64,
}

impl World {
    fn pick<'t>(&mut self, of: &'t [&str]) -> &'t str {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        of[usize::try_from(self.seed >> 33).unwrap() % of.len()]
    }

    fn assignment(&mut self) -> Assignment {
        let who = self.pick(&[
            "spiffe://chancery.test/team/ann",
            "spiffe://chancery.test/team/*",
            "spiffe://chancery.test/*",
            "group:ops",
            "spiffe://chancery.test/bob",
        ]);
        let scope = self.pick(&[
            "/",
            "vaults/kv",
            "vaults/kv/secrets/",
            "vaults/kv/secrets/a/",
            "vaults/kv/secrets/a/b",
            "vaults/kv/keys/",
        ]);
        let role = self.pick(&["Secrets User", "Secrets Officer", "Key Vault Administrator", "Deployer"]);
        let verdict = self.pick(&["allow", "allow", "deny"]);
        Assignment {
            role: role.parse().unwrap(),
            verdict: match verdict {
                "deny" => Verdict::Deny,
                _ => Verdict::Allow,
            },
            ..self.house.given(who, Role::Reader, scope)
        }
    }

    fn change(&mut self) -> Change {
        match self.pick(&["assign", "assign", "revoke", "redefine"]) {
            "revoke" if !self.assignments.is_empty() => Change::Revoke(self.assignments[0].id),
            "redefine" => Change::Redefine(CustomRole {
                allow: BTreeSet::from([Action::DeleteSecret, Action::ReadSecret]),
                deny: BTreeSet::from([Action::ShowSecret, Action::EncryptData]),
                ..self.deployer.clone()
            }),
            _ => Change::Assign(self.assignment()),
        }
    }

    /// Everything that is decided for those who are known.
    async fn decisions(&self) -> Vec<(SpiffeId, Resource, Action, bool)> {
        let view = self.house.authz.view().await.unwrap();
        let of_secrets: &[Action] = &[
            Action::DeleteSecret,
            Action::ListSecrets,
            Action::ReadSecret,
            Action::ShowSecret,
        ];
        let of_vaults: &[Action] = &[Action::CreateVault, Action::ListSecrets];
        let resources = [
            ("vaults/kv", of_vaults),
            ("vaults/other", of_vaults),
            ("vaults/kv/secrets/a/b", of_secrets),
            ("vaults/kv/secrets/a/c", of_secrets),
            ("vaults/kv/secrets/z", of_secrets),
            ("vaults/kv/keys/z", &[Action::EncryptData]),
            ("vaults/other/secrets/z", of_secrets),
        ];
        let mut decided = Vec::new();
        for who in [spiffe("team/ann"), spiffe("bob"), spiffe("team/unknown")] {
            for (resource, actions) in resources {
                let resource: Resource = resource.parse().unwrap();
                for action in actions {
                    let principal = Principal::Spiffe(who.clone());
                    let allow = view.decide(&principal, *action, &resource).allow;
                    decided.push((who.clone(), resource.clone(), *action, allow));
                }
            }
        }
        decided
    }
}

/// What the rows say of somebody who may something, or may not.
fn predicted(rows: &[Altered], who: &SpiffeId, resource: &Resource, action: Action, could: bool) -> bool {
    let is_known = *who != spiffe("team/unknown");
    let theirs = |row: &&Altered| match &row.who {
        Who::Identity(id) => id == who,
        Who::Prefix(_) => !is_known && row.who.is(who, []),
        Who::Group(_) => false,
    };
    let mut rows: Vec<&Altered> = rows.iter().filter(theirs).collect();
    // Of somebody below two paths the longer one tells.
    let nearest = rows.iter().map(|row| row.who.key().len()).max();
    rows.retain(|row| Some(row.who.key().len()) == nearest);
    let nearest = resource
        .scopes()
        .into_iter()
        .rev()
        .find_map(|scope| rows.iter().find(|row| row.scope == scope));
    match nearest {
        Some(row) if row.gains.contains(&action) => true,
        Some(row) if row.loses.contains(&action) => false,
        _ => could,
    }
}

#[tokio::test]
async fn what_is_said_is_what_comes() {
    let mut altered = 0;
    for seed in 0..8 {
        let house = House::new().await;
        house.group("team/ann", Origin::Registration, &["ops"]).await;
        // So that it is known by name.
        house.group("bob", Origin::Registration, &["others"]).await;
        let deployer = CustomRole {
            name: "Deployer".parse().unwrap(),
            allow: BTreeSet::from([Action::ReadSecret, Action::ShowSecret, Action::EncryptData]),
            deny: BTreeSet::from([Action::DeleteSecret]),
        };
        house.redefine(&deployer, true).await;
        let mut world = World {
            house,
            assignments: Vec::new(),
            deployer,
            seed,
        };
        for _ in 0..4 {
            let assignment = world.assignment();
            // The same one twice, or a denial that would lock everybody out, is refused.
            if world.house.assign(&assignment).await.is_ok() {
                world.assignments.push(assignment);
            }
        }
        let before = world.decisions().await;
        let change = world.change();
        let Ok(rows) = world.house.simulate(&change).await else {
            continue;
        };
        assert_eq!(world.decisions().await, before, "it was a question only");
        let made = match &change {
            Change::Assign(assignment) => world.house.assign(assignment).await.is_ok(),
            Change::Revoke(id) => world.house.revoke(*id).await.is_ok(),
            Change::Redefine(role) => {
                world.house.redefine(role, false).await;
                true
            }
        };
        if !made {
            // It is there already.
            assert_eq!(rows, []);
            continue;
        }
        let after = world.decisions().await;
        for ((who, resource, action, could), (.., can)) in before.iter().zip(&after) {
            altered += usize::from(could != can);
            assert_eq!(
                predicted(&rows, who, resource, *action, *could),
                *can,
                "seed {seed}: {who} {action} {resource} by {change:?}\n{:#?}\n{:#?}",
                spelled(&rows),
                world.assignments
            );
        }
    }
    assert!(
        altered > 20,
        "{altered} decisions were altered: the worlds are too dull"
    );
}
