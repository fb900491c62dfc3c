//! The decision, by Cedar.
//!
//! Cedar's cost is linear in the policies of a set, whomever they are about, so a decision never looks at all of
//! them: it looks at a [`Slice`], which holds the assignments of one principal and the few policies that are open to
//! anybody.

use std::collections::HashMap;
use std::str::FromStr;

use cedar_policy::{
    Authorizer, Context, Decision as CedarDecision, Entities, EntityUid, Policy, PolicyId, PolicySet,
    PrincipalConstraint, Request, Schema, SlotId, ValidationMode, Validator,
};
use tracing::error;

use super::action::Action;
use super::entities::{Vocabulary, broken};
use super::principal::{AcmeAccount, Principal};
use super::resource::Resource;
use super::role::Role;
use super::scope::{Assignment, Scope};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;

const SCHEMA: &str = include_str!("schema.cedarschema");
const ROLES: &str = include_str!("roles.cedar");
const BUILTIN: &str = include_str!("builtin.cedar");

/// How many policies may be open to more than one principal: each of them costs every decision a microsecond.
const MAX_OPEN: usize = 256;

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

/// All policies that can matter for one principal.
pub struct Slice {
    principal: EntityUid,
    policies: PolicySet,
    until: Option<Timestamp>,
}

impl Slice {
    /// From this moment on the slice says nothing any more, because an assignment in it has ended.
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
    /// The roles as templates, and the policies that are open to more than one principal.
    open: PolicySet,
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

    fn load(schema: &str, roles: &str, builtin: &str) -> Result<Self> {
        let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|e| broken("the schema", e))?;
        let vocabulary = Vocabulary::new()?;
        let actions = actions(&schema)?;
        let mut open = role_templates(roles)?;
        let mut by_system: HashMap<EntityUid, Vec<Policy>> = HashMap::new();
        let parsed = PolicySet::from_str(builtin).map_err(|e| broken("`builtin.cedar`", e))?;
        let mut all = open.clone();
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
            open,
            schema,
            validator,
            vocabulary,
        })
    }

    /// Checks that an assignment can mean something: its role holds at least one action in its scope.
    ///
    /// # Errors
    /// `Invalid`, if it cannot.
    pub fn check(&self, assignment: &Assignment) -> Result<()> {
        if assignment.role.is_for_accounts() {
            return Err(Error::invalid(format!(
                "role `{}` is for accounts of the ACME server: give it by the key that they are made with",
                assignment.role
            )));
        }
        let mut set = PolicySet::new();
        for template in self.open.templates() {
            set.add_template(template.clone()).map_err(|e| broken("a role", e))?;
        }
        self.link(&mut set, assignment)?;
        validate(&self.validator, &set)?;
        let principal = self
            .vocabulary
            .principal(&Principal::Spiffe(assignment.principal.clone()));
        let means_something = assignment.scope.samples().iter().any(|resource| {
            Action::ALL.iter().any(|action| {
                self.evaluate(&principal, &set, *action, resource)
                    .is_ok_and(|decision| decision.allow)
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

    /// The slice for `principal`: its own among `assignments` that hold at `now`, or the role of an account that was made
    /// for one, and the built-in policies that can match it.
    ///
    /// # Errors
    /// `Internal`, if an assignment is not valid in strict mode; the caller must then deny.
    pub fn slice(&self, principal: &Principal, assignments: &[Assignment], now: Timestamp) -> Result<Slice> {
        let uid = self.vocabulary.principal(principal);
        let mut policies = self.open.clone();
        for policy in self.by_system.get(&uid).into_iter().flatten() {
            policies
                .add(policy.clone())
                .map_err(|e| broken("a built-in policy", e))?;
        }
        let mut until = None;
        let own = assignments
            .iter()
            .filter(|a| matches!(principal, Principal::Spiffe(id) if *id == a.principal) && a.holds(now));
        let mut linked = false;
        for assignment in own {
            self.link(&mut policies, assignment)?;
            until = [until, assignment.expires].into_iter().flatten().min();
            linked = true;
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
            self.link_to(
                uid.clone(),
                &mut policies,
                *id,
                *role,
                &Scope::Authority(authority.clone()),
            )?;
            linked = true;
        }
        if linked {
            validate(&self.validator, &policies)?;
        }
        Ok(Slice {
            principal: uid,
            policies,
            until,
        })
    }

    /// Whether the slice's principal may do `action` on `resource`. Whatever goes wrong is a denial.
    pub fn decide(&self, slice: &Slice, action: Action, resource: &Resource) -> Decision {
        match self.evaluate(&slice.principal, &slice.policies, action, resource) {
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

    fn evaluate(
        &self,
        principal: &EntityUid,
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
        let entities = Entities::from_entities(self.vocabulary.ancestry(resource)?, None)
            .map_err(|e| broken("the resource", e))?;
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

    fn link(&self, set: &mut PolicySet, assignment: &Assignment) -> Result<()> {
        let principal = self
            .vocabulary
            .principal(&Principal::Spiffe(assignment.principal.clone()));
        self.link_to(principal, set, assignment.id, assignment.role, &assignment.scope)
    }

    /// Adds what a role is to somebody in a scope; `id` is the assignment's, or the account's that was made for it.
    fn link_to(&self, principal: EntityUid, set: &mut PolicySet, id: Id, role: Role, scope: &Scope) -> Result<()> {
        let name = format!("{role}@{scope}#{id}");
        set.link(
            PolicyId::new(role.as_str()),
            PolicyId::new(&name),
            HashMap::from([
                (SlotId::principal(), principal),
                (SlotId::resource(), self.vocabulary.scope(scope)),
            ]),
        )
        .map_err(|e| broken(&name, e))
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

/// One template for each role, named as the role.
fn role_templates(text: &str) -> Result<PolicySet> {
    let parsed = PolicySet::from_str(text).map_err(|e| broken("`roles.cedar`", e))?;
    let mut set = PolicySet::new();
    for template in parsed.templates() {
        let role: Role = template
            .annotation("id")
            .ok_or_else(|| Error::internal("a template in `roles.cedar` has no `@id`"))?
            .parse()
            .map_err(|e| broken("`roles.cedar`", e))?;
        set.add_template(template.new_id(PolicyId::new(role.as_str())))
            .map_err(|e| broken(role.as_str(), e))?;
    }
    if parsed.policies().next().is_some() {
        return Err(Error::internal("`roles.cedar` may hold templates only"));
    }
    match Role::ALL
        .iter()
        .find(|role| set.template(&PolicyId::new(role.as_str())).is_none())
    {
        Some(missing) => Err(Error::internal(format!(
            "role `{missing}` has no template in `roles.cedar`"
        ))),
        None => Ok(set),
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
    use crate::policy::{SpiffeId, system};

    const NOW: Timestamp = Timestamp::from_unix(1_000);

    fn workload(name: &str) -> SpiffeId {
        format!("spiffe://chancery.test/{name}").parse().unwrap()
    }

    fn assignment(seed: u64, who: &str, role: Role, scope: &str) -> Assignment {
        Assignment {
            id: Id::random(&SeededEntropy::new(seed)).unwrap(),
            principal: workload(who),
            role,
            scope: scope.parse().unwrap(),
            expires: None,
        }
    }

    fn ask(engine: &Engine, who: &Principal, assignments: &[Assignment], action: Action, resource: &str) -> Decision {
        let slice = engine.slice(who, assignments, NOW).unwrap();
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
        let slice = engine.slice(&who, &held, NOW).unwrap();
        assert_eq!(slice.until(), Some(Timestamp::from_unix(1_001)));
        let resource = "vaults/kv-prod/secrets/a".parse().unwrap();
        assert_eq!(engine.decide(&slice, Action::ReadSecret, &resource).policies.len(), 2);
        let slice = engine.slice(&who, &held, Timestamp::from_unix(1_005)).unwrap();
        assert!(!engine.decide(&slice, Action::ReadSecret, &resource).allow);
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
            .check(&assignment(1, "web", Role::SecretsUser, "authorities/internal"))
            .unwrap_err();
        assert!(error.public().contains("`Secrets User` holds no action"), "{error}");
        engine
            .check(&assignment(1, "web", Role::CertificatesOfficer, "authorities/internal"))
            .unwrap();
        engine.check(&assignment(1, "web", Role::Auditor, "audit")).unwrap();
        for role in Role::ALL {
            let checked = engine.check(&assignment(1, "web", role, "/"));
            assert_eq!(checked.is_err(), role.is_for_accounts(), "{role}");
        }
        let too_long = format!("vaults/kv-prod/secrets/{}/", "a".repeat(255));
        assert!(
            engine
                .check(&assignment(1, "web", Role::SecretsUser, &too_long))
                .is_err()
        );
    }

    #[test]
    fn the_built_in_policies_validate_without_a_warning() {
        let engine = Engine::new().unwrap();
        let result = engine.validator.validate(&engine.open, ValidationMode::Strict);
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
        let who = prop::sample::select(vec!["a", "b", "c"]);
        let role = prop::sample::select(Role::ALL.to_vec());
        let expires = prop::option::of((0..2_000_i64).prop_map(Timestamp::from_unix));
        (any::<u64>(), who, role, scope, expires).prop_map(|(seed, who, role, scope, expires)| Assignment {
            expires,
            ..assignment(seed, who, role, scope)
        })
    }

    fn a_principal() -> impl Strategy<Value = Principal> {
        let workloads = ["a", "b", "c", "d"].map(|name| Principal::Spiffe(workload(name)));
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

        /// The slice decides as the whole set would.
        #[test]
        fn the_slice_decides_as_the_whole_set(
            assignments in prop::collection::vec(an_assignment(), 0..10),
            principal in a_principal(),
            resource in a_resource(),
        ) {
            let engine = &*ENGINE;
            let mut whole = engine.open.clone();
            for policy in engine.by_system.values().flatten() {
                whole.add(policy.clone()).unwrap();
            }
            for assignment in assignments.iter().filter(|a| a.holds(NOW)) {
                engine.link(&mut whole, assignment).unwrap();
            }
            let slice = engine.slice(&principal, &assignments, NOW).unwrap();
            let uid = engine.vocabulary.principal(&principal);
            for action in Action::ALL {
                if let Ok(expected) = engine.evaluate(&uid, &whole, *action, &resource) {
                    prop_assert_eq!(engine.decide(&slice, *action, &resource), expected, "{}", action);
                }
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
