//! Making a certificate object.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;

use super::certificate::Certificate;
use super::deliver::files;
use super::renewal::Renewal;
use super::{Lifecycle, repo};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::{Id, Label};
use crate::key_type::KeyType;
use crate::policy::{Action, Resource};
use crate::wire;
use crate::x509::name::Name;

/// As many as common issuers take.
const MOST_NAMES: usize = 100;

/// Makes a certificate object; its first order starts at once.
pub struct CreateCertificate {
    /// Its vault.
    pub vault: Label,
    /// What is asked for.
    pub spec: wire::CreateCertificate,
}

impl Operation for CreateCertificate {
    const ACTION: Action = Action::CreateCertificate;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = wire::Certificate;

    fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.spec.name.clone())
    }

    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<wire::Certificate> {
        let now = permit.now();
        let millis = engine.clock.now_millis();
        let certificate = Certificate {
            id: Id::ordered(&*engine.entropy, millis)?,
            vault: self.vault,
            spec: checked(self.spec)?,
            current: None,
            hurried: 0,
            created: now,
        };
        engine.check(&certificate)?;
        let folder = certificate
            .delivery()
            .map(|delivery| files::folder(&delivery.dir))
            .transpose()?;
        engine.upstream.require(&certificate.spec.issuer).await?;
        let first = Renewal::new(Id::ordered(&*engine.entropy, millis)?, &certificate, "first", now, now);
        permit.note("issuer", certificate.spec.issuer.to_string());
        permit.note("names", certificate.spec.dns_names.join(" "));
        let made = Arc::new((certificate, first, folder));
        let wake = engine.wake.clone();
        permit
            .commit(move |tx| {
                let (made, wake) = (made.clone(), wake.clone());
                async move {
                    let (certificate, first, folder) = &*made;
                    if let Some(folder) = folder {
                        repo::require_unshared(tx, folder).await?;
                    }
                    repo::insert_certificate(tx, certificate, folder.as_deref()).await?;
                    repo::insert_renewal(tx, first).await?;
                    tx.on_commit(move || wake.notify_one());
                    Ok(certificate.shown(None, Some(first.shown(now))))
                }
                .boxed()
            })
            .await
    }
}

/// The names in certificate form, each once, and everything else that does not depend on this server.
fn checked(spec: wire::CreateCertificate) -> Result<wire::CreateCertificate> {
    let mut seen = BTreeSet::new();
    let mut dns_names = Vec::with_capacity(spec.dns_names.len());
    for text in &spec.dns_names {
        let name = Name::dns(text)?;
        if name.is_wildcard() {
            return Err(Error::invalid(format!(
                "`{text}` cannot be proven by http-01: name the hosts one by one"
            )));
        }
        let name = name.to_string();
        if seen.insert(name.clone()) {
            dns_names.push(name);
        }
    }
    if dns_names.is_empty() || dns_names.len() > MOST_NAMES {
        return Err(Error::invalid(format!(
            "a certificate is for 1 to {MOST_NAMES} names, not {}",
            dns_names.len()
        )));
    }
    if !wire::CERTIFICATE_KEYS.contains(&spec.key_type) {
        return Err(Error::invalid(format!(
            "`{}` is no key type for a public certificate: use {}",
            spec.key_type,
            wire::CERTIFICATE_KEYS.map(KeyType::as_str).join(", ")
        )));
    }
    Ok(wire::CreateCertificate { dns_names, ..spec })
}

impl Lifecycle {
    /// Checks what depends on this server's configuration.
    fn check(&self, certificate: &Certificate) -> Result<()> {
        certificate.fraction()?;
        certificate.maintenance()?;
        if let Some(delivery) = certificate.delivery() {
            delivery.check(&self.roots)?;
        }
        if let Some(deliver) = certificate
            .spec
            .deliver
            .as_ref()
            .filter(|deliver| !deliver.hook.is_empty())
        {
            self.programs.admit(&deliver.hook)?;
        }
        certificate
            .endpoint(self.verify_within)
            .map_or(Ok(()), |endpoint| endpoint.check())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(names: &[&str]) -> wire::CreateCertificate {
        wire::CreateCertificate {
            name: "www".parse().unwrap(),
            issuer: "ca".parse().unwrap(),
            dns_names: names.iter().map(|name| (*name).to_owned()).collect(),
            key_type: KeyType::EcP256,
            profile: None,
            renew_at_percent: None,
            maintenance: Vec::new(),
            deliver: None,
            verify: None,
        }
    }

    #[test]
    fn names_are_folded_and_each_is_kept_once() {
        let checked = checked(spec(&["WWW.example.test", "a.test", "www.example.test"])).unwrap();
        assert_eq!(checked.dns_names, ["www.example.test", "a.test"]);
    }

    #[test]
    fn what_cannot_work_is_refused_at_once() {
        let refused = |spec: wire::CreateCertificate| checked(spec).unwrap_err().public().to_owned();
        assert!(refused(spec(&[])).contains("1 to 100 names"));
        assert!(refused(spec(&["*.example.test"])).contains("http-01"));
        assert!(refused(spec(&["no host"])).contains("not a host name"));
        let odd = wire::CreateCertificate {
            key_type: KeyType::Ed25519,
            ..spec(&["a.test"])
        };
        assert!(refused(odd).contains("`ed25519`"));
    }
}
