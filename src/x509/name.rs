//! Names that a certificate may carry in its subject alternative name, checked when they are made.
//!
//! Whether a profile *allows* a name is [`profile`](super::profile)'s business; here stands only what is well formed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use super::X509Error;

/// Longest URI taken, the bound of a SPIFFE ID (SPIFFE-ID §2.4).
const URI_MAX: usize = 2048;

/// One name: RFC 5280 §4.2.1.6. Only the kinds that profiles can allow.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Name {
    /// A host name, lower case, perhaps with a wildcard as its first label.
    Dns(String),
    /// An e-mail address (rfc822Name), its domain in lower case.
    Email(String),
    /// An IPv4 or IPv6 address.
    Ip(IpAddr),
    /// A user principal name, `user@domain`: an otherName that Windows logs people on by.
    Upn(String),
    /// An absolute URI.
    Uri(String),
}

impl Name {
    /// A host name, folded to lower case.
    ///
    /// # Errors
    /// `Refused` unless it is a preferred name (RFC 1034 §3.5, RFC 1123 §2.1) of at most 253 characters whose last label
    /// is not a number; `*` may stand for its first label if two more follow.
    pub fn dns(text: &str) -> Result<Self, X509Error> {
        let refuse = |why: &str| X509Error::Refused(format!("`{}` is not a host name: {why}", text.escape_debug()));
        if text.len() > 253 {
            return Err(refuse("use at most 253 characters"));
        }
        if text.ends_with('.') {
            return Err(refuse("leave out the final dot"));
        }
        if !text.is_ascii() {
            return Err(refuse("write it in its ASCII form (`xn--…`)"));
        }
        let lower = text.to_ascii_lowercase();
        let labels = match lower.strip_prefix("*.") {
            Some(rest) if rest.contains('.') => rest,
            Some(_) => return Err(refuse("`*.` must be followed by at least two labels")),
            None => &lower,
        };
        for label in labels.split('.') {
            if label.contains('*') {
                return Err(refuse("`*` may only stand for the whole first label"));
            }
            check_label(label).map_err(refuse)?;
        }
        match labels.rsplit('.').next() {
            Some(last) if last.bytes().all(|b| b.is_ascii_digit()) => {
                Err(refuse("its last label is a number; send addresses as IP addresses"))
            }
            _ => Ok(Self::Dns(lower)),
        }
    }

    /// An e-mail address: RFC 5280 §4.2.1.6, a local part and a host name.
    ///
    /// # Errors
    /// `Refused` unless it is a dot-string (RFC 5321 §4.1.2) and a host name without wildcard.
    pub fn email(text: &str) -> Result<Self, X509Error> {
        address_of(text)
            .map(Self::Email)
            .map_err(|why| X509Error::Refused(format!("`{}` is not an e-mail address: {why}", text.escape_debug())))
    }

    /// A user principal name, `user@domain`, of the same characters as an e-mail address.
    ///
    /// # Errors
    /// As [`Name::email`].
    pub fn upn(text: &str) -> Result<Self, X509Error> {
        address_of(text)
            .map(Self::Upn)
            .map_err(|why| X509Error::Refused(format!("`{}` is not a user principal name: {why}", text.escape_debug())))
    }

    /// An absolute URI of printable ASCII with a scheme.
    ///
    /// # Errors
    /// `Refused` for anything else.
    pub fn uri(text: &str) -> Result<Self, X509Error> {
        let refuse = |why: &str| X509Error::Refused(format!("`{}` is not a URI: {why}", text.escape_debug()));
        if text.len() > URI_MAX {
            return Err(refuse("use at most 2048 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(refuse("use printable ASCII without spaces"));
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(refuse("it has no scheme, for example `spiffe://`"));
        };
        let scheme_ok = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
        if !scheme_ok || rest.is_empty() {
            return Err(refuse("give a scheme and what follows it"));
        }
        if scheme.eq_ignore_ascii_case("spiffe") {
            check_spiffe(text).map_err(|why| refuse(&why))?;
        }
        Ok(Self::Uri(text.to_owned()))
    }

    /// Whether it is a well-formed SPIFFE ID of a workload.
    pub fn is_spiffe(&self) -> bool {
        matches!(self, Self::Uri(uri) if uri.starts_with("spiffe://"))
    }

    /// Whether it is a host name whose first label is `*`.
    pub fn is_wildcard(&self) -> bool {
        matches!(self, Self::Dns(dns) if dns.starts_with("*."))
    }
}

/// A URI if there is a scheme, a user principal name after `upn:`, an e-mail address if there is an `@`, else an address
/// if it parses as one, else a host name.
impl FromStr for Name {
    type Err = X509Error;
    fn from_str(text: &str) -> Result<Self, X509Error> {
        if text.contains("://") {
            return Self::uri(text);
        }
        if let Some(upn) = text.strip_prefix("upn:") {
            return Self::upn(upn);
        }
        if text.contains('@') {
            return Self::email(text);
        }
        match text.parse() {
            Ok(ip) => Ok(Self::Ip(ip)),
            Err(_) => Self::dns(text),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(text) | Self::Email(text) | Self::Uri(text) => f.write_str(text),
            Self::Upn(text) => write!(f, "upn:{text}"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

/// `user@domain`, the domain folded to lower case.
fn address_of(text: &str) -> Result<String, String> {
    let Some((user, domain)) = text.split_once('@') else {
        return Err("write user@domain".to_owned());
    };
    let user_ok = (1..=64).contains(&user.len())
        && user.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+' | b'\''))
        });
    if !user_ok {
        return Err(
            "before the `@` stand at most 64 letters, digits and `.-_+'`, no dot first, last or twice".to_owned(),
        );
    }
    match Name::dns(domain) {
        Ok(Name::Dns(domain)) if !domain.starts_with('*') => Ok(format!("{user}@{domain}")),
        _ => Err("behind the `@` stands a host name".to_owned()),
    }
}

fn check_label(label: &str) -> Result<(), &'static str> {
    if label.is_empty() {
        return Err("a label is empty");
    }
    if label.len() > 63 {
        return Err("a label has more than 63 characters");
    }
    if !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
        return Err("labels use a-z, 0-9 and `-`");
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err("a label starts or ends with `-`");
    }
    // RFC 5890 §2.3.1: `--` in third and fourth place is reserved for A-labels.
    if label.get(2..4) == Some("--") && !label.starts_with("xn--") {
        return Err("a label has `--` in its third and fourth place");
    }
    Ok(())
}

/// SPIFFE-ID §2: trust domain and a path of plain segments, no user, port, query or fragment.
fn check_spiffe(text: &str) -> Result<(), String> {
    let Some(rest) = text.strip_prefix("spiffe://") else {
        return Err("a SPIFFE ID starts with `spiffe://` in lower case".to_owned());
    };
    let Some((domain, path)) = rest.split_once('/') else {
        return Err("a workload's SPIFFE ID has a path after its trust domain".to_owned());
    };
    let domain_ok = (1..=255).contains(&domain.len())
        && domain
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_'));
    if !domain_ok {
        return Err("a trust domain uses a-z, 0-9 and `.-_`".to_owned());
    }
    let path_ok = path.split('/').all(|segment| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    });
    if path_ok {
        Ok(())
    } else {
        Err("a SPIFFE path has segments of A-Z, a-z, 0-9 and `.-_`, none empty, `.` or `..`".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn host_names() {
        for good in [
            "localhost",
            "www.Example.test",
            "*.example.test",
            "xn--bcher-kva.example",
            "1.a",
            "a-b.c",
        ] {
            assert!(Name::dns(good).is_ok(), "{good}");
        }
        assert_eq!(Name::dns("WWW.a.b").unwrap().to_string(), "www.a.b");
        for bad in [
            "", ".", "a.", ".a", "a..b", "*", "*.a", "a.*.b.c", "*a.b.c", "**.a.b", "-a.b", "a-.b", "a_b.c", "ä.de",
            "10.0.0.1", "a.1", "ab--c.d", "a b.c", "a/b.c", "a,b.c", "a+b.c", "a\0.b",
        ] {
            assert!(Name::dns(bad).is_err(), "{bad}");
        }
        assert!(Name::dns(&format!("{}.a", "b".repeat(64))).is_err());
        assert!(Name::dns(&"ab.".repeat(90)).is_err());
    }

    #[test]
    fn spiffe_ids() {
        for good in ["spiffe://chancery.test/app", "spiffe://a/b/c-d_e.f"] {
            assert!(Name::uri(good).unwrap().is_spiffe(), "{good}");
        }
        for bad in [
            "spiffe://chancery.test",
            "spiffe://chancery.test/",
            "spiffe:///a",
            "spiffe://A/b",
            "SPIFFE://a/b",
            "spiffe://a/b?c",
            "spiffe://a/b#c",
            "spiffe://a/../b",
            "spiffe://a//b",
            "spiffe://a:1/b",
            "spiffe://u@a/b",
            "spiffe://a/*",
            "spiffe:a/b",
        ] {
            assert!(Name::uri(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn addresses_of_people() {
        assert_eq!(
            Name::email("Jo.Doe+x@Example.TEST").unwrap().to_string(),
            "Jo.Doe+x@example.test"
        );
        for bad in [
            "",
            "a",
            "@a.test",
            "a@",
            "a@b@c",
            "a b@c.test",
            ".a@b.test",
            "a..b@c.test",
            "a@*.b.test",
            "ä@b.test",
        ] {
            assert!(Name::email(bad).is_err(), "{bad}");
            assert!(Name::upn(bad).is_err(), "{bad}");
        }
        assert!(matches!("a@b.test".parse::<Name>().unwrap(), Name::Email(_)));
        assert!(matches!("upn:a@b.test".parse::<Name>().unwrap(), Name::Upn(_)));
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(
            "10.0.0.1".parse::<Name>().unwrap(),
            Name::Ip("10.0.0.1".parse().unwrap())
        );
        assert_eq!("::1".parse::<Name>().unwrap(), Name::Ip("::1".parse().unwrap()));
        assert!(matches!("https://a/b".parse::<Name>().unwrap(), Name::Uri(_)));
        assert!(matches!("a.b".parse::<Name>().unwrap(), Name::Dns(_)));
    }

    proptest! {
        #[test]
        fn what_is_shown_parses_back(text in "\\PC{0,40}") {
            if let Ok(name) = text.parse::<Name>() {
                prop_assert_eq!(name.to_string().parse::<Name>().unwrap(), name);
            }
        }
    }
}
