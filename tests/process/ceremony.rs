//! Authorities beside the first one: with a root in the token, and with an offline root, by the ceremony's own scripts on
//! a second token.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use chancery::wire;
use chancery::x509::chain::{self, Issuer};
use chancery::x509::{csr, key, pem};

use crate::support::child::{PATIENCE, free_port};
use crate::support::process::{Launch, Service};
use crate::support::softhsm;

/// The second token, in the safe.
struct Safe<'a> {
    token: softhsm::Token,
    stick: &'a Path,
}

impl Safe<'_> {
    fn step(&self, script: &str, args: &[&str]) -> (bool, String) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pki/ceremony");
        let output = Command::new("sh")
            .arg(folder.join(script))
            .args(args)
            .envs([self.token.environment()])
            .env("CEREMONY_MODULE", softhsm::module())
            .env("CEREMONY_TOKEN", softhsm::LABEL)
            .env("GNUTLS_PIN", softhsm::PIN)
            .env("CEREMONY_DIR", self.stick)
            .env("CEREMONY_NAME", "Example offline root 1")
            .env("CEREMONY_CRL", "http://pki.example.test/root-1.crl")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(
            !said.contains("not found"),
            "the ceremony needs `p11tool` and `certtool` (apt install gnutls-bin): {said}"
        );
        (output.status.success(), said)
    }
}

/// Asks an authority for a certificate: exit code, the chain, what was said.
fn try_issue(service: &Service, authority: &str, folder: &Path) -> (i32, String, String) {
    let request = folder.join("leaf.csr.pem");
    let leaf = key::generate(chancery::key_type::KeyType::EcP256).unwrap();
    let der = csr::create(&leaf, &["www.chancery.test".parse().unwrap()]).unwrap();
    fs::write(&request, pem::encode(pem::CERTIFICATE_REQUEST, &der)).unwrap();
    let request = request.to_str().unwrap();
    let by = ["--profile", "server-tls", "--authority", authority];
    service
        .cli(&[&["cert", "issue", "--csr", request][..], &by].concat())
        .run()
}

/// Issues by an authority, as soon as it can; the chain.
fn issue(service: &Service, authority: &str, folder: &Path) -> Vec<Vec<u8>> {
    let begun = Instant::now();
    loop {
        let (code, chain, said) = try_issue(service, authority, folder);
        if code == 0 {
            return pem::decode_all(pem::CERTIFICATE, &chain).unwrap();
        }
        assert!(begun.elapsed() < PATIENCE, "{said}: {}", service.log());
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn an_authority_is_made_beside_the_first_one() {
    let home = tempfile::tempdir().unwrap();
    let service = Launch::dev(&home.path().join("dev")).start();
    service
        .cli(&["ca", "init", "--name", "devices", "--key-type", "ec-p384"])
        .ok();
    let (code, _, said) = service.cli(&["ca", "init", "--name", "devices"]).run();
    assert_eq!(code, 5, "{said}");
    let chain = issue(&service, "devices", home.path());
    let facts = chain::Facts::read(&chain[0]).unwrap();
    assert!(facts.issuer.contains("devices"), "{}", facts.issuer);
    let listed = service.cli(&["ca", "list", "-o", "json"]).ok();
    let listed: Vec<wire::Authority> = serde_json::from_str(&listed).unwrap();
    let names: Vec<&str> = listed.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["devices", "devices-root-1", "internal", "internal-root-1"]);
    assert_eq!(listed[0].key_type, "ec-p384");
    // Each revokes its own only.
    let (code, ..) = service.cli(&["--yes", "ca", "revoke", "--serial", &facts.serial]).run();
    assert_eq!(code, 3);
    service
        .cli(&[
            "--yes",
            "ca",
            "revoke",
            "--serial",
            &facts.serial,
            "--authority",
            "devices",
        ])
        .ok();
    // The next start finds it.
    let service = service.restart();
    assert_eq!(issue(&service, "devices", home.path())[1], chain[1]);
}

#[test]
fn an_offline_root_is_made_on_its_own_token_and_signs_our_request() {
    let home = tempfile::tempdir().unwrap();
    let stick = home.path().join("stick");
    fs::create_dir(&stick).unwrap();
    let safe = Safe {
        token: softhsm::initialise(&home.path().join("safe")),
        stick: &stick,
    };
    let plain = free_port();
    let service = Launch::dev_on(&home.path().join("dev"), free_port(), plain).start();
    service
        .cli(&["ca", "init", "--name", "offline", "--root", "offline"])
        .ok();
    // It is there, and whoever wants to issue by it reads what is missing.
    let listed = service.cli(&["ca", "list", "-o", "json"]).ok();
    assert!(listed.contains(r#""name": "offline""#), "{listed}");
    let shown = service.cli(&["ca", "show", "--name", "offline", "-o", "json"]).ok();
    assert!(!shown.contains("not_after"), "{shown}");
    service.cli(&["cert", "audit"]).ok();
    let (code, _, said) = service.cli(&["ca", "export", "--name", "offline"]).run();
    assert!(code == 6 && said.contains("`ca csr`"), "{code} {said}");
    let import = |service: &Service| {
        let file = stick.join("chain.pem");
        service
            .cli(&["ca", "import", "--name", "offline", "--chain", file.to_str().unwrap()])
            .run()
    };
    fs::write(stick.join("chain.pem"), service.cli(&["ca", "export"]).ok()).unwrap();
    assert_eq!(import(&service).0, 5, "it has no key yet");
    let csr = service.cli(&["ca", "csr", "--name", "offline"]).ok();
    fs::write(stick.join("issuing.csr.pem"), csr).unwrap();
    let verified = Command::new("openssl")
        .args(["req", "-verify", "-noout", "-in"])
        .arg(stick.join("issuing.csr.pem"))
        .output()
        .unwrap();
    assert!(
        verified.status.success(),
        "{}",
        String::from_utf8_lossy(&verified.stderr)
    );

    let done = |(is_done, said): (bool, String)| assert!(is_done, "{said}");
    let (made, said) = safe.step("02-root-key.sh", &[]);
    let never_leaves = said.contains("CKA_NEVER_EXTRACTABLE") && said.contains("CKA_SENSITIVE");
    assert!(made && never_leaves, "{said}");
    assert!(!safe.step("02-root-key.sh", &[]).0, "a second key");
    done(safe.step("03-root-certificate.sh", &[]));
    assert!(!safe.step("03-root-certificate.sh", &[]).0, "a second root");
    done(safe.step("04-sign-issuing.sh", &["--yes"]));
    done(safe.step("05-revocation-list.sh", &[]));
    let list = Command::new("openssl")
        .args(["crl", "-inform", "DER", "-noout", "-CAfile"])
        .arg(stick.join("root.pem"))
        .arg("-in")
        .arg(stick.join("root.crl"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&list.stderr).into_owned();
    assert!(said.contains("verify OK"), "{said}");

    // Without its root it is not taken; whole it is, once.
    let whole = fs::read_to_string(stick.join("chain.pem")).unwrap();
    fs::write(stick.join("chain.pem"), fs::read(stick.join("issuing.pem")).unwrap()).unwrap();
    let (code, _, said) = import(&service);
    assert!(code != 0 && said.contains("the root last"), "{code} {said}");
    fs::write(stick.join("chain.pem"), &whole).unwrap();
    assert_eq!(import(&service).0, 0);
    assert_eq!(import(&service).0, 5);

    let chain = issue(&service, "offline", home.path());
    let root = pem::decode_all(pem::CERTIFICATE, &fs::read_to_string(stick.join("root.pem")).unwrap()).unwrap();
    let root = Issuer::read(&root[0]).unwrap();
    root.verify(&chain[1]).unwrap();
    Issuer::read(&chain[1]).unwrap().verify(&chain[0]).unwrap();
    // Its root is known by its own name.
    let shown = service.cli(&["ca", "export", "--name", "offline-root-1"]).ok();
    assert_eq!(pem::decode_all(pem::CERTIFICATE, &shown).unwrap()[0], root.der());
    let (code, _, said) = service.cli(&["ca", "rotate", "--name", "offline", "--root"]).run();
    assert_eq!(code, 5, "{said}");
    let service = service.restart();
    assert_eq!(issue(&service, "offline", home.path())[1], chain[1]);

    // Its list is served here once it was imported, and obeyed.
    let served = || {
        let url = format!("http://127.0.0.1:{plain}/crl/offline-root-1/0.crl");
        let got = Command::new("curl")
            .args(["--silent", "--fail", &url])
            .output()
            .unwrap();
        got.status.success().then_some(got.stdout)
    };
    let file = stick.join("root.crl");
    let take = |service: &Service| {
        service
            .cli(&["ca", "import", "--name", "offline", "--crl", file.to_str().unwrap()])
            .run()
    };
    assert_eq!(served(), None);
    assert_eq!(take(&service).0, 0);
    let first = fs::read(&file).unwrap();
    assert_eq!(served().as_ref(), Some(&first));
    let (code, _, said) = take(&service);
    assert!(code == 5 && said.contains("higher number"), "{code} {said}");
    let mut bent = first.clone();
    let last = bent.len() - 1;
    bent[last] ^= 1;
    fs::write(&file, bent).unwrap();
    assert_ne!(take(&service).0, 0);
    fs::copy(stick.join("issuing.pem"), stick.join("revoked.pem")).unwrap();
    // Its number is the time in seconds.
    thread::sleep(Duration::from_millis(1_100));
    done(safe.step("05-revocation-list.sh", &[]));
    let (code, said, _) = take(&service);
    assert!(code == 0 && said.contains("offline-issuing-1"), "{code} {said}");
    assert_eq!(served(), Some(fs::read(&file).unwrap()));
    assert!(service.cli(&["ca", "stops"]).ok().contains("revokes offline-issuing-1"));
    let service = service.restart();
    assert_eq!(served(), Some(fs::read(&file).unwrap()));
    let (code, _, said) = try_issue(&service, "offline", home.path());
    assert!(code == 6 && said.contains("issuing is stopped"), "{code} {said}");
}
