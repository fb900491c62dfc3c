//! An order and the profile that it began with.

use std::fs;
use std::path::Path;

use chancery::x509::chain::Facts;
use chancery::x509::pem;

use crate::house::{Acme, cli, cli_text};
use crate::support::acme::Client;
use crate::support::postgres::Postgres;
use crate::support::softhsm::with_token;

/// How long the certificate of an order lives, in seconds.
async fn life(client: &Client, order: &str, name: &str) -> u64 {
    client.until(order, "ready").await;
    client.finalize(order, &[name]).await.0.is(200);
    let done = client.until(order, "valid").await;
    let chain = client.get(done["certificate"].as_str().unwrap()).await.is(200).text();
    let leaf = &pem::decode_all(pem::CERTIFICATE, &chain).unwrap()[0];
    let validity = Facts::read(leaf).unwrap().validity;
    validity.not_after.since(validity.not_before).as_secs()
}

#[test]
fn the_versions_of_profiles_are_listed_and_shown() {
    let listed = cli(&["ca", "profile", "list"]);
    let listed = listed.as_array().unwrap();
    assert!(listed.len() > 5 && listed.iter().all(|one| one["current"] == true));
    let shown = cli(&["ca", "profile", "show", "--name", "server-tls"]);
    let (version, text) = (shown["version"].as_str().unwrap(), shown["text"].as_str().unwrap());
    assert!(
        listed
            .iter()
            .any(|one| one["version"] == version && one["name"] == "server-tls")
    );
    let toml = cli_text(&[
        "ca",
        "profile",
        "show",
        "--name",
        "server-tls",
        "--version",
        version,
        "--toml",
    ]);
    assert_eq!(toml, text);
    assert_eq!(
        toml,
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pki/profiles/server-tls.toml")).unwrap()
    );
}

#[test]
fn r04_an_order_keeps_the_profile_it_began_with_where_another_node_has_read_another_file() {
    with_token(|token| async move {
        let folder = token.dir().join("profiles");
        fs::create_dir(&folder).unwrap();
        for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("pki/profiles")).unwrap() {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            let text = text.replace("default_validity_s = 604_800", "default_validity_s = 3600");
            fs::write(folder.join(path.file_name().unwrap()), text).unwrap();
        }
        let postgres = Postgres::start();
        let before = Acme::open_on(token, &postgres.database(), "n1", "").await;
        let client = before.client().await;
        let (order, _) = client.order(&["a.test"]).await;
        client.authorize(&before.world, &order).await;

        let after = before.beside_with("n2", &format!("[ca]\nprofiles = {folder:?}")).await;
        let client = client.over(after.transport());
        assert_eq!(life(&client, &order, "a.test").await, 604_800 + 300 - 1);
        let (order, _) = client.order(&["a.test"]).await;
        client.authorize(&after.world, &order).await;
        assert_eq!(life(&client, &order, "a.test").await, 3_600 + 300 - 1);
    });
}
