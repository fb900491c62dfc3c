//! The verifier's own reading of keys and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Finding;
use super::tree::Hash;

/// The checkpoints that stand behind each other in a text, as an anchor holds them: each three lines, an empty one, and
/// its signatures. What is none, such as one that was torn, is passed over.
pub fn checkpoints(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_signature = |line: &&&str| line.starts_with("\u{2014} ");
    let mut notes = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(3) {
        let body = lines.get(at - 3..at).unwrap_or_default();
        let signatures: Vec<&str> = lines.iter().skip(at + 1).take_while(is_signature).copied().collect();
        if line.is_empty() && !signatures.is_empty() {
            notes.push(format!("{}\n\n{}\n", body.join("\n"), signatures.join("\n")));
        }
    }
    notes
}

/// A log's public key, as it was given from outside.
pub(super) struct Key {
    name: String,
    id: Vec<u8>,
    public: Vec<u8>,
}

/// What a checkpoint says, its signature checked.
pub(super) struct Checkpoint {
    pub(super) size: u64,
    pub(super) root: Hash,
}

impl Key {
    /// Parses `<name>+<id>+<base64 of type and key>`.
    pub(super) fn parse(text: &str) -> Result<Self, Finding> {
        let bad = |why: &str| Finding::new(None, format!("the public key cannot be used: {why}"));
        let text = text.trim();
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(bad("it is not of the form `name+id+base64`"));
        };
        let id = hex::decode(id).map_err(|_| bad("its id is not hexadecimal"))?;
        let key = STANDARD.decode(key).map_err(|_| bad("it is not base64"))?;
        let [1, public @ ..] = key.as_slice() else {
            return Err(bad("it is not an Ed25519 key"));
        };
        let named = [name.as_bytes(), b"\n", &key].concat();
        if digest(&SHA256, &named).as_ref().get(..4) != Some(id.as_slice()) {
            return Err(bad("its id does not belong to name and key"));
        }
        Ok(Self {
            name: name.to_owned(),
            id,
            public: public.to_owned(),
        })
    }

    /// The log that the key speaks for.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens a checkpoint; `what` names it in a finding.
    pub(super) fn open(&self, note: &str, what: &str) -> Result<Checkpoint, Finding> {
        let bad = |why: String| Finding::new(None, format!("{what} {why}"));
        let end = note
            .rfind("\n\n")
            .ok_or_else(|| bad("is not a signed note: it has no signature".into()))?;
        let (text, signatures) = note.split_at_checked(end + 1).unwrap_or((note, ""));
        let Some(signatures) = signatures.strip_prefix('\n').filter(|lines| lines.ends_with('\n')) else {
            return Err(bad("is not a signed note: it has no signature".into()));
        };
        let mut lines = text.lines();
        let origin = lines.next().unwrap_or_default();
        if origin != self.name {
            return Err(bad(format!(
                "is of the log `{}`, but the key is of `{}`",
                origin.escape_debug(),
                self.name
            )));
        }
        self.check_signature(text, signatures).map_err(bad)?;

        let size_text = lines.next().unwrap_or_default();
        let size = size_text
            .parse()
            .ok()
            .filter(|size: &u64| size.to_string() == size_text);
        let root = lines
            .next()
            .and_then(|line| STANDARD.decode(line).ok())
            .and_then(|root| root.try_into().ok());
        match (size, root) {
            (Some(size), Some(root)) => Ok(Checkpoint { size, root }),
            _ => Err(bad("is signed, but is no checkpoint".into())),
        }
    }

    /// INVARIANT: every line must be a signature, and of this key's all must hold; of other keys (witnesses) nothing is
    /// believed, but in what we write there are none.
    fn check_signature(&self, text: &str, signatures: &str) -> Result<(), String> {
        let mut signed = false;
        for line in signatures.lines() {
            let signature = line
                .strip_prefix("\u{2014} ")
                .and_then(|line| line.split_once(' '))
                .and_then(|(name, signature)| Some((name, STANDARD.decode(signature).ok()?)));
            let Some((name, signature)) = signature else {
                return Err("has a signature line that cannot be read".into());
            };
            if name != self.name || signature.get(..4) != Some(self.id.as_slice()) {
                return Err(format!(
                    "is signed by another key (`{}`, id {}) than the one given (`{}`, id {})",
                    name.escape_debug(),
                    hex::encode(signature.get(..4).unwrap_or_default()),
                    self.name,
                    hex::encode(&self.id)
                ));
            }
            UnparsedPublicKey::new(&ED25519, &self.public)
                .verify(text.as_bytes(), signature.get(4..).unwrap_or_default())
                .map_err(|_| "was changed: its signature does not fit its text")?;
            signed = true;
        }
        if signed { Ok(()) } else { Err("has no signature".into()) }
    }
}
