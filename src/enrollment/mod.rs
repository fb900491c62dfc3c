//! How a caller comes by its certificate: identities, one-time join tokens, the first certificate, the next ones, and
//! the first administrator.
//!
//! Only this room issues certificates that say who a caller is. It decides for whom: for the identity that a join token
//! was made for, that a registration entry gives to what was shown, or of the current certificate; what a request's CSR
//! itself asks for is not looked at.
//!
//! It must never make an identity out of a request's own names, or bind a token to a second key.
//! To add a way to enrol (a cloud's token, a node's attestation): a file with its `Operation` that ends in
//! [`Enrollment::issue`].

mod bootstrap;
mod enroll;
mod identities;
mod reenroll;
mod shown;
mod tokens;

use std::time::Duration;

use crate::authz::Authz;
use crate::ca::{Alongside, Authority, IssueRequest, Issued};
use crate::error::Result;
use crate::gate::Permit;
use crate::id::Label;
use crate::identity::Identity;
use crate::identity::register::Registration;
use crate::policy::SpiffeId;
use crate::x509::csr::Csr;
use crate::x509::name::Name;
use crate::x509::profile::Validity;

pub use self::bootstrap::{administrator_token, bootstrap_token, recover_administrator};
pub use self::enroll::{Enroll, redeem};
pub use self::identities::{
    CreateIdentity, DeleteEntry, DisableIdentity, EnableIdentity, ListIdentities, Registered, ShowIdentity,
    UpdateEntry, UpdateIdentity,
};
pub use self::reenroll::Reenroll;
pub use self::shown::{Request, enroll_by_certificate, enroll_by_jwt};
pub use self::tokens::{CreateJoinToken, IssuedToken, KEPT};

/// The profile of workloads' certificates.
const PROFILE: &str = "svid";

/// The engine of all acts here. Cheap to clone.
#[derive(Clone)]
pub struct Enrollment {
    authority: Authority,
    authz: Authz,
    identity: Identity,
    profile: Label,
}

/// A certificate that says who its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// Who.
    pub id: SpiffeId,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// From when to when.
    pub validity: Validity,
    /// PEM, leaf first, the root left out.
    pub chain_pem: String,
    /// The roots that the service's own certificates lead to, PEM.
    pub roots_pem: String,
}

impl Enrollment {
    /// Enrolment into `identity`'s trust domain, by certificates of `authority`.
    ///
    /// # Errors
    /// None in a build that passed its tests.
    pub fn new(identity: Identity, authz: Authz, authority: Authority) -> Result<Self> {
        Ok(Self {
            authority,
            authz,
            identity,
            profile: PROFILE.parse()?,
        })
    }

    /// Issues a certificate over the request's key for a registered identity.
    async fn issue(
        &self,
        permit: &Permit,
        registration: &Registration,
        csr: &Csr,
        alongside: impl Alongside,
    ) -> Result<Enrolled> {
        let request = IssueRequest {
            key: csr.key().clone(),
            names: vec![Name::uri(registration.id.as_str())?],
            profile: self.profile.clone(),
            profile_hash: None,
            validity: registration.ttl,
        };
        let issued = self.authority.issue(permit, request, alongside).await?;
        Ok(self.enrolled(registration.id.clone(), &issued))
    }

    fn enrolled(&self, id: SpiffeId, issued: &Issued) -> Enrolled {
        Enrolled {
            id,
            serial: issued.serial.clone(),
            validity: issued.validity,
            chain_pem: issued.chain_pem(),
            roots_pem: self.authority.roots_pem(),
        }
    }

    /// Whether certificates may be so long-lived.
    fn check_ttl(&self, ttl: Option<Duration>) -> Result<()> {
        match ttl {
            Some(ttl) => self.authority.check_validity(&self.profile, ttl),
            None => Ok(()),
        }
    }
}
