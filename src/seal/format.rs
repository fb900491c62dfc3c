//! The bytes: a sealed value, a wrapped DEK, and what both are bound to. Pure.
//!
//! Sealed value: `01 | dek id (16) | nonce (12) | ciphertext | tag (16)`.
//! Wrapped DEK: `01 | nonce (12) | ciphertext (32) | tag (16)`.

use crate::error::{Error, Result};
use crate::id::Id;

/// AES-256.
pub(super) const DEK_LEN: usize = 32;
/// AES-GCM's own nonce length (NIST SP 800-38D §5.2.1.1).
pub(super) const NONCE_LEN: usize = 12;
/// AES-GCM's full tag.
pub(super) const TAG_LEN: usize = 16;

const VERSION: u8 = 1;
const ID_LEN: usize = 16;

/// A sealed value, taken apart.
pub(super) struct Parts<'a> {
    pub(super) dek: Id,
    pub(super) nonce: [u8; NONCE_LEN],
    pub(super) ciphertext: &'a [u8],
    pub(super) tag: &'a [u8],
}

/// What a value is, as bytes to bind it to: every part with its length before it, so that no two lists of parts have
/// the same bytes.
pub fn binding(parts: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len() + 4).sum());
    for part in parts {
        push(&mut bytes, part.as_bytes());
    }
    bytes
}

/// The associated data of a sealed value.
pub(super) fn value_aad(domain: &str, binding: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(domain.len() + binding.len() + 32);
    push(&mut bytes, b"chancery value 1");
    push(&mut bytes, domain.as_bytes());
    push(&mut bytes, binding);
    bytes
}

/// The associated data of an archive's `part`: its wrapped key or its value.
pub(super) fn archive_aad(part: &str, kek: &str, binding: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(kek.len() + binding.len() + 64);
    push(&mut bytes, b"chancery archive 1");
    push(&mut bytes, part.as_bytes());
    push(&mut bytes, kek.as_bytes());
    push(&mut bytes, binding);
    bytes
}

/// The associated data of a wrapped DEK.
pub(super) fn dek_aad(id: &Id, domain: &str, generation: i64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(domain.len() + 64);
    push(&mut bytes, b"chancery dek 1");
    push(&mut bytes, id.as_bytes());
    push(&mut bytes, domain.as_bytes());
    push(&mut bytes, &generation.to_be_bytes());
    bytes
}

fn push(bytes: &mut Vec<u8>, part: &[u8]) {
    let len = u32::try_from(part.len()).unwrap_or(u32::MAX);
    bytes.extend(len.to_be_bytes());
    bytes.extend(part);
}

/// The head of a sealed value, with room for `len` bytes of plaintext and the tag.
pub(super) fn head(dek: &Id, nonce: &[u8; NONCE_LEN], len: usize) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(1 + ID_LEN + NONCE_LEN + len + TAG_LEN);
    sealed.push(VERSION);
    sealed.extend(dek.as_bytes());
    sealed.extend(nonce);
    sealed
}

/// Where the ciphertext starts.
pub(super) const HEAD_LEN: usize = 1 + ID_LEN + NONCE_LEN;

/// Takes a sealed value apart.
///
/// # Errors
/// `Internal` if it is none.
pub(super) fn split(sealed: &[u8]) -> Result<Parts<'_>> {
    let broken = || Error::internal("a sealed value in the store is damaged: its head cannot be read");
    let (&VERSION, rest) = sealed.split_first().ok_or_else(broken)? else {
        return Err(broken());
    };
    let (dek, rest) = rest.split_first_chunk::<ID_LEN>().ok_or_else(broken)?;
    let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG_LEN>().ok_or_else(broken)?;
    Ok(Parts {
        dek: Id::from(*dek),
        nonce: *nonce,
        ciphertext,
        tag,
    })
}

/// A wrapped DEK as it is stored.
pub(super) fn join_wrapped(nonce: [u8; NONCE_LEN], ciphertext: &[u8]) -> Vec<u8> {
    let mut wrapped = vec![VERSION];
    wrapped.extend(nonce);
    wrapped.extend(ciphertext);
    wrapped
}

/// Takes a wrapped DEK apart into nonce and ciphertext with tag.
///
/// # Errors
/// `Internal` if it is none.
pub(super) fn split_wrapped(wrapped: &[u8]) -> Result<([u8; NONCE_LEN], &[u8])> {
    let broken = || Error::internal("a wrapped data key in the store is damaged: its head cannot be read");
    let (&VERSION, rest) = wrapped.split_first().ok_or_else(broken)? else {
        return Err(broken());
    };
    let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_LEN>().ok_or_else(broken)?;
    Ok((*nonce, ciphertext))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_binding_cannot_be_shifted() {
        assert_ne!(binding(&["ab", "c"]), binding(&["a", "bc"]));
        assert_ne!(binding(&["ab"]), binding(&["ab", ""]));
        assert_ne!(value_aad("a", &binding(&["b"])), value_aad("b", &binding(&["a"])));
    }

    #[test]
    fn what_is_too_short_or_of_another_version_is_refused() {
        let mut sealed = head(&Id::from([7; 16]), &[1; NONCE_LEN], 3);
        sealed.extend([9; 3 + TAG_LEN]);
        let parts = split(&sealed).unwrap();
        assert_eq!((parts.dek, parts.ciphertext.len()), (Id::from([7; 16]), 3));
        assert!(split(&sealed[..HEAD_LEN + TAG_LEN - 1]).is_err());
        assert!(split(&[]).is_err());
        sealed[0] = 2;
        assert!(split(&sealed).is_err());
        assert!(split_wrapped(&[1; 12]).is_err());
    }
}
