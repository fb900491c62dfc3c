//! Making a new issuer's key and certificate, and a new root's certificate by the old one.

use futures::FutureExt;
use futures::future::BoxFuture;

use crate::ca::found;
use crate::ca::issue::{self, Alongside, Issued, Prepared};
use crate::ca::issuers::repo as issuers;
use crate::ca::issuers::{IssuerRow, Role, Stage};
use crate::ca::{Authority, ONLY_SHARD};
use crate::clock::Timestamp;
use crate::custody;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::policy::{Action, Resource};
use crate::store::Tx;
use crate::x509::chain::Issuer;
use crate::x509::hierarchy::CaDeclaration;
use crate::x509::key::PublicKey;
use crate::x509::serial::Serial;
use crate::x509::tbs;

/// The profile that roots' certificates by other roots are listed under.
const CROSS: &str = "cross";

/// Makes a requested issuer's key and certificate.
pub(super) struct PrepareIssuer {
    row: IssuerRow,
    /// The root that signs it; none for a root, which signs itself.
    above: Option<IssuerRow>,
}

impl PrepareIssuer {
    pub(super) fn new(row: &IssuerRow, rows: &[IssuerRow]) -> Result<Self> {
        let above = match row.role {
            Role::Root => None,
            Role::Issuing => Some(active_root(row, rows)?),
        };
        Ok(Self {
            row: row.clone(),
            above,
        })
    }
}

fn active_root(row: &IssuerRow, rows: &[IssuerRow]) -> Result<IssuerRow> {
    let mut roots = rows
        .iter()
        .filter(|other| other.authority == row.authority && other.role == Role::Root);
    let active = roots.find(|root| root.stage == Stage::Active).cloned();
    active.ok_or_else(|| Error::unavailable(format!("no root of `{}` signs now", row.authority)))
}

impl Operation for PrepareIssuer {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.row.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        let Self { row, above } = self;
        let gate = &authority.0.gate;
        permit.note("issuer", row.label.clone());
        let declaration = authority.declaration(&row)?;
        let kind = row.key_type.unwrap_or_else(|| declaration.key_type());
        let clock = gate.clock().as_ref();
        fault::point("ca.rotate_prepare.before");
        // CRASH: the register knows the key from before it is made, so that the next try goes on with the same one.
        let made = custody::ensure(gate.store(), &authority.0.hsm, &row.label, kind, clock).await?;
        let spki = made
            .spki_der
            .ok_or_else(|| Error::internal(format!("the key `{}` has no public half", row.label)))?;
        let public = PublicKey::from_spki(&spki)?.signing_as(kind);
        let serial = Serial::random(permit.entropy())?;
        let store = |chain: Vec<Vec<u8>>, parent: &str| StorePrepared {
            authority: authority.clone(),
            row: IssuerRow {
                chain,
                parent: parent.to_owned(),
                stage_at: permit.now(),
                ..row.clone()
            },
        };
        match above {
            None => {
                let validity = declaration.validity(permit.now(), None);
                let tbs = tbs::root(&declaration, &public, &serial, validity)?;
                let prepared = Prepared::new(permit, tbs, None, found::ROOT, &row.label, clock)?;
                let alongside = store(Vec::new(), "");
                issue::sign_and_store(&authority.0.hsm, &made.key, None, &[], permit, prepared, alongside).await?;
            }
            Some(above) => {
                let root = authority
                    .signer(&above.label)
                    .ok_or_else(|| Error::internal(format!("the root `{}` is not open", above.label)))?;
                let validity = declaration.validity(permit.now(), Some(root.issuer.validity()));
                let pointers = authority.0.hierarchy.pointers(root.label(), ONLY_SHARD);
                let tbs = tbs::issuing(&declaration, &public, &serial, validity, &root.issuer, &pointers)?;
                let issuer = Some(&root.issuer);
                let prepared = Prepared::new(permit, tbs, issuer, found::ISSUING, root.label(), clock)?;
                let alongside = store(above.chain, root.label());
                issue::sign_and_store(&authority.0.hsm, root.key()?, issuer, &[], permit, prepared, alongside).await?;
            }
        }
        fault::point("ca.rotate_prepare.after");
        Ok(())
    }
}

/// Gives the row its certificate in the commit that stores it.
struct StorePrepared {
    authority: Authority,
    row: IssuerRow,
}

impl Alongside for StorePrepared {
    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            let row = IssuerRow {
                serial: issued.serial.clone(),
                certificate: issued.certificate.clone(),
                not_after: issued.validity.not_after,
                ..self.row.clone()
            };
            if !issuers::prepare(tx, &row).await? {
                return Err(Error::conflict(format!("`{}` has a certificate already", row.label)));
            }
            self.authority.announce(tx).await
        }
        .boxed()
    }
}

/// Has the root that signs now certify the key of the next one: whoever trusts only the old one trusts what the new one
/// signs (RFC 4210 §4.4).
pub(super) struct CrossSign {
    row: IssuerRow,
    old: IssuerRow,
}

impl CrossSign {
    pub(super) fn new(row: &IssuerRow, rows: &[IssuerRow]) -> Result<Self> {
        Ok(Self {
            row: row.clone(),
            old: active_root(row, rows)?,
        })
    }
}

impl Operation for CrossSign {
    const ACTION: Action = Action::RotateAuthority;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.row.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        permit.note("issuer", self.row.label.clone());
        let own = Issuer::read(&self.row.certificate)?;
        let old = authority
            .signer(&self.old.label)
            .ok_or_else(|| Error::internal(format!("the root `{}` is not open", self.old.label)))?;
        let declaration = authority.declaration(&self.row)?;
        let validity = declaration.validity(permit.now(), Some(old.issuer.validity()));
        let pointers = authority.0.hierarchy.pointers(old.label(), ONLY_SHARD);
        let serial = Serial::random(permit.entropy())?;
        let tbs = tbs::cross(&declaration, own.key(), &serial, validity, &old.issuer, &pointers)?;
        let issuer = Some(&old.issuer);
        let clock = authority.0.gate.clock().as_ref();
        let prepared = Prepared::new(permit, tbs, issuer, CROSS, old.label(), clock)?;
        let alongside = StoreCross {
            authority: authority.clone(),
            label: self.row.label,
            now: permit.now(),
        };
        issue::sign_and_store(&authority.0.hsm, old.key()?, issuer, &[], permit, prepared, alongside).await?;
        Ok(())
    }
}

/// Puts the certificate above whatever the new root will sign.
struct StoreCross {
    authority: Authority,
    label: String,
    now: Timestamp,
}

impl Alongside for StoreCross {
    fn stored<'t>(&'t self, tx: &'t Tx, issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            if !issuers::set_chain(tx, &self.label, &issued.certificate, self.now).await? {
                return Err(Error::conflict(format!(
                    "`{}` has its cross-certificate already",
                    self.label
                )));
            }
            self.authority.announce(tx).await
        }
        .boxed()
    }
}

impl Authority {
    /// What an issuer's certificate is to say.
    pub(super) fn declaration(&self, row: &IssuerRow) -> Result<CaDeclaration> {
        Ok(self.declared(&row.authority, row.role)?.numbered(row.number))
    }

    /// What is declared for an authority.
    ///
    /// # Errors
    /// `Invalid` if a certificate cannot hold its name.
    pub(super) fn declared(&self, authority: &Label, role: Role) -> Result<CaDeclaration> {
        let hierarchy = &self.0.hierarchy;
        let declared = match role {
            Role::Root => hierarchy.root(),
            Role::Issuing => hierarchy.issuing(),
        };
        if authority == hierarchy.authority() {
            return Ok(declared.clone());
        }
        Ok(declared.of(authority)?)
    }
}
