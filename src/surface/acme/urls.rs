//! Where everything is: the paths of an authority's ACME server, and its absolute URLs.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::{header, uri::Authority as Host};

use super::help;
use crate::acme::Acme;
use crate::acme::validation::Method;
use crate::error::Error;
use crate::id::{Id, Label};
use crate::surface::Shared;
use crate::surface::frame::Failure;

pub(super) const DIRECTORY: &str = "/acme/{authority}/directory";
pub(super) const NEW_NONCE: &str = "/acme/{authority}/new-nonce";
pub(super) const NEW_ACCOUNT: &str = "/acme/{authority}/new-account";
pub(super) const ACCOUNT: &str = "/acme/{authority}/account/{id}";
pub(super) const ORDERS: &str = "/acme/{authority}/account/{id}/orders";
pub(super) const KEY_CHANGE: &str = "/acme/{authority}/key-change";
pub(super) const NEW_ORDER: &str = "/acme/{authority}/new-order";
pub(super) const ORDER: &str = "/acme/{authority}/order/{id}";
pub(super) const FINALIZE: &str = "/acme/{authority}/order/{id}/finalize";
pub(super) const AUTHORIZATION: &str = "/acme/{authority}/authorization/{id}";
pub(super) const CHALLENGE: &str = "/acme/{authority}/challenge/{id}/{method}";
pub(super) const CERTIFICATE: &str = "/acme/{authority}/certificate/{id}";
pub(super) const ALTERNATE: &str = "/acme/{authority}/certificate/{id}/{chain}";
pub(super) const RENEWAL_INFO: &str = "/acme/{authority}/renewal-info/{id}";
pub(super) const REVOKE_CERT: &str = "/acme/{authority}/revoke-cert";

/// The server that a request means, its URLs, and what of the path is not fixed.
#[derive(Clone)]
pub(super) struct Urls {
    pub(super) acme: Acme,
    /// `https://host/acme/<authority>`, as the client has it.
    base: String,
    /// Where people read about the limits.
    pub(super) help: String,
    /// The request's own.
    pub(super) requested: String,
    chain: Option<String>,
    id: Option<String>,
    method: Option<String>,
    query: Option<String>,
}

impl FromRequestParts<Shared> for Urls {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, services: &Shared) -> Result<Self, Failure> {
        let Some(acme) = services.acme.clone() else {
            return Err(Error::not_found("this service has no ACME server: set `acme` in its configuration").into());
        };
        let params = RawPathParams::from_request_parts(parts, services)
            .await
            .map_err(|e| Error::invalid(format!("the path cannot be read: {}", e.body_text())))?;
        let param = |name: &str| {
            params
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| value.to_owned())
        };
        let authority = param("authority").unwrap_or_default();
        let name = authority.parse::<Label>().map_err(|_| {
            Error::not_found(format!(
                "there is no authority `{}`: the path names none",
                authority.escape_debug()
            ))
        })?;
        let acme = acme.of(&name).await?;
        let origin = match &acme.settings().url {
            Some(url) => url.clone(),
            None => format!("https://{}", host(parts)?),
        };
        let path = parts.uri.path_and_query().map_or("", |path| path.as_str());
        Ok(Self {
            base: format!("{origin}/acme/{authority}"),
            help: match &acme.settings().limits_explanation {
                Some(url) => url.clone(),
                None => format!("{}{}", services.authority.http_url(), help::LIMITS),
            },
            requested: format!("{origin}{path}"),
            chain: param("chain"),
            id: param("id"),
            method: param("method"),
            query: parts.uri.query().map(str::to_owned),
            acme,
        })
    }
}

/// What the request names as the host: the client's own idea of it, from which its URLs are built and by which the URL
/// that it signed is judged.
fn host(parts: &Parts) -> Result<String, Error> {
    let named = match parts.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()),
    };
    named
        .and_then(|host| host.parse::<Host>().ok())
        .filter(|host| !host.as_str().contains('@'))
        .map(|host| host.to_string())
        .ok_or_else(|| Error::invalid("the request names no host: send the header `host`"))
}

impl Urls {
    /// The id in the path.
    pub(super) fn id(&self) -> Result<Id, Error> {
        let id = self.id.as_deref().unwrap_or_default();
        id.parse()
            .map_err(|_| Error::not_found(format!("there is nothing called `{}` here", id.escape_debug())))
    }

    /// The certificate in the path (RFC 9773 §4.1).
    pub(super) fn certificate_id(&self) -> &str {
        self.id.as_deref().unwrap_or_default()
    }

    /// Which of a certificate's chains the path names; the first one if it names none.
    pub(super) fn chain(&self) -> Result<usize, Error> {
        let Some(text) = self.chain.as_deref() else {
            return Ok(0);
        };
        // One URL a chain: the first has no number.
        let number = text
            .parse()
            .ok()
            .filter(|number: &usize| *number > 0 && number.to_string() == text);
        number.ok_or_else(|| no_chain(text))
    }

    /// The challenge's method in the path.
    pub(super) fn method(&self) -> Result<Method, Error> {
        let method = self.method.as_deref().unwrap_or_default();
        method
            .parse()
            .map_err(|e: Error| Error::not_found(e.public().to_owned()))
    }

    /// The id that stands in the query as `cursor`.
    pub(super) fn cursor(&self) -> Result<Option<Id>, Error> {
        let Some(query) = &self.query else { return Ok(None) };
        match query.strip_prefix("cursor=") {
            Some(cursor) => Ok(Some(cursor.parse()?)),
            None => Err(Error::invalid(
                "the query is none of ours: follow the link of the page before",
            )),
        }
    }

    pub(super) fn directory(&self) -> String {
        self.at("directory")
    }

    /// What the URLs of accounts begin with.
    pub(super) fn accounts(&self) -> String {
        self.at("account/")
    }

    pub(super) fn account(&self, id: Id) -> String {
        self.at(&format!("account/{id}"))
    }

    pub(super) fn orders(&self, account: Id) -> String {
        self.at(&format!("account/{account}/orders"))
    }

    pub(super) fn order(&self, id: Id) -> String {
        self.at(&format!("order/{id}"))
    }

    pub(super) fn finalize(&self, order: Id) -> String {
        self.at(&format!("order/{order}/finalize"))
    }

    pub(super) fn certificate(&self, order: Id) -> String {
        self.at(&format!("certificate/{order}"))
    }

    /// One of the certificate's chains (RFC 8555 §7.4.2).
    pub(super) fn chain_of(&self, order: Id, number: usize) -> String {
        match number {
            0 => self.certificate(order),
            number => self.at(&format!("certificate/{order}/{number}")),
        }
    }

    pub(super) fn authorization(&self, id: Id) -> String {
        self.at(&format!("authorization/{id}"))
    }

    pub(super) fn challenge(&self, authorization: Id, method: Method) -> String {
        self.at(&format!("challenge/{authorization}/{method}"))
    }

    pub(super) fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.base)
    }
}

/// A certificate has no such chain.
pub(super) fn no_chain(number: &str) -> Error {
    Error::not_found(format!(
        "the certificate has no chain `{}`: follow the links `alternate` of the first one",
        number.escape_debug()
    ))
}
