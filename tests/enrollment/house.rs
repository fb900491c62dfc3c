//! One node, and what people do with it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chancery::audit::{self, Log};
use chancery::authz::Authz;
use chancery::ca::{Authority, Keys, TokenKey};
use chancery::clock::{Clock, ManualClock, Timestamp};
use chancery::enrollment::{self, CreateIdentity, CreateJoinToken, Enrolled, Enrollment, bootstrap_token};
use chancery::entropy::{Entropy, OsEntropy};
use chancery::error::{Kind, Result};
use chancery::gate::{Gate, Operation};
use chancery::hsm::{Hsm, KeyRef};
use chancery::id::Id;
use chancery::identity::{self, Caller, Identity, RequestRef};
use chancery::key_type::KeyType;
use chancery::policy::SpiffeId;
use chancery::secret::Secret;
use chancery::store::{self, Store};
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::{csr, key, pem};
use rustls::pki_types::CertificateDer;

use crate::support::softhsm::Token;

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const WEB: &str = "spiffe://chancery.test/web";

/// One node.
pub(crate) struct House {
    pub(crate) authority: Authority,
    pub(crate) authz: Authz,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) enrollment: Enrollment,
    pub(crate) gate: Gate,
    pub(crate) identity: Identity,
    pub(crate) log: Log,
}

fn hierarchy() -> Hierarchy {
    Hierarchy::built_in(Place {
        zone: "chancery.test".to_owned(),
        http: "http://pki.chancery.test".to_owned(),
    })
    .unwrap()
}

async fn token_key(hsm: &Hsm, label: &str, kind: KeyType) -> TokenKey {
    let half = match hsm.find(label).await.unwrap() {
        Some(half) => half,
        None => hsm.generate(label, kind).await.unwrap(),
    };
    TokenKey {
        key: KeyRef {
            label: label.to_owned(),
            kind,
        },
        spki: half.spki_der.unwrap(),
    }
}

pub(crate) fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

pub(crate) fn source() -> SocketAddr {
    "192.0.2.7:4711".parse().unwrap()
}

pub(crate) fn request() -> RequestRef {
    Id::random(&OsEntropy).unwrap().into()
}

pub(crate) fn text(token: Secret) -> String {
    String::from_utf8(token.expose().to_vec()).unwrap()
}

/// A request for whatever name, over a key of its own.
pub(crate) fn csr_of(key: &Secret) -> Vec<u8> {
    csr::create(key, &["spiffe://chancery.test/admin".parse().unwrap()]).unwrap()
}

pub(crate) fn new_key() -> Secret {
    key::generate(KeyType::EcP256).unwrap()
}

#[track_caller]
pub(crate) fn refused<T>(result: Result<T>, kind: Kind, says: &str) {
    let error = result.err().expect("it was allowed");
    assert_eq!(error.kind(), kind, "{error:?}");
    assert!(
        error.public().contains(says),
        "`{}` does not say `{says}`",
        error.public()
    );
}

impl House {
    pub(crate) async fn open(token: &Token, url: &str, name: &str) -> Self {
        let hsm = token.hsm();
        let settings = store::Settings { url: url.to_owned() };
        let store = Store::open(&settings, &name.parse().unwrap()).await.unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp::from_unix(1_800_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(OsEntropy);
        let authz = Authz::open(store.clone(), clock.clone()).await.unwrap();
        let log = Log::open(
            &audit::Settings {
                journal: Some(token.dir().join(format!("audit-{name}"))),
                ..audit::Settings::default()
            },
            &format!("chancery.test/audit/{name}"),
            &store,
            hsm.clone(),
            token_key(&hsm, "audit", KeyType::Ed25519).await.key,
            clock.clone(),
        )
        .await
        .unwrap();
        let gate = Gate::new(authz.clone(), log.clone(), store.clone(), clock.clone(), entropy);
        let judging = identity::Settings {
            oidc_loopback: true,
            ..identity::Settings::default()
        };
        let identity = Identity::configured("chancery.test".parse().unwrap(), store.clone(), judging);
        let (root, issuing) = Keys::labels(&hierarchy());
        let keys = Keys {
            root: token_key(&hsm, &root, KeyType::EcP256).await,
            issuing: token_key(&hsm, &issuing, KeyType::EcP256).await,
            ocsp: token_key(&hsm, &Keys::ocsp_label(&hierarchy()), KeyType::EcP256).await,
        };
        let profiles = chancery::ca::Settings::default().profiles().unwrap();
        let authority = Authority::open(gate.clone(), hsm, identity.clone(), hierarchy(), profiles, keys)
            .await
            .unwrap();
        let enrollment = Enrollment::new(identity.clone(), authz.clone(), authority.clone()).unwrap();
        Self {
            authority,
            authz,
            clock,
            enrollment,
            gate,
            identity,
            log,
        }
    }

    pub(crate) async fn redeem(&self, token: &str, key: &Secret) -> Result<Enrolled> {
        enrollment::redeem(&self.gate, &self.enrollment, source(), request(), token, &csr_of(key)).await
    }

    /// Who the holder of this certificate is, to the next request.
    pub(crate) async fn show(&self, enrolled: &Enrolled) -> Result<Caller> {
        let chain: Vec<CertificateDer<'_>> = pem::decode_all("CERTIFICATE", &enrolled.chain_pem)
            .unwrap()
            .into_iter()
            .map(CertificateDer::from)
            .collect();
        self.identity
            .authenticate(&chain, source(), request(), self.clock.now())
            .await
    }

    /// Lets time pass, as it does for a log that is signed meanwhile.
    pub(crate) async fn wait(&self, by: Duration) {
        self.log.sign_now().await.unwrap();
        self.clock.advance(by);
    }

    /// The first administrator, enrolled.
    pub(crate) async fn administrator(&self) -> Caller {
        let token = bootstrap_token(&self.gate, &self.enrollment).await.unwrap().unwrap();
        let enrolled = self.redeem(&text(token.token), &new_key()).await.unwrap();
        self.show(&enrolled).await.unwrap()
    }

    pub(crate) async fn enrol_as<O: Operation<Engine = Enrollment>>(
        &self,
        caller: &Caller,
        op: O,
    ) -> Result<O::Output> {
        self.gate.perform(caller, &self.enrollment, op).await
    }

    pub(crate) async fn access_as<O: Operation<Engine = Authz>>(&self, caller: &Caller, op: O) -> Result<O::Output> {
        self.gate.perform(caller, &self.authz, op).await
    }

    /// A join token for `web`, which is registered first.
    pub(crate) async fn web_token(&self, admin: &Caller) -> String {
        let made = self
            .enrol_as(admin, CreateIdentity::by_token(id(WEB), Some(HOUR)))
            .await;
        if let Err(e) = made {
            assert_eq!(e.kind(), Kind::Conflict, "{e:?}");
        }
        let token = CreateJoinToken {
            id: id(WEB),
            life: None,
        };
        text(self.enrol_as(admin, token).await.unwrap().token)
    }

    /// The log's records of an action, parsed.
    pub(crate) async fn records(&self, action: &str) -> Vec<serde_json::Value> {
        let mut found = Vec::new();
        let mut from = 0;
        loop {
            let entries = self.log.entries(from, 1_000).await.unwrap();
            if entries.records.is_empty() {
                return found;
            }
            for entry in &entries.records {
                from += 1;
                let record: serde_json::Value = serde_json::from_slice(entry).unwrap();
                if record["action"] == action {
                    found.push(record);
                }
            }
        }
    }
}
