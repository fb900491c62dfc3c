//! When a certificate is best renewed, and which one an order replaces (RFC 9773).

use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;

use super::Acme;
use super::problem::Problem;
use crate::clock::Timestamp;
use crate::error::Result;
use crate::x509::profile::Validity;
use crate::x509::serial::Serial;

/// How long clients wait until they ask again, at most.
const LONGEST: Duration = Duration::from_secs(6 * 3_600);
/// And at least.
const SHORTEST: Duration = Duration::from_secs(60);

/// Which certificate is meant (RFC 9773 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateId {
    /// The identifier of its issuer's key.
    pub(super) issuer_key_id: Vec<u8>,
    /// Its serial number.
    pub(super) serial: Serial,
}

impl FromStr for CertificateId {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = || {
            Problem::malformed(format!(
                "`{}` does not name a certificate: use the base64url, without `=`, of its authority key identifier, a \
                 dot, and that of its serial number as in DER",
                text.escape_debug()
            ))
        };
        let (key_id, serial) = text.split_once('.').ok_or_else(refuse)?;
        let decode = |part: &str| BASE64URL.decode(part).map_err(|_| refuse());
        Ok(Self {
            issuer_key_id: decode(key_id)?,
            serial: Serial::from_der_content(&decode(serial)?).map_err(|_| refuse())?,
        })
    }
}

/// When a certificate is best renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenewalInfo {
    /// From when on. In the past: at once.
    pub start: Timestamp,
    /// Until when; later than `start`.
    pub end: Timestamp,
    /// How long clients wait until they ask again.
    pub ask_again_in: Duration,
    /// Whether it is to be replaced before its time.
    pub is_early: bool,
}

impl RenewalInfo {
    /// INVARIANT: the window's end is behind its start, however short the lifetime (RFC 9773 §4.2).
    fn new(validity: Validity, is_lost: bool, now: Timestamp) -> Self {
        let life = validity.not_after.since(validity.not_before);
        let (start, end) = if is_lost {
            (now - LONGEST, now - Duration::from_secs(1))
        } else {
            (validity.not_before + life * 2 / 3, validity.not_before + life * 5 / 6)
        };
        Self {
            start,
            end: end.max(start + Duration::from_secs(1)),
            ask_again_in: (life / 12).clamp(SHORTEST, LONGEST),
            is_early: is_lost,
        }
    }
}

impl Acme {
    /// When the certificate with this id is best renewed (RFC 9773 §4).
    ///
    /// # Errors
    /// `malformed` for what is no id, with 404 if this authority has issued no such certificate; the store's.
    pub async fn renewal_info(&self, id: &str) -> Result<RenewalInfo> {
        let id: CertificateId = id.parse()?;
        let standing = self.0.authority.standing(&id.issuer_key_id, &id.serial).await?;
        Ok(RenewalInfo::new(standing.validity, standing.is_lost, self.now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn row_a2_ids_are_read_as_the_rfc_spells_them() {
        // RFC 9773 §4.1's example.
        let id: CertificateId = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".parse().unwrap();
        assert_eq!(
            hex::encode(id.issuer_key_id),
            "69885b6b87464041e1b37b847ba0ae2cde01c8d4"
        );
        assert_eq!(id.serial.to_string(), "87654321");
        for bad in [
            "",
            ".",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE=",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.h2VDIQ",
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE.x",
            "a+hb.AIdlQyE",
        ] {
            assert!(bad.parse::<CertificateId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn row_a3_row_a9_a_window_ends_behind_its_start_and_before_the_certificate() {
        let now = Timestamp::from_unix(1_000_000);
        for life in [0, 1, 2, 60, 3_600, 86_400 * 90] {
            let validity = Validity {
                not_before: now,
                not_after: now + Duration::from_secs(life),
            };
            for is_lost in [false, true] {
                let info = RenewalInfo::new(validity, is_lost, now);
                assert!(info.start < info.end, "{life}");
                assert!(life < 3 || info.end < validity.not_after, "{life}");
                assert!(!is_lost || info.end < now, "{life}");
                assert!(info.ask_again_in >= SHORTEST && info.ask_again_in <= LONGEST);
            }
        }
    }
}
