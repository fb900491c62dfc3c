//! Flag > environment (`CHANCERY_*`) > file > default.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::exit::{Failure, Result};
use super::output::Format;
use crate::client;
use crate::id::Label;

/// Where a service on this machine listens.
const ADDRESS: &str = "https://127.0.0.1:8443";

/// Options that every command takes. Flag and environment are clap's.
#[derive(Args, Default)]
pub(super) struct Global {
    /// The service's address
    #[arg(
        long,
        global = true,
        env = "CHANCERY_ADDR",
        hide_env_values = true,
        value_name = "URL",
        help_heading = "Service"
    )]
    pub(super) addr: Option<String>,
    /// Roots to trust for the service, PEM
    #[arg(
        long,
        global = true,
        env = "CHANCERY_CACERT",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Service"
    )]
    pub(super) cacert: Option<PathBuf>,
    /// Your certificate chain, PEM
    #[arg(
        long,
        global = true,
        env = "CHANCERY_CLIENT_CERT",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Service"
    )]
    pub(super) client_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(
        long,
        global = true,
        env = "CHANCERY_CLIENT_KEY",
        hide_env_values = true,
        value_name = "FILE",
        help_heading = "Service"
    )]
    pub(super) client_key: Option<PathBuf>,
    /// How to write data; a table on a terminal, JSON otherwise
    #[arg(
        long,
        short,
        global = true,
        env = "CHANCERY_OUTPUT",
        hide_env_values = true,
        value_enum,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(super) output: Option<Format>,
    /// No messages and no progress on stderr, errors only
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Do not ask before what cannot be taken back
    #[arg(long, short, global = true, help_heading = "Output")]
    pub(super) yes: bool,
}

/// The vault that a command works in.
#[derive(Args)]
pub(super) struct VaultOption {
    /// The vault
    #[arg(long, env = "CHANCERY_VAULT", hide_env_values = true, value_name = "VAULT")]
    vault: Option<Label>,
}

/// The client's file, `~/.config/chancery/config.toml` or the one that `CHANCERY_CLIENT_CONFIG` names.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    addr: Option<String>,
    cacert: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
    vault: Option<Label>,
}

impl File {
    /// Reads the client's file; one that is not there is empty, unless it was named.
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    pub(super) fn read() -> Result<Self> {
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        if let Some(named) = variable("CHANCERY_CLIENT_CONFIG") {
            return Self::parse(Path::new(&named), true);
        }
        let folder = variable("XDG_CONFIG_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(variable("HOME")?).join(".config")));
        match folder {
            Some(folder) => Self::parse(&folder.join("chancery/config.toml"), false),
            None => Ok(Self::default()),
        }
    }

    fn parse(path: &Path, named: bool) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !named => return Ok(Self::default()),
            Err(e) => {
                return Err(Failure::usage(format!(
                    "the client's settings in `{}` cannot be read: {e}",
                    path.display()
                )));
            }
        };
        toml::from_str(&text)
            .map_err(|e| Failure::usage(format!("the client's settings in `{}` are wrong: {e}", path.display())))
    }
}

/// The connection by precedence.
pub(super) fn connection(global: &Global, file: &File) -> Result<client::Settings> {
    let certificate = global.client_cert.as_ref().or(file.client_cert.as_ref());
    let key = global.client_key.as_ref().or(file.client_key.as_ref());
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(client::IdentityFiles {
            certificate: certificate.clone(),
            key: key.clone(),
        }),
        (None, None) => None,
        (Some(_), None) => {
            return Err(Failure::usage(
                "a client certificate is given without its key: give --client-key or CHANCERY_CLIENT_KEY too",
            ));
        }
        (None, Some(_)) => {
            return Err(Failure::usage(
                "a client key is given without its certificate: give --client-cert or CHANCERY_CLIENT_CERT too",
            ));
        }
    };
    let Service { address, roots } = service(global, file);
    let roots = roots.ok_or_else(|| {
        Failure::usage("it is not said whom to trust: give the service's roots by --cacert or CHANCERY_CACERT")
    })?;
    Ok(client::Settings {
        address,
        roots,
        identity,
    })
}

/// Where the service is and, if it is said, whom to trust.
pub(super) struct Service {
    pub(super) address: String,
    pub(super) roots: Option<PathBuf>,
}

/// The service by precedence, without who is calling.
pub(super) fn service(global: &Global, file: &File) -> Service {
    let address = global.addr.as_ref().or(file.addr.as_ref());
    Service {
        address: address.cloned().unwrap_or_else(|| ADDRESS.to_owned()),
        roots: global.cacert.as_ref().or(file.cacert.as_ref()).cloned(),
    }
}

impl VaultOption {
    /// The vault by precedence.
    pub(super) fn resolve(&self, file: &File) -> Result<Label> {
        self.vault
            .as_ref()
            .or(file.vault.as_ref())
            .cloned()
            .ok_or_else(|| Failure::usage("it is not said which vault: give --vault or CHANCERY_VAULT"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        toml::from_str("addr = 'https://file:1'\ncacert = '/file.pem'\nvault = 'from-file'").unwrap()
    }

    #[test]
    fn a_flag_beats_the_file_and_the_file_beats_the_default() {
        let none = Global::default();
        let flag = Global {
            addr: Some("https://flag:1".into()),
            cacert: Some("/flag.pem".into()),
            ..Global::default()
        };
        assert_eq!(connection(&flag, &file()).unwrap().address, "https://flag:1");
        assert_eq!(connection(&flag, &file()).unwrap().roots, Path::new("/flag.pem"));
        assert_eq!(connection(&none, &file()).unwrap().address, "https://file:1");
        let no_addr = File { addr: None, ..file() };
        assert_eq!(connection(&none, &no_addr).unwrap().address, ADDRESS);
        let unsaid = VaultOption { vault: None };
        assert_eq!(unsaid.resolve(&file()).unwrap().as_str(), "from-file");
        assert!(unsaid.resolve(&File::default()).is_err());
    }

    #[test]
    fn half_an_identity_and_no_roots_are_refused() {
        let half = Global {
            client_cert: Some("/c.pem".into()),
            ..Global::default()
        };
        assert!(connection(&half, &file()).is_err());
        assert!(connection(&Global::default(), &File::default()).is_err());
    }

    #[test]
    fn an_unknown_setting_is_refused_with_its_place() {
        let error = toml::from_str::<File>("addr = 'x'\nadress = 'y'").unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
}
