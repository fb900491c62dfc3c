//! Rotation: a secret's value is changed where it is used, tested there, and only then made the current one.
//!
//! A rotation is the row of a secret that goes through the steps of [`Step`], each idempotent and an
//! [`Operation`](crate::gate::Operation) of its own in `steps`, decided and recorded like any other act. What a step
//! changed commits together with its record. Whatever is killed goes on from its row, on whichever node takes the lease.
//! Until the last step the old version is the current one.
//!
//! It must never let a caller of the API say which program runs or which address is called, and never let a value into a
//! record, a log line or an error's text.

mod configure;
mod repo;
mod rotator;
mod run;
mod schedule;
mod steps;

use std::fmt;
use std::str::FromStr;

pub use configure::{RemoveSecretRotation, RotateSecret, SetSecretRotation, ShowSecretRotation};
pub use rotator::{ExecSettings, RotatorSettings, Rotators, WebhookSettings};
pub use schedule::{Cadence, Schedule};

use super::generate::Generate;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::id::{Id, Label, ObjectName};
use crate::vault::cache::Key;

/// A step of a rotation, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A new value is made and kept as a version with the label `AWSPENDING`.
    Pending,
    /// The rotator sets it where it is used.
    Set,
    /// The rotator tests it there.
    Test,
    /// It becomes the current version.
    Finish,
}

impl Step {
    const ALL: [Self; 4] = [Self::Pending, Self::Set, Self::Test, Self::Finish];

    /// The word in the store, on the wire and for rotators.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Set => "set",
            Self::Test => "test",
            Self::Finish => "finish",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Step {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|step| step.as_str() == text)
            .ok_or_else(|| Error::internal(format!("`{text}` is no step of a rotation")))
    }
}

/// How a secret is rotated, as somebody asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotationPolicy {
    /// When.
    pub schedule: Schedule,
    /// By whom, as the configuration calls it.
    pub rotator: Label,
    /// How new values are made.
    pub generate: Generate,
}

/// How a secret is rotated, and how far its rotation has come.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// The secret's vault.
    pub vault: Label,
    /// The secret's name.
    pub name: ObjectName,
    /// How it is rotated.
    pub policy: RotationPolicy,
    /// The step that is taken next; `None` while nothing is under way.
    pub step: Option<Step>,
    /// The version that is to become current.
    pub version: Option<Id>,
    /// When the next rotation begins by its schedule.
    pub due: Option<Timestamp>,
    /// When there is something to do: the next rotation, step or try; `None` while it is paused.
    pub next: Option<Timestamp>,
    /// How often the step has failed in a row.
    pub failures: u32,
    /// Whether it goes on only when somebody says so.
    pub paused: bool,
    /// What went wrong the last time.
    pub last_error: Option<String>,
    /// When the last rotation was finished.
    pub rotated: Option<Timestamp>,
    /// When the policy was first set.
    pub created: Timestamp,
    /// Who set it then.
    pub created_by: String,
    /// When the policy or the state last changed.
    pub updated: Timestamp,
    pub(super) secret_id: String,
    /// The ordinal of the version that the rotator was last told to replace.
    pub(super) old: Option<u64>,
}

impl Rotation {
    /// How it stands, in a word: `scheduled`, `rotating`, `retrying` (a step failed and is tried again) or `paused`.
    pub fn state(&self) -> &'static str {
        match (self.paused, self.failures, self.step) {
            (true, ..) => "paused",
            (_, 1.., _) => "retrying",
            (_, _, Some(_)) => "rotating",
            (_, _, None) => "scheduled",
        }
    }

    fn key(&self) -> Key {
        Key {
            vault: self.vault.clone(),
            name: self.name.clone(),
        }
    }

    /// The step that is taken now, if it is time.
    fn at(&self) -> Step {
        self.step.unwrap_or(Step::Pending)
    }

    fn version(&self) -> Result<Id> {
        self.version
            .ok_or_else(|| Error::internal("a rotation lost its version's id"))
    }
}
