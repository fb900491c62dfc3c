//! The trust bundle: what to trust our certificates by, in our own words.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::Label;

/// What to trust our certificates by, now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustBundle {
    /// Grows with every change.
    pub sequence: u64,
    /// How soon to fetch it anew, in seconds.
    pub refresh_hint_s: u64,
    /// Where chains end.
    pub roots: Vec<Trusted>,
    /// Who stands below the roots. Chains are sent with them; they are here for those who look.
    pub issuers: Vec<Trusted>,
}

/// A certificate in the trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trusted {
    /// The authority that it is of.
    pub authority: Label,
    /// The label of its key.
    pub label: String,
    /// How far it came: `published`, `active`, `replaced` or `tainted`.
    pub stage: String,
    /// The end of its certificate.
    #[serde(with = "rfc3339")]
    pub not_after: Timestamp,
    /// Its certificate, PEM.
    pub certificate_pem: String,
}
