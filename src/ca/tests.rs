//! The authority on the real token, the real store and the real log.

mod beside;
mod clock_steps;
mod constraints;
mod halted;
mod issuing;
mod lists;
mod ocsp_answers;
mod profiles;
mod repeated;
mod revoking;
mod rotation;
mod standing;
mod unfit_keys;

use std::fs;
use std::net::SocketAddr;

use futures::FutureExt;
use rustls::pki_types::CertificateDer;

use super::*;
use crate::audit::{self, Log};
use crate::authz::Authz;
use crate::clock::{Clock, ManualClock};
use crate::entropy::{Entropy, SeededEntropy};
use crate::error::Kind;
use crate::gate::Operation;
use crate::hsm;
use crate::id::Id;
use crate::key_type::KeyType;
use crate::policy::{Assignment, Principal, Role, Scope};
use crate::softhsm::{Token, with_token};
use crate::store::{self, Store};
use crate::x509::chain::{self, Issuer};
use crate::x509::csr::{self, Csr};
use crate::x509::key;
use crate::x509::name::Name;

const START: Timestamp = Timestamp::from_unix(1_800_000_000);
const DAY: Duration = Duration::from_secs(86_400);

struct House {
    authority: Authority,
    clock: Arc<ManualClock>,
    gate: Gate,
    hsm: Hsm,
    identity: Identity,
    log: Log,
    officer: Caller,
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

async fn keys(hsm: &Hsm) -> Keys {
    let (root, issuing) = Keys::labels(&hierarchy());
    Keys {
        root: token_key(hsm, &root, KeyType::EcP256).await,
        issuing: token_key(hsm, &issuing, KeyType::EcP256).await,
        ocsp: token_key(hsm, &Keys::ocsp_label(&hierarchy()), KeyType::EcP256).await,
    }
}

/// A gate over a fresh store, with an administrator.
async fn ground(token: &Token) -> (Gate, Hsm, Identity, Log, Caller, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(START));
    let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
    // Without copies in the session, so that a folder that goes away is felt by the next signature.
    let hsm = Hsm::open(&hsm::Settings {
        session_copies: false,
        ..token.settings()
    })
    .unwrap();
    let audit_key = token_key(&hsm, "audit", KeyType::Ed25519).await.key;
    let settings = store::Settings {
        url: format!("sqlite:{}", token.dir().join("chancery.db").display()),
    };
    let store = Store::open(&settings, &"n1".parse().unwrap()).await.unwrap();
    let settings = audit::Settings {
        journal: Some(token.dir().join("journal")),
        // The tests move the clock by years in one step.
        max_unsigned_s: 4_000_000_000,
        ..audit::Settings::default()
    };
    let log = Log::open(
        &settings,
        "chancery.test/audit/n1",
        &store,
        hsm.clone(),
        audit_key,
        clock.clone(),
    )
    .await
    .unwrap();
    let authz = Authz::open(store.clone(), clock.clone()).await.unwrap();
    let officer: crate::policy::SpiffeId = "spiffe://chancery.test/officer".parse().unwrap();
    let grant = authz
        .grant(Assignment::lasting(
            Id::random(&*entropy).unwrap(),
            officer.clone(),
            Role::Administrator,
            Scope::Everything,
        ))
        .unwrap();
    let assigning = authz.clone();
    let assigned = store
        .transact(move |tx| {
            let (authz, grant) = (assigning.clone(), grant.clone());
            async move { authz.assign(tx, &grant).await }.boxed()
        })
        .await;
    if let Err(e) = assigned {
        assert_eq!(e.kind(), Kind::Conflict, "{e:?}");
    }
    let identity = Identity::new("chancery.test".parse().unwrap(), store.clone());
    let gate = Gate::new(authz, log.clone(), store, clock.clone(), entropy.clone());
    let officer = Caller {
        principal: Principal::Spiffe(officer),
        serial: None,
        not_after: None,
        source: None,
        request: Id::random(&*entropy).unwrap().into(),
    };
    (gate, hsm, identity, log, officer, clock)
}

async fn house_with(token: &Token, profiles: Vec<Profile>) -> House {
    let (gate, hsm, identity, log, officer, clock) = ground(token).await;
    let authority = Authority::open(
        gate.clone(),
        hsm.clone(),
        identity.clone(),
        hierarchy(),
        profiles,
        keys(&hsm).await,
    )
    .await
    .unwrap();
    House {
        authority,
        clock,
        gate,
        hsm,
        identity,
        log,
        officer,
    }
}

async fn house(token: &Token) -> House {
    house_with(token, Profile::built_in().unwrap()).await
}

fn request(profile: &str, kind: KeyType, names: &[&str]) -> IssueRequest {
    let names: Vec<Name> = names.iter().map(|name| name.parse().unwrap()).collect();
    let der = csr::create(&key::generate(kind).unwrap(), &names).unwrap();
    IssueRequest::from_csr(&Csr::parse(&der).unwrap(), profile.parse().unwrap(), None)
}

fn server(name: &str) -> IssueRequest {
    request("server-tls", KeyType::EcP256, &[name])
}

impl Authority {
    /// The responder of the issuer that signs.
    async fn answering(&self) -> Result<Arc<responder::Responder>> {
        let issuers = self.0.issuers.load_full();
        let member = issuers.issuing().find(|member| member.stage == Stage::Active).unwrap();
        self.responder(member).await
    }
}

impl House {
    /// The authority as the next start opens it.
    async fn again(&self, profiles: Vec<Profile>) -> Authority {
        let (gate, hsm, identity) = (self.gate.clone(), self.hsm.clone(), self.identity.clone());
        let keys = keys(&self.hsm).await;
        Authority::open(gate, hsm, identity, hierarchy(), profiles, keys)
            .await
            .unwrap()
    }

    async fn issue(&self, request: IssueRequest) -> Result<Issued> {
        // Lists are in the order of milliseconds.
        self.clock.advance(Duration::from_millis(1));
        let authority = self.authority.name().clone();
        let operation = IssueCertificate {
            authority,
            idempotency_key: None,
            request,
        };
        self.gate.perform(&self.officer, &self.authority, operation).await
    }

    async fn issue_once(&self, request: IssueRequest, key: &str) -> Result<Issued> {
        self.clock.advance(Duration::from_millis(1));
        let operation = IssueCertificate {
            authority: self.authority.name().clone(),
            idempotency_key: Some(key.parse().unwrap()),
            request,
        };
        self.gate.perform(&self.officer, &self.authority, operation).await
    }

    async fn perform<O: Operation<Engine = Authority>>(&self, operation: O) -> Result<O::Output> {
        self.gate.perform(&self.officer, &self.authority, operation).await
    }

    /// As the service's own enrolment does.
    async fn enrol(&self, id: &str) -> Issued {
        let caller = Caller::system(system::SERVER, &SeededEntropy::new(1)).unwrap();
        let operation = IssueCertificate {
            authority: self.authority.name().clone(),
            idempotency_key: None,
            request: request("svid", KeyType::EcP256, &[id]),
        };
        self.gate.perform(&caller, &self.authority, operation).await.unwrap()
    }

    async fn revoke(&self, serial: &str, reason: Reason) -> Result<IssuedCertificate> {
        let operation = RevokeIssued {
            authority: self.authority.name().clone(),
            reason,
            serial: serial.parse().unwrap(),
        };
        self.gate.perform(&self.officer, &self.authority, operation).await
    }

    async fn list(&self, cursor: Option<String>, limit: u32) -> IssuedPage {
        let operation = ListIssued {
            authority: self.authority.name().clone(),
            cursor,
            filter: Filter::default(),
            limit,
        };
        self.gate
            .perform(&self.officer, &self.authority, operation)
            .await
            .unwrap()
    }

    async fn authenticate(&self, issued: &Issued) -> Result<Caller> {
        let chain: Vec<CertificateDer<'_>> = issued.chain.iter().map(|der| der.as_slice().into()).collect();
        let source: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let request = Id::random(&SeededEntropy::new(9)).unwrap();
        self.identity
            .authenticate(&chain, source, request.into(), self.clock.now())
            .await
    }

    /// The list that the certificate with this serial names.
    async fn crl_of(&self, serial: &str) -> Arc<Published> {
        let shard = hierarchy().crl_shard(&serial.parse().unwrap());
        self.authority.crl("internal-issuing-1", shard).await.unwrap()
    }

    async fn outcomes(&self, action: &str) -> Vec<String> {
        let entries = self.log.entries(0, 1000).await.unwrap();
        entries
            .records
            .iter()
            .map(|bytes| serde_json::from_slice::<serde_json::Value>(bytes).unwrap())
            .filter(|record| record["action"] == action)
            .map(|record| record["outcome"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn serials(published: &Published) -> Vec<String> {
    use x509_parser::prelude::FromDer;
    let (_, list) = x509_parser::revocation_list::CertificateRevocationList::from_der(&published.der).unwrap();
    list.iter_revoked_certificates()
        .map(|entry| hex::encode(entry.raw_serial()))
        .collect()
}
