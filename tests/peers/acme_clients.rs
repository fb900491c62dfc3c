//! ACME clients as Debian ships them, unchanged, against our ACME server.
//!
//! Each gets its certificates in every way that it knows of, and revokes one where it can. What it was given is looked
//! at in its own files, and what the service knows of it in the service's own list.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chancery::x509::chain::Facts;
use chancery::x509::pem;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::child::{Running, free_port, listens, run};
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
}

#[test]
fn certbot_proves_control_in_every_way_it_knows_and_revokes() {
    let town = Town::start();
    let certbot = |args: &[&str]| {
        let folder = |name: &str| town.path(name).display().to_string();
        run(Command::new("certbot")
            .args(args)
            .args(["--config-dir", &folder("certbot"), "--work-dir", &folder("work")])
            .args(["--logs-dir", &folder("logs"), "--server", &town.directory(), "-n"])
            .env("REQUESTS_CA_BUNDLE", town.roots()));
    };
    let given = |name: &str| town.path("certbot/live").join(name).join("fullchain.pem");
    let order = |how: &[&str]| {
        let args = ["certonly", "--agree-tos", "-m", "a@example.com"];
        certbot(&[&args, how].concat());
    };

    let port = town.http.to_string();
    order(&["--standalone", "--http-01-port", &port, "-d", "alone.test"]);
    let serial = town.judge(&given("alone.test"), "alone.test");
    assert_eq!(town.state(&serial), "issued");

    let www = town.path("www").display().to_string();
    let server = town.web_server();
    order(&["--webroot", "-w", &www, "-d", "web.test"]);
    town.judge(&given("web.test"), "web.test");
    drop(server);

    let hook = town.path("hook");
    let command = town
        .names
        .set_txt("_acme-challenge.$CERTBOT_DOMAIN.", "$CERTBOT_VALIDATION");
    fs::write(&hook, format!("#!/bin/sh\n{command}\n")).unwrap();
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).unwrap();
    let hook = hook.display().to_string();
    let by_dns = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", &hook];
    order(&[&by_dns[..], &["-d", "*.wild.test"]].concat());
    town.judge(&given("wild.test"), "*.wild.test");

    let reason = ["--reason", "superseded", "--no-delete-after-revoke"];
    certbot(&[&["revoke", "--cert-name", "alone.test"], &reason[..]].concat());
    assert_eq!(town.state(&serial), "revoked");

    // It renews what it still holds by itself, with the account and the way that it kept.
    let before = town.judge(&given("alone.test"), "alone.test");
    certbot(&[
        "renew",
        "--cert-name",
        "alone.test",
        "--force-renewal",
        "--no-random-sleep-on-renew",
    ]);
    assert_ne!(town.judge(&given("alone.test"), "alone.test"), before);
}

#[test]
fn lego_proves_control_by_http_and_by_tls_and_revokes() {
    let town = Town::start();
    let lego = |args: &[&str]| {
        run(Command::new("lego")
            .args([
                "--server",
                &town.directory(),
                "--accept-tos",
                "--email",
                "a@example.com",
                "--path",
            ])
            .arg(town.path("lego"))
            .args(args)
            .env("LEGO_CA_CERTIFICATES", town.roots()));
    };
    let given = |name: &str| town.path("lego/certificates").join(format!("{name}.crt"));

    let address = |port: u16| format!("127.0.0.1:{port}");
    lego(&["--http", "--http.port", &address(town.http), "-d", "http.test", "run"]);
    let serial = town.judge(&given("http.test"), "http.test");
    lego(&["--tls", "--tls.port", &address(town.tls), "-d", "tls.test", "run"]);
    town.judge(&given("tls.test"), "tls.test");

    lego(&["-d", "http.test", "revoke"]);
    assert_eq!(town.state(&serial), "revoked");
}

#[test]
fn dehydrated_and_acme_tiny_are_served_like_the_others() {
    let town = Town::start();
    let _server = town.web_server();

    let (base, config) = (town.path("dehydrated"), town.path("dehydrated/config"));
    fs::create_dir(&base).unwrap();
    let settings = format!(
        "CA=\"{}\"\nWELLKNOWN=\"{}\"\nBASEDIR=\"{}\"\nCURL_OPTS=\"--cacert {}\"\n",
        town.directory(),
        town.challenges().display(),
        base.display(),
        town.roots().display()
    );
    fs::write(&config, settings).unwrap();
    let dehydrated = |args: &[&str]| {
        run(Command::new("dehydrated").arg("--config").arg(&config).args(args));
    };
    dehydrated(&["--register", "--accept-terms"]);
    dehydrated(&["--cron", "--domain", "dehydrated.test"]);
    let given = base.join("certs/dehydrated.test");
    let serial = town.judge(&given.join("fullchain.pem"), "dehydrated.test");
    let leaf = given.join("cert.pem").display().to_string();
    dehydrated(&["--revoke", &leaf]);
    assert_eq!(town.state(&serial), "revoked");

    let file = |name: &str| town.path(name).display().to_string();
    run(Command::new("openssl").args(["genrsa", "-out", &file("account.key"), "2048"]));
    run(Command::new("openssl")
        .args(["req", "-new", "-newkey", "rsa:2048", "-nodes", "-subj", "/", "-addext"])
        .args([
            "subjectAltName=DNS:tiny.test",
            "-keyout",
            &file("tiny.key"),
            "-out",
            &file("tiny.csr"),
        ]));
    let chain = run(Command::new("acme-tiny")
        .args([
            "--account-key",
            &file("account.key"),
            "--csr",
            &file("tiny.csr"),
            "--acme-dir",
        ])
        .arg(town.challenges())
        .args(["--directory-url", &town.directory(), "--disable-check"])
        .env("SSL_CERT_FILE", town.roots()));
    fs::write(town.path("tiny.pem"), chain).unwrap();
    town.judge(&town.path("tiny.pem"), "tiny.test");
}
