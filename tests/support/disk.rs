//! A small disk of its own for the processes that are started on it: really full, or really read-only.
//!
//! It is a tmpfs in a mount namespace, which an ordinary user may make too (`user_namespaces(7)`); where that is not
//! allowed, the test fails and says so. The rest of the machine sees an empty folder in its place.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{Running, run};

/// The mounted disk; it is gone, with all on it, once this and every process on it are.
pub struct Disk {
    at: PathBuf,
    /// Keeps the namespace.
    holder: Running,
}

impl Disk {
    /// Mounts an empty disk of so many MiB at the folder `at`.
    pub fn mount(at: &Path, mib: u32) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={mib}m,mode=700");
        let mut holder = Running::start(
            Path::new("unshare"),
            |command| {
                // The death signal is asked for last: the kernel forgets it when a process enters a user namespace.
                let script = r#"mount -t tmpfs -o "$1" none "$0" && echo mounted && exec setpriv --pdeathsig KILL -- sleep infinity"#;
                command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
                command.arg(at).arg(options);
            },
            &at.with_extension("mount.log"),
        );
        let log = holder.log_path();
        holder.wait_until(
            "mounted (run as root, or allow user namespaces: sysctl user.max_user_namespaces)",
            || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("mounted")),
        );
        Self {
            at: at.to_owned(),
            holder,
        }
    }

    /// What stands before a command so that it sees the disk.
    pub fn prefix(&self) -> Vec<String> {
        let pid = self.holder.pid().to_string();
        let enter = [
            "nsenter",
            "--user",
            "--mount",
            "--preserve-credentials",
            "--target",
            &pid,
            "--",
        ];
        enter.map(str::to_owned).to_vec()
    }

    #[track_caller]
    fn sh(&self, script: &str, arg: &Path) {
        let mut words = self.prefix().into_iter();
        let mut command = Command::new(words.next().unwrap());
        run(command.args(words).args(["sh", "-ec", script]).arg(&self.at).arg(arg));
    }

    /// Copies a file or folder of the machine to the disk's top, with what stands beside it under its name.
    #[track_caller]
    pub fn take(&self, path: &Path) {
        self.sh(r#"cp -a "$1"* "$0"/"#, path);
    }

    /// Takes all the room that is left.
    #[track_caller]
    pub fn fill(&self) {
        self.sh(r#"! cat /dev/zero 2>&- > "$0/filler""#, Path::new(""));
    }

    /// Gives it back.
    #[track_caller]
    pub fn free(&self) {
        self.sh(r#"rm "$0/filler""#, Path::new(""));
    }

    /// Makes it read-only for whoever opens a file from now on.
    #[track_caller]
    pub fn protect(&self) {
        self.sh(r#"mount -o bind,ro "$0" "$0""#, Path::new(""));
    }

    /// Makes it writable again.
    #[track_caller]
    pub fn unprotect(&self) {
        self.sh(r#"umount "$0""#, Path::new(""));
    }
}
