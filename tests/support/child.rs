//! Child processes that end with the test, however it ends.
//!
//! The kernel kills a child when the *thread* that started it is gone, so all are started by one thread that lasts as
//! long as the test program. Drop ends them sooner.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long a peer may take to start or to end before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running program whose output goes to a file.
pub struct Running {
    child: Child,
    log: PathBuf,
    name: String,
    /// What ends it in good order on drop; it is killed if it does not listen.
    farewell: Signal,
}

impl Running {
    /// Starts a program. Its standard output and error are appended to `log`.
    pub fn start(program: &Path, settings: impl FnOnce(&mut Command), log: &Path) -> Self {
        Self::start_as(None, "KILL", program, settings, log)
    }

    /// The same as another user, which only root may, and with the signal that ends it when the test is gone.
    pub fn start_as(
        user: Option<&str>,
        at_our_end: &str,
        program: &Path,
        settings: impl FnOnce(&mut Command),
        log: &Path,
    ) -> Self {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", at_our_end]);
        if let Some(user) = user {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command.arg("--").arg(program);
        settings(&mut command);
        let open = || fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        let child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|error| panic!("cannot start {}: {error}; run `make setup`", program.display()));
        Self {
            child,
            log: log.to_owned(),
            name: program.display().to_string(),
            farewell: Signal::TERM,
        }
    }

    /// Which signal ends it in good order; SIGTERM if not said.
    pub fn ended_by(mut self, farewell: Signal) -> Self {
        self.farewell = farewell;
        self
    }

    /// Waits until `ready` says so; panics with the log if the program ends before or takes too long.
    #[track_caller]
    pub fn wait_until(&mut self, what: &str, mut ready: impl FnMut() -> bool) {
        let start = Instant::now();
        while !ready() {
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("{} ended ({status}) before it was {what}:\n{}", self.name, self.log());
            }
            assert!(
                start.elapsed() < PATIENCE,
                "{} is not {what}:\n{}",
                self.name,
                self.log()
            );
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Where it says it.
    pub fn log_path(&self) -> PathBuf {
        self.log.clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, as a power cut would have it.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal, to one that still runs.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Asks it to end and waits; killed after [`PATIENCE`], and the test fails.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.signal(self.farewell);
        self.wait(PATIENCE)
            .unwrap_or_else(|| panic!("{} does not end:\n{}", self.name, self.log()))
    }

    /// Waits for it to end by itself.
    pub fn wait(&mut self, patience: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            if start.elapsed() > patience {
                return None;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(self.farewell);
            if self.wait(Duration::from_secs(5)).is_none() {
                self.kill();
            }
        }
        if thread::panicking() {
            eprintln!("--- {}:\n{}", self.name, self.log());
        }
    }
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

static STARTER: LazyLock<Mutex<mpsc::Sender<Order>>> = LazyLock::new(|| {
    let (orders, inbox) = mpsc::channel::<Order>();
    thread::spawn(move || {
        for (mut command, answer) in inbox {
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(orders)
});

fn spawn_from_lasting_thread(command: Command) -> io::Result<Child> {
    let (answer, child) = mpsc::channel();
    STARTER.lock().unwrap().send((command, answer)).unwrap();
    child.recv().unwrap()
}

/// A loopback port that nobody holds, outside the range from which the kernel gives ports to clients. Processes that
/// were started one after the other look in different places, or one would take what another has just found.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = u16::try_from(std::process::id() % 324 * 37).unwrap();
    loop {
        let port = 20_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Whether something listens on this loopback port.
pub fn listens(port: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Runs a program to its end and gives its standard output; panics with all it said if it fails.
#[track_caller]
pub fn run(command: &mut Command) -> Vec<u8> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}; run `make setup`"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
