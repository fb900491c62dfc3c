//! The client of the native API, for the command line and the agent.
//!
//! Holds the connection (own TLS configuration, time-outs, certificates that reload) and one method per path of
//! [`crate::wire`], in `api`, `keys`, `secrets` and
//! `vaults`. It must never import a room of the server, decide what the server decides, or print. A
//! new path gets a method in `api`; a new way to fail gets a kind in `error`.

mod api;
mod audit;
mod backup;
mod error;
mod keys;
pub mod pinned;
mod roles;
mod secrets;
mod served;
mod tls;
mod vaults;

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Bytes;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderValue, IF_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use backup::Incoming;
pub use error::{Error, Kind, Result};
pub use served::served_chain;

use crate::wire::{PROBLEM_JSON, Page, PageQuery, Problem, REQUEST_ID, TRACEPARENT};

/// How long a TCP and TLS handshake may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take, answer included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Where the service is and who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `https://host:port`, without a path.
    pub address: String,
    /// Roots to trust for the service, PEM. The system's roots are never asked.
    pub roots: PathBuf,
    /// The caller's certificate and key; without them only public paths and the first enrolment work.
    pub identity: Option<IdentityFiles>,
}

/// The caller's certificate chain and private key, as files that may be replaced at any time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The chain, PEM, leaf first.
    pub certificate: PathBuf,
    /// The private key, PEM.
    pub key: PathBuf,
}

/// A connection to the service. Files that change on disk are used from the next request on.
pub struct Client {
    settings: Settings,
    base: Url,
    traceparent: Option<HeaderValue>,
    live: Mutex<Live>,
}

/// What was built from the files as they were.
struct Live {
    stamp: tls::Stamp,
    http: reqwest::Client,
}

impl Client {
    /// Reads the files; connects on first use.
    ///
    /// # Errors
    /// [`Kind::Local`] if the address is no `https` URL or a file is missing or not what it should be.
    pub fn new(settings: Settings) -> Result<Self> {
        let base = Url::parse(&settings.address)
            .ok()
            .filter(|url| url.scheme() == "https" && url.has_host() && matches!(url.path(), "/" | ""))
            .ok_or_else(|| {
                Error::local(format!(
                    "`{}` is not the address of a service: give https://host:port by --addr or CHANCERY_ADDR",
                    settings.address.escape_debug()
                ))
            })?;
        let live = Live::build(&settings, &base)?;
        Ok(Self {
            settings,
            base,
            traceparent: None,
            live: Mutex::new(live),
        })
    }

    /// Sends `traceparent` (W3C Trace Context) with every request from now on, so that the service's log and audit records
    /// name the trace. What cannot stand in a header is passed over.
    #[must_use]
    pub fn in_trace(mut self, traceparent: Option<&str>) -> Self {
        self.traceparent = traceparent.and_then(|given| HeaderValue::from_str(given).ok());
        self
    }

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.settings.address
    }

    /// The HTTP client for the files as they are now.
    fn http(&self) -> reqwest::Client {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if tls::Stamp::of(&self.settings) != live.stamp {
            // A new pool: connections that were made with the old certificate are not used again.
            match Live::build(&self.settings, &self.base) {
                Ok(fresh) => *live = fresh,
                // A writer may be half-way; the next request looks again.
                Err(error) => tracing::warn!("the changed certificate files are not used: {error}"),
            }
        }
        live.http.clone()
    }

    /// Sends one request; the answer has a success status.
    async fn send<Q: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        query: &Q,
        body: Option<Zeroizing<Vec<u8>>>,
    ) -> Result<Response> {
        let mut request = self.request(method, path).query(query);
        if let Some(body) = body {
            request = with_body(request, body);
        }
        self.exchange(request).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.base.clone();
        url.set_path(path);
        let request = self
            .http()
            .request(method, url)
            .header(ACCEPT, format!("application/json, {PROBLEM_JSON}, */*;q=0.1"));
        match &self.traceparent {
            Some(traceparent) => request.header(TRACEPARENT, traceparent),
            None => request,
        }
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<Response> {
        let answer = request.send().await.map_err(|e| self.unreachable(e))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.refused(answer).await)
    }

    /// The error that a failed exchange means.
    fn unreachable(&self, error: reqwest::Error) -> Error {
        error::unreachable(&self.settings, error)
    }

    /// The error that an answer without success means.
    async fn refused(&self, answer: Response) -> Error {
        let status = answer.status();
        let request_id = request_id(&answer);
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let problem = match answer.bytes().await {
            Ok(body) => serde_json::from_slice::<Problem>(&body).ok(),
            Err(error) => return self.unreachable(error),
        };
        match problem {
            Some(problem) => error::from_problem(problem, retry_after),
            None => self.foreign(status, request_id),
        }
    }

    /// A failure that is not told as a problem document: something else than the service answers.
    fn foreign(&self, status: StatusCode, request_id: Option<String>) -> Error {
        Error::new(
            Kind::Protocol,
            format!(
                "`{}` answered `{status}` without saying why: check that the address is a Chancery service's",
                self.settings.address
            ),
        )
        .answered(Some(status.as_u16()), request_id)
    }

    async fn json<T: DeserializeOwned>(&self, answer: Response) -> Result<T> {
        let (status, request_id) = (answer.status().as_u16(), request_id(&answer));
        let body = answer.bytes().await.map_err(|e| self.unreachable(e))?;
        serde_json::from_slice(&body).map_err(|e| {
            // SECURITY: serde's text may quote a value of the answer, so only the place is told.
            Error::new(
                Kind::Protocol,
                format!(
                    "the answer of `{}` is not understood (line {}, column {}): client and service may differ in version",
                    self.settings.address,
                    e.line(),
                    e.column()
                ),
            )
            .answered(Some(status), request_id)
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &(impl Serialize + Sync)) -> Result<T> {
        let answer = self.send(Method::GET, path, query, None).await?;
        self.json(answer).await
    }

    async fn get_text(&self, path: &str, query: &(impl Serialize + Sync)) -> Result<String> {
        let answer = self.send(Method::GET, path, query, None).await?;
        answer.text().await.map_err(|e| self.unreachable(e))
    }

    async fn change<T: DeserializeOwned>(&self, method: Method, path: &str, body: &impl Serialize) -> Result<T> {
        let body = to_json(body)?;
        let answer = self.send(method, path, &[(); 0], Some(body)).await?;
        self.json(answer).await
    }

    /// The same, with `revision` only if the object is at that one.
    async fn change_if<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        revision: Option<u64>,
    ) -> Result<T> {
        let mut request = self.request(method, path);
        if let Some(revision) = revision {
            request = request.header(IF_MATCH, format!("\"{revision}\""));
        }
        let answer = self.exchange(with_body(request, to_json(body)?)).await?;
        self.json(answer).await
    }

    async fn act<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T> {
        let answer = self.send(method, path, &[(); 0], None).await?;
        self.json(answer).await
    }

    /// Follows a list's cursor to its end, or until `most` items.
    async fn all<T: DeserializeOwned>(&self, path: &str, most: Option<usize>) -> Result<Vec<T>> {
        self.all_where(path, &[(); 0], most).await
    }

    /// The same of a list that is narrowed by `filter`.
    async fn all_where<T: DeserializeOwned>(
        &self,
        path: &str,
        filter: &(impl Serialize + Sync),
        most: Option<usize>,
    ) -> Result<Vec<T>> {
        let mut items: Vec<T> = Vec::new();
        let mut query = PageQuery::default();
        loop {
            let left = most.map(|most| most.saturating_sub(items.len()));
            query.limit = left.and_then(|left| u32::try_from(left).ok());
            let request = self.request(Method::GET, path).query(filter).query(&query);
            let page: Page<T> = self.json(self.exchange(request).await?).await?;
            items.extend(page.items.into_iter().take(left.unwrap_or(usize::MAX)));
            if page.next.is_none() || most.is_some_and(|most| items.len() >= most) {
                return Ok(items);
            }
            if page.next == query.cursor {
                return Err(Error::new(
                    Kind::Protocol,
                    "the list does not go on: its cursor repeats",
                ));
            }
            query.cursor = page.next;
        }
    }
}

impl Live {
    fn build(settings: &Settings, base: &Url) -> Result<Self> {
        // The stamp is taken first: a change while the files are read is seen at the next request.
        let stamp = tls::Stamp::of(settings);
        let mut http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls::configuration(settings)?)
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(REQUEST_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")));
        if is_loopback(base) {
            http = http.no_proxy();
        }
        let http = http
            .build()
            .map_err(|e| Error::local("the HTTP client cannot be made").because(e))?;
        Ok(Self { stamp, http })
    }
}

fn with_body(request: RequestBuilder, body: Zeroizing<Vec<u8>>) -> RequestBuilder {
    request
        .header(CONTENT_TYPE, "application/json")
        .body(Bytes::from_owner(body))
}

/// Whether the address is this machine, which no proxy can reach for us.
fn is_loopback(base: &Url) -> bool {
    base.host_str().is_some_and(|host| {
        host == "localhost"
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

fn request_id(answer: &Response) -> Option<String> {
    Some(answer.headers().get(REQUEST_ID)?.to_str().ok()?.to_owned())
}

/// SECURITY: the body may hold a secret's value or a join token; the buffer is wiped once it is sent.
fn to_json(body: &impl Serialize) -> Result<Zeroizing<Vec<u8>>> {
    let mut json = Zeroizing::new(Vec::with_capacity(1024));
    serde_json::to_writer(&mut *json, body).map_err(|e| Error::local("the request cannot be written").because(e))?;
    Ok(json)
}
