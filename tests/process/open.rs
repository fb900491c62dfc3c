//! Connections that are kept open, from a client that checks the listener's certificate.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tokio::net::TcpSocket;

use crate::support::child::PATIENCE;
use crate::support::process::Service;

/// What a client that checks the service's certificate goes by.
pub(crate) fn config(service: &Service, protocol: &str) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(&service.env()["CHANCERY_CACERT"]).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.into()];
    Arc::new(config)
}

/// Where the service's TLS listener is.
pub(crate) fn address(service: &Service) -> SocketAddr {
    service.env()["CHANCERY_ADDR"]
        .trim_start_matches("https://")
        .parse()
        .unwrap()
}

/// One over HTTP/1.1.
pub(crate) struct Open(StreamOwned<ClientConnection, TcpStream>);

impl Open {
    pub(crate) fn to(service: &Service) -> Self {
        Self::from(service, Ipv4Addr::LOCALHOST).unwrap()
    }

    /// From one of this machine's addresses; the handshake is done with the first request.
    pub(crate) fn from(service: &Service, source: Ipv4Addr) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let stream = runtime.block_on(async {
            let socket = TcpSocket::new_v4()?;
            socket.bind((source, 0).into())?;
            socket.connect(address(service)).await?.into_std()
        })?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(config(service, "http/1.1"), name).unwrap();
        Ok(Self(StreamOwned::new(connection, stream)))
    }

    /// One request and its answer.
    #[track_caller]
    pub(crate) fn healthy(&mut self) {
        self.ask().unwrap();
    }

    /// The same; an error if the connection is not served (any more).
    pub(crate) fn ask(&mut self) -> io::Result<()> {
        self.0.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte)?;
            answer.push(byte[0]);
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let length = answer
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        self.0.read_exact(&mut vec![0; length])
    }

    /// Waits until the service ends the connection in good order.
    #[track_caller]
    pub(crate) fn ended(&mut self) {
        assert_eq!(self.0.read(&mut [0]).unwrap(), 0);
    }

    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}
