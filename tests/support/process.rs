//! The real `chancery` program: started, waited for, killed, started again.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use super::child::{Running, run};
use super::disk::Disk;
use chancery::wire;
use rustix::process::Signal;

/// The program under test.
pub const CHANCERY: &str = env!("CARGO_BIN_EXE_chancery");

/// How to start a service: `chancery dev` or `chancery server`, its arguments and environment.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What the program is started by; nothing is by itself.
    prefix: Vec<OsString>,
    args: Vec<OsString>,
    env: Vec<(String, OsString)>,
    folder: PathBuf,
}

impl Launch {
    /// `chancery dev --dir FOLDER` on free ports.
    pub fn dev(folder: &Path) -> Self {
        Self::dev_on(folder, 0, 0)
    }

    /// The same on these ports, which it keeps when it is restarted.
    pub fn dev_on(folder: &Path, tls: u16, http: u16) -> Self {
        Self::new(folder, "dev")
            .arg("--dir")
            .arg(folder)
            .args(["--listen", &format!("127.0.0.1:{tls}")])
            .args(["--http", &format!("127.0.0.1:{http}")])
    }

    /// `chancery server --config FILE`; what it says goes to `folder`.
    pub fn server(config: &Path, folder: &Path) -> Self {
        Self::new(folder, "server").arg("--config").arg(config)
    }

    fn new(folder: &Path, verb: &str) -> Self {
        Self {
            prefix: Vec::new(),
            args: vec![verb.into()],
            env: Vec::new(),
            folder: folder.to_owned(),
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(OsString::from));
        self
    }

    /// Starts it where it sees `disk`.
    pub fn on(mut self, disk: &Disk) -> Self {
        // The kernel forgets the death signal at the border.
        let again = ["setpriv", "--pdeathsig", "KILL", "--", CHANCERY].map(str::to_owned);
        self.prefix = disk.prefix().into_iter().chain(again).map(OsString::from).collect();
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Makes the service kill itself at the `nth` pass of a fault switch; see [`Launch::fault_hit`].
    pub fn fault(self, name: &str, nth: u32) -> Self {
        let mark = self.fault_mark();
        let _ = fs::remove_file(&mark);
        self.env("CHANCERY_FAULT", format!("{name}:{nth}"))
            .env("CHANCERY_FAULT_MARK", mark)
    }

    /// The same without its fault switch, to start from what the kill left.
    pub fn without_fault(mut self) -> Self {
        self.env.retain(|(name, _)| !name.starts_with("CHANCERY_FAULT"));
        self
    }

    /// Which switch ended the service, if one did.
    pub fn fault_hit(&self) -> Option<String> {
        fs::read_to_string(self.fault_mark()).ok()
    }

    fn fault_mark(&self) -> PathBuf {
        self.folder.join("fault-hit")
    }

    /// Starts it, without waiting for anything.
    pub fn spawn(&self) -> Service {
        fs::create_dir_all(&self.folder).unwrap();
        // One log a start, so that `ready` is this start's.
        let mut nth = 0;
        let log = loop {
            let log = self.folder.join(format!("service-{nth}.log"));
            if !log.exists() {
                break log;
            }
            nth += 1;
        };
        let mut words = self.prefix.iter();
        let program = words.next().map_or_else(|| CHANCERY.as_ref(), OsString::as_os_str);
        let settings = |command: &mut Command| {
            command
                .args(words)
                .args(&self.args)
                .envs(self.env.iter().map(|(name, value)| (name, value)));
        };
        Service {
            running: Running::start(Path::new(program), settings, &log),
            launch: self.clone(),
        }
    }

    /// Starts it and waits for `ready`.
    #[track_caller]
    pub fn start(&self) -> Service {
        let mut service = self.spawn();
        service.wait_ready();
        service
    }
}

/// A running service, ended on drop.
pub struct Service {
    running: Running,
    launch: Launch,
}

impl Service {
    /// Waits for the line `ready`.
    #[track_caller]
    pub fn wait_ready(&mut self) {
        let folder = self.running.log_path();
        self.running.wait_until("ready", || {
            fs::read_to_string(&folder).is_ok_and(|log| log.lines().any(|line| line == "ready"))
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.running.kill();
    }

    /// Any other signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// SIGTERM, and what it ended with.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.running.end()
    }

    /// Waits for it to end by itself (a fault switch, a refusal to start).
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.running.wait(patience)
    }

    /// Starts the same again.
    #[track_caller]
    pub fn restart(mut self) -> Self {
        self.running.kill();
        self.launch.clone().without_fault().start()
    }

    /// All that it said since this start.
    pub fn log(&self) -> String {
        self.running.log()
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// What `chancery dev` wrote for a shell to source.
    pub fn env(&self) -> BTreeMap<String, String> {
        env_of(&self.launch.folder.join("env"))
    }

    /// The whole audit log, read as the administrator.
    #[track_caller]
    pub fn records(&self) -> Vec<serde_json::Value> {
        let env = self.env();
        let mut records = Vec::new();
        loop {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--fail"])
                .args(["--cacert", &env["CHANCERY_CACERT"]])
                .args(["--cert", &env["CHANCERY_CLIENT_CERT"]])
                .args(["--key", &env["CHANCERY_CLIENT_KEY"]])
                .arg(format!(
                    "{}/api/audit/entries?from={}",
                    env["CHANCERY_ADDR"],
                    records.len()
                ));
            let page: wire::AuditEntries = serde_json::from_slice(&run(&mut curl)).unwrap();
            let page = page.records().unwrap();
            // Reading is recorded too: what is of interest stands before.
            if page.len() < 2 {
                return records;
            }
            records.extend(
                page.iter()
                    .map(|record| serde_json::from_slice::<serde_json::Value>(record).unwrap()),
            );
        }
    }

    /// The command line with this service's environment: `cli(&["secret", "get", ..])`.
    pub fn cli(&self, args: &[&str]) -> Cli {
        Cli::new(self.env(), args)
    }
}

/// Reads a file of `export NAME=value` lines.
fn env_of(file: &Path) -> BTreeMap<String, String> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines()
        .filter_map(|line| line.trim_start_matches("export ").split_once('='))
        .map(|(name, value)| (name.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

/// One run of the command line.
pub struct Cli {
    command: Command,
    stdin: Vec<u8>,
}

impl Cli {
    pub fn new(env: BTreeMap<String, String>, args: &[&str]) -> Self {
        let mut command = Command::new(CHANCERY);
        command.args(args).envs(env);
        Self {
            command,
            stdin: Vec::new(),
        }
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Runs it: exit code, standard output, standard error.
    pub fn run(mut self) -> (i32, String, String) {
        let piped = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        // It may end without reading; that is not this pipe's business.
        let _ = child.stdin.take().unwrap().write_all(&self.stdin);
        let output = child.wait_with_output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }

    /// Runs it and gives its standard output; a failure fails the test.
    #[track_caller]
    pub fn ok(self) -> String {
        let shown = format!("{:?}", self.command);
        let (code, stdout, stderr) = self.run();
        assert_eq!(code, 0, "{shown}\n{stdout}{stderr}");
        stdout
    }
}
