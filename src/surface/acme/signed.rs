//! Requests that are signed: the body is read, the door asked, the handler run to its end.

use std::future::Future;

use axum::extract::{Extension, Request};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};

use super::urls::Urls;
use crate::acme::{Asked, Expected, LARGEST, Problem, Signed};
use crate::error::{Error, Result};
use crate::surface::frame::{Failure, RequestId};
use crate::surface::{Peer, Shared};

/// A route for requests that `expected` have signed.
pub(super) fn signed<H, F>(expected: Expected, handler: H) -> MethodRouter<Shared>
where
    H: Fn(Urls, Signed) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response>> + Send + 'static,
{
    let route = move |urls: Urls,
                      Extension(peer): Extension<Peer>,
                      Extension(RequestId(id)): Extension<RequestId>,
                      request: Request| {
        let handler = handler.clone();
        async move {
            // CRASH: a handler is dropped when its connection ends; what it has begun must come to its end.
            let answer = tokio::spawn(async move {
                let asked = Asked {
                    body: body(request).await?,
                    url: urls.requested.clone(),
                    accounts: urls.accounts(),
                    source: peer.addr,
                    request: id,
                };
                let signed = urls.acme.admit(asked, expected).await?;
                handler(urls, signed).await
            })
            .await;
            match answer {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => Failure::from(error).into_response(),
                Err(error) => {
                    Failure::from(Error::internal("a request ended by a fault of ours").because(error)).into_response()
                }
            }
        }
    };
    routing::post(route)
}

async fn body(request: Request) -> Result<Vec<u8>> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/jose+json") {
        return Err(
            Problem::malformed("the body is not `application/jose+json`: say so in `content-type`")
                .status(415)
                .into(),
        );
    }
    match axum::body::to_bytes(request.into_body(), LARGEST).await {
        Ok(bytes) => Ok(bytes.to_vec()),
        Err(_) => {
            let text = format!("the body cannot be read whole: send at most {LARGEST} bytes");
            Err(Problem::malformed(text).status(413).into())
        }
    }
}
