//! What is public by nature: health, and what others need to trust and validate us. Nobody is asked who they are, and
//! nothing here may cost more than a look into memory or one indexed query.

use axum::Json;
use axum::extract::State;
use axum::http::Method;
use axum::response::IntoResponse;
use serde_json::json;

use super::frame::Failure;
use super::{Mounts, Shared};

/// On the TLS listener.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    mounts
        .ungated(Method::GET, "/healthz", healthz)
        .ungated(Method::GET, "/readyz", readyz)
        .ungated(Method::GET, "/version", version)
}

/// The process runs and answers.
async fn healthz() -> &'static str {
    "ok\n"
}

/// This node can do its work: records become durable and are signed, and the store answers.
async fn readyz(State(services): State<Shared>) -> Result<&'static str, Failure> {
    services.log.health()?;
    services.gate.store().ping().await?;
    Ok("ready\n")
}

async fn version() -> impl IntoResponse {
    Json(json!({ "name": env!("CARGO_PKG_NAME"), "version": env!("CARGO_PKG_VERSION") }))
}
