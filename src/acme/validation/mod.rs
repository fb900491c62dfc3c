//! Proof of control (RFC 8555 §8): one question at a time, asked over the network, answered yes or with a failure that
//! the client's user can act on (what was looked up, where, what came back).
//!
//! SECURITY: the client chooses what we connect to. Every connection is made by [`reach`], to an address that
//! [`network`] has judged; every answer is bounded in size and every question in time. What a stranger sent is shown
//! only as an [`excerpt`]. Nothing here is stored, and nothing is cached.
//!
//! A new method is a variant of [`Method`] and a file.

mod caa;
mod dns;
mod dns_01;
mod dns_persist_01;
mod http_01;
pub mod issue_value;
mod network;
mod reach;
mod settings;
mod tls_alpn_01;
mod unverified;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::caa::Intent;
use self::dns::Dns;
use self::network::Networks;
use self::reach::Reach;
pub use self::settings::Settings;
use crate::acme::identifier::Identifier;
use crate::clock::Clock;
use crate::error::{Error, Result};

/// Longest excerpt of what a stranger sent, in bytes before escaping.
const EXCERPT: usize = 100;

/// How control is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// RFC 8555 §8.3.
    Http01,
    /// RFC 8555 §8.4.
    Dns01,
    /// RFC 8737.
    TlsAlpn01,
    /// draft-ietf-acme-dns-account-label.
    DnsAccount01,
    /// draft-ietf-acme-dns-persist.
    DnsPersist01,
}

impl Method {
    /// All of them, in the order in which they are offered.
    pub const ALL: [Self; 5] = [
        Self::Http01,
        Self::TlsAlpn01,
        Self::Dns01,
        Self::DnsAccount01,
        Self::DnsPersist01,
    ];

    /// Its name on the wire and in CAA records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::DnsAccount01 => "dns-account-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }

    /// Whether it can prove control over the identifier: addresses have no DNS zone (RFC 8738 §7), and one server's
    /// answer says nothing about all names below it.
    pub fn fits(self, identifier: &Identifier, wildcard: bool) -> bool {
        match self {
            Self::Http01 | Self::TlsAlpn01 => !wildcard,
            Self::Dns01 | Self::DnsAccount01 | Self::DnsPersist01 => matches!(identifier, Identifier::Dns(_)),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Method {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == text)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` is no challenge type; use one of {}",
                    excerpt(text.as_bytes()),
                    Self::ALL.map(Self::as_str).join(", ")
                ))
            })
    }
}

/// One challenge, as far as it matters to the one who looks.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// How to look.
    pub method: Method,
    /// Where to look.
    pub identifier: &'a Identifier,
    /// Whether control over all names one label below is to be proven.
    pub wildcard: bool,
    /// The challenge's token; dns-persist-01 has none and ignores it.
    pub token: &'a str,
    /// The RFC 7638 thumbprint of the account's key, base64url.
    pub thumbprint: &'a str,
    /// The account's URL, byte for byte as the client knows it (`kid`).
    pub account_url: &'a str,
}

impl Question<'_> {
    /// RFC 8555 §8.1.
    fn key_authorization(&self) -> String {
        format!("{}.{}", self.token, self.thumbprint)
    }
}

/// Control was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proof {
    /// Longest that it may be relied on, if that is less than what policy says: the TTL of a standing record.
    pub reusable_for: Option<Duration>,
}

/// What a failure is called on the wire (RFC 8555 §6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// A CAA record forbids it.
    Caa,
    /// The server could not be connected to, or did not answer.
    Connection,
    /// A DNS look-up failed, or found nothing.
    Dns,
    /// The answer is not what the challenge demands.
    IncorrectResponse,
    /// A record that should prove control cannot be read.
    Malformed,
    /// The method cannot prove control over such an identifier.
    RejectedIdentifier,
    /// The TLS handshake failed.
    Tls,
    /// A record speaks of another account, or its time is over.
    Unauthorized,
}

/// Why control was not proven; the text is for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Failure {
    /// What programs act on.
    pub kind: FailureKind,
    /// What was looked up, where, and what came back.
    pub detail: String,
}

impl Failure {
    fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }
}

/// Looks whether a challenge was answered. One for all authorities; holds no state but settings.
pub struct Validator {
    settings: Settings,
    dns: Arc<Dns>,
    reach: Reach,
    clock: Arc<dyn Clock>,
}

impl Validator {
    /// `own` are the service's listeners, which are no targets unless `allow_networks` says so.
    ///
    /// # Errors
    /// `Invalid` for settings that cannot be meant; `Unavailable` if the system's DNS configuration cannot be read.
    pub fn new(settings: &Settings, own: Vec<SocketAddr>, clock: Arc<dyn Clock>) -> Result<Self> {
        settings.check()?;
        let dns = Arc::new(Dns::new(settings)?);
        Ok(Self {
            settings: settings.clone(),
            reach: Reach::new(settings, Networks::new(settings, own), dns.clone()),
            dns,
            clock,
        })
    }

    /// The names by which CAA and dns-persist-01 records speak of us.
    pub fn issuer_domains(&self) -> &[String] {
        &self.settings.issuer_domains
    }

    /// The methods that can prove control over the identifier here.
    pub fn methods(&self, identifier: &Identifier, wildcard: bool) -> impl Iterator<Item = Method> {
        Method::ALL
            .into_iter()
            .filter(move |method| method.fits(identifier, wildcard))
            // A record must be able to name us.
            .filter(|method| *method != Method::DnsPersist01 || !self.settings.issuer_domains.is_empty())
    }

    /// Asks the network.
    ///
    /// # Errors
    /// A [`Failure`] if control is not proven, whatever the reason.
    pub async fn validate(&self, question: &Question<'_>) -> Result<Proof, Failure> {
        let Question {
            method,
            identifier,
            wildcard,
            ..
        } = question;
        if !method.fits(identifier, *wildcard) {
            return Err(Failure::new(
                FailureKind::RejectedIdentifier,
                format!(
                    "{method} cannot prove control over {} `{identifier}`; use another challenge of the authorization",
                    if *wildcard { "all names below" } else { "the address" }
                ),
            ));
        }
        let deadline = Instant::now() + self.settings.timeout();
        match method {
            Method::Http01 => http_01::validate(self, question, deadline).await?,
            Method::Dns01 | Method::DnsAccount01 => dns_01::validate(self, question, deadline).await?,
            Method::TlsAlpn01 => tls_alpn_01::validate(self, question, deadline).await?,
            Method::DnsPersist01 => return dns_persist_01::validate(self, question, deadline).await,
        }
        Ok(Proof { reusable_for: None })
    }

    /// Looks whether the holder of a name lets us issue for it, if settings say that it is asked. `method` is how control
    /// was proven, or nothing if the account needs no proof. Addresses have no CAA records.
    ///
    /// # Errors
    /// `Caa` if records forbid it; `Dns` if nobody can say.
    pub async fn check_caa(
        &self,
        identifier: &Identifier,
        wildcard: bool,
        method: Option<Method>,
        account_url: &str,
    ) -> Result<(), Failure> {
        match identifier {
            Identifier::Dns(name) if self.settings.caa => {
                let intent = Intent {
                    wildcard,
                    method,
                    account_url,
                };
                caa::check(self, name, intent, Instant::now() + self.settings.timeout()).await
            }
            _ => Ok(()),
        }
    }
}

/// What a stranger sent, fit to stand in a message: short, printable, on one line.
fn excerpt(bytes: &[u8]) -> String {
    let head = bytes.get(..EXCERPT).unwrap_or(bytes);
    let mut text: String = String::from_utf8_lossy(head).escape_debug().collect();
    if head.len() < bytes.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests;
