//! Looking at the authority itself.

use super::{Authority, Role, Stage, issuers};
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::x509::chain;
use crate::x509::key::PublicKeyKind;
use crate::x509::profile::Validity;

/// What is known about an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// All its issuers that have certificates: roots first, oldest first.
    pub issuers: Vec<IssuerFacts>,
    /// Its name.
    pub name: Label,
    /// The profiles it issues by.
    pub profiles: Vec<Label>,
}

impl Facts {
    /// The one that signs as this.
    ///
    /// # Errors
    /// `Unavailable`, if none does.
    pub fn active(&self, role: Role) -> Result<&IssuerFacts> {
        let mut issuers = self.issuers.iter();
        issuers
            .find(|issuer| issuer.role == role && issuer.stage == Stage::Active)
            .ok_or_else(|| issuers::nobody_signs(&self.name))
    }
}

/// What is known about an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerFacts {
    /// DER.
    pub certificate: Vec<u8>,
    /// Which of its role it is.
    pub number: u32,
    /// What it signs.
    pub role: Role,
    /// How far it came.
    pub stage: Stage,
    /// The kind of its key.
    pub key_type: PublicKeyKind,
    /// The label of its key in the token.
    pub label: String,
    /// The label of the root above it; a root's own.
    pub parent: String,
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
        authority.is_called(&self.authority).await?;
        let issuers = authority.0.issuers.load_full();
        let own = issuers.members().filter(|member| member.authority == self.authority);
        let issuers = own.map(|member| {
            let signer = &member.signer;
            let facts = chain::Facts::read(signer.issuer.der())?;
            Ok(IssuerFacts {
                certificate: signer.issuer.der().to_vec(),
                number: member.number,
                role: member.role,
                stage: member.stage,
                key_type: signer.issuer.key().kind(),
                label: signer.label().to_owned(),
                parent: member.parent.clone(),
                serial: facts.serial,
                subject: facts.subject,
                validity: facts.validity,
            })
        });
        Ok(Facts {
            issuers: issuers.collect::<Result<_>>()?,
            name: self.authority,
            profiles: authority.0.profiles.keys().cloned().collect(),
        })
    }
}

impl Authority {
    /// Whether it is meant by this name.
    pub async fn is_called(&self, name: &Label) -> Result<()> {
        // What was made a moment ago, here or by another node, is not seen yet.
        if !self.issuers().is_known(name) {
            self.refresh().await?;
        }
        if self.issuers().is_known(name) {
            Ok(())
        } else {
            Err(issuers::unknown(name))
        }
    }
}
