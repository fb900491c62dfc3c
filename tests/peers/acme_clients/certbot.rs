//! certbot: Debian's, and the one of PyPI, which also knows addresses and profiles.

use super::*;

/// A certbot with its folders in the town's home, and the name under which it keeps them.
struct Certbot<'t> {
    town: &'t Town,
    program: PathBuf,
}

impl Certbot<'_> {
    fn command(&self, args: &[&str]) -> Command {
        let folder = |name: &str| self.town.path(name).display().to_string();
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .args(["--config-dir", &folder("certbot"), "--work-dir", &folder("work")])
            .args(["--logs-dir", &folder("logs"), "--server", &self.town.directory(), "-n"])
            .env("REQUESTS_CA_BUNDLE", self.town.roots());
        command
    }

    #[track_caller]
    fn order(&self, how: &[&str]) {
        let args = ["certonly", "--agree-tos", "-m", "a@example.com"];
        run(&mut self.command(&[&args, how].concat()));
    }

    fn given(&self, name: &str) -> PathBuf {
        self.town.path("certbot/live").join(name).join("fullchain.pem")
    }

    fn proves_control_in_every_way_and_revokes(&self) {
        let town = self.town;
        let port = town.http.to_string();
        self.order(&["--standalone", "--http-01-port", &port, "-d", "alone.test"]);
        let serial = town.judge(&self.given("alone.test"), "alone.test");
        assert_eq!(town.state(&serial), "issued");

        let www = town.path("www").display().to_string();
        let server = town.web_server();
        self.order(&["--webroot", "-w", &www, "-d", "web.test"]);
        town.judge(&self.given("web.test"), "web.test");
        drop(server);

        let hook = town.dns_hook("hook", "_acme-challenge.$CERTBOT_DOMAIN.", "$CERTBOT_VALIDATION");
        let by_dns = ["--manual", "--preferred-challenges", "dns", "--manual-auth-hook", &hook];
        self.order(&[&by_dns[..], &["-d", "*.wild.test"]].concat());
        town.judge(&self.given("wild.test"), "*.wild.test");

        let reason = ["--reason", "superseded", "--no-delete-after-revoke"];
        run(&mut self.command(&[&["revoke", "--cert-name", "alone.test"], &reason[..]].concat()));
        assert_eq!(town.state(&serial), "revoked");

        // It renews what it still holds by itself, with the account and the way that it kept.
        let before = town.judge(&self.given("alone.test"), "alone.test");
        let renew = ["renew", "--cert-name", "alone.test", "--force-renewal"];
        run(&mut self.command(&[&renew[..], &["--no-random-sleep-on-renew"]].concat()));
        assert_ne!(town.judge(&self.given("alone.test"), "alone.test"), before);
    }
}

#[test]
fn certbot_of_debian_proves_control_in_every_way_it_knows_and_revokes() {
    let town = Town::start();
    let program = PathBuf::from("certbot");
    Certbot { town: &town, program }.proves_control_in_every_way_and_revokes();
}

#[test]
fn certbot_of_pypi_does_so_too_and_knows_addresses_and_profiles() {
    let town = Town::start();
    let program = judges::venv().join("bin/certbot");
    let certbot = Certbot { town: &town, program };
    certbot.proves_control_in_every_way_and_revokes();

    let port = town.http.to_string();
    let alone = ["--standalone", "--http-01-port", &port];
    certbot.order(&[&alone[..], &["--ip-address", "127.0.0.1"]].concat());
    town.judge(&certbot.given("127.0.0.1"), "127.0.0.1");

    // It asks when to renew, and is told that what was revoked is due; it would ask again six hours later.
    certbot.order(&[&alone[..], &["-d", "early.test"]].concat());
    let serial = town.judge(&certbot.given("early.test"), "early.test");
    let renew = ["renew", "--cert-name", "early.test", "--no-random-sleep-on-renew"];
    town.service.cli(&["--yes", "ca", "revoke", "--serial", &serial]).ok();
    run(&mut certbot.command(&renew));
    assert_ne!(town.judge(&certbot.given("early.test"), "early.test"), serial);

    let profile = ["-d", "profile.test", "--required-profile", "server-tls"];
    certbot.order(&[&alone[..], &profile].concat());
    town.judge(&certbot.given("profile.test"), "profile.test");

    // By itself it renews what is near its end, or what we say is to be replaced (RFC 9773): here by nothing but that.
    let serial = |name: &str| town.judge(&certbot.given(name), name);
    let before = (serial("127.0.0.1"), serial("profile.test"));
    let leaf = certbot.given("profile.test").display().to_string();
    let block = ["ca", "block-key", &leaf, "--reason", "found in a repository"];
    town.service.cli(&block).ok();
    run(&mut certbot.command(&["renew", "--no-random-sleep-on-renew"]));
    assert_eq!(serial("127.0.0.1"), before.0);
    assert_ne!(serial("profile.test"), before.1);

    let unknown = ["certonly", "--required-profile", "nonsense", "-d", "none.test"];
    let refused = certbot.command(&[&unknown[..], &alone].concat()).output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(
        said.contains("`nonsense` is not a profile here: use server-tls"),
        "{said}"
    );
}
