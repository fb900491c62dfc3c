//! `chancery server` with a configuration of its own: one node, or several on one database.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::child::free_port;
use super::process::{Cli, Launch};
use super::softhsm::Token;

/// A `chancery server` on free ports, with its folder `folder/name`; the port of its TLS listener.
pub fn launch(token: &Token, folder: &Path, name: &str, url: &str) -> (Launch, u16) {
    let (tls, plain) = (free_port(), free_port());
    let (settings, (variable, value)) = (token.settings(), token.environment());
    let own = folder.join(name);
    fs::create_dir_all(&own).unwrap();
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let config = format!(
        "node = \"{name}\"\nzone = \"chancery.test\"\nlisten = \"127.0.0.1:{tls}\"\nhttp = \"127.0.0.1:{plain}\"\n\
         http_url = \"http://chancery.test\"\nfirst_token_file = {}\n\
         [environment]\n{variable} = {}\n[store]\nurl = {url:?}\n\
         [hsm]\nmodule = {}\ntoken_label = {:?}\npin = {{ file = {} }}\n[audit]\njournal = {}\n",
        quoted(&own.join("first-token")),
        quoted(&value),
        quoted(&settings.module),
        settings.token_label,
        quoted(&token.pin_file()),
        quoted(&own.join("audit")),
    );
    fs::write(own.join("chancery.toml"), config).unwrap();
    (Launch::server(&own.join("chancery.toml"), &own), tls)
}

/// What a client of it has in its environment, with the roots in `folder` and the identity in its own folder.
pub fn environment(folder: &Path, port: u16, identity: &Path) -> BTreeMap<String, String> {
    let file = |path: &Path| path.display().to_string();
    [
        ("CHANCERY_ADDR", format!("https://127.0.0.1:{port}")),
        ("CHANCERY_CACERT", file(&folder.join("roots.pem"))),
        ("CHANCERY_CLIENT_CERT", file(&identity.join("fullchain.pem"))),
        ("CHANCERY_CLIENT_KEY", file(&identity.join("key.pem"))),
        ("CHANCERY_VAULT", "kv-prod".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into()
}

/// Gets a certificate at `node` into `into`, by a join token.
pub fn enroll(node: &BTreeMap<String, String>, token: &str, into: &Path) {
    let dir = into.display().to_string();
    let mut env = node.clone();
    env.retain(|name, _| !name.starts_with("CHANCERY_CLIENT"));
    Cli::new(env, &["agent", "enroll", "--once", "--token-file", "-", "--dir", &dir])
        .stdin(token)
        .ok();
}

/// A configuration beside the one of `chancery dev` in `folder`, with another database and journal.
pub fn elsewhere(folder: &Path, name: &str, url: &str) -> PathBuf {
    let text = fs::read_to_string(folder.join("chancery.toml")).unwrap();
    let database = format!("sqlite:{}", folder.join("chancery.db").display());
    let journal = folder.join("audit").display().to_string();
    assert!(text.contains(&database) && text.contains(&journal), "{text}");
    let other = folder.join(name).display().to_string();
    let text = text.replace(&database, url).replace(&journal, &other);
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, text).unwrap();
    file
}
