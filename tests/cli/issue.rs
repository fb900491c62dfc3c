//! `cert issue` for a request, for a key that is kept and for one that is not, in every form; `cert inspect`.

use std::os::unix::fs::PermissionsExt;

use ::chancery::x509::chain::Facts;
use ::chancery::x509::{key, pem};
use openssl::pkcs7::Pkcs7;
use openssl::pkcs12::Pkcs12;
use rcgen::{CertificateParams, KeyPair};

use crate::answers::{chancery, ends};
use crate::service::FakeService;

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_key_is_made_kept_and_used_again() {
    let service = FakeService::start(&[]);
    let path = service.file("web.key");
    let shown = path.display();
    let command =
        format!("cert issue --profile server-tls --key {shown} --san web.test --san 10.0.0.1 --idempotency-key k1");
    let first = chancery(&service, &command, b"");
    assert_eq!(first.status.code(), Some(0), "{first:?}");
    let chain = pem::decode_all(pem::CERTIFICATE, text(&first.stdout)).unwrap();
    assert_eq!(chain.len(), 2);
    assert!(!text(&first.stdout).contains("PRIVATE"), "the key is in its file only");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let kept = KeyPair::from_pem(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let spki_of = |chain: &[Vec<u8>]| Facts::read(&chain[0]).unwrap().spki_sha256;
    let again = chancery(&service, &format!("{command} --key-type ec-p256"), b"");
    let second = pem::decode_all(pem::CERTIFICATE, text(&again.stdout)).unwrap();
    assert_eq!(spki_of(&chain), spki_of(&second));
    assert_eq!(kept.public_key_raw().len(), 65);
    let asked = service.asked();
    assert_eq!(asked[0].idempotency_key.as_deref(), Some("k1"));
    assert!(asked.iter().all(|asked| !text(&asked.body).contains("PRIVATE")));

    let other = chancery(&service, &format!("{command} --key-type rsa-2048"), b"");
    ends(&other, 2, b"", "holds a key of kind ec-p256");
    let nowhere = chancery(&service, "cert issue --profile p --key /nowhere/k --san a.test", b"");
    ends(&nowhere, 2, b"", "cannot be made");
    assert_eq!(service.asked().len(), 2, "what cannot be kept is not asked for");
}

#[test]
fn a_key_that_is_kept_nowhere_follows_the_chain() {
    let service = FakeService::start(&[]);
    let command = "cert issue --profile server-tls --key-type ed25519 --dns web.test";
    let made = chancery(&service, command, b"");
    let said = text(&made.stdout);
    let leaf = &pem::decode_all(pem::CERTIFICATE, said).unwrap()[0];
    let key = pem::decode_all(pem::PRIVATE_KEY, said).unwrap().remove(0);
    let public = key::public(&::chancery::secret::Secret::new(key)).unwrap();
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).unwrap();
    assert_eq!(parsed.public_key().raw, public.spki());
    let json = chancery(&service, &format!("{command} -o json"), b"");
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(
        json["private_key_pem"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN PRIVATE KEY")
    );
    let lost = chancery(&service, &format!("{command} --format der"), b"");
    ends(&lost, 2, b"", "say where to keep it by --key");
}

#[test]
fn every_form_holds_the_chain() {
    let service = FakeService::start(&[]);
    let path = service.file("web.key");
    let password = service.file("password");
    std::fs::write(&password, "pass word\n").unwrap();
    let base = format!(
        "cert issue --profile server-tls --key {} --san web.test",
        path.display()
    );
    let form = |form: &str| chancery(&service, &format!("{base} --format {form}"), b"").stdout;
    assert_eq!(Facts::read(&form("der")).unwrap().names.len(), 1);
    let bundle = Pkcs7::from_der(&form("pkcs7")).unwrap();
    assert_eq!(bundle.signed().unwrap().certificates().unwrap().len(), 2);
    let store = form(&format!("pkcs12 --password-file {}", password.display()));
    let store = Pkcs12::from_der(&store).unwrap().parse2("pass word").unwrap();
    assert!(store.pkey.is_some() && store.cert.is_some() && store.ca.unwrap().len() == 1);
    let open = chancery(&service, &format!("{base} --format pkcs12"), b"");
    assert_eq!(open.status.code(), Some(2), "no key store without a password");
}

#[test]
fn a_file_and_a_server_are_looked_at_without_the_service() {
    let service = FakeService::start(&[]);
    for target in [
        service.file("client.pem").display().to_string(),
        service.url().replace("https://", ""),
    ] {
        let seen = chancery(&service, &format!("cert inspect {target} -o json"), b"");
        assert_eq!(seen.status.code(), Some(0), "{seen:?}");
        let seen: serde_json::Value = serde_json::from_slice(&seen.stdout).unwrap();
        assert_eq!(seen[0]["key"], "ec-p256");
        assert_eq!(seen[0]["signature_algorithm"], "ecdsa-with-sha256");
        assert_eq!(seen[0]["is_ca"], false);
    }
    assert!(service.asked().is_empty());
}

#[test]
fn certificates_of_others_are_judged_and_a_finding_ends_with_7() {
    let service = FakeService::start(&[]);
    let file = service.file("theirs.pem");
    let lint = |content: &str| {
        std::fs::write(&file, content).unwrap();
        chancery(&service, &format!("cert lint {} -o json", file.display()), b"")
    };
    let made = |name: &str| {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    };
    ends(&lint(&made("a.test")), 0, b"[]\n", "1 certificates keep the rules");
    let judged = lint(&made("a_b.test"));
    let found: serde_json::Value = serde_json::from_slice(&judged.stdout).unwrap();
    assert_eq!(judged.status.code(), Some(7), "{found}");
    assert_eq!(found[0]["lint"], "subject_alternative_name");
    assert_eq!(found[0]["rule"], "RFC 5280 §4.2.1.6");
    assert_eq!(lint("no certificate").status.code(), Some(1));
    std::fs::remove_file(&file).unwrap();
    let missing = chancery(&service, &format!("cert lint {}", file.display()), b"");
    assert_eq!(missing.status.code(), Some(2));
    assert!(service.asked().is_empty());
}
