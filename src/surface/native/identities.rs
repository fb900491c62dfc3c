//! `/api/identities`, `/api/enroll` and `/api/reenroll`: who may have certificates, and how they get them.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::body::{Body, InQuery, SecretBody, created, cursor, next};
use super::{Answer, Created};
use crate::authz::Origin;
use crate::enrollment::{
    self, CreateIdentity, CreateJoinToken, DeleteEntry, DisableIdentity, EnableIdentity, Enrolled, ListIdentities,
    Reenroll, Registered, Request, ShowIdentity, UpdateEntry, UpdateIdentity,
};
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::identity::entry::Entry;
use crate::policy::{Group, Principal};
use crate::surface::frame::{Failure, RequestId};
use crate::surface::{Peer, Shared, perform};
use crate::wire::{self, Page, PageQuery, SecretText};
use crate::x509::csr::Csr;

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateIdentity>,
) -> Created<wire::Identity> {
    let op = CreateIdentity {
        id: asked.id.parse()?,
        ttl: asked.ttl_s.map(Duration::from_secs),
        grace: asked.grace_s.map(Duration::from_secs),
        way: asked.entry,
        groups: groups(&asked.groups)?,
    };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    let is_by_token = registered.entries.is_empty();
    Ok(created(match is_by_token {
        true => spell(registered),
        false => spell_with_entries(registered),
    }))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<wire::Identity> {
    let op = ShowIdentity { id: id.parse()? };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(spell_with_entries(registered)))
}

pub(super) async fn update(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Body(asked): Body<wire::UpdateIdentity>,
) -> Answer<wire::Identity> {
    let op = UpdateIdentity {
        id: id.parse()?,
        ttl: asked.ttl_s.map(Duration::from_secs),
        grace: asked.grace_s.map(Duration::from_secs),
        groups: groups(&asked.groups)?,
    };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(spell(registered)))
}

pub(super) async fn update_entry(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((identity, id)): Path<(String, String)>,
    Body(way): Body<wire::Way>,
) -> Answer<wire::RegistrationEntry> {
    let op = UpdateEntry {
        identity: identity.parse()?,
        id: id.parse()?,
        way,
    };
    let entry = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(spell_entry(entry, &[])))
}

pub(super) async fn delete_entry(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((identity, id)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    let op = DeleteEntry {
        identity: identity.parse()?,
        id: id.parse()?,
    };
    perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    InQuery(query): InQuery<PageQuery>,
) -> Answer<Page<wire::Identity>> {
    let op = ListIdentities {
        after: cursor(&query)?,
        limit: query.limit(),
    };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(Page {
        next: next(&query, &registered, |last| last.registration.id.to_string()),
        items: registered.into_iter().map(spell).collect(),
    }))
}

pub(super) async fn disable(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::WhichIdentity>,
) -> Answer<wire::Identity> {
    let op = DisableIdentity { id: asked.id.parse()? };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(spell(registered)))
}

pub(super) async fn enable(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::WhichIdentity>,
) -> Answer<wire::Identity> {
    let op = EnableIdentity { id: asked.id.parse()? };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(Json(spell(registered)))
}

pub(super) async fn create_token(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::CreateJoinToken>,
) -> Created<wire::JoinToken> {
    let op = CreateJoinToken {
        id: asked.identity.parse()?,
        life: asked.ttl_s.map(Duration::from_secs),
    };
    let made = perform(&services, caller, |services| &services.enrollment, op).await?;
    let token =
        String::from_utf8(made.token.expose().to_vec()).map_err(|_| Error::internal("a join token is not text"))?;
    Ok(created(wire::JoinToken {
        token: SecretText::new(token),
        identity: made.id.to_string(),
        expires: made.expires,
    }))
}

/// Ungated: the join token says who it is, and enrolment passes the gate as a part of the service.
pub(super) async fn enroll(
    State(services): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request)): Extension<RequestId>,
    SecretBody(asked): SecretBody<wire::Enroll>,
) -> Created<wire::Enrolled> {
    enrolling(services, move |services| async move {
        let (gate, engine) = (&services.gate, &services.enrollment);
        let (token, csr) = (asked.token.expose(), asked.csr_pem.as_bytes());
        enrollment::redeem(gate, engine, peer.addr, request, token, csr).await
    })
    .await
}

/// Ungated: a registration entry says whose the JWT is, and enrolment passes the gate as a part of the service.
pub(super) async fn enroll_by_jwt(
    State(services): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request)): Extension<RequestId>,
    SecretBody(asked): SecretBody<wire::EnrollByJwt>,
) -> Created<wire::Enrolled> {
    let wanted = asked.identity.as_deref().map(str::parse).transpose()?;
    enrolling(services, move |services| async move {
        let request = Request {
            source: peer.addr,
            request,
            wanted,
            csr: asked.csr_pem.as_bytes(),
        };
        enrollment::enroll_by_jwt(&services.gate, &services.enrollment, request, asked.jwt.expose()).await
    })
    .await
}

/// Ungated: the certificate need not be one of ours; a registration entry says whose it is.
pub(super) async fn enroll_by_certificate(
    State(services): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request)): Extension<RequestId>,
    Body(asked): Body<wire::EnrollByCertificate>,
) -> Created<wire::Enrolled> {
    let wanted = asked.identity.as_deref().map(str::parse).transpose()?;
    enrolling(services, move |services| async move {
        let request = Request {
            source: peer.addr,
            request,
            wanted,
            csr: asked.csr_pem.as_bytes(),
        };
        enrollment::enroll_by_certificate(&services.gate, &services.enrollment, request, &peer.chain).await
    })
    .await
}

/// CRASH: as in `perform`: an act that is dropped half-way would leave its intent open until the next start.
async fn enrolling<F, W>(services: Shared, work: W) -> Created<wire::Enrolled>
where
    W: FnOnce(Shared) -> F + Send + 'static,
    F: Future<Output = Result<Enrolled>> + Send,
{
    let enrolled = tokio::spawn(async move { work(services).await })
        .await
        .map_err(|e| Error::internal("an enrolment ended by a fault of ours").because(e))??;
    Ok(created(spell_enrolled(enrolled)))
}

pub(super) async fn reenroll(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::Reenroll>,
) -> Created<wire::Enrolled> {
    let Principal::Spiffe(id) = &caller.principal else {
        return Err(Error::internal("a part of the service asked for a certificate by the API").into());
    };
    let op = Reenroll {
        id: id.clone(),
        csr: Csr::parse(asked.csr_pem.as_bytes()).map_err(Error::from)?,
    };
    let enrolled = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(created(spell_enrolled(enrolled)))
}

fn spell(registered: Registered) -> wire::Identity {
    let registration = registered.registration;
    wire::Identity {
        id: registration.id.to_string(),
        ttl_s: registration.ttl.map(|ttl| ttl.as_secs()),
        grace_s: registration.grace.map(|grace| grace.as_secs()),
        created: registration.created,
        disabled: registration.disabled,
        groups: by(Origin::Registration, &registered.groups),
        entries: None,
    }
}

/// The names of the groups of this origin.
fn by(origin: Origin, groups: &[(Origin, Group)]) -> Vec<String> {
    let of_it = groups.iter().filter(|(by, _)| *by == origin);
    of_it.map(|(_, group)| group.to_string()).collect()
}

fn groups(names: &[String]) -> Result<BTreeSet<Group>> {
    names.iter().map(|name| name.parse()).collect()
}

fn spell_with_entries(registered: Registered) -> wire::Identity {
    let entries = registered.entries.iter();
    let entries = entries
        .map(|entry| spell_entry(entry.clone(), &registered.groups))
        .collect();
    wire::Identity {
        entries: Some(entries),
        ..spell(registered)
    }
}

fn spell_entry(entry: Entry, groups: &[(Origin, Group)]) -> wire::RegistrationEntry {
    wire::RegistrationEntry {
        groups: by(Origin::Entry(entry.id), groups),
        id: entry.id.to_string(),
        way: entry.way,
        created: entry.created,
    }
}

fn spell_enrolled(enrolled: Enrolled) -> wire::Enrolled {
    wire::Enrolled {
        identity: enrolled.id.to_string(),
        serial: enrolled.serial,
        not_before: enrolled.validity.not_before,
        not_after: enrolled.validity.not_after,
        chain_pem: enrolled.chain_pem,
        roots_pem: enrolled.roots_pem,
    }
}
