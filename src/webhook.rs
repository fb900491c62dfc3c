//! Webhooks of the operator's: an HTTP POST, signed as Standard Webhooks are (standardwebhooks.com).
//!
//! SECURITY: HTTPS only, or plain HTTP to this machine itself; no redirect is followed, and what is answered beside the
//! status is thrown away, because it may repeat what was sent. The address must never come from a caller of the API.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::crypto::aws_lc_rs as provider;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;
use url::{Host, Url};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// What Standard Webhooks ask of a key, in bytes.
const SHORTEST_KEY: usize = 24;
/// An answer is read so far, so that the connection can be used again.
const LARGEST_ANSWER: usize = 64 << 10;

/// What messages are signed with.
struct Key(hmac::Key);

impl Key {
    /// Of these bytes, or of what they are the base64 of, if they begin with `whsec_`.
    fn new(secret: &Secret) -> Result<Self> {
        let decoded =
            match secret.expose().strip_prefix(b"whsec_") {
                Some(text) => Secret::new(BASE64_STANDARD.decode(text).map_err(|_| {
                    Error::invalid("what follows `whsec_` in the webhook's key is not base64: correct it")
                })?),
                None => secret.clone(),
            };
        if decoded.len() < SHORTEST_KEY {
            return Err(Error::invalid(format!(
                "the webhook's key is shorter than {SHORTEST_KEY} bytes: give a longer one"
            )));
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, decoded.expose())))
    }

    /// The signature of a message with this id, sent at this time.
    fn sign(&self, id: &str, at: Timestamp, body: &[u8]) -> String {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(format!("{id}.{}.", at.unix()).as_bytes());
        context.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(context.sign()))
    }
}

/// A webhook. Connections are kept and shared.
pub struct Webhook {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    url: Url,
    key: Option<Key>,
    limit: Duration,
}

impl Webhook {
    /// One at `url`, whose messages are signed with `key` if there is one. Trusts the roots in the file `ca`, or else the system's. An
    /// answer may take `limit`, connecting included.
    ///
    /// # Errors
    /// `Invalid`, with what is wrong.
    pub fn new(url: &str, key: Option<&Secret>, ca: Option<&Path>, limit: Duration) -> Result<Self> {
        let url = Url::parse(url).map_err(|e| Error::invalid(format!("the webhook's `url` is none: {e}")))?;
        if url.scheme() != "https" && !(url.scheme() == "http" && is_local(&url)) {
            return Err(Error::invalid(
                "the webhook's `url` is not encrypted: give an https url (http only to this machine itself)",
            ));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::invalid(
                "the webhook's `url` holds a user or a password: leave them out, messages are signed",
            ));
        }
        let provider = Arc::new(provider::default_provider());
        let builder = HttpsConnectorBuilder::new();
        let builder = match ca {
            Some(path) => {
                let config = ClientConfig::builder_with_provider(provider)
                    .with_safe_default_protocol_versions()
                    .map_err(|e| Error::internal("tls versions").because(e))?
                    .with_root_certificates(roots(path)?)
                    .with_no_client_auth();
                builder.with_tls_config(config)
            }
            None => builder
                .with_provider_and_platform_verifier(provider)
                .map_err(|e| Error::invalid(format!("the system's roots cannot be read: {e}")).because(e))?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector = builder
            .https_or_http()
            .enable_http1()
            .enable_http2()
            .wrap_connector(tcp);
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            url,
            key: key.map(Key::new).transpose()?,
            limit,
        })
    }

    /// Sends a message of this content type, sent at `now`; the same message has the same `id`, however often it is sent.
    /// Whoever answers in the two hundreds has taken it.
    ///
    /// # Errors
    /// A text that says what came instead of an answer in the two hundreds, never what it said.
    pub async fn post(
        &self,
        id: &str,
        kind: &str,
        body: impl AsRef<[u8]> + Send + 'static,
        now: Timestamp,
    ) -> Result<(), String> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(self.url.as_str())
            .header(CONTENT_TYPE, kind)
            .header(USER_AGENT, concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now.unix());
        if let Some(key) = &self.key {
            request = request.header("webhook-signature", key.sign(id, now, body.as_ref()));
        }
        let request = request
            .body(Full::new(Bytes::from_owner(body)))
            .map_err(|e| e.to_string())?;
        let sent = async {
            let answer = self.client.request(request).await.map_err(|e| told(&e))?;
            let status = answer.status();
            let _ = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await;
            Ok::<StatusCode, String>(status)
        };
        match timeout(self.limit, sent).await {
            Ok(Ok(status)) if status.is_success() => Ok(()),
            Ok(Ok(status)) => Err(format!("answered {status}")),
            Ok(Err(why)) => Err(format!("was not reached: {why}")),
            Err(_) => Err(format!("did not answer within {} s", self.limit.as_secs())),
        }
    }
}

fn is_local(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
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

fn roots(path: &Path) -> Result<RootCertStore> {
    let wrong = |why: String| {
        Error::invalid(format!(
            "the webhook's ca file `{}` is not usable: {why}",
            path.display()
        ))
    };
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

    const KEY: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    /// The example of the Standard Webhooks specification's libraries.
    #[test]
    fn a_signature_is_that_of_standard_webhooks() {
        let key = Key::new(&Secret::new(KEY.to_vec())).unwrap();
        let signature = key.sign(
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            Timestamp::from_unix(1_614_265_330),
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn an_address_is_encrypted_or_this_machine() {
        let made =
            |url: &str| Webhook::new(url, Some(&Secret::new(KEY.to_vec())), None, Duration::from_secs(1)).map(drop);
        for good in [
            "https://rotate.example/x",
            "http://127.0.0.1:9/x",
            "http://[::1]/",
            "http://localhost/",
        ] {
            made(good).unwrap();
        }
        for (bad, why) in [
            ("http://rotate.example/", "not encrypted"),
            ("file:///etc/passwd", "not encrypted"),
            ("rotate", "is none"),
            ("https://me:pw@rotate.example/", "a password"),
        ] {
            let error = made(bad).unwrap_err();
            assert!(error.public().contains(why), "{error}");
        }
        assert!(Key::new(&Secret::new(b"short".to_vec())).is_err());
    }
}
