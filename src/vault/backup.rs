//! The backup of one object: what is in the file, and how it is written. What is sealed in it is the seal room's.
//!
//! `"chancery backup" | 01 | kind (1) | length (1) and name | archive`, where the archive holds
//! `length (4) | what is known, JSON | for each version with a value: length (4) | value`.
//!
//! The name stands in the clear, so that the decision whether it may be restored is made on it; the archive opens under
//! this kind and name only. The vault is not in it: it is restored into any.

use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::cache::Key;
use super::retention::Kept;
use crate::error::{Error, Result};
use crate::id::ObjectName;
use crate::seal::{self, Sealer};
use crate::secret::Secret;

const MAGIC: &[u8] = b"chancery backup";
const VERSION: u8 = 1;

/// The most versions that an object has whose backup is made.
pub const BACKUP_MAX_VERSIONS: usize = 500;
/// The most that a backup holds of what is known and of values together, in bytes.
pub const BACKUP_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The backup of one object, as it is kept: sealed but for its kind and name.
#[derive(Clone)]
pub struct ObjectBackup {
    kept: Kept,
    name: ObjectName,
    archive: Vec<u8>,
}

impl ObjectBackup {
    /// Reads the backup of a key.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn of_key(bytes: &[u8]) -> Result<Self> {
        Self::read(Kept::Key, bytes)
    }

    /// Reads the backup of a secret.
    ///
    /// # Errors
    /// `Invalid` if it is none.
    pub fn of_secret(bytes: &[u8]) -> Result<Self> {
        Self::read(Kept::Secret, bytes)
    }

    fn read(kept: Kept, bytes: &[u8]) -> Result<Self> {
        let not_one = || Error::invalid("that is no backup of an object: give the whole file that `backup` wrote");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(not_one)?;
        let (&[version, kind, len], rest) = rest.split_first_chunk().ok_or_else(not_one)?;
        if version != VERSION {
            return Err(Error::invalid(format!(
                "the backup is of format {version}, and this service knows format {VERSION}: use the release that wrote it"
            )));
        }
        let found = Kept::ALL
            .into_iter()
            .find(|each| code(*each) == kind)
            .ok_or_else(not_one)?;
        if found != kept {
            return Err(Error::invalid(format!(
                "that is a backup of one of the {}: restore it as that",
                found.nouns()
            )));
        }
        let (name, archive) = rest.split_at_checked(usize::from(len)).ok_or_else(not_one)?;
        let name = std::str::from_utf8(name).map_err(|_| not_one())?;
        Ok(Self {
            kept,
            name: name.parse().map_err(|_| not_one())?,
            archive: archive.to_vec(),
        })
    }

    /// The object's name.
    pub fn name(&self) -> &ObjectName {
        &self.name
    }

    /// As it is kept.
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = self.name.as_str().as_bytes();
        let mut bytes = MAGIC.to_vec();
        // A name is at most 255 bytes long.
        bytes.extend([VERSION, code(self.kept), u8::try_from(name.len()).unwrap_or(u8::MAX)]);
        bytes.extend(name);
        bytes.extend(&self.archive);
        bytes
    }

    /// What a record calls it: a hash, so that a restore is found by the backup that it came from.
    pub(super) fn digest(&self) -> String {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.to_bytes());
        hex::encode(digest.as_ref())
    }

    /// Seals what is known about an object, and the values of its versions.
    pub(super) async fn seal(
        sealer: &Sealer,
        kept: Kept,
        name: ObjectName,
        known: &(impl Serialize + Sync),
        values: &[Secret],
    ) -> Result<Self> {
        let packed = pack(known, values)?;
        let archive = sealer.archive(&binding(kept, &name), &packed).await?;
        Ok(Self { kept, name, archive })
    }

    /// What was sealed.
    pub(super) async fn open<T: DeserializeOwned>(&self, sealer: &Sealer) -> Result<(T, Vec<Secret>)> {
        let packed = sealer
            .open_archive(&binding(self.kept, &self.name), &self.archive)
            .await?;
        unpack(&packed)
    }
}

/// Why an object is not backed up.
pub(super) fn too_many(kept: Kept, key: &Key, most: usize) -> Error {
    Error::conflict(format!(
        "`{}` of vault `{}` has more than {most} versions, which is the most that a backup of one of the {} holds",
        key.name,
        key.vault,
        kept.nouns()
    ))
}

fn binding(kept: Kept, name: &ObjectName) -> Vec<u8> {
    seal::binding(&["object backup 1", kept.nouns(), name.as_str()])
}

const fn code(kept: Kept) -> u8 {
    match kept {
        Kept::Secret => 1,
        Kept::Key => 2,
    }
}

fn pack(known: &impl Serialize, values: &[Secret]) -> Result<Secret> {
    let known = serde_json::to_vec(known).map_err(|e| Error::internal("a backup is not JSON").because(e))?;
    let parts = || std::iter::once(known.as_slice()).chain(values.iter().map(Secret::expose));
    let len: usize = parts().map(|part| part.len() + 4).sum();
    if len > BACKUP_MAX_BYTES {
        return Err(Error::conflict(format!(
            "a backup of one object holds at most {BACKUP_MAX_BYTES} bytes, and this would hold {len}: destroy old versions"
        )));
    }
    // SECURITY: never moved to a larger place, which would leave the values in the old one.
    let mut packed = Zeroizing::new(Vec::with_capacity(len));
    for part in parts() {
        let len = u32::try_from(part.len()).map_err(|e| Error::internal("a value is too long").because(e))?;
        packed.extend(len.to_be_bytes());
        packed.extend(part);
    }
    Ok(Secret::new(std::mem::take(&mut *packed)))
}

fn unpack<T: DeserializeOwned>(packed: &Secret) -> Result<(T, Vec<Secret>)> {
    let broken =
        || Error::invalid("the backup holds something else than this release writes: use the one that wrote it");
    let mut rest = packed.expose();
    let mut parts = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = usize::try_from(u32::from_be_bytes(*len)).map_err(|_| broken())?;
        let (part, behind) = behind.split_at_checked(len).ok_or_else(broken)?;
        parts.push(part);
        rest = behind;
    }
    let (known, values) = parts.split_first().filter(|_| rest.is_empty()).ok_or_else(broken)?;
    let known = serde_json::from_slice(known).map_err(|e| broken().because(e))?;
    Ok((known, values.iter().map(|value| Secret::new(value.to_vec())).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    #[test]
    fn what_is_packed_comes_out_and_nothing_else_does() {
        let values = [Secret::new(b"one".to_vec()), Secret::new(Vec::new())];
        let packed = pack(&"known", &values).unwrap();
        let (known, back): (String, _) = unpack(&packed).unwrap();
        assert_eq!(known, "known");
        assert_eq!(
            back.iter().map(Secret::expose).collect::<Vec<_>>(),
            [b"one".as_slice(), b""]
        );
        for len in 0..packed.len() {
            let cut = Secret::new(packed.expose()[..len].to_vec());
            let whole: Result<(String, Vec<Secret>)> = unpack(&cut);
            assert!(
                whole.is_err() || whole.is_ok_and(|(_, values)| values.len() < 2),
                "{len}"
            );
        }
        let large = Secret::new(vec![0; BACKUP_MAX_BYTES]);
        assert_eq!(pack(&"", &[large]).err().unwrap().kind(), Kind::Conflict);
    }

    #[test]
    fn a_backup_is_read_as_what_it_is() {
        let backup = ObjectBackup {
            kept: Kept::Key,
            name: "a/b".parse().unwrap(),
            archive: vec![1, 2],
        };
        let bytes = backup.to_bytes();
        let read = ObjectBackup::of_key(&bytes).ok().unwrap();
        assert_eq!((read.name(), &read.archive), (backup.name(), &backup.archive));
        let says = |result: Result<ObjectBackup>| {
            let error = result.err().unwrap();
            assert_eq!(error.kind(), Kind::Invalid);
            error.public().to_owned()
        };
        assert!(says(ObjectBackup::of_secret(&bytes)).contains("keys"));
        let mut next = bytes.clone();
        next[MAGIC.len()] = 2;
        assert!(says(ObjectBackup::of_key(&next)).contains("format 2"));
        for len in 0..bytes.len() - 2 {
            says(ObjectBackup::of_key(&bytes[..len]));
        }
    }
}
