//! What a TLS server shows to anybody: its chain, to be looked at, not to be trusted.

use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::error::{Error, Kind, Result};

/// How long connecting and the handshake may take, each.
const PATIENCE: Duration = Duration::from_secs(10);

/// The chain, DER, leaf first, that the server at `host:port` shows for that host. Nothing is sent to it, and only
/// that it holds the leaf's key is checked.
///
/// # Errors
/// [`Kind::Local`] if the address is none, [`Kind::Unreachable`] if no TLS server answers.
pub async fn served_chain(address: &str) -> Result<Vec<CertificateDer<'static>>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
        .map_err(|e| Error::local(format!("`{}` is not host:port", address.escape_debug())).because(e))?;
    let silent = |_| {
        Error::new(
            Kind::Unreachable,
            format!("`{address}` did not answer in time: check that a TLS service listens there"),
        )
    };
    let stream = timeout(PATIENCE, TcpStream::connect(address))
        .await
        .map_err(silent)?
        .map_err(|e| Error::new(Kind::Unreachable, format!("cannot reach `{address}`: {e}")).because(e))?;
    let connector = TlsConnector::from(Arc::new(configuration()?));
    let stream = timeout(PATIENCE, connector.connect(name, stream))
        .await
        .map_err(silent)?
        .map_err(|e| Error::new(Kind::Unreachable, format!("no TLS handshake with `{address}`: {e}")).because(e))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    Ok(chain.iter().map(|der| der.clone().into_owned()).collect())
}

/// TLS to whoever answers.
pub(super) fn configuration() -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::local("TLS cannot be set up").because(e))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyChain(provider)))
        .with_no_client_auth())
}

/// SECURITY: accepts every chain. It is for looking only: nothing secret goes over such a connection, and nothing that
/// comes over it is believed.
#[derive(Debug)]
struct AnyChain(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyChain {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
