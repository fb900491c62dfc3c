//! Versions of profiles: every text that certificates were issued by, under its hash.
//!
//! Files are read once, at the start. An order may outlive that start, or be finished by a node that read other files;
//! it keeps the version that it began with, which is found here. A version is never changed and never taken away.

mod list;
mod repo;

pub use self::list::{ListProfiles, ProfileVersion, ShowProfile};

use std::borrow::Cow;

use futures::FutureExt;

use super::{Authority, IssueRequest};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::x509::profile::Profile;

/// Takes over versions that were not there before.
struct AdoptProfiles {
    authority: Label,
    profiles: Vec<Profile>,
}

impl Operation for AdoptProfiles {
    const ACTION: Action = Action::AdoptProfiles;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, _authority: &Authority, permit: &Permit) -> Result<()> {
        let said: Vec<String> = self
            .profiles
            .iter()
            .map(|profile| format!("{} {}", profile.name(), profile.hash()))
            .collect();
        permit.note("profiles", said.join(", "));
        let (profiles, now) = (self.profiles, permit.now());
        permit
            .commit(move |tx| {
                let profiles = profiles.clone();
                async move { repo::insert(tx, &profiles, now).await }.boxed()
            })
            .await
    }
}

impl Authority {
    /// The version of a profile that is in force: what an order keeps ([`IssueRequest::profile_hash`]).
    ///
    /// # Errors
    /// `Invalid` if there is no such profile.
    pub fn profile_hash(&self, name: &Label) -> Result<&str> {
        Ok(self.profile(name)?.hash())
    }

    /// Keeps the versions that were read at this start.
    pub(super) async fn adopt_profiles(&self) -> Result<()> {
        let current = &self.0.profiles;
        let known = repo::known(self.0.gate.store().read(), current.values().map(Profile::hash)).await?;
        let is_new = |profile: &&Profile| !known.iter().any(|hash| hash == profile.hash());
        let profiles: Vec<Profile> = current.values().filter(is_new).cloned().collect();
        if profiles.is_empty() {
            return Ok(());
        }
        let operation = AdoptProfiles {
            authority: self.name().clone(),
            profiles,
        };
        self.0.gate.perform(&self.caller()?, self, operation).await
    }

    /// The version of the profile that the request is judged by.
    pub(super) async fn profile_of(&self, request: &IssueRequest) -> Result<Cow<'_, Profile>> {
        let current = self.profile(&request.profile);
        let Some(hash) = &request.profile_hash else {
            return current.map(Cow::Borrowed);
        };
        match current {
            Ok(current) if current.hash() == hash => return Ok(Cow::Borrowed(current)),
            _ => {}
        }
        let text = repo::text(self.0.gate.store().read(), hash).await?.ok_or_else(|| {
            Error::internal(format!(
                "version `{hash}` of profile `{}` is not there",
                request.profile
            ))
        })?;
        let kept = Profile::parse(&text)?;
        if *kept.name() == request.profile {
            Ok(Cow::Owned(kept))
        } else {
            Err(Error::internal(format!(
                "version `{hash}` is of profile `{}`, not of `{}`",
                kept.name(),
                request.profile
            )))
        }
    }
}
