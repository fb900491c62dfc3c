//! Issuers in the store.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, EntityTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{IssuerRow, Role, Stage};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Label;
use crate::store::entity::authority_issuer;
use crate::store::{Tx, is_unique_violation};
use crate::x509::pem;

/// All, roots first, by authority and number.
pub(in crate::ca) async fn issuers<C: ConnectionTrait>(conn: &C) -> Result<Vec<IssuerRow>> {
    let mut rows = authority_issuer::Entity::find()
        .order_by_asc(authority_issuer::Column::Authority)
        .order_by_asc(authority_issuer::Column::Number)
        .all(conn)
        .await?
        .into_iter()
        .map(parse)
        .collect::<Result<Vec<_>>>()?;
    rows.sort_by(|a, b| (&a.authority, a.role, a.number).cmp(&(&b.authority, b.role, b.number)));
    Ok(rows)
}

/// The certificate and the number of revocations of the issuer with this key.
pub(in crate::ca) async fn issuer(conn: &DatabaseConnection, label: &str) -> Result<Option<(Vec<u8>, i64)>> {
    let row = authority_issuer::Entity::find_by_id(label).one(conn).await?;
    Ok(row.map(|row| (row.certificate, row.revision)))
}

/// The number of revocations of each issuer, by the label of its key.
pub(in crate::ca) async fn revisions(conn: &DatabaseConnection) -> Result<Vec<(String, i64)>> {
    Ok(authority_issuer::Entity::find()
        .select_only()
        .column(authority_issuer::Column::Label)
        .column(authority_issuer::Column::Revision)
        .into_tuple()
        .all(conn)
        .await?)
}

pub(in crate::ca) async fn insert(tx: &Tx, issuer: &IssuerRow) -> Result<()> {
    let row = authority_issuer::ActiveModel {
        label: Set(issuer.label.clone()),
        authority: Set(issuer.authority.to_string()),
        role: Set(issuer.role.as_str().to_owned()),
        serial: Set(issuer.serial.clone()),
        certificate: Set(issuer.certificate.clone()),
        not_after: Set(issuer.not_after.unix()),
        revision: Set(0),
        crl_number: Set(0),
        created_at: Set(issuer.stage_at.unix()),
        number: Set(i64::from(issuer.number)),
        stage: Set(issuer.stage.to_string()),
        stage_at: Set(issuer.stage_at.unix()),
        parent: Set(issuer.parent.clone()),
        key_type: Set(issuer.key_type.map(|kind| kind.to_string()).unwrap_or_default()),
        origin: Set(issuer.origin.as_str().to_owned()),
        chain: Set(pem::encode_chain(&issuer.chain)),
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

/// Takes the issuer from one stage to another. `false`: it was not in that stage.
pub(in crate::ca) async fn advance(tx: &Tx, label: &str, from: Stage, to: Stage, now: Timestamp) -> Result<bool> {
    let updated = authority_issuer::Entity::update_many()
        .col_expr(authority_issuer::Column::Stage, Expr::value(to.as_str()))
        .col_expr(authority_issuer::Column::StageAt, Expr::value(now.unix()))
        .filter(authority_issuer::Column::Label.eq(label))
        .filter(authority_issuer::Column::Stage.eq(from.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Stores the certificate of a requested issuer. `false`: it has one.
pub(in crate::ca) async fn prepare(tx: &Tx, issuer: &IssuerRow) -> Result<bool> {
    let updated = authority_issuer::Entity::update_many()
        .col_expr(authority_issuer::Column::Serial, Expr::value(issuer.serial.as_str()))
        .col_expr(
            authority_issuer::Column::Certificate,
            Expr::value(issuer.certificate.clone()),
        )
        .col_expr(
            authority_issuer::Column::Chain,
            Expr::value(pem::encode_chain(&issuer.chain)),
        )
        .col_expr(authority_issuer::Column::Parent, Expr::value(issuer.parent.as_str()))
        .col_expr(authority_issuer::Column::NotAfter, Expr::value(issuer.not_after.unix()))
        .col_expr(authority_issuer::Column::Stage, Expr::value(Stage::Prepared.as_str()))
        .col_expr(authority_issuer::Column::StageAt, Expr::value(issuer.stage_at.unix()))
        .filter(authority_issuer::Column::Label.eq(issuer.label.as_str()))
        .filter(authority_issuer::Column::Stage.eq(Stage::Requested.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Stores the certificate of a prepared root by the one before it. `false`: it has one.
pub(in crate::ca) async fn set_chain(tx: &Tx, label: &str, cross: &[u8], now: Timestamp) -> Result<bool> {
    let updated = authority_issuer::Entity::update_many()
        .col_expr(
            authority_issuer::Column::Chain,
            Expr::value(pem::encode_chain(&[cross])),
        )
        .col_expr(authority_issuer::Column::StageAt, Expr::value(now.unix()))
        .filter(authority_issuer::Column::Label.eq(label))
        .filter(authority_issuer::Column::Stage.eq(Stage::Prepared.as_str()))
        .filter(authority_issuer::Column::Chain.eq(""))
        .exec(tx.conn())
        .await?;
    Ok(updated.rows_affected == 1)
}

/// Forgets what led from an authority's issuers to a root that is not trusted any more.
pub(in crate::ca) async fn drop_chains(tx: &Tx, authority: &Label) -> Result<()> {
    authority_issuer::Entity::update_many()
        .col_expr(authority_issuer::Column::Chain, Expr::value(""))
        .filter(authority_issuer::Column::Authority.eq(authority.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

fn parse(row: authority_issuer::Model) -> Result<IssuerRow> {
    let role = match row.role.as_str() {
        "root" => Role::Root,
        "issuing" => Role::Issuing,
        other => return Err(Error::internal(format!("`{other}` is no role of an issuer"))),
    };
    Ok(IssuerRow {
        authority: row.authority.parse()?,
        role,
        number: u32::try_from(row.number).unwrap_or(1),
        stage: row.stage.parse()?,
        stage_at: Timestamp::from_unix(row.stage_at),
        origin: row.origin.parse()?,
        parent: row.parent,
        key_type: match row.key_type.as_str() {
            "" => None,
            kind => Some(kind.parse()?),
        },
        serial: row.serial,
        certificate: row.certificate,
        chain: match row.chain.as_str() {
            "" => Vec::new(),
            chain => pem::decode_all(pem::CERTIFICATE, chain)?,
        },
        not_after: Timestamp::from_unix(row.not_after),
        label: row.label,
    })
}
