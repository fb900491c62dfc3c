//! Web servers that get their certificates by themselves: Caddy, as Debian ships it.

use serde_json::json;

use super::*;

#[test]
fn caddy_gets_its_certificate_by_itself_and_staples_our_ocsp_answer() {
    let town = Town::start();
    let port = free_port();
    let settings = json!({
        "admin": {"disabled": true},
        "storage": {"module": "file_system", "root": town.path("caddy")},
        "apps": {
            "http": {"http_port": town.http, "https_port": port, "servers": {"one": {
                "listen": [format!("127.0.0.1:{port}")],
                "routes": [{"match": [{"host": ["caddy.test"]}], "handle": [{"handler": "static_response", "body": "at home"}]}],
            }}},
            "tls": {"automation": {"policies": [{"subjects": ["caddy.test"], "issuers": [{
                "module": "acme", "ca": town.directory(), "email": "a@example.com",
                "trusted_roots_pem_files": [town.roots()],
                "challenges": {"http": {"alternate_port": town.http}, "tls-alpn": {"alternate_port": town.tls}},
            }]}]}},
        },
    });
    let file = town.path("caddy.json");
    fs::write(&file, settings.to_string()).unwrap();
    let home = town.path("home");
    // The certificate names the service by its zone, which no DNS knows here.
    let hosts = town.path("hosts");
    fs::write(&hosts, "127.0.0.1 localhost chancery.test\n").unwrap();
    let start = |command: &mut Command| {
        seeing(command, &hosts, "/etc/hosts");
        command
            .args(["caddy", "run", "--config"])
            .arg(&file)
            .env("HOME", &home)
            .env("XDG_DATA_HOME", &home)
            .env("XDG_CONFIG_HOME", &home);
    };
    let mut caddy = Running::start(Path::new("unshare"), start, &town.path("caddy.log"));

    let mut look = Command::new("curl");
    look.args(["--silent", "--fail", "--cert-status", "--cacert"])
        .arg(town.roots())
        .args(["--resolve", &format!("caddy.test:{port}:127.0.0.1")])
        .arg(format!("https://caddy.test:{port}/"));
    let mut said = Vec::new();
    caddy.wait_until("serving with a stapled OCSP answer", || {
        let answer = look.output().unwrap();
        said = answer.stdout;
        answer.status.success()
    });
    assert_eq!(said, b"at home");
}
