//! `/api/vaults/{vault}/secrets/{name}/rotation`, and `/rotate`.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::body::{Body, NoBody};
use super::secrets::generate;
use super::{Answer, Created, object};
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::vault::{
    Cadence, Generate, PasswordRules, RemoveSecretRotation, RotateSecret, Rotation, RotationPolicy, Schedule,
    SetSecretRotation, ShowSecretRotation,
};
use crate::wire;

/// Vault and name, from the path.
type OfSecret = Path<(String, String)>;

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): OfSecret,
) -> Answer<wire::SecretRotation> {
    let (vault, name) = object(&path)?;
    let op = ShowSecretRotation { vault, name };
    let found = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(found)))
}

pub(super) async fn set(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): OfSecret,
    Body(asked): Body<wire::SetRotation>,
) -> Answer<wire::SecretRotation> {
    let (vault, name) = object(&path)?;
    let policy = policy(asked)?;
    let op = SetSecretRotation { vault, name, policy };
    let set = perform(&services, caller, |services| &services.vault, op).await?;
    Ok(Json(spell(set)))
}

pub(super) async fn remove(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): OfSecret,
    _: NoBody,
) -> Result<StatusCode, Failure> {
    let (vault, name) = object(&path)?;
    let op = RemoveSecretRotation { vault, name };
    perform(&services, caller, |services| &services.vault, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn rotate(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): OfSecret,
    _: NoBody,
) -> Created<wire::SecretRotation> {
    let (vault, name) = object(&path)?;
    let op = RotateSecret { vault, name };
    let begun = perform(&services, caller, |services| &services.vault, op).await?;
    Ok((StatusCode::ACCEPTED, Json(spell(begun))))
}

fn policy(asked: wire::SetRotation) -> Result<RotationPolicy> {
    let cadence = match (asked.every_s, asked.cron) {
        (Some(seconds), None) => Cadence::Every(Duration::from_secs(seconds)),
        (None, Some(line)) => Cadence::Cron(line),
        _ => return Err(Error::invalid("give either `every_s` or `cron`, one of them")),
    };
    Ok(RotationPolicy {
        schedule: Schedule::new(cadence, asked.window_s.map(Duration::from_secs))?,
        rotator: asked.rotator,
        generate: match asked.generate {
            Some(rules) => generate(rules)?,
            None => Generate::Password(PasswordRules::default()),
        },
    })
}

fn spell(rotation: Rotation) -> wire::SecretRotation {
    let schedule = &rotation.policy.schedule;
    let (every_s, cron) = match schedule.cadence() {
        Cadence::Every(every) => (Some(every.as_secs()), None),
        Cadence::Cron(line) => (None, Some(line.clone())),
    };
    wire::SecretRotation {
        every_s,
        cron,
        window_s: schedule.window().map(|window| window.as_secs()),
        generate: spell_rules(&rotation.policy.generate),
        state: rotation.state().to_owned(),
        step: rotation.step.map(|step| step.to_string()),
        version: rotation.version.map(|id| id.to_string()),
        next: rotation.next,
        rotated: rotation.rotated,
        failures: rotation.failures,
        last_error: rotation.last_error,
        created: rotation.created,
        created_by: rotation.created_by,
        updated: rotation.updated,
        name: rotation.name,
        rotator: rotation.policy.rotator,
    }
}

fn spell_rules(rules: &Generate) -> wire::Generate {
    match rules {
        Generate::Password(rules) => wire::Generate {
            kind: "password".to_owned(),
            length: rules.length,
            exclude_characters: rules.exclude_characters.clone(),
            exclude: rules.exclude.iter().map(ToString::to_string).collect(),
            require_each: rules.require_each,
        },
        Generate::Token { bytes } => wire::Generate {
            kind: "token".to_owned(),
            length: *bytes,
            ..wire::Generate::default()
        },
        Generate::Uuid => wire::Generate {
            kind: "uuid".to_owned(),
            ..wire::Generate::default()
        },
    }
}
