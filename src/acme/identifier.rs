//! Identifiers (RFC 8555 §7.1.3, §9.7.7; RFC 8738): what an order asks a certificate for.
//!
//! Here is what makes one well formed. Which names an account may ask for is policy, and not here.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use thiserror::Error;

use crate::x509::name::Name;

/// RFC 1035 §2.3.4, without the length octets of first label and root.
const LONGEST_NAME: usize = 253;

/// A host name in its canonical form: lower case, A-labels, no wildcard, no final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostName(String);

impl HostName {
    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself and then each of its ancestors, up to the top-level domain: `a.b.c`, `b.c`, `c`.
    pub fn climb(&self) -> impl Iterator<Item = &str> {
        let mut rest = Some(self.as_str());
        std::iter::from_fn(move || {
            let here = rest?;
            rest = here.split_once('.').map(|(_, parent)| parent);
            Some(here)
        })
    }
}

impl FromStr for HostName {
    type Err = IdentifierError;

    fn from_str(text: &str) -> Result<Self, IdentifierError> {
        match parse_name(text)? {
            Name::Dns(name) if !name.starts_with("*.") => {
                check_a_labels(&name)?;
                Ok(Self(name))
            }
            _ => Err(IdentifierError::Malformed(format!(
                "`{}` is a wildcard where a host name is needed",
                shown(text)
            ))),
        }
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What control is proven over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identifier {
    /// Type `dns`.
    Dns(HostName),
    /// Type `ip` (RFC 8738).
    Ip(IpAddr),
}

impl Identifier {
    /// Reads an identifier that may not be a wildcard: that of a pre-authorization, or one that was stored.
    ///
    /// # Errors
    /// As [`Asked::parse`]; a wildcard is `Malformed`.
    pub fn parse(kind: &str, value: &str) -> Result<Self, IdentifierError> {
        match kind {
            "dns" => value.parse().map(Self::Dns),
            "ip" => parse_address(value).map(Self::Ip),
            _ => Err(IdentifierError::Unsupported(format!(
                "identifiers of type `{}` are not supported; use `dns` or `ip`",
                shown(kind)
            ))),
        }
    }

    /// Its type on the wire: `dns` or `ip`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Ip(_) => "ip",
        }
    }

    /// Its value on the wire.
    pub fn value(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => name.fmt(f),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// What a newOrder asks for: an identifier, and whether the certificate shall cover all names one label below it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// What is to be authorized, without `*.` (RFC 8555 §7.1.4).
    pub identifier: Identifier,
    /// Whether `*.` stood before it.
    pub wildcard: bool,
}

impl Asked {
    /// Reads an identifier of an order.
    ///
    /// # Errors
    /// `Unsupported` for another type than `dns` and `ip`; `Malformed` for a value that is none of its type;
    /// `Rejected` for one that nobody can prove control over.
    pub fn parse(kind: &str, value: &str) -> Result<Self, IdentifierError> {
        if kind == "dns"
            && let Some(base) = value.strip_prefix("*.")
        {
            // The whole must be a name too: a wildcard may not stand right below a top-level domain.
            parse_name(value)?;
            return Ok(Self {
                identifier: Identifier::parse(kind, base)?,
                wildcard: true,
            });
        }
        Ok(Self {
            identifier: Identifier::parse(kind, value)?,
            wildcard: false,
        })
    }

    /// As it stands in the certificate's subject alternative name.
    pub fn to_name(&self) -> Name {
        match &self.identifier {
            Identifier::Dns(name) if self.wildcard => Name::Dns(format!("*.{name}")),
            Identifier::Dns(name) => Name::Dns(name.to_string()),
            Identifier::Ip(address) => Name::Ip(*address),
        }
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.wildcard {
            f.write_str("*.")?;
        }
        self.identifier.fmt(f)
    }
}

/// Why an identifier is refused; the texts are for the client's user.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdentifierError {
    /// `unsupportedIdentifier`.
    #[error("{0}")]
    Unsupported(String),
    /// `malformed`.
    #[error("{0}")]
    Malformed(String),
    /// `rejectedIdentifier`.
    #[error("{0}")]
    Rejected(String),
}

fn parse_name(text: &str) -> Result<Name, IdentifierError> {
    if text.len() > LONGEST_NAME {
        return Err(IdentifierError::Malformed(format!(
            "`{}…` is not a host name: use at most {LONGEST_NAME} characters",
            shown(text)
        )));
    }
    Name::dns(text).map_err(|e| IdentifierError::Malformed(e.to_string()))
}

/// Each `xn--` label must be what its own Unicode form encodes to (RFC 8555 §7.1.4: verified as proper A-labels).
fn check_a_labels(name: &str) -> Result<(), IdentifierError> {
    let malformed = |label: &str| {
        Err(IdentifierError::Malformed(format!(
            "`{}` in `{}` is no internationalized label; encode it anew from its Unicode form",
            shown(label),
            shown(name)
        )))
    };
    for label in name.split('.').filter(|label| label.starts_with("xn--")) {
        match idna::domain_to_ascii_strict(label) {
            // What has no character outside of ASCII needs no `xn--`, and is not encoded with it.
            Ok(encoded) if encoded == label => {}
            _ => return malformed(label),
        }
    }
    Ok(())
}

/// RFC 8738 §3: dotted decimal (RFC 1123 §2.1) or the one canonical form of RFC 5952 §4.
fn parse_address(value: &str) -> Result<IpAddr, IdentifierError> {
    let address: IpAddr = value.parse().map_err(|_| {
        IdentifierError::Malformed(format!(
            "`{}` is no IP address; give one address, without prefix length or brackets",
            shown(value)
        ))
    })?;
    if address.to_string() != value {
        return Err(IdentifierError::Malformed(format!(
            "`{}` is not the canonical form of this address; write it `{address}`",
            shown(value)
        )));
    }
    let nobody = match address {
        IpAddr::V4(v4) => v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => v6.is_unspecified() || v6.is_multicast() || v6.to_ipv4_mapped().is_some(),
    };
    if nobody {
        return Err(IdentifierError::Rejected(format!(
            "`{address}` is no address of one host; ask for one that a server answers at"
        )));
    }
    Ok(address)
}

/// What a stranger sent, fit to stand in a message.
fn shown(text: &str) -> String {
    text.chars().take(100).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked(kind: &str, value: &str) -> Result<String, IdentifierError> {
        Asked::parse(kind, value).map(|asked| asked.to_string())
    }

    #[test]
    fn row_48_types_that_are_not_known_are_unsupported() {
        for kind in ["", "DNS", "email", "TNAuthList"] {
            assert!(
                matches!(asked(kind, "a.test"), Err(IdentifierError::Unsupported(_))),
                "{kind}"
            );
        }
    }

    #[test]
    fn row_49_names_are_kept_in_certificate_form_and_their_a_labels_are_checked() {
        assert_eq!(asked("dns", "WWW.Example.test").unwrap(), "www.example.test");
        assert_eq!(asked("dns", "xn--bcher-kva.example").unwrap(), "xn--bcher-kva.example");
        assert_eq!(asked("dns", "XN--BCHER-KVA.example").unwrap(), "xn--bcher-kva.example");
        for bad in [
            "bücher.example",
            // No punycode at all, or not what its own decoded form encodes to.
            "xn--.example",
            "xn--a.example",
            "xn--abc-.example",
            "xn--bcher-kvaa9999999.example",
            "xn--0ca.example.xn--mca",
            "xn---.example",
        ] {
            assert!(matches!(asked("dns", bad), Err(IdentifierError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn row_50_a_wildcard_is_the_whole_first_label() {
        let wild = Asked::parse("dns", "*.Example.test").unwrap();
        assert!(wild.wildcard);
        assert_eq!(wild.identifier.to_string(), "example.test");
        assert_eq!(wild.to_name(), Name::Dns("*.example.test".to_owned()));
        for bad in [
            "*",
            "*.",
            "*.test",
            "*.*.example.test",
            "a*.example.test",
            "www.*.test",
            "*.10.0.0.1",
        ] {
            assert!(matches!(asked("dns", bad), Err(IdentifierError::Malformed(_))), "{bad}");
        }
        assert!(matches!(
            Identifier::parse("dns", "*.example.test"),
            Err(IdentifierError::Malformed(_))
        ));
    }

    #[test]
    fn i1_addresses_have_one_text_form() {
        for good in ["10.0.0.1", "2001:db8::1", "::1", "127.0.0.1"] {
            assert_eq!(asked("ip", good).unwrap(), good);
        }
        for bad in [
            "010.0.0.1",
            "10.1",
            "0x7f.0.0.1",
            "2001:DB8::1",
            "2001:db8:0:0:0:0:0:1",
            "2001:0db8::1",
            "[::1]",
            "fe80::1%eth0",
            "",
            "a.test",
            " 10.0.0.1",
        ] {
            assert!(matches!(asked("ip", bad), Err(IdentifierError::Malformed(_))), "{bad}");
        }
        let hint = asked("ip", "2001:DB8::1").unwrap_err().to_string();
        assert!(hint.ends_with("write it `2001:db8::1`"), "{hint}");
        for nobody in [
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(
                matches!(asked("ip", nobody), Err(IdentifierError::Rejected(_))),
                "{nobody}"
            );
        }
    }

    #[test]
    fn i6_no_wildcard_and_no_prefix_of_addresses() {
        for bad in ["*.10.0.0.1", "*", "10.0.0.0/8", "2001:db8::/32"] {
            assert!(matches!(asked("ip", bad), Err(IdentifierError::Malformed(_))), "{bad}");
        }
    }

    #[test]
    fn a_name_climbs_to_its_top_level_domain() {
        let name: HostName = "a.b.c".parse().unwrap();
        assert_eq!(name.climb().collect::<Vec<_>>(), ["a.b.c", "b.c", "c"]);
    }

    #[test]
    fn messages_stay_short_and_printable() {
        let long = asked("dns", &format!("\u{1b}[31m{}", "x".repeat(100_000))).unwrap_err();
        assert!(long.to_string().len() < 1000, "{long}");
        assert!(!long.to_string().contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(kind in "dns|ip", text in "(\\*\\.)?[a-zA-Z0-9.:-]{0,40}") {
            if let Ok(first) = Asked::parse(&kind, &text) {
                prop_assert_eq!(Asked::parse(&kind, &first.to_string()).unwrap(), first);
            }
        }
    }
}
