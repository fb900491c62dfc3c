//! The decision, by Cedar.
//!
//! Cedar's cost is linear in the policies of a set, whomever they are about, so a decision never looks at all of
//! them: it looks at a [`Slice`], which holds the assignments of one principal and the few policies that are open to
//! anybody.

use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, Entity, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, Request, Schema, SlotId, Template, ValidationMode, Validator,
};
use tracing::error;

use super::action::Action;
use super::custom::{self, CustomRoles, Templates};
use super::entities::{Vocabulary, broken};
use super::file::{FilePolicies, PolicyFile};
use super::principal::{AcmeAccount, Principal};
use super::resource::Resource;
use super::role::{Role, RoleName};
use super::scope::{Assignment, Scope, Verdict};
use super::who::{Group, Who};
use crate::clock::Timestamp;
use crate::error::{Error, Result};

const SCHEMA: &str = include_str!("schema.cedarschema");
const ROLES: &str = include_str!("roles.cedar");
const BUILTIN: &str = include_str!("builtin.cedar");

/// How many policies may be open to more than one principal: each of them costs every decision a microsecond.
const MAX_OPEN: usize = 256;

/// Whom a role is tried on before it is given to anybody; no part of the service has this name.
const SOMEBODY: &str = "somebody";

/// What accounts may that have no role.
const ANY_ACCOUNT: &str = "builtin:acme-account";

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the act may be done.
    pub allow: bool,
    /// The policies that decided, for the audit log: `Secrets User@vaults/kv-prod#<assignment id>`, `builtin:..`, or
    /// `error:..` for one that could not be evaluated. None is a denial because nothing permits.
    pub policies: Vec<String>,
}

impl Decision {
    /// A denial, because what somebody holds does not hold together.
    pub fn failed() -> Self {
        Self {
            allow: false,
            policies: vec!["error:assignments".to_owned()],
        }
    }
}

/// All policies that can matter for one principal.
pub struct Slice {
    principal: EntityUid,
    /// The principal as an entity, if a policy may look at it.
    entity: Option<Entity>,
    policies: PolicySet,
    until: Option<Timestamp>,
}

impl Slice {
    /// From this moment on the slice says nothing any more, because an assignment of the principal's begins or ends.
    pub fn until(&self) -> Option<Timestamp> {
        self.until
    }
}

/// The schema, the roles, the built-in policies, and the decision over them.
pub struct Engine {
    actions: HashMap<Action, EntityUid>,
    authorizer: Authorizer,
    /// The policies of one system principal each, by its id.
    by_system: HashMap<EntityUid, Vec<Policy>>,
    /// What an operator wrote.
    files: FilePolicies,
    /// The policies that are open to more than one principal.
    open: PolicySet,
    /// What each built-in role gives, and what it takes when it is denied.
    roles: HashMap<Role, Templates>,
    schema: Schema,
    validator: Validator,
    vocabulary: Vocabulary,
}

impl Engine {
    /// The engine with the built-in roles and policies.
    ///
    /// # Errors
    /// `Internal`, if they are not valid in Cedar's strict mode or do not fit [`Action`] and [`Role`].
    pub fn new() -> Result<Self> {
        Self::load(SCHEMA, ROLES, BUILTIN)
    }

    /// The same with an operator's policies beside them.
    ///
    /// # Errors
    /// `Invalid`, naming the file, for what is not valid in strict mode, is about others than workloads, or for too many
    /// policies about more than one workload.
    pub fn with_files(mut self, files: &[PolicyFile]) -> Result<Self> {
        self.files = FilePolicies::read(files, &self.validator)?;
        let count = self.open.policies().count() + self.files.open();
        if count > MAX_OPEN {
            return Err(Error::invalid(format!(
                "{count} policies are about more than one principal, at most {MAX_OPEN} may be: each costs every decision \
                 time. Assign roles instead"
            )));
        }
        Ok(self)
    }

    fn load(schema: &str, roles: &str, builtin: &str) -> Result<Self> {
        let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|e| broken("the schema", e))?;
        let vocabulary = Vocabulary::new()?;
        let actions = actions(&schema)?;
        let roles = custom::built_in(roles)?;
        let mut open = PolicySet::new();
        let mut by_system: HashMap<EntityUid, Vec<Policy>> = HashMap::new();
        let parsed = PolicySet::from_str(builtin).map_err(|e| broken("`builtin.cedar`", e))?;
        let mut all = PolicySet::new();
        for template in roles.values().flat_map(Templates::all) {
            all.add_template(template.clone()).map_err(|e| broken("a role", e))?;
        }
        for policy in parsed.policies() {
            let id = policy
                .annotation("id")
                .ok_or_else(|| Error::internal("a policy in `builtin.cedar` has no `@id`"))?;
            let policy = policy.new_id(PolicyId::new(id));
            all.add(policy.clone()).map_err(|e| broken(id, e))?;
            match policy.principal_constraint() {
                PrincipalConstraint::Eq(principal) => by_system.entry(principal).or_default().push(policy),
                PrincipalConstraint::Any
                | PrincipalConstraint::In(_)
                | PrincipalConstraint::Is(_)
                | PrincipalConstraint::IsIn(..) => open.add(policy.clone()).map_err(|e| broken(id, e))?,
            }
        }
        let count = open.policies().count();
        if count > MAX_OPEN {
            return Err(Error::internal(format!(
                "{count} policies are open to any principal, at most {MAX_OPEN} may be"
            )));
        }
        let validator = Validator::new(schema.clone());
        validate(&validator, &all)?;
        Ok(Self {
            actions,
            authorizer: Authorizer::new(),
            by_system,
            files: FilePolicies::default(),
            open,
            roles,
            schema,
            validator,
            vocabulary,
        })
    }

    /// Checks that an assignment can mean something: its role holds at least one action in its scope.
    ///
    /// INVARIANT: nobody is denied the changing of roles, so whoever was denied too much can be helped: such a denial
    /// could be on everybody.
    ///
    /// # Errors
    /// `Invalid`, if it cannot.
    pub fn check(&self, assignment: &Assignment, customs: &CustomRoles) -> Result<()> {
        let role = self.templates(&assignment.role, customs)?;
        if matches!(&assignment.role, RoleName::BuiltIn(role) if role.is_for_accounts()) {
            return Err(Error::invalid(format!(
                "role `{}` is for accounts of the ACME server: give it by the key that they are made with",
                assignment.role
            )));
        }
        if assignment.verdict == Verdict::Deny && assignment.scope == Scope::Everything && role.changes_roles() {
            return Err(Error::invalid(format!(
                "role `{}` at `/` holds the right to change roles, and whom that is denied to cannot be helped: take an \
                 assignment back instead, or deny a smaller role or scope",
                assignment.role
            )));
        }
        let somebody = self.vocabulary.principal(&Principal::System(SOMEBODY));
        let mut set = PolicySet::new();
        self.link(&mut set, somebody.clone(), assignment, customs)?;
        validate(&self.validator, &set)?;
        let means_something = assignment.scope.samples("x").iter().any(|resource| {
            Action::ALL.iter().any(|action| {
                self.evaluate(&somebody, None, &set, *action, resource)
                    .is_ok_and(|decision| !decision.policies.is_empty())
            })
        });
        if means_something {
            Ok(())
        } else {
            Err(Error::invalid(format!(
                "role `{}` holds no action in scope `{}`: choose a scope in which it has something to do, or `/`",
                assignment.role, assignment.scope
            )))
        }
    }

    /// The slice for `principal`: those of `assignments` that hold at `now`, or the role of an account that was made for
    /// one, and the built-in policies and those in files that can match it. The assignments are the principal's: in which
    /// groups it is, the caller knows.
    ///
    /// # Errors
    /// `Internal`, if an assignment is not valid in strict mode; the caller must then deny.
    pub fn slice<'a>(
        &self,
        principal: &Principal,
        groups: &[Group],
        assignments: impl IntoIterator<Item = &'a Assignment>,
        customs: &CustomRoles,
        now: Timestamp,
    ) -> Result<Slice> {
        let uid = self.vocabulary.principal(principal);
        let mut policies = self.open.clone();
        for policy in self.by_system.get(&uid).into_iter().flatten() {
            policies
                .add(policy.clone())
                .map_err(|e| broken("a built-in policy", e))?;
        }
        for policy in self.files.of(principal, &uid) {
            policies
                .add(policy.clone())
                .map_err(|e| broken("a policy in a file", e))?;
        }
        let entity = match principal {
            Principal::Spiffe(id) if !self.files.is_empty() => Some(self.vocabulary.workload(id, groups)?),
            _ => None,
        };
        let mut until = None;
        let mut linked = false;
        for assignment in assignments.into_iter().filter(|one| may_be(&one.who, principal)) {
            until = [until, assignment.changes(now)].into_iter().flatten().min();
            if assignment.holds(now) {
                self.link(&mut policies, uid.clone(), assignment, customs)?;
                linked = true;
            }
        }
        if let Principal::Account(AcmeAccount {
            authority,
            id,
            role: Some(role),
        }) = principal
        {
            // SECURITY: instead of what any account may, not beside it.
            policies
                .remove_static(PolicyId::new(ANY_ACCOUNT))
                .map_err(|e| broken(ANY_ACCOUNT, e))?;
            let scope = Scope::Authority(authority.clone());
            let name = format!("{role}@{scope}#{id}");
            let templates = self.templates(&RoleName::BuiltIn(*role), customs)?;
            self.link_to(&mut policies, templates.permit.as_ref(), &name, uid.clone(), &scope)?;
            linked = true;
        }
        if linked {
            validate(&self.validator, &policies)?;
        }
        Ok(Slice {
            principal: uid,
            entity,
            policies,
            until,
        })
    }

    /// Whether the slice's principal may do `action` on `resource`. Whatever goes wrong is a denial.
    pub fn decide(&self, slice: &Slice, action: Action, resource: &Resource) -> Decision {
        match self.evaluate(
            &slice.principal,
            slice.entity.as_ref(),
            &slice.policies,
            action,
            resource,
        ) {
            Ok(decision) => decision,
            Err(e) => {
                error!(action = %action, resource = %resource, "decision failed, so it is a denial: {}", e.detail());
                Decision {
                    allow: false,
                    policies: vec!["error:request".to_owned()],
                }
            }
        }
    }

    /// As [`Self::decide`], of what nobody asked for; none, if the action does not apply to the resource or the answer
    /// cannot be known.
    pub fn may(&self, slice: &Slice, action: Action, resource: &Resource) -> Option<bool> {
        let decision = self.evaluate(
            &slice.principal,
            slice.entity.as_ref(),
            &slice.policies,
            action,
            resource,
        );
        decision.ok().map(|decision| decision.allow)
    }

    fn evaluate(
        &self,
        principal: &EntityUid,
        entity: Option<&Entity>,
        policies: &PolicySet,
        action: Action,
        resource: &Resource,
    ) -> Result<Decision> {
        let action = self
            .actions
            .get(&action)
            .ok_or_else(|| Error::internal(format!("action `{action}` is not in the schema")))?;
        let request = Request::new(
            principal.clone(),
            action.clone(),
            self.vocabulary.resource(resource),
            Context::empty(),
            Some(&self.schema),
        )
        .map_err(|e| broken("the request", e))?;
        let ancestry = self.vocabulary.ancestry(resource)?.into_iter();
        let entities =
            Entities::from_entities(ancestry.chain(entity.cloned()), None).map_err(|e| broken("the resource", e))?;
        let answer = self.authorizer.is_authorized(&request, policies, &entities);
        let mut names: Vec<String> = answer.diagnostics().reason().map(ToString::to_string).collect();
        // SECURITY: Cedar skips a policy that it cannot evaluate, so an erring forbid would open the door.
        let mut allow = answer.decision() == CedarDecision::Allow;
        for e in answer.diagnostics().errors() {
            error!("a policy could not be evaluated, so the request is denied: {e}");
            names.push(match e {
                cedar_policy::AuthorizationError::PolicyEvaluationError(e) => format!("error:{}", e.policy_id()),
            });
            allow = false;
        }
        names.sort_unstable();
        Ok(Decision { allow, policies: names })
    }

    /// What a built-in role gives.
    pub fn acts_of(&self, role: Role) -> BTreeSet<Action> {
        self.roles
            .get(&role)
            .map_or_else(BTreeSet::new, |role| role.actions.clone())
    }

    fn templates<'a>(&'a self, role: &RoleName, customs: &'a CustomRoles) -> Result<&'a Templates> {
        let known = match role {
            RoleName::BuiltIn(role) => self.roles.get(role),
            RoleName::Custom(name) => customs.templates(name),
        };
        known.ok_or_else(|| {
            let names = Role::ALL.map(|role| format!("`{role}`")).join(", ");
            Error::invalid(format!(
                "`{role}` is not a role: make it with `chancery role create`, or use one of {names}"
            ))
        })
    }

    /// Adds what an assignment is to a principal.
    fn link(
        &self,
        set: &mut PolicySet,
        principal: EntityUid,
        assignment: &Assignment,
        customs: &CustomRoles,
    ) -> Result<()> {
        let role = self.templates(&assignment.role, customs)?;
        let (name, scope) = (assignment.to_string(), &assignment.scope);
        match assignment.verdict {
            Verdict::Allow => {
                let forbid = format!("deny:{name}");
                self.link_to(set, role.forbid.as_ref(), &forbid, principal.clone(), scope)?;
                self.link_to(set, role.permit.as_ref(), &name, principal, scope)
            }
            Verdict::Deny => self.link_to(set, role.deny.as_ref(), &name, principal, scope),
        }
    }

    /// Adds what a role is, if it is anything, to a principal in a scope, as the policy `name`.
    fn link_to(
        &self,
        set: &mut PolicySet,
        template: Option<&Template>,
        name: &str,
        principal: EntityUid,
        scope: &Scope,
    ) -> Result<()> {
        let Some(template) = template else { return Ok(()) };
        if set.template(template.id()).is_none() {
            set.add_template(template.clone()).map_err(|e| broken("a role", e))?;
        }
        set.link(
            template.id().clone(),
            PolicyId::new(name),
            HashMap::from([
                (SlotId::principal(), principal),
                (SlotId::resource(), self.vocabulary.scope(scope)),
            ]),
        )
        .map_err(|e| broken(name, e))
    }
}

/// Whether an assignment to `who` can be one of the principal's.
///
/// SECURITY: whoever looks them up has chosen already; a mistake there must not give anybody another's role.
fn may_be(who: &Who, principal: &Principal) -> bool {
    match (who, principal) {
        (Who::Group(_), Principal::Spiffe(_)) => true,
        (Who::Identity(_) | Who::Prefix(_), Principal::Spiffe(id)) => who.is(id, []),
        (_, Principal::Account(_) | Principal::System(_)) => false,
    }
}

/// The schema's actions, which must be exactly [`Action::ALL`].
fn actions(schema: &Schema) -> Result<HashMap<Action, EntityUid>> {
    let mut actions = HashMap::new();
    for uid in schema.actions() {
        let action: Action = uid
            .id()
            .unescaped()
            .parse()
            .map_err(|e| broken("the schema's list of actions", e))?;
        actions.insert(action, uid.clone());
    }
    match Action::ALL.iter().find(|action| !actions.contains_key(action)) {
        Some(missing) => Err(Error::internal(format!("action `{missing}` is not in the schema"))),
        None => Ok(actions),
    }
}

fn validate(validator: &Validator, set: &PolicySet) -> Result<()> {
    let result = validator.validate(set, ValidationMode::Strict);
    match result.validation_errors().next() {
        Some(e) => Err(broken("a policy", e.to_string())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::id::Id;
    use crate::policy::{CustomRole, Group, SpiffeId, system};

    const NOW: Timestamp = Timestamp::from_unix(1_000);

    fn workload(name: &str) -> SpiffeId {
        format!("spiffe://chancery.test/{name}").parse().unwrap()
    }

    /// Of a workload by its name, or of whom the text means.
    fn assignment(seed: u64, who: &str, role: Role, scope: &str) -> Assignment {
        let id = Id::random(&SeededEntropy::new(seed)).unwrap();
        let who = who.parse().unwrap_or_else(|_| Who::Identity(workload(who)));
        Assignment::lasting(id, who, role, scope.parse().unwrap())
    }

    fn denial(seed: u64, who: &str, role: Role, scope: &str) -> Assignment {
        Assignment {
            verdict: Verdict::Deny,
            ..assignment(seed, who, role, scope)
        }
    }

    fn ask(engine: &Engine, who: &Principal, assignments: &[Assignment], action: Action, resource: &str) -> Decision {
        let slice = engine
            .slice(who, &[], assignments, &CustomRoles::default(), NOW)
            .unwrap();
        engine.decide(&slice, action, &resource.parse().unwrap())
    }

    #[test]
    fn nothing_is_permitted_unless_something_permits_it() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let other = assignment(1, "db", Role::Administrator, "/");
        let decision = ask(&engine, &who, &[other], Action::ReadSecret, "vaults/kv-prod/secrets/a");
        assert_eq!(
            decision,
            Decision {
                allow: false,
                policies: Vec::new()
            }
        );
    }

    #[test]
    fn a_role_holds_in_its_scope_and_names_itself() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        for (scope, inside, outside) in [
            ("/", "vaults/kv-prod/secrets/a", None),
            (
                "vaults/kv-prod",
                "vaults/kv-prod/secrets/a/b",
                Some("vaults/kv-prod-2/secrets/a"),
            ),
            (
                "vaults/kv-prod/secrets/",
                "vaults/kv-prod/secrets/a",
                Some("vaults/other/secrets/a"),
            ),
            (
                "vaults/kv-prod/secrets/a/",
                "vaults/kv-prod/secrets/a/b/c",
                Some("vaults/kv-prod/secrets/ab/c"),
            ),
            (
                "vaults/kv-prod/secrets/a/",
                "vaults/kv-prod/secrets/a/b",
                Some("vaults/kv-prod/secrets/a"),
            ),
            (
                "vaults/kv-prod/secrets/a",
                "vaults/kv-prod/secrets/a",
                Some("vaults/kv-prod/secrets/a/b"),
            ),
        ] {
            let held = assignment(7, "web", Role::SecretsUser, scope);
            let decision = ask(&engine, &who, std::slice::from_ref(&held), Action::ReadSecret, inside);
            assert!(decision.allow, "{scope} {inside}");
            assert_eq!(decision.policies, [format!("Secrets User@{scope}#{}", held.id)]);
            if let Some(outside) = outside {
                assert!(
                    !ask(&engine, &who, &[held], Action::ReadSecret, outside).allow,
                    "{scope} {outside}"
                );
            }
        }
    }

    #[test]
    fn an_assignment_ends_when_it_expires() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let ends = |seed, at| Assignment {
            expires: Some(Timestamp::from_unix(at)),
            ..assignment(seed, "web", Role::SecretsUser, "/")
        };
        let held = [ends(1, 1_000), ends(2, 1_005), ends(3, 1_001)];
        let slice = engine.slice(&who, &[], &held, &CustomRoles::default(), NOW).unwrap();
        assert_eq!(slice.until(), Some(Timestamp::from_unix(1_001)));
        let resource = "vaults/kv-prod/secrets/a".parse().unwrap();
        assert_eq!(engine.decide(&slice, Action::ReadSecret, &resource).policies.len(), 2);
        let slice = engine
            .slice(&who, &[], &held, &CustomRoles::default(), Timestamp::from_unix(1_005))
            .unwrap();
        assert!(!engine.decide(&slice, Action::ReadSecret, &resource).allow);
    }

    #[test]
    fn an_assignment_begins_when_it_is_said_to() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let held = [Assignment {
            not_before: Some(Timestamp::from_unix(1_005)),
            expires: Some(Timestamp::from_unix(1_010)),
            ..assignment(1, "web", Role::SecretsUser, "/")
        }];
        let resource = "vaults/kv-prod/secrets/a".parse().unwrap();
        for (now, allow, until) in [
            (1_004, false, Some(1_005)),
            (1_005, true, Some(1_010)),
            (1_010, false, None),
        ] {
            let slice = engine
                .slice(&who, &[], &held, &CustomRoles::default(), Timestamp::from_unix(now))
                .unwrap();
            assert_eq!(
                engine.decide(&slice, Action::ReadSecret, &resource).allow,
                allow,
                "{now}"
            );
            assert_eq!(slice.until(), until.map(Timestamp::from_unix), "{now}");
        }
    }

    #[test]
    fn r28_a_denial_wins_over_every_role_for_lists_too() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("team-a/web"));
        let held = [
            assignment(1, "team-a/web", Role::Administrator, "/"),
            assignment(2, "group:ops", Role::SecretsOfficer, "vaults/kv-prod/secrets/prod/db"),
            denial(
                3,
                "spiffe://chancery.test/team-a/*",
                Role::SecretsUser,
                "vaults/kv-prod/secrets/prod/",
            ),
        ];
        for action in [Action::ReadSecret, Action::ListSecrets, Action::ShowSecret] {
            let decision = ask(&engine, &who, &held, action, "vaults/kv-prod/secrets/prod/db");
            assert!(!decision.allow, "{action}");
            assert_eq!(
                decision.policies,
                [format!("deny:Secrets User@vaults/kv-prod/secrets/prod/#{}", held[2].id)]
            );
            assert!(ask(&engine, &who, &held, action, "vaults/kv-prod/secrets/test/db").allow);
        }
        // What the denied role does not hold is as it was.
        assert!(
            ask(
                &engine,
                &who,
                &held,
                Action::SetSecret,
                "vaults/kv-prod/secrets/prod/db"
            )
            .allow
        );
    }

    #[test]
    fn a_role_of_ones_own_gives_and_takes_what_it_says() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let customs = CustomRoles::new([
            CustomRole {
                name: "Writer".parse().unwrap(),
                allow: BTreeSet::from([Action::SetSecret, Action::ShowSecret]),
                deny: BTreeSet::from([Action::ReadSecret]),
            },
            CustomRole {
                name: "Guard".parse().unwrap(),
                allow: BTreeSet::new(),
                deny: BTreeSet::from([Action::DeleteSecret]),
            },
        ])
        .unwrap();
        let held = |seed, name: &str, verdict| Assignment {
            role: name.parse().unwrap(),
            verdict,
            ..assignment(seed, "web", Role::Reader, "vaults/kv-prod")
        };
        let (writer, guard) = (held(1, "Writer", Verdict::Allow), held(2, "Guard", Verdict::Allow));
        let officer = assignment(3, "web", Role::SecretsOfficer, "/");
        let slice = engine
            .slice(&who, &[], [&writer, &guard, &officer], &customs, NOW)
            .unwrap();
        let decide = |action, vault: &str| {
            let resource = format!("vaults/{vault}/secrets/a").parse().unwrap();
            engine.decide(&slice, action, &resource)
        };
        let read = decide(Action::ReadSecret, "kv-prod");
        assert_eq!((read.allow, read.policies), (false, vec![format!("deny:{writer}")]));
        assert!(!decide(Action::DeleteSecret, "kv-prod").allow);
        assert!(decide(Action::DeleteSecret, "kv-test").allow);
        let set = decide(Action::SetSecret, "kv-prod");
        assert!(set.allow && set.policies.contains(&writer.to_string()), "{set:?}");

        for good in [&writer, &guard, &held(4, "Writer", Verdict::Deny)] {
            engine.check(good, &customs).unwrap();
        }
        let nothing = engine.check(&held(5, "Guard", Verdict::Deny), &customs).unwrap_err();
        assert!(nothing.public().contains("holds no action"), "{nothing}");
        let unknown = engine.check(&held(6, "Nobody", Verdict::Allow), &customs).unwrap_err();
        assert!(unknown.public().contains("role create"), "{unknown}");
        assert!(
            engine
                .slice(&who, &[], [&writer], &CustomRoles::default(), NOW)
                .is_err()
        );
    }

    #[test]
    fn a_denial_that_could_lock_everybody_out_is_refused() {
        let engine = Engine::new().unwrap();
        let refused = engine
            .check(&denial(1, "web", Role::Administrator, "/"), &CustomRoles::default())
            .unwrap_err();
        assert!(refused.public().contains("right to change roles"), "{refused}");
        for (role, scope) in [
            (Role::Administrator, "vaults/kv-prod"),
            (Role::KeyVaultAdministrator, "/"),
        ] {
            engine
                .check(&denial(1, "web", role, scope), &CustomRoles::default())
                .unwrap();
        }
        assert!(
            engine
                .check(
                    &denial(1, "web", Role::SecretsUser, "authorities/internal"),
                    &CustomRoles::default()
                )
                .is_err()
        );
    }

    #[test]
    fn everybody_may_reenroll_as_itself_only() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let own = ask(
            &engine,
            &who,
            &[],
            Action::Reenroll,
            "identities/spiffe://chancery.test/web",
        );
        assert!(own.allow);
        assert_eq!(own.policies, ["builtin:reenroll"]);
        assert!(
            !ask(
                &engine,
                &who,
                &[],
                Action::Reenroll,
                "identities/spiffe://chancery.test/db"
            )
            .allow
        );
        let admin = assignment(1, "web", Role::Administrator, "/");
        assert!(
            !ask(
                &engine,
                &who,
                &[admin],
                Action::Reenroll,
                "identities/spiffe://chancery.test/db"
            )
            .allow
        );
    }

    #[test]
    fn deny_wins_over_permit() {
        let permit_all = format!("{BUILTIN}\n@id(\"all\") permit (principal, action, resource);");
        let engine = Engine::load(SCHEMA, ROLES, &permit_all).unwrap();
        let who = Principal::System(system::SCHEDULER);
        let decision = ask(&engine, &who, &[], Action::ReadSecret, "vaults/kv-prod/secrets/a");
        assert!(!decision.allow);
        assert_eq!(decision.policies, ["builtin:no-system-reads"]);
        assert!(ask(&engine, &who, &[], Action::ShowSecret, "vaults/kv-prod/secrets/a").allow);
    }

    #[test]
    fn an_evaluation_error_is_a_denial() {
        let erring = format!(
            "{BUILTIN}\n@id(\"erring\") forbid (principal, action == Action::\"ReadSecret\", resource) \
             when {{ 9223372036854775807 + 1 == 0 }};"
        );
        let engine = Engine::load(SCHEMA, ROLES, &erring).unwrap();
        let who = Principal::Spiffe(workload("web"));
        let held = assignment(1, "web", Role::SecretsUser, "/");
        let decision = ask(&engine, &who, &[held], Action::ReadSecret, "vaults/kv-prod/secrets/a");
        assert!(!decision.allow);
        assert!(decision.policies.contains(&"error:erring".to_owned()), "{decision:?}");
    }

    #[test]
    fn an_action_on_a_resource_it_does_not_apply_to_is_a_denial() {
        let engine = Engine::new().unwrap();
        let who = Principal::Spiffe(workload("web"));
        let held = assignment(1, "web", Role::Administrator, "/");
        let decision = ask(&engine, &who, &[held], Action::ReadSecret, "audit");
        assert!(!decision.allow);
        assert_eq!(decision.policies, ["error:request"]);
    }

    #[test]
    fn a_policy_that_does_not_hold_together_is_refused_on_load() {
        let refused =
            |schema: &str, roles: &str, builtin: &str| Engine::load(schema, roles, builtin).err().unwrap().detail();
        let unknown_action = BUILTIN.replace("Action::\"CloseIntent\"", "Action::\"CloseDoor\"");
        assert!(refused(SCHEMA, ROLES, &unknown_action).contains("CloseDoor"));
        let missing_role = ROLES.replace("@id(\"Secrets User\")", "@id(\"Secrets Officer\")");
        assert!(refused(SCHEMA, &missing_role, BUILTIN).contains("Secrets Officer"));
        let missing_action = SCHEMA.replace("\"ReadSecret\", ", "");
        assert!(refused(&missing_action, ROLES, BUILTIN).contains("ReadSecret"));
        let ill_typed =
            format!("{BUILTIN}\n@id(\"x\") permit (principal, action, resource) when {{ resource.color == 1 }};");
        assert!(refused(SCHEMA, ROLES, &ill_typed).contains("color"));
        let mut many = String::from(BUILTIN);
        for number in 0..MAX_OPEN {
            many.push_str(&format!("@id(\"open-{number}\") permit (principal, action, resource);"));
        }
        assert!(refused(SCHEMA, ROLES, &many).contains("at most 256"));
    }

    #[test]
    fn a_role_without_an_action_in_its_scope_is_refused() {
        let engine = Engine::new().unwrap();
        let error = engine
            .check(
                &assignment(1, "web", Role::SecretsUser, "authorities/internal"),
                &CustomRoles::default(),
            )
            .unwrap_err();
        assert!(error.public().contains("`Secrets User` holds no action"), "{error}");
        engine
            .check(
                &assignment(1, "web", Role::CertificatesOfficer, "authorities/internal"),
                &CustomRoles::default(),
            )
            .unwrap();
        engine
            .check(&assignment(1, "web", Role::Auditor, "audit"), &CustomRoles::default())
            .unwrap();
        for action in [
            Action::ListRoles,
            Action::ReadAuditLog,
            Action::ShowIdentity,
            Action::ShowAcmeAccount,
        ] {
            let one = CustomRole {
                name: "One".parse().unwrap(),
                allow: BTreeSet::from([action]),
                deny: BTreeSet::new(),
            };
            let held = Assignment {
                role: one.name.clone().into(),
                ..assignment(1, "web", Role::Reader, "/")
            };
            engine.check(&held, &CustomRoles::new([one]).unwrap()).unwrap();
        }
        for role in Role::ALL {
            let checked = engine.check(&assignment(1, "web", role, "/"), &CustomRoles::default());
            assert_eq!(checked.is_err(), role.is_for_accounts(), "{role}");
        }
        let too_long = format!("vaults/kv-prod/secrets/{}/", "a".repeat(255));
        assert!(
            engine
                .check(
                    &assignment(1, "web", Role::SecretsUser, &too_long),
                    &CustomRoles::default()
                )
                .is_err()
        );
    }

    #[test]
    fn the_built_in_policies_validate_without_a_warning() {
        let engine = Engine::new().unwrap();
        let mut all = engine.open.clone();
        for template in engine.roles.values().flat_map(Templates::all) {
            all.add_template(template.clone()).unwrap();
        }
        let result = engine.validator.validate(&all, ValidationMode::Strict);
        assert!(result.validation_passed_without_warnings(), "{result}");
    }

    #[test]
    fn entities_conform_to_the_schema() {
        let engine = Engine::new().unwrap();
        for path in [
            "/",
            "audit",
            "authorities/internal",
            "identities",
            "identities/spiffe://chancery.test/web",
            "issuers/pebble",
            "policy",
            "vaults/kv-prod",
            "vaults/kv-prod/secrets/a/b/c",
            "vaults/kv-prod/certificates/www",
        ] {
            let ancestry = engine.vocabulary.ancestry(&path.parse().unwrap()).unwrap();
            Entities::from_entities(ancestry, Some(&engine.schema)).unwrap();
        }
    }

    static ENGINE: LazyLock<Engine> = LazyLock::new(|| Engine::new().unwrap());

    fn an_assignment() -> impl Strategy<Value = Assignment> {
        let scope = prop::sample::select(vec![
            "/",
            "audit",
            "authorities/internal",
            "issuers/pebble",
            "vaults/v1",
            "vaults/v2",
            "vaults/v1/secrets/",
            "vaults/v1/secrets/a/",
            "vaults/v1/secrets/a/b/",
            "vaults/v1/secrets/a",
            "vaults/v1/certificates/",
            "vaults/v2/certificates/www",
        ]);
        let who = prop::sample::select(vec![
            "a",
            "team/b",
            "spiffe://chancery.test/*",
            "spiffe://chancery.test/team/*",
            "group:ops",
            "group:dev",
        ]);
        let roles = Role::ALL.into_iter().filter(|role| !role.is_for_accounts());
        let role = prop::sample::select(roles.collect::<Vec<_>>());
        let time = || prop::option::of((0..2_000_i64).prop_map(Timestamp::from_unix));
        let verdict = prop::sample::select(vec![Verdict::Allow, Verdict::Allow, Verdict::Deny]);
        (any::<u64>(), who, role, scope, verdict, time(), time()).prop_map(
            |(seed, who, role, scope, verdict, not_before, expires)| Assignment {
                verdict,
                not_before,
                expires,
                ..assignment(seed, who, role, scope)
            },
        )
    }

    fn a_principal() -> impl Strategy<Value = Principal> {
        let workloads = ["a", "team/b", "team", "d"].map(|name| Principal::Spiffe(workload(name)));
        prop::sample::select(
            workloads
                .into_iter()
                .chain(system::ALL.map(Principal::System))
                .collect::<Vec<_>>(),
        )
    }

    fn a_resource() -> impl Strategy<Value = Resource> {
        let resources = [
            "/",
            "audit",
            "authorities/internal",
            "identities",
            "identities/spiffe://chancery.test/a",
            "issuers/pebble",
            "policy",
            "vaults/v1",
            "vaults/v2",
            "vaults/v1/secrets/a",
            "vaults/v1/secrets/a/b",
            "vaults/v1/secrets/a/b/c",
            "vaults/v2/secrets/a",
            "vaults/v1/certificates/www",
            "vaults/v2/certificates/www",
        ];
        prop::sample::select(resources.map(|path| path.parse().unwrap()).to_vec())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// The slice decides as a plain reading of the assignments does.
        #[test]
        fn the_slice_decides_as_the_assignments_say(
            assignments in prop::collection::vec(an_assignment(), 0..10),
            principal in a_principal(),
            resource in a_resource(),
            is_in_ops in any::<bool>(),
        ) {
            let engine = &*ENGINE;
            let groups: Vec<Group> = is_in_ops.then(|| "ops".parse().unwrap()).into_iter().collect();
            let own: Vec<&Assignment> = assignments
                .iter()
                .filter(|one| matches!(&principal, Principal::Spiffe(id) if one.who.is(id, &groups)))
                .collect();
            // Of the others, those that are not somebody else's by name are left out: groups are the caller's to know.
            let given = assignments.iter().filter(|one| own.contains(one) || !matches!(one.who, Who::Group(_)));
            let slice = engine.slice(&principal, &[], given, &CustomRoles::default(), NOW).unwrap();
            let system = engine.slice(&principal, &[], [], &CustomRoles::default(), NOW).unwrap();
            let scopes = resource.scopes();
            for action in Action::ALL {
                let decision = engine.decide(&slice, *action, &resource);
                if decision.policies == ["error:request"] {
                    prop_assert!(!decision.allow);
                    continue;
                }
                let says = |verdict| own.iter().any(|one| {
                    let RoleName::BuiltIn(role) = &one.role else { return false };
                    one.verdict == verdict
                        && one.holds(NOW)
                        && scopes.contains(&one.scope)
                        && engine.roles[role].actions.contains(action)
                });
                let without = engine.decide(&system, *action, &resource).allow;
                let expected = (without || says(Verdict::Allow)) && !says(Verdict::Deny);
                prop_assert_eq!(decision.allow, expected, "{}", action);
            }
        }
    }

    #[test]
    fn scopes_and_resources_spell_their_paths_alike() {
        let engine = Engine::new().unwrap();
        for path in ["/", "audit", "issuers/pebble", "vaults/v1", "vaults/v1/secrets/a"] {
            let scope: Scope = path.parse().unwrap();
            let resource: Resource = path.parse().unwrap();
            assert_eq!(engine.vocabulary.scope(&scope), engine.vocabulary.resource(&resource));
        }
    }
}
