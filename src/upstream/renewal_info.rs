//! Renewal information (RFC 9773, ARI): when the issuer would like a certificate to be renewed.

use std::time::Duration;

use instant_acme::{CertificateIdentifier, Error as ClientError};
use rustls::pki_types::CertificateDer;

use super::Upstream;
use super::account::insist;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::Permit;
use crate::id::Label;

/// What the issuer suggests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suggestion {
    /// Start of the window.
    pub start: Timestamp,
    /// End of the window, not before its start.
    pub end: Timestamp,
    /// When to ask again (RFC 9773 §4.3), not yet bounded.
    pub ask_again_in: Duration,
    /// A page that explains the window.
    pub explanation: Option<String>,
}

impl Upstream {
    /// What `issuer` suggests for the certificate `leaf` (DER). `None`: it does not say, and will not.
    ///
    /// # Errors
    /// The issuer's, classed. A failure must never keep anybody from renewing.
    pub async fn suggestion(&self, _permit: &Permit, issuer: &Label, leaf: &[u8]) -> Result<Option<Suggestion>> {
        let session = self.session(issuer).await?;
        let leaf = CertificateDer::from(leaf);
        let Ok(id) = CertificateIdentifier::try_from(&leaf) else {
            return Ok(None);
        };
        let (info, ask_again_in) = match insist!(session.account.renewal_info(&id)) {
            Ok(found) => found,
            Err((ClientError::Unsupported(_), _)) => return Ok(None),
            Err(failure) => return Err(self.failed(issuer, "renewal information", failure).into()),
        };
        let (start, end) = (info.suggested_window.start.into(), info.suggested_window.end.into());
        // RFC 9773 §4.2: a window that ends before it starts is none.
        Ok((start <= end).then_some(Suggestion {
            start,
            end,
            ask_again_in,
            explanation: info.explanation_url,
        }))
    }
}
