//! The page that a refusal for a limit leads to (RFC 8555 §6.6): for people, by plain HTTP, so that it is read without
//! trusting us first.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::acme::Settings;
use crate::error::Error;
use crate::surface::Shared;
use crate::surface::frame::Failure;

/// The page of the limits.
pub(in crate::surface) const LIMITS: &str = "/acme/limits";

/// Which limits there are, and when to try again.
pub(in crate::surface) async fn limits(State(services): State<Shared>) -> Result<Response, Failure> {
    let Some(acme) = &services.acme else {
        return Err(Error::not_found("this service has no ACME server, and so no limits of one").into());
    };
    let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((kind, page(acme.settings())).into_response())
}

fn page(settings: &Settings) -> String {
    let rules = settings.limits.all().map(|(setting, what, rule)| {
        let much = match rule.count {
            0 => "no limit".to_owned(),
            count => format!("{count} within {} s", rule.per_s),
        };
        format!("  {what}:\n    {much}   ({setting})\n")
    });
    format!(
        "How much a client of this ACME server may ask for\n\n\
         Whoever asks for more is refused with `rateLimited` and status 429. The answer says by `Retry-After` in how\n\
         many seconds the same request is granted, and by its text which of these settings refused it:\n\n\
         {}\n\
         All of a limit may come at once; then it comes back evenly. A refused request counts for nothing. If a limit\n\
         keeps you from your work, ask an administrator of the service to raise the setting.\n",
        rules.concat()
    )
}
