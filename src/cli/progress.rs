//! Progress on long work: a spinner on a terminal, a line per change elsewhere.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::{Output, printable};

/// What is being waited for. The last state stays on screen as a message.
pub(super) struct Progress<'a> {
    out: &'a Output,
    bar: Option<ProgressBar>,
    last: String,
}

impl<'a> Progress<'a> {
    pub(super) fn new(out: &'a Output) -> Self {
        let bar = (!out.is_quiet() && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self {
            out,
            bar,
            last: String::new(),
        }
    }

    /// Says what the state is now.
    pub(super) fn now(&mut self, state: String) {
        if state == self.last {
            return;
        }
        match &self.bar {
            Some(bar) => bar.set_message(printable(&state)),
            None => self.out.say(&state),
        }
        self.last = state;
    }

    /// Says how far it is, to whoever watches; it leaves no trace.
    pub(super) fn passing(&self, state: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(state.to_owned());
        }
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
            if !self.last.is_empty() {
                self.out.say(&self.last);
            }
        }
    }
}
