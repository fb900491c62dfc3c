//! Issued certificates in the store.

use sea_orm::sea_query::{CaseStatement, Expr, ExprTrait, SelectStatement, UnionType};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
};

use super::IssuedCertificate;
use super::inventory::keys;
use super::inventory::repo::{Row, rows};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::entity::{blocked_key, issued, issued_name};
use crate::store::{Together, Tx};
use crate::x509::crl::Reason;
use crate::x509::profile::Validity;

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
    /// As lists show them.
    pub(super) names: Vec<String>,
    pub(super) requested_by: String,
    pub(super) shard: u32,
    pub(super) validity: Validity,
    pub(super) created: Timestamp,
}

/// Reserves a serial and keeps what is about to be signed.
impl Together for Reservation {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        let named = parts.iter().flat_map(|reservation| {
            let keys = keys(&reservation.names).into_iter();
            keys.map(|name| issued_name::ActiveModel {
                name: Set(name),
                id: Set(reservation.id.clone()),
            })
        });
        let named: Vec<_> = named.collect();
        let rows = parts.into_iter().map(|reservation| issued::ActiveModel {
            serial: Set(reservation.serial),
            id: Set(reservation.id),
            issuer: Set(reservation.issuer),
            profile: Set(reservation.profile),
            profile_hash: Set(reservation.profile_hash),
            tbs: Set(reservation.tbs),
            certificate: Set(None),
            spki_sha256: Set(reservation.spki_sha256),
            subject: Set(reservation.subject),
            names: Set(serde_json::Value::from(reservation.names).to_string()),
            requested_by: Set(reservation.requested_by),
            not_before: Set(reservation.validity.not_before.unix()),
            not_after: Set(reservation.validity.not_after.unix()),
            created_at: Set(reservation.created.unix()),
            revoked_at: Set(None),
            reason: Set(None),
            shard: Set(i64::from(reservation.shard)),
            revision: Set(None),
        });
        issued::Entity::insert_many(rows).exec_without_returning(conn).await?;
        for some in named.chunks(NAMES) {
            issued_name::Entity::insert_many(some.iter().cloned())
                .exec_without_returning(conn)
                .await?;
        }
        Ok(())
    }
}

/// Names in one statement: none takes more than 32,766 values.
const NAMES: usize = 10_000;

/// Why a key is never certified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    Blocked,
    Compromised,
}

impl From<Unfit> for Error {
    fn from(why: Unfit) -> Self {
        Self::invalid(match why {
            Unfit::Blocked => "this key is blocked: make a new key",
            Unfit::Compromised => "a certificate for this key was revoked as compromised: make a new key",
        })
    }
}

/// Whether one of these keys (SHA-256 of the SPKI) was revoked as compromised, whoever certified it and however long
/// ago, or is blocked. Looked up by key, so that neither a start nor a node's memory grows with the number of them.
pub(super) async fn unfit<C: ConnectionTrait>(conn: &C, keys: &[&str]) -> Result<Option<Unfit>> {
    let found = conn.query_one(unfit_query(keys).limit(1)).await?;
    let Some(row) = found else { return Ok(None) };
    Ok(Some(match row.try_get_by_index::<i32>(0)? {
        0 => Unfit::Compromised,
        _ => Unfit::Blocked,
    }))
}

/// 0 for each certificate that was revoked as compromised, 1 for each block.
pub(super) fn unfit_query(keys: &[&str]) -> SelectStatement {
    let mut compromised = issued::Entity::find()
        .select_only()
        .expr_as(Expr::cust("0"), "is_blocked")
        .filter(issued::Column::SpkiSha256.is_in(keys.iter().copied()))
        // As it stands in the index `issued_compromised_key`: a key may have many certificates that were not.
        .filter(Expr::cust("reason = 1"))
        .into_query();
    let blocked = blocked_key::Entity::find()
        .select_only()
        .expr_as(Expr::cust("1"), "is_blocked")
        .filter(blocked_key::Column::SpkiSha256.is_in(keys.iter().copied()))
        .into_query();
    compromised.union(UnionType::All, blocked).take()
}

/// A key that a certificate is about to be made for: nothing is reserved, nor signed, if it is unfit.
pub(super) struct FitKey(pub(super) String);

impl Together for FitKey {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        let keys: Vec<&str> = parts.iter().map(|part| part.0.as_str()).collect();
        match unfit(conn, &keys).await? {
            Some(why) => Err(why.into()),
            None => Ok(()),
        }
    }
}

/// Stores the certificate of a reservation.
pub(super) struct Completion {
    pub(super) serial: String,
    pub(super) certificate: Vec<u8>,
    /// The subject's key, unless it may be a refused one.
    pub(super) spki_sha256: Option<String>,
}

impl Together for Completion {
    async fn write(parts: Vec<Self>, conn: &DatabaseTransaction) -> Result<()> {
        let serials: Vec<String> = parts.iter().map(|part| part.serial.clone()).collect();
        let keys: Vec<String> = parts.iter().filter_map(|part| part.spki_sha256.clone()).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut certificate = CaseStatement::new();
        for part in parts {
            certificate = certificate.case(
                Expr::col(issued::Column::Serial).eq(part.serial),
                Expr::value(part.certificate),
            );
        }
        let updated = issued::Entity::update_many()
            .col_expr(issued::Column::Certificate, certificate.into())
            // The certificate holds the same bytes.
            .col_expr(issued::Column::Tbs, Expr::value(Vec::<u8>::new()))
            .filter(issued::Column::Serial.is_in(serials.iter().map(String::as_str)))
            .filter(issued::Column::Certificate.is_null())
            // Revoked between reservation and signature: it must not be handed out. Nor if its key was blocked since, or
            // revoked as compromised.
            .filter(issued::Column::RevokedAt.is_null())
            .filter(Expr::exists(unfit_query(&keys)).not())
            .exec(conn)
            .await?;
        if updated.rows_affected == serials.len() as u64 {
            Ok(())
        } else if let Some(why) = unfit(conn, &keys).await? {
            Err(why.into())
        } else {
            Err(Error::conflict(format!(
                "the certificate `{}` was revoked while it was made: ask for another",
                serials.join("` or `")
            )))
        }
    }
}

/// Stores a certificate that was signed and is in no row.
pub(super) async fn insert_shown(tx: &Tx, row: &Reservation, certificate: &[u8]) -> Result<()> {
    Reservation::write(vec![row.clone()], tx.conn()).await?;
    let completion = Completion {
        serial: row.serial.clone(),
        certificate: certificate.to_vec(),
        spki_sha256: None,
    };
    Completion::write(vec![completion], tx.conn()).await
}

pub(super) async fn find<C: ConnectionTrait>(conn: &C, serial: &str) -> Result<Option<IssuedCertificate>> {
    let row = rows(issued::Entity::find_by_id(serial)).one(conn).await?;
    row.map(Row::read).transpose()
}

/// A completed certificate, the label of its issuer, and its validity.
pub(super) async fn certificate(
    conn: &DatabaseConnection,
    serial: &str,
) -> Result<Option<(Vec<u8>, String, Validity)>> {
    let Some(row) = issued::Entity::find_by_id(serial).one(conn).await? else {
        return Ok(None);
    };
    let validity = Validity {
        not_before: Timestamp::from_unix(row.not_before),
        not_after: Timestamp::from_unix(row.not_after),
    };
    let issuer = row.issuer;
    Ok(row.certificate.map(|certificate| (certificate, issuer, validity)))
}

/// The profile of what an issuing CA signs for itself.
const OWN: &str = "ocsp-responder";

fn valid_ones(label: &str, now: Timestamp) -> Select<issued::Entity> {
    issued::Entity::find()
        .filter(issued::Column::Issuer.eq(label))
        .filter(issued::Column::NotAfter.gte(now.unix()))
        .filter(issued::Column::RevokedAt.is_null())
        .filter(issued::Column::Certificate.is_not_null())
        .filter(issued::Column::Profile.ne(OWN))
}

/// Whether somebody has a valid certificate of the issuer.
pub(super) async fn has_valid(conn: &DatabaseConnection, label: &str, now: Timestamp) -> Result<bool> {
    let one = valid_ones(label, now)
        .select_only()
        .column(issued::Column::Serial)
        .limit(1)
        .into_tuple::<String>()
        .one(conn)
        .await?;
    Ok(one.is_some())
}

/// Valid certificates of the issuer, those first that end last.
pub(super) async fn valid(
    conn: &DatabaseConnection,
    label: &str,
    now: Timestamp,
    most: u64,
) -> Result<Vec<IssuedCertificate>> {
    let found = valid_ones(label, now)
        .order_by_desc(issued::Column::NotAfter)
        .limit(most);
    let rows = rows(found);
    rows.all(conn).await?.into_iter().map(Row::read).collect()
}

pub(super) fn reason(code: Option<i64>) -> Result<Reason> {
    code.and_then(|code| u8::try_from(code).ok())
        .and_then(Reason::from_code)
        .ok_or_else(|| Error::internal(format!("{code:?} is not a revocation reason")))
}

/// Loses a certificate, as a database does that is put back to an older state.
#[cfg(test)]
pub(super) async fn forget(store: &crate::store::Store, serial: &str) -> Result<()> {
    let serial = serial.to_owned();
    store
        .transact(move |tx| {
            let delete = issued::Entity::delete_by_id(serial.as_str());
            Box::pin(async move {
                delete.exec(tx.conn()).await?;
                Ok(())
            })
        })
        .await
}

/// Adds certificates of one shard that were revoked, each with a revocation of its own.
#[cfg(test)]
pub(super) async fn fill_revoked(store: &crate::store::Store, issuer: &str, shard: u32, count: u64) -> Result<()> {
    use sea_orm::ConnectionTrait;

    let rows = format!(
        "INSERT INTO issued (serial, id, issuer, profile, profile_hash, tbs, certificate, spki_sha256, subject, names, \
         requested_by, not_before, not_after, created_at, revoked_at, reason, shard, revision) \
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count}) \
         SELECT '1' || substr(lower(hex(randomblob(20))), 2), lower(hex(randomblob(16))), '{issuer}', 'server-tls', '', \
         x'', x'00', lower(hex(randomblob(32))), '', '[]', 'filled', 1799999000, 1900000000, 1800000000, 1800000000, 4, \
         {shard}, i + (SELECT revision FROM authority_issuer WHERE label = '{issuer}') FROM n"
    );
    let counter = format!("UPDATE authority_issuer SET revision = revision + {count} WHERE label = '{issuer}'");
    store
        .transact(move |tx| {
            let (rows, counter) = (rows.clone(), counter.clone());
            Box::pin(async move {
                tx.conn().execute_unprepared(&rows).await?;
                tx.conn().execute_unprepared(&counter).await?;
                tx.touch(crate::store::Topic::Authorities);
                Ok(())
            })
        })
        .await
}
