//! Role assignments in the store.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select, sea_query::Expr,
};

use super::index::Member;
use super::{Origin, RoleAssignment, StoredRole};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{Action, Assignment, CustomName, CustomRole, Group, Role, RoleName, Scope, SpiffeId, Verdict};
use crate::store::entity::role_assignment::{self, Column, Entity};
use crate::store::entity::{custom_role, identity_group};
use crate::store::{Tx, is_unique_violation};

pub(super) async fn all(conn: &DatabaseConnection) -> Result<Vec<Assignment>> {
    let rows = Entity::find().order_by_asc(Column::Id).all(conn).await?;
    rows.into_iter().map(|row| Ok(parse(row)?.assignment)).collect()
}

pub(super) async fn page(conn: &DatabaseConnection, after: Option<Id>, limit: u32) -> Result<Vec<RoleAssignment>> {
    let mut query = Entity::find().order_by_asc(Column::Id).limit(u64::from(limit));
    if let Some(after) = after {
        query = query.filter(Column::Id.gt(after.to_string()));
    }
    query.all(conn).await?.into_iter().map(parse).collect()
}

/// Inserts the assignment. One that says the same and has ended makes room.
pub(super) async fn insert(tx: &Tx, assignment: &Assignment, now: Timestamp) -> Result<Vec<Id>> {
    let same = Condition::all()
        .add(Column::Principal.eq(assignment.who.to_string()))
        .add(Column::Role.eq(stored_role(assignment)))
        .add(Column::Scope.eq(assignment.scope.to_string()));
    let ended = Entity::find()
        .filter(same)
        .filter(Column::ExpiresAt.lte(now.unix()))
        .all(tx.conn())
        .await?;
    let mut gone = Vec::new();
    for row in ended {
        Entity::delete_by_id(row.id.clone()).exec(tx.conn()).await?;
        gone.push(row.id.parse()?);
    }
    let row = role_assignment::ActiveModel {
        id: Set(assignment.id.to_string()),
        principal: Set(assignment.who.to_string()),
        role: Set(stored_role(assignment)),
        scope: Set(assignment.scope.to_string()),
        not_before: Set(assignment.not_before.map(Timestamp::unix)),
        expires_at: Set(assignment.expires.map(Timestamp::unix)),
        created_at: Set(now.unix()),
    };
    match Entity::insert(row).exec_without_returning(tx.conn()).await {
        Ok(_) => Ok(gone),
        Err(e) if is_unique_violation(&e) => Err(Error::conflict(format!(
            "`{}` {} the role `{}` in `{}` already: revoke that assignment first to change it",
            assignment.who,
            match assignment.verdict {
                Verdict::Allow => "holds",
                Verdict::Deny => "is denied",
            },
            assignment.role,
            assignment.scope
        ))),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn find<C: ConnectionTrait>(conn: &C, id: Id) -> Result<Option<Assignment>> {
    let row = Entity::find_by_id(id.to_string()).one(conn).await?;
    row.map(|row| Ok(parse(row)?.assignment)).transpose()
}

pub(super) async fn delete(tx: &Tx, id: Id) -> Result<()> {
    Entity::delete_by_id(id.to_string()).exec(tx.conn()).await?;
    Ok(())
}

/// The assignments of the Administrator role to the service as a whole that neither begin nor end, locked until the
/// transaction ends: of two nodes that each remove one of the last two, the second waits for the first and sees what it
/// did.
pub(super) async fn lock_administrators(tx: &Tx) -> Result<Vec<Assignment>> {
    let rows = find_administrators().lock_exclusive().all(tx.conn()).await?;
    lasting(rows)
}

/// As [`lock_administrators`], to look only.
pub(super) async fn administrators(conn: &DatabaseConnection) -> Result<Vec<Assignment>> {
    let rows = find_administrators().all(conn).await?;
    lasting(rows)
}

fn lasting(rows: Vec<role_assignment::Model>) -> Result<Vec<Assignment>> {
    let mut found = rows
        .into_iter()
        .map(|row| Ok(parse(row)?.assignment))
        .collect::<Result<Vec<_>>>()?;
    found.retain(Assignment::is_lasting_administrator);
    Ok(found)
}

fn find_administrators() -> Select<Entity> {
    Entity::find()
        .filter(Column::Role.eq(Role::Administrator.as_str()))
        .filter(Column::Scope.eq(Scope::Everything.to_string()))
        .filter(Column::ExpiresAt.is_null())
        .order_by_asc(Column::Id)
}

/// What stands before the role in a denial. A node of a release that knows no denials takes it for a role that there is
/// not, and refuses, instead of giving what is to be taken.
const DENY: &str = "deny:";

fn stored_role(assignment: &Assignment) -> String {
    role_text(&assignment.role, assignment.verdict)
}

fn role_text(role: &RoleName, verdict: Verdict) -> String {
    match verdict {
        Verdict::Allow => role.to_string(),
        Verdict::Deny => format!("{DENY}{role}"),
    }
}

fn parse(row: role_assignment::Model) -> Result<RoleAssignment> {
    let assignment = || -> Result<Assignment> {
        let (verdict, role) = match row.role.strip_prefix(DENY) {
            Some(role) => (Verdict::Deny, role),
            None => (Verdict::Allow, row.role.as_str()),
        };
        Ok(Assignment {
            id: row.id.parse()?,
            who: row.principal.parse()?,
            role: role.parse()?,
            scope: row.scope.parse()?,
            verdict,
            not_before: row.not_before.map(Timestamp::from_unix),
            expires: row.expires_at.map(Timestamp::from_unix),
        })
    };
    match assignment() {
        Ok(assignment) => Ok(RoleAssignment {
            assignment,
            created: Timestamp::from_unix(row.created_at),
        }),
        Err(e) => Err(Error::internal(format!("role assignment `{}` in the store is not valid", row.id)).because(e)),
    }
}

/// Who is in which group.
pub(super) async fn members(conn: &DatabaseConnection) -> Result<Vec<Member>> {
    let rows = identity_group::Entity::find().all(conn).await?;
    let member = |row: &identity_group::Model| -> Result<Member> {
        Ok((row.identity.parse()?, origin(&row.origin)?, row.name.parse()?))
    };
    rows.iter()
        .map(|row| {
            member(row).map_err(|e| {
                Error::internal(format!("a group of `{}` in the store is not valid", row.identity)).because(e)
            })
        })
        .collect()
}

/// Puts an identity into these groups by `origin`, and into no others by it.
pub(super) async fn set_groups(
    tx: &Tx,
    id: &SpiffeId,
    by: Origin,
    groups: impl IntoIterator<Item = &Group>,
) -> Result<()> {
    identity_group::Entity::delete_many()
        .filter(identity_group::Column::Identity.eq(id.as_str()))
        .filter(identity_group::Column::Origin.eq(spell(by)))
        .exec(tx.conn())
        .await?;
    let rows: Vec<identity_group::ActiveModel> = groups
        .into_iter()
        .map(|group| identity_group::ActiveModel {
            identity: Set(id.to_string()),
            origin: Set(spell(by)),
            name: Set(group.to_string()),
        })
        .collect();
    if !rows.is_empty() {
        identity_group::Entity::insert_many(rows)
            .exec_without_returning(tx.conn())
            .await?;
    }
    Ok(())
}

/// What stands for a registration, in a column that is part of the key.
const REGISTRATION: &str = "registration";

fn spell(origin: Origin) -> String {
    match origin {
        Origin::Entry(id) => id.to_string(),
        Origin::Registration => REGISTRATION.to_owned(),
    }
}

fn origin(text: &str) -> Result<Origin> {
    match text {
        REGISTRATION => Ok(Origin::Registration),
        entry => entry.parse().map(Origin::Entry),
    }
}

/// The roles that people made.
pub(super) async fn roles(conn: &DatabaseConnection) -> Result<Vec<StoredRole>> {
    let rows = custom_role::Entity::find()
        .order_by_asc(custom_role::Column::Name)
        .all(conn)
        .await?;
    rows.into_iter().map(stored).collect()
}

/// A role, locked until the transaction ends: nobody changes or deletes it while it is assigned.
pub(super) async fn lock_role(tx: &Tx, name: &CustomName) -> Result<Option<StoredRole>> {
    let row = custom_role::Entity::find_by_id(name.as_str())
        .lock_exclusive()
        .one(tx.conn())
        .await?;
    row.map(stored).transpose()
}

pub(super) async fn insert_role(tx: &Tx, role: &CustomRole, now: Timestamp) -> Result<()> {
    let row = custom_role::ActiveModel {
        name: Set(role.name.to_string()),
        allowed: Set(list(&role.allow)),
        denied: Set(list(&role.deny)),
        created_at: Set(now.unix()),
        updated_at: Set(now.unix()),
    };
    match custom_role::Entity::insert(row).exec_without_returning(tx.conn()).await {
        Ok(_) => Ok(()),
        Err(e) if is_unique_violation(&e) => Err(Error::conflict(format!(
            "there is a role `{}` already: change it with `chancery role update`, or choose another name",
            role.name
        ))),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn update_role(tx: &Tx, role: &CustomRole, now: Timestamp) -> Result<()> {
    custom_role::Entity::update_many()
        .col_expr(custom_role::Column::Allowed, Expr::value(list(&role.allow)))
        .col_expr(custom_role::Column::Denied, Expr::value(list(&role.deny)))
        .col_expr(custom_role::Column::UpdatedAt, Expr::value(now.unix()))
        .filter(custom_role::Column::Name.eq(role.name.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn delete_role(tx: &Tx, name: &CustomName) -> Result<()> {
    custom_role::Entity::delete_by_id(name.as_str()).exec(tx.conn()).await?;
    Ok(())
}

/// Every assignment of a role, and every denial of it.
pub(super) async fn assigned(tx: &Tx, name: &CustomName) -> Result<Vec<Assignment>> {
    let role = RoleName::Custom(name.clone());
    let texts = [Verdict::Allow, Verdict::Deny].map(|verdict| role_text(&role, verdict));
    let rows = Entity::find()
        .filter(Column::Role.is_in(texts))
        .order_by_asc(Column::Id)
        .all(tx.conn())
        .await?;
    rows.into_iter().map(|row| Ok(parse(row)?.assignment)).collect()
}

fn list<'a>(actions: impl IntoIterator<Item = &'a Action>) -> String {
    let names: Vec<&str> = actions.into_iter().map(|action| action.as_str()).collect();
    names.join(",")
}

fn stored(row: custom_role::Model) -> Result<StoredRole> {
    let actions = |text: &str| {
        text.split(',')
            .filter(|name| !name.is_empty())
            .map(str::parse::<Action>)
            .collect::<Result<_>>()
    };
    let role = || -> Result<CustomRole> {
        Ok(CustomRole {
            name: row.name.parse()?,
            allow: actions(&row.allowed)?,
            deny: actions(&row.denied)?,
        })
    };
    match role() {
        Ok(role) => Ok(StoredRole {
            role,
            created: Timestamp::from_unix(row.created_at),
            updated: Timestamp::from_unix(row.updated_at),
        }),
        Err(e) => Err(Error::internal(format!("role `{}` in the store is not valid", row.name)).because(e)),
    }
}
