//! `chancery key encrypt|decrypt|sign|verify|…`: filters from stdin to stdout, in raw bytes.
//!
//! An algorithm whose ciphertext has parts is written and read as nonce or initialization vector, ciphertext, tag.

use std::collections::BTreeMap;

use clap::{Args, Subcommand, ValueEnum};

use super::{Named, Versioned};
use crate::cli::exit::{Exit, Failure, Result};
use crate::cli::input::Source;
use crate::cli::output::Columns;
use crate::cli::parse;
use crate::cli::session::Session;
use crate::cli::settings::VaultOption;
use crate::id::ObjectName;
use crate::secret::Secret;
use crate::wire::{self, Base64, SecretBase64};

/// The most that is encrypted or signed at once, in bytes.
const DATA_MAX_BYTES: usize = 64 * 1024;
/// The same with what encrypting adds.
const CIPHERTEXT_MAX_BYTES: usize = DATA_MAX_BYTES + 1024;
/// The longest public key, however it is written.
const PEER_MAX_BYTES: usize = 8192;
/// The tag of `AES-GCM`.
const TAG_LEN: usize = 16;

const DATA_KEY_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("ALGORITHM", "algorithm"),
    ("CIPHERTEXT", "ciphertext"),
    ("PLAINTEXT", "plaintext"),
];

const VERDICT_COLUMNS: Columns = &[
    ("NAME", "name"),
    ("ORDINAL", "ordinal"),
    ("VERSION", "version"),
    ("ALGORITHM", "algorithm"),
    ("VALID", "valid"),
];

#[derive(Subcommand)]
pub(super) enum Verb {
    /// Encrypt what comes in
    Encrypt(Encrypt),
    /// Decrypt what comes in
    Decrypt(Encrypt),
    /// Decrypt what comes in and encrypt it again with a current version
    Reencrypt(Reencrypt),
    /// Make a data key: random bytes, in the clear and encrypted, both in base64
    DataKey(DataKey),
    /// Wrap the key that comes in
    Wrap(Wrap),
    /// Unwrap the key that comes in
    Unwrap(Wrap),
    /// Sign what comes in
    Sign(Sign),
    /// Verify the signature of what comes in; exits with 7 if it is wrong
    Verify(Verify),
    /// Agree on a secret with the holder of another key (ECDH), and write it: bare, for a key derivation function
    #[command(after_help = "Example: chancery key derive --name agreeing --peer theirs.pem > shared")]
    Derive(Derive),
    /// Write random bytes
    Random(Random),
}

#[derive(Args)]
pub(super) struct Encrypt {
    #[command(flatten)]
    of: Versioned,
    /// ENVELOPE, AES-GCM, AES-CBC, AES-CTR, RSA-OAEP-256, RSA-OAEP, RSA-OAEP-384 or RSA-OAEP-512; ENVELOPE or
    /// RSA-OAEP-256 if it is left out
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    from: From,
}

#[derive(Args)]
struct Beside {
    /// What is authenticated, not encrypted
    #[arg(long, value_name = "TEXT", default_value = "")]
    aad: String,
    /// A part of the encryption context: authenticated, not encrypted; may be repeated
    #[arg(long = "context", value_name = "KEY=VALUE", value_parser = parse::pair)]
    context: Vec<(String, String)>,
}

impl Beside {
    fn said(self) -> (Base64, BTreeMap<String, String>) {
        (Base64(self.aad.into_bytes()), BTreeMap::from_iter(self.context))
    }
}

#[derive(Args)]
struct From {
    /// Where it is: @FILE, or - for stdin
    // SECURITY: parsed later, because clap repeats a wrong value in its message, and this one may be the secret.
    #[arg(value_name = "FROM", default_value = "-")]
    from: String,
}

impl From {
    async fn read(self, most: usize, prompt: &str) -> Result<Secret> {
        self.from.parse::<Source>()?.read_up_to(most, prompt).await
    }
}

#[derive(Args)]
pub(super) struct Reencrypt {
    #[command(flatten)]
    named: Named,
    /// The key that encrypts; the same one if it is left out
    #[arg(long, value_name = "NAME")]
    to: Option<ObjectName>,
    #[command(flatten)]
    beside: Beside,
    #[command(flatten)]
    from: From,
}

#[derive(Args)]
pub(super) struct DataKey {
    #[command(flatten)]
    named: Named,
    /// Its length
    #[arg(long, value_name = "N", default_value_t = 32)]
    bytes: usize,
    /// Only encrypted, not in the clear
    #[arg(long)]
    wrapped_only: bool,
    #[command(flatten)]
    beside: Beside,
}

#[derive(Args)]
pub(super) struct Wrap {
    #[command(flatten)]
    of: Versioned,
    /// AES-KWP, AES-KW, RSA-OAEP-256, RSA-OAEP, RSA-OAEP-384 or RSA-OAEP-512; AES-KWP or RSA-OAEP-256 if it is left out
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    #[command(flatten)]
    from: From,
}

/// How an ECDSA signature is written.
#[derive(Clone, Copy, ValueEnum)]
enum SignatureFormat {
    /// ASN.1
    Der,
    /// r and s
    #[value(alias = "raw")]
    Jose,
}

impl SignatureFormat {
    fn said(self) -> String {
        match self {
            Self::Der => "der".to_owned(),
            Self::Jose => "jose".to_owned(),
        }
    }
}

#[derive(Args)]
struct Signing {
    #[command(flatten)]
    of: Versioned,
    /// ES256, ES384, ES512, ES256K, PS256, PS384, PS512, RS256, RS384, RS512, EdDSA, HS256, HS384 or HS512; the type's own,
    /// for RSA PS256, if it is left out
    #[arg(long, value_name = "ALGORITHM")]
    algorithm: Option<String>,
    /// How an ECDSA signature is written: ASN.1, or r and s
    #[arg(long, value_name = "FORMAT", value_enum, default_value = "der")]
    format: SignatureFormat,
    /// What comes in is the digest of the message
    #[arg(long)]
    digest: bool,
    #[command(flatten)]
    from: From,
}

#[derive(Args)]
pub(super) struct Sign {
    #[command(flatten)]
    signing: Signing,
}

#[derive(Args)]
pub(super) struct Verify {
    #[command(flatten)]
    signing: Signing,
    /// The file with the signature
    #[arg(long, value_name = "FILE")]
    signature: std::path::PathBuf,
}

#[derive(Args)]
pub(super) struct Derive {
    #[command(flatten)]
    of: Versioned,
    /// The file with the other one's public key, of the same curve: PEM, DER or JWK
    #[arg(long, value_name = "FILE")]
    peer: std::path::PathBuf,
}

#[derive(Args)]
pub(super) struct Random {
    #[command(flatten)]
    vault: VaultOption,
    /// How many
    #[arg(long, value_name = "N", default_value_t = 32)]
    bytes: usize,
}

impl Verb {
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        match self {
            Self::Encrypt(encrypt) => encrypt.encrypt(session).await,
            Self::Decrypt(decrypt) => decrypt.decrypt(session).await,
            Self::Reencrypt(reencrypt) => reencrypt.run(session).await,
            Self::DataKey(make) => make.run(session).await,
            Self::Wrap(wrap) => wrap.wrap(session).await,
            Self::Unwrap(unwrap) => unwrap.unwrap(session).await,
            Self::Sign(sign) => sign.run(session).await,
            Self::Verify(verify) => verify.run(session).await,
            Self::Derive(derive) => derive.run(session).await,
            Self::Random(random) => {
                let vault = session.vault(&random.vault)?;
                let drawn = session.client()?.random(&vault, random.bytes).await?;
                session.out.bare(drawn.random.0.expose(), &drawn)
            }
        }
    }
}

impl Encrypt {
    async fn encrypt(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let (aad, context) = self.beside.said();
        let ask = wire::Encrypt {
            plaintext: SecretBase64(self.from.read(DATA_MAX_BYTES, "what is to be encrypted").await?),
            algorithm: self.algorithm,
            version,
            aad,
            context,
        };
        let encrypted = client.encrypt(&vault, &named.name, &ask).await?;
        session.out.bare(&joined(&encrypted), &encrypted)
    }

    async fn decrypt(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let (aad, context) = self.beside.said();
        let sealed = self.from.read(CIPHERTEXT_MAX_BYTES, "what is to be decrypted").await?;
        let (iv, ciphertext, tag) = split(self.algorithm.as_deref(), sealed.expose())?;
        let ask = wire::Decrypt {
            ciphertext,
            iv,
            tag,
            algorithm: self.algorithm,
            version,
            aad,
            context,
        };
        let decrypted = client.decrypt(&vault, &named.name, &ask).await?;
        session.out.bare(decrypted.plaintext.0.expose(), &decrypted)
    }
}

impl Reencrypt {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let client = session.client()?;
        let (aad, context) = self.beside.said();
        let sealed = self
            .from
            .read(CIPHERTEXT_MAX_BYTES, "what is to be encrypted again")
            .await?;
        let ask = wire::Reencrypt {
            ciphertext: Base64(sealed.expose().to_vec()),
            iv: None,
            tag: None,
            algorithm: None,
            version: None,
            aad,
            context,
            to: self.to,
            to_algorithm: None,
            to_aad: None,
            to_context: None,
        };
        let encrypted = client.reencrypt(&vault, &self.named.name, &ask).await?;
        session.out.bare(&joined(&encrypted), &encrypted)
    }
}

impl DataKey {
    async fn run(self, session: &Session) -> Result<()> {
        let vault = session.vault(&self.named.vault)?;
        let (aad, context) = self.beside.said();
        let ask = wire::CreateDataKey {
            bytes: self.bytes,
            plaintext: !self.wrapped_only,
            aad,
            context,
        };
        let made = session
            .client()?
            .create_data_key(&vault, &self.named.name, &ask)
            .await?;
        session.out.one(&made, DATA_KEY_COLUMNS)
    }
}

impl Wrap {
    async fn wrap(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let ask = wire::Wrap {
            key: SecretBase64(self.from.read(DATA_MAX_BYTES, "the key that is to be wrapped").await?),
            algorithm: self.algorithm,
            version,
        };
        let wrapped = client.wrap_key(&vault, &named.name, &ask).await?;
        session.out.bare(&wrapped.wrapped.0, &wrapped)
    }

    async fn unwrap(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let wrapped = self.from.read(CIPHERTEXT_MAX_BYTES, "the wrapped key").await?;
        let ask = wire::Unwrap {
            wrapped: Base64(wrapped.expose().to_vec()),
            algorithm: self.algorithm,
            version,
        };
        let unwrapped = client.unwrap_key(&vault, &named.name, &ask).await?;
        session.out.bare(unwrapped.key.0.expose(), &unwrapped)
    }
}

impl Derive {
    async fn run(self, session: &Session) -> Result<()> {
        let Versioned { named, version } = self.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let peer = Source::File(self.peer)
            .read_up_to(PEER_MAX_BYTES, "the other one's public key")
            .await?;
        let ask = wire::DeriveSecret {
            peer: Base64(peer.expose().to_vec()),
            version,
        };
        let shared = client.derive_secret(&vault, &named.name, &ask).await?;
        session.out.bare(shared.secret.0.expose(), &shared)
    }
}

/// A message or a digest, whichever was said.
fn what(digest: bool, bytes: &Secret) -> (Option<Base64>, Option<Base64>) {
    let bytes = Base64(bytes.expose().to_vec());
    match digest {
        true => (None, Some(bytes)),
        false => (Some(bytes), None),
    }
}

impl Sign {
    async fn run(self, session: &Session) -> Result<()> {
        let signing = self.signing;
        let Versioned { named, version } = signing.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let bytes = signing.from.read(DATA_MAX_BYTES, "what is to be signed").await?;
        let (message, digest) = what(signing.digest, &bytes);
        let ask = wire::Sign {
            message,
            digest,
            algorithm: signing.algorithm,
            format: Some(signing.format.said()),
            version,
        };
        let signed = client.sign(&vault, &named.name, &ask).await?;
        session.out.bare(&signed.signature.0, &signed)
    }
}

impl Verify {
    async fn run(self, session: &Session) -> Result<()> {
        let signing = self.signing;
        let Versioned { named, version } = signing.of;
        let vault = session.vault(&named.vault)?;
        let client = session.client()?;
        let signature = Source::File(self.signature)
            .read_up_to(CIPHERTEXT_MAX_BYTES, "the signature")
            .await?;
        let bytes = signing.from.read(DATA_MAX_BYTES, "what was signed").await?;
        let (message, digest) = what(signing.digest, &bytes);
        let ask = wire::VerifySignature {
            signature: Base64(signature.expose().to_vec()),
            message,
            digest,
            algorithm: signing.algorithm,
            format: Some(signing.format.said()),
            version,
        };
        let verdict = client.verify_signature(&vault, &named.name, &ask).await?;
        session.out.one(&verdict, VERDICT_COLUMNS)?;
        match verdict.valid {
            true => Ok(()),
            false => Err(Failure::new(
                Exit::CheckFailed,
                format!(
                    "this is no signature of it by version {} of `{}`",
                    verdict.by.ordinal, verdict.by.name
                ),
            )),
        }
    }
}

/// All parts of a ciphertext in their order.
fn joined(encrypted: &wire::Encrypted) -> Vec<u8> {
    let part = |part: &Option<Base64>| part.as_ref().map(|part| part.0.clone()).unwrap_or_default();
    [
        part(&encrypted.iv),
        encrypted.ciphertext.0.clone(),
        part(&encrypted.tag),
    ]
    .concat()
}

/// A ciphertext taken apart into its nonce or initialization vector, itself, and its tag.
fn split(algorithm: Option<&str>, bytes: &[u8]) -> Result<(Option<Base64>, Base64, Option<Base64>)> {
    let (iv_len, tag_len) = match algorithm.map(str::to_ascii_uppercase).as_deref() {
        Some("AES-GCM") => (12, TAG_LEN),
        Some("AES-CBC" | "AES-CTR") => (16, 0),
        _ => return Ok((None, Base64(bytes.to_vec()), None)),
    };
    let short = || {
        Failure::usage(format!(
            "the ciphertext is cut off: it begins with {iv_len} bytes and ends with {tag_len} beside it"
        ))
    };
    let (iv, rest) = bytes.split_at_checked(iv_len).ok_or_else(short)?;
    let at = rest.len().checked_sub(tag_len).ok_or_else(short)?;
    let (ciphertext, tag) = rest.split_at_checked(at).ok_or_else(short)?;
    let base64 = |bytes: &[u8]| Base64(bytes.to_vec());
    Ok((Some(base64(iv)), base64(ciphertext), (tag_len > 0).then(|| base64(tag))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_in_parts_is_joined_and_split() {
        let by = wire::UsedKey {
            name: "a".parse().unwrap(),
            version: String::new(),
            ordinal: 1,
            algorithm: String::new(),
        };
        for (algorithm, iv, tag) in [
            (Some("aes-gcm"), Some(vec![1; 12]), Some(vec![3; 16])),
            (Some("AES-CBC"), Some(vec![1; 16]), None),
            (None, None, None),
        ] {
            let encrypted = wire::Encrypted {
                by: by.clone(),
                ciphertext: Base64(vec![2; 5]),
                iv: iv.map(Base64),
                tag: tag.map(Base64),
            };
            let (iv, ciphertext, tag) = split(algorithm, &joined(&encrypted)).unwrap();
            assert_eq!(
                (&iv, &ciphertext, &tag),
                (&encrypted.iv, &encrypted.ciphertext, &encrypted.tag)
            );
        }
        assert!(split(Some("AES-GCM"), &[0; 27]).is_err());
    }
}
