//! The listener's own certificate: from our authority, its key in memory only, replaced while it serves.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::House;
use crate::ca::{IssueCertificate, IssueRequest};
use crate::clock::Timestamp;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::key_type::KeyType;
use crate::policy::system;
use crate::x509;
use crate::x509::name::Name;

/// How long after a failure the next try is made.
const RETRY: Duration = Duration::from_secs(60);

/// What the listener shows. It has none until the first [`OwnCertificate::renew`].
#[derive(Debug, Default)]
pub(super) struct OwnCertificate(ArcSwapOption<CertifiedKey>);

impl ResolvesServerCert for OwnCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}

/// What the certificate covers: the zone, what the configuration names, and the address that is listened on.
pub(super) fn names(config: &Config, listen: SocketAddr) -> Vec<Name> {
    let mut names = Vec::new();
    let mut add = |name: Name| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for text in std::iter::once(config.zone.as_str()).chain(config.listen_names.iter().map(String::as_str)) {
        match text.parse::<IpAddr>() {
            Ok(address) => add(Name::Ip(address)),
            Err(_) => match Name::dns(text) {
                Ok(name) => add(name),
                Err(error) => tracing::warn!(%error, "`{text}` cannot stand in the listener's certificate"),
            },
        }
    }
    let address = listen.ip();
    if address.is_loopback() || address.is_unspecified() {
        if let Ok(name) = Name::dns("localhost") {
            add(name);
        }
        add(Name::Ip(IpAddr::from([127, 0, 0, 1])));
    }
    if !address.is_unspecified() {
        add(Name::Ip(address));
    }
    names
}

impl OwnCertificate {
    /// Makes a key, has it certified, and shows it from the next handshake on. Gives the time to do so again: two
    /// thirds through what is left of its life.
    pub(super) async fn renew(&self, house: &House, names: &[Name]) -> Result<Timestamp> {
        let services = &house.services;
        let key = x509::key::generate(KeyType::EcP256)?;
        let caller = Caller::system(system::SERVER, &**services.gate.entropy())?;
        let issue = IssueCertificate {
            authority: services.authority.name().clone(),
            idempotency_key: None,
            request: IssueRequest {
                key: x509::key::public(&key)?,
                names: names.to_vec(),
                profile: "server-tls".parse()?,
                profile_hash: None,
                validity: None,
            },
        };
        let issued = services.gate.perform(&caller, &services.authority, issue).await?;
        let chain = issued.chain.into_iter().map(CertificateDer::from).collect();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.expose().to_vec()));
        let signing = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|e| Error::internal("the listener's key cannot be used").because(e))?;
        self.0.store(Some(Arc::new(CertifiedKey::new(chain, signing))));
        // INVARIANT: later than now, however short a life the profile gives. Counted from `not_before`, which lies back
        // for the sake of slow clocks, it might not be, and certificates would be made without end.
        let now = services.gate.clock().now();
        let left = issued.validity.not_after.since(now);
        Ok(now + (left * 2 / 3).max(Duration::from_secs(1)))
    }
}

/// Renews the certificate before it ends, and when another issuer signs, for as long as the service runs.
pub(super) async fn keep_fresh(own: Arc<OwnCertificate>, house: House, names: Vec<Name>, first: Timestamp) {
    let clock = house.services.gate.clock().clone();
    let mut signs = house.services.authority.signs();
    signs.mark_unchanged();
    let mut at = first;
    loop {
        tokio::select! {
            () = clock.sleep_until(at) => {}
            Ok(()) = signs.changed() => {}
        }
        at = match own.renew(&house, &names).await {
            Ok(next) => next,
            Err(error) => {
                tracing::error!(error = %error.detail(), "the listener's certificate could not be renewed");
                clock.now() + RETRY
            }
        };
    }
}
