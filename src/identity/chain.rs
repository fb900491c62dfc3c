//! From a chain of certificates to a path that ends in a root of ours. By rustls-webpki; times are judged apart,
//! because a path stays and time does not.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

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
    pub(super) id: SpiffeId,
    pub(super) serial: String,
    /// The leaf's.
    pub(super) validity: Validity,
    /// What the leaf's issuers, up to the root, have in common.
    issuers_validity: Validity,
    issuer_serials: Vec<String>,
}

impl Path {
    /// Finds a path for `chain`, leaf first.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do.
    pub(super) fn find(
        chain: &[CertificateDer<'_>],
        bundle: &Parsed,
        domain: &TrustDomain,
        now: Timestamp,
    ) -> Result<Self> {
        let (leaf, sent) = chain.split_first().ok_or_else(no_certificate)?;
        if sent.len() >= MAX_CHAIN {
            return Err(refuse(
                "the client certificate's chain is too long: send the leaf and its issuers only",
            ));
        }
        let facts = Facts::read(leaf).map_err(|e| {
            refuse("the client certificate cannot be read: use one that this service issued").because(e)
        })?;
        let id = spiffe_id(&facts, domain)?;
        let candidates: Vec<CertificateDer<'_>> = sent.iter().chain(&bundle.issuers).cloned().collect();
        let (issuers_validity, issuer_serials) =
            verify(leaf, &candidates, bundle, now).map_err(|cause| match cause {
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
            id,
            serial: facts.serial,
            validity: facts.validity,
            issuers_validity,
            issuer_serials,
        })
    }

    /// Whether the path still holds.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; a revoked certificate is told from one that ended.
    pub(super) fn judge(&self, now: Timestamp, is_revoked: impl Fn(&str) -> bool) -> Result<()> {
        if is_revoked(&self.serial) {
            return Err(refuse(format!(
                "the client certificate `{}` is revoked: ask an administrator for a join token and enrol anew",
                self.serial
            )));
        }
        if let Some(error) = outside(self.validity, now) {
            return Err(error);
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

enum Failure {
    Ours(Error),
    Path(webpki::Error),
}

/// The issuers' common validity and their serials.
fn verify(
    leaf: &CertificateDer<'_>,
    candidates: &[CertificateDer<'_>],
    bundle: &Parsed,
    now: Timestamp,
) -> Result<(Validity, Vec<String>), Failure> {
    let certificate = EndEntityCert::try_from(leaf).map_err(Failure::Path)?;
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.unix()).unwrap_or(0)));
    let path = certificate
        .verify_for_usage(
            ALL_VERIFICATION_ALGS,
            &bundle.anchors,
            candidates,
            at,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(Failure::Path)?;
    let root = bundle
        .roots
        .iter()
        .find(|root| root.anchor == *path.anchor())
        .ok_or_else(|| Failure::Ours(Error::internal("a path ends in a root that is not in the bundle")))?;
    let mut validity = root.validity;
    let mut serials = vec![root.serial.clone()];
    for issuer in path.intermediate_certificates() {
        let facts = Facts::read(&issuer.der()).map_err(|e| Failure::Ours(e.into()))?;
        validity = both(validity, facts.validity);
        serials.push(facts.serial);
    }
    Ok((validity, serials))
}

/// The caller's name, if it is one of ours.
fn spiffe_id(facts: &Facts, domain: &TrustDomain) -> Result<SpiffeId> {
    let text = facts.spiffe_id.as_deref().ok_or_else(|| {
        refuse("the client certificate names no workload (one SPIFFE ID): use one from `chancery agent enroll`")
    })?;
    let id: SpiffeId = text.parse().map_err(|e| {
        refuse("the client certificate's SPIFFE ID is not valid: use a certificate from `chancery agent enroll`")
            .because(e)
    })?;
    if id.trust_domain() == domain.as_str() {
        Ok(id)
    } else {
        Err(refuse(format!(
            "the client certificate is of trust domain `{}`, this service is `{domain}`: enrol here with a join token",
            id.trust_domain()
        )))
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

fn issuer_ended() -> Error {
    refuse("an authority above the client certificate is not valid now: enrol anew with a join token, or set the clock")
}

fn refuse(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::unauthenticated(text)
}
