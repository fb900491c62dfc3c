//! Renewals: the persisted state machine as seen from outside.

use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::clock::Timestamp;
use crate::id::{Label, ObjectName};

/// One renewal, or the first order, of a certificate object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// Its id, 32 hexadecimal digits.
    pub id: String,
    /// The certificate's vault.
    pub vault: Label,
    /// The certificate's name.
    pub certificate: ObjectName,
    /// The issuer that it is ordered from.
    pub issuer: Label,
    /// The state that is reached: `scheduled`, `due`, `key_ready`, `csr_ready`, `ordered`, `issued`, `current`,
    /// `delivered`, `verified` (all is done) or `failed` (it will not be tried again).
    pub state: String,
    /// When it is or was due.
    #[serde(with = "rfc3339")]
    pub due: Timestamp,
    /// When the state was last changed or tried.
    #[serde(with = "rfc3339")]
    pub updated: Timestamp,
    /// How often the next step has failed in a row.
    pub failures: u32,
    /// What went wrong the last time, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// When the next step is tried again.
    #[serde(default, with = "rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub next_attempt: Option<Timestamp>,
    /// The new certificate's serial, once it is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
}

impl Renewal {
    /// Nothing more will happen to it.
    pub fn is_over(&self) -> bool {
        self.is_done() || self.is_failed()
    }

    /// It is finished: the certificate is current, delivered and, where that was asked for, seen served.
    pub fn is_done(&self) -> bool {
        self.state == "verified"
    }

    /// It was given up.
    pub fn is_failed(&self) -> bool {
        self.state == "failed"
    }
}
