//! How the service ends, what it resumes, and whom it tells that it is ready.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;

use rustix::process::Signal;

use crate::support::child::PATIENCE;
use crate::support::process::Launch;

#[test]
fn asked_to_end_it_ends_well_and_resumes_with_all_it_had() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let launch = Launch::dev(&folder);
    let mut service = launch.start();
    service.cli(&["secret", "set", "--name", "a"]).stdin("kept").ok();
    let roots = fs::read(folder.join("roots.pem")).unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        service.signal(signal);
        let status = service.wait(PATIENCE).expect("it ends when asked to");
        assert_eq!(status.code(), Some(0), "{signal:?}: {}", service.log());
        service = launch.start();
        assert_eq!(service.cli(&["secret", "get", "--name", "a"]).ok(), "kept");
        assert_eq!(fs::read(folder.join("roots.pem")).unwrap(), roots);
        service.cli(&["audit", "verify"]).ok();
    }
}

#[test]
fn systemd_is_told_once_everything_is_served() {
    let home = tempfile::tempdir().unwrap();
    let socket = home.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let service = Launch::dev(&home.path().join("dev"))
        .env("NOTIFY_SOCKET", &socket)
        .start();
    let mut told = [0; 256];
    let len = systemd.recv(&mut told).unwrap();
    let told = String::from_utf8_lossy(&told[..len]);
    assert!(told.lines().any(|line| line == "READY=1"), "{told}");
    service.cli(&["vault", "list"]).ok();
}

#[test]
fn its_files_and_its_memory_are_its_own() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("dev");
    let service = Launch::dev(&folder).start();
    for name in ["token", "token/tokens", "admin", "audit"] {
        let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    for name in [
        "admin/key.pem",
        "chancery.db",
        "chancery.db-shm",
        "chancery.db-wal",
        "chancery.lock",
        "chancery.toml",
        "env",
        "token/pin",
        "token/so-pin",
    ] {
        let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o077, 0, "{name}: {mode:o}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", service.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
}
