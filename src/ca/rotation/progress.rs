//! How far a rotation is, and who still has a certificate of an issuer that is going.

use super::{Authority, issuers, repo, step};
use crate::ca::IssuedCertificate;
use crate::ca::issuers::{IssuerRow, Role, Stage};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};

/// How many of those who have an old certificate are named.
const NAMED: u64 = 100;

/// A step of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Key and certificate are made.
    Prepare,
    /// The root before it certifies its key.
    CrossSign,
    /// It comes into the trust bundle.
    Publish,
    /// It signs from then on.
    Activate,
    /// Its certificates are to be replaced at once.
    Taint,
    /// It leaves the trust bundle.
    Retire,
}

impl Step {
    /// For people and programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Prepare => "prepare",
            Self::CrossSign => "cross-sign",
            Self::Publish => "publish",
            Self::Activate => "activate",
            Self::Taint => "taint",
            Self::Retire => "retire",
        }
    }
}

/// How far one issuer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The label of its key.
    pub label: String,
    /// What it signs.
    pub role: Role,
    /// Which of its role it is.
    pub number: u32,
    /// How far it came.
    pub stage: Stage,
    /// Since when.
    pub stage_at: Timestamp,
    /// What comes next, and not before when.
    pub next: Option<(Step, Timestamp)>,
    /// Valid certificates of it, if it does not sign any more: of those that end last, a hundred at most.
    pub left: Vec<IssuedCertificate>,
}

/// Shows how far the issuers of an authority are.
#[derive(Clone, Debug)]
pub struct ShowRotation {
    /// Which.
    pub authority: Label,
}

impl Operation for ShowRotation {
    const ACTION: Action = Action::ShowAuthority;
    const EFFECT: Effect = Effect::Read;
    type Engine = Authority;
    type Output = Vec<Progress>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Vec<Progress>> {
        authority.is_called(&self.authority).await?;
        let (conn, hierarchy) = (authority.0.gate.store().read(), &authority.0.hierarchy);
        let rows = issuers::issuers(conn).await?;
        let own = |row: &&IssuerRow| row.authority == self.authority;
        let mut progress = Vec::new();
        for row in rows.iter().filter(own) {
            let going = row.role == Role::Issuing && matches!(row.stage, Stage::Replaced | Stage::Tainted);
            progress.push(Progress {
                label: row.label.clone(),
                role: row.role,
                number: row.number,
                stage: row.stage,
                stage_at: row.stage_at,
                next: step(row, &rows, hierarchy.overlap(), hierarchy.replaced()),
                left: match going {
                    true => repo::valid(conn, &row.label, permit.now(), NAMED).await?,
                    false => Vec::new(),
                },
            });
        }
        Ok(progress)
    }
}
