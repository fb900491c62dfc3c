//! What the handshake proves.

use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme};

use super::*;

#[derive(Debug)]
struct Show(Arc<CertifiedKey>);

impl ResolvesClientCert for Show {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
    fn has_certs(&self) -> bool {
        true
    }
}

fn itself(key: &PKey<Private>) -> CertificateDer<'static> {
    let says = Says {
        serial: 1,
        name: "stranger",
        from: Timestamp::from_unix(0),
        to: Timestamp::from_unix(4_000_000_000),
        uris: vec!["dns:chancery.test"],
        is_ca: false,
        is_for_servers: true,
    };
    sign(&says, key, None).to_der().unwrap().into()
}

fn pkcs8(key: &PKey<Private>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap()
}

/// What the server sees of the client's chain, if the handshake passes.
fn shake(client_cert: CertificateDer<'static>, client_key: &PKey<Private>) -> Result<usize, rustls::Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let key = key();
    let server_cert = itself(&key);
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(tls::possession_verifier())
        .with_single_cert(vec![server_cert.clone()], pkcs8(&key))
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(server_cert).unwrap();
    let client_key = provider.key_provider.load_private_key(pkcs8(client_key)).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(Show(Arc::new(CertifiedKey::new(
            vec![client_cert],
            client_key,
        )))));
    let mut client = ClientConnection::new(Arc::new(client), "chancery.test".try_into().unwrap()).unwrap();
    let mut server = ServerConnection::new(Arc::new(server)).unwrap();
    while client.is_handshaking() || server.is_handshaking() {
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    Ok(server.peer_certificates().unwrap().len())
}

#[test]
fn proves_possession_and_nothing_else() {
    let key = key();
    let unknown = itself(&key);
    assert_eq!(shake(unknown.clone(), &key), Ok(1), "who it is, is judged per request");
    let stolen = shake(unknown, &super::key());
    assert!(stolen.is_err(), "a certificate was shown without its key");
}
