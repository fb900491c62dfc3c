//! Looking at certificate objects and renewals.

use super::certificate::Certificate;
use super::renewal::{Renewal, State};
use super::{Lifecycle, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label, ObjectName};
use crate::policy::{Action, Resource};
use crate::wire;

/// Shows a certificate object, its current version and its renewal.
pub struct ShowCertificate {
    /// Its vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for ShowCertificate {
    const ACTION: Action = Action::ShowCertificate;
    const EFFECT: Effect = Effect::Read;
    type Engine = Lifecycle;
    type Output = wire::Certificate;

    fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<wire::Certificate> {
        let certificate = repo::certificate(engine.store.read(), &self.vault, &self.name).await?;
        engine.shown(&certificate, permit.now()).await
    }
}

/// Lists a vault's certificate objects, by name.
pub struct ListCertificates {
    /// The vault.
    pub vault: Label,
    /// Which page.
    pub page: wire::PageQuery,
}

impl Operation for ListCertificates {
    const ACTION: Action = Action::ListCertificates;
    const EFFECT: Effect = Effect::Read;
    type Engine = Lifecycle;
    type Output = wire::Page<wire::Certificate>;

    fn resource(&self) -> Resource {
        Resource::Vault(self.vault.clone())
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.page.limit());
        let rows = repo::certificates(&engine.store, &self.vault, self.page.cursor.as_deref(), limit).await?;
        let next = cursor(&rows, limit, |certificate| certificate.spec.name.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for certificate in rows {
            if permit.allows(&certificate.resource()) {
                items.push(engine.shown(&certificate, permit.now()).await?);
            }
        }
        Ok(wire::Page { items, next })
    }
}

/// Reads the chain of the current version: PEM, leaf first.
pub struct DownloadCertificate {
    /// The certificate object's vault.
    pub vault: Label,
    /// Its name.
    pub name: ObjectName,
}

impl Operation for DownloadCertificate {
    const ACTION: Action = Action::DownloadCertificate;
    const EFFECT: Effect = Effect::Read;
    type Engine = Lifecycle;
    type Output = String;

    fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.name.clone())
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<String> {
        let read = engine.store.read();
        let certificate = repo::certificate(read, &self.vault, &self.name).await?;
        let version = repo::version(read, certificate.current.ok_or_else(|| not_issued(&self.name))?).await?;
        permit.note("version", version.ordinal.to_string());
        permit.note("serial", version.serial);
        Ok(version.chain)
    }
}

/// There is nothing to show, revoke or download yet.
pub(super) fn not_issued(name: &ObjectName) -> Error {
    Error::conflict(format!(
        "certificate `{name}` is not issued yet: look at `chancery renewal list` for what it waits for"
    ))
}

/// Lists renewals, newest first.
pub struct ListRenewals(
    /// Which page.
    pub wire::PageQuery,
);

impl Operation for ListRenewals {
    const ACTION: Action = Action::ListRenewals;
    const EFFECT: Effect = Effect::Read;
    type Engine = Lifecycle;
    type Output = wire::Page<wire::Renewal>;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Self::Output> {
        let limit = u64::from(self.0.limit());
        let rows = repo::renewals(&engine.store, self.0.cursor.as_deref(), limit).await?;
        let next = cursor(&rows, limit, |renewal| renewal.id.to_string());
        let mut items = Vec::with_capacity(rows.len());
        for renewal in rows {
            if permit.allows(&renewal.resource()) {
                items.push(renewal.shown(permit.now()));
            }
        }
        Ok(wire::Page { items, next })
    }
}

/// Shows a renewal: its state, what went wrong last, when it is tried again.
pub struct ShowRenewal {
    id: Id,
    /// Where it belongs, if there is such a renewal.
    resource: Resource,
}

impl ShowRenewal {
    /// Finds out which certificate object the renewal `id` belongs to, on which the gate decides. What is not there is
    /// decided on as everything, so that only who may see all is told so.
    ///
    /// # Errors
    /// The store's.
    pub async fn locate(engine: &Lifecycle, id: Id) -> Result<Self> {
        let found = repo::renewal(engine.store.read(), id).await?;
        Ok(Self {
            id,
            resource: found.map_or(Resource::Everything, |renewal| renewal.resource()),
        })
    }
}

impl Operation for ShowRenewal {
    const ACTION: Action = Action::ShowRenewal;
    const EFFECT: Effect = Effect::Read;
    type Engine = Lifecycle;
    type Output = wire::Renewal;

    fn resource(&self) -> Resource {
        self.resource.clone()
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<wire::Renewal> {
        let found = repo::renewal(engine.store.read(), self.id).await?;
        permit.note("renewal", self.id.to_string());
        let renewal = found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no renewal `{}`: list the renewals for the right id",
                self.id
            ))
        })?;
        Ok(renewal.shown(permit.now()))
    }
}

/// The cursor behind `rows`, if there may be more.
fn cursor<T>(rows: &[T], limit: u64, name: impl Fn(&T) -> String) -> Option<String> {
    let full = u64::try_from(rows.len()).is_ok_and(|n| n >= limit);
    rows.last().filter(|_| full).map(name)
}

/// Of a certificate's newest renewals, newest first: the one under way, or else the last that ran, or else the plan.
pub(super) fn of_interest(renewals: &[Renewal], now: Timestamp) -> Option<&Renewal> {
    let begun = |renewal: &&Renewal| renewal.state != State::Due || renewal.due <= now || renewal.failures > 0;
    renewals.iter().find(begun).or_else(|| renewals.first())
}

impl Lifecycle {
    async fn shown(&self, certificate: &Certificate, now: Timestamp) -> Result<wire::Certificate> {
        let read = self.store.read();
        let current = match certificate.current {
            Some(current) => Some(repo::version(read, current).await?),
            None => None,
        };
        let renewals = repo::renewals_of(read, certificate.id).await?;
        let renewal = of_interest(&renewals, now).map(|renewal| renewal.shown(now));
        Ok(certificate.shown(current.as_ref(), renewal))
    }
}
