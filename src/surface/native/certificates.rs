//! `/api/vaults/{vault}/certificates`: certificate objects.

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::body::{Body, InQuery, NoBody};
use super::{Answer, Created, object};
use crate::identity::Caller;
use crate::lifecycle::{
    CreateCertificate, DownloadCertificate, ListCertificates, RenewCertificate, RevokeCertificate, ShowCertificate,
};
use crate::surface::frame::Failure;
use crate::surface::{Shared, perform};
use crate::wire::{self, Page, PageQuery};

/// The media type of a chain (RFC 8555 §9.1).
const PEM_CHAIN: &str = "application/pem-certificate-chain";

pub(super) async fn create(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    Body(spec): Body<wire::CreateCertificate>,
) -> Created<wire::Certificate> {
    let op = CreateCertificate {
        vault: vault.parse()?,
        spec,
    };
    let made = perform(&services, caller, |services| &services.lifecycle, op).await?;
    Ok((StatusCode::ACCEPTED, Json(made)))
}

pub(super) async fn list(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(vault): Path<String>,
    InQuery(page): InQuery<PageQuery>,
) -> Answer<Page<wire::Certificate>> {
    let op = ListCertificates {
        vault: vault.parse()?,
        page,
    };
    Ok(Json(
        perform(&services, caller, |services| &services.lifecycle, op).await?,
    ))
}

pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Answer<wire::Certificate> {
    let (vault, name) = object(&path)?;
    let op = ShowCertificate { vault, name };
    Ok(Json(
        perform(&services, caller, |services| &services.lifecycle, op).await?,
    ))
}

pub(super) async fn chain(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Failure> {
    let (vault, name) = object(&path)?;
    let op = DownloadCertificate { vault, name };
    let pem = perform(&services, caller, |services| &services.lifecycle, op).await?;
    Ok(([(header::CONTENT_TYPE, PEM_CHAIN)], pem).into_response())
}

pub(super) async fn renew(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    _: NoBody,
) -> Created<wire::Renewal> {
    let (vault, name) = object(&path)?;
    let op = RenewCertificate { vault, name };
    let renewal = perform(&services, caller, |services| &services.lifecycle, op).await?;
    Ok((StatusCode::ACCEPTED, Json(renewal)))
}

pub(super) async fn revoke(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
    Path(path): Path<(String, String)>,
    Body(asked): Body<wire::Revoke>,
) -> Answer<wire::Certificate> {
    let (vault, name) = object(&path)?;
    let op = RevokeCertificate {
        vault,
        name,
        reason: asked.reason,
    };
    Ok(Json(
        perform(&services, caller, |services| &services.lifecycle, op).await?,
    ))
}
