//! Which addresses may be connected to (RFC 8555 §10.4): an ACME client chooses the target, so this stands between it
//! and whatever only we can reach.
//!
//! SECURITY: it judges the address that the socket is then connected to, never a name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use ipnet::IpNet;

use super::Settings;

/// Addresses at which clouds tell a machine its own credentials, beside those that are link-local anyway.
const METADATA: &[IpAddr] = &[
    // Azure's WireServer, Alibaba, AWS over IPv6, Google over IPv6, Oracle.
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
];

/// The policy about targets.
#[derive(Clone, Debug)]
pub(super) struct Networks {
    private: bool,
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
    own: Vec<SocketAddr>,
}

impl Networks {
    /// `own` are the service's own listeners.
    pub(super) fn new(settings: &Settings, own: Vec<SocketAddr>) -> Self {
        Self {
            private: settings.private_networks,
            allow: settings.allow_networks.clone(),
            deny: settings.deny_networks.clone(),
            own,
        }
    }

    /// Whether `target` may be connected to; if not, why, fit to follow "the address".
    pub(super) fn permit(&self, target: SocketAddr) -> Result<(), &'static str> {
        let ip = target.ip();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&ip));
        if within(&self.deny) {
            return Err("is in a network that this server does not connect to");
        }
        if within(&self.allow) {
            return Ok(());
        }
        self.judge(ip)?;
        if self.is_own(target) {
            return Err("is this server's own");
        }
        Ok(())
    }

    fn judge(&self, ip: IpAddr) -> Result<(), &'static str> {
        if METADATA.contains(&ip) {
            return Err("serves a cloud's metadata");
        }
        match class(ip) {
            Class::Public => Ok(()),
            Class::Private if self.private => Ok(()),
            Class::Private => Err("is private, and this server does not connect to private networks"),
            Class::Special(why) => Err(why),
            Class::Embeds(v4) => self.judge(IpAddr::V4(v4)),
        }
    }

    /// Whether one of our listeners answers at `target`; one that is bound to all addresses answers at each of the
    /// machine's.
    fn is_own(&self, target: SocketAddr) -> bool {
        self.own
            .iter()
            .filter(|own| own.port() == target.port())
            .any(|own| own.ip() == target.ip() || (own.ip().is_unspecified() && is_local(target.ip())))
    }
}

/// Whether the machine has the address: the system lets one bind to no other.
fn is_local(ip: IpAddr) -> bool {
    UdpSocket::bind((ip, 0)).is_ok()
}

enum Class {
    Public,
    Private,
    Special(&'static str),
    /// What is reached in the end is this address.
    Embeds(Ipv4Addr),
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => class_v6(v6),
    }
}

/// By the registry of special-purpose addresses (RFC 6890).
fn class_v4(ip: Ipv4Addr) -> Class {
    match ip.octets() {
        [0, ..] => Class::Special("means `this host`"),
        [127, ..] => Class::Special("is a loopback address"),
        [169, 254, ..] => Class::Special("is link-local"),
        [10, ..] | [192, 168, ..] => Class::Private,
        [172, second, ..] if (16..32).contains(&second) => Class::Private,
        [100, second, ..] if (64..128).contains(&second) => Class::Private,
        [224..=239, ..] => Class::Special("is a multicast address"),
        [192, 0, 0 | 2, _] | [198, 18 | 19, ..] | [198, 51, 100, _] | [203, 0, 113, _] | [240..=255, ..] => {
            Class::Special("is reserved")
        }
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => Class::Special("means `this host`"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Special("is a loopback address"),
        // SECURITY: the system would connect to the IPv4 address within, past every rule for it.
        [0, 0, 0, 0, 0, 0xffff, ..] => Class::Special("is an IPv4 address written as IPv6"),
        [0, ..] => Class::Special("is reserved"),
        // NAT64 (RFC 6052) ends at the IPv4 address.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            Class::Embeds(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        [0x64, 0xff9b, ..] => Class::Special("is reserved"),
        [0x2001, second, ..] if second < 0x200 => Class::Special("is reserved"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Special("is reserved"),
        [0x2002, ..] => Class::Special("is a 6to4 address"),
        [first, ..] if first & 0xfe00 == 0xfc00 => Class::Private,
        [first, ..] if first & 0xffc0 == 0xfe80 => Class::Special("is link-local"),
        [first, ..] if first & 0xff00 == 0xff00 => Class::Special("is a multicast address"),
        // Global unicast (RFC 4291 §2.4, as allocated by IANA).
        [first, ..] if first & 0xe000 == 0x2000 => Class::Public,
        _ => Class::Special("is reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(settings: &str, own: &[&str]) -> Networks {
        Networks::new(
            &toml::from_str(settings).unwrap(),
            own.iter().map(|own| own.parse().unwrap()).collect(),
        )
    }

    fn refusal(networks: &Networks, ip: &str) -> Option<&'static str> {
        networks.permit(SocketAddr::new(ip.parse().unwrap(), 80)).err()
    }

    const NEVER: &[&str] = &[
        "0.0.0.0",
        "0.1.2.3",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.169.254",
        "169.254.170.2",
        "224.0.0.251",
        "239.1.1.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.192",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "168.63.129.16",
        "100.100.100.200",
        "::",
        "::1",
        "::ffff:8.8.8.8",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fe80::1",
        "fec0::1",
        "febf::1",
        "ff02::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "4000::1",
    ];
    const PRIVATE: &[&str] = &[
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "fc00::1",
        "fd12:3456::1",
        "64:ff9b::a00:1",
    ];
    const PUBLIC: &[&str] = &[
        "1.1.1.1",
        "172.32.0.1",
        "172.15.0.1",
        "100.128.0.1",
        "192.1.0.1",
        "198.20.0.1",
        "2606:4700::1111",
        "2001:4860::8888",
        "64:ff9b::101:101",
    ];

    #[test]
    fn row_72_targets_are_restricted_by_policy() {
        let (open, closed) = (networks("", &[]), networks("private_networks = false", &[]));
        for ip in NEVER {
            assert!(refusal(&open, ip).is_some(), "{ip}");
            assert!(refusal(&closed, ip).is_some(), "{ip}");
        }
        for ip in PRIVATE {
            assert_eq!(refusal(&open, ip), None, "{ip}");
            assert!(refusal(&closed, ip).unwrap().contains("private"), "{ip}");
        }
        for ip in PUBLIC {
            assert_eq!(refusal(&open, ip), None, "{ip}");
            assert_eq!(refusal(&closed, ip), None, "{ip}");
        }
    }

    #[test]
    fn row_72_the_operator_has_the_last_word() {
        let dev = networks("allow_networks = ['127.0.0.0/8', '::1/128']", &[]);
        assert_eq!(refusal(&dev, "127.0.0.2"), None);
        assert_eq!(refusal(&dev, "::1"), None);
        assert!(
            refusal(&dev, "::ffff:127.0.0.1").is_some(),
            "another spelling is not allowed by it"
        );
        let both = networks(
            "allow_networks = ['10.0.0.0/8']\ndeny_networks = ['10.1.0.0/16', '1.1.1.1/32']",
            &[],
        );
        assert_eq!(refusal(&both, "10.2.0.1"), None);
        assert!(refusal(&both, "10.1.0.1").is_some());
        assert!(refusal(&both, "1.1.1.1").is_some());
    }

    #[test]
    fn r12_row_72_the_services_own_listeners_are_no_targets() {
        let named = networks("", &["10.0.0.1:80"]);
        assert_eq!(refusal(&named, "10.0.0.1"), Some("is this server's own"));
        assert_eq!(refusal(&named, "10.0.0.2"), None);
        assert!(
            named.permit("10.0.0.1:81".parse().unwrap()).is_ok(),
            "another port is not ours"
        );
        // A listener on all addresses is at each that the machine has.
        let all = networks("", &["0.0.0.0:80", "[::]:80"]);
        assert!(all.is_own("127.0.0.1:80".parse().unwrap()));
        assert!(
            !all.is_own("10.255.255.254:80".parse().unwrap()),
            "not an address of a test machine"
        );
        assert!(!all.is_own("127.0.0.1:81".parse().unwrap()));
        let allowed = networks("allow_networks = ['127.0.0.0/8']", &["0.0.0.0:80"]);
        assert_eq!(refusal(&allowed, "127.0.0.1"), None);
    }
}
