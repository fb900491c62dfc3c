//! Looking at the versions: which there were, since when, and which is in force.

use super::repo;
use crate::ca::Authority;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};

/// What is known about a version of a profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileVersion {
    /// The profile.
    pub name: Label,
    /// SHA-256 of its text, lower-case hexadecimal, which is what certificates' rows and orders keep.
    pub version: String,
    /// When a start first read it.
    pub adopted: Timestamp,
    /// Whether this node issues by it.
    pub is_current: bool,
}

/// Lists the versions of all profiles, by name, the newest of each first.
#[derive(Clone, Debug)]
pub struct ListProfiles {
    /// Whose; they are the same for all that are ours.
    pub authority: Label,
}

/// Shows a version of a profile, with its text.
#[derive(Clone, Debug)]
pub struct ShowProfile {
    /// Whose.
    pub authority: Label,
    /// Which profile.
    pub profile: Label,
    /// Which version; the one in force if it is left out.
    pub version: Option<String>,
}

impl Operation for ListProfiles {
    const ACTION: Action = Action::ShowAuthority;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Vec<ProfileVersion>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, _permit: &Permit) -> Result<Self::Output> {
        authority.is_called(&self.authority).await?;
        let rows = repo::all(authority.0.gate.store().read()).await?;
        rows.into_iter()
            .map(|(name, version, adopted)| authority.version(&name, version, adopted))
            .collect()
    }
}

impl Operation for ShowProfile {
    const ACTION: Action = Action::ShowAuthority;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = (ProfileVersion, String);

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Self::Output> {
        authority.is_called(&self.authority).await?;
        let version = match self.version {
            Some(version) => version,
            None => authority.profile_hash(&self.profile)?.to_owned(),
        };
        permit.note("profile", self.profile.to_string());
        permit.note("version", version.clone());
        let found = repo::find(authority.0.gate.store().read(), &self.profile, &version).await?;
        let (adopted, text) = found.ok_or_else(|| {
            Error::not_found(format!(
                "there is no version `{}` of profile `{}`: `ca profile list` shows those that there are",
                version.escape_debug(),
                self.profile
            ))
        })?;
        Ok((authority.version(self.profile.as_str(), version, adopted)?, text))
    }
}

impl Authority {
    fn version(&self, name: &str, version: String, adopted: Timestamp) -> Result<ProfileVersion> {
        let name: Label = name.parse()?;
        let current = self.0.profiles.get(&name);
        Ok(ProfileVersion {
            is_current: current.is_some_and(|current| current.hash() == version),
            name,
            version,
            adopted,
        })
    }
}
