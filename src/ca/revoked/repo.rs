//! What was revoked, and the published lists of it, in the store.
//!
//! INVARIANT: a revocation has the next number of its issuer, taken from the issuer's row within its transaction. That
//! row stays locked until the commit, so whoever sees a number sees all that come before it.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Select,
};

use crate::ca::IssuedCertificate;
use crate::ca::inventory::repo as inventory;
use crate::ca::repo::reason;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::Tx;
use crate::store::entity::{authority_issuer, crl, issued, ocsp_responder};
use crate::x509::crl::{Entry, Reason};
use crate::x509::ocsp::Status;

/// Rows in one read, so that reading all of a large table stays a stream of small answers.
const CHUNK: u64 = 2_000;

/// A published list.
#[derive(Clone, Debug)]
pub(in crate::ca) struct CrlRow {
    pub(in crate::ca) issuer: String,
    pub(in crate::ca) shard: u32,
    pub(in crate::ca) number: u64,
    pub(in crate::ca) revision: i64,
    pub(in crate::ca) list: Vec<u8>,
    pub(in crate::ca) this_update: Timestamp,
    pub(in crate::ca) next_update: Timestamp,
}

/// A revoked certificate, as its list says it.
#[derive(Clone, Debug)]
pub(in crate::ca) struct Revoked {
    pub(in crate::ca) entry: Entry,
    pub(in crate::ca) shard: u32,
}

/// Where a chunk ended: the last row's key in the order of the index that is walked.
type Place = (i64, String);

/// Before the first row of either index.
pub(in crate::ca) fn start() -> Place {
    (i64::MIN, String::new())
}

/// Marks a certificate as revoked, as number `revision`. `false`: it was already.
pub(in crate::ca) async fn mark(tx: &Tx, serial: &str, reason: Reason, now: Timestamp, revision: i64) -> Result<bool> {
    let updated = issued::Entity::update_many()
        .col_expr(issued::Column::RevokedAt, Expr::value(now.unix()))
        .col_expr(issued::Column::Reason, Expr::value(i64::from(reason.code())))
        .col_expr(issued::Column::Revision, Expr::value(revision))
        .filter(issued::Column::Serial.eq(serial))
        .filter(issued::Column::RevokedAt.is_null())
        .exec(tx.conn())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Gives out the next number of the issuer's revocations.
pub(in crate::ca) async fn next_revision(tx: &Tx, label: &str) -> Result<i64> {
    advance(tx, label, authority_issuer::Column::Revision).await
}

/// Gives out the next CRL number: one only, whatever other nodes do.
pub(in crate::ca) async fn next_crl_number(tx: &Tx, label: &str) -> Result<u64> {
    let number = advance(tx, label, authority_issuer::Column::CrlNumber).await?;
    Ok(u64::try_from(number).unwrap_or(0))
}

async fn advance(tx: &Tx, label: &str, counter: authority_issuer::Column) -> Result<i64> {
    authority_issuer::Entity::update_many()
        .col_expr(counter, Expr::col(counter).add(1))
        .filter(authority_issuer::Column::Label.eq(label))
        .exec(tx.conn())
        .await?;
    // The row is this transaction's since its update.
    authority_issuer::Entity::find_by_id(label)
        .select_only()
        .column(counter)
        .into_tuple()
        .one(tx.conn())
        .await?
        .ok_or_else(|| Error::internal(format!("the issuer `{label}` is not in the store")))
}

/// The issuer's revocations behind `place` in the order of their making; a chunk and the place behind it.
pub(in crate::ca) async fn since<C: ConnectionTrait>(
    conn: &C,
    label: &str,
    place: &Place,
) -> Result<Option<(Vec<Revoked>, Place)>> {
    let rows = of(label)
        .filter(behind(issued::Column::Revision, place))
        .order_by_asc(issued::Column::Revision);
    chunk(conn, rows, |row| row.revision.unwrap_or(0)).await
}

/// Those of `until` or before whose certificates end at `ending` or later, from `place` on in the order of their ends.
pub(in crate::ca) async fn unexpired<C: ConnectionTrait>(
    conn: &C,
    label: &str,
    ending: Timestamp,
    until: i64,
    place: &Place,
) -> Result<Option<(Vec<Revoked>, Place)>> {
    let rows = of(label)
        .filter(issued::Column::NotAfter.gte(ending.unix()))
        .filter(issued::Column::Revision.lte(until))
        .filter(behind(issued::Column::NotAfter, place))
        .order_by_asc(issued::Column::NotAfter);
    chunk(conn, rows, |row| row.not_after).await
}

/// Whether the issuer revoked anything of this shard after that.
pub(in crate::ca) async fn is_behind(
    conn: &DatabaseConnection,
    label: &str,
    shard: u32,
    revision: i64,
) -> Result<bool> {
    let later = of(label)
        .select_only()
        .column(issued::Column::Serial)
        .filter(issued::Column::Revision.gt(revision))
        .filter(issued::Column::Shard.eq(i64::from(shard)))
        .limit(1)
        .into_tuple::<String>()
        .one(conn)
        .await?;
    Ok(later.is_some())
}

/// What the issuer revoked. The text of the condition is the indexes' own: they hold only these rows.
fn of(label: &str) -> Select<issued::Entity> {
    issued::Entity::find()
        .filter(issued::Column::Issuer.eq(label))
        .filter(issued::Column::RevokedAt.is_not_null())
}

fn behind(column: issued::Column, (key, serial): &Place) -> Condition {
    Condition::all().add(column.gte(*key)).add(
        Condition::any()
            .add(column.gt(*key))
            .add(issued::Column::Serial.gt(serial.as_str())),
    )
}

/// What of a row is read.
#[derive(sea_orm::FromQueryResult)]
struct Row {
    serial: String,
    revoked_at: Option<i64>,
    reason: Option<i64>,
    shard: i64,
    revision: Option<i64>,
    not_after: i64,
}

async fn chunk<C: ConnectionTrait>(
    conn: &C,
    rows: Select<issued::Entity>,
    key: impl Fn(&Row) -> i64,
) -> Result<Option<(Vec<Revoked>, Place)>> {
    let rows = rows
        .order_by_asc(issued::Column::Serial)
        .limit(CHUNK)
        .select_only()
        .columns([
            issued::Column::Serial,
            issued::Column::RevokedAt,
            issued::Column::Reason,
            issued::Column::Shard,
            issued::Column::Revision,
            issued::Column::NotAfter,
        ])
        .into_model::<Row>()
        .all(conn)
        .await?;
    let Some(last) = rows.last() else { return Ok(None) };
    let place = (key(last), last.serial.clone());
    let revoked = rows.into_iter().map(|row| {
        Ok(Revoked {
            entry: Entry {
                reason: reason(row.reason)?,
                revoked_at: Timestamp::from_unix(row.revoked_at.unwrap_or(0)),
                serial: row.serial.parse()?,
            },
            shard: u32::try_from(row.shard).unwrap_or(0),
        })
    });
    Ok(Some((revoked.collect::<Result<_>>()?, place)))
}

/// The highest shard that the issuer ever published a list of.
pub(in crate::ca) async fn highest_shard(conn: &DatabaseConnection, label: &str) -> Result<Option<u32>> {
    let highest: Option<i64> = crl::Entity::find()
        .select_only()
        .column(crl::Column::Shard)
        .filter(crl::Column::Issuer.eq(label))
        .order_by_desc(crl::Column::Shard)
        .limit(1)
        .into_tuple()
        .one(conn)
        .await?;
    Ok(highest.and_then(|shard| u32::try_from(shard).ok()))
}

/// The newest list of a shard, if its number is higher.
pub(in crate::ca) async fn newer_crl<C: ConnectionTrait>(
    conn: &C,
    label: &str,
    shard: u32,
    than: u64,
) -> Result<Option<CrlRow>> {
    let row = crl::Entity::find_by_id((label.to_owned(), i64::from(shard)))
        .filter(crl::Column::Number.gt(i64::try_from(than).unwrap_or(i64::MAX)))
        .one(conn)
        .await?;
    Ok(row.map(|row| CrlRow {
        issuer: row.issuer,
        shard,
        number: u64::try_from(row.number).unwrap_or(0),
        revision: row.revision,
        list: row.list,
        this_update: Timestamp::from_unix(row.this_update),
        next_update: Timestamp::from_unix(row.next_update),
    }))
}

/// Stores a list unless one with this number or a higher one is there: numbers only rise. `false`: there is.
pub(in crate::ca) async fn store_crl(tx: &Tx, row: &CrlRow) -> Result<bool> {
    let number = i64::try_from(row.number).unwrap_or(i64::MAX);
    let shard = i64::from(row.shard);
    let updated = crl::Entity::update_many()
        .col_expr(crl::Column::Number, Expr::value(number))
        .col_expr(crl::Column::Revision, Expr::value(row.revision))
        .col_expr(crl::Column::List, Expr::value(row.list.clone()))
        .col_expr(crl::Column::ThisUpdate, Expr::value(row.this_update.unix()))
        .col_expr(crl::Column::NextUpdate, Expr::value(row.next_update.unix()))
        .filter(
            Condition::all()
                .add(crl::Column::Issuer.eq(row.issuer.clone()))
                .add(crl::Column::Shard.eq(shard))
                .add(crl::Column::Number.lt(number)),
        )
        .exec(tx.conn())
        .await?;
    if updated.rows_affected == 1 {
        return Ok(true);
    }
    let inserted = crl::Entity::insert(crl::ActiveModel {
        issuer: Set(row.issuer.clone()),
        shard: Set(shard),
        number: Set(number),
        revision: Set(row.revision),
        list: Set(row.list.clone()),
        this_update: Set(row.this_update.unix()),
        next_update: Set(row.next_update.unix()),
    })
    .on_conflict(
        OnConflict::columns([crl::Column::Issuer, crl::Column::Shard])
            .do_nothing()
            .to_owned(),
    )
    .exec_without_returning(tx.conn())
    .await?;
    Ok(inserted == 1)
}

/// What became of a certificate of the issuer's that was handed out, or revoked; `Unknown` for any other.
pub(in crate::ca) async fn status(conn: &DatabaseConnection, label: &str, serial: &str) -> Result<Status> {
    let found = issued::Entity::find_by_id(serial)
        .select_only()
        .columns([issued::Column::RevokedAt, issued::Column::Reason])
        .filter(issued::Column::Issuer.eq(label))
        .filter(
            Condition::any()
                .add(issued::Column::Certificate.is_not_null())
                .add(issued::Column::RevokedAt.is_not_null()),
        )
        .into_tuple::<(Option<i64>, Option<i64>)>()
        .one(conn)
        .await?;
    Ok(match found {
        None => Status::Unknown,
        Some((None, _)) => Status::Good,
        Some((Some(at), code)) => Status::Revoked {
            at: Timestamp::from_unix(at),
            reason: reason(code)?,
        },
    })
}

/// The certificate of an issuer's OCSP responder.
#[derive(Clone, Debug)]
pub(in crate::ca) struct ResponderRow {
    pub(in crate::ca) issuer: String,
    pub(in crate::ca) key_label: String,
    pub(in crate::ca) certificate: Vec<u8>,
    pub(in crate::ca) not_after: Timestamp,
}

/// The certificate of the issuer's responder with that key.
pub(in crate::ca) async fn responder(
    conn: &DatabaseConnection,
    issuer: &str,
    key_label: &str,
) -> Result<Option<Vec<u8>>> {
    let row = ocsp_responder::Entity::find_by_id(issuer)
        .filter(ocsp_responder::Column::KeyLabel.eq(key_label))
        .one(conn)
        .await?;
    Ok(row.map(|row| row.certificate))
}

pub(in crate::ca) async fn store_responder(tx: &Tx, row: &ResponderRow) -> Result<()> {
    ocsp_responder::Entity::insert(ocsp_responder::ActiveModel {
        issuer: Set(row.issuer.clone()),
        key_label: Set(row.key_label.clone()),
        certificate: Set(row.certificate.clone()),
        not_after: Set(row.not_after.unix()),
    })
    .on_conflict(
        OnConflict::column(ocsp_responder::Column::Issuer)
            .update_columns([
                ocsp_responder::Column::KeyLabel,
                ocsp_responder::Column::Certificate,
                ocsp_responder::Column::NotAfter,
            ])
            .to_owned(),
    )
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// Revokes, as number `revision`, every certificate of a key that is not revoked yet.
pub(in crate::ca) async fn mark_key(
    tx: &Tx,
    label: &str,
    spki_sha256: &str,
    reason: Reason,
    now: Timestamp,
    revision: i64,
) -> Result<Vec<IssuedCertificate>> {
    let of_key = Condition::all()
        .add(issued::Column::SpkiSha256.eq(spki_sha256))
        .add(issued::Column::Issuer.eq(label));
    issued::Entity::update_many()
        .col_expr(issued::Column::RevokedAt, Expr::value(now.unix()))
        .col_expr(issued::Column::Reason, Expr::value(i64::from(reason.code())))
        .col_expr(issued::Column::Revision, Expr::value(revision))
        .filter(of_key.clone())
        .filter(issued::Column::RevokedAt.is_null())
        .exec(tx.conn())
        .await?;
    let marked = issued::Entity::find()
        .filter(of_key)
        .filter(issued::Column::Revision.eq(revision))
        .order_by_asc(issued::Column::Id);
    let marked = inventory::rows(marked).all(tx.conn()).await?;
    marked.into_iter().map(inventory::Row::read).collect()
}

/// Whether the issuer has a certificate of that key that is not revoked.
pub(in crate::ca) async fn is_certified(conn: &DatabaseConnection, label: &str, spki_sha256: &str) -> Result<bool> {
    let found = issued::Entity::find()
        .select_only()
        .column(issued::Column::Serial)
        .filter(issued::Column::SpkiSha256.eq(spki_sha256))
        .filter(issued::Column::Issuer.eq(label))
        .filter(issued::Column::RevokedAt.is_null())
        .limit(1)
        .into_tuple::<String>()
        .one(conn)
        .await?;
    Ok(found.is_some())
}
