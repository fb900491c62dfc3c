//! Looks at what a TLS server really serves, and compares it with what it should.
//!
//! The chain is not judged here: the bytes of the leaf are compared, which is stricter than any path. The handshake's
//! signature is checked, so that the server is known to hold the key and not only to show the certificate.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::LONGEST_STEP_S;
use super::leaf::Leaf;
use crate::clock::Clock;
use crate::error::{Error, Result};

const ATTEMPT: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Where a certificate should be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// `host:port`; a literal IPv6 address in brackets.
    pub address: String,
    /// The name to ask for (SNI).
    pub server_name: String,
    /// How long the server may take to serve it.
    pub within: Duration,
}

impl Endpoint {
    /// Checks what can be checked without connecting.
    ///
    /// # Errors
    /// `Invalid`, naming what is wrong.
    pub fn check(&self) -> Result<()> {
        let port = self.address.rsplit_once(':').filter(|(host, _)| !host.is_empty());
        if port
            .and_then(|(_, port)| port.parse::<u16>().ok())
            .is_none_or(|port| port == 0)
        {
            return Err(Error::invalid(format!(
                "`{}` is no endpoint to verify at: give `host:port`",
                self.address.escape_debug()
            )));
        }
        if !(1..=LONGEST_STEP_S).contains(&u32::try_from(self.within.as_secs()).unwrap_or(u32::MAX)) {
            return Err(Error::invalid(format!(
                "`{}` seconds is no time to verify within: use 1 to {LONGEST_STEP_S}",
                self.within.as_secs()
            )));
        }
        self.name().map(drop)
    }

    fn name(&self) -> Result<ServerName<'static>> {
        ServerName::try_from(self.server_name.clone()).map_err(|e| {
            Error::invalid(format!(
                "`{}` is no server name: give a DNS name without a wildcard, or an address",
                self.server_name.escape_debug()
            ))
            .because(e)
        })
    }
}

/// Connects until `expected` (a leaf in DER) is served, for at most `within`.
///
/// # Errors
/// `Unavailable`; the text says what is served instead, or why nothing is.
pub async fn wait_until_served(endpoint: &Endpoint, expected: &[u8], clock: &dyn Clock) -> Result<()> {
    let limit_ms = i64::try_from(endpoint.within.as_millis()).unwrap_or(i64::MAX);
    let begun = clock.now_millis();
    let mut pause = FIRST_PAUSE;
    loop {
        let seen = match timeout(ATTEMPT, leaf_served(endpoint)).await {
            Ok(seen) => seen,
            Err(_) => Err(format!("no TLS handshake within {} s", ATTEMPT.as_secs())),
        };
        let instead = match seen {
            Ok(leaf) if leaf == expected => return Ok(()),
            Ok(leaf) => describe_difference(&leaf, expected),
            Err(why) => why,
        };
        let pause_ms = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
        if clock.now_millis().saturating_sub(begun).saturating_add(pause_ms) > limit_ms {
            return Err(Error::unavailable(format!(
                "the new certificate is not served at `{}` as `{}`: {instead}",
                endpoint.address, endpoint.server_name
            )));
        }
        clock.sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
    }
}

fn describe_difference(served: &[u8], expected: &[u8]) -> String {
    match (Leaf::parse(served), Leaf::parse(expected)) {
        (Ok(served), Ok(expected)) => format!(
            "serial {} (valid until {}) is served instead of serial {}; let the hook make the server read its files again",
            served.serial, served.validity.not_after, expected.serial
        ),
        _ => "something that is no certificate is served instead".to_owned(),
    }
}

/// One connection; the leaf's DER.
async fn leaf_served(endpoint: &Endpoint) -> Result<Vec<u8>, String> {
    let name = endpoint.name().map_err(|e| e.public().to_owned())?;
    let seen = Arc::new(Danger::new(aws_lc_rs::default_provider()));
    let mut config = ClientConfig::builder_with_provider(seen.provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(seen.clone())
        .with_no_client_auth();
    // A resumed session would show nothing.
    config.resumption = rustls::client::Resumption::disabled();
    let stream = TcpStream::connect(&endpoint.address)
        .await
        .map_err(|e| format!("connecting failed: {e}"))?;
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let outcome = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let leaf = seen.leaf.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (outcome, leaf) {
        (Ok(_), Some(leaf)) => Ok(leaf),
        (Ok(_), None) => Err("the server showed no certificate".to_owned()),
        // A server that wants a client certificate ends the handshake, but has proven its key by then in TLS 1.3.
        (Err(e), _) => Err(format!("the TLS handshake failed: {e}")),
    }
}

/// Accepts any certificate and keeps it. SECURITY: nothing is ever sent over such a connection.
#[derive(Debug)]
struct Danger {
    provider: Arc<CryptoProvider>,
    leaf: Mutex<Option<Vec<u8>>>,
}

impl Danger {
    fn new(provider: CryptoProvider) -> Self {
        Self {
            provider: Arc::new(provider),
            leaf: Mutex::new(None),
        }
    }
}

impl ServerCertVerifier for Danger {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.leaf.lock().unwrap_or_else(PoisonError::into_inner) = Some(end_entity.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rustls::ServerConfig;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::clock::SystemClock;
    use crate::lifecycle::leaf::tests::self_signed;

    /// Serves `first` to `switch_after` connections, then `then`.
    async fn serve(first: (Vec<u8>, Vec<u8>), then: (Vec<u8>, Vec<u8>), switch_after: usize) -> String {
        let acceptor = |(cert, key): (Vec<u8>, Vec<u8>)| {
            let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_no_client_auth()
                .with_single_cert(
                    vec![CertificateDer::from(cert)],
                    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)),
                )
                .unwrap();
            TlsAcceptor::from(Arc::new(config))
        };
        let (first, then) = (acceptor(first), acceptor(then));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            for n in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = if n < switch_after { &first } else { &then };
                if let Ok(mut tls) = acceptor.accept(stream).await {
                    let _ = tls.shutdown().await;
                }
            }
        });
        address
    }

    fn endpoint(address: String) -> Endpoint {
        Endpoint {
            address,
            server_name: "x.test".to_owned(),
            within: Duration::from_secs(1),
        }
    }

    #[tokio::test]
    async fn a_server_may_take_its_time() {
        let (old, new) = (self_signed(), self_signed());
        let address = serve(old, new.clone(), 2).await;
        wait_until_served(&endpoint(address), &new.0, &SystemClock)
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn the_old_certificate_is_named() {
        let (old, new) = (self_signed(), self_signed());
        let address = serve(old.clone(), old.clone(), 0).await;
        let error = wait_until_served(&endpoint(address), &new.0, &SystemClock)
            .await
            .unwrap_err();
        let serial = Leaf::parse(&old.0).unwrap().serial;
        assert!(
            error.public().contains(&format!("serial {serial} (valid until")),
            "{error}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_said() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let error = wait_until_served(&endpoint(port.to_string()), b"x", &SystemClock)
            .await
            .unwrap_err();
        assert!(error.public().contains("connecting failed"), "{error}");
    }

    #[test]
    fn endpoints_are_checked() {
        for address in ["x", ":443", "x:0", "x:70000"] {
            assert!(endpoint(address.to_owned()).check().is_err(), "{address}");
        }
        assert!(endpoint("[::1]:443".to_owned()).check().is_ok());
        let wild = Endpoint {
            server_name: "*.x.test".to_owned(),
            ..endpoint("x:443".to_owned())
        };
        assert!(wild.check().is_err());
        for seconds in [0, 3600] {
            let odd = Endpoint {
                within: Duration::from_secs(seconds),
                ..endpoint("x:443".to_owned())
            };
            assert!(odd.check().unwrap_err().public().contains("use 1 to"));
        }
    }
}
