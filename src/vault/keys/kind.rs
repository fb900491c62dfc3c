//! What sorts of key there are, and what each may be used for. Pure.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use openssl::nid::Nid;

use crate::error::{Error, Result};
use crate::vault::names::names;

names! {
    /// A sort of key.
    KeyKind, "a type of key", {
        /// AES with 128 bits.
        Aes128 = "aes-128",
        /// AES with 192 bits.
        Aes192 = "aes-192",
        /// AES with 256 bits.
        Aes256 = "aes-256",
        /// ECDSA over P-256.
        EcP256 = "ec-p256",
        /// ECDSA over P-384.
        EcP384 = "ec-p384",
        /// ECDSA over P-521.
        EcP521 = "ec-p521",
        /// ECDSA over secp256k1.
        EcSecp256k1 = "ec-secp256k1",
        /// Ed25519.
        Ed25519 = "ed25519",
        /// HMAC with SHA-256, 256 bits.
        Hmac256 = "hmac-256",
        /// HMAC with SHA-384, 384 bits.
        Hmac384 = "hmac-384",
        /// HMAC with SHA-512, 512 bits.
        Hmac512 = "hmac-512",
        /// RSA with 2048 bits.
        Rsa2048 = "rsa-2048",
        /// RSA with 3072 bits.
        Rsa3072 = "rsa-3072",
        /// RSA with 4096 bits.
        Rsa4096 = "rsa-4096",
    }
}

names! {
    /// Where a private half is kept and used.
    KeyProtection, "a protection that keys can have here", {
        /// Made in the token, kept outside it only wrapped by it, used in it.
        Hsm = "hsm",
        /// Sealed in the database, used in the service's process.
        Software = "software",
    }
}

/// How a kind is made and used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// With this many bytes.
    Aes(usize),
    /// On this curve, whose numbers have this many bytes.
    Ec(Nid, usize),
    Ed25519,
    /// With this many bytes.
    Hmac(usize),
    /// With this many bits.
    Rsa(u32),
}

impl KeyKind {
    pub(super) const fn family(self) -> Family {
        match self {
            Self::Aes128 => Family::Aes(16),
            Self::Aes192 => Family::Aes(24),
            Self::Aes256 => Family::Aes(32),
            Self::EcP256 => Family::Ec(Nid::X9_62_PRIME256V1, 32),
            Self::EcP384 => Family::Ec(Nid::SECP384R1, 48),
            Self::EcP521 => Family::Ec(Nid::SECP521R1, 66),
            Self::EcSecp256k1 => Family::Ec(Nid::SECP256K1, 32),
            Self::Ed25519 => Family::Ed25519,
            Self::Hmac256 => Family::Hmac(32),
            Self::Hmac384 => Family::Hmac(48),
            Self::Hmac512 => Family::Hmac(64),
            Self::Rsa2048 => Family::Rsa(2048),
            Self::Rsa3072 => Family::Rsa(3072),
            Self::Rsa4096 => Family::Rsa(4096),
        }
    }

    /// All that it can be used for.
    const fn uses(self) -> &'static [KeyOp] {
        match self.family() {
            Family::Aes(_) => &[KeyOp::Decrypt, KeyOp::Encrypt, KeyOp::UnwrapKey, KeyOp::WrapKey],
            Family::Ec(..) => &[KeyOp::DeriveBits, KeyOp::Sign, KeyOp::Verify],
            Family::Ed25519 | Family::Hmac(_) => &[KeyOp::Sign, KeyOp::Verify],
            Family::Rsa(_) => &[
                KeyOp::Decrypt,
                KeyOp::Encrypt,
                KeyOp::Sign,
                KeyOp::UnwrapKey,
                KeyOp::Verify,
                KeyOp::WrapKey,
            ],
        }
    }

    /// Whether it signs by a code that only itself can verify.
    pub(super) const fn is_mac(self) -> bool {
        matches!(self.family(), Family::Hmac(_))
    }

    /// Whether one use takes so long that the threads which answer requests must not do it: a millisecond and more.
    pub(super) const fn is_slow(self) -> bool {
        match self.family() {
            Family::Aes(_) | Family::Ed25519 | Family::Hmac(_) => false,
            Family::Ec(..) => !matches!(self, Self::EcP256),
            Family::Rsa(_) => true,
        }
    }
}

names! {
    /// A use of a key, as in a JWK's `key_ops` (RFC 7517 §4.3).
    KeyOp, "a use of a key", {
        /// Decrypting.
        Decrypt = "decrypt",
        /// Agreeing on a secret with the holder of another key (ECDH).
        DeriveBits = "deriveBits",
        /// Encrypting, data keys too.
        Encrypt = "encrypt",
        /// Signing.
        Sign = "sign",
        /// Unwrapping another key.
        UnwrapKey = "unwrapKey",
        /// Verifying a signature.
        Verify = "verify",
        /// Wrapping another key.
        WrapKey = "wrapKey",
    }
}

impl KeyOp {
    /// Whether it makes something new, which a key outside its time may not; what was made before can still be opened
    /// and verified, as Azure has it, so that an expiry loses no data.
    pub(super) const fn makes(self) -> bool {
        matches!(self, Self::Encrypt | Self::Sign | Self::WrapKey)
    }
}

/// What a key may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyOps(BTreeSet<KeyOp>);

impl KeyOps {
    /// All that the kind can be used for at once; a key that agrees is asked for by that use.
    pub fn all(kind: KeyKind) -> Self {
        let uses = kind.uses().iter().filter(|op| **op != KeyOp::DeriveBits);
        Self(uses.copied().collect())
    }

    /// These uses of a key of this kind.
    ///
    /// # Errors
    /// `Invalid` if there are none, the kind cannot be used so, or one key cannot be used for all of them.
    pub fn new(kind: KeyKind, ops: impl IntoIterator<Item = KeyOp>) -> Result<Self> {
        let ops: BTreeSet<_> = ops.into_iter().collect();
        let possible: Vec<_> = kind.uses().iter().map(|op| format!("`{op}`")).collect();
        let can = possible.join(", ");
        if ops.is_empty() {
            return Err(Error::invalid(format!(
                "a key must have a use: give one or more of {can}"
            )));
        }
        match ops.iter().find(|op| !kind.uses().contains(op)) {
            Some(op) => Err(Error::invalid(format!(
                "a key of type `{kind}` cannot be used for `{op}`: give one or more of {can}"
            ))),
            // NIST SP 800-57 part 1 §5.2: one key, one purpose.
            None if ops.len() > 1 && ops.contains(&KeyOp::DeriveBits) => Err(Error::invalid(
                "a key that is used for `deriveBits` has no other use: make one key to agree and another one to sign",
            )),
            None => Ok(Self(ops)),
        }
    }

    /// These uses in place of `before`, of the same key.
    ///
    /// # Errors
    /// `Invalid` if a key that agrees came to sign, or the other way round: that is said when a key is made, because the
    /// token holds the one otherwise than the other.
    pub(super) fn follow(self, before: &Self) -> Result<Self> {
        if self.agrees() == before.agrees() {
            return Ok(self);
        }
        Err(Error::invalid(format!(
            "whether a key is used for `deriveBits` is said when it is made, and this one's uses are {before}: make another"
        )))
    }

    /// Whether a key with these uses agrees on secrets.
    pub(super) fn agrees(&self) -> bool {
        self.contains(KeyOp::DeriveBits)
    }

    /// Whether this use is among them.
    pub fn contains(&self, op: KeyOp) -> bool {
        self.0.contains(&op)
    }

    /// In the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = KeyOp> {
        self.0.iter().copied()
    }
}

/// The names with blanks between.
impl fmt::Display for KeyOps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, op) in self.0.iter().enumerate() {
            write!(f, "{}{op}", if at == 0 { "" } else { " " })?;
        }
        Ok(())
    }
}

impl FromStr for KeyOps {
    type Err = Error;
    /// As stored.
    fn from_str(text: &str) -> Result<Self> {
        text.split_whitespace().map(str::parse).collect::<Result<_>>().map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_used_only_as_its_kind_can_be() {
        for kind in KeyKind::ALL {
            let all = KeyOps::all(*kind);
            assert_eq!(all.to_string().parse::<KeyOps>().unwrap(), all);
            assert_eq!(KeyOps::new(*kind, all.iter()).unwrap(), all);
            assert!(KeyOps::new(*kind, []).is_err());
            assert_eq!(kind.as_str().parse::<KeyKind>().unwrap(), *kind);
        }
        let error = KeyOps::new(KeyKind::EcP256, [KeyOp::Encrypt]).unwrap_err();
        assert!(error.public().contains("`sign`, `verify`"), "{error}");
        assert!(KeyOps::new(KeyKind::Aes128, [KeyOp::Sign]).is_err());

        let signs = KeyOps::new(KeyKind::EcP384, [KeyOp::Sign]).unwrap();
        let agrees = KeyOps::new(KeyKind::EcP384, [KeyOp::DeriveBits]).unwrap();
        assert_eq!(KeyOps::all(KeyKind::EcP384).to_string(), "sign verify");
        let error = KeyOps::new(KeyKind::EcP384, [KeyOp::DeriveBits, KeyOp::Verify]).unwrap_err();
        assert!(error.public().contains("no other use"), "{error}");
        for kind in [KeyKind::Ed25519, KeyKind::Rsa2048, KeyKind::Aes256, KeyKind::Hmac256] {
            assert!(KeyOps::new(kind, [KeyOp::DeriveBits]).is_err(), "{kind}");
        }
        assert!(agrees.clone().follow(&agrees).is_ok());
        assert!(signs.clone().follow(&KeyOps::all(KeyKind::EcP384)).is_ok());
        for (one, other) in [(&signs, &agrees), (&agrees, &signs)] {
            let error = one.clone().follow(other).unwrap_err();
            assert!(error.public().contains(&format!("uses are {other}")), "{error}");
        }
        assert!(
            "rsa-1024"
                .parse::<KeyKind>()
                .unwrap_err()
                .public()
                .contains("`rsa-2048`")
        );
    }
}
