//! ACME clients as their makers ship them, unchanged, against our ACME server: Debian's, and where those are old or
//! absent, PyPI's and npm's.
//!
//! Each gets its certificates in every way that it knows of, and revokes one where it can. What it was given is looked
//! at in its own files, and what the service knows of it in the service's own list.

mod certbot;
mod external;
mod lego;
mod libraries;
mod servers;
mod small;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery::x509::chain::Facts;
use chancery::x509::pem;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::child::{Running, free_port, listens, run};
use crate::support::judges;
use crate::support::pebble::Names;
use crate::support::process::{Launch, Service};

/// A service whose ACME server looks for answers on ports of ours, under names that all lead here.
struct Town {
    service: Service,
    names: Names,
    http: u16,
    tls: u16,
    home: tempfile::TempDir,
}

impl Town {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (names, http, tls) = (Names::start(), free_port(), free_port());
        let service = Launch::dev(&home.path().join("service"))
            .args(["--acme-resolver", &names.resolver()])
            .args(["--acme-http01-port", &http.to_string()])
            .args(["--acme-tls-alpn01-port", &tls.to_string()])
            .start();
        Self {
            service,
            names,
            http,
            tls,
            home,
        }
    }

    fn directory(&self) -> String {
        self.service.env()["CHANCERY_ACME_DIRECTORY"].clone()
    }

    fn roots(&self) -> PathBuf {
        self.service.env()["CHANCERY_CACERT"].clone().into()
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// A web server over the folder `www`, where challenges are looked for.
    fn web_server(&self) -> Running {
        fs::create_dir_all(self.challenges()).unwrap();
        let settings = |command: &mut Command| {
            command
                .args(["-m", "http.server", "--bind", "127.0.0.1", "-d"])
                .arg(self.path("www"))
                .arg(self.http.to_string());
        };
        let log = self.path("www.log");
        let mut server = Running::start(Path::new("python3"), settings, &log).ended_by(Signal::KILL);
        server.wait_until("listening", || listens(self.http));
        server
    }

    fn challenges(&self) -> PathBuf {
        self.path("www/.well-known/acme-challenge")
    }

    /// Judges the chain in a file, leaf first, and gives the leaf's serial.
    #[track_caller]
    fn judge(&self, file: &Path, name: &str) -> String {
        let chain = fs::read(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let leaf = pem::der_or_pem(pem::CERTIFICATE, &chain).unwrap();
        let facts = Facts::read(&leaf).unwrap();
        let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, [name]);
        run(Command::new("openssl")
            .args(["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile"])
            .arg(self.roots())
            .arg("-untrusted")
            .arg(file)
            .arg(file));
        facts.serial
    }

    /// What the service says of a certificate.
    fn state(&self, serial: &str) -> String {
        let listed: Value = serde_json::from_str(&self.service.cli(&["ca", "issued", "-o", "json"]).ok()).unwrap();
        let issued = listed.as_array().unwrap();
        let certificate = issued
            .iter()
            .find(|certificate| certificate["serial"] == serial)
            .unwrap();
        certificate["state"].as_str().unwrap().to_owned()
    }

    /// A program that sets the TXT record by which a name is proven; both in the shell's words.
    fn dns_hook(&self, file: &str, name: &str, value: &str) -> String {
        self.program(file, &self.names.set_txt(name, value))
    }

    /// A shell script under a name of the home folder; its path.
    fn program(&self, file: &str, script: &str) -> String {
        let path = self.path(file);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

/// Makes `command` one that sees `instead` in place of a file of the machine (`user_namespaces(7)`), for clients that
/// cannot be told to look elsewhere. Its program and arguments are to be added.
fn seeing(command: &mut Command, instead: &Path, of: &str) {
    let script = r#"mount --bind "$0" "$1" && shift && exec setpriv --pdeathsig KILL -- "$@""#;
    command
        .args(["--user", "--map-root-user", "--mount", "sh", "-ec", script])
        .args([instead, Path::new(of)]);
}
