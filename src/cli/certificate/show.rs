//! `chancery cert show`: an object of a vault, or, without the service, a file's or a server's certificates.

use clap::Args;

use super::{COLUMNS, VaultOption, inspect};
use crate::cli::exit::{Failure, Result};
use crate::cli::output;
use crate::cli::session::Session;
use crate::id::ObjectName;

#[derive(Args)]
pub(super) struct Show {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    vault: VaultOption,
    /// Write the chain only, PEM, leaf first
    #[arg(long)]
    pem: bool,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// The certificate object's name
    #[arg(long, value_name = "NAME")]
    name: Option<ObjectName>,
    /// Look at this file, or at what this server shows, instead
    #[arg(value_name = "FILE|HOST:PORT")]
    target: Option<String>,
}

impl Show {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        if let Some(target) = &self.which.target {
            return inspect::brief(session, target, self.pem).await;
        }
        let Some(name) = &self.which.name else {
            return Err(Failure::usage("say which certificate: --name, a file or host:port"));
        };
        let vault = session.vault(&self.vault)?;
        let client = session.client()?;
        if self.pem {
            let chain = client.certificate_chain(&vault, name).await?;
            return output::write(chain.as_bytes());
        }
        let certificate = client.certificate(&vault, name).await?;
        session.out.one(&certificate, COLUMNS)
    }
}
