//! Bytes that must not be shown: no `Debug`, no `Display`, no `Serialize`, wiped when dropped.

use std::path::PathBuf;

use serde::Deserialize;
use zeroize::Zeroizing;

use crate::error::{Error, Result};

/// A secret value. It can be read only by [`Secret::expose`], so that every place which does is found by one search.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves. SECURITY: never log, format or store what this returns.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where a secret in the configuration is kept: `{ file = "…" }` or `{ env = "…" }`, never the value itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SecretRef {
    /// The named environment variable.
    Env(String),
    /// The file's content; one line end at its end is cut.
    File(PathBuf),
}

impl SecretRef {
    /// Reads the secret.
    ///
    /// # Errors
    /// `Invalid` if the file or variable cannot be read or is empty; the text names it, never its content.
    #[expect(
        clippy::disallowed_methods,
        reason = "a secret by reference names its variable in the configuration"
    )]
    pub fn read(&self) -> Result<Secret> {
        let mut bytes = match self {
            Self::Env(name) => std::env::var(name).map(String::into_bytes).map_err(|e| {
                Error::invalid(format!("environment variable `{name}` cannot be read: set it")).because(e)
            })?,
            Self::File(path) => std::fs::read(path).map_err(|e| {
                Error::invalid(format!("secret file `{}` cannot be read: {e}", path.display())).because(e)
            })?,
        };
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
            if bytes.last() == Some(&b'\r') {
                bytes.pop();
            }
        }
        if bytes.is_empty() {
            return Err(Error::invalid(format!("the secret from {self:?} is empty")));
        }
        Ok(Secret::new(bytes))
    }
}
