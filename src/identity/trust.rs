//! What callers' certificates must lead to, and which of them no longer count.

use std::collections::HashSet;

use futures::future::BoxFuture;
use rustls::pki_types::{CertificateDer, TrustAnchor};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::x509::chain::Facts;
use crate::x509::profile::Validity;

/// The certificates that callers' chains are built from, DER.
#[derive(Clone, Debug, Default)]
pub struct Bundle {
    /// Where a chain must end.
    pub roots: Vec<Vec<u8>>,
    /// Issuing certificates of our own, so that a caller need not send them.
    pub issuers: Vec<Vec<u8>>,
}

/// All that callers are judged by, as the store has it.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// Where chains lead.
    pub bundle: Bundle,
    /// Serials of unexpired certificates that were revoked, issuing ones included, in lower-case hexadecimal without
    /// leading zeros.
    pub revoked: HashSet<String>,
}

/// Where [`Trusted`] comes from: the authorities of this service.
pub trait TrustSource: Send + Sync {
    /// Reads it. What was committed before the call must be in it.
    fn load(&self) -> BoxFuture<'_, Result<Trusted>>;

    /// Whether the certificate with this serial was revoked, before or after it ended.
    fn is_revoked<'s>(&'s self, serial: &'s str) -> BoxFuture<'s, Result<bool>>;
}

/// A root that a chain may end in.
pub(super) struct Root {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) serial: String,
    pub(super) validity: Validity,
}

/// A bundle, parsed.
#[derive(Default)]
pub(super) struct Parsed {
    pub(super) anchors: Vec<TrustAnchor<'static>>,
    pub(super) issuers: Vec<CertificateDer<'static>>,
    pub(super) roots: Vec<Root>,
    /// Grows with every bundle.
    pub(super) version: u64,
}

impl Parsed {
    pub(super) fn new(bundle: Bundle, version: u64) -> Result<Self> {
        let mut roots = Vec::new();
        for root in bundle.roots {
            let facts = Facts::read(&root)?;
            let der = CertificateDer::from(root);
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|e| Error::internal("a root of ours cannot be read").because(e))?
                .to_owned();
            roots.push(Root {
                anchor,
                serial: facts.serial,
                validity: facts.validity,
            });
        }
        Ok(Self {
            anchors: roots.iter().map(|root| root.anchor.clone()).collect(),
            issuers: bundle.issuers.into_iter().map(CertificateDer::from).collect(),
            roots,
            version,
        })
    }
}

/// The part of two validities that both cover.
pub(super) fn both(a: Validity, b: Validity) -> Validity {
    Validity {
        not_before: a.not_before.max(b.not_before),
        not_after: a.not_after.min(b.not_after),
    }
}

/// Whether `now` is within `validity`, both ends included (RFC 5280 §4.1.2.5).
pub(super) fn covers(validity: Validity, now: Timestamp) -> bool {
    validity.not_before <= now && now <= validity.not_after
}
