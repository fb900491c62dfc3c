//! The authority on the real token, the real store and the real log.

mod constraints;
mod profiles;
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
        .grant(Assignment {
            id: Id::random(&*entropy).unwrap(),
            principal: officer.clone(),
            role: Role::Administrator,
            scope: Scope::Everything,
            expires: None,
        })
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
        request: Id::random(&*entropy).unwrap(),
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
            .authenticate(&chain, source, request, self.clock.now())
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

#[test]
fn an_authority_is_founded_once_and_found_again() {
    with_token(|token| async move {
        let house = house(&token).await;
        let root = house.authority.roots_pem();
        assert_eq!(
            house.outcomes("CreateAuthority").await,
            ["intent", "done", "intent", "done"]
        );
        let calls = house.hsm.calls();
        let again = house.again(Profile::built_in().unwrap()).await;
        assert_eq!(again.roots_pem(), root);
        assert_eq!(house.hsm.calls(), calls, "nothing was signed anew");

        let show = ShowAuthority {
            authority: "internal".parse().unwrap(),
        };
        let facts = house.gate.perform(&house.officer, &again, show).await.unwrap();
        let (root, issuing) = (
            facts.active(issuers::Role::Root).unwrap(),
            facts.active(issuers::Role::Issuing).unwrap(),
        );
        assert_eq!(root.subject, "O=Chancery, CN=chancery.test root 1");
        assert_eq!(
            (issuing.label.as_str(), issuing.parent.as_str()),
            ("internal-issuing-1", "internal-root-1")
        );
        assert!(issuing.validity.not_after <= root.validity.not_after);
        let profiles: Vec<&str> = facts.profiles.iter().map(Label::as_str).collect();
        assert!(
            profiles.contains(&"server-tls") && profiles.contains(&"user"),
            "{profiles:?}"
        );
        let listed = house.list(None, 10).await.items;
        let mut profiles: Vec<&str> = listed.iter().map(|it| it.profile.as_str()).collect();
        profiles.sort_unstable();
        assert_eq!(profiles, ["issuing", "root"], "its own certificates are listed too");
    });
}

/// An authority over keys of these kinds issues, and signs its lists.
async fn keyed(token: Token, root: KeyType, issuing: KeyType) {
    let (gate, hsm, identity, _, officer, clock) = ground(&token).await;
    let (root_label, issuing_label) = Keys::labels(&hierarchy());
    let keys = Keys {
        root: token_key(&hsm, &root_label, root).await,
        issuing: token_key(&hsm, &issuing_label, issuing).await,
        ocsp: token_key(&hsm, &Keys::ocsp_label(&hierarchy()), KeyType::EcP256).await,
    };
    let profiles = Profile::built_in().unwrap();
    let authority = Authority::open(gate.clone(), hsm, identity, hierarchy(), profiles, keys)
        .await
        .unwrap();
    clock.advance(Duration::from_millis(1));
    let issue = IssueCertificate {
        authority: authority.name().clone(),
        idempotency_key: None,
        request: request("server-tls", issuing, &["a.test"]),
    };
    let issued = gate.perform(&officer, &authority, issue).await.unwrap();
    let above = Issuer::read(&issued.chain[1]).unwrap();
    above.verify(&issued.certificate).unwrap();
    assert_eq!(above.key().kind().to_string(), issuing.as_str());
    let roots = pem::decode_all(pem::CERTIFICATE, &authority.roots_pem()).unwrap();
    let top = Issuer::read(&roots[0]).unwrap();
    top.verify(&issued.chain[1]).unwrap();
    assert_eq!(top.key().kind().to_string(), root.as_str());
    authority.crl(&issuing_label, 0).await.unwrap();
    authority.crl(&root_label, 0).await.unwrap();
    above.verify(&authority.answering().await.unwrap().certificate).unwrap();
}

#[test]
fn keys_on_large_curves_issue() {
    with_token(|token| keyed(token, KeyType::EcP384, KeyType::EcP521));
}

#[test]
fn large_rsa_keys_issue() {
    with_token(|token| keyed(token, KeyType::Rsa4096, KeyType::Rsa3072));
}

#[test]
fn a_small_rsa_key_issues_below_an_ed25519_root() {
    with_token(|token| keyed(token, KeyType::Ed25519, KeyType::Rsa2048));
}

#[test]
fn a_token_with_other_keys_is_refused() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut keys = keys(&house.hsm).await;
        keys.root = token_key(&house.hsm, "other", KeyType::EcP256).await;
        "internal-root-1".clone_into(&mut keys.root.key.label);
        let opened = Authority::open(
            house.gate.clone(),
            house.hsm.clone(),
            house.identity.clone(),
            hierarchy(),
            Profile::built_in().unwrap(),
            keys,
        )
        .await;
        let error = opened.err().unwrap();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.public().contains("another token"), "{error}");
    });
}

#[test]
fn a_request_becomes_a_certificate_that_leads_to_the_root() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house
            .issue(request("server-tls", KeyType::Rsa2048, &["www.a.test", "10.0.0.1"]))
            .await
            .unwrap();
        assert_eq!(issued.chain.len(), 2, "leaf and issuing CA, without the root");
        let issuing = Issuer::read(&issued.chain[1]).unwrap();
        issuing.verify(&issued.certificate).unwrap();
        let root = pem::decode_all(pem::CERTIFICATE, &house.authority.roots_pem()).unwrap();
        Issuer::read(&root[0]).unwrap().verify(&issued.chain[1]).unwrap();
        assert_eq!(
            pem::decode_all(pem::CERTIFICATE, &issued.chain_pem()).unwrap(),
            issued.chain
        );
        let facts = chain::Facts::read(&issued.certificate).unwrap();
        assert_eq!(facts.serial, issued.serial);

        let listed = &house.list(None, 1).await.items[0];
        assert_eq!(listed.serial, issued.serial);
        assert_eq!(listed.state, State::Issued);
        assert_eq!(listed.names, ["dns:www.a.test", "ip:10.0.0.1"]);
        assert_eq!(listed.requested_by, "spiffe://chancery.test/officer");
        assert_eq!(house.outcomes("IssueCertificate").await, ["intent", "done"]);
        assert_eq!(
            house.authority.issuer_certificate("internal-issuing-1").unwrap(),
            issued.chain[1]
        );
    });
}

#[test]
fn r02_what_breaks_a_lint_or_a_rule_never_reaches_the_token() {
    with_token(|token| async move {
        let mut profiles = Profile::built_in().unwrap();
        profiles.retain(|profile| profile.name().as_str() != "client-tls");
        let broken = include_str!("../../pki/profiles/client-tls.toml");
        profiles.push(Profile::parse(broken).unwrap().with_a_policy_twice());
        let house = house_with(&token, profiles).await;
        let calls = house.hsm.calls();
        let rows = house.list(None, 100).await.items.len();

        let linted = house
            .issue(request("client-tls", KeyType::EcP256, &["a.test"]))
            .await
            .unwrap_err();
        assert_eq!(linted.kind(), Kind::Internal);
        assert!(
            linted.detail().contains("RFC 5280 §4.2.1.4 (certificate_policies)"),
            "{linted:?}"
        );
        for (request, kind, text) in [
            (
                request("nope", KeyType::EcP256, &["a.test"]),
                Kind::Invalid,
                "use client-tls, code-signing, mtls, server-short, server-tls, svid, user",
            ),
            (
                request("server-tls", KeyType::EcP256, &["https://a/b"]),
                Kind::Invalid,
                "allows no URIs",
            ),
            (
                request("svid", KeyType::EcP256, &["spiffe://chancery.test/officer"]),
                Kind::Denied,
                "by enrolment only",
            ),
            (
                IssueRequest {
                    validity: Some(DAY * 1000),
                    ..server("a.test")
                },
                Kind::Invalid,
                "allows 1 to",
            ),
        ] {
            let error = house.issue(request).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{error:?}");
            assert!(error.public().contains(text), "{error:?}");
        }
        assert_eq!(house.hsm.calls(), calls, "zero signatures");
        assert_eq!(house.list(None, 100).await.items.len(), rows, "nothing was reserved");
        assert_eq!(house.outcomes("IssueCertificate").await, ["failed"; 5]);
    });
}

#[test]
fn nothing_is_issued_after_or_beyond_the_issuers_end() {
    with_token(|token| async move {
        let house = house(&token).await;
        let end = house.authority.ends()[1].1.not_after;
        house.clock.advance(end.since(START) - DAY);
        let last = house.issue(server("a.test")).await.unwrap();
        assert_eq!(last.validity.not_after, end);
        assert!(is_ending(house.authority.ends()[1].1, house.clock.now()));
        house.clock.advance(DAY * 2);
        let error = house.issue(server("a.test")).await.unwrap_err();
        assert!(error.public().contains("make a new issuing CA"), "{error:?}");
    });
}

#[test]
fn a_revocation_is_known_before_it_is_answered() {
    with_token(|token| async move {
        let house = house(&token).await;
        let (kept, gone) = (
            house.enrol("spiffe://chancery.test/kept").await,
            house.enrol("spiffe://chancery.test/gone").await,
        );
        house.authenticate(&gone).await.unwrap();
        let before = house.crl_of(&gone.serial).await;
        assert!(serials(&before).is_empty());

        let revoked = house.revoke(&gone.serial, Reason::Superseded).await.unwrap();
        assert_eq!(
            revoked.state,
            State::Revoked {
                at: START,
                reason: Reason::Superseded
            }
        );
        let refused = house.authenticate(&gone).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::Unauthenticated);
        house.authenticate(&kept).await.unwrap();

        let after = house.crl_of(&gone.serial).await;
        assert_eq!(serials(&after), std::slice::from_ref(&gone.serial));
        assert!(after.number > before.number);
        assert_eq!(
            house.crl_of(&gone.serial).await,
            after,
            "one list until something changes"
        );

        let twice = house.revoke(&gone.serial, Reason::KeyCompromise).await.unwrap_err();
        assert_eq!(twice.kind(), Kind::Conflict);
        let unknown = house.revoke("0123456789", Reason::Superseded).await.unwrap_err();
        assert_eq!(unknown.kind(), Kind::NotFound);
        let root = chain::Facts::read(&gone.chain[1]).unwrap().serial;
        assert_eq!(
            house.revoke(&root, Reason::Superseded).await.unwrap_err().kind(),
            Kind::NotFound
        );

        // A node that starts now knows it from the store.
        let other = Identity::new("chancery.test".parse().unwrap(), house.gate.store().clone());
        let trust = trust::Trust {
            clock: house.clock.clone(),
            store: house.gate.store().clone(),
        };
        other.attach(Arc::new(trust)).await.unwrap();
        let chain: Vec<CertificateDer<'_>> = gone.chain.iter().map(|der| der.as_slice().into()).collect();
        let request = Id::random(&SeededEntropy::new(9)).unwrap();
        let refused = other
            .authenticate(&chain, "192.0.2.1:7".parse().unwrap(), request, START)
            .await;
        assert!(refused.is_err());
    });
}

#[test]
fn a_compromised_key_is_never_certified_again() {
    with_token(|token| async move {
        let house = house(&token).await;
        let request = server("a.test");
        let issued = house.issue(request.clone()).await.unwrap();
        house.issue(request.clone()).await.unwrap();
        house.revoke(&issued.serial, Reason::KeyCompromise).await.unwrap();
        let calls = house.hsm.calls();
        let error = house.issue(request.clone()).await.unwrap_err();
        assert!(error.public().contains("make a new key"), "{error:?}");
        assert_eq!(house.hsm.calls(), calls);
        house.issue(server("a.test")).await.unwrap();

        let again = house.again(Profile::built_in().unwrap()).await;
        let authority = again.name().clone();
        let operation = IssueCertificate {
            authority,
            idempotency_key: None,
            request,
        };
        assert!(house.gate.perform(&house.officer, &again, operation).await.is_err());
    });
}

#[test]
fn r03_what_was_reserved_and_not_signed_is_found_and_revoked() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.issue(server("a.test")).await.unwrap();
        let shards = hierarchy().crl_shards();
        let mut good = Vec::new();
        for shard in 0..shards {
            good.push(house.authority.crl("internal-issuing-1", shard).await.unwrap());
        }
        let published = house.outcomes("PublishCrl").await.len();
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let error = house.issue(server("b.test")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        let reserved = house.list(None, 1).await.items.remove(0);
        assert_eq!(reserved.state, State::Reserved);

        // Revoking needs no token; the list does, and the last good one is served meanwhile.
        house.revoke(&reserved.serial, Reason::Unspecified).await.unwrap();
        let good = &good[hierarchy().crl_shard(&reserved.serial.parse().unwrap()) as usize];
        assert_eq!(house.crl_of(&reserved.serial).await, *good);
        assert_eq!(house.crl_of(&reserved.serial).await, *good);
        assert_eq!(
            house.outcomes("PublishCrl").await.len(),
            published + 2,
            "one try, not one for every reader"
        );
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        house.clock.advance(Duration::from_secs(2));
        assert_eq!(
            serials(&*house.crl_of(&reserved.serial).await),
            [reserved.serial.as_str()]
        );
    });
}

#[test]
fn a_repeated_request_gives_the_same_certificate_and_no_second_signature() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        let first = house.issue_once(asked.clone(), "k1").await.unwrap();
        let calls = house.hsm.calls();
        assert_eq!(house.issue_once(asked.clone(), "k1").await.unwrap(), first);
        assert_eq!(house.hsm.calls(), calls);
        let other = house.issue_once(server("a.test"), "k1").await.unwrap_err();
        assert!(other.public().contains("use a new key for a new request"), "{other:?}");
        assert_ne!(
            house.issue_once(asked.clone(), "k2").await.unwrap().serial,
            first.serial
        );

        // A try that came to nothing is tried again, and its serial is never handed out.
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let fresh = server("b.test");
        house.issue_once(fresh.clone(), "k3").await.unwrap_err();
        let lost = house.list(None, 1).await.items.remove(0);
        assert_eq!(lost.state, State::Reserved);
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        let second = house.issue_once(fresh.clone(), "k3").await.unwrap();
        assert_ne!(second.serial, lost.serial);
        assert_eq!(house.issue_once(fresh.clone(), "k3").await.unwrap(), second);
        house.revoke(&second.serial, Reason::Superseded).await.unwrap();
        let gone = house.issue_once(fresh, "k3").await.unwrap_err();
        assert!(gone.public().contains("was revoked"), "{gone:?}");

        house.clock.advance(DAY * 2);
        let later = house.issue_once(asked.clone(), "k9").await.unwrap();
        let again = house.issue_once(asked, "k1").await.unwrap();
        assert_ne!(again.serial, first.serial, "keys are remembered for a day");
        assert_ne!(again.serial, later.serial);
    });
}

#[test]
fn of_many_requests_with_one_key_one_certificate_is_handed_out() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        let answers = futures::future::join_all((0..8).map(|_| house.issue_once(asked.clone(), "k"))).await;
        let mut given: Vec<String> = answers.into_iter().flatten().map(|issued| issued.serial).collect();
        given.push(house.issue_once(asked, "k").await.unwrap().serial);
        given.dedup();
        assert_eq!(given.len(), 1, "{given:?}");
    });
}

#[test]
fn r11_issuing_stops_at_once_where_it_is_told_to_and_goes_on() {
    with_token(|token| async move {
        let house = house(&token).await;
        let label = |text: &str| Some(text.parse::<Label>().unwrap());
        let stop = |authority, profile| StopIssuing {
            authority,
            profile,
            reason: "a wrong profile".to_owned(),
        };
        let client = || request("client-tls", KeyType::EcP256, &["a.test"]);
        for (authority, profile, others_too) in [
            (None, None, true),
            (label("internal"), None, true),
            (None, label("server-tls"), false),
            (label("internal"), label("server-tls"), false),
        ] {
            let calls = house.hsm.calls();
            house.perform(stop(authority.clone(), profile.clone())).await.unwrap();
            let refused = house.issue(server("a.test")).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Unavailable);
            assert!(refused.public().contains("a wrong profile"), "{refused:?}");
            assert!(refused.retry_in().is_some());
            assert_eq!(house.hsm.calls(), calls);
            assert_eq!(house.issue(client()).await.is_err(), others_too);
            // The service's own listener goes on.
            house.enrol("spiffe://chancery.test/listener").await;
            house.authority.crl("internal-issuing-1", 0).await.unwrap();
            let twice = house.perform(stop(authority.clone(), profile.clone())).await;
            assert_eq!(twice.unwrap_err().kind(), Kind::Conflict);
            assert_eq!(house.perform(ListStops).await.unwrap().len(), 1);
            let resume = ResumeIssuing { authority, profile };
            house.perform(resume.clone()).await.unwrap();
            assert_eq!(house.perform(resume).await.unwrap_err().kind(), Kind::NotFound);
            house.issue(server("a.test")).await.unwrap();
        }
        for wrong in [stop(label("other"), None), stop(None, label("nope"))] {
            house.perform(wrong).await.unwrap_err();
        }
        assert!(house.outcomes("StopIssuing").await.contains(&"done".to_owned()));
    });
}

#[test]
fn a_blocked_key_is_never_certified() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        house.issue(asked.clone()).await.unwrap();
        let hash = crate::x509::inspect::spki_sha256(asked.key.spki()).unwrap();
        let block = |hash: &str| BlockKey {
            spki_sha256: hash.to_owned(),
            reason: "found in a repository".to_owned(),
        };
        house.perform(block(&hash.to_uppercase())).await.unwrap();
        let refused = house.issue(asked).await.unwrap_err();
        assert!(refused.public().contains("this key is blocked"), "{refused:?}");
        assert_eq!(house.perform(block(&hash)).await.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(house.perform(block("12")).await.unwrap_err().kind(), Kind::Invalid);
        let page = ListBlockedKeys { after: None, limit: 9 };
        assert_eq!(house.perform(page).await.unwrap()[0].spki_sha256, hash);
        house.issue(server("b.test")).await.unwrap();
    });
}

#[test]
fn r14_r15_lists_are_fresh_with_nothing_revoked_and_numbers_only_rise() {
    with_token(|token| async move {
        let house = house(&token).await;
        let list = async || house.authority.crl("internal-issuing-1", 5).await.unwrap();
        let mut last = list().await;
        let half = hierarchy().crl_validity() / 2;
        for _ in 0..3 {
            house.clock.advance(half + Duration::from_secs(1));
            let due = house.authority.keep_up_once().await;
            assert!(due > house.clock.now());
            let next = list().await;
            assert!(next.number > last.number);
            assert!(
                last.next_update > house.clock.now(),
                "made before the last one grew old"
            );
            assert_eq!(next.this_update, house.clock.now());
            last = next;
        }
        let root = house.authority.crl("internal-root-1", 0).await.unwrap();
        assert!(serials(&root).is_empty());
        for (label, shard) in [("internal-issuing-1", 16), ("internal-root-1", 1), ("other", 0)] {
            let error = house.authority.crl(label, shard).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
        }
    });
}

/// R13: what an independent reader finds in the certificates is what the lists say, and all of it.
#[test]
fn r13_the_lists_together_say_all_that_is_revoked_each_where_its_certificates_name_it() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for n in 0..40 {
            let issued = house.issue(server(&format!("h{n}.test"))).await.unwrap();
            let text = String::from_utf8_lossy(&issued.certificate).into_owned();
            let address = text
                .split("http://pki.chancery.test/crl/internal-issuing-1/")
                .nth(1)
                .unwrap();
            let shard: u32 = address.split(".crl").next().unwrap().parse().unwrap();
            if n % 4 == 0 {
                continue;
            }
            house.revoke(&issued.serial, Reason::Superseded).await.unwrap();
            expected.entry(shard).or_default().push(issued.serial);
        }
        let opened = async || {
            let keys = keys(&house.hsm).await;
            let profiles = Profile::built_in().unwrap();
            let (gate, hsm, identity) = (house.gate.clone(), house.hsm.clone(), house.identity.clone());
            Authority::open(gate, hsm, identity, hierarchy(), profiles, keys)
                .await
                .unwrap()
        };
        let said = async |authority: &Authority| {
            let mut said = BTreeMap::new();
            for shard in 0..hierarchy().crl_shards() {
                let list = authority.crl("internal-issuing-1", shard).await.unwrap();
                let mut serials = serials(&list);
                serials.sort_unstable();
                if !serials.is_empty() {
                    said.insert(shard, serials);
                }
            }
            said
        };
        expected.values_mut().for_each(|serials| serials.sort_unstable());
        assert_eq!(said(&house.authority).await, expected);
        // After a restart nothing is made anew; after the half of a list's life all is, from the store.
        let calls = house.hsm.calls();
        let again = opened().await;
        assert_eq!(said(&again).await, expected);
        assert_eq!(house.hsm.calls(), calls);
        house.clock.advance(hierarchy().crl_validity() / 2);
        assert_eq!(said(&again).await, expected);
        // A list bears its entries until one was made after their certificates' end.
        house.clock.advance(DAY * 100);
        assert_eq!(said(&again).await, BTreeMap::new());
    });
}

#[test]
fn fewer_shards_leave_those_that_certificates_name() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.authority.crl("internal-issuing-1", 15).await.unwrap();
        let text = include_str!("../../pki/hierarchy.toml").replace("shards = 16", "shards = 2");
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        let again = Authority::open(
            house.gate.clone(),
            house.hsm.clone(),
            house.identity.clone(),
            Hierarchy::parse(&text, place).unwrap(),
            Profile::built_in().unwrap(),
            keys(&house.hsm).await,
        )
        .await
        .unwrap();
        house.clock.advance(hierarchy().crl_validity() / 2);
        assert_eq!(
            again.crl("internal-issuing-1", 15).await.unwrap().this_update,
            house.clock.now()
        );
    });
}

/// R17.
#[test]
fn r17_all_certificates_of_a_key_are_revoked_at_once_and_none_follows() {
    with_token(|token| async move {
        let house = house(&token).await;
        let shared = server("a.test");
        let mut of_key = Vec::new();
        for _ in 0..3 {
            of_key.push(house.issue(shared.clone()).await.unwrap());
        }
        let other = house.issue(server("b.test")).await.unwrap();
        house.revoke(&of_key[0].serial, Reason::Superseded).await.unwrap();
        let revoke = async || {
            let operation = RevokeKey {
                authority: house.authority.name().clone(),
                spki_sha256: chain::sha256(shared.key.spki()),
            };
            house.gate.perform(&house.officer, &house.authority, operation).await
        };
        let revoked: Vec<String> = revoke().await.unwrap().into_iter().map(|one| one.serial).collect();
        assert_eq!(revoked, [of_key[1].serial.as_str(), of_key[2].serial.as_str()]);
        for one in &of_key {
            assert!(serials(&*house.crl_of(&one.serial).await).contains(&one.serial));
        }
        assert!(!serials(&*house.crl_of(&other.serial).await).contains(&other.serial));
        assert!(house.issue(shared.clone()).await.is_err());
        assert_eq!(revoke().await.unwrap_err().kind(), Kind::NotFound);
    });
}

#[test]
fn the_holder_of_a_key_revokes_by_a_proof_and_by_nothing_else() {
    with_token(|token| async move {
        let house = house(&token).await;
        let key = key::generate(KeyType::EcP256).unwrap();
        let names: Vec<Name> = vec!["a.test".parse().unwrap()];
        let ordinary = csr::create(&key, &names).unwrap();
        let profile: Label = "server-tls".parse().unwrap();
        let asked = IssueRequest::from_csr(&Csr::parse(&ordinary).unwrap(), profile, None);
        let issued = house.issue(asked).await.unwrap();
        let proof = |key: &crate::secret::Secret| {
            let mut params = rcgen::CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, csr::COMPROMISED);
            params
                .serialize_request(&rcgen::KeyPair::try_from(key.expose()).unwrap())
                .unwrap()
                .der()
                .to_vec()
        };
        let request = Id::random(&SeededEntropy::new(3)).unwrap();
        let says =
            async |bytes: &[u8]| revoke_proven(&house.authority, "192.0.2.1:7".parse().unwrap(), request, bytes).await;

        let error = says(&ordinary).await.unwrap_err();
        assert!(error.public().contains(csr::COMPROMISED), "{error}");
        let mut forged = proof(&key);
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(says(&forged).await.unwrap_err().kind(), Kind::Invalid);
        let stranger = proof(&key::generate(KeyType::EcP256).unwrap());
        assert_eq!(says(&stranger).await.unwrap_err().kind(), Kind::NotFound);
        assert!(
            house.outcomes("RevokeIssued").await.is_empty(),
            "strangers leave no record of their own"
        );

        let revoked = says(&proof(&key)).await.unwrap();
        assert_eq!(revoked[0].serial, issued.serial);
        let reason = Reason::KeyCompromise;
        assert_eq!(
            revoked[0].state,
            State::Revoked {
                at: house.clock.now(),
                reason
            }
        );
        assert_eq!(says(&proof(&key)).await.unwrap_err().kind(), Kind::NotFound);
        assert_eq!(house.outcomes("RevokeIssued").await, ["done"]);
    });
}

/// A database that was put back does not know what was issued since; whoever has the certificate can revoke it.
#[test]
fn a_certificate_that_the_store_lost_is_revoked_by_itself() {
    with_token(|token| async move {
        let elsewhere = house(&token).await;
        let (lost, foreign) = (
            elsewhere.issue(server("a.test")).await.unwrap(),
            elsewhere
                .authority
                .issuer_certificate("internal-issuing-1")
                .unwrap()
                .to_vec(),
        );
        let revoke = async |house: &House, certificate: Vec<u8>| {
            let operation = RevokeShown {
                authority: house.authority.name().clone(),
                certificate,
                reason: Reason::KeyCompromise,
            };
            house.gate.perform(&house.officer, &house.authority, operation).await
        };
        repo::forget(elsewhere.gate.store(), &lost.serial).await.unwrap();
        let unknown = elsewhere.revoke(&lost.serial, Reason::Superseded).await.unwrap_err();
        assert_eq!(unknown.kind(), Kind::NotFound);
        let mut changed = lost.certificate.clone();
        let end = changed.len() - 1;
        changed[end] ^= 1;
        for bad in [foreign, changed] {
            assert_eq!(revoke(&elsewhere, bad).await.unwrap_err().kind(), Kind::NotFound);
        }
        let revoked = revoke(&elsewhere, lost.certificate.clone()).await.unwrap();
        assert_eq!((&revoked.serial, revoked.profile.as_str()), (&lost.serial, "unknown"));
        assert!(serials(&*elsewhere.crl_of(&lost.serial).await).contains(&lost.serial));
        let twice = revoke(&elsewhere, lost.certificate).await.unwrap_err();
        assert_eq!(twice.kind(), Kind::Conflict);
        // One that is known is revoked as by its serial.
        let known = elsewhere.issue(server("b.test")).await.unwrap();
        let revoked = revoke(&elsewhere, known.certificate).await.unwrap();
        assert_eq!(revoked.profile.as_str(), "server-tls");
    });
}

mod ocsp_answers {
    use super::*;
    use openssl::hash::MessageDigest;
    use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus};
    use openssl::stack::Stack;
    use openssl::x509::X509;
    use openssl::x509::store::X509StoreBuilder;

    /// OpenSSL's own request about these certificates.
    fn request(issued: &[&Issued], digest: MessageDigest) -> Vec<u8> {
        let mut request = OcspRequest::new().unwrap();
        for one in issued {
            request.add_id(id(one, digest)).unwrap();
        }
        request.to_der().unwrap()
    }

    fn id(issued: &Issued, digest: MessageDigest) -> OcspCertId {
        let [leaf, issuer] = [0, 1].map(|n: usize| X509::from_der(&issued.chain[n]).unwrap());
        OcspCertId::from_cert(digest, &leaf, &issuer).unwrap()
    }

    async fn asked(house: &House, request: &[u8]) -> Answer {
        house.authority.ocsp("internal-issuing-1", request).await.unwrap()
    }

    async fn signed(house: &House, request: &[u8]) -> Arc<Response> {
        match asked(house, request).await {
            Answer::Signed(response) => response,
            Answer::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    async fn refused(house: &House, request: &[u8]) -> crate::x509::ocsp::Refusal {
        match asked(house, request).await {
            Answer::Refused(refusal) => refusal,
            Answer::Signed(_) => panic!("it was answered"),
        }
    }

    /// What OpenSSL reads in the response, once it has verified the signer by the root alone.
    fn status(house: &House, response: &Response, issued: &Issued, digest: MessageDigest) -> OcspCertStatus {
        let whole = OcspResponse::from_der(&response.der).unwrap();
        assert_eq!(whole.status(), OcspResponseStatus::SUCCESSFUL);
        let basic = whole.basic().unwrap();
        let mut store = X509StoreBuilder::new().unwrap();
        store
            .add_cert(X509::from_pem(house.authority.roots_pem().as_bytes()).unwrap())
            .unwrap();
        // OpenSSL would judge by the machine's clock.
        store
            .set_flags(openssl::x509::verify::X509VerifyFlags::NO_CHECK_TIME)
            .unwrap();
        let mut issuers = Stack::new().unwrap();
        issuers.push(X509::from_der(&issued.chain[1]).unwrap()).unwrap();
        basic.verify(&issuers, &store.build(), OcspFlag::empty()).unwrap();
        basic.find_status(&id(issued, digest)).unwrap().status
    }

    #[test]
    fn an_answer_is_signed_once_and_a_revocation_is_in_the_next() {
        with_token(|token| async move {
            let house = house(&token).await;
            let (one, other) = (
                house.issue(server("a.test")).await.unwrap(),
                house.issue(server("b.test")).await.unwrap(),
            );
            for digest in [MessageDigest::sha1(), MessageDigest::sha256()] {
                let asks = request(&[&one], digest);
                let good = signed(&house, &asks).await;
                assert_eq!(status(&house, &good, &one, digest), OcspCertStatus::GOOD);
                let calls = house.hsm.calls();
                assert_eq!(signed(&house, &asks).await.der, good.der);
                assert_eq!(house.hsm.calls(), calls, "from memory");
            }
            // What is revoked beside it does not make it be signed anew.
            let asks = request(&[&one], MessageDigest::sha1());
            let good = signed(&house, &asks).await;
            house.revoke(&other.serial, Reason::Superseded).await.unwrap();
            assert_eq!(signed(&house, &asks).await.der, good.der);
            house.revoke(&one.serial, Reason::KeyCompromise).await.unwrap();
            let gone = signed(&house, &asks).await;
            let read = status(&house, &gone, &one, MessageDigest::sha1());
            assert_eq!(read, OcspCertStatus::REVOKED);
            // At half of its life it is signed anew.
            house.clock.advance(hierarchy().ocsp_validity() / 2);
            let again = signed(&house, &asks).await;
            assert_eq!(again.window.this_update, house.clock.now());
            assert_ne!(again.der, gone.der);
        });
    }

    /// O3, O7, and what costs no signature.
    #[test]
    fn several_are_answered_one_by_one_and_strangers_are_told_nothing() {
        with_token(|token| async move {
            let house = house(&token).await;
            let (one, other) = (
                house.issue(server("a.test")).await.unwrap(),
                house.issue(server("b.test")).await.unwrap(),
            );
            house.revoke(&other.serial, Reason::Superseded).await.unwrap();
            let digest = MessageDigest::sha256();
            // A serial that was never given out, in the place of a third one's.
            let third = house.issue(server("c.test")).await.unwrap();
            let never = [0x5a; 20];
            let unknown = |mut request: Vec<u8>| {
                let serial = hex::decode(&third.serial).unwrap();
                let at = request.windows(20).position(|window| window == serial).unwrap();
                request[at..at + 20].copy_from_slice(&never);
                request
            };
            let all = unknown(request(&[&one, &other, &third], digest));
            let all = signed(&house, &all).await;
            assert_eq!(status(&house, &all, &one, digest), OcspCertStatus::GOOD);
            assert_eq!(status(&house, &all, &other, digest), OcspCertStatus::REVOKED);
            let said = [&never[..], &[0x82, 0]].concat();
            assert!(all.der.windows(22).any(|window| window == said), "unknown");

            let calls = house.hsm.calls();
            use crate::x509::ocsp::Refusal;
            // Neither that one, nor the root's certificates are its own.
            let never = unknown(request(&[&third], digest));
            assert_eq!(refused(&house, &never).await, Refusal::Unauthorized);
            let mut foreign = one.clone();
            foreign.chain = vec![
                one.chain[1].clone(),
                pem::decode_all(pem::CERTIFICATE, &house.authority.roots_pem())
                    .unwrap()
                    .remove(0),
            ];
            assert_eq!(
                refused(&house, &request(&[&foreign], digest)).await,
                Refusal::Unauthorized
            );
            for bad in [&b""[..], b"0", &[0x30; 5000]] {
                assert_eq!(refused(&house, bad).await, Refusal::MalformedRequest);
            }
            assert_eq!(house.hsm.calls(), calls, "zero signatures");
            assert_eq!(
                house.authority.ocsp("internal-root-1", b"").await.unwrap_err().kind(),
                Kind::NotFound
            );
            // What only its asker can use is bounded.
            let many = request(&[&one, &other], digest);
            for _ in 0..hierarchy().ocsp_live_per_s() - 1 {
                signed(&house, &many).await;
            }
            assert_eq!(refused(&house, &many).await, Refusal::TryLater);
            signed(&house, &request(&[&one], digest)).await;
            house.clock.advance(Duration::from_secs(1));
            signed(&house, &many).await;
        });
    }

    #[test]
    fn the_responder_is_renewed_before_it_ends_and_stays_after_a_restart() {
        with_token(|token| async move {
            let house = house(&token).await;
            let one = house.issue(server("a.test")).await.unwrap();
            let asks = request(&[&one], MessageDigest::sha1());
            let due = house.authority.keep_up_once().await;
            assert!(due > house.clock.now());
            assert_eq!(house.outcomes("RenewResponder").await, ["intent", "done"]);
            signed(&house, &asks).await;
            let first = house.authority.answering().await.unwrap();
            house.clock.advance(DAY * 21);
            house.authority.keep_up_once().await;
            let second = house.authority.answering().await.unwrap();
            assert!(second.validity.not_after > first.validity.not_after);
            assert_eq!(second.public, first.public);
            let answer = signed(&house, &asks).await;
            assert_eq!(
                status(&house, &answer, &one, MessageDigest::sha1()),
                OcspCertStatus::GOOD
            );

            let again = house.again(Profile::built_in().unwrap()).await;
            assert_eq!(again.answering().await.unwrap().certificate, second.certificate);
            assert_eq!(house.outcomes("RenewResponder").await.len(), 4);
        });
    }

    #[test]
    fn without_the_token_what_is_known_is_answered_and_the_rest_later() {
        with_token(|token| async move {
            let house = house(&token).await;
            let (one, other) = (
                house.issue(server("a.test")).await.unwrap(),
                house.issue(server("b.test")).await.unwrap(),
            );
            let [known, rest] = [&one, &other].map(|it| request(&[it], MessageDigest::sha1()));
            let good = signed(&house, &known).await;
            let away = token.dir().join("away");
            fs::rename(token.tokens(), &away).unwrap();
            use crate::x509::ocsp::Refusal;
            assert_eq!(refused(&house, &rest).await, Refusal::TryLater);
            house.clock.advance(hierarchy().ocsp_validity() / 2);
            assert_eq!(signed(&house, &known).await.der, good.der, "past its half, and good");
            // Never what is not true any more.
            house.revoke(&one.serial, Reason::Superseded).await.unwrap();
            assert_eq!(refused(&house, &known).await, Refusal::TryLater);
            fs::rename(&away, token.tokens()).unwrap();
            while let Err(e) = house.hsm.probe().await {
                assert!(e.is_retryable(), "{e}");
            }
            house.clock.advance(Duration::from_secs(2));
            let gone = signed(&house, &known).await;
            assert_eq!(
                status(&house, &gone, &one, MessageDigest::sha1()),
                OcspCertStatus::REVOKED
            );
        });
    }
}

#[test]
fn upkeep_publishes_after_a_revocation_without_being_asked() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house.issue(server("a.test")).await.unwrap();
        let upkeep = tokio::spawn({
            let authority = house.authority.clone();
            async move { authority.keep_up().await }
        });
        let shard = hierarchy().crl_shard(&issued.serial.parse().unwrap());
        let number = async || {
            revoked::repo::newer_crl(house.gate.store().read(), "internal-issuing-1", shard, 0)
                .await
                .unwrap()
                .map_or(0, |row| row.number)
        };
        while number().await == 0 {
            tokio::task::yield_now().await;
        }
        let before = number().await;
        house.revoke(&issued.serial, Reason::Superseded).await.unwrap();
        while number().await == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(serials(&*house.crl_of(&issued.serial).await), [issued.serial.as_str()]);
        upkeep.abort();
    });
}

#[test]
fn all_that_was_issued_is_listed_page_by_page() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(house.issue(server(&format!("h{n}.test"))).await.unwrap().serial);
        }
        made.reverse();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = house.list(cursor, 2).await;
            assert!(page.items.len() <= 2);
            seen.extend(page.items.into_iter().map(|it| it.serial));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(seen[..5], made);
    });
}
