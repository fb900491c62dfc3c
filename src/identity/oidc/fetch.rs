//! Asking an issuer for its keys: two bounded GETs, discovery and JWKS.
//!
//! SECURITY: an issuer's answer names the second address. HTTPS only, no redirect is followed, no proxy is taken from
//! the environment, link-local addresses (where clouds keep a machine's credentials) and this machine's own are never
//! connected to, and an answer that is too large or too slow is none. `identity.oidc_loopback` allows this machine, and
//! plain HTTP to it, for a try-out.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT, CACHE_CONTROL};
use reqwest::{Client, Response, redirect};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::{Host, Url};

use crate::error::{Error, Result};
use crate::identity::entry::is_loopback;

/// How long one answer may take, connecting included.
const DEADLINE: Duration = Duration::from_secs(5);
/// The largest answer, in bytes.
const LARGEST: usize = 256 * 1024;
/// Where an issuer says what it is (OpenID Connect Discovery 1.0 §4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// The way to one issuer.
pub(super) struct Fetch {
    http: Client,
    issuer: String,
    loopback: bool,
}

/// What an issuer publishes.
pub(super) struct Fetched {
    /// JSON Web Keys, as they are.
    pub(super) keys: Vec<Value>,
    /// For how long it says that they are good.
    pub(super) max_age: Option<Duration>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<Value>,
}

impl Fetch {
    pub(super) fn new(issuer: &str, ca_pem: Option<&str>, loopback: bool) -> Result<Self> {
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|e| Error::internal("tls versions").because(e))?;
        let tls = match ca_pem {
            Some(pem) => builder.with_root_certificates(roots(pem)?),
            None => builder
                .with_platform_verifier()
                .map_err(|e| Error::unavailable(format!("the system's roots cannot be read: {e}")).because(e))?,
        };
        let http = Client::builder()
            .tls_backend_preconfigured(tls.with_no_client_auth())
            .dns_resolver(Arc::new(Outside { loopback }))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .timeout(DEADLINE)
            .tcp_nodelay(true)
            .user_agent(concat!("chancery/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| Error::internal("the HTTP client for an issuer cannot be made").because(e))?;
        Ok(Self {
            http,
            issuer: issuer.to_owned(),
            loopback,
        })
    }

    /// The issuer's keys.
    ///
    /// # Errors
    /// `Unavailable`, with what came instead.
    pub(super) async fn keys(&self) -> Result<Fetched> {
        let discovery = format!("{}{DISCOVERY}", self.issuer.trim_end_matches('/'));
        let (discovered, _): (Discovery, _) = self.get(&discovery).await?;
        // §4.3: else one issuer could speak for another.
        if discovered.issuer != self.issuer {
            return Err(self.failed("its configuration names another issuer"));
        }
        let (set, max_age): (KeySet, _) = self.get(&discovered.jwks_uri).await?;
        Ok(Fetched {
            keys: set.keys,
            max_age,
        })
    }

    async fn get<T: DeserializeOwned>(&self, address: &str) -> Result<(T, Option<Duration>)> {
        let url = check_url(address, self.loopback)
            .map_err(|e| self.failed("the address of its keys is not taken").because(e))?;
        let sent = self.http.get(url).header(ACCEPT, "application/json").send().await;
        let answer = sent.map_err(|e| self.failed("it is not reached").because(e))?;
        if answer.status().is_redirection() {
            return Err(self.failed("it redirects, which is not followed"));
        }
        if !answer.status().is_success() {
            return Err(self.failed(&format!("it answers `{}`", answer.status())));
        }
        let max_age = max_age(&answer);
        let body = self.read(answer).await?;
        let value =
            serde_json::from_slice(&body).map_err(|e| self.failed("its answer is not what it should be").because(e))?;
        Ok((value, max_age))
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>> {
        let mut body = Vec::new();
        while let Some(chunk) = answer
            .chunk()
            .await
            .map_err(|e| self.failed("its answer breaks off").because(e))?
        {
            if body.len() + chunk.len() > LARGEST {
                return Err(self.failed("its answer is too large"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failed(&self, why: &str) -> Error {
        Error::unavailable(format!(
            "the issuer `{}` does not tell its keys: {why}; try again soon, or tell an administrator",
            self.issuer
        ))
    }
}

/// RFC 9111 §5.2.2: what `no-store` and `no-cache` ask for is bounded by who keeps it.
fn max_age(answer: &Response) -> Option<Duration> {
    let said = answer.headers().get_all(CACHE_CONTROL).iter();
    let mut directives = said
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    directives.find_map(|directive| {
        let directive = directive.trim().to_ascii_lowercase();
        match directive.strip_prefix("max-age=") {
            Some(seconds) => seconds.parse().ok().map(Duration::from_secs),
            None => matches!(directive.as_str(), "no-store" | "no-cache").then_some(Duration::ZERO),
        }
    })
}

/// The address, if it may be asked.
///
/// # Errors
/// `Invalid`, with what is wrong.
pub(in crate::identity) fn check_url(text: &str, loopback: bool) -> Result<Url> {
    let wrong = |why: &str| Error::invalid(format!("`{}` cannot be asked: {why}", text.escape_debug()));
    let url = Url::parse(text).map_err(|_| wrong("it is no URL: give https://host/path"))?;
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && loopback && is_loopback(&url));
    if !allowed {
        return Err(wrong("an issuer is asked over https only"));
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        return Err(wrong("leave user, password and fragment out"));
    }
    let literal = match url.host() {
        Some(Host::Ipv4(ip)) => Some(IpAddr::V4(ip)),
        Some(Host::Ipv6(ip)) => Some(IpAddr::V6(ip)),
        Some(Host::Domain(_)) | None => None,
    };
    if literal.is_some_and(|ip| !is_outside(ip, loopback)) {
        return Err(wrong("its address is this machine's own or a special one"));
    }
    Ok(url)
}

/// Roots for an issuer's TLS, from PEM.
///
/// # Errors
/// `Invalid`, if there is none in it or one does not parse.
pub(in crate::identity) fn roots(pem: &str) -> Result<RootCertStore> {
    let wrong = || Error::invalid("the issuer's ca file is not usable: give its roots as PEM certificates");
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        store
            .add(certificate.map_err(|e| wrong().because(e))?)
            .map_err(|e| wrong().because(e))?;
    }
    match store.is_empty() {
        true => Err(wrong()),
        false => Ok(store),
    }
}

/// Whether an address is neither ours nor special. Private networks are where issuers live.
pub(super) fn is_outside(ip: IpAddr, loopback: bool) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(v4) => {
            (loopback || !v4.is_loopback())
                && !v4.is_link_local()
                && !v4.is_multicast()
                && !v4.is_broadcast()
                && v4.octets().first() != Some(&0)
        }
        IpAddr::V6(v6) => {
            (loopback || !v6.is_loopback()) && !v6.is_unicast_link_local() && !v6.is_multicast() && !v6.is_unspecified()
        }
    }
}

/// Resolves names to addresses that may be connected to: judged here, because the same addresses are connected to.
struct Outside {
    loopback: bool,
}

impl Resolve for Outside {
    fn resolve(&self, name: Name) -> Resolving {
        let loopback = self.loopback;
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let outside: Vec<SocketAddr> = found.filter(|found| is_outside(found.ip(), loopback)).collect();
            if outside.is_empty() {
                return Err("no address of it may be connected to".into());
            }
            let addresses: Addrs = Box::new(outside.into_iter());
            Ok(addresses)
        })
    }
}
