//! A disk that is full, or that became read-only, under a service that runs: what it cannot do is refused with what to
//! do, what it answered stands, and it goes on by itself once the disk is as it was.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::child::{PATIENCE, free_port, run};
use crate::support::disk::Disk;
use crate::support::process::{Launch, Service};

/// Of the disk that is filled. The service's files take a part of it.
const MIB: u32 = 8;
/// No secret that is set here is smaller, so that a few fill what a file keeps as reserve.
const SECRET_BYTES: usize = 16 << 10;

/// A service that has served on the folder, its `moved` files now on a small disk, and how to start it there.
fn on_small_disk(folder: &Path, moved: &[&str]) -> (Launch, Disk) {
    let mut first = Launch::dev_on(folder, free_port(), free_port()).start();
    first.cli(&["secret", "set", "--name", "kept"]).stdin("kept").ok();
    assert_eq!(first.end().code(), Some(0));

    let at = folder.join("disk");
    let disk = Disk::mount(&at, MIB);
    let mut config = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    for name in moved {
        let (from, to) = (folder.join(name), at.join(name));
        disk.take(&from);
        let (from, to) = (from.display().to_string(), to.display().to_string());
        assert!(config.contains(&from), "{from} is not in the configuration");
        config = config.replace(&from, &to);
    }
    let file = folder.join("on-disk.toml");
    fs::write(&file, config).unwrap();
    (Launch::server(&file, folder).on(&disk), disk)
}

/// The secrets that were asked to be set: what the service answered.
#[derive(Default)]
struct Asked(Vec<(String, bool)>);

impl Asked {
    /// Sets a new secret; what was said against it.
    fn set(&mut self, service: &Service) -> Result<(), String> {
        let name = format!("s{}", self.0.len());
        let (code, _, said) = service
            .cli(&["secret", "set", "--name", &name])
            .stdin(value(&name))
            .run();
        self.0.push((name, code == 0));
        if code == 0 { Ok(()) } else { Err(said) }
    }

    /// Sets secrets until one is refused; what was said.
    fn refusal(&mut self, service: &Service) -> String {
        let begun = Instant::now();
        loop {
            if let Err(said) = self.set(service) {
                return said;
            }
            assert!(begun.elapsed() < PATIENCE, "nothing is refused: {}", service.log());
        }
    }

    /// Sets secrets until one is taken again.
    fn taken(&mut self, service: &Service) {
        let begun = Instant::now();
        while let Err(said) = self.set(service) {
            assert!(
                begun.elapsed() < PATIENCE,
                "it does not go on: {said}\n{}",
                service.log()
            );
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What was answered is there; what is there has exactly one record, and what is not there has none.
    fn judge(&self, service: &Service) {
        assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
        let records = service.records();
        for (name, answered) in &self.0 {
            let (code, found, said) = service.cli(&["secret", "get", "--name", name]).run();
            assert!(code == 0 || (code == 3 && !answered), "{name} is lost: {said}");
            assert!(code == 3 || found == value(name), "{name} is something else");
            let resource = format!("vaults/kv-prod/secrets/{name}");
            let done = records.iter().filter(|record| {
                record["outcome"] == "done"
                    && record["action"] == "SetSecret"
                    && record["resource"] == resource.as_str()
            });
            assert_eq!(done.count(), usize::from(code == 0), "records of {name}");
        }
        service.cli(&["audit", "verify"]).ok();
    }
}

fn value(name: &str) -> String {
    name.repeat(SECRET_BYTES / name.len())
}

/// The answer's status at one of the public paths.
fn status(service: &Service, path: &str) -> String {
    let env = service.env();
    let mut curl = std::process::Command::new("curl");
    curl.args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}"])
        .args(["--cacert", &env["CHANCERY_CACERT"]])
        .arg(format!("{}{path}", env["CHANCERY_ADDR"]));
    String::from_utf8(run(&mut curl)).unwrap()
}

#[test]
fn a_disk_that_is_full_under_the_database() {
    let home = tempfile::tempdir().unwrap();
    let (launch, disk) = on_small_disk(&home.path().join("dev"), &["chancery.db"]);
    let mut service = launch.start();
    let mut asked = Asked::default();
    asked.set(&service).unwrap();
    disk.fill();
    let said = asked.refusal(&service);
    assert!(said.contains("disk is full") && said.contains("free space"), "{said}");
    // What needs no room goes on.
    assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
    assert_eq!(status(&service, "/healthz"), "200");
    disk.free();
    asked.taken(&service);
    asked.judge(&service);
    assert_eq!(service.end().code(), Some(0), "{}", service.log());
    asked.judge(&launch.start());
}

#[test]
fn a_disk_that_is_full_under_the_log() {
    let home = tempfile::tempdir().unwrap();
    let (launch, disk) = on_small_disk(&home.path().join("dev"), &["audit"]);
    let mut service = launch.start();
    let mut asked = Asked::default();
    asked.set(&service).unwrap();
    disk.fill();
    let said = asked.refusal(&service);
    assert!(
        said.contains("audit log cannot be written") && said.contains("free its disk"),
        "{said}"
    );
    // No record, no answer: not for a read either.
    let (code, value, said) = service.cli(&["secret", "get", "--name", "kept"]).run();
    assert_eq!((code, value.as_str()), (6, ""), "{said}");
    assert!(
        said.contains("audit log cannot be written") && said.contains("free its disk"),
        "{said}"
    );
    assert_eq!(status(&service, "/healthz"), "200");
    assert_eq!(status(&service, "/readyz"), "503");
    disk.free();
    asked.taken(&service);
    asked.judge(&service);
    assert_eq!(status(&service, "/readyz"), "200");
    assert_eq!(service.end().code(), Some(0), "{}", service.log());
    asked.judge(&launch.start());
}

#[test]
fn a_disk_that_is_full_under_all_and_a_service_that_is_killed_there() {
    let home = tempfile::tempdir().unwrap();
    let (launch, disk) = on_small_disk(&home.path().join("dev"), &["chancery.db", "audit"]);
    let mut service = launch.start();
    let mut asked = Asked::default();
    asked.set(&service).unwrap();
    disk.fill();
    asked.refusal(&service);
    service.kill();
    disk.free();
    let mut service = launch.start();
    asked.taken(&service);
    asked.judge(&service);
    assert_eq!(service.end().code(), Some(0), "{}", service.log());
}

#[test]
fn a_disk_that_is_read_only() {
    let home = tempfile::tempdir().unwrap();
    for (n, moved) in ["chancery.db", "audit"].into_iter().enumerate() {
        let folder = home.path().join(n.to_string());
        let (launch, disk) = on_small_disk(&folder, &[moved]);
        disk.protect();
        let mut refused = launch.spawn();
        let status = refused.wait(PATIENCE).expect("it cannot start");
        let said = refused.log();
        assert_eq!(status.code(), Some(1), "{said}");
        let said = said.lines().rev().find(|line| line.starts_with("error: ")).unwrap();
        let named = folder.join("disk");
        assert!(
            said.contains(&named.display().to_string()) && said.contains("writable for this user"),
            "{said}"
        );
        disk.unprotect();
        Asked::default().judge(&launch.start());
    }
}

#[test]
fn a_database_that_becomes_read_only() {
    let home = tempfile::tempdir().unwrap();
    let (launch, disk) = on_small_disk(&home.path().join("dev"), &["chancery.db"]);
    let mut service = launch.start();
    let mut asked = Asked::default();
    asked.set(&service).unwrap();
    // Files that are open stay writable; after a failure they are opened again, and then they are not.
    disk.fill();
    asked.refusal(&service);
    disk.free();
    disk.protect();
    let said = asked.refusal(&service);
    assert!(
        said.contains("read-only") && said.contains("make it writable"),
        "{said}"
    );
    assert_eq!(service.cli(&["secret", "get", "--name", "kept"]).ok(), "kept");
    disk.unprotect();
    asked.taken(&service);
    asked.judge(&service);
    assert_eq!(service.end().code(), Some(0), "{}", service.log());
    asked.judge(&launch.start());
}
