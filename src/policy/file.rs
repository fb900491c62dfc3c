//! Policies that an operator wrote in files, in Cedar.
//!
//! SECURITY: they are about workloads only. What the service's own parts and ACME accounts may do is not an operator's to
//! give, and a prohibition on everybody would be one on those parts too.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use cedar_policy::{
    EntityTypeName, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ValidationMode, Validator,
};

use super::principal::Principal;
use crate::error::{Error, Result};

/// What the ids of these policies begin with, in decisions and in the audit log.
const PREFIX: &str = "file";

/// A file with policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFile {
    /// What it is called, without its ending.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// The policies of all files.
#[derive(Default)]
pub(super) struct FilePolicies {
    /// Those about one workload each.
    by_workload: HashMap<EntityUid, Vec<Policy>>,
    /// Those about more than one.
    open: Vec<Policy>,
}

impl FilePolicies {
    /// Reads them.
    ///
    /// # Errors
    /// `Invalid`, naming file and policy, for what cannot be parsed, is not valid in strict mode, can never hold, is a
    /// template, or is about others than workloads.
    pub(super) fn read(files: &[PolicyFile], validator: &Validator) -> Result<Self> {
        let mut read = Self::default();
        let mut names = BTreeSet::new();
        for file in files {
            let refuse = |why: String| Error::invalid(format!("policy file `{}`: {why}", file.name));
            let set = PolicySet::from_str(&file.text).map_err(|e| refuse(e.to_string()))?;
            if let Some(template) = set.templates().next() {
                return Err(refuse(format!(
                    "`{}` has slots, which nothing fills: write whom and what it is about",
                    template.id()
                )));
            }
            let mut checked = PolicySet::new();
            for policy in set.policies() {
                let name = policy
                    .annotation("id")
                    .map_or_else(|| policy.id().to_string(), str::to_owned);
                let id = format!("{PREFIX}:{}:{name}", file.name);
                if name.is_empty() || !names.insert(id.clone()) {
                    return Err(refuse(format!(
                        "two policies have the id `{name}`: give each an `@id` of its own"
                    )));
                }
                let policy = policy.new_id(PolicyId::new(id));
                checked.add(policy.clone()).map_err(|e| refuse(e.to_string()))?;
                match workload(&policy).map_err(|why| refuse(format!("`{name}` {why}")))? {
                    Some(one) => read.by_workload.entry(one).or_default().push(policy),
                    None => read.open.push(policy),
                }
            }
            let validated = validator.validate(&checked, ValidationMode::Strict);
            let wrong = validated.validation_errors().map(ToString::to_string).next();
            // One that can never hold is a prohibition that is none.
            let doubtful = validated.validation_warnings().map(ToString::to_string).next();
            if let Some(why) = wrong.or(doubtful) {
                return Err(refuse(why));
            }
        }
        Ok(read)
    }

    /// How many are about more than one workload.
    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.by_workload.is_empty()
    }

    /// Those that can be about a principal.
    pub(super) fn of(&self, principal: &Principal, uid: &EntityUid) -> impl Iterator<Item = &Policy> {
        let is_workload = matches!(principal, Principal::Spiffe(_));
        let open = self.open.iter().filter(move |_| is_workload);
        open.chain(self.by_workload.get(uid).into_iter().flatten())
    }
}

/// The one workload that a policy is about; none, if it is about several.
fn workload(policy: &Policy) -> std::result::Result<Option<EntityUid>, &'static str> {
    let is = |kind: &EntityTypeName, name: &str| kind.to_string() == name;
    match policy.principal_constraint() {
        PrincipalConstraint::Eq(uid) if is(uid.type_name(), "Workload") => Ok(Some(uid)),
        PrincipalConstraint::In(uid) if is(uid.type_name(), "Group") => Ok(None),
        PrincipalConstraint::Is(kind) | PrincipalConstraint::IsIn(kind, _) if is(&kind, "Workload") => Ok(None),
        PrincipalConstraint::Any
        | PrincipalConstraint::Eq(_)
        | PrincipalConstraint::In(_)
        | PrincipalConstraint::Is(_)
        | PrincipalConstraint::IsIn(..) => Err(
            "is not about workloads only: begin it with `principal is Workload`, `principal == Workload::\"spiffe://…\"` or \
             `principal in Group::\"…\"`",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::entropy::SeededEntropy;
    use crate::id::Id;
    use crate::policy::{Action, Assignment, CustomRoles, Engine, Group, Resource, Role, SpiffeId, system};

    fn file(name: &str, text: &str) -> PolicyFile {
        PolicyFile {
            name: name.to_owned(),
            text: text.to_owned(),
        }
    }

    fn id(path: &str) -> SpiffeId {
        format!("spiffe://chancery.test/{path}").parse().unwrap()
    }

    /// Whether somebody may, and by what, who also reads secrets by a role.
    fn ask(engine: &Engine, who: &Principal, groups: &[&str], action: Action, on: &str) -> (bool, Vec<String>) {
        let groups: Vec<Group> = groups.iter().map(|group| group.parse().unwrap()).collect();
        let held: Vec<Assignment> = match who {
            Principal::Spiffe(id) => vec![Assignment::lasting(
                Id::random(&SeededEntropy::new(1)).unwrap(),
                id.clone(),
                Role::SecretsUser,
                "vaults/kv".parse().unwrap(),
            )],
            _ => Vec::new(),
        };
        let now = Timestamp::from_unix(1);
        let slice = engine.slice(who, &groups, &held, &CustomRoles::default(), now).unwrap();
        let decision = engine.decide(&slice, action, &on.parse::<Resource>().unwrap());
        (decision.allow, decision.policies)
    }

    #[test]
    fn policies_in_files_give_and_take_by_name_group_path_and_place() {
        let files = [
            file(
                "house",
                r#"
                    @id("no payroll")
                    forbid (principal is Workload, action, resource in Prefix::"vaults/kv/secrets/payroll/")
                    unless { principal in Group::"payroll" };
                    permit (principal == Workload::"spiffe://chancery.test/web", action == Action::"EncryptData",
                        resource == Key::"vaults/kv/keys/orders");
                "#,
            ),
            file(
                "teams",
                r#"permit (principal is Workload, action in [Action::"SignData"], resource is Key)
                   when { principal.id like "spiffe://chancery.test/team-a/*" };"#,
            ),
        ];
        let engine = Engine::new().unwrap().with_files(&files).unwrap();
        let web = Principal::Spiffe(id("web"));
        let pay = "vaults/kv/secrets/payroll/2030";
        assert!(ask(&engine, &web, &[], Action::ReadSecret, "vaults/kv/secrets/a").0);
        assert_eq!(
            ask(&engine, &web, &[], Action::ReadSecret, pay),
            (false, vec!["file:house:no payroll".to_owned()])
        );
        assert!(ask(&engine, &web, &["ops", "payroll"], Action::ReadSecret, pay).0);
        assert_eq!(
            ask(&engine, &web, &[], Action::EncryptData, "vaults/kv/keys/orders"),
            (true, vec!["file:house:policy1".to_owned()])
        );
        let db = Principal::Spiffe(id("db"));
        assert!(!ask(&engine, &db, &[], Action::EncryptData, "vaults/kv/keys/orders").0);
        let (team, near) = (Principal::Spiffe(id("team-a/x")), Principal::Spiffe(id("team-ab/x")));
        assert!(ask(&engine, &team, &[], Action::SignData, "vaults/other/keys/k").0);
        assert!(!ask(&engine, &near, &[], Action::SignData, "vaults/other/keys/k").0);
        // The service's own parts are not reached.
        let upkeep = Principal::System(system::UPKEEP);
        assert_eq!(
            ask(&engine, &upkeep, &[], Action::PurgeExpired, "/"),
            ask(&Engine::new().unwrap(), &upkeep, &[], Action::PurgeExpired, "/")
        );
    }

    #[test]
    fn a_file_that_does_not_hold_together_is_refused_by_name() {
        let many: String = (0..300).map(|n| format!("@id(\"{n}\") permit (principal is Workload, action == Action::\"ReadSecret\", resource == Secret::\"vaults/kv/secrets/{n}\");\n")).collect();
        for (text, says) in [
            ("permit (principal is Workload, action, resource", "policy file `bad`"),
            (
                "forbid (principal, action, resource);",
                "`policy0` is not about workloads only",
            ),
            (
                r#"permit (principal is System, action, resource);"#,
                "not about workloads only",
            ),
            (
                r#"permit (principal == System::"ca", action, resource);"#,
                "not about workloads only",
            ),
            ("permit (principal == ?principal, action, resource);", "slots"),
            (
                r#"permit (principal is Workload, action == Action::"ReadSecrets", resource);"#,
                "ReadSecrets",
            ),
            (
                r#"permit (principal is Workload, action == Action::"ReadSecret", resource is Key);"#,
                "policy file `bad`",
            ),
            (
                r#"permit (principal is Workload, action, resource) when { principal.team == "a" };"#,
                "team",
            ),
            (
                r#"@id("a") permit (principal is Workload, action, resource); @id("a") forbid (principal is Workload, action, resource);"#,
                "two policies have the id `a`",
            ),
            (many.as_str(), "at most 256"),
        ] {
            let error = Engine::new()
                .unwrap()
                .with_files(&[file("bad", text)])
                .map(drop)
                .unwrap_err();
            assert!(error.public().contains(says), "{says}: {error}");
        }
    }
}
