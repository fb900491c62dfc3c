//! Issuers, issued certificates and revocation lists in the store.

use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
};

use super::{IssuedCertificate, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::entity::{authority_issuer, crl, issued};
use crate::store::{Tx, is_unique_violation};
use crate::x509::crl::{Entry, Reason};
use crate::x509::profile::Validity;

/// Rows in one read, so that reading all of a large table stays a stream of small answers.
const CHUNK: u64 = 10_000;

/// An issuer as it is stored.
#[derive(Clone, Debug)]
pub(super) struct IssuerRow {
    pub(super) label: String,
    pub(super) authority: String,
    pub(super) role: &'static str,
    pub(super) serial: String,
    pub(super) certificate: Vec<u8>,
    pub(super) not_after: Timestamp,
}

/// What is written before anything is signed.
#[derive(Clone, Debug)]
pub(super) struct Reservation {
    pub(super) serial: String,
    pub(super) id: String,
    pub(super) issuer: String,
    pub(super) profile: String,
    pub(super) profile_hash: String,
    pub(super) tbs: Vec<u8>,
    pub(super) spki_sha256: String,
    pub(super) subject: String,
    pub(super) names: String,
    pub(super) requested_by: String,
    pub(super) validity: Validity,
    pub(super) created: Timestamp,
}

/// A published list.
#[derive(Clone, Debug)]
pub(super) struct CrlRow {
    pub(super) issuer: String,
    pub(super) shard: u32,
    pub(super) number: u64,
    pub(super) revision: i64,
    pub(super) list: Vec<u8>,
    pub(super) this_update: Timestamp,
    pub(super) next_update: Timestamp,
}

/// The certificate and the number of revocations of the issuer with this key.
pub(super) async fn issuer(conn: &DatabaseConnection, label: &str) -> Result<Option<(Vec<u8>, i64)>> {
    let row = authority_issuer::Entity::find_by_id(label).one(conn).await?;
    Ok(row.map(|row| (row.certificate, row.revision)))
}

pub(super) async fn insert_issuer(tx: &Tx, issuer: &IssuerRow, now: Timestamp) -> Result<()> {
    let row = authority_issuer::ActiveModel {
        label: Set(issuer.label.clone()),
        authority: Set(issuer.authority.clone()),
        role: Set(issuer.role.to_owned()),
        serial: Set(issuer.serial.clone()),
        certificate: Set(issuer.certificate.clone()),
        not_after: Set(issuer.not_after.unix()),
        revision: Set(0),
        crl_number: Set(0),
        created_at: Set(now.unix()),
    };
    match authority_issuer::Entity::insert(row)
        .exec_without_returning(tx.conn())
        .await
    {
        Ok(_) => Ok(()),
        Err(e) if is_unique_violation(&e) => Err(Error::conflict(format!(
            "the issuer `{}` exists already: another node made it",
            issuer.label
        ))),
        Err(e) => Err(e.into()),
    }
}

/// Reserves a serial and keeps what is about to be signed.
pub(super) async fn reserve(tx: &Tx, reservation: &Reservation) -> Result<()> {
    let reservation = reservation.clone();
    issued::Entity::insert(issued::ActiveModel {
        serial: Set(reservation.serial),
        id: Set(reservation.id),
        issuer: Set(reservation.issuer),
        profile: Set(reservation.profile),
        profile_hash: Set(reservation.profile_hash),
        tbs: Set(reservation.tbs),
        certificate: Set(None),
        spki_sha256: Set(reservation.spki_sha256),
        subject: Set(reservation.subject),
        names: Set(reservation.names),
        requested_by: Set(reservation.requested_by),
        not_before: Set(reservation.validity.not_before.unix()),
        not_after: Set(reservation.validity.not_after.unix()),
        created_at: Set(reservation.created.unix()),
        revoked_at: Set(None),
        reason: Set(None),
    })
    .exec_without_returning(tx.conn())
    .await?;
    Ok(())
}

/// Stores the certificate of a reservation.
pub(super) async fn complete(tx: &Tx, serial: &str, certificate: &[u8]) -> Result<()> {
    let updated = issued::Entity::update_many()
        .col_expr(issued::Column::Certificate, Expr::value(certificate.to_vec()))
        // The certificate holds the same bytes.
        .col_expr(issued::Column::Tbs, Expr::value(Vec::<u8>::new()))
        .filter(issued::Column::Serial.eq(serial))
        .filter(issued::Column::Certificate.is_null())
        // Revoked between reservation and signature: it must not be handed out.
        .filter(issued::Column::RevokedAt.is_null())
        .exec(tx.conn())
        .await?;
    if updated.rows_affected == 1 {
        Ok(())
    } else {
        Err(Error::conflict(format!(
            "the certificate `{serial}` was revoked while it was made: ask for another"
        )))
    }
}

pub(super) async fn find<C: ConnectionTrait>(conn: &C, serial: &str) -> Result<Option<IssuedCertificate>> {
    let row = issued::Entity::find_by_id(serial).one(conn).await?;
    row.map(parse).transpose()
}

/// A completed certificate and its validity.
pub(super) async fn certificate(conn: &DatabaseConnection, serial: &str) -> Result<Option<(Vec<u8>, Validity)>> {
    let Some(row) = issued::Entity::find_by_id(serial).one(conn).await? else {
        return Ok(None);
    };
    let validity = Validity {
        not_before: Timestamp::from_unix(row.not_before),
        not_after: Timestamp::from_unix(row.not_after),
    };
    Ok(row.certificate.map(|certificate| (certificate, validity)))
}

/// Marks a certificate as revoked. `false`: it was already.
pub(super) async fn revoke(tx: &Tx, serial: &str, reason: Reason, now: Timestamp) -> Result<bool> {
    let updated = issued::Entity::update_many()
        .col_expr(issued::Column::RevokedAt, Expr::value(now.unix()))
        .col_expr(issued::Column::Reason, Expr::value(i64::from(reason.code())))
        .filter(issued::Column::Serial.eq(serial))
        .filter(issued::Column::RevokedAt.is_null())
        .exec(tx.conn())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Counts a revocation of the issuer's, and gives the new count.
pub(super) async fn advance_revision(tx: &Tx, label: &str) -> Result<i64> {
    authority_issuer::Entity::update_many()
        .col_expr(
            authority_issuer::Column::Revision,
            Expr::col(authority_issuer::Column::Revision).add(1),
        )
        .filter(authority_issuer::Column::Label.eq(label))
        .exec(tx.conn())
        .await?;
    Ok(counters(tx, label).await?.0)
}

/// Gives out the next CRL number: one only, whatever other nodes do.
pub(super) async fn next_crl_number(tx: &Tx, label: &str) -> Result<u64> {
    authority_issuer::Entity::update_many()
        .col_expr(
            authority_issuer::Column::CrlNumber,
            Expr::col(authority_issuer::Column::CrlNumber).add(1),
        )
        .filter(authority_issuer::Column::Label.eq(label))
        .exec(tx.conn())
        .await?;
    Ok(u64::try_from(counters(tx, label).await?.1).unwrap_or(0))
}

/// Revision and CRL number; the row is this transaction's since its update.
async fn counters(tx: &Tx, label: &str) -> Result<(i64, i64)> {
    authority_issuer::Entity::find_by_id(label)
        .one(tx.conn())
        .await?
        .map(|row| (row.revision, row.crl_number))
        .ok_or_else(|| Error::internal(format!("the issuer `{label}` is not in the store")))
}

/// All that the issuer revoked and that ends at `ending` or later, oldest revocation first.
pub(super) async fn revoked(conn: &DatabaseConnection, label: &str, ending: Timestamp) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut after = (0, String::new());
    loop {
        // The order of the index `issued_revoked`, so that no chunk walks what was read before.
        let later = Condition::any().add(issued::Column::RevokedAt.gt(after.0)).add(
            Condition::all()
                .add(issued::Column::RevokedAt.eq(after.0))
                .add(issued::Column::Serial.gt(after.1.clone())),
        );
        let rows = issued::Entity::find()
            .select_only()
            .columns([
                issued::Column::Serial,
                issued::Column::RevokedAt,
                issued::Column::Reason,
            ])
            .filter(issued::Column::Issuer.eq(label))
            .filter(issued::Column::RevokedAt.gte(after.0))
            .filter(later)
            .filter(issued::Column::NotAfter.gte(ending.unix()))
            .order_by_asc(issued::Column::RevokedAt)
            .order_by_asc(issued::Column::Serial)
            .limit(CHUNK)
            .into_tuple::<(String, i64, Option<i64>)>()
            .all(conn)
            .await?;
        let Some((serial, at, _)) = rows.last() else {
            return Ok(entries);
        };
        after = (*at, serial.clone());
        for (serial, revoked_at, code) in rows {
            entries.push(Entry {
                reason: reason(code)?,
                revoked_at: Timestamp::from_unix(revoked_at),
                serial: serial.parse()?,
            });
        }
    }
}

/// The keys of certificates that the issuer revoked, since then, because their keys were compromised.
pub(super) async fn compromised_keys(conn: &DatabaseConnection, label: &str, since: Timestamp) -> Result<Vec<String>> {
    Ok(issued::Entity::find()
        .select_only()
        .column(issued::Column::SpkiSha256)
        .filter(issued::Column::Issuer.eq(label))
        .filter(issued::Column::RevokedAt.gte(since.unix()))
        .filter(issued::Column::Reason.eq(i64::from(Reason::KeyCompromise.code())))
        .into_tuple::<String>()
        .all(conn)
        .await?)
}

/// Newest first, older than `before`, whoever issued: a filter by issuer would keep the database from walking `id`.
pub(super) async fn page(
    conn: &DatabaseConnection,
    before: Option<&str>,
    limit: u32,
) -> Result<Vec<IssuedCertificate>> {
    let mut query = issued::Entity::find()
        .order_by_desc(issued::Column::Id)
        .limit(u64::from(limit));
    if let Some(before) = before {
        query = query.filter(issued::Column::Id.lt(before));
    }
    query.all(conn).await?.into_iter().map(parse).collect()
}

pub(super) async fn newest_crl(conn: &DatabaseConnection, label: &str, shard: u32) -> Result<Option<CrlRow>> {
    let row = crl::Entity::find_by_id((label.to_owned(), i64::from(shard)))
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

/// Stores a list unless a newer one is there: numbers only rise.
pub(super) async fn store_crl(tx: &Tx, row: &CrlRow) -> Result<()> {
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
        return Ok(());
    }
    crl::Entity::insert(crl::ActiveModel {
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
    Ok(())
}

fn reason(code: Option<i64>) -> Result<Reason> {
    code.and_then(|code| u8::try_from(code).ok())
        .and_then(Reason::from_code)
        .ok_or_else(|| Error::internal(format!("{code:?} is not a revocation reason")))
}

fn parse(row: issued::Model) -> Result<IssuedCertificate> {
    let state = match (row.revoked_at, &row.certificate) {
        (Some(at), _) => State::Revoked {
            at: Timestamp::from_unix(at),
            reason: reason(row.reason)?,
        },
        (None, Some(_)) => State::Issued,
        (None, None) => State::Reserved,
    };
    Ok(IssuedCertificate {
        id: row.id,
        issuer: row.issuer,
        names: serde_json::from_str(&row.names)
            .map_err(|e| Error::internal(format!("the names of `{}` cannot be read", row.serial)).because(e))?,
        profile: row.profile.parse()?,
        requested_by: row.requested_by,
        serial: row.serial,
        spki_sha256: row.spki_sha256,
        state,
        subject: row.subject,
        validity: Validity {
            not_before: Timestamp::from_unix(row.not_before),
            not_after: Timestamp::from_unix(row.not_after),
        },
    })
}
