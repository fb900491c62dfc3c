//! What a command reads: values from stdin, a file or a prompt, and a yes or no. Never a secret from the command line.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::exit::{Failure, Result};
use crate::secret::Secret;
use crate::wire::SECRET_MAX_BYTES;

/// The most that is read of a text (a request, a token, roots).
const TEXT_MAX_BYTES: u64 = 1024 * 1024;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// `@FILE`
    File(PathBuf),
    /// `-`, or nothing said; a prompt if stdin is a terminal.
    Stdin,
}

impl FromStr for Source {
    type Err = Failure;
    fn from_str(text: &str) -> Result<Self> {
        match (text, text.strip_prefix('@')) {
            ("-", _) => Ok(Self::Stdin),
            (_, Some(path)) if !path.is_empty() => Ok(Self::File(path.into())),
            // SECURITY: the text may be the value, so it is not repeated.
            _ => Err(Failure::usage(
                "a value is never given on the command line, where others see it: give it on stdin or as @FILE",
            )),
        }
    }
}

impl Source {
    /// Reads a secret's value: exactly the bytes, or the line that was typed.
    pub(super) async fn read(self, prompt: &str) -> Result<Secret> {
        self.read_up_to(SECRET_MAX_BYTES, prompt).await
    }

    /// Reads at most so many bytes, exactly, or the line that was typed.
    pub(super) async fn read_up_to(self, most: usize, prompt: &str) -> Result<Secret> {
        match self {
            Self::Stdin if io::stdin().is_terminal() => hidden_line(prompt).await,
            Self::Stdin => blocking(move || bounded(io::stdin().lock(), most, "stdin")).await,
            Self::File(path) => {
                blocking(move || {
                    let name = path.display().to_string();
                    bounded(open(&path)?, most, &name)
                })
                .await
            }
        }
    }
}

/// The content of a file, or of stdin for `-`, as text.
pub(super) async fn text_of(path: &Path) -> Result<String> {
    let bytes = bytes_of(path).await?;
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not text", name_of(path))))
}

/// The content of a file, or of stdin for `-`.
pub(super) async fn bytes_of(path: &Path) -> Result<Vec<u8>> {
    let path = path.to_owned();
    blocking(move || {
        let mut bytes = Vec::new();
        let read = if path == Path::new("-") {
            io::stdin().lock().take(TEXT_MAX_BYTES).read_to_end(&mut bytes)
        } else {
            open(&path)?.take(TEXT_MAX_BYTES).read_to_end(&mut bytes)
        };
        read.map_err(|e| Failure::usage(format!("{} cannot be read: {e}", name_of(&path))))?;
        Ok(bytes)
    })
    .await
}

fn name_of(path: &Path) -> String {
    if path == Path::new("-") {
        "stdin".to_owned()
    } else {
        format!("`{}`", path.display())
    }
}

/// Asks a question; anything but yes is no.
pub(super) async fn confirm(question: &str) -> Result<()> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("this cannot be taken back: say --yes if it is meant"));
    }
    ask(&format!("{question} [y/N] "));
    let answer = blocking(|| {
        let mut line = String::new();
        io::stdin()
            .read_line(&mut line)
            .map_err(|e| Failure::error(format!("the answer cannot be read: {e}")))?;
        Ok(line)
    })
    .await?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        Ok(())
    } else {
        Err(Failure::error("nothing was done"))
    }
}

fn ask(question: &str) {
    let mut stderr = io::stderr().lock();
    // The answer is read even if nobody could see the question.
    let _ = write!(stderr, "{}", super::output::printable(question)).and_then(|()| stderr.flush());
}

fn open(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Failure::usage(format!("`{}` cannot be read: {e}", path.display())))
}

/// Reads all, up to `most` bytes.
fn bounded(from: impl Read, most: usize, name: &str) -> Result<Secret> {
    let most = most as u64;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    from.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Failure::usage(format!("{name} cannot be read: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(Failure::usage(format!(
            "{name} has more than {most} bytes, which is the most that is taken here"
        )));
    }
    Ok(Secret::new(std::mem::take(&mut *bytes)))
}

/// Reads a line from the terminal without showing it.
async fn hidden_line(prompt: &str) -> Result<Secret> {
    ask(&format!("{prompt}: "));
    let hidden = Hidden::new();
    let line = blocking(|| {
        let mut line = Zeroizing::new(String::new());
        io::stdin()
            .read_line(&mut line)
            .map_err(|e| Failure::error(format!("the value cannot be read: {e}")))?;
        Ok(Secret::new(line.trim_end_matches(['\r', '\n']).as_bytes().to_vec()))
    })
    .await;
    drop(hidden);
    ask("\n");
    line
}

/// The terminal's echo is off while this lives; an interrupt drops it too.
struct Hidden(Option<Termios>);

impl Hidden {
    fn new() -> Self {
        let Ok(before) = tcgetattr(io::stdin()) else {
            return Self(None);
        };
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        // Without the change the value shows; typing it is still the person's choice.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &without);
        Self(Some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| Failure::error(format!("reading was cut off: {e}")))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_on_the_command_line_is_refused_and_not_repeated() {
        assert_eq!("-".parse::<Source>().unwrap(), Source::Stdin);
        assert_eq!("@a/b".parse::<Source>().unwrap(), Source::File("a/b".into()));
        for wrong in ["hunter2", "@", ""] {
            let failure = wrong.parse::<Source>().unwrap_err();
            assert!(!format!("{failure:?}").contains("hunter2"));
        }
    }

    #[test]
    fn exactly_the_bytes_up_to_the_limit() {
        assert_eq!(
            bounded(&b"a\r\n\n"[..], SECRET_MAX_BYTES, "x").unwrap().expose(),
            b"a\r\n\n"
        );
        assert_eq!(
            bounded(&vec![0; SECRET_MAX_BYTES][..], SECRET_MAX_BYTES, "x")
                .unwrap()
                .len(),
            SECRET_MAX_BYTES
        );
        assert!(bounded(&vec![0; SECRET_MAX_BYTES + 1][..], SECRET_MAX_BYTES, "x").is_err());
    }
}
