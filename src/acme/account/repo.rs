//! Accounts in the store.

use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, DatabaseConnection, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};

use super::{Account, AccountStatus, spki_sha256};
use crate::acme::external::Bound;
use crate::acme::jwk::Jwk;
use crate::acme::rules::NameRules;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::store::entity::{acme_account, acme_authorization, acme_order};
use crate::store::{Tx, is_unique_violation};

pub(super) async fn find(conn: &DatabaseConnection, id: Id) -> Result<Option<Account>> {
    let row = acme_account::Entity::find_by_id(id.to_string()).one(conn).await?;
    row.map(parse).transpose()
}

/// An authority's accounts behind `after`, oldest first.
pub(super) async fn page(
    conn: &DatabaseConnection,
    authority: &Label,
    after: Option<Id>,
    limit: u32,
) -> Result<Vec<Account>> {
    let mut query = acme_account::Entity::find()
        .filter(acme_account::Column::Authority.eq(authority.as_str()))
        .order_by_asc(acme_account::Column::Id)
        .limit(u64::from(limit));
    if let Some(after) = after {
        query = query.filter(acme_account::Column::Id.gt(after.to_string()));
    }
    query.all(conn).await?.into_iter().map(parse).collect()
}

pub(super) async fn with_key(
    conn: &DatabaseConnection,
    authority: &Label,
    thumbprint: &str,
) -> Result<Option<Account>> {
    let row = acme_account::Entity::find()
        .filter(acme_account::Column::Authority.eq(authority.as_str()))
        .filter(acme_account::Column::Thumbprint.eq(thumbprint))
        .one(conn)
        .await?;
    row.map(parse).transpose()
}

pub(super) async fn has_spki(conn: &DatabaseConnection, sha256: &str) -> Result<bool> {
    let found = acme_account::Entity::find()
        .select_only()
        .column(acme_account::Column::Id)
        .filter(acme_account::Column::SpkiSha256.eq(sha256))
        .limit(1)
        .count(conn)
        .await?;
    Ok(found > 0)
}

pub(super) async fn insert(tx: &Tx, account: &Account) -> Result<()> {
    let row = acme_account::ActiveModel {
        id: Set(account.id.to_string()),
        authority: Set(account.authority.to_string()),
        status: Set(account.status.as_str().to_owned()),
        thumbprint: Set(account.key.thumbprint()),
        jwk: Set(account.key.canonical().to_owned()),
        spki_sha256: Set(spki_sha256(account.key.spki())),
        contact: Set(contacts(account)),
        terms_agreed_at: Set(account.terms_agreed_at.map(Timestamp::unix)),
        created_at: Set(account.created.unix()),
        external_key: Set(account.bound.as_ref().map(|bound| bound.key.to_string())),
        identity: Set(account.bound.as_ref().map(|bound| bound.identity.to_string())),
        binding: Set(account.bound.as_ref().map(|bound| bound.document.to_string())),
        rules: Set(Some(account.rules.to_json())),
        trusted: Set(account.is_trusted),
        terms: Set(account.terms.clone()),
        role: Set(account.role.map(String::from)),
    };
    match acme_account::Entity::insert(row)
        .exec_without_returning(tx.conn())
        .await
    {
        Ok(_) => Ok(()),
        Err(e) if is_unique_violation(&e) => Err(taken()),
        Err(e) => Err(e.into()),
    }
}

/// Writes contacts and status; one that is given up takes along what it has not finished.
pub(super) async fn update(tx: &Tx, account: &Account) -> Result<()> {
    let id = account.id.to_string();
    let updated = acme_account::Entity::update_many()
        .col_expr(acme_account::Column::Status, Expr::value(account.status.as_str()))
        .col_expr(acme_account::Column::Contact, Expr::value(contacts(account)))
        .filter(acme_account::Column::Id.eq(&id))
        .filter(acme_account::Column::Status.eq(AccountStatus::Valid.as_str()))
        .exec(tx.conn())
        .await?;
    if updated.rows_affected != 1 {
        return Err(super::create::deactivated());
    }
    if account.status == AccountStatus::Deactivated {
        acme_order::Entity::update_many()
            .col_expr(acme_order::Column::Status, Expr::value("invalid"))
            .filter(acme_order::Column::Account.eq(&id))
            .filter(acme_order::Column::Status.eq("pending"))
            .exec(tx.conn())
            .await?;
        acme_authorization::Entity::update_many()
            .col_expr(acme_authorization::Column::Status, Expr::value("deactivated"))
            .col_expr(acme_authorization::Column::LeasedUntil, Expr::value(None::<i64>))
            .filter(acme_authorization::Column::Account.eq(&id))
            .filter(acme_authorization::Column::Status.is_in(["pending", "valid"]))
            .exec(tx.conn())
            .await?;
    }
    Ok(())
}

/// Writes what administrators say of an account.
pub(super) async fn restrict(tx: &Tx, account: &Account) -> Result<()> {
    acme_account::Entity::update_many()
        .col_expr(acme_account::Column::Rules, Expr::value(account.rules.to_json()))
        .col_expr(acme_account::Column::Trusted, Expr::value(account.is_trusted))
        .col_expr(acme_account::Column::Terms, Expr::value(account.terms.clone()))
        .col_expr(
            acme_account::Column::TermsAgreedAt,
            Expr::value(account.terms_agreed_at.map(Timestamp::unix)),
        )
        .filter(acme_account::Column::Id.eq(account.id.to_string()))
        .exec(tx.conn())
        .await?;
    Ok(())
}

/// Puts `key` in the place of the key that the account has.
pub(super) async fn replace_key(tx: &Tx, account: &Account, key: &Jwk) -> Result<()> {
    let updated = acme_account::Entity::update_many()
        .col_expr(acme_account::Column::Thumbprint, Expr::value(key.thumbprint()))
        .col_expr(acme_account::Column::Jwk, Expr::value(key.canonical()))
        .col_expr(acme_account::Column::SpkiSha256, Expr::value(spki_sha256(key.spki())))
        .filter(acme_account::Column::Id.eq(account.id.to_string()))
        .filter(acme_account::Column::Thumbprint.eq(account.key.thumbprint()))
        .filter(acme_account::Column::Status.eq(AccountStatus::Valid.as_str()))
        .exec(tx.conn())
        .await;
    match updated {
        Ok(updated) if updated.rows_affected == 1 => Ok(()),
        Ok(_) => Err(Error::conflict(
            "the account was changed meanwhile: read it and try again",
        )),
        Err(e) if is_unique_violation(&e) => Err(taken()),
        Err(e) => Err(e.into()),
    }
}

fn taken() -> Error {
    Error::conflict("an account has this key already: use it, or make another key")
}

fn contacts(account: &Account) -> String {
    serde_json::Value::from(account.contact.clone()).to_string()
}

fn parse(row: acme_account::Model) -> Result<Account> {
    let broken = |what: &str| Error::internal(format!("the {what} of the account `{}` cannot be read", row.id));
    let bound = match (&row.external_key, &row.identity, &row.binding) {
        (Some(key), Some(identity), Some(document)) => Some(Bound {
            key: key.parse()?,
            identity: identity.parse()?,
            document: serde_json::from_str(document).map_err(|e| broken("binding").because(e))?,
        }),
        _ => None,
    };
    let rules = row.rules.as_deref().map(NameRules::from_json).transpose()?;
    let members = serde_json::from_str(&row.jwk).map_err(|e| broken("key").because(e))?;
    Ok(Account {
        id: row.id.parse()?,
        authority: row.authority.parse()?,
        status: match row.status.as_str() {
            "valid" => AccountStatus::Valid,
            "deactivated" => AccountStatus::Deactivated,
            _ => return Err(broken("status")),
        },
        key: Jwk::new(members).map_err(|e| broken("key").because(e))?,
        contact: serde_json::from_str(&row.contact).map_err(|e| broken("contact").because(e))?,
        terms_agreed_at: row.terms_agreed_at.map(Timestamp::from_unix),
        terms: row.terms,
        created: Timestamp::from_unix(row.created_at),
        bound,
        rules: rules.unwrap_or_default(),
        is_trusted: row.trusted,
        role: row.role.map(|role| role.parse()).transpose()?,
    })
}
