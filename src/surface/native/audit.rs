//! `/api/audit`: this node's log, for whoever may read it. Reading it is recorded too.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures::FutureExt as _;

use super::Answer;
use super::body::{Body, InQuery};
use crate::audit::{Entries, Log, Page, Proved, Query};
use crate::error::{Error, Result};
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

/// Records by what they say.
struct SearchLog {
    query: Query,
    asked: String,
    cursor: Option<String>,
    limit: usize,
}

impl Operation for SearchLog {
    const ACTION: Action = Action::ReadAuditLog;
    const EFFECT: Effect = Effect::Read;
    type Engine = Log;
    type Output = Page;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, permit: &Permit) -> Result<Page> {
        permit.note("search", self.asked);
        let page = engine.search(&self.query, self.cursor.as_deref(), self.limit).await?;
        permit.note("found", page.records.len().to_string());
        Ok(page)
    }
}

/// A proof as a file.
struct ProveLog {
    what: Proven,
    node: Option<String>,
}

enum Proven {
    Since(u64),
    Record(Proved),
}

impl Operation for ProveLog {
    const ACTION: Action = Action::ReadAuditLog;
    const EFFECT: Effect = Effect::Read;
    type Engine = Log;
    type Output = String;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, permit: &Permit) -> Result<String> {
        let node = self.node.as_deref();
        match &self.what {
            Proven::Since(old) => {
                permit.note("proof", format!("since {old}"));
                engine.prove_grown(*old, node).await
            }
            Proven::Record(which) => {
                permit.note(
                    "proof",
                    match which {
                        Proved::Index(index) => format!("index {index}"),
                        Proved::Record(id) => format!("record {id}"),
                    },
                );
                Ok(engine.prove(which, node).await?.1)
            }
        }
    }
}

/// The index is made anew, behind the answer.
struct RebuildIndex {
    node: Option<String>,
}

impl Operation for RebuildIndex {
    const ACTION: Action = Action::RebuildAuditIndex;
    const EFFECT: Effect = Effect::Change;
    type Engine = Log;
    type Output = wire::IndexRebuild;

    fn resource(&self) -> Resource {
        Resource::Audit
    }

    async fn run(self, engine: &Log, permit: &Permit) -> Result<wire::IndexRebuild> {
        let node = engine.rebuildable(self.node.as_deref()).await?;
        permit.note("log", node.clone());
        let log = node.clone();
        permit
            .commit(move |tx| {
                let log = log.clone();
                async move { Log::ask_rebuild(tx, &log).await }.boxed()
            })
            .await?;
        engine.rebuild();
        Ok(wire::IndexRebuild { node })
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

pub(super) async fn records(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<wire::SearchQuery>,
) -> Answer<wire::FoundRecords> {
    let page = perform(&services, caller, |services| &services.log, search(query)?).await?;
    let mut items = Vec::with_capacity(page.records.len());
    for found in page.records {
        let record = String::from_utf8(found.record)
            .map_err(|e| Error::internal("an audit record that was found is no text").because(e))?;
        items.push(wire::FoundRecord {
            node: found.node,
            index: found.index,
            record,
        });
    }
    let logs = page.logs.into_iter().map(|log| wire::SearchedLog {
        node: log.node,
        size: log.size,
        indexed: log.indexed,
    });
    Ok(Json(wire::FoundRecords {
        items,
        next: page.next,
        logs: logs.collect(),
    }))
}

fn search(query: wire::SearchQuery) -> Result<SearchLog> {
    let asked = wire::SearchQuery {
        cursor: None,
        limit: None,
        ..query.clone()
    };
    // The words of the question, for the record of it.
    let asked =
        serde_json::to_string(&asked).map_err(|e| Error::internal("a question cannot be written").because(e))?;
    let limit = query.limit.unwrap_or(wire::LIMIT_DEFAULT).clamp(1, wire::LIMIT_MAX);
    Ok(SearchLog {
        asked,
        limit: usize::try_from(limit).unwrap_or(1),
        cursor: query.cursor,
        query: Query {
            action: query.action,
            caller: query.caller,
            decision: query.decision.as_deref().map(str::parse).transpose()?,
            node: query.node,
            outcome: query.outcome.as_deref().map(str::parse).transpose()?,
            record: query.record.as_deref().map(str::parse).transpose()?,
            request: query.request.as_deref().map(str::parse).transpose()?,
            resource: query.resource,
            resource_prefix: query.resource_prefix,
            // As tools write it: with colons, in capitals.
            serial: query.serial.map(|serial| serial.replace(':', "").to_ascii_lowercase()),
            since: query.since,
            trace: query.trace.as_deref().map(str::parse).transpose()?,
            until: query.until,
        },
    })
}

pub(super) async fn rebuild(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::RebuildIndex>,
) -> Answer<wire::IndexRebuild> {
    let op = RebuildIndex { node: asked.node };
    Ok(Json(perform(&services, caller, |services| &services.log, op).await?))
}

pub(super) async fn proof(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<wire::ProofQuery>,
) -> Result<Response, Failure> {
    let what = match (query.index, query.record, query.since) {
        (Some(index), None, None) => Proven::Record(Proved::Index(index)),
        (None, Some(id), None) => Proven::Record(Proved::Record(id.parse()?)),
        (None, None, Some(old)) => Proven::Since(old),
        _ => return Err(Error::invalid("say what to prove: give one of `index`, `record` and `since`").into()),
    };
    let op = ProveLog { what, node: query.node };
    let text = perform(&services, caller, |services| &services.log, op).await?;
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, text).into_response())
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
