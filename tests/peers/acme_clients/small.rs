//! The small ones that Debian ships: dehydrated, acme-tiny, uacme.

use super::*;

#[test]
fn dehydrated_is_served_and_revokes() {
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
}

#[test]
fn acme_tiny_is_served() {
    let town = Town::start();
    let _server = town.web_server();

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

#[test]
fn uacme_is_served_and_revokes() {
    let town = Town::start();
    let _server = town.web_server();
    let answer = town.program(
        "hook",
        &format!(
            "[ \"$2\" = http-01 ] || exit 1\n[ \"$1\" = begin ] && printf %s \"$5\" > '{}'/\"$4\"\nexit 0",
            town.challenges().display()
        ),
    );
    // It trusts what the system trusts and cannot be told otherwise, so it sees another list of roots.
    let roots = town.path("roots.pem");
    fs::copy(town.roots(), &roots).unwrap();
    let uacme = |args: &[&str]| {
        let mut command = Command::new("unshare");
        seeing(&mut command, &roots, "/etc/ssl/certs/ca-certificates.crt");
        run(command
            .args(["uacme", "-a", &town.directory(), "-c"])
            .arg(town.path("uacme"))
            .args(args));
    };
    uacme(&["-y", "new"]);
    uacme(&["-h", &answer, "issue", "uacme.test"]);
    let given = town.path("uacme/uacme.test/cert.pem");
    let serial = town.judge(&given, "uacme.test");
    uacme(&["revoke", &given.display().to_string()]);
    assert_eq!(town.state(&serial), "revoked");
}
