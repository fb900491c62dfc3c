//! The one place from which validation connects.
//!
//! SECURITY: a name is resolved once and the socket is connected to the very address that was judged, so that a second
//! look-up cannot lead elsewhere (DNS rebinding). Each redirect comes here anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout_at};
use url::Host;

use super::dns::Dns;
use super::network::Networks;
use super::{Failure, FailureKind, Settings};
use crate::acme::identifier::Identifier;

/// Makes connections that policy permits.
pub(super) struct Reach {
    networks: Networks,
    dns: Arc<Dns>,
    source_v4: Option<Ipv4Addr>,
    source_v6: Option<Ipv6Addr>,
}

impl Reach {
    pub(super) fn new(settings: &Settings, networks: Networks, dns: Arc<Dns>) -> Self {
        Self {
            networks,
            dns,
            source_v4: settings.source_v4,
            source_v6: settings.source_v6,
        }
    }

    /// Connects to `host`: to its first permitted IPv6 address, and if that cannot be done to its first IPv4 address.
    ///
    /// # Errors
    /// `Dns` if there is no address; `Connection` if none is permitted or none accepts; each address is named.
    pub(super) async fn connect(
        &self,
        host: &Host<String>,
        port: u16,
        deadline: Instant,
    ) -> Result<(TcpStream, SocketAddr), Failure> {
        // RFC 8738 §4: with an address there is nothing to look up.
        let addresses = match host {
            Host::Domain(name) => self.dns.addresses(name, deadline).await?,
            Host::Ipv4(v4) => vec![IpAddr::V4(*v4)],
            Host::Ipv6(v6) => vec![IpAddr::V6(*v6)],
        };
        let mut tried = Vec::new();
        let mut permitted: Vec<SocketAddr> = Vec::new();
        for ip in addresses {
            let target = SocketAddr::new(ip, port);
            match self.networks.permit(target) {
                Err(why) => tried.push(format!("the address {ip} {why}")),
                // One of each family: a name with many addresses must not make us try them all.
                Ok(()) if permitted.iter().all(|other| other.is_ipv4() != target.is_ipv4()) => permitted.push(target),
                Ok(()) => {}
            }
        }
        let mut left = u32::try_from(permitted.len()).unwrap_or(u32::MAX);
        for target in permitted {
            let share = deadline.saturating_duration_since(Instant::now()) / left.max(1);
            left = left.saturating_sub(1);
            match timeout_at(Instant::now() + share, self.open(target)).await {
                Ok(Ok(stream)) => return Ok((stream, target)),
                Ok(Err(e)) => tried.push(format!("{target}: {}", e.kind())),
                Err(_) => tried.push(format!("{target}: it did not accept in time")),
            }
        }
        tried.truncate(4);
        Err(Failure::new(
            FailureKind::Connection,
            format!("connecting to `{host}` on port {port} failed: {}", tried.join("; ")),
        ))
    }

    async fn open(&self, target: SocketAddr) -> std::io::Result<TcpStream> {
        let (socket, source) = match target {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, self.source_v4.map(IpAddr::V4)),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, self.source_v6.map(IpAddr::V6)),
        };
        if let Some(source) = source {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// An identifier as the host of a URL.
pub(super) fn host_of(identifier: &Identifier) -> Host<String> {
    match identifier {
        Identifier::Dns(name) => Host::Domain(name.to_string()),
        Identifier::Ip(IpAddr::V4(v4)) => Host::Ipv4(*v4),
        Identifier::Ip(IpAddr::V6(v6)) => Host::Ipv6(*v6),
    }
}
