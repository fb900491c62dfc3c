//! The service: composes the rooms, opens the listeners, runs what runs in the background, and ends cleanly.
//!
//! It must never decide anything that a room decides. A new room is opened in `house`; a new background task is started
//! in [`serve`] and ended there.

mod connections;
pub mod first_token;
mod harden;
mod house;
mod listener;
mod own_certificate;
mod sweep;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;

use self::connections::Bounds;
pub use self::house::House;
use self::own_certificate::OwnCertificate;
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{Error, Result};
use crate::identity;
use crate::lifecycle::Scheduler;
use crate::surface;

/// How long open requests may take to end once the service is asked to.
const GRACE: Duration = Duration::from_secs(10);

/// What is known once everything is served.
pub struct Ready {
    /// Where TLS is served.
    pub listen: SocketAddr,
    /// Where plain HTTP is served.
    pub http: SocketAddr,
    /// The rooms.
    pub house: House,
}

/// The listeners, bound before anything else is opened.
pub struct Listeners {
    tls: TcpListener,
    plain: TcpListener,
    metrics: Option<TcpListener>,
}

impl Listeners {
    /// Binds what `config` names; port 0 means a free one.
    ///
    /// # Errors
    /// `Invalid`, if an address cannot be bound.
    pub fn bind(config: &Config) -> Result<Self> {
        Ok(Self {
            tls: listener::bind(config.listen, "TLS")?,
            plain: listener::bind(config.http, "HTTP")?,
            metrics: config
                .metrics
                .map(|address| listener::bind(address, "metrics"))
                .transpose()?,
        })
    }

    /// Where TLS will be served.
    ///
    /// # Errors
    /// The system's.
    pub fn tls_address(&self) -> Result<SocketAddr> {
        local(&self.tls)
    }

    /// Where plain HTTP will be served.
    ///
    /// # Errors
    /// The system's.
    pub fn plain_address(&self) -> Result<SocketAddr> {
        local(&self.plain)
    }
}

fn local(listener: &TcpListener) -> Result<SocketAddr> {
    listener
        .local_addr()
        .map_err(|e| Error::internal("a bound listener has no address").because(e))
}

/// Opens the house, serves until SIGINT or SIGTERM, and ends cleanly. `ready` is called once everything is served.
///
/// # Errors
/// What keeps the service from starting, with what to do about it.
pub async fn serve<F>(config: Config, listeners: Listeners, ready: impl FnOnce(Ready) -> F) -> Result<()>
where
    F: Future<Output = Result<()>>,
{
    harden::harden()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
    let (listen, http) = (listeners.tls_address()?, listeners.plain_address()?);
    // Signals are caught from here on, so that an early one ends the service as cleanly as a late one.
    let mut signals = Signals::catch()?;
    let house = House::open(&config, http, clock, entropy).await?;

    let own = Arc::new(OwnCertificate::default());
    let names = own_certificate::names(&config, listen);
    let renew_at = own.renew(&house, &names).await?;
    let tls = listener::tls(identity::tls::possession_verifier(), own.clone())?;

    let handles = [Handle::new(), Handle::new(), Handle::new()];
    let [tls_handle, plain_handle, metrics_handle] = handles.clone();
    let services = house.services.clone();
    let mut tasks = tokio::task::JoinSet::new();
    let count = if listeners.metrics.is_some() { 3 } else { 2 };
    let bounds = |what| Bounds::new(what, config.connections, count);
    tasks.spawn(listener::serve_tls(
        listeners.tls,
        bounds("TLS"),
        tls,
        surface::tls_routes(services.clone()),
        tls_handle,
    ));
    tasks.spawn(listener::serve_plain(
        listeners.plain,
        bounds("HTTP"),
        surface::plain_routes(services.clone()),
        plain_handle,
    ));
    if let Some(metrics) = listeners.metrics {
        tasks.spawn(listener::serve_plain(
            metrics,
            bounds("metrics"),
            surface::metrics_routes(services),
            metrics_handle,
        ));
    }
    let scheduler = Scheduler::start(house.services.gate.clone(), house.services.lifecycle.clone());
    let upkeep = tokio::spawn({
        let authority = house.services.authority.clone();
        async move { authority.keep_up().await }
    });
    let sweep = tokio::spawn(sweep::keep_swept(house.clone()));
    let rekey = tokio::spawn({
        let services = house.services.clone();
        async move { services.vault.keep_rekeyed(&services.gate).await }
    });
    let rotating = tokio::spawn({
        let services = house.services.clone();
        async move { services.vault.keep_rotated(&services.gate).await }
    });
    let acme = tokio::spawn({
        let acme = house.services.acme.clone();
        async move {
            match acme {
                Some(acme) => acme.keep_up().await,
                None => std::future::pending().await,
            }
        }
    });
    let rotation = tokio::spawn(own_certificate::keep_fresh(own, house.clone(), names, renew_at));

    let said = ready(Ready {
        listen,
        http,
        house: house.clone(),
    });
    let ended = tokio::select! {
        result = said => match result {
            Ok(()) => tokio::select! {
                () = signals.wait() => Ok(()),
                ended = tasks.join_next() => early(ended),
            },
            Err(error) => Err(error),
        },
        () = signals.wait() => Ok(()),
        ended = tasks.join_next() => early(ended),
    };

    for handle in &handles {
        handle.graceful_shutdown(Some(GRACE));
    }
    rotation.abort();
    sweep.abort();
    rekey.abort();
    upkeep.abort();
    acme.abort();
    rotating.abort();
    // A step that takes longer (a hook, a validation) is cut off: its renewal goes on from its row at the next start.
    let (_, stopped) = tokio::join!(
        async { while tasks.join_next().await.is_some() {} },
        tokio::time::timeout(GRACE, scheduler.stop()),
    );
    if stopped.is_err() {
        tracing::warn!("a renewal's step is cut off; it goes on at the next start");
    }
    // It has let go of everything once it is joined; what it held goes on at another node, or at the next start.
    let _ = rotating.await;
    if let Err(error) = house.services.vault.release_rotations().await {
        tracing::warn!(error = %error.detail(), "leases of rotations were not given back; they will run out");
    }
    house.close().await?;
    ended
}

/// Opens the house for `work` on its host, without serving, and closes it again. The service must be stopped: the store
/// or the log is locked otherwise.
///
/// # Errors
/// What keeps the service from starting; what `work` returned.
pub async fn offline<T>(config: &Config, work: impl AsyncFnOnce(&House) -> Result<T>) -> Result<T> {
    harden::harden()?;
    let house = House::open(config, config.http, Arc::new(SystemClock), Arc::new(OsEntropy)).await?;
    let done = work(&house).await;
    house.close().await?;
    done
}

/// A listener never ends by itself.
fn early(ended: Option<Result<Result<()>, tokio::task::JoinError>>) -> Result<()> {
    match ended {
        Some(Ok(Err(error))) => Err(error),
        Some(Err(error)) => Err(Error::internal("a listener ended by a fault of ours").because(error)),
        Some(Ok(Ok(()))) | None => Err(Error::internal("a listener ended")),
    }
}

/// The signals that end the service.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn catch() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let cannot = |e: std::io::Error| Error::internal("signals cannot be caught").because(e);
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(cannot)?,
            terminate: signal(SignalKind::terminate()).map_err(cannot)?,
        })
    }

    async fn wait(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
