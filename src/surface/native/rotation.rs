//! `/api/authorities/{name}/csr`, `…/chain`, `…/crl`, `…/rotation` and `…/issuers/{number}`: a new root or issuing CA takes
//! the old one's place.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

use super::body::{Body, created};
use super::{Answer, Created};
use crate::ca::{
    ImportChain, ImportList, InitAuthority, Progress, RequestCertificate, RetireIssuer, RotateAuthority, ShowRotation,
    TaintIssuer,
};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire;
use crate::x509::pem;

pub(super) async fn init(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Body(asked): Body<wire::InitAuthority>,
) -> Created<wire::Rotation> {
    let op = InitAuthority {
        authority: asked.name.clone(),
        key_type: asked.key_type,
        origin: asked.root.parse()?,
    };
    perform(&services, caller.clone(), |services| &services.authority, op).await?;
    let op = ShowRotation { authority: asked.name };
    let progress = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(created(spell(progress)))
}

pub(super) async fn request(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::CertificateRequest> {
    let op = RequestCertificate {
        authority: name.parse()?,
    };
    let csr = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(wire::CertificateRequest {
        csr_pem: pem::encode(pem::CERTIFICATE_REQUEST, &csr),
    }))
}

pub(super) async fn import(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(asked): Body<wire::ImportChain>,
) -> Answer<wire::Rotation> {
    let authority: crate::id::Label = name.parse()?;
    let op = ImportChain {
        authority: authority.clone(),
        chain: pem::decode_all(pem::CERTIFICATE, &asked.chain_pem).map_err(Error::from)?,
    };
    perform(&services, caller.clone(), |services| &services.authority, op).await?;
    let op = ShowRotation { authority };
    let progress = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(spell(progress)))
}

pub(super) async fn import_list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(asked): Body<wire::ImportList>,
) -> Answer<wire::ImportedList> {
    let op = ImportList {
        authority: name.parse()?,
        list: pem::der_or_pem(pem::CRL, asked.crl_pem.as_bytes()).map_err(Error::from)?,
    };
    let revokes = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(wire::ImportedList { revokes }))
}

pub(super) async fn begin(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    Body(asked): Body<wire::Rotate>,
) -> Result<(StatusCode, Json<wire::Rotation>), Failure> {
    let authority: crate::id::Label = name.parse()?;
    let op = RotateAuthority {
        authority: authority.clone(),
        key_type: asked.key_type,
        root: asked.root,
    };
    perform(&services, caller.clone(), |services| &services.authority, op).await?;
    let op = ShowRotation { authority };
    let progress = perform(&services, caller, |services| &services.authority, op).await?;
    Ok((StatusCode::ACCEPTED, Json(spell(progress))))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
) -> Answer<wire::Rotation> {
    let op = ShowRotation {
        authority: name.parse()?,
    };
    let progress = perform(&services, caller, |services| &services.authority, op).await?;
    Ok(Json(spell(progress)))
}

pub(super) async fn taint(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((name, number)): Path<(String, u32)>,
) -> Result<StatusCode, Failure> {
    let op = TaintIssuer {
        authority: name.parse()?,
        number,
    };
    perform(&services, caller, |services| &services.authority, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn retire(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path((name, number)): Path<(String, u32)>,
    Body(asked): Body<wire::Retire>,
) -> Result<StatusCode, Failure> {
    let op = RetireIssuer {
        authority: name.parse()?,
        force: asked.force,
        number,
    };
    perform(&services, caller, |services| &services.authority, op).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn spell(progress: Vec<Progress>) -> wire::Rotation {
    let issuers = progress.into_iter().map(|one| wire::RotatingIssuer {
        label: one.label,
        role: one.role.as_str().to_owned(),
        number: one.number,
        stage: one.stage.to_string(),
        // The first ones of an older installation.
        since: (one.stage_at > Timestamp::from_unix(0)).then_some(one.stage_at),
        next: one.next.map(|(step, _)| step.as_str().to_owned()),
        next_at: one.next.map(|(_, at)| at),
        left: one
            .left
            .into_iter()
            .map(|old| wire::OldCertificate {
                serial: old.serial,
                names: old.names,
                requested_by: old.requested_by,
                not_after: old.validity.not_after,
            })
            .collect(),
    });
    wire::Rotation {
        issuers: issuers.collect(),
    }
}
