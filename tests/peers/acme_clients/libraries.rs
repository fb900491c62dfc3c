//! Libraries: acme-client of Ruby (Debian's) and acme-client of npm, each by the few lines that its page shows.

use super::*;

/// A program of ours beside this file, given the directory, the folder of challenges, a name, and a file to write the
/// chain to. It revokes what it got.
fn source(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/peers/acme_clients")
        .join(file)
}

#[track_caller]
fn gets_and_revokes(interpreter: &str, file: &str, settings: impl FnOnce(&mut Command, &Town)) {
    let town = Town::start();
    let _server = town.web_server();
    let chain = town.path("chain.pem");
    let mut command = Command::new(interpreter);
    command
        .arg(source(file))
        .arg(town.directory())
        .arg(town.challenges())
        .arg("library.test")
        .arg(&chain);
    settings(&mut command, &town);
    run(&mut command);
    let serial = town.judge(&chain, "library.test");
    assert_eq!(town.state(&serial), "revoked");
}

#[test]
fn acme_client_of_ruby_is_served_and_revokes() {
    gets_and_revokes("ruby", "client.rb", |ruby, town| {
        ruby.arg(town.roots());
    });
}

#[test]
fn acme_client_of_npm_is_served_and_revokes() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/npm/node_modules");
    assert!(modules.exists(), "npm's acme-client is not here; `.ci/setup` brings it");
    gets_and_revokes("node", "client.js", |node, town| {
        node.env("NODE_PATH", modules).env("NODE_EXTRA_CA_CERTS", town.roots());
    });
}
