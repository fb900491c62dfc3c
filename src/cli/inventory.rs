//! What our authorities issued, narrowed by whatever is known: `chancery cert list --issued` and `chancery ca issued`.

use std::time::Duration;

use clap::Args;

use super::authority::OurAuthority;
use super::exit::{Failure, Result};
use super::output::Columns;
use super::parse;
use super::session::Session;
use crate::clock::Timestamp;
use crate::id::Label;
use crate::wire;
use crate::x509::inspect;

/// For people.
pub(super) const COLUMNS: Columns = &[
    ("SERIAL", "serial"),
    ("SUBJECT", "subject"),
    ("NAMES", "names"),
    ("PROFILE", "profile"),
    ("STATE", "state"),
    ("NOT AFTER", "not_after"),
    ("REVOKED", "revoked"),
    ("REASON", "reason"),
];

/// For spreadsheets: all that is known.
const ALL: Columns = &[
    ("", "serial"),
    ("", "subject"),
    ("", "names"),
    ("", "issuer"),
    ("", "profile"),
    ("", "owner"),
    ("", "spki_sha256"),
    ("", "state"),
    ("", "not_before"),
    ("", "not_after"),
    ("", "revoked"),
    ("", "reason"),
];

/// Which, and how many.
#[derive(Args)]
pub(super) struct Inventory {
    /// At most this many; all if it is left out
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// All, as if --limit were left out
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    authority: OurAuthority,
    #[command(flatten)]
    filter: Filter,
}

/// What all that are listed have in common.
#[derive(Args)]
#[command(next_help_heading = "Which of the issued certificates")]
struct Filter {
    /// With this host name, address or URI; '*.example.org' for all host names below example.org
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// With this serial, hexadecimal
    #[arg(long, value_name = "SERIAL")]
    serial: Option<String>,
    /// With this key: the SHA-256 of its SPKI, hexadecimal, or a file with it: a certificate, a request or a key
    #[arg(long, value_name = "SHA256|FILE")]
    spki: Option<String>,
    /// By this issuer: the label of its key
    #[arg(long, value_name = "LABEL")]
    issuer: Option<String>,
    /// By this profile
    #[arg(long, value_name = "PROFILE")]
    profile: Option<Label>,
    /// Asked for by this caller
    #[arg(long, value_name = "CALLER")]
    owner: Option<String>,
    /// Now issued, expired, revoked or reserved (perhaps signed, never handed out)
    #[arg(long, value_name = "STATUS")]
    status: Option<wire::CertificateStatus>,
    /// Ending from now on and within this time, for example 30d
    #[arg(long, value_name = "DURATION", value_parser = parse::duration)]
    expires_within: Option<Duration>,
    /// Ending then or later: a day, or a time in RFC 3339
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires_after: Option<Timestamp>,
    /// Ending then or before
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    expires_before: Option<Timestamp>,
}

impl Filter {
    fn query(&self) -> Result<wire::IssuedQuery> {
        Ok(wire::IssuedQuery {
            cursor: None,
            limit: None,
            name: self.name.clone(),
            serial: self.serial.clone(),
            spki_sha256: self.spki.as_deref().map(spki_sha256).transpose()?,
            issuer: self.issuer.clone(),
            profile: self.profile.clone(),
            owner: self.owner.clone(),
            status: self.status,
            expires_after: self.expires_after,
            expires_before: self.expires_before,
            expires_within_s: self.expires_within.map(|within| within.as_secs()),
        })
    }
}

/// A hash as it is, or that of the key in a file.
fn spki_sha256(said: &str) -> Result<String> {
    if said.len() == 64 && said.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(said.to_ascii_lowercase());
    }
    let bytes = std::fs::read(said).map(zeroize::Zeroizing::new).map_err(|e| {
        Failure::usage(format!(
            "`{said}` is no SHA-256 in hexadecimal, nor a file to read: {e}"
        ))
    })?;
    inspect::spki_sha256(&bytes).map_err(|e| Failure::usage(format!("`{said}` holds no key: {e}")))
}

impl Inventory {
    /// Whether anything is asked of what was issued.
    pub(super) fn narrows(&self) -> bool {
        let Filter {
            name,
            serial,
            spki,
            issuer,
            profile,
            owner,
            status,
            expires_within,
            expires_after,
            expires_before,
        } = &self.filter;
        let texts = [name, serial, spki, issuer, owner];
        texts.into_iter().any(Option::is_some)
            || profile.is_some()
            || status.is_some()
            || expires_within.is_some()
            || expires_after.is_some()
            || expires_before.is_some()
    }

    /// Writes page by page, so that a list of any length needs the room of a page.
    pub(super) async fn run(self, session: &Session) -> Result<()> {
        let client = session.client()?;
        let mut query = self.filter.query()?;
        let mut left = self.limit;
        let columns = if session.out.is_csv() { ALL } else { COLUMNS };
        let mut listing = session.out.listing(columns);
        loop {
            let most = left.and_then(|left| u32::try_from(left).ok());
            query.limit = Some(most.unwrap_or(wire::LIMIT_MAX).clamp(1, wire::LIMIT_MAX));
            let mut page = client.issued(&self.authority.name, &query).await?;
            page.items.truncate(left.unwrap_or(usize::MAX));
            left = left.map(|left| left.saturating_sub(page.items.len()));
            let read = listing.add(&page.items)?;
            if page.next.is_none() || left == Some(0) || !read {
                return listing.end();
            }
            if page.next == query.cursor {
                return Err(Failure::error("the list does not go on: its cursor repeats"));
            }
            query.cursor = page.next;
        }
    }
}
