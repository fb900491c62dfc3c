//! What the configuration says of a sink.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::{Error, Result};
use crate::id::Label;
use crate::secret::SecretRef;
use crate::webhook::Webhook;

/// One `[[audit.sink]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SinkSettings {
    /// Its name; under it is kept how far it has come.
    pub name: Label,
    /// What it is.
    pub kind: Kind,
    /// What becomes of acts while it takes no records.
    #[serde(default)]
    pub on_failure: OnFailure,
    /// Which record a new sink gets first.
    #[serde(default)]
    pub begin: Begin,
    /// `refuse`: it may be behind by so many records.
    #[serde(default = "max_behind_records")]
    pub max_behind_records: u64,
    /// `refuse`: a record may wait for it so many seconds.
    #[serde(default = "max_behind_s")]
    pub max_behind_s: u32,
    /// How long it may take over one batch, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// `file`: where it lies.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// `syslog`: `/dev/log` or another socket, `udp://address:port` or `tcp://address:port`.
    #[serde(default)]
    pub address: Option<String>,
    /// `webhook`: where batches are sent.
    #[serde(default)]
    pub url: Option<String>,
    /// `webhook`: what they are signed with, at least 24 bytes; after `whsec_` they are base64.
    #[serde(default)]
    pub key: Option<SecretRef>,
    /// `webhook`: the roots that its certificate must come from, as PEM, in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// `webhook`: how a batch is written.
    #[serde(default)]
    pub format: Option<Format>,
}

/// What a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Lines in a file.
    File,
    /// Lines on stdout.
    Stdout,
    /// RFC 5424.
    Syslog,
    /// HTTP POST.
    Webhook,
}

/// What becomes of acts while a sink takes no records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They go on; the log holds what the sink lacks.
    #[default]
    Buffered,
    /// They are refused once the sink is too far behind.
    Refuse,
}

/// Which record a new sink gets first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Begin {
    /// The log's first.
    First,
    /// The next one.
    #[default]
    Now,
}

/// How a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// As an array.
    #[default]
    Json,
    /// One object a line.
    Ndjson,
}

const fn max_behind_records() -> u64 {
    10_000
}

const fn max_behind_s() -> u32 {
    30
}

const fn timeout_s() -> u32 {
    10
}

/// Where a sink's records go.
pub(super) enum Target {
    File(PathBuf),
    Stdout,
    Socket(PathBuf),
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Webhook(Box<Webhook>, Format),
}

impl SinkSettings {
    /// Where its records go. Reads the key of a webhook, and the roots that it is to trust.
    ///
    /// # Errors
    /// `Invalid`, with the sink's name and what is wrong.
    pub(super) fn target(&self) -> Result<Target> {
        let wrong = |why: &str| Error::invalid(format!("audit sink `{}`: {why}", self.name));
        let of = [
            ("path", self.path.is_some(), Kind::File, true),
            ("address", self.address.is_some(), Kind::Syslog, true),
            ("url", self.url.is_some(), Kind::Webhook, true),
            ("key", self.key.is_some(), Kind::Webhook, true),
            ("ca", self.ca.is_some(), Kind::Webhook, false),
            ("format", self.format.is_some(), Kind::Webhook, false),
        ];
        for (field, is_given, kind, is_needed) in of {
            match (is_given, kind == self.kind) {
                (true, false) => return Err(wrong(&format!("`{field}` is not for a sink of this kind: remove it"))),
                (false, true) if is_needed => return Err(wrong(&format!("`{field}` is missing: give it"))),
                _ => {}
            }
        }
        if self.timeout_s == 0 {
            return Err(wrong(
                "`timeout_s` is 0, so nothing would ever be taken: give 1 or more",
            ));
        }
        let target = match (self.kind, &self.path, &self.address, &self.url, &self.key) {
            (Kind::File, Some(path), ..) => Target::File(path.clone()),
            (Kind::Stdout, ..) => Target::Stdout,
            (Kind::Syslog, _, Some(address), ..) => socket(address).ok_or_else(|| {
                wrong("`address` is none: give a path, `udp://192.0.2.1:514` or `tcp://192.0.2.1:601`")
            })?,
            (Kind::Webhook, _, _, Some(url), Some(key)) => {
                let limit = Duration::from_secs(self.timeout_s.into());
                let webhook = Webhook::new(url, Some(&key.read()?), self.ca.as_deref(), limit);
                let webhook = webhook.map_err(|error| wrong(error.public()))?;
                Target::Webhook(Box::new(webhook), self.format.unwrap_or_default())
            }
            _ => return Err(wrong("something is missing")),
        };
        if self.on_failure == OnFailure::Refuse && matches!(target, Target::Udp(_)) {
            return Err(wrong(
                "nobody hears whether udp arrived, so nothing can be refused by it: take another way, or `buffered`",
            ));
        }
        Ok(target)
    }
}

/// Whether all sinks are well said, and each has its own name.
///
/// # Errors
/// `Invalid`, with the sink's name and what is wrong.
pub(in crate::audit) fn check(sinks: &[SinkSettings]) -> Result<()> {
    let mut names = BTreeSet::new();
    for sink in sinks {
        if !names.insert(sink.name.as_str()) {
            return Err(Error::invalid(format!(
                "two audit sinks are named `{}`: give each its own name",
                sink.name
            )));
        }
        sink.target()?;
    }
    Ok(())
}

fn socket(address: &str) -> Option<Target> {
    if address.starts_with('/') {
        return Some(Target::Socket(address.into()));
    }
    let (scheme, address) = address.split_once("://")?;
    let address = address.parse().ok()?;
    match scheme {
        "udp" => Some(Target::Udp(address)),
        "tcp" => Some(Target::Tcp(address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> SinkSettings {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_sinks_name() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("key");
        std::fs::write(&key, "0123456789abcdef01234567").unwrap();
        let short = folder.path().join("short");
        std::fs::write(&short, "0123456789").unwrap();
        let hook = |url: &str, key: &std::path::Path| {
            format!(
                "name = 'a'\nkind = 'webhook'\nurl = '{url}'\nkey = {{ file = '{}' }}",
                key.display()
            )
        };
        for (text, why) in [
            ("name = 'a'\nkind = 'file'".to_owned(), "`path` is missing"),
            (
                "name = 'a'\nkind = 'stdout'\npath = '/x'".to_owned(),
                "`path` is not for",
            ),
            (
                "name = 'a'\nkind = 'syslog'\naddress = 'log'".to_owned(),
                "`address` is none",
            ),
            (hook("http://192.0.2.1/", &key), "not encrypted"),
            (hook("https://me:pass@192.0.2.1/", &key), "user or a password"),
            (
                format!("{}\nca = '{}'", hook("https://192.0.2.1/", &key), key.display()),
                "no certificate",
            ),
            ("name = 'a'\nkind = 'stdout'\nca = '/x'".to_owned(), "`ca` is not for"),
            (hook("https://192.0.2.1/", &short), "24 bytes"),
            (
                "name = 'a'\nkind = 'syslog'\naddress = 'udp://192.0.2.1:514'\non_failure = 'refuse'".to_owned(),
                "nobody hears",
            ),
        ] {
            let text = check(&[read(&text)]).unwrap_err().detail();
            assert!(text.contains("`a`") && text.contains(why), "{text}");
            assert!(!text.contains("me:pass"), "{text}");
        }
        check(&[read(&hook("https://192.0.2.1/", &key))]).unwrap();
        check(&[read(&hook("http://127.0.0.1:8000/", &key))]).unwrap();
        let twice = [read("name = 'a'\nkind = 'stdout'"), read("name = 'a'\nkind = 'stdout'")];
        assert!(check(&twice).is_err());
    }
}
