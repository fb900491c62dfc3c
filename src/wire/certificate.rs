//! Certificate objects: names bound to an upstream issuer, renewed and delivered.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::{Label, ObjectName};
use crate::key_type::KeyType;

/// The kinds of key that a certificate object may have.
pub const CERTIFICATE_KEYS: [KeyType; 5] = [
    KeyType::EcP256,
    KeyType::EcP384,
    KeyType::Rsa2048,
    KeyType::Rsa3072,
    KeyType::Rsa4096,
];

/// Makes a certificate object; its first order starts at once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreateCertificate {
    /// Its name in the vault.
    pub name: ObjectName,
    /// The upstream issuer that it is ordered from.
    pub issuer: Label,
    /// The DNS names that it is for; the first is the primary one.
    pub dns_names: Vec<String>,
    /// The kind of its key; `ec-p256` if it is left out.
    #[serde(default = "ec_p256")]
    pub key_type: KeyType,
    /// The issuer's certificate profile, if it offers any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Renew when this part of the lifetime has passed, if the issuer does not suggest a time (RFC 9773).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renew_at_percent: Option<u8>,
    /// Times in which it is left alone, each `<five-field cron, UTC> for <duration>`, for example `0 22 * * 5 for 8h`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub maintenance: Vec<String>,
    /// Write it to files on the server's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver: Option<Deliver>,
    /// Connect and see that it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<Verify>,
}

const fn ec_p256() -> KeyType {
    KeyType::EcP256
}

/// Files to deliver to, and the hook that makes the server of that certificate read them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// The folder: `fullchain.pem`, `cert.pem`, `chain.pem`, `privkey.pem`.
    pub directory: PathBuf,
    /// The files' owner, `user` or `user:group`; the service's own if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The mode, in octal, of the files that hold the private key; `0600` if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Also write `keystore.p12`, protected by the password in this file on the server's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pkcs12_password_file: Option<PathBuf>,
    /// The deploy hook: a program and its arguments, run without a shell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hook: Vec<String>,
}

/// Where the certificate is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// `host:port` to connect to.
    pub address: String,
    /// The name to ask for; the first DNS name if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// How long the server may take to serve it; the service's default if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u32>,
}

/// A certificate object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Its vault.
    pub vault: Label,
    /// Its name in the vault.
    pub name: ObjectName,
    /// The upstream issuer that it is ordered from.
    pub issuer: Label,
    /// The DNS names that it is for.
    pub dns_names: Vec<String>,
    /// The kind of its key.
    pub key_type: KeyType,
    /// The issuer's certificate profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// The version that is current; none before the first is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<CertificateVersion>,
    /// The renewal (or first order) that is under way, or else the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal: Option<super::Renewal>,
}

/// One issued version of a certificate object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateVersion {
    /// The version's id, 32 hexadecimal digits.
    pub version: String,
    /// The version's place in the history, from 1.
    pub ordinal: u64,
    /// The serial number, lower-case hexadecimal.
    pub serial: String,
    /// RFC 5280 §4.1.2.5.
    #[serde(with = "rfc3339")]
    pub not_before: Timestamp,
    /// RFC 5280 §4.1.2.5.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// SHA-256 of the leaf's DER, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// When it was revoked, if it was.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
}
