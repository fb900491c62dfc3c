//! A PostgreSQL of our own: a private folder and port, ended with the tests.
//!
//! PostgreSQL refuses to run as root; there it runs as the user `postgres` that its package makes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::child::{Running, free_port, run};
use rustix::process::{Signal, geteuid};
use tempfile::TempDir;

/// A running PostgreSQL server.
pub struct Postgres {
    server: Running,
    folder: TempDir,
    port: u16,
}

impl Postgres {
    /// The one server that the tests of a program share; each takes a [`Postgres::database`] of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A server of one's own, to stop and start.
    pub fn start() -> Self {
        remove_left_behind();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let folder = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap();
        if let Some(user) = user() {
            run(Command::new("chown").arg(user).arg(folder.path()));
        }
        let mut initdb = as_user(&program("initdb"));
        initdb
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--no-locale",
                "--no-sync",
            ])
            .arg("--pgdata")
            .arg(folder.path().join("data"));
        run(initdb.current_dir("/"));
        let port = free_port();
        let server = launch(folder.path(), port);
        Self { server, folder, port }
    }

    /// A fresh, empty database, by its URL.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        run(self.client("createdb").arg(&name));
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Ends the server at once, as a crash of its machine would.
    pub fn kill(&mut self) {
        self.server.signal(Signal::QUIT);
        let _ = self.server.wait(super::child::PATIENCE);
    }

    /// Starts it again, with what it had committed.
    pub fn resume(&mut self) {
        self.server = launch(self.folder.path(), self.port);
    }

    /// One of PostgreSQL's own clients, told where the server is.
    pub fn client(&self, name: &str) -> Command {
        let mut command = Command::new(program(name));
        command.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        command
    }
}

fn launch(folder: &Path, port: u16) -> Running {
    let settings = |command: &mut Command| {
        command
            .current_dir("/")
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder)
            .args(["-p", &port.to_string(), "-h", "127.0.0.1"])
            .args(["-c", "max_connections=200", "-c", "fsync=off"]);
    };
    let log = folder.with_extension("log");
    let mut server = Running::start_as(user(), "QUIT", &program("postgres"), settings, &log).ended_by(Signal::QUIT);
    let port = port.to_string();
    server.wait_until("ready", || {
        let asked = Command::new(program("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port])
            .status();
        asked.is_ok_and(|status| status.success())
    });
    server
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.folder.path().with_extension("log"));
    }
}

/// Begins the name of each server's folder; the test program's process id follows.
const PREFIX: &str = "chancery-test-postgres-";

/// The shared server is never dropped: the next test program removes what the last one left.
fn remove_left_behind() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path()).or_else(|_| fs::remove_file(entry.path()));
        }
    }
}

/// As whom the server runs, if not as ourselves.
fn user() -> Option<&'static str> {
    geteuid().is_root().then_some("postgres")
}

fn as_user(program: &Path) -> Command {
    match user() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args(["--reuid", user, "--regid", user, "--clear-groups", "--"])
                .arg(program);
            command
        }
        None => Command::new(program),
    }
}

/// A program of the newest server that Debian's packages brought.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .max()
        .unwrap_or_else(|| panic!("PostgreSQL's `{name}` is not here; run `make setup`"))
}
