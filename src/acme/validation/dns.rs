//! DNS look-ups: nothing cached, every name absolute, and "there is none" kept apart from "nobody could say".

use std::net::{IpAddr, SocketAddr};

use futures::future::join;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, timeout_at};

use super::{Failure, FailureKind, Settings, excerpt};
use crate::error::{Error, Result};

/// Tries beside the first one, each for its share of the time that a validation has.
const RETRIES: u32 = 2;

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found<T> {
    /// At least one record; the shortest time, in seconds, that the answer may be kept.
    Records(Vec<T>, u32),
    /// The name exists, without such records.
    NoRecords,
    /// The name does not exist.
    NoName,
}

/// A CAA record (RFC 8659 §4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CaaRecord {
    /// Who does not know the tag must not issue.
    pub(super) critical: bool,
    /// Lower case.
    pub(super) tag: String,
    /// As it came.
    pub(super) value: Vec<u8>,
}

/// The resolver.
pub(super) struct Dns {
    resolver: TokioResolver,
    /// Who is asked, for messages.
    asked: String,
}

impl Dns {
    /// # Errors
    /// `Unavailable` if the system's configuration is wanted and cannot be read.
    pub(super) fn new(settings: &Settings) -> Result<Self> {
        let (config, mut options, asked) = if settings.resolvers.is_empty() {
            let (config, options) = hickory_resolver::system_conf::read_system_conf().map_err(|e| {
                Error::unavailable(format!(
                    "the system's DNS servers are not known: {e}; name some in `resolvers`"
                ))
            })?;
            let servers = config.name_servers.into_iter().map(|mut server| {
                if settings.dns_over_tcp {
                    server.connections = vec![ConnectionConfig::tcp()];
                }
                server
            });
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            (config, options, "the system's DNS servers".to_owned())
        } else {
            let servers = settings
                .resolvers
                .iter()
                .map(|server| name_server(*server, settings.dns_over_tcp));
            let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
            let mut options = ResolverOpts::default();
            options.use_hosts_file = ResolveHosts::Never;
            let names: Vec<String> = settings.resolvers.iter().map(SocketAddr::to_string).collect();
            (config, options, format!("the DNS server {}", names.join(" or ")))
        };
        // A client corrects its record and asks again at once: yesterday's answer would be wrong.
        options.cache_size = 0;
        options.timeout = settings.timeout() / (RETRIES + 2);
        options.attempts = usize::try_from(RETRIES).unwrap_or_default();
        options.try_tcp_on_error = true;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|e| Error::internal("the resolver cannot be made").because(e))?;
        Ok(Self { resolver, asked })
    }

    /// The addresses of a host, IPv6 before IPv4.
    pub(super) async fn addresses(&self, host: &str, deadline: Instant) -> Result<Vec<IpAddr>, Failure> {
        let address = |data: &RData| match data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        let (v6, v4) = join(
            self.look_up(host, RecordType::AAAA, address, deadline),
            self.look_up(host, RecordType::A, address, deadline),
        )
        .await;
        let mut addresses = Vec::new();
        let mut failure = None;
        let mut exists = false;
        for answer in [v6, v4] {
            match answer {
                Ok(Found::Records(found, _)) => addresses.extend(found),
                Ok(Found::NoRecords) => exists = true,
                Ok(Found::NoName) => {}
                Err(why) => failure = Some(why),
            }
        }
        match failure {
            _ if !addresses.is_empty() => Ok(addresses),
            Some(why) => Err(why),
            None if exists => Err(self.nothing(host, "has no A or AAAA record")),
            None => Err(self.nothing(host, "does not exist")),
        }
    }

    /// The TXT records of `name`, the strings of each put together.
    pub(super) async fn txt(&self, name: &str, deadline: Instant) -> Result<Found<Vec<u8>>, Failure> {
        let text = |data: &RData| match data {
            RData::TXT(txt) => Some(txt.txt_data.concat()),
            _ => None,
        };
        self.look_up(name, RecordType::TXT, text, deadline).await
    }

    /// The CAA records of `name` itself.
    pub(super) async fn caa(&self, name: &str, deadline: Instant) -> Result<Found<CaaRecord>, Failure> {
        let record = |data: &RData| match data {
            RData::CAA(caa) => Some(CaaRecord {
                critical: caa.issuer_critical,
                tag: caa.tag.to_ascii_lowercase(),
                value: caa.value.clone(),
            }),
            _ => None,
        };
        self.look_up(name, RecordType::CAA, record, deadline).await
    }

    /// A failure that says that `name` lacks something.
    pub(super) fn nothing(&self, name: &str, lack: &str) -> Failure {
        Failure::new(
            FailureKind::Dns,
            format!("`{}` {lack}, says {}", excerpt(name.as_bytes()), self.asked),
        )
    }

    /// Aliases are followed, by the server and where it leaves them to us.
    async fn look_up<T>(
        &self,
        name: &str,
        kind: RecordType,
        pick: impl Fn(&RData) -> Option<T>,
        deadline: Instant,
    ) -> Result<Found<T>, Failure> {
        let failed = |why: String| {
            Failure::new(
                FailureKind::Dns,
                format!(
                    "looking up {kind} of `{}` at {} failed: {why}",
                    excerpt(name.as_bytes()),
                    self.asked
                ),
            )
        };
        // Absolute, so that no search list is tried.
        let absolute = Name::from_ascii(format!("{name}.")).map_err(|e| failed(e.to_string()))?;
        let answer = timeout_at(deadline, self.resolver.lookup(absolute, kind))
            .await
            .unwrap_or(Err(NetError::Timeout));
        match answer {
            Ok(lookup) => {
                let of_kind = || lookup.answers().iter().filter(|record| record.record_type() == kind);
                let records: Vec<T> = of_kind().filter_map(|record| pick(&record.data)).collect();
                match of_kind().map(|record| record.ttl).min() {
                    Some(ttl_s) if !records.is_empty() => Ok(Found::Records(records, ttl_s)),
                    _ => Ok(Found::NoRecords),
                }
            }
            Err(e) if e.is_nx_domain() => Ok(Found::NoName),
            Err(e) if e.is_no_records_found() => Ok(Found::NoRecords),
            Err(NetError::Timeout) => Err(failed("no answer in time".to_owned())),
            Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(failed(format!("it answered `{code}`"))),
            Err(e) => Err(failed(excerpt(e.to_string().as_bytes()))),
        }
    }
}

fn name_server(server: SocketAddr, over_tcp: bool) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::tcp()];
    if !over_tcp {
        connections.insert(0, ConnectionConfig::udp());
    }
    for connection in &mut connections {
        connection.port = server.port();
    }
    NameServerConfig::new(server.ip(), true, connections)
}
