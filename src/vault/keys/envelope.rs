//! The envelope: a ciphertext that says by which version of which key it was made. Pure.
//!
//! `01 | algorithm (1) | key id (16) | version id (16) | nonce (24) | ciphertext | tag (16)`
//!
//! The only algorithm is `01`: XAES-256-GCM (C2SP), which derives a key from the first half of the nonce and encrypts
//! under it with the second half. Random nonces of 24 bytes do not meet, so that a version may make any number of
//! envelopes; with AES-128 and AES-192 the derivation is the same under that cipher. The head, the associated data and
//! the encryption context are authenticated.

use std::collections::BTreeMap;

use openssl::symm::{self, Cipher, Crypter, Mode};
use zeroize::Zeroizing;

use super::cipher::undecryptable;
use crate::entropy::{self, Entropy};
use crate::error::{Error, Result};
use crate::id::Id;
use crate::secret::Secret;

const FORMAT: u8 = 1;
const XAES_256_GCM: u8 = 1;
const ID_LEN: usize = 16;
const NONCE_LEN: usize = 24;
pub(super) const TAG_LEN: usize = 16;
const HEAD_LEN: usize = 2 + 2 * ID_LEN + NONCE_LEN;

/// What must be said again to decrypt: the context, by name. It is authenticated, not encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EncryptionContext(BTreeMap<String, String>);

impl EncryptionContext {
    /// A checked context: at most 64 pairs, 8 KiB in all.
    ///
    /// # Errors
    /// `Invalid`, saying which rule is broken.
    pub fn new(pairs: BTreeMap<String, String>) -> Result<Self> {
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if pairs.len() > 64 || bytes > 8192 {
            return Err(Error::invalid(
                "the encryption context is too large: give at most 64 pairs with 8192 bytes in all",
            ));
        }
        Ok(Self(pairs))
    }

    /// Whether there are no pairs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Which version an envelope was made by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Maker {
    pub(super) key: Id,
    pub(super) version: Id,
}

/// An envelope, taken apart.
pub(super) struct Parts<'a> {
    pub(super) maker: Maker,
    head: &'a [u8],
    nonce: &'a [u8],
    ciphertext: &'a [u8],
    tag: &'a [u8],
}

/// Takes an envelope apart.
///
/// # Errors
/// `Invalid` if it is none.
pub(super) fn split(envelope: &[u8]) -> Result<Parts<'_>> {
    let take = || {
        let (head, rest) = envelope.split_at_checked(HEAD_LEN)?;
        let (ciphertext, tag) = rest.split_at_checked(rest.len().checked_sub(TAG_LEN)?)?;
        let (&[FORMAT, XAES_256_GCM], ids) = head.split_first_chunk()? else {
            return None;
        };
        let (key, ids) = ids.split_first_chunk::<ID_LEN>()?;
        let (version, nonce) = ids.split_first_chunk::<ID_LEN>()?;
        Some(Parts {
            maker: Maker {
                key: Id::from(*key),
                version: Id::from(*version),
            },
            head,
            nonce,
            ciphertext,
            tag,
        })
    };
    take().ok_or_else(|| {
        Error::invalid("the ciphertext is none that `ENVELOPE` made: give all of it, or name its algorithm")
    })
}

/// Encrypts into an envelope.
pub(super) fn seal(
    key: &[u8],
    maker: Maker,
    entropy: &dyn Entropy,
    plaintext: &[u8],
    aad: &[u8],
    context: &EncryptionContext,
) -> Result<Vec<u8>> {
    let draft = Draft::new(maker, entropy)?;
    let derived = derive(key, draft.nonce())?;
    draft.seal(&derived, plaintext, aad, context)
}

/// The head of an envelope, with a new nonce.
pub(super) struct Draft(Vec<u8>);

impl Draft {
    pub(super) fn new(maker: Maker, entropy: &dyn Entropy) -> Result<Self> {
        let nonce: [u8; NONCE_LEN] = entropy::bytes(entropy)?;
        let mut head = Vec::with_capacity(HEAD_LEN);
        head.extend([FORMAT, XAES_256_GCM]);
        head.extend(maker.key.as_bytes());
        head.extend(maker.version.as_bytes());
        head.extend(nonce);
        Ok(Self(head))
    }

    pub(super) fn nonce(&self) -> &[u8] {
        self.0.get(HEAD_LEN - NONCE_LEN..).unwrap_or_default()
    }

    /// The envelope, under the key derived for it.
    pub(super) fn seal(
        self,
        derived: &[u8],
        plaintext: &[u8],
        aad: &[u8],
        context: &EncryptionContext,
    ) -> Result<Vec<u8>> {
        let rest = self.nonce().get(NONCE_LEN / 2..);
        let mut tag = [0; TAG_LEN];
        let bound = bound(&self.0, aad, context);
        let ciphertext = symm::encrypt_aead(Cipher::aes_256_gcm(), derived, rest, &bound, plaintext, &mut tag)
            .map_err(|e| Error::internal("encrypting failed").because(e))?;
        let Self(mut envelope) = self;
        envelope.extend(ciphertext);
        envelope.extend(tag);
        Ok(envelope)
    }
}

/// Decrypts an envelope under the key that it names.
///
/// # Errors
/// `Invalid` if it was changed, or made with other associated data or another context.
pub(super) fn open(key: &[u8], parts: &Parts<'_>, aad: &[u8], context: &EncryptionContext) -> Result<Secret> {
    parts.open(&derive(key, parts.nonce)?, aad, context)
}

impl Parts<'_> {
    pub(super) fn nonce(&self) -> &[u8] {
        self.nonce
    }

    /// The plaintext, under the key derived for the envelope.
    pub(super) fn open(&self, derived: &[u8], aad: &[u8], context: &EncryptionContext) -> Result<Secret> {
        let rest = self.nonce.get(NONCE_LEN / 2..);
        let bound = bound(self.head, aad, context);
        symm::decrypt_aead(Cipher::aes_256_gcm(), derived, rest, &bound, self.ciphertext, self.tag)
            .map(Secret::new)
            .map_err(|_| undecryptable())
    }
}

/// All that is authenticated: every part with its length before it, so that no two lists of parts have the same bytes.
fn bound(head: &[u8], aad: &[u8], context: &EncryptionContext) -> Vec<u8> {
    let pairs = context
        .0
        .iter()
        .flat_map(|(name, value)| [name.as_bytes(), value.as_bytes()]);
    let mut bytes = Vec::with_capacity(head.len() + aad.len() + 64);
    for part in [b"chancery envelope 1", head, aad].into_iter().chain(pairs) {
        bytes.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// XAES-256-GCM's key derivation (CMAC in counter mode, NIST SP 800-108).
fn derive(key: &[u8], nonce: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    ecb(key, &blocks(&ecb(key, &[0; 16])?, nonce)?)
}

/// What is encrypted to the derived key: two blocks of the nonce's first half under CMAC's subkey, which comes from
/// `zero`, a block of zeros encrypted.
pub(super) fn blocks(zero: &[u8], nonce: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let first = nonce
        .get(..NONCE_LEN / 2)
        .ok_or_else(|| Error::internal("a nonce is short"))?;
    let mut subkey = Zeroizing::new(zero.to_vec());
    let carry = subkey.first().is_some_and(|byte| byte & 0x80 != 0);
    let mut below = 0;
    for byte in subkey.iter_mut().rev() {
        let next = *byte >> 7;
        *byte = (*byte << 1) | below;
        below = next;
    }
    if let (true, Some(last)) = (carry, subkey.last_mut()) {
        *last ^= 0x87;
    }
    let mut blocks = Zeroizing::new(Vec::with_capacity(32));
    for counter in [1, 2] {
        let message = [0, counter, b'X', 0].into_iter().chain(first.iter().copied());
        blocks.extend(message.zip(subkey.iter()).map(|(message, subkey)| message ^ subkey));
    }
    Ok(blocks)
}

/// Bare blocks under AES.
fn ecb(key: &[u8], blocks: &[u8]) -> Result<Zeroizing<Vec<u8>>> {
    let cipher = match key.len() {
        16 => Cipher::aes_128_ecb(),
        24 => Cipher::aes_192_ecb(),
        _ => Cipher::aes_256_ecb(),
    };
    let run = || {
        let mut crypter = Crypter::new(cipher, Mode::Encrypt, key, None)?;
        crypter.pad(false);
        // OpenSSL asks for room for a block more.
        let mut out = Zeroizing::new(vec![0; blocks.len() + 16]);
        let len = crypter.update(blocks, &mut out)?;
        out.truncate(len);
        Ok::<_, openssl::error::ErrorStack>(out)
    };
    run().map_err(|e| Error::internal("a key could not be derived").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::OsEntropy;

    /// The two vectors of the C2SP specification.
    #[test]
    fn the_derivation_is_that_of_xaes_256_gcm() {
        for (byte, aad, expected) in [
            (1, &b""[..], "ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"),
            (
                3,
                b"c2sp.org/XAES-256-GCM",
                "986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d",
            ),
        ] {
            let nonce = b"ABCDEFGHIJKLMNOPQRSTUVWX";
            let derived = derive(&[byte; 32], nonce).unwrap();
            let mut tag = [0; 16];
            let mut sealed = symm::encrypt_aead(
                Cipher::aes_256_gcm(),
                &derived,
                Some(&nonce[12..]),
                aad,
                b"XAES-256-GCM",
                &mut tag,
            )
            .unwrap();
            sealed.extend(tag);
            assert_eq!(hex::encode(sealed), expected);
        }
    }

    fn maker(byte: u8) -> Maker {
        Maker {
            key: Id::from([byte; 16]),
            version: Id::from([byte + 1; 16]),
        }
    }

    fn context(pairs: &[(&str, &str)]) -> EncryptionContext {
        let pairs = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        EncryptionContext::new(pairs.collect()).unwrap()
    }

    #[test]
    fn nothing_opens_that_was_changed() {
        for len in [16, 24, 32] {
            let key = vec![7; len];
            let said = context(&[("tenant", "a"), ("table", "b")]);
            let sealed = seal(&key, maker(1), &OsEntropy, b"attack at dawn", b"aad", &said).unwrap();
            assert_eq!(sealed.len(), HEAD_LEN + 14 + TAG_LEN);
            let open = |sealed: &[u8], aad: &[u8], context: &EncryptionContext| {
                open(&key, &split(sealed)?, aad, context).map(|plain| plain.expose().to_vec())
            };
            assert_eq!(split(&sealed).unwrap().maker, maker(1));
            assert_eq!(open(&sealed, b"aad", &said).unwrap(), b"attack at dawn");
            for at in 0..sealed.len() {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(open(&changed, b"aad", &said).is_err(), "byte {at}");
            }
            for cut in 0..sealed.len() {
                assert!(open(&sealed[..cut], b"aad", &said).is_err(), "{cut} bytes");
            }
            assert!(open(&sealed, b"", &said).is_err());
            assert!(open(&sealed, b"aad", &EncryptionContext::default()).is_err());
            // What one pair says, two do not.
            assert!(open(&sealed, b"aad", &context(&[("tenant", "a")])).is_err());
            assert!(open(&sealed, b"aad", &context(&[("tena", "nta"), ("table", "b")])).is_err());
            let again = seal(&key, maker(1), &OsEntropy, b"attack at dawn", b"aad", &said).unwrap();
            assert_ne!(again, sealed);
        }
    }

    #[test]
    fn a_context_is_bounded() {
        let many = (0..65).map(|n| (n.to_string(), String::new())).collect();
        assert!(EncryptionContext::new(many).is_err());
        assert!(EncryptionContext::new([("a".to_owned(), "x".repeat(8192))].into()).is_err());
    }
}
