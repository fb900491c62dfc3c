//! A certificate object and its versions, as values.

use std::time::Duration;

use super::deliver::files::FileDelivery;
use super::maintenance::MaintenanceWindow;
use super::verify_served::Endpoint;
use super::window::{Fraction, Validity};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::policy::Resource;
use crate::seal;
use crate::wire;

/// A certificate object as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    pub(super) id: Id,
    pub(super) vault: Label,
    /// What was asked for.
    pub(super) spec: wire::CreateCertificate,
    pub(super) current: Option<Id>,
    pub(super) hurried: u32,
    pub(super) created: Timestamp,
}

impl Certificate {
    pub(super) fn resource(&self) -> Resource {
        Resource::certificate(self.vault.clone(), self.spec.name.clone())
    }

    /// The sealing domain of its keys.
    pub(super) fn domain(&self) -> String {
        format!("vault/{}", self.vault)
    }

    /// What the key of `version` is sealed as.
    pub(super) fn binding(&self, version: Id) -> Vec<u8> {
        seal::binding(&[&format!("certificates/{}", self.spec.name), &version.to_string()])
    }

    pub(super) fn fraction(&self) -> Result<Fraction> {
        self.spec
            .renew_at_percent
            .map_or(Ok(Fraction::default()), Fraction::from_percent)
    }

    pub(super) fn maintenance(&self) -> Result<Vec<MaintenanceWindow>> {
        self.spec.maintenance.iter().map(|line| line.parse()).collect()
    }

    pub(super) fn delivery(&self) -> Option<FileDelivery> {
        self.spec.deliver.as_ref().map(FileDelivery::from)
    }

    /// Where it should be seen, `within` which time unless it says so itself.
    pub(super) fn endpoint(&self, within: Duration) -> Option<Endpoint> {
        let verify = self.spec.verify.as_ref()?;
        let first = self.spec.dns_names.first().cloned().unwrap_or_default();
        Some(Endpoint {
            address: verify.address.clone(),
            server_name: verify.server_name.clone().unwrap_or(first),
            within: verify
                .within_s
                .map_or(within, |seconds| Duration::from_secs(u64::from(seconds))),
        })
    }

    pub(super) fn shown(&self, current: Option<&Version>, renewal: Option<wire::Renewal>) -> wire::Certificate {
        wire::Certificate {
            vault: self.vault.clone(),
            name: self.spec.name.clone(),
            issuer: self.spec.issuer.clone(),
            dns_names: self.spec.dns_names.clone(),
            key_type: self.spec.key_type,
            profile: self.spec.profile.clone(),
            created: self.created,
            current: current.map(Version::shown),
            renewal,
        }
    }
}

/// One issued certificate as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) id: Id,
    pub(super) certificate: Id,
    pub(super) ordinal: u32,
    pub(super) issuer: Label,
    pub(super) serial: String,
    pub(super) validity: Validity,
    pub(super) fingerprint: String,
    /// PEM, leaf first.
    pub(super) chain: String,
    pub(super) key_sealed: Vec<u8>,
    pub(super) created: Timestamp,
    pub(super) revoked: Option<Timestamp>,
}

impl Version {
    /// The chain in DER.
    pub(super) fn chain_der(&self) -> Result<Vec<Vec<u8>>> {
        super::leaf::parse_chain(&self.chain)
    }

    /// The leaf in DER.
    pub(super) fn leaf_der(&self) -> Result<Vec<u8>> {
        let leaf = self.chain_der()?.into_iter().next();
        leaf.ok_or_else(|| Error::internal("a stored chain is empty"))
    }

    fn shown(&self) -> wire::CertificateVersion {
        wire::CertificateVersion {
            version: self.id.to_string(),
            ordinal: u64::from(self.ordinal),
            serial: self.serial.clone(),
            not_before: self.validity.not_before,
            not_after: self.validity.not_after,
            fingerprint_sha256: self.fingerprint.clone(),
            revoked: self.revoked,
        }
    }
}
