//! Name constraints: which names the subjects below a CA may have (RFC 5280 §4.2.1.10).
//!
//! Declared in the hierarchy's file, written into a CA's certificate, read back from the certificates above whoever
//! issues, foreign ones included, and obeyed before anything is signed. A kind of constraint that is not understood
//! refuses every name of that kind. To add a kind: [`Base`], and how it matches in [`Base::covers`].

use std::fmt;
use std::net::IpAddr;

use der::Encode;
use der::asn1::{Ia5String, OctetString};
use serde::Deserialize;
use x509_cert::ext::pkix::NameConstraints;
use x509_cert::ext::pkix::constraints::name::GeneralSubtree;
use x509_cert::ext::pkix::name::GeneralName as Encoded;
use x509_parser::extensions::GeneralName;

use super::X509Error;
use super::name::Name;

/// As the hierarchy's file says them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Declared {
    excluded_dns: Vec<String>,
    excluded_email: Vec<String>,
    excluded_ip: Vec<String>,
    excluded_uri: Vec<String>,
    permitted_dns: Vec<String>,
    permitted_email: Vec<String>,
    permitted_ip: Vec<String>,
    permitted_uri: Vec<String>,
}

/// What a CA's certificate says about the names below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Constraints {
    excluded: Vec<Base>,
    permitted: Vec<Base>,
}

/// The root of a subtree of names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Base {
    /// The name and all below it; only those below if it starts with a dot; all if it is empty.
    Dns(String),
    /// A mailbox, a host, or all hosts below if it starts with a dot.
    Email(String),
    /// An address and its mask, of 4 or 16 octets each.
    Ip(Vec<u8>, Vec<u8>),
    /// A kind of name that is never judged here.
    Other(Kind),
    /// A host, or all hosts below if it starts with a dot.
    Uri(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Dns,
    Directory,
    Email,
    Ip,
    Unknown,
    Upn,
    Uri,
}

impl Kind {
    fn of(name: &Name) -> Self {
        match name {
            Name::Dns(_) => Self::Dns,
            Name::Email(_) => Self::Email,
            Name::Ip(_) => Self::Ip,
            Name::Upn(_) => Self::Upn,
            Name::Uri(_) => Self::Uri,
        }
    }
}

impl TryFrom<Declared> for Constraints {
    type Error = String;
    fn try_from(declared: Declared) -> Result<Self, String> {
        let side = |dns: Vec<String>, email: Vec<String>, ip: Vec<String>, uri: Vec<String>| {
            let mut bases = Vec::new();
            for text in dns {
                bases.push(Base::Dns(host(&text)?));
            }
            for text in email {
                bases.push(Base::Email(match Name::email(&text) {
                    Ok(Name::Email(mailbox)) => mailbox,
                    _ => host_or_below(&text)?,
                }));
            }
            for text in ip {
                bases.push(network(&text)?);
            }
            for text in uri {
                bases.push(Base::Uri(host_or_below(&text)?));
            }
            Ok::<_, String>(bases)
        };
        let d = declared;
        Ok(Self {
            excluded: side(d.excluded_dns, d.excluded_email, d.excluded_ip, d.excluded_uri)?,
            permitted: side(d.permitted_dns, d.permitted_email, d.permitted_ip, d.permitted_uri)?,
        })
    }
}

fn host(text: &str) -> Result<String, String> {
    match Name::dns(text) {
        Ok(Name::Dns(host)) if !host.starts_with('*') => Ok(host),
        _ => Err(format!(
            "`{}` is no host name: it stands for itself and all below it, without a star or a dot before it",
            text.escape_debug()
        )),
    }
}

fn host_or_below(text: &str) -> Result<String, String> {
    match text.strip_prefix('.') {
        Some(below) => Ok(format!(".{}", host(below)?)),
        None => host(text),
    }
}

fn network(text: &str) -> Result<Base, String> {
    let wrong = || {
        format!(
            "`{}` is no network: write its address, a slash and how many bits of it count",
            text.escape_debug()
        )
    };
    let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
    let address = octets(address.parse().map_err(|_| wrong())?);
    let bits: usize = bits.parse().map_err(|_| wrong())?;
    if bits > address.len() * 8 {
        return Err(wrong());
    }
    let mask: Vec<u8> = (0..address.len())
        .map(|at| match bits.saturating_sub(at * 8) {
            0 => 0,
            left @ 1..8 => 0xff << (8 - left),
            _ => 0xff,
        })
        .collect();
    let address = address.iter().zip(&mask).map(|(octet, mask)| octet & mask).collect();
    Ok(Base::Ip(address, mask))
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

impl Constraints {
    /// Whether every name is allowed.
    pub(super) fn is_empty(&self) -> bool {
        self.excluded.is_empty() && self.permitted.is_empty()
    }

    /// Whether they are about the subject's own name too, which is then left empty: it is not judged here.
    pub(super) fn are_about_subjects(&self) -> bool {
        let mut all = self.excluded.iter().chain(&self.permitted);
        all.any(|base| base.kind() == Kind::Directory)
    }

    /// As they stand in a CA's certificate.
    pub(super) fn read(constraints: &x509_parser::extensions::NameConstraints<'_>) -> Self {
        let read = |trees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
            let trees = trees.iter().flatten();
            trees.map(|tree| Base::read(&tree.base)).collect()
        };
        Self {
            excluded: read(&constraints.excluded_subtrees),
            permitted: read(&constraints.permitted_subtrees),
        }
    }

    /// The extension's value.
    pub(super) fn to_der(&self) -> Result<Vec<u8>, X509Error> {
        let encode = |bases: &[Base]| -> Result<Option<Vec<GeneralSubtree>>, X509Error> {
            let trees = bases.iter().map(|base| {
                Ok(GeneralSubtree {
                    base: base.encode()?,
                    minimum: 0,
                    maximum: None,
                })
            });
            let trees: Vec<GeneralSubtree> = trees.collect::<Result<_, X509Error>>()?;
            Ok((!trees.is_empty()).then_some(trees))
        };
        NameConstraints {
            permitted_subtrees: encode(&self.permitted)?,
            excluded_subtrees: encode(&self.excluded)?,
        }
        .to_der()
        .map_err(X509Error::build)
    }

    /// Judges the names of a subject anywhere below.
    ///
    /// # Errors
    /// `Refused`, naming the first name that is not allowed and the constraint.
    pub fn check(&self, names: &[Name]) -> Result<(), X509Error> {
        for name in names {
            let kind = Kind::of(name);
            let about = |base: &&Base| base.kind() == kind;
            if let Some(base) = self.excluded.iter().filter(about).find(|base| base.meets(name)) {
                return Err(X509Error::Refused(format!(
                    "`{name}` is excluded by a name constraint, {base}: ask for another"
                )));
            }
            let permitted: Vec<&Base> = self.permitted.iter().filter(about).collect();
            if !permitted.is_empty() && !permitted.iter().any(|base| base.covers(name)) {
                let said: Vec<String> = permitted.iter().map(ToString::to_string).collect();
                return Err(X509Error::Refused(format!(
                    "`{name}` is outside the name constraints, which permit {}: ask for one within them",
                    said.join(", ")
                )));
            }
        }
        Ok(())
    }
}

impl Base {
    fn read(name: &GeneralName<'_>) -> Self {
        match name {
            GeneralName::DNSName(text) => Self::Dns(text.to_ascii_lowercase()),
            // The local part tells letters apart, the host does not.
            GeneralName::RFC822Name(text) => Self::Email(match text.split_once('@') {
                Some((user, host)) => format!("{user}@{}", host.to_ascii_lowercase()),
                None => text.to_ascii_lowercase(),
            }),
            GeneralName::URI(text) => Self::Uri(text.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => match octets.split_at_checked(octets.len() / 2) {
                Some((address, mask)) if matches!(octets.len(), 8 | 32) => Self::Ip(address.to_vec(), mask.to_vec()),
                _ => Self::Other(Kind::Ip),
            },
            GeneralName::DirectoryName(_) => Self::Other(Kind::Directory),
            GeneralName::OtherName(..) => Self::Other(Kind::Upn),
            _ => Self::Other(Kind::Unknown),
        }
    }

    fn encode(&self) -> Result<Encoded, X509Error> {
        let text = |text: &str| Ia5String::new(text).map_err(X509Error::build);
        Ok(match self {
            Self::Dns(host) => Encoded::DnsName(text(host)?),
            Self::Email(mailbox) => Encoded::Rfc822Name(text(mailbox)?),
            Self::Ip(address, mask) => {
                let both = [address.as_slice(), mask].concat();
                Encoded::IpAddress(OctetString::new(both).map_err(X509Error::build)?)
            }
            Self::Uri(host) => Encoded::UniformResourceIdentifier(text(host)?),
            Self::Other(_) => return Err(X509Error::build("a name constraint of a kind that is only read")),
        })
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Dns(_) => Kind::Dns,
            Self::Email(_) => Kind::Email,
            Self::Ip(..) => Kind::Ip,
            Self::Other(kind) => *kind,
            Self::Uri(_) => Kind::Uri,
        }
    }

    /// Whether the name, all that a wildcard stands for included, is within.
    fn covers(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Dns(base), Name::Dns(host)) => {
                // What a star stands for lies below what follows it.
                let host = host
                    .strip_prefix("*.")
                    .map_or_else(|| host.clone(), |rest| format!("x.{rest}"));
                is_within(base, &host)
            }
            (Self::Email(base), Name::Email(mailbox)) => match mailbox.split_once('@') {
                Some((_, host)) => base == mailbox || is_at(base, host),
                None => false,
            },
            (Self::Ip(base, mask), Name::Ip(ip)) => {
                let ip = octets(*ip);
                let masked = ip.iter().zip(mask).map(|(octet, mask)| octet & mask);
                ip.len() == base.len() && masked.eq(base.iter().zip(mask).map(|(octet, mask)| octet & mask))
            }
            (Self::Uri(base), Name::Uri(uri)) => host_of(uri).is_some_and(|host| is_at(base, &host)),
            (Self::Dns(_) | Self::Email(_) | Self::Ip(..) | Self::Other(_) | Self::Uri(_), _) => false,
        }
    }

    /// Whether some of what the name stands for is within, or may be.
    fn meets(&self, name: &Name) -> bool {
        match (self, name) {
            (Self::Other(_), _) => true,
            (Self::Dns(base), Name::Dns(host)) => {
                let stands_for_base = || {
                    let (parent, base) = (host.strip_prefix("*."), base.trim_start_matches('.'));
                    parent.is_some_and(|parent| base.split_once('.').is_some_and(|(_, above)| above == parent))
                };
                self.covers(name) || stands_for_base()
            }
            // RFC 5280 §4.2.1.10: a URI without a host name is not to be accepted.
            (Self::Uri(_), Name::Uri(uri)) => self.covers(name) || host_of(uri).is_none(),
            _ => self.covers(name),
        }
    }
}

/// The host is the base, or below it.
fn is_within(base: &str, host: &str) -> bool {
    let below = |base: &str| host.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
    match base.strip_prefix('.') {
        Some(base) => below(base),
        None => base.is_empty() || host == base || below(base),
    }
}

/// The host is the base, or below it if the base starts with a dot.
fn is_at(base: &str, host: &str) -> bool {
    if base.starts_with('.') {
        is_within(base, host)
    } else {
        base == host
    }
}

/// The host name of a URI with an authority (RFC 3986 §3.2); none for an address.
fn host_of(uri: &str) -> Option<String> {
    let (_, rest) = uri.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let host = host.split(':').next()?.to_ascii_lowercase();
    // SECURITY: a bracket begins an IPv6 address, digits only are an IPv4 address; neither is a host name.
    matches!(Name::dns(&host), Ok(Name::Dns(name)) if !name.starts_with('*')).then_some(host)
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(host) => write!(f, "dns:{host}"),
            Self::Email(mailbox) => write!(f, "email:{mailbox}"),
            Self::Ip(address, mask) => {
                let bits: u32 = mask.iter().map(|octet| octet.count_ones()).sum();
                let ip = <[u8; 4]>::try_from(address.as_slice())
                    .map(IpAddr::from)
                    .or_else(|_| <[u8; 16]>::try_from(address.as_slice()).map(IpAddr::from));
                match ip {
                    Ok(ip) => write!(f, "ip:{ip}/{bits}"),
                    Err(_) => f.write_str("an address that cannot be read"),
                }
            }
            Self::Other(_) => f.write_str("a kind of name that is not understood"),
            Self::Uri(host) => write!(f, "uri:{host}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x509::fixture::names;

    fn declared(text: &str) -> Result<Constraints, String> {
        toml::from_str::<Declared>(text).map_err(|e| e.to_string())?.try_into()
    }

    #[test]
    fn names_are_judged_as_the_rfc_says() {
        for (text, inside, outside) in [
            (
                "permitted_dns = [\"corp.test\"]",
                &["corp.test", "a.b.corp.test", "*.corp.test", "10.0.0.1", "jo@other.test"][..],
                &["xcorp.test", "test", "*.xcorp.test"][..],
            ),
            (
                "excluded_dns = [\"x.corp.test\"]",
                &["corp.test", "y.corp.test", "*.y.corp.test"],
                &["x.corp.test", "a.x.corp.test", "*.corp.test", "*.x.corp.test"],
            ),
            (
                "permitted_ip = [\"10.0.0.0/9\"]",
                &["10.127.0.1", "a.test"],
                &["10.128.0.1", "::1"],
            ),
            (
                "excluded_ip = [\"0.0.0.0/0\", \"fd00::/8\"]",
                &["fe80::1"],
                &["1.2.3.4", "fd12::1"],
            ),
            (
                "permitted_email = [\"jo@a.test\", \"b.test\", \".c.test\"]",
                &["jo@a.test", "x@b.test", "x@d.c.test"],
                &["x@a.test", "x@d.b.test", "x@c.test"],
            ),
            (
                "permitted_uri = [\"a.test\", \".b.test\"]",
                &["https://a.test/x", "https://u@x.b.test:8/", "spiffe://a.test/app"],
                &[
                    "https://x.a.test/",
                    "https://b.test/",
                    "urn:a.test",
                    "https://10.0.0.1/",
                    "https://[::1]/",
                ],
            ),
            (
                "excluded_uri = [\"a.test\"]",
                &["https://b.test/"],
                &["https://A.test/", "urn:x:y", "https://[::1]/"],
            ),
        ] {
            let constraints = declared(text).unwrap();
            for name in inside {
                let name = if name.starts_with("urn") {
                    Name::uri(name).unwrap()
                } else {
                    names(&[name]).remove(0)
                };
                assert!(constraints.check(std::slice::from_ref(&name)).is_ok(), "{text}: {name}");
            }
            for name in outside {
                let name = if name.starts_with("urn") {
                    Name::uri(name).unwrap()
                } else {
                    names(&[name]).remove(0)
                };
                let error = constraints.check(std::slice::from_ref(&name)).unwrap_err().to_string();
                assert!(
                    error.contains(&name.to_string()) && error.contains("constraint"),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_is_declared_wrongly_is_refused() {
        for text in [
            "permitted_dns = [\".a.test\"]",
            "permitted_dns = [\"*.a.test\"]",
            "permitted_ip = [\"10.0.0.0\"]",
            "permitted_ip = [\"10.0.0.0/33\"]",
            "permitted_uri = [\"https://a.test\"]",
            "permitted_names = [\"a.test\"]",
        ] {
            assert!(declared(text).is_err(), "{text}");
        }
    }

    #[test]
    fn r09_a_kind_of_constraint_that_is_not_understood_refuses_its_names() {
        let foreign = Constraints {
            excluded: Vec::new(),
            permitted: vec![Base::Other(Kind::Upn)],
        };
        assert!(foreign.check(&names(&["upn:a@b.test"])).is_err());
        assert!(foreign.check(&names(&["b.test"])).is_ok());
    }
}
