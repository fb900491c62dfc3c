//! `chancery cert issue`.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::authority::OurAuthority;
use crate::cli::exit::{Failure, Result};
use crate::cli::parse;
use crate::cli::session::Session;
use crate::id::Label;
use crate::key_type::KeyType;
use crate::secret::Secret;
use crate::wire;
use crate::x509::name::Name;
use crate::x509::{bundle, csr, key, pem};

#[derive(Args)]
#[group(id = "subject", required = true, multiple = true, args = ["csr", "key", "key_type"])]
pub(super) struct Issue {
    /// The request, PKCS #10 in PEM; - for stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["key", "key_type", "names"])]
    csr: Option<PathBuf>,
    /// Instead of a request: the private key, PKCS #8 in PEM; made if the file is not there. It is never sent
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Make a key of this kind. Without --key it follows the chain on stdout
    #[arg(long, value_name = "KIND", value_parser = parse::key_type(&KeyType::SUBJECT))]
    key_type: Option<KeyType>,
    /// With a key: a name that is asked for, a host, an address or a URI; may be repeated
    #[arg(
        long = "san",
        visible_alias = "dns",
        value_name = "NAME",
        required_unless_present = "csr"
    )]
    names: Vec<Name>,
    /// The profile to issue by, for example server-tls
    #[arg(long, value_name = "PROFILE")]
    profile: Label,
    /// The lifetime, for example 12h; the profile's default if it is left out
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    ttl: Option<Duration>,
    #[command(flatten)]
    authority: OurAuthority,
    /// Tell this request from others: the same request with the same key gives the same certificate
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "pem")]
    format: Form,
    /// The password of the key store, for --format pkcs12
    #[arg(long, value_name = "FILE", required_if_eq("format", "pkcs12"))]
    password_file: Option<PathBuf>,
}

/// What is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    // The leaf alone, binary
    Der,
    // The chain, leaf first
    Pem,
    // Key and chain in a password-protected key store
    Pkcs12,
    // The chain as a bundle without signers
    Pkcs7,
}

/// What was issued, and the key if it stands nowhere else.
#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    issued: &'a wire::Issued,
    #[serde(skip_serializing_if = "Option::is_none")]
    private_key_pem: Option<&'a str>,
}

impl Issue {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let password = match (&self.password_file, self.format) {
            (Some(file), Form::Pkcs12) => Some(session.text_of(file).await?),
            _ => None,
        };
        // Before the service is asked: a key that cannot be kept must not be certified.
        let key = match (&self.csr, &self.key) {
            (Some(_), _) => None,
            (None, Some(path)) => Some(read_or_make(path, self.key_type)?),
            (None, None) => Some(key::generate(self.key_type.unwrap_or(KeyType::EcP256))?),
        };
        if self.csr.is_some() && self.format == Form::Pkcs12 {
            return Err(Failure::usage("a key store holds the key: give --key instead of --csr"));
        }
        // Where the key would be lost otherwise, it is written with the chain.
        let loose = key
            .as_ref()
            .filter(|_| self.key.is_none() && self.format != Form::Pkcs12);
        if loose.is_some() && (self.format != Form::Pem || io::stdout().is_terminal()) {
            return Err(Failure::usage(
                "the key would be lost or shown: say where to keep it by --key",
            ));
        }
        let csr_pem = match (&self.csr, &key) {
            (Some(path), _) => session.text_of(path).await?,
            (None, Some(key)) => pem::encode(pem::CERTIFICATE_REQUEST, &csr::create(key, &self.names)?),
            (None, None) => return Err(Failure::usage("say for which key: --csr, --key or --key-type")),
        };
        let issue = wire::Issue {
            profile: self.profile.clone(),
            csr_pem,
            ttl_s: self.ttl.map(|ttl| ttl.as_secs()),
        };
        let issued = session
            .client()?
            .issue(&self.authority.name, &issue, self.idempotency_key.as_deref())
            .await?;
        session
            .out
            .say(&format!("serial {}, until {}", issued.serial, issued.not_after));
        let private_key_pem = loose.map(|key| Zeroizing::new(pem::encode(pem::PRIVATE_KEY, key.expose())));
        let private_key_pem = private_key_pem.as_ref().map(|pem| pem.as_str());
        let bytes = self.bytes(&issued, key.as_ref(), private_key_pem, password.as_deref())?;
        let whole = Whole {
            issued: &issued,
            private_key_pem,
        };
        session.out.bare(bytes.expose(), &whole)
    }

    fn bytes(
        &self,
        issued: &wire::Issued,
        key: Option<&Secret>,
        loose_pem: Option<&str>,
        password: Option<&str>,
    ) -> Result<Secret> {
        if self.format == Form::Pem {
            let bytes = [issued.chain_pem.as_bytes(), loose_pem.unwrap_or_default().as_bytes()].concat();
            return Ok(Secret::new(bytes));
        }
        let chain = pem::decode_all(pem::CERTIFICATE, &issued.chain_pem)?;
        Ok(match (self.format, key, password) {
            (Form::Pkcs12, Some(key), Some(password)) => {
                let name = self.names.first().map(ToString::to_string).unwrap_or_default();
                bundle::pkcs12(&name, key, &chain, password.trim_end_matches(['\r', '\n']))?
            }
            (Form::Pkcs7, ..) => Secret::new(bundle::pkcs7(&chain)?),
            _ => Secret::new(chain.into_iter().next().unwrap_or_default()),
        })
    }
}

/// The key that is kept there, or a new one, kept there for its owner only.
fn read_or_make(path: &Path, kind: Option<KeyType>) -> Result<Secret> {
    let cannot = |what: &str, e: io::Error| Failure::usage(format!("`{}` cannot be {what}: {e}", path.display()));
    match std::fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => {
            let blocks = pem::decode_all(pem::PRIVATE_KEY, &text)
                .map_err(|e| Failure::usage(format!("`{}` holds no key: {e}", path.display())))?;
            let key = Secret::new(blocks.into_iter().next().unwrap_or_default());
            let found = key::public(&key)?.kind().to_string();
            match kind {
                Some(kind) if kind.as_str() != found => Err(Failure::usage(format!(
                    "`{}` holds a key of kind {found}: leave out --key-type or name another file",
                    path.display()
                ))),
                _ => Ok(key),
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let key = key::generate(kind.unwrap_or(KeyType::EcP256))?;
            let text = Zeroizing::new(pem::encode(pem::PRIVATE_KEY, key.expose()));
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|e| cannot("made", e))?;
            file.write_all(text.as_bytes())
                .and_then(|()| file.sync_all())
                .map_err(|e| cannot("written", e))?;
            Ok(key)
        }
        Err(e) => Err(cannot("read", e)),
    }
}
