//! `chancery role assign|list|revoke`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::vault::Most;
use crate::clock::{Clock, SystemClock};
use crate::wire;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("PRINCIPAL", "principal"),
    ("ROLE", "role"),
    ("SCOPE", "scope"),
    ("EXPIRES", "expires"),
    ("CREATED", "created"),
];

#[derive(Args)]
pub(super) struct Role {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Assign a role
    Assign(Assign),
    /// List role assignments
    #[command(visible_alias = "ls")]
    List(Most),
    /// Take a role assignment back
    Revoke {
        /// The assignment's id
        #[arg(long, value_name = "ID")]
        id: String,
    },
}

#[derive(Args)]
struct Assign {
    /// Who: a SPIFFE ID
    #[arg(long, value_name = "SPIFFE_ID")]
    principal: String,
    /// What: for example secrets-user, or "Key Vault Administrator"
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Where: /, vaults/kv-prod, vaults/kv-prod/secrets/db-password, or a prefix that ends in /
    #[arg(long, value_name = "SCOPE")]
    scope: String,
    /// For how long; for good if it is left out
    #[arg(long = "for", value_name = "DURATION", value_parser = parse::duration)]
    lasts: Option<Duration>,
}

impl Role {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Assign(assign) => {
                let assigned = client
                    .assign_role(&wire::AssignRole {
                        principal: assign.principal,
                        role: assign.role,
                        scope: assign.scope,
                        expires: assign.lasts.map(|lasts| SystemClock.now() + lasts),
                    })
                    .await?;
                session.out.one(&assigned, COLUMNS)
            }
            Verb::List(Most { limit }) => session.out.list(&client.role_assignments(limit).await?, COLUMNS),
            Verb::Revoke { id } => {
                client.revoke_role(&id).await?;
                session.out.say(&format!("role assignment `{id}` is taken back"));
                Ok(())
            }
        }
    }
}
