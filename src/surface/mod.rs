//! What the service says to the outside: translation only.
//!
//! A surface parses a request into an [`Operation`], runs it through the gate, and spells the answer or the error in
//! its own words. It must never decide anything: not who may, not what is right, not what is stored.
//!
//! Every route stands in a [`Mounts`] table, either gated (a client certificate is judged before the handler runs) or
//! ungated. The ungated ones are public by nature, listed in `tests/golden/ungated_routes.txt`, and argued about in
//! review. A new facade is a folder here and a line in [`tls_routes`].

mod acme;
mod frame;
pub mod metrics;
mod native;
mod public;
mod trust_bundle;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Extension, Request};
use axum::http::Method;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use axum::{Router, routing};
use rustls::pki_types::CertificateDer;

use crate::acme::Acme;
use crate::audit::Log;
use crate::authz::Authz;
use crate::backup::Backups;
use crate::ca::Authority;
use crate::enrollment::Enrollment;
use crate::error::{Error, Kind, Result};
use crate::gate::{Effect, Gate, Operation};
use crate::identity::{Caller, Identity, RequestRef};
use crate::lifecycle::Lifecycle;
use crate::upstream::Upstream;
use crate::vault::Vault;

use frame::{Failure, RequestId};
use metrics::Metrics;

/// Everything that a surface may reach.
pub struct Services {
    /// The ACME server, if there is one.
    pub acme: Option<Acme>,
    /// Backups of the whole service.
    pub backups: Backups,
    /// Our own certificate authority.
    pub authority: Authority,
    /// Who may do what.
    pub authz: Authz,
    /// Identities and their certificates.
    pub enrollment: Enrollment,
    /// The one way to act.
    pub gate: Gate,
    /// Who is calling.
    pub identity: Identity,
    /// Certificate objects and renewals.
    pub lifecycle: Arc<Lifecycle>,
    /// What was done.
    pub log: Log,
    /// What is counted.
    pub metrics: Metrics,
    /// Certificate authorities that are not ours.
    pub upstream: Arc<Upstream>,
    /// Vaults and secrets.
    pub vault: Vault,
}

/// The services, shared by all handlers.
type Shared = Arc<Services>;

/// The other end of a connection. The listener puts one into the extensions of every request.
#[derive(Clone, Debug)]
pub struct Peer {
    /// What it showed as its certificate chain, leaf first, its key proven by the handshake; empty without.
    pub chain: Arc<[CertificateDer<'static>]>,
    /// Its address.
    pub addr: SocketAddr,
}

/// The routes of the TLS listener.
pub fn tls_routes(services: Arc<Services>) -> Router {
    tls_mounts().serve(services)
}

/// The routes of the plain-HTTP listener: what is public by nature.
pub fn plain_routes(services: Arc<Services>) -> Router {
    public::mount_plain(Mounts::default()).serve(services)
}

/// The routes of the metrics listener, which strangers must not reach.
pub fn metrics_routes(services: Arc<Services>) -> Router {
    metrics::mount(Mounts::default()).serve(services)
}

/// Every route that runs without a caller, by listener, a line each. Review argues about this list.
pub fn ungated_routes() -> String {
    let listeners = [
        ("tls", tls_mounts()),
        ("plain", public::mount_plain(Mounts::default())),
        ("metrics", metrics::mount(Mounts::default())),
    ];
    let lines = listeners.into_iter().flat_map(|(listener, mounts)| {
        let ungated = mounts.ungated.into_iter();
        ungated.map(move |(method, path)| format!("{listener} {method} {path}\n"))
    });
    lines.collect()
}

fn tls_mounts() -> Mounts {
    acme::mount(public::mount(native::mount(Mounts::default())))
}

/// Which routes there are, and which of them run without a caller.
#[derive(Default)]
struct Mounts {
    router: Router<Shared>,
    ungated: Vec<(Method, &'static str)>,
}

impl Mounts {
    /// A route whose handler runs only for a caller who is known; it finds the [`Caller`] in an [`Extension`].
    fn gated(mut self, path: &'static str, handlers: MethodRouter<Shared>) -> Self {
        let handlers = handlers.route_layer(middleware::from_fn(require_caller));
        self.router = self.router.route(path, handlers);
        self
    }

    /// As [`Mounts::gated`], for the one route that a caller may still take whose certificate has ended, as long as it
    /// has grace: renewing.
    fn gated_with_grace(mut self, path: &'static str, handlers: MethodRouter<Shared>) -> Self {
        let handlers = handlers.route_layer(middleware::from_fn(require_caller_or_grace));
        self.router = self.router.route(path, handlers);
        self
    }

    /// A route for everybody.
    fn ungated<H, T>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: axum::handler::Handler<T, Shared>,
        T: 'static,
    {
        let filter = routing::MethodFilter::try_from(method.clone()).unwrap_or(routing::MethodFilter::GET);
        self.router = self.router.route(path, routing::on(filter, handler));
        self.ungated.push((method, path));
        self
    }

    fn serve(self, services: Shared) -> Router {
        self.router
            .fallback(unknown_path)
            .layer(middleware::from_fn_with_state(services.clone(), frame::frame))
            .layer(Extension(services.clone()))
            .with_state(services)
    }
}

/// Establishes the caller, for every request anew: an expiry or a revocation stops the next request on an open
/// connection too.
async fn require_caller(Extension(services): Extension<Shared>, request: Request, next: Next) -> Response {
    let Some((peer, id)) = whence(&request) else {
        return no_peer();
    };
    let now = services.gate.clock().now();
    let known = services.identity.authenticate(&peer.chain, peer.addr, id, now).await;
    admit(&services, &peer, known, request, next).await
}

/// The same for a caller that renews.
async fn require_caller_or_grace(Extension(services): Extension<Shared>, request: Request, next: Next) -> Response {
    let Some((peer, id)) = whence(&request) else {
        return no_peer();
    };
    let now = services.gate.clock().now();
    let known = services
        .identity
        .authenticate_renewing(&peer.chain, peer.addr, id, now)
        .await;
    admit(&services, &peer, known, request, next).await
}

fn whence(request: &Request) -> Option<(Peer, RequestRef)> {
    let extensions = request.extensions();
    let RequestId(id) = extensions.get().copied()?;
    Some((extensions.get::<Peer>().cloned()?, id))
}

fn no_peer() -> Response {
    Failure::from(Error::internal("the listener did not say who is at the other end")).into_response()
}

async fn admit(services: &Services, peer: &Peer, known: Result<Caller>, mut request: Request, next: Next) -> Response {
    match known {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(error) => {
            if error.kind() == Kind::Unauthenticated {
                services.gate.refuse(peer.addr.ip(), error.public());
            }
            Failure::from(error).into_response()
        }
    }
}

/// Performs `op` for `caller`. What changes something runs to its end even if the other side goes away.
async fn perform<O>(services: &Shared, caller: Caller, engine: fn(&Services) -> &O::Engine, op: O) -> Result<O::Output>
where
    O: Operation + 'static,
    O::Output: 'static,
{
    if O::EFFECT == Effect::Read {
        return services.gate.perform(&caller, engine(services), op).await;
    }
    let services = services.clone();
    // CRASH: a handler is dropped when its connection ends; an act that is dropped half-way would leave its intent
    // open until the next start.
    tokio::spawn(async move { services.gate.perform(&caller, engine(&services), op).await })
        .await
        .map_err(|e| Error::internal("an act ended by a fault of ours").because(e))?
}

async fn unknown_path() -> Failure {
    Error::not_found("there is nothing at this path: see the API's list of paths").into()
}
