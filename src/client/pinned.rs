//! The service's root by its fingerprint, for who has nothing else to trust it by.
//!
//! SECURITY: the roots are fetched over a connection that nothing vouches for, so what comes is compared with the
//! fingerprint, and only the root that has it is taken. Nothing of ours goes over that connection; whatever comes next is
//! verified against that root, in a handshake of its own.

use std::fmt;
use std::str::FromStr;

use reqwest::{Response, Url};

use super::error::{Error, Kind, Result};
use super::{CONNECT_TIMEOUT, REQUEST_TIMEOUT, is_loopback, served};
use crate::x509::chain::sha256;
use crate::x509::pem;

/// Where the service shows its roots to everybody.
const ROOTS: &str = "/roots.pem";
/// The largest file of roots, in bytes.
const LARGEST: usize = 256 * 1024;

/// What a root is known by: SHA-256 of its DER, `sha256:` and 64 hexadecimal digits (colons between them are passed over,
/// as OpenSSL writes them).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Whether it is the one of this root, DER.
    pub fn is_of(&self, root: &[u8]) -> bool {
        sha256(root) == self.0
    }
}

impl FromStr for Fingerprint {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("sha256:").unwrap_or(text).replace(':', "");
        match digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            true => Ok(Self(digits.to_ascii_lowercase())),
            false => Err("write sha256: and the 64 hexadecimal digits of the root's SHA-256 fingerprint".to_owned()),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.0)
    }
}

/// The root with this fingerprint, PEM, as the service at `address` shows it.
///
/// # Errors
/// [`Kind::Unreachable`]; [`Kind::Protocol`], if the service does not show such a root.
pub async fn root(address: &str, fingerprint: &Fingerprint) -> Result<String> {
    let url = Url::parse(address).and_then(|base| base.join(ROOTS)).map_err(|e| {
        Error::local(format!("`{}` is not the address of a service", address.escape_debug())).because(e)
    })?;
    let mut http = reqwest::Client::builder()
        .tls_backend_preconfigured(served::configuration()?)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(&url) {
        http = http.no_proxy();
    }
    let http = http
        .build()
        .map_err(|e| Error::local("the HTTP client cannot be made").because(e))?;
    let unreachable = |e: reqwest::Error| Error::new(Kind::Unreachable, format!("cannot reach `{address}`")).because(e);
    let answer = http.get(url).send().await.map_err(unreachable)?;
    let other = || {
        Error::new(
            Kind::Protocol,
            format!(
                "`{address}` shows no root with fingerprint `{fingerprint}`: it is another service, or somebody stands in \
                 between; compare the fingerprint with whoever runs the service"
            ),
        )
    };
    if !answer.status().is_success() {
        return Err(other());
    }
    let text = read(answer).await.map_err(unreachable)?.ok_or_else(other)?;
    let roots = pem::decode_all(pem::CERTIFICATE, &text).map_err(|e| other().because(e))?;
    let root = roots.iter().find(|der| fingerprint.is_of(der)).ok_or_else(other)?;
    Ok(pem::encode(pem::CERTIFICATE, root))
}

/// The text of an answer; none if it is too large or no text.
async fn read(mut answer: Response) -> Result<Option<String>, reqwest::Error> {
    let mut text = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        text.extend_from_slice(&chunk);
        if text.len() > LARGEST {
            return Ok(None);
        }
    }
    Ok(String::from_utf8(text).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_taken_as_people_write_it() {
        let hex = "ab".repeat(32);
        let known = Fingerprint(hex.clone());
        assert_eq!(format!("sha256:{hex}").parse(), Ok(known.clone()));
        assert_eq!(vec!["AB"; 32].join(":").parse(), Ok(known.clone()));
        assert_eq!(known.to_string().parse(), Ok(known));
        for wrong in [
            "",
            "sha256:",
            "sha1:abcd",
            &hex[1..],
            &format!("{hex}0"),
            &"xy".repeat(32),
        ] {
            assert!(wrong.parse::<Fingerprint>().is_err(), "{wrong}");
        }
    }
}
