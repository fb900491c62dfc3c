//! All rooms of one node, opened in the order of their floors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::acme::Acme;
use crate::audit::Log;
use crate::authz::Authz;
use crate::backup::Backups;
use crate::ca::{Authority, Keys};
use crate::clock::Clock;
use crate::config::Config;
use crate::custody;
use crate::enrollment::Enrollment;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::gate::Gate;
use crate::hsm::{self, Hsm, HsmError, KeyRef};
use crate::identity::Identity;
use crate::key_type::KeyType;
use crate::lifecycle::Lifecycle;
use crate::seal::Sealer;
use crate::store::Store;
use crate::surface::Services;
use crate::surface::metrics::Metrics;
use crate::upstream::Upstream;
use crate::vault::{Rotators, Vault};

/// How often a token is looked for at the start, and the pause between two looks.
const TOKEN_LOOKS: u32 = 4;
const TOKEN_PAUSE: Duration = Duration::from_millis(300);
/// The audit key's label in the token.
const AUDIT_KEY: &str = "audit-1";
/// The first key-encryption key's.
const KEK: &str = "kek-1";

/// The rooms of one node. Cheap to clone.
#[derive(Clone)]
pub struct House {
    /// What surfaces may reach.
    pub services: Arc<Services>,
    hsm: Hsm,
}

impl House {
    /// Opens token, store, log, gate and every room over them; closes what a crash left open. `http` is where the
    /// plain-HTTP listener will be, for what certificates say of it.
    ///
    /// # Errors
    /// What keeps the service from starting, with what to do about it.
    pub async fn open(
        config: &Config,
        http: SocketAddr,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        let hierarchy = config.ca.hierarchy(config.place(http))?;
        let profiles = config.ca.profiles()?;
        let known_keys = config.ca.known_keys()?;
        let policies = config.policy.files()?;

        let hsm = open_token(&config.hsm, &*clock).await?;
        let store = Store::open(&config.store, &config.node).await?;
        let key = |label: String, kind| {
            let (store, hsm, clock) = (&store, &hsm, &clock);
            async move { custody::ensure(store, hsm, &label, kind, &**clock).await }
        };
        let audit_key = key(AUDIT_KEY.to_owned(), KeyType::Ed25519).await?;
        let origin = format!("{}/audit/{}", config.zone, config.node);
        let log = Log::open(
            &config.audit,
            &origin,
            &store,
            hsm.clone(),
            audit_key.key,
            clock.clone(),
        )
        .await?;

        let authz = Authz::open_with(store.clone(), clock.clone(), &policies).await?;
        let gate = Gate::new(
            authz.clone(),
            log.clone(),
            store.clone(),
            clock.clone(),
            entropy.clone(),
        );
        config.identity.check()?;
        let identity = Identity::configured(config.zone.clone(), store.clone(), config.identity);
        let kek = KeyRef {
            label: KEK.to_owned(),
            kind: KeyType::Aes256,
        };
        let sealer = Sealer::new(store.clone(), hsm.clone(), kek, entropy.clone(), clock.clone());
        // A retired one may be gone from the token.
        let first = sealer.keks().await?.into_iter().next();
        if first.is_none_or(|kek| kek.stage.opens()) {
            key(KEK.to_owned(), KeyType::Aes256).await?;
        }
        let vault = Vault::new(
            &config.vault,
            store.clone(),
            sealer.clone(),
            hsm.clone(),
            clock.clone(),
            entropy.clone(),
        )
        .with_rotators(Rotators::configured(&config.rotator)?);
        vault.check_keks(&gate, &config.vault.adopt_keks).await?;

        let (root, issuing) = Keys::labels(&hierarchy);
        let keys = Keys {
            issuing: signing(key(issuing, hierarchy.issuing().key_type()).await?)?,
            root: signing(key(root, hierarchy.root().key_type()).await?)?,
            ocsp: signing(key(Keys::ocsp_label(&hierarchy), KeyType::EcP256).await?)?,
        };
        let authority = Authority::open(gate.clone(), hsm.clone(), identity.clone(), hierarchy, profiles, keys).await?;
        authority.limit(config.ca.limits);
        authority.refuse(known_keys);
        let acme = match &config.acme {
            Some(settings) => {
                let own = [Some(config.listen), Some(http), config.metrics];
                let own = own.into_iter().flatten().collect();
                Some(
                    Acme::open(
                        settings,
                        gate.clone(),
                        authority.clone(),
                        identity.clone(),
                        &sealer,
                        own,
                    )
                    .await?,
                )
            }
            None => None,
        };
        if let Err(error) = vault.check_token().await {
            tracing::error!("keys in the token cannot be used: {}", error.detail());
        }
        let backups = Backups::new(store.clone(), log.clone(), sealer.clone(), config.zone.to_string());
        let upstream = Arc::new(Upstream::new(store.clone(), sealer.clone(), clock.clone()));
        let lifecycle = Arc::new(Lifecycle::new(
            &config.lifecycle,
            store.clone(),
            sealer,
            upstream.clone(),
            clock,
            entropy,
        ));
        let enrollment = Enrollment::new(identity.clone(), authz.clone(), authority.clone())?;
        // CRASH: whatever was begun before the last end has its outcome before anything new is begun.
        gate.close_intents(&[&authority]).await?;

        Ok(Self {
            services: Arc::new(Services {
                acme,
                backups,
                authority,
                authz,
                enrollment,
                gate,
                identity,
                lifecycle,
                log,
                metrics: Metrics::new(Registry::default()),
                upstream,
                vault,
            }),
            hsm,
        })
    }

    /// How many signatures the token was asked for.
    pub fn signatures(&self) -> u64 {
        self.hsm.calls()
    }

    /// Signs the log's last checkpoint and gives the token back.
    ///
    /// # Errors
    /// The log's, if records could not be made durable.
    pub async fn close(self) -> Result<()> {
        let closed = self.services.log.close().await;
        let hsm = self.hsm.clone();
        drop(self);
        // Joining the workers blocks.
        tokio::task::spawn_blocking(move || hsm.close())
            .await
            .map_err(|e| Error::internal("the token could not be closed").because(e))?;
        closed
    }
}

fn signing(key: custody::TokenKey) -> Result<crate::ca::TokenKey> {
    let spki = key
        .spki_der
        .ok_or_else(|| Error::internal("a signing key has no public half"))?;
    Ok(crate::ca::TokenKey { key: key.key, spki })
}

/// A token that another node is just writing to may not show itself to one that starts: look again before giving up.
async fn open_token(settings: &hsm::Settings, clock: &dyn Clock) -> Result<Hsm> {
    for _ in 1..TOKEN_LOOKS {
        match Hsm::open(settings) {
            Err(HsmError::NoToken(_)) => clock.sleep(TOKEN_PAUSE).await,
            opened => return Ok(opened?),
        }
    }
    Ok(Hsm::open(settings)?)
}
