//! The table `secret_rotation`.

use std::time::Duration;

use sea_orm::sea_query::{Expr, LockBehavior, LockType, Query, SelectStatement};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{Cadence, Rotation, RotationPolicy, Schedule, Step};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Label;
use crate::store::entity::secret_rotation::{ActiveModel, Column, Entity, Model};
use crate::store::entity::{secret, vault};
use crate::store::{Store, Tx};
use crate::vault::cache::Key;
use crate::vault::secrets::repo::{natural, number};

/// How long a node holds a rotation without a sign of life. Every step ends sooner.
const LEASE: Duration = Duration::from_secs(240);

/// Whether the worker goes on after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    Keep,
    Release,
}

fn seconds(stored: Option<i64>) -> Result<Option<Duration>> {
    stored.map(|it| natural(it).map(Duration::from_secs)).transpose()
}

fn rotation(row: Model, of: secret::Model) -> Result<Rotation> {
    let cadence = match (row.cron, seconds(row.every_s)?) {
        (Some(line), _) => Cadence::Cron(line),
        (None, Some(every)) => Cadence::Every(every),
        (None, None) => return Err(Error::internal("a rotation has no schedule")),
    };
    Ok(Rotation {
        vault: of.vault.parse()?,
        name: of.name.parse()?,
        policy: RotationPolicy {
            schedule: Schedule::new(cadence, seconds(row.window_s)?)?,
            rotator: row.rotator.parse()?,
            generate: serde_json::from_str(&row.generate)
                .map_err(|e| Error::internal("a rotation's rules do not parse").because(e))?,
        },
        step: row.step.as_deref().map(str::parse).transpose()?,
        version: row.version_id.as_deref().map(str::parse).transpose()?,
        due: row.due_at.map(Timestamp::from_unix),
        next: row.next_at.map(Timestamp::from_unix),
        failures: u32::try_from(row.failures).map_err(|e| Error::internal("a count is negative").because(e))?,
        paused: row.paused,
        last_error: row.last_error,
        rotated: row.rotated_at.map(Timestamp::from_unix),
        created: Timestamp::from_unix(row.created_at),
        created_by: row.created_by,
        updated: Timestamp::from_unix(row.updated_at),
        secret_id: row.secret_id,
        old: row.old_ordinal.map(natural).transpose()?,
    })
}

/// The rotation of the secret with this id.
pub(super) async fn by_id(conn: &impl ConnectionTrait, secret_id: &str) -> Result<Option<Rotation>> {
    let found = Entity::find_by_id(secret_id).one(conn).await?;
    let of = secret::Entity::find_by_id(secret_id).one(conn).await?;
    found.zip(of).map(|(row, of)| rotation(row, of)).transpose()
}

/// As [`by_id`]; nobody else changes it until the commit.
pub(super) async fn locked(tx: &Tx, secret_id: &str) -> Result<Option<Rotation>> {
    Entity::find_by_id(secret_id).lock_exclusive().one(tx.conn()).await?;
    by_id(tx.conn(), secret_id).await
}

/// As [`by_id`], outside a transaction.
pub(super) async fn show(store: &Store, secret_id: &str) -> Result<Option<Rotation>> {
    by_id(store.read(), secret_id).await
}

/// The id of a live secret.
pub(super) async fn id_of(conn: &impl ConnectionTrait, key: &Key) -> Result<Option<String>> {
    let found = secret::Entity::find()
        .filter(secret::Column::Vault.eq(key.vault.as_str()))
        .filter(secret::Column::Name.eq(key.name.as_str()))
        .filter(secret::Column::DeletedAt.is_null())
        .one(conn)
        .await?;
    Ok(found.map(|row| row.id))
}

/// The same, outside a transaction.
pub(super) async fn find(store: &Store, key: &Key) -> Result<Option<String>> {
    id_of(store.read(), key).await
}

/// Stores a new one.
pub(super) async fn insert(tx: &Tx, made: &Rotation) -> Result<()> {
    let (every, cron) = cadence(&made.policy);
    Entity::insert(ActiveModel {
        secret_id: Set(made.secret_id.clone()),
        rotator: Set(made.policy.rotator.to_string()),
        every_s: Set(every),
        cron: Set(cron),
        window_s: Set(window(&made.policy)),
        generate: Set(rules(&made.policy)?),
        step: Set(None),
        version_id: Set(None),
        old_ordinal: Set(None),
        due_at: Set(made.due.map(Timestamp::unix)),
        next_at: Set(made.next.map(Timestamp::unix)),
        failures: Set(0),
        paused: Set(false),
        last_error: Set(None),
        rotated_at: Set(None),
        lease_node: Set(None),
        lease_until: Set(0),
        created_at: Set(made.created.unix()),
        created_by: Set(made.created_by.clone()),
        updated_at: Set(made.updated.unix()),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// Writes its policy, never its state.
pub(super) async fn write_policy(tx: &Tx, changed: &Rotation) -> Result<()> {
    let (every, cron) = cadence(&changed.policy);
    Entity::update_many()
        .set(ActiveModel {
            rotator: Set(changed.policy.rotator.to_string()),
            every_s: Set(every),
            cron: Set(cron),
            window_s: Set(window(&changed.policy)),
            generate: Set(rules(&changed.policy)?),
            updated_at: Set(changed.updated.unix()),
            ..ActiveModel::default()
        })
        .filter(Column::SecretId.eq(changed.secret_id.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Writes its state, whoever is at work.
pub(super) async fn write_state(tx: &Tx, changed: &Rotation) -> Result<()> {
    Entity::update_many()
        .set(state(changed))
        .filter(Column::SecretId.eq(changed.secret_id.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Removes it; whether there was one.
pub(super) async fn remove(tx: &Tx, secret_id: &str) -> Result<bool> {
    Ok(Entity::delete_by_id(secret_id).exec(tx.conn()).await?.rows_affected > 0)
}

/// Saves what a step made of a rotation that was at `was`.
///
/// INVARIANT: only the node that holds the lease moves a rotation, and only from the step that it saw.
pub(super) async fn save(tx: &Tx, node: &Label, changed: &Rotation, was: Option<Step>, lease: Lease) -> Result<()> {
    let held = lease == Lease::Keep;
    let model = ActiveModel {
        lease_node: Set(held.then(|| node.to_string())),
        lease_until: Set(if held { (changed.updated + LEASE).unix() } else { 0 }),
        ..state(changed)
    };
    let saved = Entity::update_many()
        .set(model)
        .filter(held_by(node, changed, was))
        .exec(tx.conn())
        .await?;
    taken_over(saved.rows_affected)
}

/// Extends the lease before something long.
pub(super) async fn hold(tx: &Tx, node: &Label, row: &Rotation, now: Timestamp) -> Result<()> {
    let held = Entity::update_many()
        .col_expr(Column::LeaseUntil, Expr::value((now + LEASE).unix()))
        .filter(held_by(node, row, row.step))
        .exec(tx.conn())
        .await?;
    taken_over(held.rows_affected)
}

/// Takes the lease of up to `limit` rotations for which it is time, the longest waiting first; their secrets' ids.
pub(super) async fn claim(tx: &Tx, node: &Label, now: Timestamp, limit: u64) -> Result<Vec<String>> {
    let due = Entity::find()
        .select_only()
        .column(Column::SecretId)
        .filter(Column::NextAt.lte(now.unix()))
        .filter(workable(now))
        .order_by_asc(Column::NextAt)
        .limit(limit)
        // Of two nodes that look at the same time, the second sees the rows behind. SQLite has one writer and no such lock.
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple::<String>()
        .all(tx.conn())
        .await?;
    if due.is_empty() {
        return Ok(due);
    }
    Entity::update_many()
        .col_expr(Column::LeaseNode, Expr::value(node.as_str()))
        .col_expr(Column::LeaseUntil, Expr::value((now + LEASE).unix()))
        .filter(Column::SecretId.is_in(due.iter().cloned()))
        .exec(tx.conn())
        .await?;
    Ok(due)
}

/// When to look again, as far as is known now.
pub(super) async fn next_time(store: &Store, now: Timestamp) -> Result<Option<Timestamp>> {
    let next = Entity::find()
        .select_only()
        .column(Column::NextAt)
        .filter(Column::NextAt.is_not_null())
        .filter(workable(now))
        .order_by_asc(Column::NextAt)
        .limit(1)
        .into_tuple::<i64>()
        .one(store.read())
        .await?;
    Ok(next.map(Timestamp::from_unix))
}

/// Gives back what `node` holds: of one secret, or of all.
pub(super) async fn release(tx: &Tx, node: &Label, one: Option<&str>) -> Result<()> {
    let mut update = Entity::update_many()
        .col_expr(Column::LeaseNode, Expr::value(Option::<String>::None))
        .col_expr(Column::LeaseUntil, Expr::value(0))
        .filter(Column::LeaseNode.eq(node.as_str()));
    if let Some(id) = one {
        update = update.filter(Column::SecretId.eq(id));
    }
    update.exec(tx.conn()).await?;
    Ok(())
}

fn state(of: &Rotation) -> ActiveModel {
    ActiveModel {
        step: Set(of.step.map(|step| step.to_string())),
        version_id: Set(of.version.map(|id| id.to_string())),
        old_ordinal: Set(of.old.map(number)),
        due_at: Set(of.due.map(Timestamp::unix)),
        next_at: Set(of.next.map(Timestamp::unix)),
        failures: Set(i32::try_from(of.failures).unwrap_or(i32::MAX)),
        paused: Set(of.paused),
        last_error: Set(of.last_error.clone()),
        rotated_at: Set(of.rotated.map(Timestamp::unix)),
        updated_at: Set(of.updated.unix()),
        ..ActiveModel::default()
    }
}

fn cadence(policy: &RotationPolicy) -> (Option<i64>, Option<String>) {
    match policy.schedule.cadence() {
        Cadence::Every(every) => (Some(number(every.as_secs())), None),
        Cadence::Cron(line) => (None, Some(line.clone())),
    }
}

fn window(policy: &RotationPolicy) -> Option<i64> {
    policy.schedule.window().map(|window| number(window.as_secs()))
}

fn rules(policy: &RotationPolicy) -> Result<String> {
    serde_json::to_string(&policy.generate).map_err(|e| Error::internal("a rotation's rules are not JSON").because(e))
}

fn held_by(node: &Label, row: &Rotation, at: Option<Step>) -> Condition {
    let step = match at {
        Some(step) => Column::Step.eq(step.as_str()),
        None => Column::Step.is_null(),
    };
    Condition::all()
        .add(Column::SecretId.eq(row.secret_id.as_str()))
        .add(Column::LeaseNode.eq(node.as_str()))
        .add(step)
}

fn taken_over(rows: u64) -> Result<()> {
    match rows {
        1 => Ok(()),
        _ => Err(Error::unavailable(
            "the rotation was taken over by another node, or taken away",
        )),
    }
}

/// What could be worked on at `now`: secrets that are there, in vaults that are there.
fn workable(now: Timestamp) -> Condition {
    Condition::all()
        .add(Column::LeaseUntil.lte(now.unix()))
        .add(Column::SecretId.in_subquery(live_secrets()))
}

fn live_secrets() -> SelectStatement {
    use sea_orm::sea_query::ExprTrait;
    let vaults = Query::select()
        .column(vault::Column::Name)
        .from(vault::Entity)
        .and_where(Expr::col((vault::Entity, vault::Column::DeletedAt)).is_null())
        .to_owned();
    Query::select()
        .column(secret::Column::Id)
        .from(secret::Entity)
        .and_where(Expr::col((secret::Entity, secret::Column::DeletedAt)).is_null())
        .and_where(Expr::col((secret::Entity, secret::Column::Vault)).in_subquery(vaults))
        .to_owned()
}
