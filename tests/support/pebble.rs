//! Pebble and its challenge test server, by the configuration in `pebble/`, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::child::{Running, free_port, listens, run};
use serde_json::Value;
use tempfile::TempDir;

/// What a test may want of Pebble.
#[derive(Clone, Debug)]
pub struct Config {
    /// Good nonces that it refuses all the same, in percent.
    pub nonce_reject: u8,
    /// Valid authorizations that it uses again, in percent.
    pub authz_reuse: u8,
    /// Where it asks for http-01 answers.
    pub http_port: u16,
    /// Profiles beside those in `pebble/pebble-config.json`: name and validity in seconds.
    pub profiles: Vec<(String, u64)>,
}

impl Config {
    /// Pebble as the tests want it: 15 % bad nonces, no authorization used twice.
    pub fn answering_on(http_port: u16) -> Self {
        Self {
            nonce_reject: 15,
            authz_reuse: 0,
            http_port,
            profiles: Vec::new(),
        }
    }
}

/// A running Pebble, ended on drop.
pub struct Pebble {
    config: Config,
    folder: TempDir,
    ports: Ports,
    pebble: Option<Running>,
    _challtestsrv: Running,
}

struct Ports {
    acme: u16,
    management: u16,
    dns: u16,
    dns_management: u16,
}

impl Ports {
    fn free() -> Self {
        Self {
            acme: free_port(),
            management: free_port(),
            dns: free_port(),
            dns_management: free_port(),
        }
    }
}

impl Pebble {
    pub fn start(config: Config) -> Self {
        let folder = tempfile::Builder::new().prefix("pebble-").tempdir().unwrap();
        let ports = Ports::free();
        make_listener_certificate(folder.path());
        write_config(folder.path(), &config, &ports);
        let challtestsrv = start_challtestsrv(folder.path(), &ports);
        let mut started = Self {
            config,
            folder,
            ports,
            pebble: None,
            _challtestsrv: challtestsrv,
        };
        started.resume();
        started
    }

    /// Ends Pebble, as if the CA were down. It keeps nothing, so accounts and orders are gone with it.
    pub fn stop(&mut self) {
        self.pebble = None;
    }

    /// Starts it again on the same ports.
    pub fn resume(&mut self) {
        let path = self.folder.path();
        let config = &self.config;
        let settings = |command: &mut Command| {
            command
                .arg("-config")
                .arg(path.join("config.json"))
                .args(["-dnsserver", &format!("127.0.0.1:{}", self.ports.dns)])
                .env("PEBBLE_VA_NOSLEEP", "1")
                .env("PEBBLE_WFE_NONCEREJECT", config.nonce_reject.to_string())
                .env("PEBBLE_AUTHZREUSE", config.authz_reuse.to_string());
        };
        let mut pebble = Running::start(&program("pebble"), settings, &path.join("pebble.log"));
        pebble.wait_until("listening", || {
            listens(self.ports.acme) && listens(self.ports.management)
        });
        self.pebble = Some(pebble);
    }

    pub fn pid(&self) -> u32 {
        self.pebble.as_ref().unwrap().pid()
    }

    /// Where it answers.
    pub fn port(&self) -> u16 {
        self.ports.acme
    }

    /// The ACME directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.ports.acme)
    }

    /// What to trust to speak with its listener: not the root of what it issues, see [`Pebble::root`].
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// The root of what it issues, PEM. A new one with each start.
    pub fn root(&self) -> String {
        let root = run(Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--cacert"])
            .arg(self.ca_file())
            .arg(format!("https://localhost:{}/roots/0", self.ports.management)));
        String::from_utf8(root).unwrap()
    }

    /// What Pebble said so far; empty while it is stopped.
    pub fn log(&self) -> String {
        self.pebble.as_ref().map(Running::log).unwrap_or_default()
    }
}

/// The DNS of the challenge test server alone, for another than Pebble to ask: every name leads to 127.0.0.1.
pub struct Names {
    ports: Ports,
    _folder: TempDir,
    _challtestsrv: Running,
}

impl Names {
    pub fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("names-").tempdir().unwrap();
        let ports = Ports::free();
        Self {
            _challtestsrv: start_challtestsrv(folder.path(), &ports),
            ports,
            _folder: folder,
        }
    }

    /// Where it answers.
    pub fn resolver(&self) -> String {
        format!("127.0.0.1:{}", self.ports.dns)
    }

    /// A shell command that makes `value` a TXT record of `host`, both from variables of the shell.
    pub fn set_txt(&self, host: &str, value: &str) -> String {
        format!(
            r#"curl -sSf -d "{{\"host\":\"{host}\",\"value\":\"{value}\"}}" http://127.0.0.1:{}/set-txt"#,
            self.ports.dns_management
        )
    }
}

fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/peers/bin")
        .join(name);
    assert!(path.exists(), "{name} is not here; `pebble/get` brings it");
    path
}

fn make_listener_certificate(folder: &Path) {
    run(Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
        ])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext"])
        .arg("subjectAltName=DNS:localhost,IP:127.0.0.1")
        // Its own root: OpenSSL would make it a CA's, which rustls takes from no server.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-keyout")
        .arg(folder.join("key.pem"))
        .arg("-out")
        .arg(folder.join("cert.pem")));
}

fn write_config(folder: &Path, config: &Config, ports: &Ports) {
    let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("pebble/pebble-config.json");
    let mut all: Value = serde_json::from_slice(&fs::read(template).unwrap()).unwrap();
    let pebble = &mut all["pebble"];
    pebble["listenAddress"] = format!("127.0.0.1:{}", ports.acme).into();
    pebble["managementListenAddress"] = format!("127.0.0.1:{}", ports.management).into();
    pebble["certificate"] = folder.join("cert.pem").to_str().unwrap().into();
    pebble["privateKey"] = folder.join("key.pem").to_str().unwrap().into();
    pebble["httpPort"] = config.http_port.into();
    for (name, validity) in &config.profiles {
        pebble["profiles"][name] = serde_json::json!({ "description": "a test's", "validityPeriod": validity });
    }
    fs::write(folder.join("config.json"), all.to_string()).unwrap();
}

/// A DNS that says 127.0.0.1 to every name; its other servers stay off, we answer challenges ourselves.
fn start_challtestsrv(folder: &Path, ports: &Ports) -> Running {
    let settings = |command: &mut Command| {
        command
            .args(["-dnsserver", &format!("127.0.0.1:{}", ports.dns)])
            .args(["-management", &format!("127.0.0.1:{}", ports.dns_management)])
            .args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", ""])
            .args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", ""]);
    };
    let log = folder.join("challtestsrv.log");
    let mut running = Running::start(&program("pebble-challtestsrv"), settings, &log);
    running.wait_until("listening", || listens(ports.dns_management) && listens(ports.dns));
    running
}
