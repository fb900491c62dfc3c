//! From a chain of certificates to a path that ends in a root of ours. By rustls-webpki; times are judged apart,
//! because a path stays and time does not.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, RevocationOptions, VerifiedPath};

use super::trust::{Parsed, both, covers};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::policy::{SpiffeId, TrustDomain};
use crate::x509::chain::Facts;
use crate::x509::profile::Validity;

/// How many certificates a caller may send.
const MAX_CHAIN: usize = 6;

/// A path that was found, and all about it that time can change.
pub(super) struct Path {
    /// The name that the leaf gives its holder, or why it gives none here.
    who: Result<SpiffeId, String>,
    pub(super) serial: String,
    /// The leaf's.
    pub(super) validity: Validity,
    /// What the leaf's issuers, up to the root, have in common.
    issuers_validity: Validity,
    issuer_serials: Vec<String>,
}

impl Path {
    /// Finds a path for `chain`, leaf first. That the leaf's own time is over or not yet come does not keep it from being
    /// found: [`Path::judge`] sees to that.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do.
    pub(super) fn find(
        chain: &[CertificateDer<'_>],
        bundle: &Parsed,
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self> {
        bounded(chain)?;
        let leaf = chain.first().ok_or_else(no_certificate)?;
        let facts = Facts::read(leaf).map_err(|e| {
            refuse("the client certificate cannot be read: use one that this service issued").because(e)
        })?;
        let at = now.clamp(
            facts.validity.not_before,
            facts.validity.not_after.max(facts.validity.not_before),
        );
        let read = |path: &VerifiedPath<'_>| issuers(path, bundle);
        let (issuers_validity, issuer_serials) = verify(chain, &bundle.issuers, &bundle.anchors, None, at, read)
            .map_err(|cause| match cause {
                Failure::Path(e @ (webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. })) => {
                    outside(facts.validity, now).unwrap_or_else(|| issuer_ended().because(e))
                }
                Failure::Path(e) => refuse(format!(
                    "the client certificate does not lead to an authority of `{domain}`: enrol with a join token and \
                     use the certificate that it gives"
                ))
                .because(e),
                Failure::Ours(e) => e,
            })?;
        Ok(Self {
            who: spiffe_id(&facts, domain),
            serial: facts.serial,
            validity: facts.validity,
            issuers_validity,
            issuer_serials,
        })
    }

    /// Who the leaf's holder is.
    ///
    /// # Errors
    /// `Unauthenticated`, if it names nobody of this trust domain.
    pub(super) fn id(&self) -> Result<&SpiffeId> {
        self.who.as_ref().map_err(|why| refuse(why.clone()))
    }

    /// Whether the path still holds; its leaf `grace` longer than it says.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; a revoked certificate is told from one that ended.
    pub(super) fn judge(&self, now: Timestamp, grace: Duration, is_revoked: impl Fn(&str) -> bool) -> Result<()> {
        if is_revoked(&self.serial) {
            return Err(revoked(&self.serial));
        }
        if let Some(error) = outside(self.validity, now) {
            let is_late = self.validity.not_after < now;
            if !is_late || self.validity.not_after + grace < now {
                return Err(error);
            }
        }
        if !covers(self.issuers_validity, now) {
            return Err(issuer_ended());
        }
        if self.issuer_serials.iter().any(|serial| is_revoked(serial)) {
            return Err(refuse(
                "the authority that issued the client certificate is revoked: enrol anew with a join token",
            ));
        }
        Ok(())
    }
}

/// Why no path was found.
pub(super) enum Failure {
    Ours(Error),
    Path(webpki::Error),
}

/// Whether a caller sent no more certificates than are looked at.
pub(super) fn bounded(chain: &[CertificateDer<'_>]) -> Result<()> {
    if chain.len() > MAX_CHAIN {
        return Err(refuse(
            "the client certificate's chain is too long: send the leaf and its issuers only",
        ));
    }
    Ok(())
}

/// Builds and verifies a path from the leaf of `chain` over what else it holds and `issuers` to one of `anchors`: by
/// signature, validity at `at`, usage, path length, name constraints and, if it is asked for, revocation. Gives what
/// `read` makes of it.
pub(super) fn verify<T>(
    chain: &[CertificateDer<'_>],
    issuers: &[CertificateDer<'_>],
    anchors: &[TrustAnchor<'_>],
    revocation: Option<RevocationOptions<'_>>,
    at: Timestamp,
    read: impl FnOnce(&VerifiedPath<'_>) -> Result<T>,
) -> Result<T, Failure> {
    let (leaf, sent) = chain.split_first().ok_or_else(|| Failure::Ours(no_certificate()))?;
    let candidates: Vec<CertificateDer<'_>> = sent.iter().chain(issuers).cloned().collect();
    let certificate = EndEntityCert::try_from(leaf).map_err(Failure::Path)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(at.unix()).unwrap_or(0)));
    let path = certificate
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            anchors,
            &candidates,
            at,
            KeyUsage::client_auth(),
            revocation,
            None,
        )
        .map_err(Failure::Path)?;
    read(&path).map_err(Failure::Ours)
}

/// The issuers' common validity and their serials.
fn issuers(path: &VerifiedPath<'_>, bundle: &Parsed) -> Result<(Validity, Vec<String>)> {
    let root = bundle
        .roots
        .iter()
        .find(|root| root.anchor == *path.anchor())
        .ok_or_else(|| Error::internal("a path ends in a root that is not in the bundle"))?;
    let mut validity = root.validity;
    let mut serials = vec![root.serial.clone()];
    for issuer in path.intermediate_certificates() {
        let facts = Facts::read(&issuer.der())?;
        validity = both(validity, facts.validity);
        serials.push(facts.serial);
    }
    Ok((validity, serials))
}

/// The caller's name, if it is one of ours; else why not.
fn spiffe_id(facts: &Facts, domain: &TrustDomain) -> Result<SpiffeId, String> {
    let text = facts
        .spiffe_id
        .as_deref()
        .ok_or("the client certificate names no workload (one SPIFFE ID): use one from `chancery agent enroll`")?;
    let id: SpiffeId = text.parse().map_err(
        |_| "the client certificate's SPIFFE ID is not valid: use a certificate from `chancery agent enroll`",
    )?;
    if id.trust_domain() == domain.as_str() {
        Ok(id)
    } else {
        Err(format!(
            "the client certificate is of trust domain `{}`, this service is `{domain}`: enrol here with a join token",
            id.trust_domain()
        ))
    }
}

/// Why a leaf does not count at `now`, if it is for time.
fn outside(validity: Validity, now: Timestamp) -> Option<Error> {
    if now < validity.not_before {
        Some(refuse(format!(
            "the client certificate is valid from {} on, and it is {now} here: wait, or set the clock",
            validity.not_before
        )))
    } else if validity.not_after < now {
        Some(refuse(format!(
            "the client certificate ended at {}, and it is {now} here: enrol anew with a join token, or set the clock",
            validity.not_after
        )))
    } else {
        None
    }
}

pub(super) fn no_certificate() -> Error {
    refuse("a client certificate is needed: enrol with a join token, then connect with the certificate that it gives")
}

pub(super) fn revoked(serial: &str) -> Error {
    refuse(format!(
        "the client certificate `{serial}` is revoked: ask an administrator for a join token and enrol anew"
    ))
}

fn issuer_ended() -> Error {
    refuse("an authority above the client certificate is not valid now: enrol anew with a join token, or set the clock")
}

fn refuse(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::unauthenticated(text)
}
