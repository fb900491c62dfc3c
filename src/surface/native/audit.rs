//! `/api/audit`: this node's log, for whoever may read it. Reading it is recorded too.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::Answer;
use super::body::InQuery;
use crate::audit::{Entries, Log};
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire;

/// The most records in one answer; those who want more ask again.
const MOST: u32 = 1_000;

/// What the log is called, what signs it and how long it is.
struct DescribeLog;

impl Operation for DescribeLog {
    const ACTION: Action = Action::ReadAuditLog;
    const EFFECT: Effect = Effect::Read;
    type Engine = Log;
    type Output = wire::AuditLog;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, _permit: &Permit) -> Result<wire::AuditLog> {
        let verifier_key = engine.verifier_key();
        Ok(wire::AuditLog {
            origin: verifier_key.split('+').next().unwrap_or_default().to_owned(),
            verifier_key,
            size: engine.size(),
        })
    }
}

/// Records, byte for byte.
struct ReadEntries {
    from: u64,
    max: u64,
}

impl Operation for ReadEntries {
    const ACTION: Action = Action::ReadAuditLog;
    const EFFECT: Effect = Effect::Read;
    type Engine = Log;
    type Output = Entries;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, permit: &Permit) -> Result<Entries> {
        permit.note("from", self.from.to_string());
        engine.entries(self.from, self.max).await
    }
}

/// The signed head of the log.
struct ReadCheckpoint {
    fresh: bool,
}

impl Operation for ReadCheckpoint {
    const ACTION: Action = Action::ReadAuditLog;
    const EFFECT: Effect = Effect::Read;
    type Engine = Log;
    type Output = Arc<str>;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, _permit: &Permit) -> Result<Arc<str>> {
        Ok(match self.fresh {
            true => engine.fresh_checkpoint().await,
            false => engine.checkpoint(),
        })
    }
}

pub(super) async fn log(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Answer<wire::AuditLog> {
    Ok(Json(
        perform(&services, caller, |services| &services.log, DescribeLog).await?,
    ))
}

pub(super) async fn entries(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<wire::EntriesQuery>,
) -> Answer<wire::AuditEntries> {
    let op = ReadEntries {
        from: query.from,
        max: u64::from(query.max.unwrap_or(MOST).min(MOST)),
    };
    let entries = perform(&services, caller, |services| &services.log, op).await?;
    Ok(Json(wire::AuditEntries::new(entries.first, &entries.records)))
}

pub(super) async fn checkpoint(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<wire::CheckpointQuery>,
) -> Result<Response, Failure> {
    let op = ReadCheckpoint { fresh: query.fresh };
    let note = perform(&services, caller, |services| &services.log, op).await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, note.to_string()).into_response())
}
