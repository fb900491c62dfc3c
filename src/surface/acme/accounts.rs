//! Accounts, their lists of orders, and key changes (RFC 8555 §7.1.2, §7.3).

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{link, set};
use super::directory::only_gets;
use super::urls::Urls;
use crate::acme::{Account, AccountUpdate, By, NewAccount, Problem, Signed};
use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct New {
    #[serde(default)]
    contact: Vec<String>,
    #[serde(default)]
    only_return_existing: bool,
    #[serde(default)]
    terms_of_service_agreed: bool,
    external_account_binding: Option<Value>,
}

#[derive(Deserialize)]
struct Update {
    contact: Option<Vec<String>>,
    status: Option<String>,
}

/// newAccount.
pub(super) async fn enter(urls: Urls, signed: Signed) -> Result<Response> {
    let asked: New = signed.read()?;
    let By::Key(key) = signed.by else {
        return Err(Problem::malformed("name the key by `jwk`").into());
    };
    let asked = NewAccount {
        contact: asked.contact,
        only_existing: asked.only_return_existing,
        terms_agreed: asked.terms_of_service_agreed,
        binding: asked.external_account_binding,
    };
    let (account, made) = urls
        .acme
        .enter(signed.source, signed.request, &signed.url, *key, asked)
        .await?;
    let status = if made { StatusCode::CREATED } else { StatusCode::OK };
    let location = [(header::LOCATION, urls.account(account.id))];
    Ok((status, location, Json(spell(&urls, &account))).into_response())
}

/// Looking at one's account, or changing it.
pub(super) async fn account(urls: Urls, signed: Signed) -> Result<Response> {
    let (account, caller, _) = own(&urls, &signed)?;
    if signed.is_get() {
        return Ok(Json(spell(&urls, account)).into_response());
    }
    let asked: Update = signed.read()?;
    let update = AccountUpdate {
        contact: asked.contact,
        // Any other status is ignored (RFC 8555 §7.3.2).
        deactivate: asked.status.as_deref() == Some("deactivated"),
    };
    if update.contact.is_none() && !update.deactivate {
        return Ok(Json(spell(&urls, account)).into_response());
    }
    let changed = urls.acme.update_account(caller, account, update).await?;
    Ok(Json(spell(&urls, &changed)).into_response())
}

/// The account's orders.
pub(super) async fn orders(urls: Urls, signed: Signed) -> Result<Response> {
    only_gets(&signed)?;
    let (account, ..) = own(&urls, &signed)?;
    let page = urls.acme.orders(account, urls.cursor()?).await?;
    let orders: Vec<String> = page.orders.iter().map(|order| urls.order(*order)).collect();
    let mut response = Json(json!({ "orders": orders })).into_response();
    if let Some(next) = page.next {
        link(
            response.headers_mut(),
            &format!("{}?cursor={next}", urls.orders(account.id)),
            "next",
        );
    }
    Ok(response)
}

/// keyChange.
pub(super) async fn change_key(urls: Urls, signed: Signed) -> Result<Response> {
    let key = signed.rolled_over()?;
    let (account, caller, _) = signed.account()?;
    urls.acme.roll_over(caller, account.clone(), key).await?;
    Ok(Json(spell(&urls, account)).into_response())
}

/// The account that signed, if the path is its own.
fn own<'s>(
    urls: &Urls,
    signed: &'s Signed,
) -> Result<(&'s std::sync::Arc<Account>, &'s crate::identity::Caller, &'s str)> {
    let (account, caller, url) = signed.account()?;
    if account.id == urls.id()? {
        Ok((account, caller, url))
    } else {
        Err(Error::denied("this is another account: use the one that signs"))
    }
}

fn spell(urls: &Urls, account: &Account) -> Value {
    let mut document = json!({
        "status": account.status.as_str(),
        "contact": account.contact,
        "orders": urls.orders(account.id),
    });
    if account.terms_agreed_at.is_some() {
        set(&mut document, "termsOfServiceAgreed", json!(true));
    }
    if let Some(bound) = &account.bound {
        set(&mut document, "externalAccountBinding", bound.document.clone());
    }
    document
}
