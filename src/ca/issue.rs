//! Issuing, in Boulder's order.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::limits::Counted;
use super::repo::{self, Completion, FitKey, Reservation};
use super::signer::Signer;
use super::{Authority, ONLY_SHARD};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::hsm::{Hsm, KeyRef};
use crate::id::{Id, IdempotencyKey, Label};
use crate::policy::{Action, Principal, Resource};
use crate::store::Tx;
use crate::x509::chain::{self, Issuer};
use crate::x509::csr::Csr;
use crate::x509::key::PublicKey;
use crate::x509::name::Name;
use crate::x509::profile::{Profile, Validity};
use crate::x509::serial::Serial;
use crate::x509::tbs::{self, Leaf, Tbs};
use crate::x509::{lint, pem};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The subject's key; whoever asks has seen to it that the subject holds it.
    pub key: PublicKey,
    /// The subject's names.
    pub names: Vec<Name>,
    /// By which rules.
    pub profile: Label,
    /// By which version of them, if what is asked for began with one; else by the one that is in force.
    pub profile_hash: Option<String>,
    /// How long; the profile's default if it is not said.
    pub validity: Option<Duration>,
}

impl IssueRequest {
    /// What a certificate signing request asks for.
    pub fn from_csr(csr: &Csr, profile: Label, validity: Option<Duration>) -> Self {
        Self {
            key: csr.key().clone(),
            names: csr.names().to_vec(),
            profile,
            profile_hash: None,
            validity,
        }
    }
}

/// A certificate that was just issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    /// DER, leaf first, the root left out.
    pub chain: Vec<Vec<u8>>,
    /// Lower-case hexadecimal.
    pub serial: String,
    /// From when to when.
    pub validity: Validity,
}

impl Issued {
    /// The chain, PEM.
    pub fn chain_pem(&self) -> String {
        pem::encode_chain(&self.chain)
    }
}

/// What another room writes in the commits of an issuance, so that its own rows stand or fall with the certificate.
pub trait Alongside: Send + Sync + 'static {
    /// With the reservation, before anything is signed.
    fn reserved<'t>(&'t self, _tx: &'t Tx, _serial: &'t str) -> BoxFuture<'t, Result<()>> {
        async { Ok(()) }.boxed()
    }

    /// With the certificate.
    fn stored<'t>(&'t self, _tx: &'t Tx, _issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async { Ok(()) }.boxed()
    }
}

/// Nothing is written alongside.
#[derive(Clone, Copy, Debug)]
pub struct Alone;

impl Alongside for Alone {}

/// Issues a certificate.
#[derive(Clone, Debug)]
pub struct IssueCertificate {
    /// By which authority.
    pub authority: Label,
    /// What tells this request from others of the caller's: repeated with it, it gives the same certificate.
    pub idempotency_key: Option<IdempotencyKey>,
    /// What is asked for.
    pub request: IssueRequest,
}

impl Operation for IssueCertificate {
    const ACTION: Action = Action::IssueCertificate;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = Issued;

    fn resource(&self) -> Resource {
        Authority::resource(&self.authority)
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Issued> {
        authority.is_called(&self.authority).await?;
        // SECURITY: whoever may issue under an identity profile can be anybody; for workloads that is enrolment's
        // decision, which knows the register of identities.
        if authority.profile_of(&self.request).await?.is_identity()
            && matches!(permit.caller().principal, Principal::Spiffe(_))
        {
            return Err(Error::denied(format!(
                "certificates of profile `{}` say who a caller is and are issued by enrolment only: create a join \
                 token for the identity",
                self.request.profile
            )));
        }
        match &self.idempotency_key {
            Some(key) => authority.issue_once(permit, &self.authority, self.request, key).await,
            None => {
                let counted = Counted::new(authority, permit, &self.request, Alone);
                authority.issue_by(permit, &self.authority, self.request, counted).await
            }
        }
    }
}

/// To-be-signed bytes that passed the lints, with the row that will find them: signed at most once.
pub(super) struct Prepared {
    reservation: Reservation,
    tbs: Tbs,
}

impl Prepared {
    /// Lints a twin of the bytes and describes them for the store. `issuer` is `None` for a root.
    pub(super) fn new(
        permit: &Permit,
        tbs: Tbs,
        issuer: Option<&Issuer>,
        profile: &str,
        issuer_label: &str,
        clock: &dyn Clock,
    ) -> Result<Self> {
        let twin = lint::twin(&tbs, issuer)?;
        let facts = chain::Facts::read(&twin)?;
        Ok(Self {
            reservation: Reservation {
                serial: facts.serial,
                id: Id::ordered(permit.entropy(), clock.now_millis())?.to_string(),
                issuer: issuer_label.to_owned(),
                profile: profile.to_owned(),
                profile_hash: String::new(),
                tbs: tbs.as_bytes().to_vec(),
                spki_sha256: facts.spki_sha256,
                subject: facts.subject,
                names: facts.names.iter().map(labelled).collect(),
                shard: ONLY_SHARD,
                requested_by: permit.caller().principal.to_string(),
                validity: facts.validity,
                created: clock.now(),
            },
            tbs,
        })
    }
}

impl Authority {
    /// Issues a certificate of the installation's own authority within another room's act, which has judged who may ask
    /// for these names.
    ///
    /// # Errors
    /// `Invalid` for what the profile or the lints do not allow (the token is not asked then); `Conflict` if it was
    /// revoked while it was made; the token's, the store's.
    pub async fn issue(&self, permit: &Permit, request: IssueRequest, alongside: impl Alongside) -> Result<Issued> {
        self.issue_by(permit, self.name(), request, alongside).await
    }

    /// As [`Self::issue`], of an authority of whatever name.
    ///
    /// # Errors
    /// As there; `NotFound` if there is no such authority, `Unavailable` if it has no issuer yet.
    pub async fn issue_by(
        &self,
        permit: &Permit,
        authority: &Label,
        request: IssueRequest,
        alongside: impl Alongside,
    ) -> Result<Issued> {
        self.refresh().await?;
        let profile = self.profile_of(&request).await?;
        let signer = self.issuers().active(authority)?.clone();
        let prepared = self.prepare(permit, authority, &signer, &profile, &request)?;
        let issuer = Some(&signer.issuer);
        sign_and_store(
            &self.0.hsm,
            signer.key()?,
            issuer,
            &signer.chain,
            permit,
            prepared,
            alongside,
        )
        .await
    }

    /// A certificate that was issued, as it was handed out.
    ///
    /// # Errors
    /// `NotFound`, if there is none with this serial or it was never completed; the store's.
    pub async fn issued(&self, serial: &str) -> Result<Issued> {
        let (certificate, issuer, validity) = repo::certificate(self.0.gate.store().read(), serial)
            .await?
            .ok_or_else(|| {
                Error::not_found(format!(
                    "there is no certificate `{serial}`: list them for the right serial"
                ))
            })?;
        let mut chain = vec![certificate.clone()];
        if let Some(signer) = self.issuers().signer(&issuer) {
            chain.push(signer.issuer.der().to_vec());
            chain.extend(signer.chain.iter().cloned());
        }
        Ok(Issued {
            chain,
            certificate,
            serial: serial.to_owned(),
            validity,
        })
    }

    /// The chains of a certificate: the whole one, which whoever trusts an older root needs, then those that end
    /// earlier, in a root that is published by itself and of which the whole one has a certificate by an older one.
    pub fn chains(&self, issued: &Issued) -> Vec<Vec<Vec<u8>>> {
        let issuers = self.issuers();
        let is_root = |der: &[u8]| {
            Issuer::read(der).is_ok_and(|above| {
                issuers
                    .published_roots()
                    .any(|root| root.key().spki() == above.key().spki() && root.subject() == above.subject())
            })
        };
        // The leaf and what signed it are no roots.
        let above = issued.chain.iter().enumerate().skip(2);
        let ends = above.filter(|(_, der)| is_root(der)).map(|(end, _)| end);
        let shorter = ends.filter_map(|end| issued.chain.get(..end)).map(<[_]>::to_vec);
        std::iter::once(issued.chain.clone()).chain(shorter).collect()
    }

    /// Judges a lifetime that certificates of a profile will be asked for.
    ///
    /// # Errors
    /// `Invalid`, with what the profile allows.
    pub fn check_validity(&self, profile: &Label, lifetime: Duration) -> Result<()> {
        self.profile(profile)?.validity(
            self.now(),
            Some(lifetime),
            self.issuers().active(self.name())?.issuer.validity(),
        )?;
        Ok(())
    }

    /// Judges names that certificates of a profile will be asked an authority for.
    ///
    /// # Errors
    /// `Invalid`, naming the first name that the profile does not allow; `NotFound`, `Unavailable` as for issuing.
    pub fn check_names(&self, authority: &Label, profile: &Label, names: &[Name]) -> Result<()> {
        self.check_constraints(self.issuers().active(authority)?, names)?;
        Ok(self.profile(profile)?.check_names(names)?)
    }

    /// Judges names by the constraints in the certificates above a subject's.
    fn check_constraints(&self, signer: &Signer, names: &[Name]) -> Result<()> {
        for constraints in &signer.constraints {
            constraints.check(names)?;
        }
        let issuers = self.issuers();
        let parent = issuers
            .member(signer.label())
            .and_then(|member| issuers.member(&member.parent));
        if let Some(parent) = parent {
            parent.signer.issuer.constraints().check(names)?;
        }
        Ok(())
    }

    /// Whether certificates of a profile say who a caller of this service is.
    ///
    /// # Errors
    /// `Invalid` if there is no such profile.
    pub fn is_identity_profile(&self, profile: &Label) -> Result<bool> {
        Ok(self.profile(profile)?.is_identity())
    }

    fn prepare(
        &self,
        permit: &Permit,
        authority: &Label,
        signer: &Signer,
        profile: &Profile,
        request: &IssueRequest,
    ) -> Result<Prepared> {
        self.0
            .halts
            .check(authority, profile.name(), &permit.caller().principal)?;
        if let Some(known) = self.0.known_keys.get() {
            known.check(&request.key)?;
        }
        self.check_constraints(signer, &request.names)?;
        let validity = profile.validity(permit.now(), request.validity, signer.issuer.validity())?;
        let serial = Serial::random(permit.entropy())?;
        let shard = self.0.hierarchy.crl_shard(&serial);
        let leaf = Leaf {
            key: &request.key,
            names: &request.names,
            pointers: &self.0.hierarchy.pointers(signer.label(), shard),
            serial: &serial,
            validity,
        };
        let tbs = tbs::leaf(profile, &signer.issuer, leaf)?;
        let mut prepared = Prepared::new(
            permit,
            tbs,
            Some(&signer.issuer),
            profile.name().as_str(),
            signer.label(),
            self.0.gate.clock().as_ref(),
        )?;
        prepared.reservation.shard = shard;
        profile.hash().clone_into(&mut prepared.reservation.profile_hash);
        Ok(prepared)
    }
}

/// Reserves, signs in the HSM, verifies, stores. `issuer` is `None` for a root, which is verified against itself; `above`
/// is what stands between it and its root.
pub(super) async fn sign_and_store(
    hsm: &Hsm,
    key: &KeyRef,
    issuer: Option<&Issuer>,
    above: &[Vec<u8>],
    permit: &Permit,
    prepared: Prepared,
    alongside: impl Alongside,
) -> Result<Issued> {
    let Prepared { reservation, tbs } = prepared;
    let alongside = Arc::new(alongside);
    permit.note("serial", reservation.serial.clone());
    permit.note("profile", reservation.profile.clone());
    permit.note("names", serde_json::Value::from(reservation.names.clone()).to_string());
    permit.note("not_after", reservation.validity.not_after.to_string());
    let (serial, validity) = (reservation.serial.clone(), reservation.validity);
    let spki_sha256 = reservation.spki_sha256.clone();

    // CRASH: before this commit nothing is known and nothing signed. After it the certificate may be signed at any
    // moment, and its row finds it: listed as `reserved`, revocable, in the CRL once revoked.
    fault::point("ca.reserve.before");
    permit
        .intend({
            let alongside = alongside.clone();
            move |tx| {
                let (alongside, reservation) = (alongside.clone(), reservation.clone());
                async move {
                    alongside.reserved(tx, &reservation.serial).await?;
                    tx.together(FitKey(reservation.spki_sha256.clone()));
                    tx.together(reservation);
                    Ok(())
                }
                .boxed()
            }
        })
        .await?;
    fault::point("ca.reserve.after");

    fault::point("ca.sign.before");
    let signature = hsm.sign(key, tbs.as_bytes()).await?;
    fault::point("ca.sign.after");
    let certificate = tbs.assemble(&signature)?;
    match issuer {
        Some(issuer) => issuer.verify(&certificate)?,
        None => Issuer::read(&certificate)?.verify(&certificate)?,
    }
    let mut chain = vec![certificate.clone()];
    chain.extend(issuer.map(|issuer| issuer.der().to_vec()));
    chain.extend(above.iter().cloned());
    let issued = Issued {
        certificate,
        chain,
        serial,
        validity,
    };

    // CRASH: before this commit the certificate was handed to nobody; the row stays `reserved`.
    fault::point("ca.store.before");
    permit
        .commit({
            let issued = issued.clone();
            move |tx| {
                let (alongside, issued, key) = (alongside.clone(), issued.clone(), spki_sha256.clone());
                async move {
                    alongside.stored(tx, &issued).await?;
                    tx.together(Completion {
                        serial: issued.serial,
                        certificate: issued.certificate,
                        spki_sha256: Some(key),
                    });
                    Ok(())
                }
                .boxed()
            }
        })
        .await?;
    fault::point("ca.store.after");
    Ok(issued)
}

/// A name with its kind, as lists and records show it.
pub(super) fn labelled(name: &Name) -> String {
    match name {
        Name::Dns(dns) => format!("dns:{dns}"),
        Name::Ip(ip) => format!("ip:{ip}"),
        Name::Email(address) => format!("email:{address}"),
        Name::Upn(upn) => format!("upn:{upn}"),
        Name::Uri(uri) => format!("uri:{uri}"),
    }
}
