//! How many connections a listener holds, how many of one source, and how long one that nobody uses.
//!
//! SECURITY: connections cost file descriptors, and anybody may open one. What is beyond the bounds is closed as soon
//! as it is accepted; connections that are open go on as before.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum_server::accept::Accept;
use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::config;
use crate::gate;

/// File descriptors that are not for connections: the store, the log, the token, calls to other services.
const RESERVED: u64 = 256;
/// It is said at most so often that connections are turned away.
const QUIET: Duration = Duration::from_secs(60);

/// Accepts as `inner` does, within bounds.
#[derive(Clone)]
pub(super) struct Bounded<A> {
    inner: A,
    bounds: Arc<Bounds>,
}

impl<A> Bounded<A> {
    pub(super) fn new(inner: A, bounds: Bounds) -> Self {
        Self {
            inner,
            bounds: Arc::new(bounds),
        }
    }
}

/// A listener's share of the file descriptors that the process may have.
fn room(descriptors: Option<u64>, listeners: u64) -> u32 {
    let share = descriptors.map_or(u64::MAX, |all| all.saturating_sub(RESERVED) / listeners.max(1));
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// A listener's bounds, and what is open of them.
pub(super) struct Bounds {
    what: &'static str,
    settings: config::Connections,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: u32,
    of: HashMap<IpAddr, u32>,
    told: Option<Instant>,
}

impl Bounds {
    /// For one of `listeners` listeners, the one called `what`.
    pub(super) fn new(what: &'static str, settings: config::Connections, listeners: u64) -> Self {
        let room = room(getrlimit(Resource::Nofile).current, listeners);
        if room < settings.most {
            tracing::warn!(
                "the {what} listener takes {room} connections, not {}: raise LimitNOFILE for more",
                settings.most
            );
        }
        Self {
            what,
            settings: config::Connections {
                most: settings.most.min(room),
                ..settings
            },
            open: Mutex::default(),
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, source: IpAddr) -> io::Result<Place> {
        let source = gate::network(source);
        let mut open = self.open();
        let of = open.of.get(&source).copied().unwrap_or(0);
        if open.all >= self.settings.most || of >= self.settings.most_per_source {
            let now = Instant::now();
            if open.told.is_none_or(|told| now.duration_since(told) >= QUIET) {
                open.told = Some(now);
                tracing::warn!(
                    "the {} listener turns connections away: {} are open, {of} of them from `{source}`",
                    self.what,
                    open.all
                );
            }
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        open.all += 1;
        open.of.insert(source, of + 1);
        Ok(Place {
            bounds: self.clone(),
            source,
        })
    }
}

/// One connection's place, given back on drop.
struct Place {
    bounds: Arc<Bounds>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.bounds.open();
        open.all = open.all.saturating_sub(1);
        if let Some(of) = open.of.get_mut(&self.source) {
            *of = of.saturating_sub(1);
            if *of == 0 {
                open.of.remove(&self.source);
            }
        }
    }
}

impl<A, S> Accept<TcpStream, S> for Bounded<A>
where
    A: Accept<TcpStream, S>,
    A::Future: Send + 'static,
{
    type Stream = Held<A::Stream>;
    type Service = A::Service;
    type Future = BoxFuture<'static, io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let place = stream.peer_addr().and_then(|peer| self.bounds.take(peer.ip()));
        let accepted = self.inner.accept(stream, service);
        async move {
            // Without a place nothing of the other side is looked at: the connection falls.
            let place = place?;
            let (stream, service) = accepted.await?;
            Ok((Held::new(stream, place), service))
        }
        .boxed()
    }
}

/// A connection in its place. To who reads from it, it ends once nothing came or went for too long; so an idle one is
/// closed in good order.
pub(super) struct Held<S> {
    stream: S,
    idle: Duration,
    used: Instant,
    timer: Pin<Box<Sleep>>,
    _place: Place,
}

impl<S> Held<S> {
    fn new(stream: S, place: Place) -> Self {
        let idle = Duration::from_secs(place.bounds.settings.idle_s);
        let used = Instant::now();
        Self {
            stream,
            idle,
            used,
            timer: Box::pin(tokio::time::sleep_until(used + idle)),
            _place: place,
        }
    }

    fn is_idle(&mut self, context: &mut Context<'_>) -> bool {
        // The timer is set anew only when it has run out: use is frequent, idleness is not.
        while self.timer.as_mut().poll(context).is_ready() {
            let end = self.used + self.idle;
            if end <= Instant::now() {
                return true;
            }
            self.timer.as_mut().reset(end);
        }
        false
    }

    /// What came of a write: a step that `counts` as use or not, or an end of waiting for it.
    fn written<T>(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<T>>,
        counts: bool,
    ) -> Poll<io::Result<T>> {
        if step.is_pending() && self.is_idle(context) {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        if step.is_ready() && counts {
            self.used = Instant::now();
        }
        step
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.stream).poll_read(context, buffer);
        if step.is_ready() {
            this.used = Instant::now();
        } else if this.is_idle(context) {
            // Nothing read is the end of the stream.
            return Poll::Ready(Ok(()));
        }
        step
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, step, true)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(context, step, true)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.stream).poll_flush(context);
        this.written(context, step, false)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let step = Pin::new(&mut this.stream).poll_shutdown(context);
        this.written(context, step, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_share_what_the_process_may_open() {
        assert_eq!(room(Some(1024), 3), 256);
        assert_eq!(room(Some(65_536), 2), 32_640);
        assert_eq!(room(Some(64), 3), 1);
        assert_eq!(room(None, 3), u32::MAX);
    }
}
