//! Patterns that bind the names of a profile: `dns:*.corp.example`, `ip:10.0.0.0/8`, `email:*@corp.example`.

use std::net::IpAddr;

use serde::Deserialize;

use super::name::Name;

/// One pattern. A star stands for any run of characters, dots included.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) enum Pattern {
    Dns(String),
    Email(String),
    Ip { network: IpAddr, bits: u32 },
    Upn(String),
    Uri(String),
}

impl TryFrom<String> for Pattern {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{}` is no pattern for names: write dns:, email:, ip:, upn: or uri: and the pattern",
                text.escape_debug()
            )
        };
        let (kind, pattern) = text.split_once(':').ok_or_else(wrong)?;
        if pattern.is_empty() {
            return Err(wrong());
        }
        Ok(match kind {
            "dns" => Self::Dns(pattern.to_ascii_lowercase()),
            "email" => Self::Email(pattern.to_owned()),
            "upn" => Self::Upn(pattern.to_owned()),
            "uri" => Self::Uri(pattern.to_owned()),
            "ip" => {
                let (network, bits) = pattern.split_once('/').unwrap_or((pattern, ""));
                let network: IpAddr = network.parse().map_err(|_| wrong())?;
                let most = if network.is_ipv4() { 32 } else { 128 };
                let bits = if bits.is_empty() {
                    most
                } else {
                    bits.parse().map_err(|_| wrong())?
                };
                if bits > most {
                    return Err(wrong());
                }
                Self::Ip { network, bits }
            }
            _ => return Err(wrong()),
        })
    }
}

impl Pattern {
    /// Whether it binds names of this kind.
    pub(super) fn is_about(&self, name: &Name) -> bool {
        matches!(
            (self, name),
            (Self::Dns(_), Name::Dns(_))
                | (Self::Email(_), Name::Email(_))
                | (Self::Ip { .. }, Name::Ip(_))
                | (Self::Upn(_), Name::Upn(_))
                | (Self::Uri(_), Name::Uri(_))
        )
    }

    /// Whether it allows the name.
    pub(super) fn matches(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Dns(pattern), Name::Dns(text))
            | (Self::Email(pattern), Name::Email(text))
            | (Self::Upn(pattern), Name::Upn(text))
            | (Self::Uri(pattern), Name::Uri(text)) => glob(pattern, text),
            (Self::Ip { network, bits }, Name::Ip(ip)) => contains(*network, *bits, *ip),
            (Self::Dns(_) | Self::Email(_) | Self::Ip { .. } | Self::Upn(_) | Self::Uri(_), _) => false,
        }
    }
}

fn contains(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    let same = |network: u128, ip: u128, width: u32| bits == 0 || (network ^ ip) >> (width - bits) == 0;
    match (network, ip) {
        (IpAddr::V4(network), IpAddr::V4(ip)) => same(network.to_bits().into(), ip.to_bits().into(), 32),
        (IpAddr::V6(network), IpAddr::V6(ip)) => same(network.to_bits(), ip.to_bits(), 128),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

/// Whether the pattern's parts between stars follow one another in the text, the first at its start and the last at
/// its end.
fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return text.ends_with(part);
        }
        match text.split_once(part) {
            Some((_, tail)) => text = tail,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_runs() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("*.b", "a.b", true),
            ("*.b", ".b.c", false),
            ("a*c", "abc", true),
            ("a*c", "ac", true),
            ("ab*b", "ab", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn networks_hold_their_own_family() {
        let matches = |pattern: &str, ip: &str| {
            Pattern::try_from(pattern.to_owned())
                .unwrap()
                .matches(&Name::Ip(ip.parse().unwrap()))
        };
        assert!(matches("ip:10.0.0.0/8", "10.255.0.1") && !matches("ip:10.0.0.0/8", "11.0.0.1"));
        assert!(matches("ip:0.0.0.0/0", "1.2.3.4") && !matches("ip:0.0.0.0/0", "::1"));
        assert!(matches("ip:fd00::/8", "fd12::1") && !matches("ip:fd00::/8", "fe80::1"));
        assert!(matches("ip:10.0.0.1", "10.0.0.1") && !matches("ip:10.0.0.1", "10.0.0.2"));
        for wrong in ["a", "dns:", "ip:10.0.0.0/33", "ip:x", "other:a"] {
            assert!(Pattern::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }
}
