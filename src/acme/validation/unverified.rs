//! TLS with whoever answers: no certificate is verified, since the one who answers is still to get one.
//!
//! SECURITY: what comes over such a connection proves no more than what comes over plain TCP. The peer must hold the
//! key of the certificate it shows, so that it cannot pass on somebody else's.

use std::sync::{Arc, OnceLock};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, SignatureScheme};
use webpki::RawPublicKeyEntity;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Failure, FailureKind};

/// The certificate that was shown.
#[derive(Debug)]
pub(super) struct Shown {
    provider: Arc<CryptoProvider>,
    leaf: OnceLock<Vec<u8>>,
}

impl Shown {
    /// In DER.
    pub(super) fn leaf(&self) -> &[u8] {
        self.leaf.get().map(Vec::as_slice).unwrap_or_default()
    }
}

/// TLS 1.2 or newer (RFC 8737 §4), with the one protocol, for one connection.
///
/// # Errors
/// `Tls`, if the library refuses its own defaults.
pub(super) fn config(protocol: &[u8]) -> Result<(Arc<ClientConfig>, Arc<Shown>), Failure> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let shown = Arc::new(Shown {
        provider: provider.clone(),
        leaf: OnceLock::new(),
    });
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Failure::new(FailureKind::Tls, e.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(shown.clone())
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    // A resumed session would show no certificate.
    config.resumption = Resumption::disabled();
    Ok((Arc::new(config), shown))
}

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let _ = self.leaf.set(end_entity.to_vec());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Shown {
    /// By the bare key: the library's own way refuses certificates with a critical extension that it does not know,
    /// which is what tls-alpn-01 is about.
    fn verify(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let unreadable = |_| rustls::Error::InvalidCertificate(CertificateError::BadEncoding);
        let (_, parsed) = X509Certificate::from_der(cert).map_err(|_| unreadable(()))?;
        let spki = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
        let key = RawPublicKeyEntity::try_from(&spki).map_err(|_| unreadable(()))?;
        let algorithms = self.provider.signature_verification_algorithms.mapping.iter();
        // In TLS 1.2 a scheme does not say the curve, so that several algorithms may be meant.
        let fits = algorithms
            .filter(|(scheme, _)| *scheme == dss.scheme)
            .flat_map(|(_, algorithms)| algorithms.iter())
            .any(|algorithm| key.verify_signature(*algorithm, message, dss.signature()).is_ok());
        if fits {
            Ok(HandshakeSignatureValid::assertion())
        } else {
            Err(CertificateError::BadSignature.into())
        }
    }
}
