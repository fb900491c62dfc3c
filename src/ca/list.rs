//! Looking at the authority itself.

use super::Authority;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::key_type::KeyType;
use crate::policy::{Action, Resource};
use crate::x509::chain;
use crate::x509::profile::Validity;

/// What is known about an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its issuing CA.
    pub issuing: IssuerFacts,
    /// Its name.
    pub name: Label,
    /// The profiles it issues by.
    pub profiles: Vec<Label>,
    /// Its root.
    pub root: IssuerFacts,
}

/// What is known about an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFacts {
    /// DER.
    pub certificate: Vec<u8>,
    /// The kind of its key.
    pub key_type: KeyType,
    /// The label of its key in the token.
    pub label: String,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// RFC 4514.
    pub subject: String,
    /// From when to when.
    pub validity: Validity,
}

/// Shows an authority.
#[derive(Clone, Debug)]
pub struct ShowAuthority {
    /// Which.
    pub authority: Label,
}

impl Operation for ShowAuthority {
    const ACTION: Action = Action::ShowAuthority;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Facts;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, _permit: &Permit) -> Result<Facts> {
        authority.is_called(&self.authority)?;
        let [root, issuing] = authority.signers().map(|signer| {
            chain::Facts::read(signer.issuer.der()).map(|facts| IssuerFacts {
                certificate: signer.issuer.der().to_vec(),
                key_type: signer.key.kind,
                label: signer.label().to_owned(),
                serial: facts.serial,
                subject: facts.subject,
                validity: facts.validity,
            })
        });
        Ok(Facts {
            issuing: issuing?,
            name: authority.name().clone(),
            profiles: authority.0.profiles.keys().cloned().collect(),
            root: root?,
        })
    }
}

impl Authority {
    /// Whether it is meant by this name.
    pub(super) fn is_called(&self, name: &Label) -> Result<()> {
        if name == self.name() {
            Ok(())
        } else {
            Err(Error::not_found(format!(
                "there is no authority `{name}`: the one here is `{}`",
                self.name()
            )))
        }
    }
}
