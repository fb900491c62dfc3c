//! `chancery vault rekey`: the keys that seal are replaced.

use std::time::Duration;

use clap::Args;

use crate::cli::exit::Result;
use crate::cli::output::Columns;
use crate::cli::progress::Progress;
use crate::cli::session::Session;
use crate::clock::{Clock, SystemClock};
use crate::wire;

/// Between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(1);

const KEKS: Columns = &[
    ("GENERATION", "generation"),
    ("LABEL", "label"),
    ("STAGE", "stage"),
    ("SINCE", "since"),
    ("DATA KEYS", "data_keys"),
];

#[derive(Args)]
#[command(after_help = "Examples:
  chancery vault rekey --kek            A new key-encryption key in the token wraps every data key anew
  chancery vault rekey --kek --watch    How many data keys are left, until none is
  chancery vault rekey --retire-kek 1   Nothing is opened by the first generation any more")]
pub(super) struct Rekey {
    /// Make a new key-encryption key in the token and wrap every data key anew by it; the service does it by itself
    #[arg(long, required_unless_present = "retire_kek")]
    kek: bool,
    /// End a former generation of the key-encryption key: backups that were made under it do not open any more
    #[arg(long, value_name = "GENERATION", conflicts_with_all = ["kek", "watch"])]
    retire_kek: Option<u32>,
    /// Begin nothing; show how much is left, until nothing is
    #[arg(long)]
    watch: bool,
}

impl Rekey {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let keks = match self.retire_kek {
            Some(generation) => {
                session
                    .confirm(&format!(
                        "end generation {generation} of the key-encryption key? Backups of its time do not open any more"
                    ))
                    .await?;
                client.retire_kek(generation).await?
            }
            None if self.watch => {
                let mut progress = Progress::new(&session.out);
                loop {
                    let keks = client.keks().await?;
                    let left = left(&keks);
                    let Some(left) = left else { break keks };
                    progress.now(left);
                    SystemClock.sleep(PAUSE).await;
                }
            }
            None => client.rotate_kek().await?,
        };
        session.out.list(&keks.keks, KEKS)
    }
}

/// What a rotation waits for, if there is one.
fn left(keks: &wire::Keks) -> Option<String> {
    if let Some(kek) = keks.keks.iter().find(|kek| kek.stage == "requested") {
        return Some(format!("`{}` is being made", kek.label));
    }
    let former = keks.keks.iter().filter(|kek| kek.stage == "former");
    match former.map(|kek| kek.data_keys).sum() {
        0 => None,
        1_u64 => Some("1 data key is left".to_owned()),
        left => Some(format!("{left} data keys are left")),
    }
}
