//! Callers that come with a certificate which is not their identity yet: another CA's, or one of ours that an entry
//! takes for another name.
//!
//! SECURITY: the handshake proves the key only, so path, validity, name constraints, usage and revocation are judged
//! here, by the same code as our own callers'. What passes is good for the enrolment that asks, and makes no
//! [`Caller`](super::Caller): nowhere else is a stranger's certificate taken for anything.

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor};
use webpki::{
    CertRevocationList, ExpirationPolicy, OwnedCertRevocationList, RevocationCheckDepth, RevocationOptions,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use super::entry::{self, Entry, OWN_CA};
use super::oidc::Shown;
use super::proof::Proof;
use super::trust::covers;
use super::{Identity, chain, repo};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::policy::SpiffeId;
use crate::wire::Way;
use crate::x509::chain::{Facts, canonical_subject, subject};
use crate::x509::name::Name;
use crate::x509::pem;

/// What a certificate without a way in is told.
const NO_ENTRY: &str = "no registration entry takes this client certificate: check its CA and names, or ask an \
                        administrator for an entry (`chancery identity create --by x509`)";

/// A leaf that an entry may ask for.
struct Leaf {
    facts: Facts,
    subject: String,
}

impl Identity {
    /// Judges the certificate that a connection was made with, shown for `wanted` or for the one identity that it fits,
    /// and for the key that `key_digest` names.
    ///
    /// # Errors
    /// `Unauthenticated`, with what to do; `Invalid`, if it fits several identities; the store's.
    pub async fn judge_certificate(
        &self,
        chain: &[CertificateDer<'_>],
        key_digest: &str,
        wanted: Option<&SpiffeId>,
        now: Timestamp,
    ) -> Result<Shown> {
        let first = chain.first().ok_or_else(|| {
            Error::unauthenticated("a client certificate is needed here: connect with the one that the entry names")
        })?;
        chain::bounded(chain)?;
        let unreadable = |e: crate::x509::X509Error| {
            Error::unauthenticated("the client certificate cannot be read: use one that a CA issued").because(e)
        };
        let mut sources = vec![OWN_CA.to_owned()];
        for certificate in chain {
            sources.push(entry::of_ca(&Facts::read(certificate).map_err(unreadable)?.issuer));
        }
        let leaf = Leaf {
            facts: Facts::read(first).map_err(unreadable)?,
            subject: subject(first).map_err(unreadable)?,
        };
        let entries = repo::entries_by(self.0.store.read(), sources).await?;
        let named: Vec<Entry> = entries.into_iter().filter(|entry| takes(entry, &leaf)).collect();
        let mut failure = Error::unauthenticated(NO_ENTRY);
        let mut taking = Vec::new();
        for entry in named {
            match self.vouched(&entry.way, chain, now).await {
                Ok(()) => taking.push(entry),
                Err(error) => failure = error,
            }
        }
        let entry = entry::choose(taking, wanted)?.ok_or(failure)?;
        Ok(Shown {
            proof: Proof::held(&leaf.facts.fingerprint, key_digest, Some(entry.id), now),
            subject: format!("{} {}", leaf.facts.serial, leaf.facts.issuer),
            groups: None,
            entry,
        })
    }

    /// Whether the entry's CA vouches for the chain now.
    async fn vouched(&self, way: &Way, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<()> {
        let Way::X509 { ca_pem, crl_pem, .. } = way else {
            return Err(Error::unauthenticated(NO_ENTRY));
        };
        let Some(ca_pem) = ca_pem else {
            let path = self.path(chain, now).await?;
            return self.judge(&path, now, std::time::Duration::ZERO);
        };
        let root = der_of(ca_pem)?;
        if !covers(ca(ca_pem)?.validity, now) {
            return Err(Error::unauthenticated(
                "the CA of the registration entry is not valid now: ask an administrator to replace it",
            ));
        }
        let root = CertificateDer::from(root);
        let anchors = [anchor(&root)?];
        let lists = crl_pem.as_deref().map(lists).transpose()?.unwrap_or_default();
        let lists: Vec<&CertRevocationList<'_>> = lists.iter().collect();
        // The leaf must be on record as good; of those above it, none may be on record as bad.
        for (depth, unknown) in [
            (RevocationCheckDepth::EndEntity, UnknownStatusPolicy::Deny),
            (RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow),
        ] {
            chain::verify(
                chain,
                &[],
                &anchors,
                revocation(&lists, depth, unknown),
                now,
                |_| Ok(()),
            )
            .map_err(|cause| refused(cause, now))?;
        }
        Ok(())
    }
}

fn refused(cause: chain::Failure, now: Timestamp) -> Error {
    use webpki::Error as Cause;
    match cause {
        chain::Failure::Ours(error) => error,
        chain::Failure::Path(cause) => {
            let text = match &cause {
                Cause::CertExpired { .. } => {
                    format!("the client certificate's chain has ended, and it is {now} here: renew it with its CA")
                }
                Cause::CertNotValidYet { .. } => {
                    format!("the client certificate's chain is not valid yet, and it is {now} here: set the clock")
                }
                Cause::CertRevoked => "the client certificate is revoked by its CA: get another one there".to_owned(),
                Cause::CrlExpired { .. } | Cause::UnknownRevocationStatus => {
                    "the entry's revocation list does not cover the client certificate now: ask an administrator to \
                     renew it (`chancery identity update --crl-file`)"
                        .to_owned()
                }
                _ => "the client certificate does not lead to the entry's CA, or is not for clients: use one that the \
                      CA issued for that"
                    .to_owned(),
            };
            Error::unauthenticated(text).because(cause)
        }
    }
}

fn revocation<'a>(
    lists: &'a [&'a CertRevocationList<'a>],
    depth: RevocationCheckDepth,
    unknown: UnknownStatusPolicy,
) -> Option<RevocationOptions<'a>> {
    let options = RevocationOptionsBuilder::new(lists).ok()?;
    Some(
        options
            .with_depth(depth)
            .with_status_policy(unknown)
            .with_expiration_policy(ExpirationPolicy::Enforce)
            .build(),
    )
}

fn takes(entry: &Entry, leaf: &Leaf) -> bool {
    let Way::X509 { name, .. } = &entry.way else {
        return false;
    };
    match name.split_once(':') {
        Some(("dns", pattern)) => leaf
            .facts
            .names
            .iter()
            .any(|name| matches!(name, Name::Dns(dns) if fits(pattern, dns, '.'))),
        Some(("uri", pattern)) => leaf
            .facts
            .names
            .iter()
            .any(|name| matches!(name, Name::Uri(uri) if fits(pattern, uri, '/'))),
        Some(("subject", wanted)) => canonical_subject(wanted).is_ok_and(|wanted| wanted == leaf.subject),
        _ => false,
    }
}

/// Whether a name fits a pattern, in which `*` stands for one whole part.
fn fits(pattern: &str, name: &str, between: char) -> bool {
    let (mut pattern, mut name) = (pattern.split(between), name.split(between));
    loop {
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some("*"), Some(part)) if !part.is_empty() && part != "*" => {}
            (Some(wanted), Some(part)) if wanted == part && part != "*" => {}
            _ => return false,
        }
    }
}

/// Judges what an entry by certificate says.
pub(super) fn check(ca_pem: Option<&str>, name: &str, crl_pem: Option<&str>) -> Result<()> {
    let wrong = || {
        Error::invalid(format!(
            "`{}` is not a name to ask for: use `dns:web.example.org`, `uri:spiffe://example.org/web` (in both `*` may \
             stand for one whole part, but not in a URI's scheme or host) or `subject:CN=web,O=Example`",
            name.escape_debug()
        ))
    };
    let good = match name.split_once(':') {
        Some(("dns", pattern)) => {
            let concrete: Vec<&str> = pattern
                .split('.')
                .map(|part| if part == "*" { "x" } else { part })
                .collect();
            pattern != "*" && matches!(Name::dns(&concrete.join(".")), Ok(Name::Dns(dns)) if dns == concrete.join("."))
        }
        Some(("uri", pattern)) => {
            Name::uri(&pattern.replace("/*", "/x")).is_ok()
                && !pattern.split('/').take(3).any(|part| part.contains('*'))
        }
        Some(("subject", wanted)) => canonical_subject(wanted).is_ok_and(|subject| !subject.is_empty()),
        _ => false,
    };
    if !good {
        return Err(wrong());
    }
    if let Some(pem) = ca_pem {
        ca(pem)?;
        anchor(&CertificateDer::from(der_of(pem)?))?;
    }
    match (ca_pem, crl_pem) {
        (None, Some(_)) => Err(Error::invalid(
            "our own CA's certificates need no revocation list: leave it out",
        )),
        (_, Some(pem)) if lists(pem)?.is_empty() => Err(Error::invalid(
            "the revocation list is none: give it in PEM (`X509 CRL`)",
        )),
        _ => Ok(()),
    }
}

/// What the CA of an entry says.
pub(super) fn ca(ca_pem: &str) -> Result<Facts> {
    let facts = Facts::read(&der_of(ca_pem)?)
        .map_err(|e| Error::invalid("the CA's certificate cannot be read: give it in PEM").because(e))?;
    match facts.is_ca {
        true => Ok(facts),
        false => Err(Error::invalid(
            "the certificate is not a CA's: give the CA that issues the callers' certificates",
        )),
    }
}

fn der_of(ca_pem: &str) -> Result<Vec<u8>> {
    let wrong = || Error::invalid("the CA is not one certificate in PEM: make an entry for each CA");
    let mut all = pem::decode_all(pem::CERTIFICATE, ca_pem).map_err(|e| wrong().because(e))?;
    match (all.pop(), all.is_empty()) {
        (Some(der), true) => Ok(der),
        _ => Err(wrong()),
    }
}

fn anchor<'a>(root: &'a CertificateDer<'_>) -> Result<TrustAnchor<'a>> {
    webpki::anchor_from_trusted_cert(root)
        .map_err(|e| Error::invalid("the CA's certificate cannot be used: give an X.509 v3 one").because(e))
}

fn lists(crl_pem: &str) -> Result<Vec<CertRevocationList<'static>>> {
    let wrong = || Error::invalid("the revocation list cannot be read: give it in PEM (`X509 CRL`)");
    let all = pem::decode_all(pem::CRL, crl_pem).map_err(|e| wrong().because(e))?;
    all.into_iter()
        .map(CertificateRevocationListDer::from)
        .map(|der| {
            OwnedCertRevocationList::from_der(&der)
                .map(CertRevocationList::from)
                .map_err(|e| wrong().because(e))
        })
        .collect()
}
