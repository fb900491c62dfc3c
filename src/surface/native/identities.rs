//! `/api/identities`, `/api/enroll` and `/api/reenroll`: who may have certificates, and how they get them.

use std::time::Duration;

use axum::Json;
use axum::extract::{Extension, State};

use super::body::{Body, InQuery, SecretBody, created, cursor, next};
use super::{Answer, Created};
use crate::enrollment::{
    self, CreateIdentity, CreateJoinToken, DisableIdentity, EnableIdentity, Enrolled, ListIdentities, Reenroll,
};
use crate::error::Error;
use crate::identity::Caller;
use crate::identity::register::Registration;
use crate::policy::Principal;
use crate::surface::frame::RequestId;
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
    };
    let registered = perform(&services, caller, |services| &services.enrollment, op).await?;
    Ok(created(spell(registered)))
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
        next: next(&query, &registered, |last| last.id.to_string()),
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
    // CRASH: as in `perform`: an act that is dropped half-way would leave its intent open until the next start.
    let enrolled = tokio::spawn(async move {
        let (gate, engine) = (&services.gate, &services.enrollment);
        let (token, csr) = (asked.token.expose(), asked.csr_pem.as_bytes());
        enrollment::redeem(gate, engine, peer.addr, request, token, csr).await
    })
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

fn spell(registered: Registration) -> wire::Identity {
    wire::Identity {
        id: registered.id.to_string(),
        ttl_s: registered.ttl.map(|ttl| ttl.as_secs()),
        created: registered.created,
        disabled: registered.disabled,
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
