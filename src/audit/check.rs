//! The check of the records that a start did not read, behind that start.
//!
//! It takes its time, writes nothing, and says what it finds to the service's log and to whoever asks for its health.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;

use super::{replay, rows};
use crate::error::{Error, Kind, Result};

/// After so many bytes it pauses for so long: some 50 MB a second, a small part of what disk and processor give.
const STRETCH: usize = 1 << 20;
const PAUSE: Duration = Duration::from_millis(15);
/// How long until it asks a store that did not answer again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is to be checked.
pub(super) enum Older {
    Journal { origin: String, older: replay::Older },
    Rows(rows::Older),
}

/// A check that is under way or done.
pub(super) struct Check(Arc<State>);

#[derive(Default)]
struct State {
    progress: Mutex<Progress>,
    wake: Condvar,
}

#[derive(Default)]
struct Progress {
    stopped: bool,
    finding: Option<String>,
    thread: Option<JoinHandle<()>>,
}

impl Check {
    /// Begins to check `older`, within a tokio runtime.
    ///
    /// # Errors
    /// If no thread can be had.
    pub(super) fn start(older: Older) -> Result<Self> {
        let state = Arc::new(State::default());
        let runtime = Handle::current();
        let thread = std::thread::Builder::new()
            .name("audit-check".into())
            .spawn({
                let state = state.clone();
                move || state.run(&older, &runtime)
            })
            .map_err(|error| Error::unavailable("no thread for the audit log's check").because(error))?;
        state.progress().thread = Some(thread);
        Ok(Self(state))
    }

    /// Whether nothing is known against the older records.
    ///
    /// # Errors
    /// `Unavailable` once they are known to be damaged.
    pub(super) fn health(&self) -> Result<()> {
        match &self.0.progress().finding {
            Some(finding) => Err(Error::unavailable(
                "older records of the audit log are damaged: see the server's log, put back what it names, then restart",
            )
            .because(finding.clone())),
            None => Ok(()),
        }
    }

    /// Ends it soon.
    pub(super) fn stop(&self) {
        self.0.progress().stopped = true;
        self.0.wake.notify_all();
    }

    /// Ends it, and returns when it has ended.
    pub(super) async fn close(&self) {
        self.stop();
        self.ended().await;
    }

    pub(super) async fn ended(&self) {
        let thread = self.0.progress().thread.take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl State {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, older: &Older, runtime: &Handle) {
        while let Err(error) = self.check(older, runtime) {
            if self.progress().stopped {
                return;
            }
            if error.kind() != Kind::Unavailable {
                tracing::error!("{}", error.detail());
                self.progress().finding = Some(error.detail());
                return;
            }
            tracing::warn!("older audit records could not be checked yet: {}", error.detail());
            self.pause(AGAIN);
        }
    }

    fn check(&self, older: &Older, runtime: &Handle) -> Result<()> {
        let mut bytes = 0;
        let mut visit = |record: &[u8]| {
            bytes += record.len();
            if bytes > STRETCH {
                bytes = 0;
                self.pause(PAUSE);
            }
            !self.progress().stopped
        };
        match older {
            Older::Journal { origin, older } => older.check(origin, &mut visit),
            Older::Rows(older) => runtime.block_on(older.check(&mut visit)),
        }
    }

    fn pause(&self, pause: Duration) {
        let going = |progress: &mut Progress| !progress.stopped;
        let _ = self.wake.wait_timeout_while(self.progress(), pause, going);
    }
}
