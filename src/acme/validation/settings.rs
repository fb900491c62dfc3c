//! What an operator says about validation, and whether it can be meant.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use crate::acme::identifier::HostName;
use crate::error::{Error, Result};

/// Most issuer domain names that a dns-persist-01 challenge may list.
const MOST_ISSUER_DOMAINS: usize = 10;
/// Bounds of `timeout_s`: a server that is asleep needs some time, a client waits for the answer.
const TIMEOUT_S: std::ops::RangeInclusive<u64> = 1..=60;

/// How the ACME server looks at names and addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// DNS servers, `address:port`; those of the system (and its hosts file) if there are none. They must be recursive
    /// and should validate DNSSEC (RFC 8657 §5.6 demands it where CAA decides by account or method).
    pub resolvers: Vec<SocketAddr>,
    /// Ask them over TCP at once, which is harder to forge (RFC 8555 §11.2); else over UDP, and over TCP where an
    /// answer was truncated or none came.
    pub dns_over_tcp: bool,
    /// Port of the first request of http-01, and of redirects to `http`.
    pub http01_port: u16,
    /// Port of redirects to `https`.
    pub https_port: u16,
    /// Port of tls-alpn-01.
    pub tls_alpn01_port: u16,
    /// Our own address for connections over IPv4.
    pub source_v4: Option<Ipv4Addr>,
    /// Our own address for connections over IPv6.
    pub source_v6: Option<Ipv6Addr>,
    /// Whether private networks (RFC 1918, 4193, 6598) may be connected to.
    pub private_networks: bool,
    /// Networks that may be connected to although they are refused otherwise, for example `127.0.0.0/8` in a try-out.
    pub allow_networks: Vec<IpNet>,
    /// Networks that are never connected to, whatever else is said.
    pub deny_networks: Vec<IpNet>,
    /// The names by which CAA and dns-persist-01 records speak of us, for example `ca.example.com`.
    pub issuer_domains: Vec<String>,
    /// Whether CAA records are obeyed (RFC 8659).
    pub caa: bool,
    /// Longest that one validation may take, all its look-ups and redirects included, in seconds.
    pub timeout_s: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            resolvers: Vec::new(),
            dns_over_tcp: false,
            http01_port: 80,
            https_port: 443,
            tls_alpn01_port: 443,
            source_v4: None,
            source_v6: None,
            private_networks: true,
            allow_networks: Vec::new(),
            deny_networks: Vec::new(),
            issuer_domains: Vec::new(),
            caa: true,
            timeout_s: 10,
        }
    }
}

impl Settings {
    /// Checks what can be checked without a look-up.
    ///
    /// # Errors
    /// `Invalid`, naming the field.
    pub fn check(&self) -> Result<()> {
        if !TIMEOUT_S.contains(&self.timeout_s) {
            return Err(Error::invalid(format!(
                "`timeout_s = {}` is no time for a validation: use {} to {}",
                self.timeout_s,
                TIMEOUT_S.start(),
                TIMEOUT_S.end()
            )));
        }
        if self.issuer_domains.len() > MOST_ISSUER_DOMAINS {
            return Err(Error::invalid(format!(
                "`issuer_domains` lists {} names: use at most {MOST_ISSUER_DOMAINS}",
                self.issuer_domains.len()
            )));
        }
        for domain in &self.issuer_domains {
            let canonical = domain.parse::<HostName>();
            if canonical.as_ref().map(HostName::as_str) != Ok(domain) {
                return Err(Error::invalid(format!(
                    "`{}` in `issuer_domains` is no name that records can hold: write a host name in lower case",
                    domain.escape_debug()
                )));
            }
        }
        for (field, port) in [
            ("http01_port", self.http01_port),
            ("https_port", self.https_port),
            ("tls_alpn01_port", self.tls_alpn01_port),
        ] {
            if port == 0 {
                return Err(Error::invalid(format!(
                    "`{field} = 0` is no port to connect to: use 1 to 65535"
                )));
            }
        }
        Ok(())
    }

    /// [`timeout_s`](Self::timeout_s).
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_named() {
        assert!(Settings::default().check().is_ok());
        let said = |text: &str| {
            let settings: Settings = toml::from_str(text).unwrap();
            settings.check().unwrap_err().public().to_owned()
        };
        assert!(said("timeout_s = 0").contains("`timeout_s = 0`"));
        assert!(said("timeout_s = 61").contains("use 1 to 60"));
        assert!(said("http01_port = 0").contains("http01_port"));
        assert!(said("issuer_domains = ['CA.example.com']").contains("`CA.example.com`"));
        assert!(said("issuer_domains = ['a.b.']").contains("`a.b.`"));
        let eleven: Vec<String> = (0..11).map(|n| format!("'c{n}.test'")).collect();
        assert!(said(&format!("issuer_domains = [{}]", eleven.join(","))).contains("lists 11"));
        assert!(toml::from_str::<Settings>("allow_networks = ['127.0.0.1']").is_err());
        assert!(toml::from_str::<Settings>("https01_port = 443").is_err());
    }
}
