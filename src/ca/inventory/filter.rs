//! What a list of issued certificates is narrowed by, and the index that it is walked along.

use std::str::FromStr;

use super::Place;
use crate::ca::issue::labelled;
use crate::ca::{IssuedCertificate, State};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::x509::name::Name;
use crate::x509::serial::Serial;

/// What a certificate must be to be listed: all that is said.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// It ends then or later.
    pub expires_after: Option<Timestamp>,
    /// It ends then or before.
    pub expires_before: Option<Timestamp>,
    /// The label of its issuer's key.
    pub issuer: Option<String>,
    /// One of its names.
    pub name: Option<NamePattern>,
    /// Who asked for it.
    pub owner: Option<String>,
    /// By which profile it was made.
    pub profile: Option<Label>,
    /// Its serial.
    pub serial: Option<Serial>,
    /// SHA-256 of its key's DER `SubjectPublicKeyInfo`, lower-case hexadecimal.
    pub spki_sha256: Option<String>,
    /// What became of it.
    pub status: Option<Status>,
}

/// What became of a certificate: one of these at any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Signed, not revoked, and past its end.
    Expired,
    /// Signed, not revoked, not past its end.
    Issued,
    /// Reserved and perhaps signed, see [`State::Reserved`].
    Reserved,
    /// Revoked, past its end or not.
    Revoked,
}

impl IssuedCertificate {
    /// What became of it by `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        match self.state {
            // RFC 5280 §4.1.2.5: the end is within the life.
            State::Issued if self.validity.not_after < now => Status::Expired,
            State::Issued => Status::Issued,
            State::Reserved => Status::Reserved,
            State::Revoked { .. } => Status::Revoked,
        }
    }
}

/// A name, or all host names below one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamePattern {
    /// This key.
    Is(String),
    /// Every key that begins so.
    Under(String),
}

/// Reads a name with its kind before it, as lists show it, or without where that says what it is; `*.example.org` means all host
/// names below `example.org`, the wildcard itself among them.
impl FromStr for NamePattern {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Some(domain) = text.strip_prefix("dns:").unwrap_or(text).strip_prefix("*.") {
            return Ok(Self::Under(format!("{}.", key(&labelled(&Name::dns(domain)?)))));
        }
        let name = match text.split_once(':') {
            Some(("dns" | "ip", name)) => name.parse()?,
            Some(("email", address)) => Name::email(address)?,
            Some(("upn", upn)) => Name::upn(upn)?,
            Some(("uri", uri)) => Name::uri(uri)?,
            _ => text.parse()?,
        };
        Ok(Self::Is(key(&labelled(&name))))
    }
}

impl NamePattern {
    fn matches(&self, key: &str) -> bool {
        match self {
            Self::Is(name) => key == name,
            Self::Under(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// How a name stands in the index of names: a host's labels from the last to the first, so that all that end alike
/// begin alike.
pub(super) fn key(labelled: &str) -> String {
    match labelled.strip_prefix("dns:") {
        Some(host) => format!("dns:{}", host.rsplit('.').collect::<Vec<_>>().join(".")),
        None => labelled.to_owned(),
    }
}

/// What a list is walked along. The rows on it are the list's and others that the filter leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::ca) enum Walk {
    /// Everything, newest first.
    All,
    /// What ends between these, soonest first.
    Ends(Timestamp, Timestamp),
    /// What this issuer issued, newest first.
    Issuer(String),
    /// What this key is certified by, newest first.
    Key(String),
    /// What has this name, newest first.
    Named(String),
    /// What this caller asked for, newest first.
    Owner(String),
    /// What was made by this profile, newest first.
    Profile(String),
    /// What is not completed, newest first.
    Reserved,
    /// What is revoked, newest first.
    Revoked,
    /// One certificate.
    Serial(String),
    /// What has a name that begins so, by its name.
    Under(String),
}

impl Filter {
    /// The walk that is likely to meet the fewest rows.
    pub(super) fn walk(&self, now: Timestamp) -> Walk {
        let (first, last) = (Timestamp::from_unix(i64::MIN), Timestamp::from_unix(i64::MAX));
        let window = (self.expires_after.is_some() || self.expires_before.is_some())
            .then(|| (self.expires_after.unwrap_or(first), self.expires_before.unwrap_or(last)));
        if let Some(serial) = &self.serial {
            return Walk::Serial(serial.to_string());
        }
        if let Some(NamePattern::Is(name)) = &self.name {
            return Walk::Named(name.clone());
        }
        if let Some(key) = &self.spki_sha256 {
            return Walk::Key(key.clone());
        }
        if let Some(NamePattern::Under(prefix)) = &self.name {
            return Walk::Under(prefix.clone());
        }
        match (&self.owner, self.status, window, &self.profile, &self.issuer) {
            (Some(owner), ..) => Walk::Owner(owner.clone()),
            (_, Some(Status::Reserved), ..) => Walk::Reserved,
            (_, Some(Status::Revoked), ..) => Walk::Revoked,
            (_, _, Some((from, until)), ..) => Walk::Ends(from, until),
            (_, _, _, Some(profile), _) => Walk::Profile(profile.to_string()),
            (.., Some(issuer)) => Walk::Issuer(issuer.clone()),
            (_, Some(Status::Issued), ..) => Walk::Ends(now, last),
            (_, Some(Status::Expired), ..) => Walk::Ends(first, now),
            _ => Walk::All,
        }
    }

    /// Whether a certificate is all that is said.
    pub(super) fn matches(&self, one: &IssuedCertificate, now: Timestamp) -> bool {
        fn is<T: PartialEq<U>, U>(said: Option<&T>, found: &U) -> bool {
            said.is_none_or(|said| said == found)
        }
        let ends = one.validity.not_after;
        self.expires_after.is_none_or(|after| ends >= after)
            && self.expires_before.is_none_or(|before| ends <= before)
            && is(self.issuer.as_ref(), &one.issuer)
            && is(self.owner.as_ref(), &one.requested_by)
            && is(self.profile.as_ref(), &one.profile)
            && is(self.serial.as_ref().map(ToString::to_string).as_ref(), &one.serial)
            && is(self.spki_sha256.as_ref(), &one.spki_sha256)
            && is(self.status.as_ref(), &one.status(now))
            && self
                .name
                .as_ref()
                .is_none_or(|name| one.names.iter().any(|has| name.matches(&key(has))))
    }
}

impl Walk {
    /// The place on this walk that a cursor says.
    pub(super) fn place(&self, cursor: &str) -> Option<Place> {
        let (id, key) = cursor.split_at_checked(32)?;
        let id = id.parse::<Id>().ok()?.to_string();
        let key = key.to_owned();
        let is_on = match self {
            Self::Ends(..) => key.parse::<i64>().is_ok(),
            Self::Under(prefix) => key.starts_with(prefix.as_str()),
            _ => key.is_empty(),
        };
        is_on.then_some(Place { id, key })
    }

    /// Whether a certificate is met for the first time: one with several names below the same is met by each.
    pub(super) fn is_first(&self, at: &Place, certificate: &IssuedCertificate) -> bool {
        let Self::Under(prefix) = self else { return true };
        let keys = super::keys(&certificate.names);
        keys.iter().find(|key| key.starts_with(prefix.as_str())) == Some(&at.key)
    }
}
