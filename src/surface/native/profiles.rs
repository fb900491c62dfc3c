//! `/api/authorities/{name}/profiles`: the versions of profiles.

use axum::Json;
use axum::extract::{Extension, Path, State};

use super::Answer;
use super::body::InQuery;
use crate::ca::{ListProfiles, ProfileVersion, ShowProfile};
use crate::identity::Caller;
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(authority): Path<String>,
    InQuery(_): InQuery<PageQuery>,
) -> Answer<Page<wire::Profile>> {
    let op = ListProfiles {
        authority: authority.parse()?,
    };
    let versions = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(Page {
        items: versions.into_iter().map(|version| spell(version, None)).collect(),
        next: None,
    }))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((authority, profile)): Path<(String, String)>,
    InQuery(query): InQuery<wire::ProfileQuery>,
) -> Answer<wire::Profile> {
    let op = ShowProfile {
        authority: authority.parse()?,
        profile: profile.parse()?,
        version: query.version,
    };
    let (version, text) = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(spell(version, Some(text))))
}

fn spell(version: ProfileVersion, text: Option<String>) -> wire::Profile {
    wire::Profile {
        name: version.name,
        version: version.version,
        current: version.is_current,
        adopted: version.adopted,
        text,
    }
}
