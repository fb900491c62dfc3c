//! A webhook: batches by HTTP POST, signed as Standard Webhooks are (standardwebhooks.com).

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::Batch;
use super::settings::Format;
use crate::clock::Timestamp;
use crate::secret::Secret;

/// What Standard Webhooks ask of a key.
const SHORTEST_KEY: usize = 24;
/// An answer is read so far, so that the connection can be used again.
const LARGEST_ANSWER: usize = 64 << 10;

/// What batches are signed with.
pub(super) struct Key(Box<hmac::Key>);

impl Key {
    /// Of these bytes, or of what they are the base64 of, if they begin with `whsec_`.
    ///
    /// # Errors
    /// A text that says what is wrong with them.
    pub(super) fn new(secret: &Secret) -> Result<Self, String> {
        let decoded = match secret.expose().strip_prefix(b"whsec_") {
            Some(text) => Secret::new(
                BASE64_STANDARD
                    .decode(text)
                    .map_err(|_| "what follows `whsec_` in its key is not base64: correct it".to_owned())?,
            ),
            None => secret.clone(),
        };
        if decoded.len() < SHORTEST_KEY {
            return Err(format!(
                "its key is shorter than {SHORTEST_KEY} bytes: give a longer one"
            ));
        }
        Ok(Self(Box::new(hmac::Key::new(hmac::HMAC_SHA256, decoded.expose()))))
    }

    /// The signature of a message with this id, sent at this time.
    fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{}.", at.unix()).as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// Where signed messages are posted.
pub(super) struct Webhook {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    key: Option<Key>,
}

impl Webhook {
    /// Trusts the roots in `ca`, or else the system's.
    ///
    /// # Errors
    /// A text that says what is wrong.
    pub(super) fn new(url: Url, key: Option<Key>, ca: Option<RootCertStore>) -> Result<Self, String> {
        let provider = Arc::new(provider::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca {
            Some(roots) => {
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|e| e.to_string())?
                    .with_root_certificates(roots)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
            None => builder
                .with_provider_and_platform_verifier(provider)
                .map_err(|e| format!("the system's roots cannot be read: {e}"))?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = builder
            // The settings let plain http through to this host only.
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url,
            key,
        })
    }

    /// Sends a batch; whoever answers 2xx has taken it.
    pub(super) async fn send(&self, batch: &Batch, format: Format, now: Timestamp) -> Result<(), String> {
        let (body, kind) = match format {
            Format::Json => (array(batch), "application/json"),
            Format::Ndjson => (batch.lines(), "application/x-ndjson"),
        };
        // The same records have the same id, however often they are sent.
        let id = format!("{}-{}-{}", batch.node, batch.first, batch.until());
        self.post(&id, kind, body, now).await
    }

    /// Posts a message; whoever answers 2xx has taken it. It is signed if there is a key.
    pub(super) async fn post(&self, id: &str, kind: &str, body: Vec<u8>, now: Timestamp) -> Result<(), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.as_str())
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now.unix());
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", key.sign(id, now, &body));
        }
        let request = request.body(Full::new(Bytes::from(body))).map_err(|e| e.to_string())?;
        let answer = self.client.request(request).await.map_err(|e| told(&e))?;
        let status = answer.status();
        // What it says beside its status is of no use.
        let _ = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
        match status.is_success() {
            true => Ok(()),
            false => Err(format!("it answered {status}")),
        }
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn array(batch: &Batch) -> Vec<u8> {
    let mut body = vec![b'['];
    for (index, record) in (batch.first..).zip(&batch.records) {
        if index > batch.first {
            body.push(b',');
        }
        body.extend_from_slice(&batch.line(index, record));
    }
    body.push(b']');
    body
}

/// Where batches may be sent.
///
/// # Errors
/// A text that says what is wrong. It holds nothing of an address, in which there may be a password.
pub(super) fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|e| format!("`url` is none: {e}"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("`url` holds a user or a password, which do not stand in a configuration: remove them".to_owned());
    }
    let is_local = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    // SECURITY: records name people and places, and whoever could read the way could keep them back.
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_local => Ok(url),
        _ => Err("`url` is not encrypted: give an https url (http only to this host itself)".to_owned()),
    }
}

/// The certificates of a PEM file.
///
/// # Errors
/// A text that says what is wrong.
pub(super) fn roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |why: String| format!("its ca file `{}` is not usable: {why}", path.display());
    let pem = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots
            .add(certificate.map_err(|e| wrong(e.to_string()))?)
            .map_err(|e| wrong(e.to_string()))?;
    }
    match roots.is_empty() {
        true => Err(wrong("it holds no certificate".to_owned())),
        false => Ok(roots),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::forward::tests::batch;

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let key = Key::new(&Secret::new(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_vec())).unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_unix(1_614_265_330),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_batch_is_an_array_of_what_the_lines_are() {
        let batch = batch(3, 2);
        let array: Vec<serde_json::Value> = serde_json::from_slice(&array(&batch)).unwrap();
        let lines: Vec<serde_json::Value> = String::from_utf8(batch.lines())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(array, lines);
        assert_eq!((&array[1]["index"], &array[1]["node"]), (&4.into(), &"n1".into()));
    }
}
