//! The algorithms by name, and which kinds of key they fit. Pure.

use openssl::hash::MessageDigest;
use openssl::md::{Md, MdRef};

use super::kind::{Family, KeyKind};
use crate::error::{Error, Result};
use crate::vault::names::names;

/// A hash function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) fn md(self) -> &'static MdRef {
        match self {
            Self::Sha1 => Md::sha1(),
            Self::Sha256 => Md::sha256(),
            Self::Sha384 => Md::sha384(),
            Self::Sha512 => Md::sha512(),
        }
    }

    pub(super) fn digest(self) -> MessageDigest {
        match self {
            Self::Sha1 => MessageDigest::sha1(),
            Self::Sha256 => MessageDigest::sha256(),
            Self::Sha384 => MessageDigest::sha384(),
            Self::Sha512 => MessageDigest::sha512(),
        }
    }

    /// In bytes.
    pub(super) const fn len(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }
}

names! {
    /// How data is encrypted.
    CipherAlgorithm, "an algorithm to encrypt with", {
        /// AES in CBC mode with PKCS#7 padding. Not authenticated: a changed ciphertext may decrypt to something else.
        AesCbc = "AES-CBC",
        /// AES in counter mode. Not authenticated.
        AesCtr = "AES-CTR",
        /// AES-GCM, nonce and tag beside the ciphertext. A version makes at most 2^32 of them (NIST SP 800-38D §8.3).
        AesGcm = "AES-GCM",
        /// AES-GCM in an envelope that says by which version it was made; any number of them.
        Envelope = "ENVELOPE",
        /// RSAES-OAEP with SHA-1 (RFC 8017 §7.1), for those who have it so.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// RSAES-OAEP with SHA-384.
        RsaOaep384 = "RSA-OAEP-384",
        /// RSAES-OAEP with SHA-512.
        RsaOaep512 = "RSA-OAEP-512",
    }
}

impl CipherAlgorithm {
    /// The hash of OAEP; AES has none.
    pub(super) const fn oaep(self) -> Option<Hash> {
        match self {
            Self::AesCbc | Self::AesCtr | Self::AesGcm | Self::Envelope => None,
            Self::RsaOaep => Some(Hash::Sha1),
            Self::RsaOaep256 => Some(Hash::Sha256),
            Self::RsaOaep384 => Some(Hash::Sha384),
            Self::RsaOaep512 => Some(Hash::Sha512),
        }
    }

    /// The one asked for, or what a key of this kind encrypts with.
    pub(super) fn choose(asked: Option<Self>, kind: KeyKind) -> Result<Self> {
        let own = match kind.family() {
            Family::Aes(_) => Some(Self::Envelope),
            Family::Rsa(_) => Some(Self::RsaOaep256),
            Family::Ec(..) | Family::Ed25519 | Family::Hmac(_) => None,
        };
        fitting(asked, own, kind, |a, b| a.oaep().is_some() == b.oaep().is_some())
    }
}

names! {
    /// How another key is wrapped.
    WrapAlgorithm, "an algorithm to wrap with", {
        /// AES key wrap (RFC 3394): whole blocks of 8 bytes.
        AesKw = "AES-KW",
        /// AES key wrap with padding (RFC 5649): any length.
        AesKwp = "AES-KWP",
        /// RSAES-OAEP with SHA-1 (RFC 8017 §7.1), for those who have it so.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// RSAES-OAEP with SHA-384.
        RsaOaep384 = "RSA-OAEP-384",
        /// RSAES-OAEP with SHA-512.
        RsaOaep512 = "RSA-OAEP-512",
    }
}

impl WrapAlgorithm {
    /// The hash of OAEP; AES has none.
    pub(super) const fn oaep(self) -> Option<Hash> {
        match self {
            Self::AesKw | Self::AesKwp => None,
            Self::RsaOaep => Some(Hash::Sha1),
            Self::RsaOaep256 => Some(Hash::Sha256),
            Self::RsaOaep384 => Some(Hash::Sha384),
            Self::RsaOaep512 => Some(Hash::Sha512),
        }
    }

    /// The one asked for, or what a key of this kind wraps with.
    pub(super) fn choose(asked: Option<Self>, kind: KeyKind) -> Result<Self> {
        let own = match kind.family() {
            Family::Aes(_) => Some(Self::AesKwp),
            Family::Rsa(_) => Some(Self::RsaOaep256),
            Family::Ec(..) | Family::Ed25519 | Family::Hmac(_) => None,
        };
        fitting(asked, own, kind, |a, b| a.oaep().is_some() == b.oaep().is_some())
    }
}

names! {
    /// How something is signed (RFC 7518 §3.1, RFC 8037, RFC 8812).
    SignAlgorithm, "an algorithm to sign with", {
        /// ECDSA over P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA over secp256k1 with SHA-256.
        Es256k = "ES256K",
        /// ECDSA over P-384 with SHA-384.
        Es384 = "ES384",
        /// ECDSA over P-521 with SHA-512.
        Es512 = "ES512",
        /// Ed25519.
        EdDsa = "EdDSA",
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
        /// RSASSA-PSS with SHA-256, a salt as long.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384, a salt as long.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512, a salt as long.
        Ps512 = "PS512",
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
    }
}

impl SignAlgorithm {
    pub(super) const fn hash(self) -> Option<Hash> {
        match self {
            Self::EdDsa => None,
            Self::Es256 | Self::Es256k | Self::Hs256 | Self::Ps256 | Self::Rs256 => Some(Hash::Sha256),
            Self::Es384 | Self::Hs384 | Self::Ps384 | Self::Rs384 => Some(Hash::Sha384),
            Self::Es512 | Self::Hs512 | Self::Ps512 | Self::Rs512 => Some(Hash::Sha512),
        }
    }

    pub(super) const fn is_pss(self) -> bool {
        matches!(self, Self::Ps256 | Self::Ps384 | Self::Ps512)
    }

    /// The one asked for, or what a key of this kind signs with.
    pub(super) fn choose(asked: Option<Self>, kind: KeyKind) -> Result<Self> {
        let own = match kind {
            KeyKind::Aes128 | KeyKind::Aes192 | KeyKind::Aes256 => None,
            KeyKind::EcP256 => Some(Self::Es256),
            KeyKind::EcP384 => Some(Self::Es384),
            KeyKind::EcP521 => Some(Self::Es512),
            KeyKind::EcSecp256k1 => Some(Self::Es256k),
            KeyKind::Ed25519 => Some(Self::EdDsa),
            KeyKind::Hmac256 => Some(Self::Hs256),
            KeyKind::Hmac384 => Some(Self::Hs384),
            KeyKind::Hmac512 => Some(Self::Hs512),
            KeyKind::Rsa2048 | KeyKind::Rsa3072 | KeyKind::Rsa4096 => Some(Self::Ps256),
        };
        let rsa = matches!(kind.family(), Family::Rsa(_));
        fitting(asked, own, kind, |asked, own| match rsa {
            true => matches!(
                asked,
                Self::Ps256 | Self::Ps384 | Self::Ps512 | Self::Rs256 | Self::Rs384 | Self::Rs512
            ),
            false => asked == own,
        })
    }
}

/// The algorithm asked for if it fits beside the kind's own one, else that one.
fn fitting<A: Copy + std::fmt::Display>(
    asked: Option<A>,
    own: Option<A>,
    kind: KeyKind,
    fits: impl Fn(A, A) -> bool,
) -> Result<A> {
    match (asked, own) {
        (None, Some(own)) => Ok(own),
        (Some(asked), Some(own)) if fits(asked, own) => Ok(asked),
        (Some(asked), _) => Err(Error::invalid(format!(
            "`{asked}` does not go with a key of type `{kind}`: use another algorithm or another key"
        ))),
        (None, None) => Err(Error::invalid(format!(
            "a key of type `{kind}` cannot do this: use another key"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_fits_its_kinds_only() {
        let choose = |asked: &str, kind| CipherAlgorithm::choose(Some(asked.parse().unwrap()), kind);
        assert_eq!(
            CipherAlgorithm::choose(None, KeyKind::Aes192).unwrap(),
            CipherAlgorithm::Envelope
        );
        assert_eq!(choose("aes-cbc", KeyKind::Aes128).unwrap(), CipherAlgorithm::AesCbc);
        assert_eq!(choose("RSA-OAEP", KeyKind::Rsa2048).unwrap(), CipherAlgorithm::RsaOaep);
        assert!(choose("RSA-OAEP", KeyKind::Aes128).is_err());
        assert!(choose("ENVELOPE", KeyKind::Rsa2048).is_err());
        assert!(CipherAlgorithm::choose(None, KeyKind::EcP256).is_err());
        assert!(WrapAlgorithm::choose(None, KeyKind::Hmac256).is_err());
        for kind in KeyKind::ALL {
            for algorithm in SignAlgorithm::ALL {
                let chosen = SignAlgorithm::choose(Some(*algorithm), *kind);
                let own = SignAlgorithm::choose(None, *kind).ok();
                assert_eq!(
                    chosen.is_ok(),
                    own == Some(*algorithm)
                        || (matches!(kind.family(), Family::Rsa(_))
                            && (algorithm.as_str().starts_with("RS") || algorithm.is_pss())),
                    "{kind} {algorithm}"
                );
            }
        }
    }
}
