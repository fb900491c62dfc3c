//! The HTTP client under the ACME client: deadlines, a bound on answers, TCP_NODELAY, the issuer's own roots.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error as ClientError, HttpClient};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::timeout;

use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};

/// From the first byte out to the last byte in, connecting included.
const DEADLINE: Duration = Duration::from_secs(15);
/// No ACME answer comes near it: a chain is some kilobytes.
const LARGEST_ANSWER: usize = 1 << 20;
/// For renewal information without a Retry-After (RFC 9773 §4.3.2).
const SIX_HOURS: HeaderValue = HeaderValue::from_static("21600");

tokio::task_local! {
    /// What the last answer of this task's conversation said about when to come again. The ACME client does not pass
    /// it on with an error.
    static ADVICE: Cell<Option<Duration>>;
}

/// Runs one conversation; what the server advises comes back with its failure.
pub(super) async fn advised<T>(
    conversation: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, (ClientError, Option<Duration>)> {
    ADVICE
        .scope(Cell::new(None), async {
            let result = conversation.await;
            result.map_err(|error| (error, ADVICE.with(Cell::get)))
        })
        .await
}

/// A client for one issuer. Cheap to clone; connections are kept and shared.
#[derive(Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    clock: Arc<dyn Clock>,
}

impl Http {
    /// Trusts `ca_pem`, or else the system's roots.
    ///
    /// # Errors
    /// `Invalid` if `ca_pem` holds no certificate.
    pub(super) fn new(ca_pem: Option<&str>, clock: Arc<dyn Clock>) -> Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca_pem {
            Some(pem) => {
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|e| Error::internal("tls versions").because(e))?
                    .with_root_certificates(read_roots(pem)?)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
            None => builder
                .with_provider_and_platform_verifier(provider)
                .map_err(|e| Error::unavailable(format!("the system's roots cannot be read: {e}")).because(e))?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        // Without it each step of an order waits 40 ms for a delayed acknowledgement.
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(DEADLINE / 3));
        let connector = builder.https_only().enable_http1().enable_http2().wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            clock,
        })
    }
}

/// Reads roots from PEM.
///
/// # Errors
/// `Invalid` if there is none in it or one does not parse.
pub(super) fn read_roots(pem: &str) -> Result<RootCertStore> {
    let wrong = |why: String| {
        Error::invalid(format!(
            "the issuer's ca file is not usable: {why}; give its root as pem"
        ))
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots
            .add(certificate.map_err(|e| wrong(e.to_string()))?)
            .map_err(|e| wrong(e.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, ClientError>> + Send>> {
        let get = request.method() == Method::GET;
        let sent = self.client.request(request);
        let clock = self.clock.clone();
        Box::pin(async move {
            let answer = timeout(DEADLINE, async {
                let (parts, body) = sent.await.map_err(|e| ClientError::Other(e.into()))?.into_parts();
                let body = Limited::new(body, LARGEST_ANSWER)
                    .collect()
                    .await
                    .map_err(ClientError::Other)?;
                Ok::<_, ClientError>((parts, body.to_bytes()))
            });
            let (mut parts, body) = answer
                .await
                .map_err(|_| ClientError::Other(format!("no answer within {} s", DEADLINE.as_secs()).into()))??;
            let advice = parts
                .headers
                .get(RETRY_AFTER)
                .and_then(|value| read_retry_after(value, clock.now()));
            // Outside of a conversation nobody asks for it.
            let _ = ADVICE.try_with(|cell| cell.set(advice));
            if get && parts.status.is_success() && !parts.headers.contains_key(RETRY_AFTER) {
                // The ACME client takes its absence for an error.
                parts.headers.insert(RETRY_AFTER, SIX_HOURS);
            }
            Ok(BytesResponse {
                parts,
                body: Box::new(body),
            })
        })
    }
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn read_retry_after(value: &HeaderValue, now: Timestamp) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    // An HTTP date is an RFC 2822 date but for the name of its zone.
    let at = OffsetDateTime::parse(&text.replace("GMT", "+0000"), &Rfc2822).ok()?;
    Some(Timestamp::from(at).since(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let read =
            |text: &str| read_retry_after(&HeaderValue::from_str(text).unwrap(), Timestamp::from_unix(946_684_700));
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Fri, 31 Dec 1999 23:59:59 GMT"), Some(Duration::from_secs(99)));
        assert_eq!(read("Thu, 31 Dec 1998 23:59:59 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        for pem in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let error = read_roots(pem).unwrap_err();
            assert!(error.public().contains("ca file"), "{error}");
        }
    }
}
