//! `chancery recovery administrator`: break-glass, on the service's host, while the service is stopped there.

use std::path::PathBuf;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use clap::{Args, Subcommand};

use super::exit::{Exit, Failure, Result};
use super::input::Source;
use super::server::{failed, log, with_environment, wrong};
use super::session::Session;
use crate::config::Config;
use crate::enrollment;
use crate::error::Error;
use crate::policy::SpiffeId;
use crate::server;
use crate::wire::{JoinToken, SecretText};

#[derive(Args)]
pub(super) struct Recovery {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Make a one-time join token for a new administrator, when all others are lost, and write it bare
    Administrator(Administrator),
}

#[derive(Args)]
struct Administrator {
    /// The service's configuration, TOML
    #[arg(long, value_name = "FILE", env = "CHANCERY_CONFIG", hide_env_values = true)]
    config: PathBuf,
    /// The administrator's SPIFFE ID; a name that nobody had before if it is left out
    #[arg(long, value_name = "SPIFFE_ID")]
    id: Option<SpiffeId>,
    /// The PIN of the HSM token: @FILE, or - for stdin or a prompt
    #[arg(value_name = "@FILE", default_value = "-")]
    pin: String,
}

impl Recovery {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let Verb::Administrator(asked) = self.verb;
        let config = Config::read(&asked.config).map_err(wrong)?;
        with_environment(&config)?;
        log();
        // SECURITY: that the configured PIN is the token's is proven below, when the token opens by it; here, that
        // whoever asks knows it too, and does not merely run this by leave of the service's files.
        let given = asked.pin.parse::<Source>()?.read("PIN of the HSM token").await?;
        let given = given.expose().strip_suffix(b"\n").unwrap_or_else(|| given.expose());
        let pin = config.hsm.pin.read().map_err(wrong)?;
        if verify_slices_are_equal(given, pin.expose()).is_err() {
            return Err(Failure::new(
                Exit::Denied,
                "that is not the PIN of the service's token: nothing was done",
            ));
        }
        let issued = server::offline(&config, async |house| {
            enrollment::recover_administrator(&house.services.gate, &house.services.enrollment, asked.id).await
        })
        .await
        .map_err(failed)?;
        session.out.say(&format!(
            "join token for the new administrator `{}`, good once, until {}: start the service, then use it with \
             `chancery agent enroll`",
            issued.id, issued.expires
        ));
        let text = String::from_utf8(issued.token.expose().to_vec())
            .map_err(|_| Error::internal("a join token is not text"))?;
        let token = JoinToken {
            token: SecretText::new(text),
            identity: issued.id.to_string(),
            expires: issued.expires,
        };
        session
            .out
            .bare(format!("{}\n", token.token.expose()).as_bytes(), &token)
    }
}
