//! `chancery audit search`.

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::exit::{Failure, Result};
use super::output::Columns;
use super::parse;
use super::session::Session;
use crate::clock::Timestamp;
use crate::wire;

const COLUMNS: Columns = &[
    ("TIME", "record.time"),
    ("CALLER", "record.caller.id"),
    ("ACTION", "record.action"),
    ("RESOURCE", "record.resource"),
    ("OUTCOME", "record.outcome"),
    ("NODE", "node"),
    ("INDEX", "index"),
];

#[derive(Args)]
#[command(
    after_help = "Example:\n  chancery audit search --action ReadSecret --resource-prefix vaults/kv-prod/ --outcome denied"
)]
pub(super) struct SearchLog {
    /// What was asked, for example ReadSecret
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Who asked: a SPIFFE ID, or system:NAME
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// What was decided
    #[arg(long, value_parser = ["allow", "deny"])]
    decision: Option<String>,
    /// In this node's log
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// How it ended
    #[arg(long, value_parser = ["denied", "done", "failed", "intent", "unknown"])]
    outcome: Option<String>,
    /// The record with this id
    #[arg(long, value_name = "ID")]
    record: Option<String>,
    /// Of the request with this id
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// On what, exactly, for example vaults/kv-prod/secrets/db-password
    #[arg(long, value_name = "PATH")]
    resource: Option<String>,
    /// On what begins like this, for example vaults/kv-prod/
    #[arg(long, value_name = "PATH", conflicts_with = "resource")]
    resource_prefix: Option<String>,
    /// The serial of the caller's certificate or of the one that it is about, hexadecimal
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// Of requests of the trace with this trace-id (W3C Trace Context)
    #[arg(long, value_name = "ID")]
    trace: Option<String>,
    /// Made then or later: a day, or a time in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    since: Option<Timestamp>,
    /// Made before
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    until: Option<Timestamp>,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
    /// All, as if there were no --limit
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// Write each record as it lies in the log, byte for byte, one a line
    #[arg(long)]
    raw: bool,
}

/// A record as data.
#[derive(Serialize)]
struct Row {
    node: String,
    index: u64,
    record: Value,
}

impl SearchLog {
    /// Writes page by page, so that a list of any length needs the room of a page.
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let (all, raw, mut left) = (self.all, self.raw, self.limit);
        let mut query = self.query();
        let mut listing = session.out.listing(COLUMNS);
        loop {
            let most = if all {
                wire::LIMIT_MAX
            } else {
                u32::try_from(left).unwrap_or(u32::MAX)
            };
            query.limit = Some(most.clamp(1, wire::LIMIT_MAX));
            let mut page = client.search_audit(&query).await?;
            if query.cursor.is_none() {
                tell(session, &page.logs);
            }
            if !all {
                page.items.truncate(left);
                left -= page.items.len();
            }
            let read = if raw {
                let lines = page.items.iter().flat_map(|found| [found.record.as_str(), "\n"]);
                super::output::pass(lines.collect::<String>().as_bytes())?
            } else {
                let rows = page.items.into_iter().map(row).collect::<Result<Vec<_>>>()?;
                listing.add(&rows)?
            };
            if page.next.is_none() || (!all && left == 0) || !read {
                return if raw { Ok(()) } else { listing.end() };
            }
            if page.next == query.cursor {
                return Err(Failure::error("the list does not go on: its cursor repeats"));
            }
            query.cursor = page.next;
        }
    }

    fn query(self) -> wire::SearchQuery {
        wire::SearchQuery {
            action: self.action,
            caller: self.caller,
            cursor: None,
            decision: self.decision,
            limit: None,
            node: self.node,
            outcome: self.outcome,
            record: self.record,
            request: self.request,
            resource: self.resource,
            resource_prefix: self.resource_prefix,
            serial: self.serial,
            since: self.since,
            trace: self.trace,
            until: self.until,
        }
    }
}

fn row(found: wire::FoundRecord) -> Result<Row> {
    let record = serde_json::from_str(&found.record).map_err(|e| {
        Failure::error(format!(
            "record {} of `{}` is not understood: {e}",
            found.index, found.node
        ))
    })?;
    Ok(Row {
        node: found.node,
        index: found.index,
        record,
    })
}

/// Says which logs cannot be searched from here.
fn tell(session: &Session, logs: &[wire::SearchedLog]) {
    for log in logs.iter().filter(|log| log.indexed.is_none()) {
        session.out.say(&format!(
            "the log of node `{}` does not lie here and was not searched: ask that node, if there is one",
            log.node
        ));
    }
}
