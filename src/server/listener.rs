//! The two listeners: TLS for everybody, plain HTTP for what is public by nature.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls::TlsInfo;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::ResolvesServerCert;
use rustls::server::danger::ClientCertVerifier;

use super::connections::{Bounded, Bounds};
use crate::error::{Error, Result};
use crate::surface::Peer;

/// A handshake, or the head of a request, that takes longer is cut off.
const PATIENCE: Duration = Duration::from_secs(10);

/// TLS 1.2 and 1.3; a client certificate is asked for, not demanded: routes demand it, and `identity` judges it for
/// every request.
pub(super) fn tls(clients: Arc<dyn ClientCertVerifier>, own: Arc<dyn ResolvesServerCert>) -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::internal("no TLS version is to be had").because(e))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(own);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// Binds `address` without serving yet, so that a port that is taken is known before anything is started.
pub(super) fn bind(address: SocketAddr, what: &str) -> Result<TcpListener> {
    let bound = TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        Ok(listener)
    });
    bound.map_err(|e| Error::invalid(format!("the {what} address `{address}` cannot be bound: {e}")).because(e))
}

/// Serves `routes` over TLS until `handle` shuts it down.
pub(super) async fn serve_tls(
    listener: TcpListener,
    bounds: Bounds,
    config: ServerConfig,
    routes: Router,
    handle: Handle<SocketAddr>,
) -> Result<()> {
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(config)))
        .handshake_timeout(PATIENCE)
        .acceptor(NoDelayAcceptor::new());
    let mut server = axum_server::from_tcp(listener)
        .map_err(|e| Error::internal("the TLS listener cannot be used").because(e))?
        .acceptor(Bounded::new(acceptor, bounds))
        .first_request_timeout(PATIENCE)
        .handle(handle);
    server
        .http_builder()
        .http1()
        .header_read_timeout(PATIENCE)
        .timer(hyper_util::rt::TokioTimer::new());
    server
        .serve(
            routes
                .layer(middleware::from_fn(with_peer))
                .into_make_service_with_connect_info::<SocketAddr>(),
        )
        .await
        .map_err(|e| Error::internal("the TLS listener ended").because(e))
}

/// Tells the surfaces who is at the other end.
async fn with_peer(
    Extension(tls): Extension<Arc<TlsInfo>>,
    ConnectInfo(addr): ConnectInfo<SocketAddr>,
    mut request: Request,
    next: Next,
) -> Response {
    let chain = tls
        .peer_certificates
        .iter()
        .map(|der| CertificateDer::from(der.clone()))
        .collect();
    request.extensions_mut().insert(Peer { chain, addr });
    next.run(request).await
}

/// Serves `routes` over plain HTTP until `handle` shuts it down.
pub(super) async fn serve_plain(
    listener: TcpListener,
    bounds: Bounds,
    routes: Router,
    handle: Handle<SocketAddr>,
) -> Result<()> {
    let mut server = axum_server::from_tcp(listener)
        .map_err(|e| Error::internal("the HTTP listener cannot be used").because(e))?
        .acceptor(Bounded::new(NoDelayAcceptor::new(), bounds))
        .first_request_timeout(PATIENCE)
        .handle(handle);
    server
        .http_builder()
        .http1()
        .header_read_timeout(PATIENCE)
        .timer(hyper_util::rt::TokioTimer::new());
    server
        .serve(routes.into_make_service_with_connect_info::<SocketAddr>())
        .await
        .map_err(|e| Error::internal("the HTTP listener ended").because(e))
}
