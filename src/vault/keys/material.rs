//! The private half of a key: made, opened, and held while it is used.

use openssl::ec::{EcGroup, EcKey};
use openssl::error::ErrorStack;
use openssl::pkey::{PKey, Private, Public};
use openssl::rsa::Rsa;

use super::in_token::TokenKey;
use super::kind::{Family, KeyKind};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::secret::Secret;

/// An opened key. SECURITY: OpenSSL clears the numbers of a private key when it is freed; raw bytes are wiped.
pub(super) enum Material {
    Asymmetric {
        private: PKey<Private>,
        public: PKey<Public>,
    },
    InToken(TokenKey),
    Symmetric(Secret),
}

/// A key that was just made.
pub(super) struct Fresh {
    /// PKCS#8 (DER), or raw bytes; of a key in the token what `in_token` says.
    pub(super) private: Secret,
    /// SubjectPublicKeyInfo (DER); a symmetric key has none.
    pub(super) public: Option<Vec<u8>>,
}

impl Fresh {
    /// Makes a key. An RSA key takes long: never on a thread that answers requests.
    pub(super) fn make(kind: KeyKind, entropy: &dyn Entropy) -> Result<Self> {
        let pair = match kind.family() {
            Family::Aes(len) | Family::Hmac(len) => {
                let mut bytes = vec![0; len];
                let filled = entropy.fill(&mut bytes);
                let private = Secret::new(bytes);
                filled?;
                return Ok(Self { private, public: None });
            }
            Family::Ec(curve, _) => EcGroup::from_curve_name(curve)
                .and_then(|group| EcKey::generate(&group))
                .and_then(PKey::from_ec_key),
            Family::Ed25519 => PKey::generate_ed25519(),
            Family::Rsa(bits) => Rsa::generate(bits).and_then(PKey::from_rsa),
        };
        let pair = pair.map_err(|e| Error::internal(format!("no key of type `{kind}` could be made")).because(e))?;
        let spell = || -> std::result::Result<_, ErrorStack> {
            Ok(Self {
                private: Secret::new(pair.private_key_to_pkcs8()?),
                public: Some(pair.public_key_to_der()?),
            })
        };
        spell().map_err(|e| Error::internal(format!("a key of type `{kind}` could not be encoded")).because(e))
    }
}

impl Material {
    /// Opens what [`Fresh::make`] made.
    pub(super) fn open(kind: KeyKind, private: Secret) -> Result<Self> {
        match kind.family() {
            Family::Aes(len) | Family::Hmac(len) if private.len() == len => Ok(Self::Symmetric(private)),
            Family::Aes(_) | Family::Hmac(_) => {
                Err(Error::internal(format!("a key of type `{kind}` has another length")))
            }
            Family::Ec(..) | Family::Ed25519 | Family::Rsa(_) => PKey::private_key_from_pkcs8(private.expose())
                .and_then(Self::pair)
                .map_err(|e| Error::internal(format!("a key of type `{kind}` is not PKCS#8")).because(e)),
        }
    }

    /// A key pair by its private half.
    pub(super) fn pair(private: PKey<Private>) -> std::result::Result<Self, ErrorStack> {
        let public = PKey::public_key_from_der(&private.public_key_to_der()?)?;
        Ok(Self::Asymmetric { private, public })
    }

    pub(super) fn symmetric(&self) -> Result<&[u8]> {
        match self {
            Self::Symmetric(bytes) => Ok(bytes.expose()),
            Self::Asymmetric { .. } | Self::InToken(_) => {
                Err(Error::internal("another key was taken for a symmetric one in memory"))
            }
        }
    }

    pub(super) fn private(&self) -> Result<&PKey<Private>> {
        match self {
            Self::Asymmetric { private, .. } => Ok(private),
            Self::InToken(_) | Self::Symmetric(_) => {
                Err(Error::internal("another key was taken for a key pair in memory"))
            }
        }
    }

    pub(super) fn public(&self) -> Result<&PKey<Public>> {
        match self {
            Self::Asymmetric { public, .. } => Ok(public),
            Self::InToken(key) => key.public(),
            Self::Symmetric(_) => Err(Error::internal("a symmetric key was taken for a key pair")),
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    /// A new key, opened.
    pub(in crate::vault::keys) fn made(kind: KeyKind) -> Material {
        let fresh = Fresh::make(kind, &OsEntropy).unwrap();
        Material::open(kind, fresh.private).unwrap()
    }

    #[test]
    fn every_kind_is_made_and_opened() {
        // One size of RSA shows them all, and large ones take long to make.
        let large = [KeyKind::Rsa3072, KeyKind::Rsa4096];
        for kind in KeyKind::ALL.iter().filter(|kind| !large.contains(kind)) {
            let fresh = Fresh::make(*kind, &OsEntropy).unwrap();
            let public = fresh.public.clone();
            match Material::open(*kind, fresh.private).unwrap() {
                Material::Asymmetric { private, public: own } => {
                    let public = public.unwrap();
                    assert_eq!(private.public_key_to_der().unwrap(), public);
                    assert_eq!(own.public_key_to_der().unwrap(), public);
                }
                Material::InToken(_) => panic!("{kind} is in the token"),
                Material::Symmetric(_) => assert!(public.is_none()),
            }
        }
        assert!(Material::open(KeyKind::Aes256, Secret::new(vec![0; 16])).is_err());
        assert!(Material::open(KeyKind::EcP256, Secret::new(vec![0; 16])).is_err());
    }
}
