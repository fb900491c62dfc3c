//! Role assignments in the store.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    Select,
};

use super::RoleAssignment;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Id;
use crate::policy::{Assignment, Role, Scope};
use crate::store::entity::role_assignment::{self, Column, Entity};
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
        .add(Column::Principal.eq(assignment.principal.as_str()))
        .add(Column::Role.eq(assignment.role.as_str()))
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
        principal: Set(assignment.principal.to_string()),
        role: Set(assignment.role.as_str().to_owned()),
        scope: Set(assignment.scope.to_string()),
        expires_at: Set(assignment.expires.map(Timestamp::unix)),
        created_at: Set(now.unix()),
    };
    match Entity::insert(row).exec_without_returning(tx.conn()).await {
        Ok(_) => Ok(gone),
        Err(e) if is_unique_violation(&e) => Err(Error::conflict(format!(
            "`{}` holds the role `{}` in `{}` already: revoke that assignment first to change it",
            assignment.principal, assignment.role, assignment.scope
        ))),
        Err(e) => Err(e.into()),
    }
}

pub(super) async fn find(tx: &Tx, id: Id) -> Result<Option<Assignment>> {
    let row = Entity::find_by_id(id.to_string()).one(tx.conn()).await?;
    row.map(|row| Ok(parse(row)?.assignment)).transpose()
}

pub(super) async fn delete(tx: &Tx, id: Id) -> Result<()> {
    Entity::delete_by_id(id.to_string()).exec(tx.conn()).await?;
    Ok(())
}

/// The assignments of the Administrator role to the service as a whole that do not end, locked until the transaction
/// ends: of two nodes that each remove one of the last two, the second waits for the first and sees what it did.
pub(super) async fn lock_administrators(tx: &Tx) -> Result<Vec<Assignment>> {
    let rows = find_administrators().lock_exclusive().all(tx.conn()).await?;
    rows.into_iter().map(|row| Ok(parse(row)?.assignment)).collect()
}

/// As [`lock_administrators`], to look only.
pub(super) async fn administrators(conn: &DatabaseConnection) -> Result<Vec<Assignment>> {
    let rows = find_administrators().all(conn).await?;
    rows.into_iter().map(|row| Ok(parse(row)?.assignment)).collect()
}

fn find_administrators() -> Select<Entity> {
    Entity::find()
        .filter(Column::Role.eq(Role::Administrator.as_str()))
        .filter(Column::Scope.eq(Scope::Everything.to_string()))
        .filter(Column::ExpiresAt.is_null())
        .order_by_asc(Column::Id)
}

fn parse(row: role_assignment::Model) -> Result<RoleAssignment> {
    let assignment = || -> Result<Assignment> {
        Ok(Assignment {
            id: row.id.parse()?,
            principal: row.principal.parse()?,
            role: row.role.parse()?,
            scope: row.scope.parse()?,
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
