//! What leaves the store sealed: opened again only by the KEK that it was sealed under, wherever its rows are by then.
//!
//! `01 | length (1) and label of the KEK | nonce (12) | wrapped key (48) | nonce (12) | ciphertext | tag (16)`
//!
//! Every archive has a key of its own, drawn in the token and wrapped there by the KEK. So no DEK is needed to open it,
//! and a service with another KEK cannot.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Sealer;
use super::format::{self, DEK_LEN, NONCE_LEN, TAG_LEN};
use super::kek::Closed;
use crate::entropy;
use crate::error::{Error, Result};
use crate::hsm::HsmError;
use crate::secret::Secret;

const VERSION: u8 = 1;
const WRAPPED_LEN: usize = DEK_LEN + TAG_LEN;

/// An archive, taken apart.
struct Parts<'a> {
    kek: &'a str,
    wrap_nonce: [u8; NONCE_LEN],
    wrapped: &'a [u8],
    nonce: [u8; NONCE_LEN],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

impl Sealer {
    /// Seals `secret` to be kept outside the store, to be opened only under the same `binding` by the same
    /// generation of the KEK.
    ///
    /// # Errors
    /// `Unavailable` if the token does not answer; `Internal` if the random source fails.
    pub async fn archive(&self, binding: &[u8], secret: &Secret) -> Result<Vec<u8>> {
        let inner = &*self.inner;
        let kek = inner.active_kek().await?;
        let label = kek.label.as_str();
        let len = u8::try_from(label.len()).map_err(|e| Error::internal("the KEK's label is too long").because(e))?;
        let (wrap_nonce, nonce) = (entropy::bytes(&*inner.entropy)?, entropy::bytes(&*inner.entropy)?);
        let plain = inner.hsm.random(DEK_LEN).await?;
        let aad = format::archive_aad("key", label, binding);
        let wrapped = inner.hsm.encrypt(&kek, wrap_nonce, &aad, &plain).await?;

        let mut sealed = Vec::with_capacity(2 + label.len() + 2 * NONCE_LEN + wrapped.len() + secret.len() + TAG_LEN);
        sealed.extend([VERSION, len]);
        sealed.extend(label.as_bytes());
        sealed.extend(wrap_nonce);
        sealed.extend(wrapped);
        sealed.extend(nonce);
        let head = sealed.len();
        sealed.extend(secret.expose());
        let text = sealed
            .get_mut(head..)
            .ok_or_else(|| Error::internal("an archive's head is short"))?;
        let tag = key(&plain)?
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(format::archive_aad("value", label, binding)),
                text,
            )
            .map_err(|_| Error::internal("sealing failed"))?;
        sealed.extend(tag.as_ref());
        Ok(sealed)
    }

    /// Opens what [`Self::archive`] sealed under `binding`.
    ///
    /// # Errors
    /// `Invalid` if it is cut off, was changed, was sealed as something else or under a KEK that is not known here or was
    /// retired; `Unavailable` if the
    /// token does not answer.
    pub async fn open_archive(&self, binding: &[u8], sealed: &[u8]) -> Result<Secret> {
        let parts = split(sealed).ok_or_else(|| {
            Error::invalid("the backup cannot be read: it is cut off, or of a version that is not known here")
        })?;
        let inner = &*self.inner;
        // SECURITY: a name from outside is never looked for in the token, where a key that is missing means a token lost.
        let kek = match inner.opening_kek(parts.kek).await? {
            Ok(kek) => kek,
            Err(Closed::Unknown) => return Err(foreign()),
            Err(Closed::Retired) => {
                return Err(Error::invalid(format!(
                    "the backup was made under `{}`, which was retired: what it protects is not opened any more",
                    parts.kek
                )));
            }
        };
        let aad = format::archive_aad("key", parts.kek, binding);
        let opened = inner.hsm.decrypt(&kek, parts.wrap_nonce, &aad, parts.wrapped).await;
        let plain = match opened {
            Ok(plain) => plain,
            Err(HsmError::Data(_)) => return Err(foreign()),
            Err(other) => return Err(other.into()),
        };
        let mut opened = vec![0; parts.ciphertext.len()];
        key(&plain)?
            .open_separate_gather(
                Nonce::assume_unique_for_key(parts.nonce),
                Aad::from(format::archive_aad("value", parts.kek, binding)),
                parts.ciphertext,
                parts.tag,
                &mut opened,
            )
            .map_err(|_| Error::invalid("the backup was changed, or is cut off: take another copy of it"))?;
        Ok(Secret::new(opened))
    }
}

fn foreign() -> Error {
    Error::invalid("the backup does not open here: it was made by a service with another token, or it was changed")
}

fn key(plain: &Secret) -> Result<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, plain.expose())
        .map(LessSafeKey::new)
        .map_err(|_| Error::internal("an archive's key is not an AES-256 key"))
}

fn split(sealed: &[u8]) -> Option<Parts<'_>> {
    let (&[VERSION, len], rest) = sealed.split_first_chunk()? else {
        return None;
    };
    let (kek, rest) = rest.split_at_checked(usize::from(len))?;
    let (wrap_nonce, rest) = rest.split_first_chunk()?;
    let (wrapped, rest) = rest.split_at_checked(WRAPPED_LEN)?;
    let (nonce, rest) = rest.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>()?;
    Some(Parts {
        kek: std::str::from_utf8(kek).ok()?,
        wrap_nonce: *wrap_nonce,
        wrapped,
        nonce: *nonce,
        ciphertext,
        tag,
    })
}
