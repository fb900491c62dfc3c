//! Programs of the operator's: started directly, never through a shell, and told only what they need.
//!
//! A program runs in a process group of its own and sees nothing of ours: a cleared environment, no open files, no token,
//! no PIN. As a user of its own, if one is configured, it cannot read their files either. It must never be one that a
//! caller of the API has chosen freely: the rooms that run programs bound that choice.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// The `PATH` of every program.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// So much of the end of its output is kept, in bytes.
pub const KEPT_OUTPUT: usize = 2048;

/// A user and perhaps a group of this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: Option<u32>,
}

impl Owner {
    /// Reads `user` or `user:group`, as names of this host or as numbers.
    ///
    /// # Errors
    /// `Invalid` if this host has no such user or group.
    pub fn resolve(text: &str) -> Result<Self> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        Ok(Self {
            user: resolve_id(user, "user", "/etc/passwd")?,
            group: group
                .map(|group| resolve_id(group, "group", "/etc/group"))
                .transpose()?,
        })
    }
}

fn resolve_id(name: &str, what: &str, table: &str) -> Result<u32> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let lines = fs::read_to_string(table).unwrap_or_default();
    lines
        .lines()
        .find_map(|line| {
            let mut fields = line.split(':');
            (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
        })
        .ok_or_else(|| {
            Error::invalid(format!(
                "there is no {what} `{}` in `{table}`: make it, or give its number",
                name.escape_debug()
            ))
        })
}

/// A program and what it is given.
pub struct Program<'a> {
    /// Its absolute path and its arguments.
    pub argv: &'a [String],
    /// Variables, beside `PATH`. Never a secret: whoever runs as the same user can read them.
    pub variables: Vec<(&'static str, OsString)>,
    /// What it reads from stdin; nothing if it is left out.
    pub input: Option<Zeroizing<Vec<u8>>>,
    /// Whom it runs as; the service's own user if it is left out.
    pub user: Option<Owner>,
    /// Whether the end of its output is kept; else it is thrown away.
    pub keep_output: bool,
    /// How long it may take. Then its whole process group is killed.
    pub limit: Duration,
}

/// How a program ended.
pub struct Ended {
    /// Its status; `None` if it took too long and was killed.
    pub status: Option<ExitStatus>,
    /// The end of what it wrote, if that was to be kept.
    pub output: String,
}

/// Runs a program to its end.
///
/// # Errors
/// The system's, if it cannot be started or waited for.
pub async fn run(program: Program<'_>) -> io::Result<Ended> {
    let Some((path, arguments)) = program.argv.split_first() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is no program"));
    };
    let pipe = |wanted: bool| if wanted { Stdio::piped() } else { Stdio::null() };
    let mut command = Command::new(path);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .envs(program.variables)
        .current_dir("/")
        .stdin(pipe(program.input.is_some()))
        .stdout(pipe(program.keep_output))
        .stderr(pipe(program.keep_output))
        .process_group(0)
        .kill_on_drop(true);
    if let Some(user) = program.user {
        // The service's other groups are dropped with its user.
        command.uid(user.user).gid(user.group.unwrap_or(user.user));
    }
    let mut child = command.spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));

    let output = Tail::default();
    let readers = [
        child
            .stdout
            .take()
            .map(|pipe| tokio::spawn(output.clone().collect(pipe))),
        child
            .stderr
            .take()
            .map(|pipe| tokio::spawn(output.clone().collect(pipe))),
    ];
    let ended = timeout(program.limit, feed(&mut child, program.input)).await;
    if ended.is_err() {
        if let Some(group) = group {
            // Gone already is as good as killed.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = child.wait().await;
    }
    // A daemon that the program left behind may hold the pipes open: what it says later is not waited for.
    for reader in readers.into_iter().flatten() {
        let abort = reader.abort_handle();
        if timeout(Duration::from_millis(200), reader).await.is_err() {
            abort.abort();
        }
    }
    Ok(Ended {
        status: ended.ok().transpose()?,
        output: output.text(),
    })
}

/// Writes what the program reads, and waits for its end.
async fn feed(child: &mut Child, input: Option<Zeroizing<Vec<u8>>>) -> io::Result<ExitStatus> {
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        // Whoever does not read it says by its status whether that is well.
        let _ = pipe.write_all(&input).await;
    }
    child.wait().await
}

/// The last bytes that a program wrote, from both its outputs.
#[derive(Clone, Default)]
struct Tail(Arc<Mutex<Vec<u8>>>);

impl Tail {
    async fn collect(self, mut pipe: impl AsyncRead + Unpin) {
        let mut block = [0; 1024];
        while let Ok(n @ 1..) = pipe.read(&mut block).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend(block.iter().take(n));
            let surplus = kept.len().saturating_sub(KEPT_OUTPUT);
            kept.drain(..surplus);
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh<'a>(argv: &'a [String; 3], input: &[u8]) -> Program<'a> {
        Program {
            argv,
            variables: vec![("STEP", "set".into())],
            input: Some(Zeroizing::new(input.to_vec())),
            user: None,
            keep_output: true,
            limit: Duration::from_secs(20),
        }
    }

    fn script(text: &str) -> [String; 3] {
        ["/bin/sh", "-c", text].map(str::to_owned)
    }

    #[tokio::test]
    async fn it_reads_all_that_it_is_given_and_may_leave_it_unread() {
        let input = vec![b'x'; 300_000];
        let ended = run(sh(&script("echo \"$STEP\"; wc -c"), &input)).await.unwrap();
        assert!(ended.status.unwrap().success());
        assert_eq!(ended.output, "set\n300000");
        let ended = run(sh(&script("exit 3"), &input)).await.unwrap();
        assert_eq!(ended.status.unwrap().code(), Some(3));
    }

    #[tokio::test]
    async fn what_it_writes_is_kept_only_if_that_is_asked_for() {
        let argv = script("cat; cat >&2");
        let quiet = Program {
            keep_output: false,
            ..sh(&argv, b"canary")
        };
        assert_eq!(run(quiet).await.unwrap().output, "");
        assert_eq!(run(sh(&argv, b"canary")).await.unwrap().output, "canary");
    }

    #[tokio::test]
    async fn one_that_never_reads_is_killed_in_time() {
        let argv = script("sleep 60");
        let stuck = Program {
            limit: Duration::from_millis(300),
            ..sh(&argv, &vec![b'x'; 300_000])
        };
        assert!(run(stuck).await.unwrap().status.is_none());
    }

    #[test]
    fn owners_are_resolved_on_this_host() {
        let owner = Owner::resolve("root:12").unwrap();
        assert_eq!((owner.user, owner.group), (0, Some(12)));
        assert!(Owner::resolve("no-such-user").is_err());
    }
}
