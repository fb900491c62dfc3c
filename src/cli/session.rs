//! What a command works with: the settings, the output and, once it is needed, the client.

use std::path::Path;

use super::exit::Result;
use super::output::Output;
use super::settings::{self, File, Global, VaultOption};
use crate::client::Client;
use crate::id::Label;

pub(super) struct Session {
    global: Global,
    file: File,
    /// Where data and messages go.
    pub(super) out: Output,
}

impl Session {
    pub(super) fn new(global: Global) -> Result<Self> {
        let out = Output::new(global.output, global.quiet);
        Ok(Self {
            file: File::read()?,
            global,
            out,
        })
    }

    /// A client for the service that the settings name, in the trace that the environment names.
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    pub(super) fn client(&self) -> Result<Client> {
        let client = Client::new(settings::connection(&self.global, &self.file)?)?;
        Ok(client.in_trace(std::env::var("TRACEPARENT").ok().as_deref()))
    }

    /// Where the service is and, if it is said, whom to trust.
    pub(super) fn service(&self) -> settings::Service {
        settings::service(&self.global, &self.file)
    }

    /// The vault to work in.
    pub(super) fn vault(&self, option: &VaultOption) -> Result<Label> {
        option.resolve(&self.file)
    }

    /// Asks before what cannot be taken back; `--yes` is an answer.
    pub(super) async fn confirm(&self, question: &str) -> Result<()> {
        if self.global.yes {
            return Ok(());
        }
        super::input::confirm(question).await
    }

    /// The content of a file, or of stdin for `-`, as text.
    pub(super) async fn bytes_of(&self, path: &Path) -> Result<Vec<u8>> {
        super::input::bytes_of(path).await
    }

    pub(super) async fn text_of(&self, path: &Path) -> Result<String> {
        super::input::text_of(path).await
    }
}
