//! Roles as Cedar's templates: the built-in ones, and those that people make.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;

use cedar_policy::{ActionConstraint, Effect, PolicyId, PolicySet, Template};

use super::action::Action;
use super::entities::broken;
use super::role::{CustomName, Role};
use crate::error::{Error, Result};

/// The acts by which a denial is taken back: whoever is denied those everywhere cannot help themselves.
const CHANGES_ROLES: [Action; 2] = [Action::AssignRole, Action::RevokeRoleAssignment];

/// A role as templates, which are linked for each assignment.
pub(super) struct Templates {
    /// What an assignment gives.
    pub(super) actions: BTreeSet<Action>,
    /// What a denial takes; for accounts of the ACME server, and of a role that gives nothing, there is none.
    pub(super) deny: Option<Template>,
    /// What an assignment takes.
    pub(super) forbid: Option<Template>,
    /// What an assignment gives.
    pub(super) permit: Option<Template>,
}

impl Templates {
    pub(super) fn all(&self) -> impl Iterator<Item = &Template> {
        [&self.deny, &self.forbid, &self.permit].into_iter().flatten()
    }

    /// Whether a denial of it at `/` would take away the way back.
    pub(super) fn changes_roles(&self) -> bool {
        changes_roles(&self.actions)
    }

    /// A role of these acts; `plain` is its name.
    fn of(plain: &str, allow: &BTreeSet<Action>, deny: &BTreeSet<Action>) -> Result<Self> {
        let made = |name: String, effect, actions: &BTreeSet<Action>| match actions.is_empty() {
            true => Ok(None),
            false => template_of(&name, effect, actions).map(Some),
        };
        Ok(Self {
            actions: allow.clone(),
            deny: made(format!("deny:{plain}"), Effect::Forbid, allow)?,
            forbid: made(format!("forbid:{plain}"), Effect::Forbid, deny)?,
            permit: made(plain.to_owned(), Effect::Permit, allow)?,
        })
    }
}

fn changes_roles(actions: &BTreeSet<Action>) -> bool {
    CHANGES_ROLES.iter().any(|action| actions.contains(action))
}

/// The templates of each built-in role, named as the role.
pub(super) fn built_in(text: &str) -> Result<HashMap<Role, Templates>> {
    let parsed = PolicySet::from_str(text).map_err(|e| broken("`roles.cedar`", e))?;
    if parsed.policies().next().is_some() {
        return Err(Error::internal("`roles.cedar` may hold templates only"));
    }
    let mut roles = HashMap::new();
    for template in parsed.templates() {
        let role: Role = template
            .annotation("id")
            .ok_or_else(|| Error::internal("a template in `roles.cedar` has no `@id`"))?
            .parse()
            .map_err(|e| broken("`roles.cedar`", e))?;
        let ActionConstraint::In(uids) = template.action_constraint() else {
            return Err(Error::internal(format!("role `{role}` does not list its actions")));
        };
        let actions = uids
            .iter()
            .map(|uid| uid.id().unescaped().parse())
            .collect::<Result<BTreeSet<Action>>>()
            .map_err(|e| broken(role.as_str(), e))?;
        let mut templates = Templates::of(role.as_str(), &actions, &BTreeSet::new())?;
        // What stands in the file, with its conditions.
        templates.permit = Some(template.new_id(PolicyId::new(role.as_str())));
        if role.is_for_accounts() {
            templates.deny = None;
        }
        if roles.insert(role, templates).is_some() {
            return Err(Error::internal(format!("role `{role}` is there twice")));
        }
    }
    match Role::ALL.iter().find(|role| !roles.contains_key(role)) {
        Some(missing) => Err(Error::internal(format!(
            "role `{missing}` has no template in `roles.cedar`"
        ))),
        None => Ok(roles),
    }
}

/// A role that gives or takes these actions, as a template.
fn template_of(name: &str, effect: Effect, actions: &BTreeSet<Action>) -> Result<Template> {
    let list: Vec<String> = actions.iter().map(|action| format!("Action::\"{action}\"")).collect();
    let text = format!(
        "{effect} (principal == ?principal, action in [{}], resource in ?resource);",
        list.join(", ")
    );
    Template::parse(Some(PolicyId::new(name)), text).map_err(|e| broken(name, e))
}

/// A role that somebody made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CustomRole {
    /// Its name.
    pub name: CustomName,
    /// What whoever holds it may do.
    pub allow: BTreeSet<Action>,
    /// What whoever holds it may not do, whatever else allows it.
    pub deny: BTreeSet<Action>,
}

impl CustomRole {
    /// Whether it can be made: it says something, and only of what people may do.
    ///
    /// INVARIANT: no role takes the right to change roles from whoever holds it.
    ///
    /// # Errors
    /// `Invalid`.
    pub fn check(&self, engine: &super::Engine) -> Result<()> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Err(Error::invalid(
                "the role allows nothing and denies nothing: name actions",
            ));
        }
        if let Some(both) = self.allow.intersection(&self.deny).next() {
            return Err(Error::invalid(format!(
                "the role allows and denies `{both}`: leave it out of one of the two"
            )));
        }
        let people = engine.acts_of(Role::Administrator);
        if let Some(other) = self.allow.union(&self.deny).find(|action| !people.contains(action)) {
            return Err(Error::invalid(format!(
                "`{other}` is not for people, and no role gives or takes it: leave it out"
            )));
        }
        if changes_roles(&self.deny) {
            return Err(Error::invalid(
                "a role cannot deny `AssignRole` or `RevokeRoleAssignment`: who holds it could not be helped. Take \
                 those from somebody by taking back what gives them",
            ));
        }
        Ok(())
    }

    /// Whether it gives the right to change roles.
    pub fn changes_roles(&self) -> bool {
        changes_roles(&self.allow)
    }
}

/// All roles that people made. Cheap to clone.
#[derive(Clone, Default)]
pub struct CustomRoles(Arc<BTreeMap<CustomName, Made>>);

#[derive(Clone)]
struct Made {
    role: CustomRole,
    templates: Arc<Templates>,
}

impl CustomRoles {
    /// These roles.
    ///
    /// # Errors
    /// `Internal`, if one does not hold together.
    pub fn new(roles: impl IntoIterator<Item = CustomRole>) -> Result<Self> {
        let made = roles.into_iter().map(|role| {
            let templates = Templates::of(role.name.as_str(), &role.allow, &role.deny)?;
            let templates = Arc::new(templates);
            Ok((role.name.clone(), Made { role, templates }))
        });
        made.collect::<Result<BTreeMap<_, _>>>()
            .map(|roles| Self(Arc::new(roles)))
    }

    /// These, with another one or the same one changed.
    ///
    /// # Errors
    /// As [`CustomRoles::new`].
    pub fn with(&self, role: CustomRole) -> Result<Self> {
        let others = self.all().filter(|other| other.name != role.name).cloned();
        Self::new(others.chain([role.clone()]).collect::<Vec<_>>())
    }

    /// These without one.
    pub fn without(&self, name: &CustomName) -> Self {
        let mut roles = BTreeMap::clone(&self.0);
        roles.remove(name);
        Self(Arc::new(roles))
    }

    /// One of them.
    pub fn get(&self, name: &CustomName) -> Option<&CustomRole> {
        self.0.get(name).map(|made| &made.role)
    }

    /// All of them, in the order of their names.
    pub fn all(&self) -> impl Iterator<Item = &CustomRole> {
        self.0.values().map(|made| &made.role)
    }

    pub(super) fn templates(&self, name: &CustomName) -> Option<&Templates> {
        self.0.get(name).map(|made| &*made.templates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Engine;

    fn role(allow: &[Action], deny: &[Action]) -> CustomRole {
        CustomRole {
            name: "Deploy".parse().unwrap(),
            allow: allow.iter().copied().collect(),
            deny: deny.iter().copied().collect(),
        }
    }

    #[test]
    fn a_role_of_ones_own_says_something_and_of_people_only() {
        let engine = Engine::new().unwrap();
        for good in [
            role(&[Action::ReadSecret], &[]),
            role(&[], &[Action::ReadSecret]),
            role(&[Action::AssignRole], &[Action::ReadSecret]),
        ] {
            good.check(&engine).unwrap();
        }
        for (bad, says) in [
            (role(&[], &[]), "nothing"),
            (role(&[Action::ReadSecret], &[Action::ReadSecret]), "allows and denies"),
            (role(&[Action::CloseIntent], &[]), "not for people"),
            (role(&[], &[Action::FinalizeAcmeOrder]), "not for people"),
            (role(&[], &[Action::RevokeRoleAssignment]), "could not be helped"),
        ] {
            let error = bad.check(&engine).unwrap_err();
            assert!(error.public().contains(says), "{error}");
        }
    }

    #[test]
    fn roles_come_change_and_go() {
        let name = "Deploy".parse().unwrap();
        let first = CustomRoles::new([role(&[Action::ReadSecret], &[])]).unwrap();
        let changed = first.with(role(&[Action::SetSecret], &[])).unwrap();
        assert_eq!(first.get(&name), Some(&role(&[Action::ReadSecret], &[])));
        assert_eq!(changed.all().collect::<Vec<_>>(), [&role(&[Action::SetSecret], &[])]);
        assert!(changed.without(&name).get(&name).is_none());
    }
}
