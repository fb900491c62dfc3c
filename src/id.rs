//! Ids and names: parsed once at the edge, trusted afterwards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};

/// A 128-bit id, written as 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id([u8; 16]);

impl Id {
    /// A random id.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn random(entropy: &dyn Entropy) -> Result<Self> {
        entropy::bytes(entropy).map(Self)
    }

    /// A random id that sorts by the millisecond of its making (48 bits of time, 80 random bits), so that a B-tree
    /// grows at its end.
    ///
    /// # Errors
    /// As [`Entropy::fill`].
    pub fn ordered(entropy: &dyn Entropy, now_millis: i64) -> Result<Self> {
        let mut bytes: [u8; 16] = entropy::bytes(entropy)?;
        for (to, from) in bytes.iter_mut().zip(now_millis.to_be_bytes().iter().skip(2)) {
            *to = *from;
        }
        Ok(Self(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<[u8; 16]> for Id {
    fn from(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Id {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let mut bytes = [0; 16];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| {
            Error::invalid(format!(
                "`{}` is not an id: give 32 hexadecimal digits",
                text.escape_debug()
            ))
        })?;
        Ok(Self(bytes))
    }
}

/// Declares a checked name type over a string.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = Error;
            fn from_str(text: &str) -> Result<Self> {
                let check: fn(&str) -> bool = $check;
                if check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(Error::invalid(format!(concat!("`{}` is not a ", $what, " name: ", $rule), text.escape_debug())))
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_object_name(text: &str) -> bool {
    (1..=255).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'/' | b'+' | b'=' | b'@'))
        && text.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

name!(
    /// The name of a vault, an upstream issuer, an authority, a profile or a node: a DNS label, because vaults become
    /// host names.
    Label,
    "valid",
    is_label,
    "use 1 to 63 of a-z, 0-9 and `-`, not at its ends"
);

name!(
    /// The name of a secret, key or certificate object within its vault. `/` separates parts; `.` and `..` are no
    /// parts.
    ObjectName,
    "valid object",
    is_object_name,
    "use 1 to 255 of A-Z, a-z, 0-9 and `-_.+=@`, with `/` between parts that are not empty, `.` or `..`"
);

/// What a caller tells one request from another by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl FromStr for IdempotencyKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "`{}` is not an idempotency key: use 1 to 255 printable ASCII characters without spaces",
                text.escape_debug()
            )))
        }
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn ids_come_back_from_text_and_sort_by_time() {
        let entropy = SeededEntropy::new(1);
        let early = Id::ordered(&entropy, 1_000).unwrap();
        let late = Id::ordered(&entropy, 1_001).unwrap();
        assert!(early < late);
        assert_eq!(early.to_string().parse::<Id>().unwrap(), early);
        assert!("xyz".parse::<Id>().is_err());
    }

    #[test]
    fn an_idempotency_key_is_short_and_visible() {
        assert!("order-7/2026".parse::<IdempotencyKey>().is_ok());
        for wrong in ["", "a b", "ä", "a\n", &"k".repeat(256)] {
            assert!(wrong.parse::<IdempotencyKey>().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_are_checked() {
        for good in ["db-password", "a/b/c", "tls.key", "x=1@y"] {
            assert!(good.parse::<ObjectName>().is_ok(), "{good}");
        }
        for bad in ["", "/a", "a//b", "a/..", ".", "a b", "ä", "a\0"] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad:?}");
        }
        assert!("kv-prod".parse::<Label>().is_ok());
        for bad in ["", "-a", "a-", "A", "a.b", &"a".repeat(64)] {
            assert!(bad.parse::<Label>().is_err(), "{bad:?}");
        }
    }
}
