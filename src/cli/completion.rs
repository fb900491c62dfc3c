//! `chancery completion SHELL`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::exit::Result;
use super::output;
use super::session::Session;

#[derive(Args)]
pub(super) struct Completion {
    /// The shell
    shell: Shell,
}

impl Completion {
    pub(super) fn run<Cli: CommandFactory>(&self, _: &Session) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "chancery", &mut script);
        output::write(&script)
    }
}
