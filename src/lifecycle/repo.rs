//! The tables `certificate`, `certificate_version` and `renewal`.

use sea_orm::sea_query::{Expr, LockBehavior, LockType};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::LEASE;
use super::certificate::{Certificate, Version};
use super::deliver::files;
use super::renewal::{Renewal, State};
use super::window::{Validity, Window};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};
use crate::store::entity::{certificate, certificate_version, renewal, vault};
use crate::store::{self, Store, Topic, Tx};

fn small(number: i64) -> Result<u32> {
    u32::try_from(number).map_err(|e| Error::internal("a stored count is out of range").because(e))
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn id(text: Option<&str>) -> Result<Option<Id>> {
    text.map(str::parse).transpose()
}

// Certificate objects.

/// No other certificate may be delivered to `folder`: each delivery would take the other's files away.
pub(super) async fn require_unshared(tx: &Tx, folder: &str) -> Result<()> {
    let other = certificate::Entity::find()
        .filter(certificate::Column::DeliversTo.is_in(files::rivals(folder)))
        .one(tx.conn())
        .await?;
    other.map_or(Ok(()), |other| {
        Err(Error::conflict(format!(
            "certificate `{}` of vault `{}` is delivered to `{}`: choose another folder",
            other.name,
            other.vault,
            other.delivers_to.unwrap_or_default()
        )))
    })
}

/// Stores a certificate object that is delivered to `folder`, as no other path names it.
pub(super) async fn insert_certificate(tx: &Tx, made: &Certificate, folder: Option<&str>) -> Result<()> {
    // Locked against its deletion until the commit.
    if vault::Entity::find_by_id(made.vault.as_str())
        .filter(vault::Column::DeletedAt.is_null())
        .lock_shared()
        .one(tx.conn())
        .await?
        .is_none()
    {
        return Err(Error::not_found(format!(
            "there is no vault `{}`: create it, or list the vaults for the right name",
            made.vault
        )));
    }
    let spec = serde_json::to_string(&made.spec).map_err(|e| Error::internal("a certificate's spec").because(e))?;
    certificate::Entity::insert(certificate::ActiveModel {
        id: Set(made.id.to_string()),
        vault: Set(made.vault.to_string()),
        name: Set(made.spec.name.to_string()),
        issuer: Set(made.spec.issuer.to_string()),
        spec: Set(spec),
        current_version: Set(None),
        hurried: Set(0),
        created_at: Set(made.created.unix()),
        delivers_to: Set(folder.map(str::to_owned)),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| {
        if store::is_unique_violation(&e) && e.to_string().contains("delivers_to") {
            // Only one that another node made at this very moment is not seen by `require_unshared`.
            Error::conflict("another certificate is delivered to this folder: choose another folder")
        } else if store::is_unique_violation(&e) {
            Error::conflict(format!(
                "certificate `{}` of vault `{}` exists already: renew it, or choose another name",
                made.spec.name, made.vault
            ))
        } else {
            e.into()
        }
    })?;
    tx.touch(Topic::Certificates);
    Ok(())
}

impl TryFrom<certificate::Model> for Certificate {
    type Error = Error;
    fn try_from(row: certificate::Model) -> Result<Self> {
        Ok(Self {
            id: row.id.parse()?,
            vault: row.vault.parse()?,
            spec: serde_json::from_str(&row.spec)
                .map_err(|e| Error::internal("a certificate's spec does not parse").because(e))?,
            current: id(row.current_version.as_deref())?,
            hurried: small(row.hurried.into())?,
            created: Timestamp::from_unix(row.created_at),
        })
    }
}

pub(super) async fn certificate(conn: &impl ConnectionTrait, vault: &Label, name: &ObjectName) -> Result<Certificate> {
    certificate::Entity::find()
        .filter(certificate::Column::Vault.eq(vault.as_str()))
        .filter(certificate::Column::Name.eq(name.as_str()))
        .one(conn)
        .await?
        .ok_or_else(|| {
            Error::not_found(format!(
                "there is no certificate `{name}` in vault `{vault}`: create it, or list the certificates for the right name"
            ))
        })?
        .try_into()
}

pub(super) async fn certificate_by_id(conn: &impl ConnectionTrait, id: Id) -> Result<Certificate> {
    certificate::Entity::find_by_id(id.to_string())
        .one(conn)
        .await?
        .ok_or_else(|| Error::internal(format!("certificate `{id}` is gone")))?
        .try_into()
}

pub(super) async fn certificates(
    store: &Store,
    vault: &Label,
    after: Option<&str>,
    limit: u64,
) -> Result<Vec<Certificate>> {
    let mut query = certificate::Entity::find()
        .filter(certificate::Column::Vault.eq(vault.as_str()))
        .order_by_asc(certificate::Column::Name)
        .limit(limit);
    if let Some(after) = after {
        query = query.filter(certificate::Column::Name.gt(after));
    }
    query
        .all(store.read())
        .await?
        .into_iter()
        .map(Certificate::try_from)
        .collect()
}

pub(super) async fn set_current(tx: &Tx, certificate: Id, version: Id, hurried: u32) -> Result<()> {
    certificate::Entity::update_many()
        .col_expr(certificate::Column::CurrentVersion, Expr::value(version.to_string()))
        .col_expr(certificate::Column::Hurried, Expr::value(signed(hurried)))
        .filter(certificate::Column::Id.eq(certificate.to_string()))
        .exec(tx.conn())
        .await?;
    tx.touch(Topic::Certificates);
    Ok(())
}

// Versions.

/// Stores a version behind the last one; its ordinal is set here.
pub(super) async fn append_version(tx: &Tx, made: &Version) -> Result<u32> {
    let last = certificate_version::Entity::find()
        .filter(certificate_version::Column::CertificateId.eq(made.certificate.to_string()))
        .order_by_desc(certificate_version::Column::Ordinal)
        .one(tx.conn())
        .await?;
    let ordinal = last.map_or(0, |row| row.ordinal) + 1;
    certificate_version::Entity::insert(certificate_version::ActiveModel {
        id: Set(made.id.to_string()),
        certificate_id: Set(made.certificate.to_string()),
        ordinal: Set(ordinal),
        issuer: Set(made.issuer.to_string()),
        serial: Set(made.serial.clone()),
        not_before: Set(made.validity.not_before.unix()),
        not_after: Set(made.validity.not_after.unix()),
        fingerprint: Set(made.fingerprint.clone()),
        chain: Set(made.chain.clone()),
        key_sealed: Set(made.key_sealed.clone()),
        created_at: Set(made.created.unix()),
        revoked_at: Set(None),
    })
    .exec_without_returning(tx.conn())
    .await?;
    small(ordinal)
}

impl TryFrom<certificate_version::Model> for Version {
    type Error = Error;
    fn try_from(row: certificate_version::Model) -> Result<Self> {
        Ok(Self {
            id: row.id.parse()?,
            certificate: row.certificate_id.parse()?,
            ordinal: small(row.ordinal)?,
            issuer: row.issuer.parse()?,
            serial: row.serial,
            validity: Validity {
                not_before: Timestamp::from_unix(row.not_before),
                not_after: Timestamp::from_unix(row.not_after),
            },
            fingerprint: row.fingerprint,
            chain: row.chain,
            key_sealed: row.key_sealed,
            created: Timestamp::from_unix(row.created_at),
            revoked: row.revoked_at.map(Timestamp::from_unix),
        })
    }
}

pub(super) async fn version(conn: &impl ConnectionTrait, id: Id) -> Result<Version> {
    certificate_version::Entity::find_by_id(id.to_string())
        .one(conn)
        .await?
        .ok_or_else(|| Error::internal(format!("certificate version `{id}` is gone")))?
        .try_into()
}

pub(super) async fn set_revoked(tx: &Tx, version: Id, at: Timestamp) -> Result<()> {
    certificate_version::Entity::update_many()
        .col_expr(certificate_version::Column::RevokedAt, Expr::value(at.unix()))
        .filter(certificate_version::Column::Id.eq(version.to_string()))
        .exec(tx.conn())
        .await?;
    tx.touch(Topic::Certificates);
    Ok(())
}

// Renewals.

fn model(row: &Renewal) -> renewal::ActiveModel {
    renewal::ActiveModel {
        id: Set(row.id.to_string()),
        certificate_id: Set(row.certificate.to_string()),
        vault: Set(row.vault.to_string()),
        name: Set(row.name.to_string()),
        issuer: Set(row.issuer.to_string()),
        state: Set(row.state.to_string()),
        basis: Set(row.basis.clone()),
        due_at: Set(row.due.unix()),
        next_at: Set(row.next.map(Timestamp::unix)),
        ari_at: Set(row.ask_issuer.map(Timestamp::unix)),
        window_start: Set(row.suggested.map(|window| window.start.unix())),
        window_end: Set(row.suggested.map(|window| window.end.unix())),
        node: Set(row.node.as_ref().map(Label::to_string)),
        lease_node: Set(None),
        lease_until: Set(0),
        failures: Set(signed(row.failures)),
        refusals: Set(signed(row.refusals)),
        last_error: Set(row.last_error.clone()),
        stopped: Set(row.stopped),
        version_id: Set(row.version.map(|id| id.to_string())),
        key_sealed: Set(row.key_sealed.clone()),
        csr: Set(row.csr.clone()),
        order_url: Set(row.order_url.clone()),
        serial: Set(row.serial.clone()),
        created_at: Set(row.created.unix()),
        updated_at: Set(row.updated.unix()),
    }
}

impl TryFrom<renewal::Model> for Renewal {
    type Error = Error;
    fn try_from(row: renewal::Model) -> Result<Self> {
        let suggested = row.window_start.zip(row.window_end).map(|(start, end)| Window {
            start: Timestamp::from_unix(start),
            end: Timestamp::from_unix(end),
        });
        Ok(Self {
            id: row.id.parse()?,
            certificate: row.certificate_id.parse()?,
            vault: row.vault.parse()?,
            name: row.name.parse()?,
            issuer: row.issuer.parse()?,
            state: row.state.parse()?,
            basis: row.basis,
            due: Timestamp::from_unix(row.due_at),
            next: row.next_at.map(Timestamp::from_unix),
            ask_issuer: row.ari_at.map(Timestamp::from_unix),
            suggested,
            node: row.node.as_deref().map(str::parse).transpose()?,
            failures: small(row.failures.into())?,
            refusals: small(row.refusals.into())?,
            last_error: row.last_error,
            stopped: row.stopped,
            version: id(row.version_id.as_deref())?,
            key_sealed: row.key_sealed,
            csr: row.csr,
            order_url: row.order_url,
            serial: row.serial,
            created: Timestamp::from_unix(row.created_at),
            updated: Timestamp::from_unix(row.updated_at),
        })
    }
}

pub(super) async fn insert_renewal(tx: &Tx, row: &Renewal) -> Result<()> {
    renewal::Entity::insert(model(row))
        .exec_without_returning(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn renewal(conn: &impl ConnectionTrait, id: Id) -> Result<Option<Renewal>> {
    let row = renewal::Entity::find_by_id(id.to_string()).one(conn).await?;
    row.map(Renewal::try_from).transpose()
}

/// Newest first, below the id `before`.
pub(super) async fn renewals(store: &Store, before: Option<&str>, limit: u64) -> Result<Vec<Renewal>> {
    let mut query = renewal::Entity::find().order_by_desc(renewal::Column::Id).limit(limit);
    if let Some(before) = before {
        query = query.filter(renewal::Column::Id.lt(before));
    }
    query
        .all(store.read())
        .await?
        .into_iter()
        .map(Renewal::try_from)
        .collect()
}

/// The newest renewals of a certificate object, newest first. Only the last few are ever of interest.
pub(super) async fn renewals_of(conn: &impl ConnectionTrait, certificate: Id) -> Result<Vec<Renewal>> {
    renewal::Entity::find()
        .filter(renewal::Column::CertificateId.eq(certificate.to_string()))
        .order_by_desc(renewal::Column::Id)
        .limit(4)
        .all(conn)
        .await?
        .into_iter()
        .map(Renewal::try_from)
        .collect()
}

/// Whether the worker goes on with the renewal after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lease {
    Keep,
    Release,
}

/// Saves what a step made of `row`, which was in state `was`.
///
/// INVARIANT: only the node that holds the lease moves a renewal, and only from the state that it saw.
pub(super) async fn save(tx: &Tx, node: &Label, row: &Renewal, was: State, lease: Lease) -> Result<()> {
    let mut changed = model(row);
    if lease == Lease::Keep {
        changed.lease_node = Set(Some(node.to_string()));
        changed.lease_until = Set((row.updated + LEASE).unix());
    }
    let saved = renewal::Entity::update_many()
        .set(changed)
        .filter(renewal::Column::Id.eq(row.id.to_string()))
        .filter(renewal::Column::State.eq(was.as_str()))
        .filter(renewal::Column::LeaseNode.eq(node.as_str()))
        .exec(tx.conn())
        .await?;
    taken_over(saved.rows_affected)
}

/// Extends the lease before something long.
pub(super) async fn hold(tx: &Tx, node: &Label, row: &Renewal, now: Timestamp) -> Result<()> {
    let held = renewal::Entity::update_many()
        .col_expr(renewal::Column::LeaseUntil, Expr::value((now + LEASE).unix()))
        .filter(renewal::Column::Id.eq(row.id.to_string()))
        .filter(renewal::Column::State.eq(row.state.as_str()))
        .filter(renewal::Column::LeaseNode.eq(node.as_str()))
        .exec(tx.conn())
        .await?;
    taken_over(held.rows_affected)
}

fn taken_over(rows: u64) -> Result<()> {
    if rows == 1 {
        Ok(())
    } else {
        Err(Error::conflict("another node has taken this renewal over"))
    }
}

/// Makes something happen to a renewal now, whoever holds it.
pub(super) async fn rouse(tx: &Tx, row: &Renewal, basis: Option<&str>, now: Timestamp) -> Result<()> {
    let mut update = renewal::Entity::update_many()
        .col_expr(renewal::Column::NextAt, Expr::value(now.unix()))
        .col_expr(renewal::Column::Failures, Expr::value(0))
        .col_expr(renewal::Column::Refusals, Expr::value(0))
        .col_expr(renewal::Column::Stopped, Expr::value(false))
        .col_expr(renewal::Column::UpdatedAt, Expr::value(now.unix()))
        .filter(renewal::Column::Id.eq(row.id.to_string()));
    if let Some(basis) = basis {
        update = update
            .col_expr(renewal::Column::DueAt, Expr::value(now.unix()))
            .col_expr(renewal::Column::Basis, Expr::value(basis));
    }
    update.exec(tx.conn()).await?;
    Ok(())
}

/// Ends what is still to be delivered or verified of older versions.
pub(super) async fn supersede(tx: &Tx, row: &Renewal) -> Result<()> {
    renewal::Entity::update_many()
        .col_expr(renewal::Column::NextAt, Expr::value(Option::<i64>::None))
        .col_expr(renewal::Column::Stopped, Expr::value(true))
        .col_expr(renewal::Column::LeaseNode, Expr::value(Option::<String>::None))
        .filter(renewal::Column::CertificateId.eq(row.certificate.to_string()))
        .filter(renewal::Column::Id.ne(row.id.to_string()))
        .filter(renewal::Column::State.is_in([State::Current.as_str(), State::Delivered.as_str()]))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Puts everything off until `until` that is about to be asked of `issuer`.
pub(super) async fn postpone(tx: &Tx, issuer: &Label, until: Timestamp) -> Result<()> {
    let asking = [State::Due, State::KeyReady, State::CsrReady, State::Ordered].map(State::as_str);
    renewal::Entity::update_many()
        .col_expr(renewal::Column::NextAt, Expr::value(until.unix()))
        .filter(renewal::Column::Issuer.eq(issuer.as_str()))
        .filter(renewal::Column::State.is_in(asking))
        .filter(renewal::Column::NextAt.lt(until.unix()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// What `node` could work on at `now`.
fn workable(node: &Label, now: Timestamp) -> Condition {
    Condition::all().add(renewal::Column::LeaseUntil.lte(now.unix())).add(
        Condition::any()
            .add(renewal::Column::Node.is_null())
            .add(renewal::Column::Node.eq(node.as_str())),
    )
}

/// Takes the lease of up to `limit` renewals for which it is time, the longest waiting first.
pub(super) async fn claim(tx: &Tx, node: &Label, now: Timestamp, limit: u64) -> Result<Vec<Id>> {
    let due = renewal::Entity::find()
        .select_only()
        .column(renewal::Column::Id)
        .filter(renewal::Column::NextAt.lte(now.unix()))
        .filter(workable(node, now))
        .order_by_asc(renewal::Column::NextAt)
        .limit(limit)
        // Of two nodes that look at the same time, the second sees the rows behind. SQLite has one writer and no such lock.
        .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
        .into_tuple::<String>()
        .all(tx.conn())
        .await?;
    if due.is_empty() {
        return Ok(Vec::new());
    }
    renewal::Entity::update_many()
        .col_expr(renewal::Column::LeaseNode, Expr::value(node.as_str()))
        .col_expr(renewal::Column::LeaseUntil, Expr::value((now + LEASE).unix()))
        .filter(renewal::Column::Id.is_in(due.iter().cloned()))
        .exec(tx.conn())
        .await?;
    due.iter().map(|id| id.parse()).collect()
}

/// When `node` should look again, as far as is known now.
pub(super) async fn next_time(store: &Store, node: &Label, now: Timestamp) -> Result<Option<Timestamp>> {
    let next = renewal::Entity::find()
        .select_only()
        .column(renewal::Column::NextAt)
        .filter(renewal::Column::NextAt.is_not_null())
        .filter(workable(node, now))
        .order_by_asc(renewal::Column::NextAt)
        .limit(1)
        .into_tuple::<i64>()
        .one(store.read())
        .await?;
    Ok(next.map(Timestamp::from_unix))
}

/// Gives back what `node` holds: of one renewal, or of all of them.
pub(super) async fn release(tx: &Tx, node: &Label, one: Option<Id>) -> Result<u64> {
    let mut update = renewal::Entity::update_many()
        .col_expr(renewal::Column::LeaseNode, Expr::value(Option::<String>::None))
        .col_expr(renewal::Column::LeaseUntil, Expr::value(0))
        .filter(renewal::Column::LeaseNode.eq(node.as_str()));
    if let Some(id) = one {
        update = update.filter(renewal::Column::Id.eq(id.to_string()));
    }
    Ok(update.exec(tx.conn()).await?.rows_affected)
}
