//! lego, as Debian ships it.

use super::*;

#[test]
fn lego_proves_control_by_http_by_tls_and_by_dns_renews_and_revokes() {
    let town = Town::start();
    let hook = town.program(
        "dns",
        &format!("[ \"$1\" = present ] || exit 0\n{}", town.names.set_txt("$2", "$3")),
    );
    let lego = |args: &[&str]| {
        run(Command::new("lego")
            .args(["--server", &town.directory(), "--accept-tos"])
            .args(["--email", "a@example.com", "--path"])
            .arg(town.path("lego"))
            .args(args)
            .env("LEGO_CA_CERTIFICATES", town.roots())
            .env("EXEC_PATH", &hook));
    };
    let given = |name: &str| town.path("lego/certificates").join(format!("{name}.crt"));

    let address = |port: u16| format!("127.0.0.1:{port}");
    let by_http = ["--http", "--http.port", &address(town.http), "-d", "http.test"];
    lego(&[&by_http[..], &["run"]].concat());
    let serial = town.judge(&given("http.test"), "http.test");
    lego(&["--tls", "--tls.port", &address(town.tls), "-d", "tls.test", "run"]);
    town.judge(&given("tls.test"), "tls.test");
    // It would ask the name's own servers whether the record is there; these names have none.
    let by_dns = [
        "--dns",
        "exec",
        "--dns.disable-cp",
        "--dns.resolvers",
        &town.names.resolver(),
    ];
    lego(&[&by_dns[..], &["-d", "*.dns.test", "run"]].concat());
    town.judge(&given("_.dns.test"), "*.dns.test");

    lego(&[&by_http[..], &["renew", "--days", "100000", "--no-random-sleep"]].concat());
    let renewed = town.judge(&given("http.test"), "http.test");
    assert_ne!(renewed, serial);

    lego(&["-d", "http.test", "revoke"]);
    assert_eq!(town.state(&renewed), "revoked");
}
