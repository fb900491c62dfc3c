//! `chancery server`, and `chancery config check`: the entry to the service itself.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::exit::{Failure, Result};
use super::session::Session;
use crate::config::Config;
use crate::enrollment;
use crate::error::Error;
use crate::server::{self, Listeners, Ready};

/// Says to a process that it was started again with its module's environment.
const STARTED_AGAIN: &str = "CHANCERY_STARTED_AGAIN";

#[derive(clap::Args)]
pub(super) struct Server {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE", env = "CHANCERY_CONFIG")]
    config: PathBuf,
}

impl Server {
    pub(super) async fn run(self) -> Result<()> {
        let config = Config::read(&self.config).map_err(wrong)?;
        with_environment(&config)?;
        log();
        let first_token_file = config.first_token_file.clone();
        let listeners = Listeners::bind(&config).map_err(wrong)?;
        server::serve(config, listeners, async |ready: Ready| {
            let services = &ready.house.services;
            if let Some(first) = enrollment::bootstrap_token(&services.gate, &services.enrollment).await? {
                server::first_token::hand_over(&first.token, first_token_file.as_deref())?;
            }
            tell_ready()
        })
        .await
        .map_err(failed)
    }
}

/// Looks at a configuration without serving it
#[derive(clap::Args)]
pub(super) struct Check {
    /// The configuration, TOML
    #[arg(long, value_name = "FILE", env = "CHANCERY_CONFIG")]
    config: PathBuf,
}

#[derive(clap::Subcommand)]
pub(super) enum Configuration {
    /// Check a configuration: everything short of opening token, store and ports
    Check(Check),
}

impl Configuration {
    pub(super) fn run(self, session: &Session) -> Result<()> {
        let Self::Check(check) = self;
        let config = Config::read(&check.config).map_err(wrong)?;
        config.check().map_err(wrong)?;
        session.out.say(&format!("`{}` is good", check.config.display()));
        Ok(())
    }
}

/// Says that everything is served: to whoever reads stdout, and to systemd.
pub(super) fn tell_ready() -> crate::error::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "ready")
        .and_then(|()| stdout.flush())
        .map_err(|e| Error::unavailable("stdout is gone").because(e))?;
    // Without systemd there is nobody to tell.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    Ok(())
}

/// A PKCS#11 module reads its settings from the environment of the process that loads it, so the process is started
/// again with what the configuration says, in the same place and with the same arguments.
#[expect(
    clippy::disallowed_methods,
    reason = "compares the environment with what the configuration asks for"
)]
pub(super) fn with_environment(config: &Config) -> Result<()> {
    let differs = |(name, value): (&String, &String)| std::env::var(name).as_ref() != Ok(value);
    if !config.environment.iter().any(differs) {
        return Ok(());
    }
    if std::env::var_os(STARTED_AGAIN).is_some() {
        return Err(Failure::error(
            "the environment that the configuration asks for cannot be had",
        ));
    }
    let program = std::env::current_exe()
        .map_err(|e| Failure::error(format!("the program cannot find itself to start again: {e}")))?;
    let error = Command::new(program)
        .args(std::env::args_os().skip(1))
        .envs(&config.environment)
        .env(STARTED_AGAIN, "1")
        .exec();
    Err(Failure::error(format!("the program cannot be started again: {error}")))
}

/// Sends the log to stderr: JSON where a service reads it, lines where a person does. `CHANCERY_LOG` says how much.
pub(super) fn log() {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("CHANCERY_LOG").unwrap_or_else(|_| EnvFilter::new("info,sqlx=warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call in one process changes nothing.
    let _ = if std::io::stderr().is_terminal() {
        lines.try_init()
    } else {
        lines.json().flatten_event(true).try_init()
    };
}

/// The configuration, or what it names, is wrong.
pub(super) fn wrong(error: Error) -> Failure {
    Failure::usage(error.detail())
}

/// The service could not start, or ended.
pub(super) fn failed(error: Error) -> Failure {
    match error.kind() {
        crate::error::Kind::Invalid => wrong(error),
        _ => Failure::error(error.detail()),
    }
}
