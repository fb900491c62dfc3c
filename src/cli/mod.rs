//! The command line: `chancery <noun> <verb>`. Its contract is in `docs/cli.md`.
//!
//! Holds argument types (a file per noun), output, exit codes and the settings' precedence. It must never decide what
//! the service decides, take a secret on the command line, or write anything but data to stdout. A new noun gets a
//! file with its `Args`, a variant in [`Command`] and an arm in [`dispatch`]; a command that runs the service, or
//! opens it on its host, stands in `dev`, `server`, `recovery` or `whole_backup`, which alone may import the service's rooms.

mod acme;
mod agent;
mod audit;
mod authority;
mod backup;
mod certificate;
mod completion;
mod dev;
mod exit;
pub mod export;
mod identity;
mod input;
mod inventory;
mod issuer;
mod key;
mod output;
mod parse;
mod policy;
mod progress;
mod recovery;
mod renewal;
mod role;
mod search;
mod secret;
mod server;
mod session;
mod settings;
mod vault;
pub mod verify;
mod whole_backup;
mod yaml;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use exit::{Exit, Failure, Result};
use session::Session;

/// A certificate authority, renewal scheduler and key vault whose issuing keys live in an HSM
#[derive(Parser)]
#[command(
    name = "chancery",
    version,
    max_term_width = 100,
    after_help = "Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 denied, 5 conflict, 6 unreachable, \
                  7 check failed, 130 interrupted"
)]
struct Cli {
    #[command(flatten)]
    global: settings::Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The ACME server's accounts, and the keys of external accounts
    Acme(acme::Acme),
    /// Get this node's certificate and keep it fresh
    Agent(agent::Agent),
    /// Search, write out and prove the audit log
    Audit(audit::Audit),
    /// Backups of the whole service
    Backup(whole_backup::WholeBackup),
    /// The service's own authorities and what they issued
    Ca(authority::Authority),
    /// Certificates: ordered, renewed and delivered, or issued from a request
    Cert(certificate::Certificate),
    /// Write a completion script for a shell
    Completion(completion::Completion),
    /// The service's configuration
    #[command(subcommand)]
    Config(server::Configuration),
    /// Try it out: a complete throw-away service in one command
    Dev(dev::Dev),
    /// Identities of callers and their join tokens
    Identity(identity::Identity),
    /// Upstream issuers that certificates are ordered from
    Issuer(issuer::Issuer),
    /// Keys that encrypt, wrap and sign, and never leave the service
    Key(key::Key),
    /// Why somebody may do something, or may not
    Policy(policy::Policy),
    /// What is left when nobody can administer the service any more
    Recovery(recovery::Recovery),
    /// Look at renewals
    Renewal(renewal::Renewal),
    /// Who may do what, where
    Role(role::Role),
    /// Secrets and their versions
    Secret(secret::Secret),
    /// Run the service
    Server(server::Server),
    /// Vaults, the namespaces of secrets, keys and certificates
    Vault(vault::Vault),
}

/// Runs the command line to its end.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    match perform(cli) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            failure.tell();
            failure.exit().into()
        }
    }
}

/// Help and version are answers, the rest is a usage error.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nothing is left to do if the terminal is gone.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Exit::Ok.into(),
        _ => Exit::Usage.into(),
    }
}

fn perform(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::error(format!("the program cannot start its threads: {e}")))?;
    let done = runtime.block_on(async {
        // The service ends cleanly by itself.
        if matches!(cli.command, Command::Dev(_) | Command::Server(_)) {
            return dispatch(cli).await;
        }
        tokio::select! {
            done = dispatch(cli) => done,
            _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
        }
    });
    // A thread may still wait for stdin.
    runtime.shutdown_background();
    done
}

async fn dispatch(cli: Cli) -> Result<()> {
    let session = Session::new(cli.global)?;
    match cli.command {
        Command::Acme(acme) => acme.run(&session).await,
        Command::Agent(agent) => agent.run(&session).await,
        Command::Audit(audit) => audit.run(&session).await,
        Command::Backup(backup) => backup.run(&session).await,
        Command::Ca(authority) => authority.run(&session).await,
        Command::Cert(certificate) => certificate.run(&session).await,
        Command::Completion(completion) => completion.run::<Cli>(&session),
        Command::Config(configuration) => configuration.run(&session),
        Command::Dev(dev) => dev.run().await,
        Command::Identity(identity) => identity.run(&session).await,
        Command::Issuer(issuer) => issuer.run(&session).await,
        Command::Key(key) => key.run(&session).await,
        Command::Policy(policy) => policy.run(&session).await,
        Command::Recovery(recovery) => recovery.run(&session).await,
        Command::Renewal(renewal) => renewal.run(&session).await,
        Command::Role(role) => role.run(&session).await,
        Command::Secret(secret) => secret.run(&session).await,
        Command::Server(server) => server.run().await,
        Command::Vault(vault) => vault.run(&session).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    /// The arguments of each `chancery …` in the shell blocks of a page.
    fn shown(page: &str) -> Vec<Vec<String>> {
        let blocks = page
            .split("```sh\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next());
        let lines = blocks.flat_map(|block| {
            let joined = block.replace("\\\n", " ");
            joined.lines().map(str::to_owned).collect::<Vec<_>>()
        });
        let mut shown = Vec::new();
        for line in lines {
            let words = shlex::split(&line.replace("$(", "; ")).unwrap_or_else(|| panic!("not shell: {line}"));
            let ends = |word: &String| ["|", "&&", ";", "&"].contains(&word.as_str());
            for command in words.split(ends) {
                let at = command
                    .iter()
                    .position(|word| !word.contains('=') && word != "sudo" && word != "time");
                let command = at.and_then(|at| command.get(at..)).unwrap_or_default();
                if command.first().is_some_and(|word| word.ends_with("chancery")) {
                    let words = command.iter().take_while(|word| !word.starts_with(['>', '<']));
                    shown.push(words.cloned().collect());
                }
            }
        }
        shown
    }

    #[test]
    fn what_the_pages_show_is_understood() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut pages = vec![root.join("README.md")];
        pages.extend(
            std::fs::read_dir(root.join("docs"))
                .unwrap()
                .map(|page| page.unwrap().path()),
        );
        let shown: Vec<_> = pages
            .iter()
            .flat_map(|page| shown(&std::fs::read_to_string(page).unwrap()))
            .collect();
        assert!(shown.len() > 50, "the pages show {} commands", shown.len());
        let wrong: Vec<String> = shown
            .iter()
            .filter_map(|words| {
                let error = Cli::try_parse_from(words).err()?;
                // The log's public key comes from the environment.
                let lacks_key = words.contains(&"verify".to_owned()) && error.to_string().contains("--key <FILE>");
                let is_meant = error.kind() == ErrorKind::DisplayHelp
                    || error.kind() == ErrorKind::MissingRequiredArgument && lacks_key;
                (!is_meant).then(|| format!("{}\n{error}", words.join(" ")))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
