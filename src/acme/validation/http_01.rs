//! http-01 (RFC 8555 §8.3): the key authorization at a well-known path, redirects followed.
//!
//! A redirect may lead to `https`; the certificate shown there is not verified: a server that has none yet, or an old
//! one, must be able to get its next. What is proven is that whoever answers at the name on port 80 chose the target.

use std::convert::Infallible;
use std::error::Error as _;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONNECTION, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use url::{Host, Position, Url};

use super::reach::host_of;
use super::{Failure, FailureKind, Question, Settings, Validator, excerpt, unverified};

/// As Boulder's and Go's bound.
const MOST_REDIRECTS: usize = 10;
const LONGEST_TARGET: usize = 2000;
/// A key authorization is under 200 bytes; the rest is for what some servers append.
const LARGEST_BODY: usize = 4096;
/// Status line and header together.
const LARGEST_HEAD: usize = 16 * 1024;
const OUR_NAME: &str = concat!("chancery-validation/", env!("CARGO_PKG_VERSION"));

pub(super) async fn validate(validator: &Validator, question: &Question<'_>, deadline: Instant) -> Result<(), Failure> {
    let wanted = question.key_authorization();
    let (body, from) = fetch(validator, question, deadline).await?;
    // RFC 8555 §8.3: whitespace at the end is ignored.
    if body.trim_ascii_end() == wanted.as_bytes() {
        return Ok(());
    }
    Err(Failure::new(
        FailureKind::IncorrectResponse,
        format!(
            "{from} answered `{}`, where the key authorization `{wanted}` should be",
            excerpt(&body)
        ),
    ))
}

/// The body at the well-known path, and who answered.
async fn fetch(
    validator: &Validator,
    question: &Question<'_>,
    deadline: Instant,
) -> Result<(Vec<u8>, String), Failure> {
    let host = host_of(question.identifier);
    let port = validator.settings.http01_port;
    let first = format!("http://{host}:{port}/.well-known/acme-challenge/{}", question.token);
    let mut url =
        Url::parse(&first).map_err(|e| Failure::new(FailureKind::Malformed, format!("`{first}` is no URL: {e}")))?;
    for _ in 0..=MOST_REDIRECTS {
        let from;
        (url, from) = match get(validator, &url, deadline).await? {
            (Answer::Body(body), from) => return Ok((body, from)),
            (Answer::Elsewhere(location), from) => (target(&url, &location, &validator.settings, &from)?, from),
        };
        tracing::debug!(%url, "{from} redirects");
    }
    Err(Failure::new(
        FailureKind::Connection,
        format!(
            "`{first}` was redirected more than {MOST_REDIRECTS} times, in the end to `{}`",
            excerpt(url.as_str().as_bytes())
        ),
    ))
}

enum Answer {
    Body(Vec<u8>),
    Elsewhere(HeaderValue),
}

/// One request.
async fn get(validator: &Validator, url: &Url, deadline: Instant) -> Result<(Answer, String), Failure> {
    let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
        return Err(Failure::new(
            FailureKind::Connection,
            "a URL without a host cannot be fetched",
        ));
    };
    let host = host.to_owned();
    let (stream, at) = validator.reach.connect(&host, port, deadline).await?;
    let from = format!("`{}` ({at})", excerpt(url.as_str().as_bytes()));
    let exchange = async {
        if url.scheme() == "https" {
            let name = server_name(&host)
                .ok_or_else(|| Failure::new(FailureKind::Tls, format!("{from} cannot be asked for by name")))?;
            let (config, _) = unverified::config(b"http/1.1")?;
            let tls = TlsConnector::from(config)
                .connect(name, stream)
                .await
                .map_err(|e| Failure::new(FailureKind::Tls, format!("the TLS handshake with {from} failed: {e}")))?;
            exchange(tls, url, &from).await
        } else {
            exchange(stream, url, &from).await
        }
    };
    match timeout_at(deadline, exchange).await {
        Ok(answer) => Ok((answer?, from)),
        Err(_) => Err(Failure::new(
            FailureKind::Connection,
            format!(
                "{from} did not answer in full within {} s, look-ups and redirects included",
                validator.settings.timeout_s
            ),
        )),
    }
}

fn server_name(host: &Host<String>) -> Option<ServerName<'static>> {
    match host {
        Host::Domain(name) => ServerName::try_from(name.clone()).ok(),
        Host::Ipv4(v4) => Some(std::net::IpAddr::V4(*v4).into()),
        Host::Ipv6(v6) => Some(std::net::IpAddr::V6(*v6).into()),
    }
}

async fn exchange<S>(stream: S, url: &Url, from: &str) -> Result<Answer, Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |e: hyper::Error| {
        Failure::new(
            FailureKind::Connection,
            format!(
                "{from} did not answer in HTTP/1.1: {}",
                excerpt(cause_of(&e).as_bytes())
            ),
        )
    };
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(LARGEST_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let answer = async {
        let response = sender.send_request(request(url)?).await.map_err(broken)?;
        read(response, from).await
    };
    // The connection must be driven while we wait; with the answer, or without one in time, it is dropped.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    tokio::select! {
        answer = answer => answer,
        never = driven => match never {},
    }
}

fn request(url: &Url) -> Result<Request<Empty<Bytes>>, Failure> {
    // RFC 8738 §5: the Host of an address is its literal; a port of ours stands behind it as HTTP demands.
    let host = match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{host}:{port}"),
        (host, _) => host.unwrap_or_default().to_owned(),
    };
    Request::get(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, host)
        .header(USER_AGENT, OUR_NAME)
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|e| {
            Failure::new(
                FailureKind::Connection,
                format!("`{}` cannot be asked for: {e}", excerpt(url.as_str().as_bytes())),
            )
        })
}

async fn read(response: Response<Incoming>, from: &str) -> Result<Answer, Failure> {
    let incorrect = |why: String| Failure::new(FailureKind::IncorrectResponse, format!("{from} answered {why}"));
    let (parts, mut body) = response.into_parts();
    match parts.status {
        StatusCode::OK => {}
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => {
            return match parts.headers.get(LOCATION) {
                Some(location) => Ok(Answer::Elsewhere(location.clone())),
                None => Err(incorrect(format!(
                    "with status {} but without a Location",
                    parts.status.as_u16()
                ))),
            };
        }
        other => {
            return Err(incorrect(format!(
                "with status {}, where 200 is needed",
                other.as_u16()
            )));
        }
    }
    let mut read = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| {
            Failure::new(
                FailureKind::Connection,
                format!(
                    "{from} broke off after {} bytes of its answer: {}",
                    read.len(),
                    cause_of(&e)
                ),
            )
        })?;
        if let Some(data) = frame.data_ref() {
            read.extend_from_slice(data.get(..LARGEST_BODY + 1).unwrap_or(data));
        }
        if read.len() > LARGEST_BODY {
            return Err(incorrect(format!(
                "more than {LARGEST_BODY} bytes, beginning with `{}`, where a key authorization alone should be",
                excerpt(&read)
            )));
        }
    }
    Ok(Answer::Body(read))
}

/// Where a redirect leads, if it may lead there.
fn target(from: &Url, location: &HeaderValue, settings: &Settings, who: &str) -> Result<Url, Failure> {
    let refuse = |why: &str| {
        Failure::new(
            FailureKind::Connection,
            format!("{who} redirects to `{}`, {why}", excerpt(location.as_bytes())),
        )
    };
    let text = location.to_str().map_err(|_| refuse("which is not printable ASCII"))?;
    if text.len() > LONGEST_TARGET {
        return Err(refuse(&format!("which is longer than {LONGEST_TARGET} bytes")));
    }
    let mut url = from.join(text).map_err(|e| refuse(&format!("which is no URL: {e}")))?;
    let own_port = match url.scheme() {
        "http" => settings.http01_port,
        "https" => settings.https_port,
        _ => return Err(refuse("but only http and https are followed")),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse("which holds a user name or password; leave them out"));
    }
    match url.port() {
        Some(port) if port != settings.http01_port && port != settings.https_port => {
            return Err(refuse(&format!(
                "but only ports {} and {} are followed",
                settings.http01_port, settings.https_port
            )));
        }
        Some(_) => {}
        None => url.set_port(Some(own_port)).map_err(|()| refuse("which has no host"))?,
    }
    url.set_fragment(None);
    Ok(url)
}

/// What is behind an error of the HTTP library, which names only its own part.
fn cause_of(error: &hyper::Error) -> String {
    error
        .source()
        .map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}
