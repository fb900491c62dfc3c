//! `chancery policy check|explain|simulate`.

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::role::{Assign, Define};
use super::session::Session;
use crate::clock::Timestamp;
use crate::wire;

const DECISION: Columns = &[("ALLOW", "allow"), ("POLICIES", "policies")];

const REASONS: Columns = &[
    ("ASSIGNMENT", "assignment"),
    ("PRINCIPAL", "principal"),
    ("ROLE", "role"),
    ("SCOPE", "scope"),
    ("DENY", "deny"),
    ("FROM", "not_before"),
    ("EXPIRES", "expires"),
    ("REACHED", "reached"),
];

const ALTERED: Columns = &[
    ("PRINCIPAL", "principal"),
    ("SCOPE", "scope"),
    ("GAINS", "gains"),
    ("LOSES", "loses"),
];

#[derive(Args)]
pub(super) struct Policy {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Whether an identity may do something, and by which assignment
    Check(Check),
    /// What an identity holds, or who may do something; without either, what you hold yourself
    Explain(Explain),
    /// What a change would alter: who would gain what, and who would lose it. Nothing is changed
    Simulate(Simulate),
}

#[derive(Args)]
struct Simulate {
    #[command(subcommand)]
    change: Change,
    /// When, for example 2026-12-01 or 2026-12-01T08:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME", value_parser = parse::time, global = true)]
    at: Option<Timestamp>,
}

#[derive(Subcommand)]
enum Change {
    /// If a role were assigned, or denied
    Assign(Assign),
    /// If an assignment were taken back
    Revoke {
        /// The assignment's id
        #[arg(long, value_name = "ID")]
        id: String,
    },
    /// If a role allowed and denied this instead, for all who hold it
    UpdateRole(Define),
}

#[derive(Args)]
struct Check {
    /// Who: a SPIFFE ID
    #[arg(long, value_name = "SPIFFE_ID")]
    principal: String,
    /// What: an action as the audit log names it, for example ReadSecret
    #[arg(long, value_name = "ACTION")]
    action: String,
    /// On what, for example vaults/kv-prod/secrets/db-password
    #[arg(long, value_name = "RESOURCE")]
    resource: String,
    /// When, for example 2026-12-01 or 2026-12-01T08:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    at: Option<Timestamp>,
}

#[derive(Args)]
struct Explain {
    /// What this identity holds: by its name, by a path, by its groups
    #[arg(long, value_name = "SPIFFE_ID", conflicts_with = "resource")]
    principal: Option<String>,
    /// Who may do something on this, for example vaults/kv-prod/secrets/db-password
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<String>,
    /// What: to read or to show it if it is left out
    #[arg(long, value_name = "ACTION", requires = "resource")]
    action: Option<String>,
    /// When, for example 2026-12-01 or 2026-12-01T08:00:00Z; now if it is left out
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    at: Option<Timestamp>,
    /// At most this many; all if it is left out
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

impl Policy {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Check(Check {
                principal,
                action,
                resource,
                at,
            }) => {
                let asked = wire::CheckPolicy {
                    principal,
                    action,
                    resource,
                    at,
                };
                session.out.one(&client.check_policy(&asked).await?, DECISION)
            }
            Verb::Explain(explain) => {
                let query = wire::ExplainQuery {
                    principal: explain.principal,
                    resource: explain.resource,
                    action: explain.action,
                    at: explain.at,
                    ..wire::ExplainQuery::default()
                };
                let reasons = client.explain_policy(query, explain.limit).await?;
                session.out.list(&reasons, REASONS)
            }
            Verb::Simulate(Simulate { change, at }) => {
                let mut asked = wire::SimulatePolicy {
                    at,
                    ..wire::SimulatePolicy::default()
                };
                match change {
                    Change::Assign(assign) => asked.assign = Some(assign.asked()),
                    Change::Revoke { id } => asked.revoke = Some(id),
                    Change::UpdateRole(define) => asked.update_role = Some(define.asked()),
                }
                let found = client.simulate_policy(&asked).await?;
                if found.altered.is_empty() {
                    session.out.say("nobody gains or loses anything");
                }
                if found.judged < found.reaches {
                    let (judged, reaches) = (found.judged, found.reaches);
                    session
                        .out
                        .say(&format!("the first {judged} of {reaches} identities were looked at"));
                }
                session.out.list(&found.altered, ALTERED)
            }
        }
    }
}
