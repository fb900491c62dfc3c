//! The tables `issuer` and `acme_challenge`.

use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::solver::http_01::Answer;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::Label;
use crate::store::entity::{acme_challenge, issuer};
use crate::store::{self, Store, Tx};

/// An issuer as it is stored.
#[derive(Clone)]
pub(super) struct IssuerRow {
    pub(super) name: Label,
    pub(super) directory: String,
    pub(super) ca_pem: Option<String>,
    pub(super) account_url: Option<String>,
    /// Sealed.
    pub(super) account_key: Vec<u8>,
    pub(super) contacts: Vec<String>,
    pub(super) created: Timestamp,
}

impl TryFrom<issuer::Model> for IssuerRow {
    type Error = Error;
    fn try_from(row: issuer::Model) -> Result<Self> {
        Ok(Self {
            name: row.name.parse()?,
            directory: row.directory,
            ca_pem: row.ca_pem,
            account_url: row.account_url,
            account_key: row.account_key,
            contacts: serde_json::from_str(&row.contacts)
                .map_err(|e| Error::internal("an issuer's contacts do not parse").because(e))?,
            created: Timestamp::from_unix(row.created_at),
        })
    }
}

pub(super) async fn insert_issuer(tx: &Tx, row: &IssuerRow) -> Result<()> {
    let contacts = serde_json::to_string(&row.contacts).map_err(|e| Error::internal("contacts").because(e))?;
    issuer::Entity::insert(issuer::ActiveModel {
        name: Set(row.name.to_string()),
        kind: Set("acme".to_owned()),
        directory: Set(row.directory.clone()),
        ca_pem: Set(row.ca_pem.clone()),
        account_url: Set(row.account_url.clone()),
        account_key: Set(row.account_key.clone()),
        contacts: Set(contacts),
        created_at: Set(row.created.unix()),
    })
    .exec_without_returning(tx.conn())
    .await
    .map_err(|e| {
        if store::is_unique_violation(&e) {
            Error::conflict(format!(
                "issuer `{}` exists already: use it, or choose another name",
                row.name
            ))
        } else {
            e.into()
        }
    })?;
    Ok(())
}

pub(super) async fn issuer(store: &Store, name: &Label) -> Result<Option<IssuerRow>> {
    let row = issuer::Entity::find_by_id(name.as_str()).one(store.read()).await?;
    row.map(IssuerRow::try_from).transpose()
}

pub(super) async fn issuers(store: &Store, after: Option<&str>, limit: u64) -> Result<Vec<IssuerRow>> {
    let mut query = issuer::Entity::find().order_by_asc(issuer::Column::Name).limit(limit);
    if let Some(after) = after {
        query = query.filter(issuer::Column::Name.gt(after));
    }
    query
        .all(store.read())
        .await?
        .into_iter()
        .map(IssuerRow::try_from)
        .collect()
}

pub(super) async fn set_account(tx: &Tx, name: &Label, url: &str) -> Result<()> {
    issuer::Entity::update_many()
        .col_expr(issuer::Column::AccountUrl, Expr::value(url))
        .filter(issuer::Column::Name.eq(name.as_str()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn publish(
    tx: &Tx,
    order_url: &str,
    answers: &[Answer],
    expires: Timestamp,
    now: Timestamp,
) -> Result<()> {
    // What an interrupted order left is swept by the next.
    acme_challenge::Entity::delete_many()
        .filter(acme_challenge::Column::ExpiresAt.lt(now.unix()))
        .exec(tx.conn())
        .await?;
    for answer in answers {
        acme_challenge::Entity::insert(acme_challenge::ActiveModel {
            token: Set(answer.token.clone()),
            key_authorization: Set(answer.key_authorization.clone()),
            order_url: Set(order_url.to_owned()),
            expires_at: Set(expires.unix()),
        })
        .on_conflict(
            OnConflict::column(acme_challenge::Column::Token)
                .update_columns([
                    acme_challenge::Column::KeyAuthorization,
                    acme_challenge::Column::ExpiresAt,
                    // Orders may share an authorization: the later one's withdrawal takes the answer away.
                    acme_challenge::Column::OrderUrl,
                ])
                .to_owned(),
        )
        .exec_without_returning(tx.conn())
        .await?;
    }
    Ok(())
}

pub(super) async fn withdraw(tx: &Tx, order_url: &str) -> Result<()> {
    acme_challenge::Entity::delete_many()
        .filter(acme_challenge::Column::OrderUrl.eq(order_url))
        .exec(tx.conn())
        .await?;
    Ok(())
}

pub(super) async fn answer(store: &Store, token: &str) -> Result<Option<String>> {
    let row = acme_challenge::Entity::find_by_id(token).one(store.read()).await?;
    Ok(row.map(|row| row.key_authorization))
}
