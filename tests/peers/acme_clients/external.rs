//! Accounts that are bound to an external one, by clients that need show nothing then.

use super::*;

impl Town {
    /// A key for accounts that may have any name below `parent`: its id and its value.
    fn external_key(&self, parent: &str) -> [String; 2] {
        let identity = format!("spiffe://chancery.test/{parent}");
        self.service.cli(&["identity", "create", "--id", &identity]).ok();
        let allow = format!("*.{parent}");
        let create = [
            "acme",
            "eab",
            "create",
            "--identity",
            &identity,
            "--allow",
            &allow,
            "--trusted",
        ];
        let key: Value = serde_json::from_str(&self.service.cli(&create).ok()).unwrap();
        ["kid", "hmac_key"].map(|name| key[name].as_str().unwrap().to_owned())
    }

    /// Whose the only account is.
    fn holder(&self) -> String {
        let listed = self.service.cli(&["acme", "account", "list"]).ok();
        let listed: Value = serde_json::from_str(&listed).unwrap();
        listed[0]["identity"].as_str().unwrap().to_owned()
    }
}

#[test]
fn certbot_binds_its_account_and_need_show_nothing() {
    let town = Town::start();
    let [kid, value] = town.external_key("certbot.test");
    let folder = |name: &str| town.path(name).display().to_string();
    // Nobody answers at this port: nothing is looked at.
    let alone = ["--standalone", "--http-01-port", &free_port().to_string()];
    run(Command::new("certbot")
        .args([
            "certonly",
            "--agree-tos",
            "-m",
            "a@example.com",
            "-n",
            "-d",
            "a.certbot.test",
        ])
        .args(["--eab-kid", &kid, "--eab-hmac-key", &value])
        .args(alone)
        .args(["--config-dir", &folder("certbot"), "--work-dir", &folder("work")])
        .args(["--logs-dir", &folder("logs"), "--server", &town.directory()])
        .env("REQUESTS_CA_BUNDLE", town.roots()));
    town.judge(
        &town.path("certbot/live/a.certbot.test/fullchain.pem"),
        "a.certbot.test",
    );
    assert_eq!(town.holder(), "spiffe://chancery.test/certbot.test");
}

#[test]
fn lego_binds_its_account_and_need_show_nothing() {
    let town = Town::start();
    let [kid, value] = town.external_key("lego.test");
    run(Command::new("lego")
        .args([
            "--server",
            &town.directory(),
            "--accept-tos",
            "--email",
            "a@example.com",
        ])
        .args(["--eab", "--kid", &kid, "--hmac", &value, "--path"])
        .arg(town.path("lego"))
        .args(["--http", "--http.port", &format!("127.0.0.1:{}", free_port())])
        .args(["-d", "a.lego.test", "run"])
        .env("LEGO_CA_CERTIFICATES", town.roots()));
    town.judge(&town.path("lego/certificates/a.lego.test.crt"), "a.lego.test");
    assert_eq!(town.holder(), "spiffe://chancery.test/lego.test");
}
