//! What leaves the house as a long stream: chunks, each authenticated, whole and in their order up to the last one.
//!
//! It is the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015) over AES-256-GCM: the nonce of a chunk
//! is its number and whether it is the last one, so one that is left out, repeated, moved or cut off does not open. Every
//! stream has a key of its own, drawn in the token and wrapped there by the KEK, so no nonce is ever used twice under one
//! key, and no service with another KEK opens it.
//!
//! Wrapped key: `nonce (12) | wrapped key (48)`. Nonce of a chunk: `0 (3) | number (8) | 01 if it is the last one (1)`.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::Sealer;
use super::format::{self, DEK_LEN, NONCE_LEN, TAG_LEN};
use crate::entropy;
use crate::error::{Error, Result};
use crate::hsm::{Hsm, HsmError, KeyRef};
use crate::key_type::KeyType;
use crate::secret::Secret;

/// By how much a sealed chunk is longer.
pub const CHUNK_OVERHEAD: usize = TAG_LEN;
/// The length of a stream's wrapped key.
pub const STREAM_KEY_LEN: usize = NONCE_LEN + DEK_LEN + TAG_LEN;

/// Seals the chunks of one stream.
pub struct StreamSealer(Chunks);

/// Opens the chunks of one stream.
pub struct StreamOpener(Chunks);

struct Chunks {
    key: LessSafeKey,
    next: u64,
}

impl Sealer {
    /// The token label of the key that wraps what is made now.
    ///
    /// # Errors
    /// The store's.
    pub async fn kek(&self) -> Result<String> {
        Ok(self.inner.active_kek().await?.label)
    }

    /// Begins a stream that opens only under the same `binding`: what seals its chunks, and its key, wrapped by `kek`.
    ///
    /// # Errors
    /// `Unavailable` if the token does not answer; `Internal` if the random source fails.
    pub async fn stream(&self, kek: &str, binding: &[u8]) -> Result<(StreamSealer, Vec<u8>)> {
        let inner = &*self.inner;
        let nonce = entropy::bytes(&*inner.entropy)?;
        let plain = inner.hsm.random(DEK_LEN).await?;
        let aad = format::archive_aad("stream", kek, binding);
        let ciphertext = inner
            .hsm
            .encrypt(&inner.labelled(kek.to_owned()), nonce, &aad, &plain)
            .await?;
        let mut wrapped = nonce.to_vec();
        wrapped.extend(ciphertext);
        Ok((StreamSealer(Chunks::new(&plain)?), wrapped))
    }
}

/// Begins to read a stream whose key was wrapped by the token key `kek`, on the service's host: no store is needed.
///
/// # Errors
/// `Conflict` if the token has no such key, or the stream was sealed by another one or under another binding;
/// `Unavailable` if the token does not answer.
pub async fn open_stream(hsm: &Hsm, kek: &str, binding: &[u8], wrapped: &[u8]) -> Result<StreamOpener> {
    let foreign = || {
        Error::conflict(
            "the backup does not open by this token: it was made by a service with another one, or its head was changed",
        )
    };
    // SECURITY: a name from a file is looked for before it is used: a key that is missing is no token that is lost.
    if hsm
        .find(kek)
        .await?
        .is_none_or(|public| public.kind != KeyType::Aes256.material())
    {
        return Err(foreign());
    }
    let key = KeyRef {
        label: kek.to_owned(),
        kind: KeyType::Aes256,
    };
    let (nonce, ciphertext) = wrapped.split_first_chunk::<NONCE_LEN>().ok_or_else(foreign)?;
    let aad = format::archive_aad("stream", kek, binding);
    match hsm.decrypt(&key, *nonce, &aad, ciphertext).await {
        Ok(plain) => Ok(StreamOpener(Chunks::new(&plain)?)),
        Err(HsmError::Data(_)) => Err(foreign()),
        Err(other) => Err(other.into()),
    }
}

impl StreamSealer {
    /// Seals the next chunk in its place; it grows by [`CHUNK_OVERHEAD`].
    ///
    /// # Errors
    /// `Internal` if the cipher fails.
    pub fn seal(&mut self, chunk: &mut Vec<u8>, is_last: bool) -> Result<()> {
        let nonce = self.0.nonce(is_last)?;
        self.0
            .key
            .seal_in_place_append_tag(nonce, Aad::empty(), chunk)
            .map_err(|_| Error::internal("sealing a chunk failed"))
    }
}

impl StreamOpener {
    /// Opens the next chunk in its place.
    ///
    /// # Errors
    /// `Conflict` if it is not the chunk that was sealed here.
    pub fn open(&mut self, chunk: &mut Vec<u8>, is_last: bool) -> Result<()> {
        let nonce = self.0.nonce(is_last)?;
        let opened = self.0.key.open_in_place(nonce, Aad::empty(), chunk);
        let length = opened
            .map_err(|_| {
                Error::conflict("the backup was changed, or parts of it are missing: take another copy of it")
            })?
            .len();
        chunk.truncate(length);
        Ok(())
    }
}

impl Chunks {
    fn new(plain: &Secret) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, plain.expose())
            .map_err(|_| Error::internal("a stream's key is not an AES-256 key"))?;
        Ok(Self {
            key: LessSafeKey::new(key),
            next: 0,
        })
    }

    /// INVARIANT: each number is given once.
    fn nonce(&mut self, is_last: bool) -> Result<Nonce> {
        let mut nonce = [0; NONCE_LEN];
        let number = self.next.to_be_bytes();
        let tail = number.into_iter().chain([u8::from(is_last)]);
        nonce.iter_mut().skip(3).zip(tail).for_each(|(to, from)| *to = from);
        self.next = self
            .next
            .checked_add(1)
            .ok_or_else(|| Error::internal("a stream has too many chunks"))?;
        Ok(Nonce::assume_unique_for_key(nonce))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn pair() -> (StreamSealer, StreamOpener) {
        let key = Secret::new(vec![7; DEK_LEN]);
        (
            StreamSealer(Chunks::new(&key).unwrap()),
            StreamOpener(Chunks::new(&key).unwrap()),
        )
    }

    fn sealed() -> Vec<Vec<u8>> {
        let (mut sealer, _) = pair();
        let mut chunks = vec![b"one".to_vec(), b"two".to_vec(), b"three".to_vec()];
        for (n, chunk) in chunks.iter_mut().enumerate() {
            sealer.seal(chunk, n == 2).unwrap();
        }
        chunks
    }

    #[test]
    fn chunks_open_in_their_order_up_to_the_last_one_only() {
        let (_, mut opener) = pair();
        let mut whole = sealed();
        for (n, chunk) in whole.iter_mut().enumerate() {
            opener.open(chunk, n == 2).unwrap();
        }
        assert_eq!(whole, [b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);

        let refused = |order: &[(usize, bool)]| {
            let (_, mut opener) = pair();
            let chunks = sealed();
            let failed = order.iter().find_map(|(n, is_last)| {
                let mut chunk = chunks[*n].clone();
                opener.open(&mut chunk, *is_last).err()
            });
            assert_eq!(failed.unwrap().kind(), Kind::Conflict, "{order:?}");
        };
        refused(&[(1, false)]);
        refused(&[(0, false), (2, true)]);
        refused(&[(0, false), (0, false)]);
        refused(&[(0, false), (1, true)]);
        refused(&[(0, false), (1, false), (2, false)]);
        let (_, mut opener) = pair();
        let mut changed = sealed().remove(0);
        changed[1] ^= 1;
        assert!(opener.open(&mut changed, false).is_err());
    }
}
