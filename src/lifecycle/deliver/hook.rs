//! The deploy hook: a program of the operator's that makes a server take the new files up.
//!
//! It runs as [`crate::program`] says. Its output ends up in the failure text if it fails.

use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::program::{self, Owner, Program};

/// Folders whose programs may be hooks. SECURITY: whoever may change a certificate object chooses its hook, which runs as
/// the server's user, so the server's configuration has to bound that choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Programs(pub Vec<PathBuf>);

impl Programs {
    /// Whether `argv` may be run.
    ///
    /// # Errors
    /// `Invalid` if there is no program, its path is not absolute or has `..`, or it lies below none of the folders.
    pub fn admit(&self, argv: &[String]) -> Result<()> {
        let Some(program) = argv.first() else {
            return Err(Error::invalid("the hook is empty: give a program and its arguments"));
        };
        let path = Path::new(program);
        if !path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
            return Err(Error::invalid(format!(
                "`{}` is not a hook: give the program's absolute path without `..`",
                program.escape_debug()
            )));
        }
        if self.0.iter().any(|folder| path.starts_with(folder)) {
            return Ok(());
        }
        Err(Error::invalid(format!(
            "`{}` is not below a folder whose programs may be hooks: add one to `lifecycle.hook_roots` in the server's configuration",
            program.escape_debug()
        )))
    }
}

/// What a hook is told, each in its variable.
#[derive(Clone, Debug)]
pub struct Occasion<'a> {
    /// `CHANCERY_CERT_NAME`.
    pub name: &'a str,
    /// `CHANCERY_CERT_DIR`, if files were delivered.
    pub dir: Option<&'a Path>,
    /// `CHANCERY_SERIAL`, in hexadecimal.
    pub serial: &'a str,
}

/// Runs the hook to its end, as `user` or else as the service's own.
///
/// # Errors
/// `Invalid` if it may not be run or cannot be started; `Unavailable` if it fails or takes longer than `limit` (then its
/// whole process group is killed). The text holds the end of its output.
pub async fn run(
    argv: &[String],
    programs: &Programs,
    user: Option<Owner>,
    occasion: &Occasion<'_>,
    limit: Duration,
) -> Result<()> {
    programs.admit(argv)?;
    let mut variables = vec![
        ("CHANCERY_CERT_NAME", occasion.name.into()),
        ("CHANCERY_SERIAL", occasion.serial.into()),
    ];
    if let Some(dir) = occasion.dir {
        variables.push(("CHANCERY_CERT_DIR", dir.into()));
    }
    let shown = argv.first().map(|program| program.escape_debug().to_string());
    let shown = shown.unwrap_or_default();
    let program = Program {
        argv,
        variables,
        input: None,
        user,
        keep_output: true,
        limit,
    };
    let ended = program::run(program)
        .await
        .map_err(|e| Error::invalid(format!("hook `{shown}` cannot be started: {e}")).because(e))?;
    let said = match ended.output.as_str() {
        "" => String::new(),
        text => format!(": {text}"),
    };
    match ended.status {
        Some(status) if status.success() => Ok(()),
        Some(status) => Err(Error::unavailable(format!("hook `{shown}` failed with {status}{said}"))),
        None => Err(Error::unavailable(format!(
            "hook `{shown}` did not end within {} s and was killed{said}",
            limit.as_secs()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::program::{KEPT_OUTPUT, PATH};

    async fn sh(script: &str, limit_ms: u64) -> Result<()> {
        let argv = ["/bin/sh", "-c", script].map(str::to_owned);
        let occasion = Occasion {
            name: "www",
            dir: Some(Path::new("/srv/www")),
            serial: "0a1b",
        };
        let programs = Programs(vec!["/bin".into()]);
        run(&argv, &programs, None, &occasion, Duration::from_millis(limit_ms)).await
    }

    #[tokio::test]
    async fn it_is_told_what_happened_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("env");
        sh(&format!("env > {}", out.display()), 5000).await.unwrap();
        let mut lines: Vec<String> = std::fs::read_to_string(out)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        lines.retain(|line| !line.starts_with("PWD=") && !line.starts_with("_=") && !line.starts_with("OLDPWD="));
        lines.sort();
        assert_eq!(
            lines,
            [
                "CHANCERY_CERT_DIR=/srv/www".to_owned(),
                "CHANCERY_CERT_NAME=www".to_owned(),
                "CHANCERY_SERIAL=0a1b".to_owned(),
                format!("PATH={PATH}"),
            ]
        );
    }

    #[tokio::test]
    async fn a_failure_says_what_it_said() {
        let error = sh("echo one; echo nginx: bad configuration >&2; exit 3", 5000)
            .await
            .unwrap_err();
        assert!(error.public().contains("exit status: 3"), "{error}");
        assert!(error.public().contains("nginx: bad configuration"), "{error}");
        let error = sh("head -c 100000 /dev/zero | tr '\\0' a; echo end; exit 1", 5000)
            .await
            .unwrap_err();
        assert!(error.public().len() < KEPT_OUTPUT + 200);
        assert!(error.public().ends_with("end"));
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let pid = dir.path().join("pid");
        let begun = Instant::now();
        let error = sh(&format!("sleep 60 & echo $! > {}; wait", pid.display()), 300)
            .await
            .unwrap_err();
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert!(error.public().contains("did not end within"), "{error}");
        let child = std::fs::read_to_string(&pid).unwrap();
        // It is signalled; a busy machine may take a moment to carry that out.
        let gone = || {
            let state = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
            state.is_empty() || state.contains(") Z")
        };
        while !gone() {
            assert!(begun.elapsed() < Duration::from_secs(10), "the child lives");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    #[tokio::test]
    async fn a_daemon_left_behind_is_not_waited_for() {
        let begun = Instant::now();
        sh("sleep 5 & exit 0", 20_000).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn it_runs_as_the_user_that_is_configured() {
        // Only root may become somebody else.
        let user = match rustix::process::geteuid().as_raw() {
            0 => Owner::resolve("nobody:nogroup").unwrap(),
            own => Owner {
                user: own,
                group: Some(rustix::process::getegid().as_raw()),
            },
        };
        let argv = ["/bin/sh", "-c", "id -u; id -g; id -G; exit 1"].map(str::to_owned);
        let occasion = Occasion {
            name: "www",
            dir: None,
            serial: "00",
        };
        let programs = Programs(vec!["/bin".into()]);
        let error = run(&argv, &programs, Some(user), &occasion, Duration::from_secs(5))
            .await
            .unwrap_err();
        let (uid, gid) = (user.user, user.group.unwrap());
        assert!(error.public().contains(&format!(": {uid}\n{gid}\n{gid}")), "{error}");
    }

    #[tokio::test]
    async fn only_programs_below_the_roots_run() {
        let programs = Programs(vec!["/opt/hooks".into()]);
        for (argv, why) in [
            (vec![], "empty"),
            (vec!["sh"], "absolute"),
            (vec!["/opt/hooks/../sh"], "absolute"),
            (vec!["/bin/sh"], "hook_roots"),
        ] {
            let argv: Vec<String> = argv.into_iter().map(str::to_owned).collect();
            let error = programs.admit(&argv).unwrap_err();
            assert!(error.public().contains(why), "{error}");
        }
        let occasion = Occasion {
            name: "www",
            dir: None,
            serial: "00",
        };
        let missing = ["/opt/hooks/missing".to_owned()];
        let error = run(&missing, &programs, None, &occasion, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(error.public().contains("cannot be started"), "{error}");
    }
}
