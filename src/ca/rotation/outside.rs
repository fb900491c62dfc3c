//! Authorities beside the first one, and those whose root is not in the token: a request goes out, a chain comes in.

use futures::FutureExt;

use super::{Role, Stage, request};
use crate::ca::Authority;
use crate::ca::imported;
use crate::ca::issuers::repo as issuers;
use crate::ca::issuers::{IssuerRow, Origin, key_label, unknown};
use crate::custody;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::id::Label;
use crate::key_type::KeyType;
use crate::policy::{Action, Resource};
use crate::x509::key::PublicKey;
use crate::x509::subordinate;

/// Makes an authority.
#[derive(Clone, Debug)]
pub struct InitAuthority {
    /// Its name.
    pub authority: Label,
    /// The kind of its keys; that of the declaration if none is named.
    pub key_type: Option<KeyType>,
    /// Where its root is.
    pub origin: Origin,
}

impl Operation for InitAuthority {
    const ACTION: Action = Action::CreateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        let name = &self.authority;
        // The label of a key names an issuer wherever a name names an authority.
        if ["-root-", "-issuing-"].iter().any(|part| name.as_str().contains(part)) {
            return Err(Error::invalid(format!(
                "`{name}` reads like the label of a key: use a name without `-root-` and `-issuing-`"
            )));
        }
        super::check_kind(self.key_type)?;
        for role in [Role::Root, Role::Issuing] {
            authority.declared(name, role)?;
            // It is a name, too, whatever number it will have.
            key_label(name, role, 9_999).parse::<Label>()?;
        }
        permit.note("origin", self.origin.as_str());
        let (engine, now) = (authority.clone(), permit.now());
        fault::point("ca.init.before");
        permit
            .commit(move |tx| {
                let (engine, asked) = (engine.clone(), self.clone());
                async move {
                    let rows = issuers::issuers(tx.conn()).await?;
                    if rows.iter().any(|row| row.authority == asked.authority) {
                        return Err(Error::conflict(format!(
                            "there is an authority `{}` already: `ca rotate` replaces its keys",
                            asked.authority
                        )));
                    }
                    // With a root in the token the rest is done like the steps of a rotation.
                    let role = match asked.origin {
                        Origin::Token => Role::Root,
                        Origin::Foreign | Origin::Offline => Role::Issuing,
                    };
                    request(tx, &rows, &asked.authority, role, asked.origin, asked.key_type, now).await?;
                    engine.announce(tx).await
                }
                .boxed()
            })
            .await?;
        fault::point("ca.init.after");
        Ok(())
    }
}

/// Makes the key of a requested issuing CA, and the request for its certificate (PKCS #10, DER).
#[derive(Clone, Debug)]
pub struct RequestCertificate {
    /// Of which authority.
    pub authority: Label,
}

/// Takes the certificate of a requested issuing CA and what stands above it.
#[derive(Clone, Debug)]
pub struct ImportChain {
    /// Of which authority.
    pub authority: Label,
    /// DER, ours first, the root last.
    pub chain: Vec<Vec<u8>>,
}

impl Operation for RequestCertificate {
    const ACTION: Action = Action::CreateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = Vec<u8>;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Vec<u8>> {
        let row = authority.awaited(&self.authority).await?;
        permit.note("issuer", row.label.clone());
        let declaration = authority.declaration(&row)?;
        let kind = row.key_type.unwrap_or_else(|| declaration.key_type());
        let gate = &authority.0.gate;
        // CRASH: as in `PrepareIssuer`.
        let made = custody::ensure(gate.store(), &authority.0.hsm, &row.label, kind, gate.clock().as_ref()).await?;
        let spki = made
            .spki_der
            .ok_or_else(|| Error::internal(format!("the key `{}` has no public half", row.label)))?;
        let public = PublicKey::from_spki(&spki)?.signing_as(kind);
        let to_be_signed = subordinate::to_be_signed(&declaration, &public)?;
        let signature = authority.0.hsm.sign(&made.key, &to_be_signed).await?;
        let csr = subordinate::request(&to_be_signed, &public, &signature)?;
        permit.commit(|_| async { Ok(()) }.boxed()).await?;
        Ok(csr)
    }
}

impl Operation for ImportChain {
    const ACTION: Action = Action::CreateAuthority;
    const EFFECT: Effect = Effect::Change;
    type Engine = Authority;
    type Output = ();

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<()> {
        let row = authority.awaited(&self.authority).await?;
        permit.note("issuer", row.label.clone());
        let store = authority.0.gate.store();
        let nothing = || Error::conflict(format!("`{}` has no key yet: begin with `ca csr`", row.label));
        let key = custody::registered(store, &row.label).await?.ok_or_else(nothing)?;
        let shown = authority.0.hsm.find(&key.label).await?.and_then(|half| half.spki_der);
        let spki =
            shown.ok_or_else(|| Error::unavailable(format!("the token does not show the key `{}`", row.label)))?;
        let accepted = subordinate::accept(&self.chain, &spki, permit.now())?;
        let (engine, now) = (authority.clone(), permit.now());
        fault::point("ca.import.before");
        permit
            .commit(move |tx| {
                let (engine, row, accepted) = (engine.clone(), row.clone(), accepted.clone());
                async move {
                    let rows = issuers::issuers(tx.conn()).await?;
                    let mut roots = rows
                        .iter()
                        .filter(|other| other.authority == row.authority && other.role == Role::Root);
                    let parent = match roots.clone().find(|root| root.certificate == accepted.root.der()) {
                        Some(root) if root.stage < Stage::Retired => root.label.clone(),
                        Some(root) => {
                            return Err(Error::conflict(format!(
                                "the root `{}` is retired: use another",
                                root.label
                            )));
                        }
                        None => {
                            let number = roots.clone().map(|root| root.number).max().unwrap_or(0) + 1;
                            let facts = crate::x509::chain::Facts::read(accepted.root.der())?;
                            let root = IssuerRow {
                                label: key_label(&row.authority, Role::Root, number),
                                role: Role::Root,
                                number,
                                stage: Stage::Active,
                                stage_at: now,
                                parent: String::new(),
                                key_type: None,
                                serial: facts.serial,
                                certificate: accepted.root.der().to_vec(),
                                chain: Vec::new(),
                                not_after: accepted.root.validity().not_after,
                                ..row.clone()
                            };
                            if let Some(before) = roots.find(|root| root.stage == Stage::Active) {
                                issuers::advance(tx, &before.label, Stage::Active, Stage::Replaced, now).await?;
                            }
                            issuers::insert(tx, &root).await?;
                            root.label
                        }
                    };
                    let facts = crate::x509::chain::Facts::read(accepted.issuing.der())?;
                    let prepared = IssuerRow {
                        stage_at: now,
                        parent,
                        serial: facts.serial,
                        certificate: accepted.issuing.der().to_vec(),
                        chain: accepted.above,
                        not_after: accepted.issuing.validity().not_after,
                        ..row.clone()
                    };
                    if let Some(root) = rows.iter().find(|root| root.label == prepared.parent) {
                        imported::check(tx, root, &prepared).await?;
                    }
                    if !issuers::prepare(tx, &prepared).await? {
                        return Err(Error::conflict(format!("`{}` has a certificate already", row.label)));
                    }
                    engine.announce(tx).await
                }
                .boxed()
            })
            .await?;
        fault::point("ca.import.after");
        Ok(())
    }
}

impl Authority {
    /// The issuing CA whose certificate comes from outside and is not there yet.
    async fn awaited(&self, authority: &Label) -> Result<IssuerRow> {
        let rows = issuers::issuers(self.0.gate.store().read()).await?;
        let mut own = rows.into_iter().filter(|row| row.authority == *authority).peekable();
        if own.peek().is_none() {
            return Err(unknown(authority));
        }
        own.find(|row| row.stage == Stage::Requested && row.origin != Origin::Token)
            .ok_or_else(|| {
                Error::conflict(format!(
                    "no issuing CA of `{authority}` waits for a certificate from outside: `ca init` or `ca rotate` makes one"
                ))
            })
    }
}
