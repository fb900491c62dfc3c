//! Issued certificates in the store, along one index at a time.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ColumnTrait, Condition, DatabaseConnection, EntityTrait, FromQueryResult, JoinType, QueryFilter, QueryOrder,
    QuerySelect, RelationTrait, Select, SelectModel, Selector,
};

use super::Place;
use super::filter::Walk;
use crate::ca::repo::reason;
use crate::ca::{IssuedCertificate, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::store::entity::{issued, issued_name};
use crate::x509::profile::Validity;

/// What of a row is read: not the certificate itself.
#[derive(FromQueryResult)]
pub(in crate::ca) struct Row {
    id: String,
    issuer: String,
    names: String,
    not_after: i64,
    not_before: i64,
    profile: String,
    reason: Option<i64>,
    requested_by: String,
    revoked_at: Option<i64>,
    serial: String,
    signed: bool,
    spki_sha256: String,
    subject: String,
}

/// A row that is met on a walk.
#[derive(FromQueryResult)]
struct Met {
    #[sea_orm(nested)]
    row: Row,
    /// By which name it is met; empty if by none.
    by_name: String,
}

/// The rows of a query.
pub(in crate::ca) fn rows(query: Select<issued::Entity>) -> Selector<SelectModel<Row>> {
    columns(query).into_model()
}

fn columns(query: Select<issued::Entity>) -> Select<issued::Entity> {
    use issued::Column::{
        Certificate, Id, Issuer, Names, NotAfter, NotBefore, Profile, Reason, RequestedBy, RevokedAt, Serial,
        SpkiSha256, Subject,
    };
    query
        .select_only()
        .columns([
            Id,
            Issuer,
            Names,
            NotAfter,
            NotBefore,
            Profile,
            Reason,
            RequestedBy,
            RevokedAt,
            Serial,
            SpkiSha256,
            Subject,
        ])
        .expr_as(Certificate.is_not_null(), "signed")
}

impl Row {
    pub(in crate::ca) fn read(self) -> Result<IssuedCertificate> {
        let state = match (self.revoked_at, self.signed) {
            (Some(at), _) => State::Revoked {
                at: Timestamp::from_unix(at),
                reason: reason(self.reason)?,
            },
            (None, true) => State::Issued,
            (None, false) => State::Reserved,
        };
        Ok(IssuedCertificate {
            names: serde_json::from_str(&self.names)
                .map_err(|e| Error::internal(format!("the names of `{}` cannot be read", self.serial)).because(e))?,
            id: self.id,
            issuer: self.issuer,
            profile: self.profile.parse()?,
            requested_by: self.requested_by,
            serial: self.serial,
            spki_sha256: self.spki_sha256,
            state,
            subject: self.subject,
            validity: Validity {
                not_before: Timestamp::from_unix(self.not_before),
                not_after: Timestamp::from_unix(self.not_after),
            },
        })
    }
}

/// The next `limit` certificates on a walk, behind `place`, each with its place.
pub(super) async fn walk(
    conn: &DatabaseConnection,
    walk: &Walk,
    place: Option<&Place>,
    limit: u64,
) -> Result<Vec<(Place, IssuedCertificate)>> {
    let met = query(walk, place, limit).into_model::<Met>().all(conn).await?;
    let read = met.into_iter().map(|Met { row, by_name }| {
        let key = match walk {
            Walk::Ends(..) => row.not_after.to_string(),
            _ => by_name,
        };
        let id = row.id.clone();
        Ok((Place { id, key }, row.read()?))
    });
    read.collect()
}

/// INVARIANT: all rows that are on the walk stand side by side in one index, in the order that is asked for.
pub(super) fn query(walk: &Walk, place: Option<&Place>, limit: u64) -> Select<issued::Entity> {
    use issued::Column;
    let by_name = match walk {
        Walk::Under(_) => Expr::col((issued_name::Entity, issued_name::Column::Name)),
        _ => Expr::val(""),
    };
    let all = columns(issued::Entity::find()).expr_as(by_name, "by_name").limit(limit);
    let newest_first = |column: Column, is: &str| newest_first(all.clone().filter(column.eq(is)), place);
    match walk {
        Walk::All => self::newest_first(all, place),
        Walk::Ends(from, until) => {
            let ends = Column::NotAfter;
            let query = all
                .filter(ends.gte(from.unix()))
                .filter(ends.lte(until.unix()))
                .order_by_asc(ends)
                .order_by_asc(Column::Id);
            match place.and_then(|place| Some((place.key.parse::<i64>().ok()?, place))) {
                Some((key, place)) => query.filter(behind(ends.gte(key), ends.gt(key), Column::Id.gt(&place.id))),
                None => query,
            }
        }
        Walk::Issuer(label) => newest_first(Column::Issuer, label),
        Walk::Key(hash) => newest_first(Column::SpkiSha256, hash),
        Walk::Named(name) => {
            use issued_name::Column;
            let query = named(all).filter(Column::Name.eq(name)).order_by_desc(Column::Id);
            match place {
                Some(place) => query.filter(Column::Id.lt(&place.id)),
                None => query,
            }
        }
        Walk::Owner(caller) => newest_first(Column::RequestedBy, caller),
        Walk::Profile(profile) => newest_first(Column::Profile, profile),
        // The text of the conditions is the indexes' own: they hold only these rows.
        Walk::Reserved => self::newest_first(all.filter(Column::Certificate.is_null()), place),
        Walk::Revoked => self::newest_first(all.filter(Column::RevokedAt.is_not_null()), place),
        Walk::Serial(serial) => newest_first(Column::Serial, serial),
        Walk::Under(prefix) => {
            use issued_name::Column;
            let name = Column::Name;
            let query = named(all)
                .filter(name.gte(prefix))
                .filter(name.lt(after_all(prefix)))
                .order_by_asc(name)
                .order_by_asc(Column::Id);
            match place {
                Some(Place { id, key }) => query.filter(behind(name.gte(key), name.gt(key), Column::Id.gt(id))),
                None => query,
            }
        }
    }
}

fn newest_first(query: Select<issued::Entity>, place: Option<&Place>) -> Select<issued::Entity> {
    let query = query.order_by_desc(issued::Column::Id);
    match place {
        Some(place) => query.filter(issued::Column::Id.lt(&place.id)),
        None => query,
    }
}

/// Joined with the names.
fn named(query: Select<issued::Entity>) -> Select<issued::Entity> {
    query.join(JoinType::InnerJoin, issued_name::Relation::Issued.def().rev())
}

/// Behind a place in an order of two columns: the first one at least, which the index is entered by, and more.
fn behind(at_least: Expr, more: Expr, second: Expr) -> Condition {
    Condition::all()
        .add(at_least)
        .add(Condition::any().add(more).add(second))
}

/// The first text behind all that begin so. A prefix ends in `.`, whose successor is `/`.
fn after_all(prefix: &str) -> String {
    format!("{}/", prefix.strip_suffix('.').unwrap_or(prefix))
}
