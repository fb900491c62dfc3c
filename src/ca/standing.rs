//! How a certificate stands: what those should know who think of renewing it (RFC 9773).

use super::{Authority, Stage, State, repo};
use crate::error::{Error, Result};
use crate::x509::profile::Validity;
use crate::x509::serial::Serial;

/// How a certificate of this authority stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its names with their kinds, as lists show them.
    pub names: Vec<String>,
    /// From when to when.
    pub validity: Validity,
    /// Whether it must not be relied on any more, so that it is to be replaced at once.
    pub is_lost: bool,
}

impl Authority {
    /// How the certificate with this serial stands, of the issuer whose key has this identifier (RFC 5280 §4.2.1.1).
    ///
    /// # Errors
    /// `NotFound`, if there is none or it was never completed; the store's.
    pub async fn standing(&self, issuer_key_id: &[u8], serial: &Serial) -> Result<Standing> {
        let unknown = || {
            Error::not_found(format!(
                "this authority has not issued a certificate `{serial}` by the issuer that is named: ask the authority \
                 that has"
            ))
        };
        self.refresh().await?;
        let issuers = self.0.issuers.load_full();
        let member = issuers
            .members()
            .find(|member| member.signer.issuer.key_id() == issuer_key_id);
        let member = member.ok_or_else(unknown)?;
        let found = repo::find(self.0.gate.store().read(), &serial.to_string()).await?;
        let found = found.filter(|found| found.issuer == member.signer.label() && found.state != State::Reserved);
        let found = found.ok_or_else(unknown)?;
        let unfit = repo::unfit(self.0.gate.store().read(), &[&found.spki_sha256]).await?;
        Ok(Standing {
            is_lost: member.stage >= Stage::Tainted || matches!(found.state, State::Revoked { .. }) || unfit.is_some(),
            names: found.names,
            validity: found.validity,
        })
    }
}
