//! Making, listing and showing upstream issuers.

use std::sync::Arc;

use futures::FutureExt;
use hyper::Uri;

use super::account::{binding, new_key};
use super::http::read_roots;
use super::repo::{self, IssuerRow};
use super::{DOMAIN, Upstream};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Store;
use crate::wire;

/// Makes an upstream issuer and its account key. The account is registered on first use.
pub struct CreateIssuer(
    /// What was asked for.
    pub wire::CreateIssuer,
);

impl Operation for CreateIssuer {
    const ACTION: Action = Action::CreateIssuer;
    const EFFECT: Effect = Effect::Change;
    type Engine = Upstream;
    type Output = wire::Issuer;

    fn resource(&self) -> Resource {
        Resource::Issuer(self.0.name.clone())
    }

    async fn run(self, engine: &Upstream, permit: &Permit) -> Result<wire::Issuer> {
        let asked = self.0;
        check(&asked)?;
        // INVARIANT: the key is stored before any issuer hears of it, or an account could be lost.
        let key = engine.sealer.seal(DOMAIN, &binding(&asked.name), &new_key()?).await?;
        let row = Arc::new(IssuerRow {
            name: asked.name,
            directory: asked.directory,
            ca_pem: asked.ca_pem,
            account_url: None,
            account_key: key,
            contacts: asked.contacts,
            created: permit.now(),
        });
        permit.note("directory", row.directory.clone());
        permit
            .commit(move |tx| {
                let row = row.clone();
                async move {
                    repo::insert_issuer(tx, &row).await?;
                    Ok(shown(IssuerRow::clone(&row)))
                }
                .boxed()
            })
            .await
    }
}

fn check(asked: &wire::CreateIssuer) -> Result<()> {
    let url = asked.directory.parse::<Uri>().ok();
    if url.as_ref().and_then(Uri::scheme_str) != Some("https") || url.as_ref().and_then(Uri::host).is_none() {
        return Err(Error::invalid(format!(
            "`{}` is no acme directory: give its https url",
            asked.directory.escape_debug()
        )));
    }
    if let Some(pem) = &asked.ca_pem {
        read_roots(pem)?;
    }
    match asked.contacts.iter().find(|contact| !contact.starts_with("mailto:")) {
        Some(contact) => Err(Error::invalid(format!(
            "`{}` is no contact: write it as `mailto:you@example.org`",
            contact.escape_debug()
        ))),
        None => Ok(()),
    }
}

/// Lists upstream issuers, by name.
pub struct ListIssuers(
    /// Which page.
    pub wire::PageQuery,
);

impl Operation for ListIssuers {
    const ACTION: Action = Action::ListIssuers;
    const EFFECT: Effect = Effect::Read;
    type Engine = Upstream;
    type Output = wire::Page<wire::Issuer>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Upstream, permit: &Permit) -> Result<Self::Output> {
        let limit = self.0.limit();
        let rows = repo::issuers(&engine.store, self.0.cursor.as_deref(), u64::from(limit)).await?;
        let full = rows.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        let next = rows.last().filter(|_| full).map(|row| row.name.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            if permit.allows(&Resource::Issuer(row.name.clone())) {
                items.push(shown(row));
            }
        }
        Ok(wire::Page { items, next })
    }
}

/// Shows an upstream issuer.
pub struct ShowIssuer {
    /// Its name.
    pub name: Label,
}

impl Operation for ShowIssuer {
    const ACTION: Action = Action::ShowIssuer;
    const EFFECT: Effect = Effect::Read;
    type Engine = Upstream;
    type Output = wire::Issuer;

    fn resource(&self) -> Resource {
        Resource::Issuer(self.name.clone())
    }

    async fn run(self, engine: &Upstream, _permit: &Permit) -> Result<wire::Issuer> {
        require(&engine.store, &self.name).await.map(shown)
    }
}

impl Upstream {
    /// Checks that an issuer is there.
    ///
    /// # Errors
    /// `NotFound` if it is not.
    pub async fn require(&self, name: &Label) -> Result<()> {
        require(&self.store, name).await.map(drop)
    }
}

pub(super) async fn require(store: &Store, name: &Label) -> Result<IssuerRow> {
    repo::issuer(store, name).await?.ok_or_else(|| {
        Error::not_found(format!(
            "there is no issuer `{name}`: create it with `chancery issuer create`, or list the issuers for the right name"
        ))
    })
}

fn shown(row: IssuerRow) -> wire::Issuer {
    wire::Issuer {
        name: row.name,
        directory: row.directory,
        contacts: row.contacts,
        account: row.account_url,
        created: row.created,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(directory: &str) -> wire::CreateIssuer {
        wire::CreateIssuer {
            name: "ca".parse().unwrap(),
            directory: directory.to_owned(),
            ca_pem: None,
            contacts: Vec::new(),
        }
    }

    #[test]
    fn what_is_wrong_is_said_before_anything_is_made() {
        check(&asked("https://acme.example/dir")).unwrap();
        for directory in ["", "http://acme.example/dir", "https://", "acme.example"] {
            assert!(
                check(&asked(directory)).unwrap_err().public().contains("https url"),
                "{directory}"
            );
        }
        let contacts = wire::CreateIssuer {
            contacts: vec!["me@example.org".to_owned()],
            ..asked("https://acme.example/dir")
        };
        assert!(check(&contacts).unwrap_err().public().contains("mailto:"));
        let roots = wire::CreateIssuer {
            ca_pem: Some("x".to_owned()),
            ..asked("https://acme.example/dir")
        };
        assert!(check(&roots).unwrap_err().public().contains("ca file"));
    }
}
