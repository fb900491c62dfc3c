//! Everything that was issued, whole, page by page: for whoever judges it again from outside.

mod repo;

use super::Authority;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};

/// A certificate as it is stored, with what its row says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// DER.
    pub certificate: Vec<u8>,
    /// Sorts by the time of its making; the cursor.
    pub id: String,
    /// The label of its issuer's key.
    pub issuer: String,
    /// As lists show them.
    pub names: Vec<String>,
    /// The profile it was made by.
    pub profile: Label,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// SHA-256 of the subject's key, hexadecimal.
    pub spki_sha256: String,
}

/// Reads stored certificates, oldest first.
#[derive(Clone, Debug)]
pub struct ExportIssued {
    /// Whose.
    pub authority: Label,
    /// The last `id` of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: u32,
}

impl Operation for ExportIssued {
    const ACTION: Action = Action::ListIssued;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Vec<Stored>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, _permit: &Permit) -> Result<Vec<Stored>> {
        authority.is_called(&self.authority).await?;
        repo::page(authority.0.gate.store().read(), self.after.as_deref(), self.limit).await
    }
}
