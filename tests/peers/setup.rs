//! `.ci/setup` as an ordinary user: by sudo, or with the line to run; and again, where all is there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use rustix::process::geteuid;
use tempfile::TempDir;

/// A copy of the script where an ordinary user can read it, beside a `sudo` of our own making.
struct Place(TempDir);

impl Place {
    fn with_sudo(sudo: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let folder = place.0.path();
        fs::create_dir(folder.join(".ci")).unwrap();
        fs::copy(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/setup"),
            folder.join(".ci/setup"),
        )
        .unwrap();
        fs::write(folder.join("sudo"), format!("#!/bin/sh\n{sudo}\n")).unwrap();
        for (name, mode) in [("sudo", 0o755), (".ci", 0o755), ("", 0o777)] {
            fs::set_permissions(folder.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        place
    }

    /// Runs the script as nobody, if we are root, and as ourselves otherwise.
    fn set_up(&self, args: &[&str]) -> Output {
        let mut command = if geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups", "bash"]);
            command
        } else {
            Command::new("bash")
        };
        let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.0.path().display());
        command.arg(self.0.path().join(".ci/setup")).args(args);
        command.env("PATH", path).current_dir("/").output().unwrap()
    }
}

#[test]
fn without_root_and_sudo_it_prints_the_line_to_run_and_stops() {
    let place = Place::with_sudo("exit 1");

    let output = place.set_up(&["--apt", "softhsm2", "opensc"]);

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("apt-get install -y softhsm2 opensc"), "{said}");
    assert!(output.stdout.is_empty(), "it went on: {output:?}");
}

#[test]
fn an_ordinary_user_installs_by_sudo_and_no_service_starts() {
    let place = Place::with_sudo("echo \"$*\" >>\"$(dirname \"$0\")/asked\"");

    let output = place.set_up(&["--apt", "postgresql", "nginx-light"]);

    assert!(output.status.success(), "{output:?}");
    let asked = fs::read_to_string(place.0.path().join("asked")).unwrap();
    let at = |text: &str| asked.lines().position(|line| line.contains(text));
    let install = at("apt-get -q -y -o Dpkg::Use-Pty=0 install postgresql nginx-light");
    assert!(install.is_some(), "{asked}");
    assert!(at("create_main_cluster = false") < install, "{asked}");
    if !Path::new("/usr/sbin/policy-rc.d").exists() {
        assert!(
            at("tee /usr/sbin/policy-rc.d").is_some_and(|held| Some(held) < install),
            "{asked}"
        );
        assert!(asked.trim_end().ends_with("rm -f /usr/sbin/policy-rc.d"), "{asked}");
    }
}

#[test]
fn where_all_is_there_it_installs_nothing() {
    let output = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/setup"))
        .output()
        .unwrap();

    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert_eq!(said, "setup: all is here\n");
}
