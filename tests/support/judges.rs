//! Independent judges of certificates and CRLs: OpenSSL, GnuTLS and pkilint. Nothing at WARNING or above passes.
//!
//! A judge that is missing fails the test and says how to get it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use chancery::x509::pem;

/// A folder for one test's files, and the programs.
pub struct Bench {
    dir: tempfile::TempDir,
    count: AtomicUsize,
}

impl Bench {
    pub fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            count: AtomicUsize::new(0),
        }
    }

    /// Writes a file of its own.
    fn file(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self
            .dir
            .path()
            .join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        fs::write(&path, content).unwrap();
        path
    }

    fn certificates(&self, chain: &[Vec<u8>]) -> PathBuf {
        self.file(pem::encode_chain(chain))
    }

    /// Judges a chain, leaf first and root last, in all its parts.
    pub fn chain(&self, chain: &[Vec<u8>]) {
        let root = self.certificates(&chain[chain.len() - 1..]);
        let all = self.certificates(chain);
        let leaf = self.certificates(&chain[..1]);
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-check_ss_sig", "-policy_check"]);
        verify.arg("-CAfile").arg(&root).arg("-untrusted").arg(&all).arg(&leaf);
        run(verify);
        let mut verify = Command::new("certtool");
        verify
            .arg("--verify")
            .arg("--load-ca-certificate")
            .arg(&root)
            .arg("--infile")
            .arg(&all);
        run(verify);
        for certificate in chain {
            let path = self.certificates(std::slice::from_ref(certificate));
            let mut info = Command::new("certtool");
            info.arg("--certificate-info").arg("--infile").arg(&path);
            let shown = run(info);
            // GnuTLS 3.7 does not know that OCSP responders are not to be checked (RFC 6960 §4.2.2.2.1), and is older than
            // noRevAvail (RFC 9608).
            let shown = shown
                .to_lowercase()
                .replace("unknown extension 1.3.6.1.5.5.7.48.1.5", "")
                .replace("unknown extension 2.5.29.56", "");
            assert!(!shown.contains("unknown extension"), "{shown}");
            pkilint("lint_pkix_cert", &[], &[&path]);
        }
        for pair in chain.windows(2) {
            let issuer = self.certificates(&pair[1..]);
            let subject = self.certificates(&pair[..1]);
            let program = "lint_pkix_signer_signee_cert_chain";
            // It takes every RSA signature for PKCS#1. Those before have verified it.
            let not_ours = is_signed_by_pss(&pair[0]).then_some("pkix.signature_verification_failed (ERROR)");
            pkilint_but(program, &[], &[&issuer, &subject], not_ours);
        }
    }

    /// Judges a CRL by the CA whose list it is. `of_cas` for a root's.
    pub fn crl(&self, crl: &[u8], issuer: &[u8], of_cas: bool) {
        let issuer = self.certificates(&[issuer.to_vec()]);
        let list = self.file(pem::encode("X509 CRL", crl));
        let mut verify = Command::new("openssl");
        verify
            .args(["crl", "-noout", "-CAfile"])
            .arg(&issuer)
            .arg("-in")
            .arg(&list);
        let said = run(verify);
        assert!(said.contains("verify OK"), "{said}");
        let mut verify = Command::new("certtool");
        verify
            .arg("--verify-crl")
            .arg("--load-ca-certificate")
            .arg(&issuer)
            .arg("--infile")
            .arg(&list);
        let said = run(verify);
        assert!(said.contains("Verified"), "{said}");
        let kind = if of_cas { "ARL" } else { "CRL" };
        pkilint("lint_crl", &["-t", kind, "-p", "PKIX"], &[&list]);
    }

    /// A request about the leaf of a chain, as `openssl ocsp` makes it; with a nonce, if that is not in the options.
    pub fn ocsp_request(&self, chain: &[Vec<u8>], options: &[&str]) -> Vec<u8> {
        let (leaf, issuer) = (self.certificates(&chain[..1]), self.certificates(&chain[1..2]));
        let request = self.file("");
        let mut ask = Command::new("openssl");
        ask.arg("ocsp")
            .args(options)
            .arg("-issuer")
            .arg(&issuer)
            .arg("-cert")
            .arg(&leaf);
        ask.arg("-reqout").arg(&request);
        run(ask);
        fs::read(&request).unwrap()
    }

    /// Judges an OCSP response about the leaf of a chain, root last, and gives what OpenSSL read in it.
    pub fn ocsp_response(&self, chain: &[Vec<u8>], request: &[u8], response: &[u8]) -> String {
        let root = self.certificates(&chain[chain.len() - 1..]);
        let issuer = self.certificates(&chain[1..2]);
        let (request, response) = (self.file(request), self.file(response));
        let mut verify = Command::new("openssl");
        verify.args(["ocsp", "-resp_text", "-CAfile"]).arg(&root);
        verify.arg("-verify_other").arg(&issuer);
        verify.arg("-reqin").arg(&request).arg("-respin").arg(&response);
        let said = run(verify);
        assert!(said.contains("Response verify OK"), "{said}");
        let mut verify = Command::new("ocsptool");
        verify.arg("--verify-response").arg("--load-trust").arg(&issuer);
        verify.arg("--infile").arg(&response);
        let verified = run(verify);
        assert!(verified.contains("Success"), "{verified}");
        pkilint("lint_ocsp_response", &[], &[&response]);
        said
    }

    /// What OpenSSL says about a chain when it reads the CRLs.
    pub fn verify_with_crls(&self, chain: &[Vec<u8>], crls: &[Vec<u8>]) -> Result<String, String> {
        let root = self.certificates(&chain[chain.len() - 1..]);
        let all = self.certificates(chain);
        let leaf = self.certificates(&chain[..1]);
        let lists: String = crls.iter().map(|crl| pem::encode("X509 CRL", crl)).collect();
        let lists = self.file(lists);
        let mut verify = Command::new("openssl");
        verify
            .args(["verify", "-x509_strict", "-crl_check_all", "-CRLfile"])
            .arg(&lists);
        verify.arg("-CAfile").arg(&root).arg("-untrusted").arg(&all).arg(&leaf);
        outcome(verify)
    }
}

/// The findings that are not ours to mend: pkilint knows a fixed list of URI schemes, without `spiffe`, and takes a host
/// name by RFC 1034, while wildcards are RFC 9525's (RFC 5280 §4.2.1.6 leaves them open).
const NOT_OURS: [&str; 2] = [
    "pkix.invalid_uri_syntax (ERROR): Invalid URI syntax: \"spiffe://",
    "pkix.invalid_domain_name_syntax (ERROR): Invalid domain name syntax: \"*.",
];

/// Where `.ci/setup` puts what comes from PyPI.
pub fn venv() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-venv");
    std::env::var_os("CHANCERY_TEST_VENV").map_or(default, PathBuf::from)
}

fn is_signed_by_pss(certificate: &[u8]) -> bool {
    let certificate = openssl::x509::X509::from_der(certificate).unwrap();
    certificate.signature_algorithm().object().nid() == openssl::nid::Nid::RSASSAPSS
}

fn pkilint(program: &str, options: &[&str], files: &[&PathBuf]) {
    pkilint_but(program, options, files, None);
}

/// All but findings that begin so.
fn pkilint_but(program: &str, options: &[&str], files: &[&PathBuf], not_ours: Option<&str>) {
    let mut lint = Command::new(venv().join("bin").join(program));
    lint.arg("lint").args(["-s", "WARNING"]).args(options).args(files);
    let Err(said) = outcome(lint) else { return };
    // `Validator @ place`, then its findings, indented.
    let findings: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with(' '))
        .map(str::trim)
        .collect();
    let ours = findings
        .iter()
        .filter(|line| !NOT_OURS.iter().chain(&not_ours).any(|it| line.starts_with(it)))
        .count();
    assert!(!findings.is_empty() && ours == 0, "{program}:\n{said}");
}

#[track_caller]
fn run(command: Command) -> String {
    let shown = format!("{command:?}");
    outcome(command).unwrap_or_else(|said| panic!("{shown} failed:\n{said}"))
}

/// What the program said, by whether it was content.
fn outcome(mut command: Command) -> Result<String, String> {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("cannot run {command:?}: {error}; run `make setup`"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(said) } else { Err(said) }
}
