//! Checkpoints as C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), signed with Ed25519.
//!
//! This file writes and reads texts; it never signs: the audit key lives in the token.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tree::Hash;
use crate::error::{Error, Result};

/// The signature type of Ed25519 (c2sp.org/signed-note).
const ED25519_TYPE: u8 = 1;
/// DER of the SubjectPublicKeyInfo of an Ed25519 key before its 32 bytes (RFC 8410 §4).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// The log's name and public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verifier {
    origin: String,
    key: [u8; 32],
}

impl Verifier {
    /// From the log's origin and the audit key's SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// `Invalid` if the origin has spaces, line breaks or `+`, or the key is not Ed25519.
    pub(super) fn new(origin: &str, spki_der: &[u8]) -> Result<Self> {
        if origin.is_empty() || origin.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+') {
            return Err(Error::invalid(format!(
                "`{}` cannot name an audit log: use no spaces and no `+`",
                origin.escape_debug()
            )));
        }
        let key = spki_der
            .strip_prefix(&SPKI_PREFIX)
            .and_then(|key| key.try_into().ok())
            .ok_or_else(|| Error::invalid("the audit key is not an Ed25519 key: make one of type ed25519"))?;
        Ok(Self {
            origin: origin.to_owned(),
            key,
        })
    }

    /// The log's name.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    /// The key as others hold it: `<origin>+<hash>+<base64>` (a C2SP vkey).
    pub(super) fn vkey(&self) -> String {
        let key: Vec<u8> = [ED25519_TYPE].into_iter().chain(self.key).collect();
        format!(
            "{}+{}+{}",
            self.origin,
            hex::encode(self.key_hash()),
            STANDARD.encode(key)
        )
    }

    /// The text to be signed for a tree.
    pub(super) fn body(&self, size: u64, root: &Hash) -> String {
        format!("{}\n{size}\n{}\n", self.origin, STANDARD.encode(root))
    }

    /// The signed note of `body`.
    pub(super) fn sealed(&self, body: &str, signature: &[u8]) -> String {
        let line: Vec<u8> = self.key_hash().iter().chain(signature).copied().collect();
        format!("{body}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(line))
    }

    /// Size and root in a note that this key signed; `None` if it is not such a note.
    pub(super) fn open(&self, note: &str) -> Option<(u64, Hash)> {
        let (body, signatures) = note.split_once("\n\n")?;
        let body = format!("{body}\n");
        let line = signatures
            .strip_prefix(&format!("\u{2014} {} ", self.origin))?
            .strip_suffix('\n')?;
        let line = STANDARD.decode(line).ok()?;
        let signature = line.strip_prefix(&self.key_hash())?;
        UnparsedPublicKey::new(&ED25519, &self.key)
            .verify(body.as_bytes(), signature)
            .ok()?;
        (body.lines().next()? == self.origin).then(|| claims(&body))?
    }

    fn key_hash(&self) -> [u8; 4] {
        let mut context = Context::new(&SHA256);
        context.update(self.origin.as_bytes());
        context.update(&[b'\n', ED25519_TYPE]);
        context.update(&self.key);
        let mut hash = [0; 4];
        for (to, from) in hash.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        hash
    }
}

/// Size and root as a note has them, whoever signed it; `None` if it is no checkpoint.
pub(super) fn claims(note: &str) -> Option<(u64, Hash)> {
    let mut lines = note.lines().skip(1);
    let size = lines.next()?.parse().ok()?;
    let root = STANDARD.decode(lines.next()?).ok()?.try_into().ok()?;
    Some((size, root))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn key(seed: u8) -> (Ed25519KeyPair, Vec<u8>) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let spki = [SPKI_PREFIX.as_slice(), pair.public_key().as_ref()].concat();
        (pair, spki)
    }

    #[test]
    fn a_note_opens_with_its_own_key_only() {
        let (pair, spki) = key(1);
        let verifier = Verifier::new("chancery.test/audit/n1", &spki).unwrap();
        let body = verifier.body(7, &[9; 32]);
        let note = verifier.sealed(&body, pair.sign(body.as_bytes()).as_ref());
        assert_eq!(verifier.open(&note), Some((7, [9; 32])));
        assert_eq!(verifier.open(&note.replace("\n7\n", "\n8\n")), None);
        let other = Verifier::new("chancery.test/audit/n1", &key(2).1).unwrap();
        assert_eq!(other.open(&note), None);
        let elsewhere = Verifier::new("chancery.test/audit/n2", &spki).unwrap();
        assert_eq!(elsewhere.open(&note), None);
    }

    #[test]
    fn the_key_is_written_as_c2sp_says() {
        // The example key of golang.org/x/mod/sumdb/note.
        let key = STANDARD.decode("ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let spki = [SPKI_PREFIX.as_slice(), &key[1..]].concat();
        assert_eq!(
            Verifier::new("PeterNeumann", &spki).unwrap().vkey(),
            "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
        );
    }

    #[test]
    fn an_origin_with_a_line_break_is_refused() {
        assert!(Verifier::new("a\nb", &key(1).1).is_err());
        assert!(Verifier::new("a", &[0; 44]).is_err());
    }
}
