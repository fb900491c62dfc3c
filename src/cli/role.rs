//! `chancery role assign|list|revoke`, and `create|definitions|show|update|delete` for what roles mean.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::exit::Result;
use super::output::Columns;
use super::parse;
use super::session::Session;
use super::vault::Most;
use crate::clock::{Clock, SystemClock, Timestamp};
use crate::wire;

const COLUMNS: Columns = &[
    ("ID", "id"),
    ("PRINCIPAL", "principal"),
    ("ROLE", "role"),
    ("SCOPE", "scope"),
    ("EXPIRES", "expires"),
    ("CREATED", "created"),
    ("DENY", "deny"),
    ("FROM", "not_before"),
];

const DEFINITION: Columns = &[
    ("NAME", "name"),
    ("BUILT IN", "built_in"),
    ("ALLOW", "allow"),
    ("DENY", "deny"),
    ("UPDATED", "updated"),
];

const NAMES: Columns = &[("NAME", "name"), ("BUILT IN", "built_in"), ("UPDATED", "updated")];

#[derive(Args)]
pub(super) struct Role {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Assign a role, or with --deny take from somebody what it allows
    Assign(Assign),
    /// List role assignments
    #[command(visible_alias = "ls")]
    List(Most),
    /// Make a role: a name for actions of your choice
    Create(Define),
    /// List roles, the built-in ones and those that were made
    Definitions(Most),
    /// What a role allows and denies
    Show(Named),
    /// Replace what a role allows and denies, for all who hold it
    Update(Define),
    /// Delete a role that nobody holds
    Delete(Named),
    /// Take a role assignment back
    Revoke {
        /// The assignment's id
        #[arg(long, value_name = "ID")]
        id: String,
    },
}

#[derive(Args)]
struct Named {
    /// The role's name
    #[arg(long, value_name = "ROLE")]
    name: String,
}

#[derive(Args)]
#[group(required = true, multiple = true, args = ["allow", "deny"])]
pub(super) struct Define {
    /// The role's name
    #[arg(long, value_name = "ROLE")]
    name: String,
    /// What whoever holds it may do, for example ReadSecret,ListSecrets; may be repeated
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    allow: Vec<String>,
    /// What whoever holds it may not do, whatever else allows it; may be repeated
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    deny: Vec<String>,
}

#[derive(Args)]
pub(super) struct Assign {
    /// Who: a SPIFFE ID, or all below a path as in spiffe://chancery.test/team-a/*
    #[arg(long, value_name = "SPIFFE_ID")]
    principal: Option<String>,
    /// Who: whoever is in this group
    #[arg(
        long,
        value_name = "GROUP",
        conflicts_with = "principal",
        required_unless_present = "principal"
    )]
    group: Option<String>,
    /// What: for example secrets-user, or "Key Vault Administrator"
    #[arg(long, value_name = "ROLE")]
    role: String,
    /// Where: /, vaults/kv-prod, vaults/kv-prod/secrets/db-password, or a prefix that ends in /
    #[arg(long, value_name = "SCOPE")]
    scope: String,
    /// Deny what the role allows, whatever else allows it
    #[arg(long)]
    deny: bool,
    /// From when on, for example 2026-12-01 or 2026-12-01T08:00:00Z; at once if it is left out
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    from: Option<Timestamp>,
    /// For how long; for good if it is left out
    #[arg(long = "for", value_name = "DURATION", value_parser = parse::duration)]
    lasts: Option<Duration>,
}

impl Assign {
    pub(super) fn asked(self) -> wire::AssignRole {
        let begins = self.from.unwrap_or_else(|| SystemClock.now());
        let group = self.group.map(|group| format!("group:{group}"));
        wire::AssignRole {
            principal: self.principal.or(group).unwrap_or_default(),
            role: self.role,
            scope: self.scope,
            deny: self.deny,
            not_before: self.from,
            expires: self.lasts.map(|lasts| begins + lasts),
        }
    }
}

impl Define {
    pub(super) fn asked(self) -> wire::CreateRole {
        wire::CreateRole {
            name: self.name,
            allow: self.allow,
            deny: self.deny,
        }
    }
}

impl Role {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        match self.verb {
            Verb::Assign(assign) => {
                let assigned = client.assign_role(&assign.asked()).await?;
                session.out.one(&assigned, COLUMNS)
            }
            Verb::List(Most { limit }) => session.out.list(&client.role_assignments(limit).await?, COLUMNS),
            Verb::Create(define) => {
                let role = client.create_role(&define.asked()).await?;
                session.out.one(&role, DEFINITION)
            }
            Verb::Definitions(Most { limit }) => session.out.list(&client.roles(limit).await?, NAMES),
            Verb::Show(Named { name }) => session.out.one(&client.role(&name).await?, DEFINITION),
            Verb::Update(Define { name, allow, deny }) => {
                let update = wire::UpdateRole { allow, deny };
                session.out.one(&client.update_role(&name, &update).await?, DEFINITION)
            }
            Verb::Delete(Named { name }) => {
                client.delete_role(&name).await?;
                session.out.say(&format!("role `{name}` is deleted"));
                Ok(())
            }
            Verb::Revoke { id } => {
                client.revoke_role(&id).await?;
                session.out.say(&format!("role assignment `{id}` is taken back"));
                Ok(())
            }
        }
    }
}
