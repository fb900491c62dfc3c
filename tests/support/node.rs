//! The rooms of one node over a real token and a real store, without listeners: what a test of a room or a surface
//! stands on. The clock is the test's to move.

use std::sync::Arc;
use std::time::Duration;

use chancery::audit::{self, Log};
use chancery::authz::Authz;
use chancery::clock::{ManualClock, Timestamp};
use chancery::entropy::{Entropy, OsEntropy};
use chancery::error::Kind;
use chancery::gate::Gate;
use chancery::hsm::{Hsm, KeyRef, Settings as HsmSettings};
use chancery::id::Id;
use chancery::identity::Caller;
use chancery::key_type::KeyType;
use chancery::policy::{Assignment, Principal, Role, Scope, Who};
use chancery::seal::Sealer;
use chancery::store::{Settings as StoreSettings, Store};

use super::softhsm::Token;

/// When a node's clock starts.
pub const START: Timestamp = Timestamp::from_unix(1_800_000_000);

/// One node.
pub struct Node {
    pub hsm: Hsm,
    pub store: Store,
    pub clock: Arc<ManualClock>,
    pub entropy: Arc<dyn Entropy>,
    pub authz: Authz,
    pub log: Log,
    pub gate: Gate,
    pub sealer: Sealer,
}

fn key(label: &str, kind: KeyType) -> KeyRef {
    KeyRef {
        label: label.to_owned(),
        kind,
    }
}

/// A caller of this path in the trust domain, as if it had shown a certificate.
pub fn caller(path: &str) -> Caller {
    Caller {
        principal: Principal::Spiffe(format!("spiffe://chancery.test/{path}").parse().unwrap()),
        serial: Some("01".to_owned()),
        not_after: None,
        source: None,
        request: Id::random(&OsEntropy).unwrap().into(),
    }
}

/// The keys that every node of a token needs.
pub async fn make_keys(token: &Token) {
    let hsm = token.hsm();
    hsm.generate("kek", KeyType::Aes256).await.unwrap();
    hsm.generate("audit", KeyType::Ed25519).await.unwrap();
}

/// A SQLite store beside the token.
pub fn sqlite(token: &Token) -> String {
    format!("sqlite:{}", token.dir().join("chancery.db").display())
}

impl Node {
    pub async fn start(token: &Token, url: &str, name: &str) -> Self {
        Self::start_at(token, url, name, START).await
    }

    /// The same with a clock that starts elsewhere, for those whose certificates are judged by others now.
    pub async fn start_at(token: &Token, url: &str, name: &str, at: Timestamp) -> Self {
        // The folder is the token: no copies of its keys in the sessions.
        let hsm = Hsm::open(&HsmSettings {
            session_copies: false,
            ..token.settings()
        })
        .unwrap();
        let settings = StoreSettings { url: url.to_owned() };
        let store = Store::open(&settings, &name.parse().unwrap()).await.unwrap();
        let clock = Arc::new(ManualClock::new(at));
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
            key("audit", KeyType::Ed25519),
            clock.clone(),
        )
        .await
        .unwrap();
        let gate = Gate::new(
            authz.clone(),
            log.clone(),
            store.clone(),
            clock.clone(),
            entropy.clone(),
        );
        let kek = key("kek", KeyType::Aes256);
        let sealer = Sealer::new(store.clone(), hsm.clone(), kek, entropy.clone(), clock.clone());
        Self {
            hsm,
            store,
            clock,
            entropy,
            authz,
            log,
            gate,
            sealer,
        }
    }

    /// Assigns a role on everything.
    pub async fn assign(&self, path: &str, role: Role) {
        self.assign_at(path, role, "/").await;
    }

    /// The same on a part.
    pub async fn assign_at(&self, path: &str, role: Role, scope: &str) {
        let grant = self
            .authz
            .grant(Assignment::lasting(
                Id::random(&OsEntropy).unwrap(),
                format!("spiffe://chancery.test/{path}").parse::<Who>().unwrap(),
                role,
                scope.parse::<Scope>().unwrap(),
            ))
            .unwrap();
        let authz = self.authz.clone();
        let assigned = self
            .store
            .transact(move |tx| {
                let (authz, grant) = (authz.clone(), grant.clone());
                Box::pin(async move { authz.assign(tx, &grant).await })
            })
            .await;
        // A second node on the same store finds it done.
        assert!(assigned.is_ok() || assigned.is_err_and(|e| e.kind() == Kind::Conflict));
    }

    /// Lets time pass. What is recorded is signed first: records that stay unsigned so long would stop the service.
    pub async fn wait(&self, by: Duration) {
        self.log.sign_now().await.unwrap();
        self.clock.advance(by);
    }

    /// Every record so far: action, resource, version, outcome.
    pub async fn recorded(&self) -> Vec<String> {
        let entries = self.log.entries(0, 1000).await.unwrap();
        let records = entries.records.iter();
        records
            .map(|record| serde_json::from_slice::<serde_json::Value>(record).unwrap())
            .map(|record| {
                let text = |name: &str| record[name].as_str().unwrap_or_default().to_owned();
                [text("action"), text("resource"), text("version"), text("outcome")].join(" ")
            })
            .collect()
    }
}
