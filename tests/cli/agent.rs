//! `chancery agent enroll`, the real program, against a service that signs, loses answers and is out of order.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use chancery::client::{Client, IdentityFiles, Settings};

use crate::service::{Answer, Enrolment, FakeService};

const WEB: &str = "spiffe://chancery.test/web";

fn signing(lifetime: Duration, lost: usize, answers: &[Answer]) -> FakeService {
    let service = FakeService::start(answers);
    service.enrol(Enrolment {
        identity: WEB,
        lifetime,
        lost,
    });
    fs::write(service.file("token"), "good\n").unwrap();
    service
}

fn enroll(service: &FakeService, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
    command
        .args(["agent", "enroll", "--dir"])
        .arg(folder(service))
        .args(args)
        .env_clear()
        .env("CHANCERY_ADDR", service.url())
        .env("CHANCERY_CACERT", service.roots())
        .stdin(Stdio::null());
    command
}

fn folder(service: &FakeService) -> PathBuf {
    service.file("agent")
}

fn with_token(service: &FakeService, args: &[&str]) -> Command {
    let mut command = enroll(service, args);
    command.arg("--token-file").arg(service.file("token"));
    command
}

#[track_caller]
fn ends(output: &Output, code: i32, says: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(says), "`{says}` is not in: {said}");
}

/// Key and certificate are there and belong together, as anybody who reads the two files sees it.
#[track_caller]
fn pair_is_whole(service: &FakeService) {
    let folder = folder(service);
    Client::new(Settings {
        address: service.url(),
        roots: folder.join("roots.pem"),
        identity: Some(IdentityFiles {
            certificate: folder.join("fullchain.pem"),
            key: folder.join("key.pem"),
        }),
    })
    .map(drop)
    .unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn enrols_once_and_is_content_with_what_it_has() {
    let service = signing(Duration::from_secs(3600), 0, &[]);
    let output = with_token(&service, &["--once"]).output().unwrap();
    ends(&output, 0, "certificate of `spiffe://chancery.test/web`");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["identity"], WEB);
    pair_is_whole(&service);

    let folder = folder(&service);
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("key.pem")), 0o600);
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("cert.pem") + &read("chain.pem"), read("fullchain.pem"));
    assert_eq!(read("chain.pem"), service.authority().pem().replace("\r\n", "\n"));

    let again = enroll(&service, &["--once"]).output().unwrap();
    ends(&again, 0, "");
    assert_eq!(service.certified().len(), 1);
}

#[test]
fn a_lost_answer_is_asked_for_again_with_the_same_key() {
    let service = signing(Duration::from_secs(3600), 1, &[]);
    ends(&with_token(&service, &["--once"]).output().unwrap(), 6, "cannot reach");
    ends(&with_token(&service, &["--once"]).output().unwrap(), 0, "");
    let certified = service.certified();
    assert_eq!(certified.len(), 2);
    assert_eq!(certified[0], certified[1]);
    pair_is_whole(&service);
}

#[test]
fn a_refused_token_ends_it_and_no_token_says_so() {
    let refusal = Answer {
        method: "POST",
        path: "/api/enroll",
        status: 401,
        body: r#"{"type":"about:blank","title":"","status":401,"kind":"unauthenticated",
            "detail":"the join token is not known: ask for a new one","request_id":"r1"}"#,
    };
    let service = signing(Duration::from_secs(3600), 0, &[refusal]);
    ends(&with_token(&service, &[]).output().unwrap(), 4, "ask for a new one");
    ends(
        &enroll(&service, &[]).output().unwrap(),
        2,
        "give a join token by --token-file",
    );
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn renews_through_failures_with_a_new_key_each_time_and_ends_cleanly() {
    let down = Answer {
        method: "POST",
        path: "/api/reenroll",
        status: 503,
        body: r#"{"type":"about:blank","title":"","status":503,"kind":"unavailable",
            "detail":"the token is lost: try again","request_id":"r1"}"#,
    };
    let service = signing(Duration::from_secs(8), 0, &[down]);
    let mut running = Running(
        with_token(&service, &[])
            .stdout(Stdio::null())
            .stderr(fs::File::create(service.file("said")).unwrap())
            .spawn()
            .unwrap(),
    );
    let certificate = folder(&service).join("cert.pem");
    let mut seen = BTreeSet::new();
    let until = Instant::now() + Duration::from_secs(60);
    while seen.len() < 3 {
        assert!(Instant::now() < until, "not renewed in time: {seen:?}");
        assert!(running.0.try_wait().unwrap().is_none(), "the agent ended");
        if let Ok(text) = fs::read_to_string(&certificate) {
            seen.insert(text);
            pair_is_whole(&service);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let other = enroll(&service, &["--once"]).output().unwrap();
    ends(&other, 5, "another agent keeps");

    let pid = rustix::process::Pid::from_child(&running.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(0));
    let keys: BTreeSet<Vec<u8>> = service.certified().into_iter().collect();
    assert!(keys.len() >= 3);
    let said = fs::read_to_string(service.file("said")).unwrap();
    assert!(said.contains("not renewed: the token is lost: try again"), "{said}");
}

#[test]
fn once_its_time_is_over_it_asks_for_a_new_token() {
    let gone = |status, kind: &str| Answer {
        method: "POST",
        path: "/api/reenroll",
        status,
        body: format!(
            r#"{{"type":"about:blank","title":"","status":{status},"kind":"{kind}",
            "detail":"the certificate is revoked","request_id":"r1"}}"#
        )
        .leak(),
    };
    let refusals: Vec<Answer> = (0..30).map(|_| gone(401, "unauthenticated")).collect();
    let service = signing(Duration::from_secs(4), 0, &refusals);
    let output = with_token(&service, &[]).output().unwrap();
    ends(&output, 4, "has expired at");
    ends(&output, 4, "the certificate is revoked");
}

fn without_roots(service: &FakeService, args: &[&str]) -> Command {
    let mut command = enroll(service, args);
    command.env_remove("CHANCERY_CACERT");
    command
}

fn fingerprint(service: &FakeService) -> String {
    let der = chancery::x509::pem::decode_all("CERTIFICATE", service.authority().pem()).unwrap();
    format!("sha256:{}", chancery::x509::chain::sha256(&der[0]))
}

fn bodies(service: &FakeService, target: &str) -> Vec<serde_json::Value> {
    let asked = service.asked().into_iter().filter(|asked| asked.target == target);
    asked
        .map(|asked| serde_json::from_slice(&asked.body).unwrap())
        .collect()
}

/// R41: for every kind of credential.
#[test]
fn r41_a_lost_answer_is_asked_for_again_with_the_same_key_by_jwt_and_certificate_too() {
    let service = signing(Duration::from_secs(3600), 1, &[]);
    let jwt = service.file("jwt");
    fs::write(&jwt, "a.b.c\n").unwrap();
    let by_jwt = |args: &[&str]| {
        let mut command = enroll(&service, args);
        command.arg("--jwt-file").arg(&jwt).output().unwrap()
    };
    ends(&by_jwt(&["--once", "--id", WEB]), 6, "cannot reach");
    ends(&by_jwt(&["--once", "--id", WEB]), 0, "certificate of");
    let asked = bodies(&service, "POST /api/enroll/jwt");
    assert_eq!(
        (&asked[0]["jwt"], &asked[0]["identity"]),
        (&"a.b.c".into(), &WEB.into())
    );
    let certified = service.certified();
    assert_eq!((certified.len(), &certified[0]), (2, &certified[1]));
    pair_is_whole(&service);

    let service = signing(Duration::from_secs(3600), 1, &[]);
    let by_certificate = || {
        let mut command = enroll(&service, &["--once"]);
        command.arg("--cert-file").arg(service.file("client.pem"));
        command
            .arg("--key-file")
            .arg(service.file("client.key"))
            .output()
            .unwrap()
    };
    ends(&by_certificate(), 6, "cannot reach");
    ends(&by_certificate(), 0, "certificate of");
    assert_eq!(bodies(&service, "POST /api/enroll/certificate").len(), 2);
    let certified = service.certified();
    assert_eq!((certified.len(), &certified[0]), (2, &certified[1]));

    ends(
        &enroll(&service, &["--once", "--cert-file", "x"]).output().unwrap(),
        2,
        "--key-file",
    );
    fs::remove_dir_all(folder(&service)).unwrap();
    let none = enroll(&service, &["--once", "--jwt-file", "/nowhere/token"])
        .output()
        .unwrap();
    ends(&none, 1, "cannot read the token in `/nowhere/token`");
}

/// And with the token that is in the file then, as Kubernetes replaces it.
#[test]
fn enrols_anew_by_a_jwt_once_its_certificate_is_refused() {
    let refused = |n| Answer {
        method: "POST",
        path: "/api/reenroll",
        status: 401,
        body: format!(
            r#"{{"type":"about:blank","title":"","status":401,"kind":"unauthenticated",
            "detail":"the client certificate is revoked","request_id":"r{n}"}}"#
        )
        .leak(),
    };
    let service = signing(Duration::from_secs(6), 0, &[refused(1)]);
    let jwt = service.file("jwt");
    fs::write(&jwt, "first").unwrap();
    let mut command = enroll(&service, &["--jwt-file"]);
    let running = Running(
        command
            .arg(&jwt)
            .stdout(Stdio::null())
            .stderr(fs::File::create(service.file("said")).unwrap())
            .spawn()
            .unwrap(),
    );
    let until = Instant::now() + Duration::from_secs(60);
    let asked = loop {
        let asked = bodies(&service, "POST /api/enroll/jwt");
        if asked.len() == 1 {
            // by a rename, as Kubernetes does it: the agent never meets half a file
            let next = service.file("jwt.next");
            fs::write(&next, "second").unwrap();
            fs::rename(next, &jwt).unwrap();
        }
        if asked.len() >= 2 {
            break asked;
        }
        assert!(
            Instant::now() < until,
            "{}",
            fs::read_to_string(service.file("said")).unwrap()
        );
        std::thread::sleep(Duration::from_millis(20));
    };
    drop(running);
    assert_eq!(
        (&asked[0]["jwt"], &asked[1]["jwt"]),
        (&"first".into(), &"second".into())
    );
    let said = fs::read_to_string(service.file("said")).unwrap();
    assert!(said.contains("is revoked; enrolling anew"), "{said}");
    assert!(!said.contains("second"), "the token is shown: {said}");
}

#[test]
fn trusts_a_root_by_its_fingerprint_and_no_other() {
    let service = signing(Duration::from_secs(3600), 0, &[]);
    let token = service.file("token").display().to_string();
    let without = without_roots(&service, &["--once", "--token-file", &token])
        .output()
        .unwrap();
    ends(&without, 2, "--root-fingerprint");
    let wrong = format!("sha256:{}", "0".repeat(64));
    let other = without_roots(
        &service,
        &["--once", "--token-file", &token, "--root-fingerprint", &wrong],
    );
    ends(&{ other }.output().unwrap(), 1, "shows no root with fingerprint");
    assert!(
        bodies(&service, "POST /api/enroll").is_empty(),
        "the token went to a stranger"
    );
    let right = fingerprint(&service);
    let known = without_roots(
        &service,
        &["--once", "--token-file", &token, "--root-fingerprint", &right],
    );
    ends(&{ known }.output().unwrap(), 0, "is trusted by its root");
    pair_is_whole(&service);
}

/// A node that was away while the CA was rotated: its roots and its certificate are the old CA's.
#[test]
fn r41_a_node_that_missed_a_rotation_heals_by_the_new_roots_fingerprint() {
    let old = signing(Duration::from_secs(3600), 0, &[]);
    ends(&with_token(&old, &["--once"]).output().unwrap(), 0, "");
    let new = signing(Duration::from_secs(3600), 0, &[]);
    let dir = folder(&old).display().to_string();
    let jwt = new.file("jwt");
    fs::write(&jwt, "a.b.c").unwrap();
    let at_new = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_chancery"));
        command
            .args(["agent", "enroll", "--once", "--dir", &dir, "--jwt-file"])
            .arg(&jwt)
            .args(args)
            .env_clear()
            .env("CHANCERY_ADDR", new.url())
            .stdin(Stdio::null());
        command.output().unwrap()
    };
    let healed = at_new(&["--root-fingerprint", &fingerprint(&new)]);
    ends(&healed, 0, "is trusted by its root");
    assert_eq!(new.certified().len(), 1);
    let roots = fs::read_to_string(folder(&old).join("roots.pem")).unwrap();
    assert_eq!(roots, new.authority().pem());

    // A fingerprint that was used before, as a unit file names it, keeps it from nothing once its root is gone; another
    // one is somebody's word, which counts.
    let before = fingerprint(&old);
    ends(
        &at_new(&["--root-fingerprint", &before]),
        1,
        "shows no root with fingerprint",
    );
    fs::write(folder(&old).join("pinned.pem"), old.authority().pem()).unwrap();
    let again = at_new(&["--root-fingerprint", &before]);
    ends(&again, 0, "");
    assert!(!String::from_utf8_lossy(&again.stderr).contains("is trusted by its root"));
    assert_eq!(new.certified().len(), 1, "it was good still");
}

#[cfg(feature = "faults")]
#[test]
fn a_kill_at_any_step_loses_nothing() {
    for point in [
        "agent.key.before",
        "agent.key.after",
        "agent.version.before",
        "agent.version.after",
        "agent.switch.before",
        "agent.switch.after",
    ] {
        // First enrolment: the second start ends with a certificate.
        let service = signing(Duration::from_secs(3600), 0, &[]);
        let mark = service.file("hit");
        let killed = with_token(&service, &["--once"])
            .env("CHANCERY_FAULT", point)
            .env("CHANCERY_FAULT_MARK", &mark)
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point}");
        assert_eq!(fs::read_to_string(&mark).unwrap(), point);
        ends(&with_token(&service, &["--once"]).output().unwrap(), 0, "");
        pair_is_whole(&service);
        let certified = service.certified();
        assert!(
            certified.iter().all(|key| *key == certified[0]),
            "{point}: another key was made"
        );

        // Renewal: whoever reads the folder meets a whole pair at once, and the next start goes on.
        let service = signing(Duration::from_secs(4), 0, &[]);
        let killed = with_token(&service, &[])
            .env("CHANCERY_FAULT", format!("{point}:2"))
            .env("CHANCERY_FAULT_MARK", service.file("hit"))
            .output()
            .unwrap();
        assert_eq!(killed.status.code(), None, "{point}");
        pair_is_whole(&service);
        ends(&with_token(&service, &["--once"]).output().unwrap(), 0, "");
        pair_is_whole(&service);
    }
}
