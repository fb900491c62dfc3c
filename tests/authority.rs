//! The authority through the gate with a real token: judged by others, on two nodes of one PostgreSQL, and killed at
//! every step.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

mod support;

use chancery::ca::{
    Answer, Authority, BlockKey, Filter, IssueCertificate, IssueRequest, Issued, IssuedCertificate, IssuedPage, Keys,
    ListIssued, ResumeIssuing, RevokeIssued, State, StopIssuing, TokenKey,
};
use chancery::clock::{Clock, SystemClock};
use chancery::entropy::OsEntropy;
use chancery::error::{Kind, Result};
use chancery::gate::Operation;
use chancery::hsm::{Hsm, KeyRef};
use chancery::id::Id;
use chancery::identity::{Caller, Identity};
use chancery::key_type::KeyType;
use chancery::policy::{Role, system};
use chancery::x509::chain::Facts;
use chancery::x509::crl::Reason;
use chancery::x509::csr::{self, Csr};
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::inspect::spki_sha256;
use chancery::x509::name::Name;
use chancery::x509::ocsp::Request;
use chancery::x509::profile::Profile;
use chancery::x509::{key, pem};
use rustls::pki_types::CertificateDer;
use support::judges::Bench;
use support::node::{Node, caller, make_keys, sqlite};
use support::postgres::Postgres;
use support::softhsm::{Token, with_token};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

const ISSUING: &str = "internal-issuing-1";
const ROOT: &str = "internal-root-1";

/// A node with an authority, and somebody who may use it.
struct House {
    authority: Authority,
    identity: Identity,
    node: Node,
    officer: Caller,
}

fn hierarchy() -> Hierarchy {
    Hierarchy::built_in(Place {
        zone: "chancery.test".to_owned(),
        http: "http://pki.chancery.test".to_owned(),
    })
    .unwrap()
}

/// The list that the certificate with this serial names.
fn shard(serial: &str) -> u32 {
    hierarchy().crl_shard(&serial.parse().unwrap())
}

/// The key of this label, made if the token has none.
async fn token_key(hsm: &Hsm, label: &str) -> TokenKey {
    let half = match hsm.find(label).await.unwrap() {
        Some(half) => half,
        None => hsm.generate(label, KeyType::EcP256).await.unwrap(),
    };
    TokenKey {
        key: KeyRef {
            label: label.to_owned(),
            kind: KeyType::EcP256,
        },
        spki: half.spki_der.unwrap(),
    }
}

async fn keys(hsm: &Hsm) -> Keys {
    let (root, issuing) = Keys::labels(&hierarchy());
    Keys {
        root: token_key(hsm, &root).await,
        issuing: token_key(hsm, &issuing).await,
        ocsp: token_key(hsm, &Keys::ocsp_label(&hierarchy())).await,
    }
}

impl House {
    async fn open(token: &Token, url: &str, name: &str) -> Self {
        // GnuTLS judges by the machine's clock.
        let node = Node::start_at(token, url, name, SystemClock.now()).await;
        node.assign("officer", Role::Administrator).await;
        let identity = Identity::new("chancery.test".parse().unwrap(), node.store.clone());
        let authority = Authority::open(
            node.gate.clone(),
            node.hsm.clone(),
            identity.clone(),
            hierarchy(),
            Profile::built_in().unwrap(),
            keys(&node.hsm).await,
        )
        .await
        .unwrap();
        Self {
            authority,
            identity,
            node,
            officer: caller("officer"),
        }
    }

    async fn perform<O: Operation<Engine = Authority>>(&self, op: O) -> Result<O::Output> {
        self.node.gate.perform(&self.officer, &self.authority, op).await
    }

    fn operation(&self, profile: &str, kind: KeyType, names: &[&str]) -> IssueCertificate {
        let names: Vec<Name> = names.iter().map(|name| name.parse().unwrap()).collect();
        let der = csr::create(&key::generate(kind).unwrap(), &names).unwrap();
        let csr = Csr::parse(&der).unwrap();
        IssueCertificate {
            authority: self.authority.name().clone(),
            idempotency_key: None,
            request: IssueRequest::from_csr(&csr, profile.parse().unwrap(), None),
        }
    }

    async fn issue(&self, profile: &str, kind: KeyType, names: &[&str]) -> Issued {
        let operation = self.operation(profile, kind, names);
        if profile == "svid" {
            // Identities come by enrolment, which is a part of the service.
            let caller = Caller::system(system::SERVER, &OsEntropy).unwrap();
            return self
                .node
                .gate
                .perform(&caller, &self.authority, operation)
                .await
                .unwrap();
        }
        self.perform(operation).await.unwrap()
    }

    async fn revoke(&self, serial: &str) -> Result<IssuedCertificate> {
        self.perform(RevokeIssued {
            authority: self.authority.name().clone(),
            reason: Reason::CessationOfOperation,
            serial: serial.parse().unwrap(),
        })
        .await
    }

    async fn all(&self) -> Vec<IssuedCertificate> {
        let page: IssuedPage = self
            .perform(ListIssued {
                authority: self.authority.name().clone(),
                cursor: None,
                filter: Filter::default(),
                limit: 1000,
            })
            .await
            .unwrap();
        assert_eq!(page.next, None);
        page.items
    }

    async fn is_known(&self, issued: &Issued) -> bool {
        let chain: Vec<CertificateDer<'_>> = issued.chain.iter().map(|der| der.as_slice().into()).collect();
        let request = Id::random(&OsEntropy).unwrap();
        let source = "192.0.2.1:7".parse().unwrap();
        let now = self.node.clock.now();
        match self.identity.authenticate(&chain, source, request.into(), now).await {
            Ok(_) => true,
            Err(e) => {
                assert_eq!(e.kind(), Kind::Unauthenticated, "{e:?}");
                false
            }
        }
    }

    /// The newest list of a shard: its number and the serials on it.
    async fn list(&self, shard: u32) -> (u64, Vec<String>) {
        let published = self.authority.crl(ISSUING, shard).await.unwrap();
        let (_, list) = CertificateRevocationList::from_der(&published.der).unwrap();
        let serials = list
            .iter_revoked_certificates()
            .map(|entry| hex::encode(entry.raw_serial()));
        (published.number, serials.collect())
    }

    async fn ocsp(&self, request: &[u8]) -> Vec<u8> {
        match self.authority.ocsp(ISSUING, request).await.unwrap() {
            Answer::Signed(response) => response.der.clone(),
            Answer::Refused(refusal) => panic!("{refusal:?}"),
        }
    }

    /// The serials on all lists.
    async fn listed(&self) -> Vec<String> {
        let mut listed = Vec::new();
        for shard in 0..hierarchy().crl_shards() {
            listed.extend(self.list(shard).await.1);
        }
        listed.sort_unstable();
        listed
    }

    /// The chain up to the root.
    fn whole(&self, issued: &Issued) -> Vec<Vec<u8>> {
        let root = pem::decode_all(pem::CERTIFICATE, &self.authority.roots_pem()).unwrap();
        [issued.chain.clone(), root].concat()
    }
}

#[test]
fn what_the_token_signs_passes_every_judge() {
    with_token(|token| async move {
        make_keys(&token).await;
        let house = House::open(&token, &sqlite(&token), "n1").await;
        let bench = Bench::new();
        let mut issued = Vec::new();
        for (profile, kind, names) in [
            ("server-tls", KeyType::EcP256, &["www.chancery.test", "10.0.0.1"][..]),
            ("client-tls", KeyType::EcP384, &["https://jobs.test/7"]),
            ("svid", KeyType::Ed25519, &["spiffe://chancery.test/app"]),
        ] {
            issued.push(house.issue(profile, kind, names).await);
        }
        for one in &issued {
            bench.chain(&house.whole(one));
        }
        let root_list = house.authority.crl(ROOT, 0).await.unwrap().der.clone();
        bench.crl(&root_list, &house.authority.issuer_certificate(ROOT).unwrap(), true);
        house.revoke(&issued[0].serial).await.unwrap();
        let named = shard(&issued[0].serial);
        let list = house.authority.crl(ISSUING, named).await.unwrap().der.clone();
        bench.crl(&list, &house.authority.issuer_certificate(ISSUING).unwrap(), false);
        let other = house.authority.crl(ISSUING, shard(&issued[2].serial)).await.unwrap();
        let lists = [list, other.der.clone(), root_list];
        let said = bench.verify_with_crls(&house.whole(&issued[0]), &lists).unwrap_err();
        assert!(said.contains("certificate revoked"), "{said}");
        bench.verify_with_crls(&house.whole(&issued[2]), &lists).unwrap();
        for (one, options, status) in [
            (&issued[0], &["-no_nonce"][..], "Cert Status: revoked"),
            (&issued[0], &["-sha256"], "Cert Status: revoked"),
            (&issued[2], &["-sha256", "-no_nonce"], "Cert Status: good"),
            (&issued[2], &[], "Cert Status: good"),
        ] {
            let chain = house.whole(one);
            let request = bench.ocsp_request(&chain, options);
            let response = house.ocsp(&request).await;
            let said = bench.ocsp_response(&chain, &request, &response);
            assert!(said.contains(status), "{said}");
            // RFC 9654: the nonce comes back.
            let nonce = Request::parse(&request).unwrap().nonce;
            assert_eq!(nonce.is_none(), options.contains(&"-no_nonce"));
            assert_eq!(nonce.is_some(), said.contains("OCSP Nonce"), "{said}");
        }
        // The responder's own certificate, too.
        let all = house.all().await;
        let row = all.iter().find(|row| row.profile.as_str() == "ocsp-responder");
        let responder = house.authority.issued(&row.unwrap().serial).await.unwrap();
        bench.chain(&house.whole(&responder));
    });
}

#[test]
fn two_nodes_are_one_authority() {
    with_token(|token| async move {
        make_keys(&token).await;
        keys(&token.hsm()).await;
        let url = Postgres::shared().database();
        // Both found it at the same time: one certificate counts.
        let (one, two) = tokio::join!(House::open(&token, &url, "n1"), House::open(&token, &url, "n2"));
        assert_eq!(one.authority.roots_pem(), two.authority.roots_pem());
        assert_eq!(
            one.authority.issuer_certificate(ISSUING),
            two.authority.issuer_certificate(ISSUING)
        );

        let gone = one
            .issue("svid", KeyType::EcP256, &["spiffe://chancery.test/gone"])
            .await;
        assert!(two.is_known(&gone).await);
        let bench = Bench::new();
        let chain = two.whole(&gone);
        let asks = bench.ocsp_request(&chain, &["-no_nonce"]);
        for house in [&one, &two] {
            let said = bench.ocsp_response(&chain, &asks, &house.ocsp(&asks).await);
            assert!(said.contains("Cert Status: good"), "{said}");
        }
        one.revoke(&gone.serial).await.unwrap();
        assert!(
            !two.is_known(&gone).await,
            "the first request after the answer, on the other node"
        );
        let said = bench.ocsp_response(&chain, &asks, &two.ocsp(&asks).await);
        assert!(said.contains("Cert Status: revoked"), "{said}");
        assert!(two.list(shard(&gone.serial)).await.1.contains(&gone.serial));

        let mut asked = one.operation("server-tls", KeyType::EcP256, &["once.test"]);
        asked.idempotency_key = Some("k".parse().unwrap());
        let (left, right) = tokio::join!(one.perform(asked.clone()), two.perform(asked.clone()));
        let after = two.perform(asked).await.unwrap();
        for issued in [left, right].into_iter().flatten() {
            assert_eq!(issued, after, "one key, one certificate, on both nodes");
        }

        // A stop and a block on one node hold on the other with the next request.
        let stop = StopIssuing {
            authority: None,
            profile: Some("server-tls".parse().unwrap()),
            reason: "drill".to_owned(),
        };
        one.perform(stop).await.unwrap();
        let asked = two.operation("server-tls", KeyType::EcP256, &["b.test"]);
        assert_eq!(two.perform(asked.clone()).await.unwrap_err().kind(), Kind::Unavailable);
        let resume = ResumeIssuing {
            authority: None,
            profile: Some("server-tls".parse().unwrap()),
        };
        two.perform(resume).await.unwrap();
        let block = BlockKey {
            spki_sha256: spki_sha256(asked.request.key.spki()).unwrap(),
            reason: "drill".to_owned(),
        };
        one.perform(block).await.unwrap();
        assert_eq!(two.perform(asked).await.unwrap_err().kind(), Kind::Invalid);

        // Both revoke and publish at once: numbers rise, and nothing that was answered is ever missing.
        let work = async |house: &House| {
            let mut last = std::collections::HashMap::new();
            for n in 0..8 {
                let issued = house
                    .issue("server-tls", KeyType::EcP256, &[&format!("h{n}.test")])
                    .await;
                house.revoke(&issued.serial).await.unwrap();
                let shard = shard(&issued.serial);
                let (number, serials) = house.list(shard).await;
                assert!(serials.contains(&issued.serial), "{number}");
                assert!(last.insert(shard, number).is_none_or(|last| number > last));
            }
        };
        tokio::join!(work(&one), work(&two));
        let (left, right) = (one.listed().await, two.listed().await);
        assert_eq!(left, right);
        assert_eq!(left.len(), 17);
    });
}

/// Runs this program's test `name` as a child that is to be killed at `point`, or to end well without one.
#[cfg(feature = "faults")]
fn run_child(name: &str, token: &Token, phase: &str, point: Option<&str>) {
    let mark = token.dir().join("mark");
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(PHASE, phase)
        .env("CHANCERY_TEST_TOKEN", token.dir())
        .envs([token.environment()]);
    if let Some(point) = point {
        command.env("CHANCERY_FAULT", point).env("CHANCERY_FAULT_MARK", &mark);
    }
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    match point {
        Some(point) => {
            let hit = std::fs::read_to_string(&mark).unwrap_or_default();
            assert_eq!(hit, point.split(':').next().unwrap(), "the switch was not met:\n{said}");
            assert!(!output.status.success(), "{said}");
        }
        None => assert!(output.status.success() && said.contains("1 passed"), "{phase}: {said}"),
    }
}

#[cfg(feature = "faults")]
const PHASE: &str = "CHANCERY_TEST_PHASE";

/// Founds, issues, publishes, revokes, publishes again; writes down what was answered.
#[cfg(feature = "faults")]
async fn live(token: Token) {
    let house = House::open(&token, &sqlite(&token), "n1").await;
    let issued = house.issue("server-tls", KeyType::EcP256, &["www.chancery.test"]).await;
    std::fs::write(token.dir().join("issued"), issued.chain_pem()).unwrap();
    house.list(shard(&issued.serial)).await;
    house.revoke(&issued.serial).await.unwrap();
    std::fs::write(token.dir().join("revoked"), &issued.serial).unwrap();
    house.list(shard(&issued.serial)).await;
}

/// After a kill anywhere in [`live`].
#[cfg(feature = "faults")]
async fn recover(token: Token) {
    let house = House::open(&token, &sqlite(&token), "n1").await;
    house.node.gate.close_intents(&[&house.authority]).await.unwrap();
    assert_eq!(house.node.store.open_intents().await.unwrap(), []);

    // What was answered is there.
    if let Ok(chain) = std::fs::read_to_string(token.dir().join("issued")) {
        let chain = pem::decode_all(pem::CERTIFICATE, &chain).unwrap();
        let serial = Facts::read(&chain[0]).unwrap().serial;
        let row = house.all().await.into_iter().find(|row| row.serial == serial).unwrap();
        assert_ne!(row.state, State::Reserved);
    }
    let revoked = std::fs::read_to_string(token.dir().join("revoked")).unwrap_or_default();
    if !revoked.is_empty() {
        assert!(house.listed().await.contains(&revoked));
    }

    // Whatever may have been signed is found, can be revoked, and is then on the list.
    let leaves: Vec<_> = house
        .all()
        .await
        .into_iter()
        .filter(|row| row.issuer == ISSUING)
        .collect();
    for row in &leaves {
        if !matches!(row.state, State::Revoked { .. }) {
            house.revoke(&row.serial).await.unwrap();
        }
    }
    let listed = house.listed().await;
    for row in &leaves {
        assert!(listed.contains(&row.serial), "{row:?}");
    }

    // Every intent has exactly one outcome, and a certificate is known exactly if its intent is in the log.
    let records: Vec<serde_json::Value> = house
        .node
        .log
        .entries(0, 1000)
        .await
        .unwrap()
        .records
        .iter()
        .map(|record| serde_json::from_slice(record).unwrap())
        .collect();
    let intents: Vec<&serde_json::Value> = records.iter().filter(|record| record["outcome"] == "intent").collect();
    for intent in &intents {
        let closing = records.iter().filter(|record| record["closes"] == intent["id"]).count();
        assert_eq!(closing, 1, "{intent}");
    }
    let mut intended: Vec<&str> = intents
        .iter()
        .filter_map(|record| record["detail"]["serial"].as_str())
        .collect();
    let rows = house.all().await;
    let mut stored: Vec<&str> = rows.iter().map(|row| row.serial.as_str()).collect();
    intended.sort_unstable();
    stored.sort_unstable();
    assert_eq!(intended, stored);

    // And it goes on.
    let next = house
        .issue("svid", KeyType::EcP256, &["spiffe://chancery.test/next"])
        .await;
    assert!(house.is_known(&next).await);
}

/// Each of the first pair of points is met by the root, the issuing CA and the leaf in turn.
#[cfg(feature = "faults")]
#[test]
fn after_a_kill_at_any_step_every_certificate_is_found_and_revocable() {
    const NAME: &str = "after_a_kill_at_any_step_every_certificate_is_found_and_revocable";
    if let Ok(phase) = std::env::var(PHASE) {
        match phase.as_str() {
            "keys" => with_token(|token| async move {
                make_keys(&token).await;
                keys(&token.hsm()).await;
            }),
            "live" => with_token(live),
            _ => with_token(recover),
        }
        return;
    }
    let points = [
        "ca.reserve.before:1",
        "ca.reserve.after:1",
        "ca.store.before:1",
        "ca.store.after:1",
        "ca.sign.after:2",
        "ca.store.before:2",
        "ca.store.after:2",
        "ca.reserve.before:3",
        "ca.reserve.after:3",
        "ca.sign.before:3",
        "ca.sign.after:3",
        "ca.store.before:3",
        "ca.store.after:3",
        "ca.crl_number.before:1",
        "ca.crl_number.after:1",
        "ca.crl_store.before:2",
        "ca.crl_store.after:2",
    ];
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, std::sync::atomic::Ordering::SeqCst)) {
                    let dir = tempfile::tempdir().unwrap();
                    let token = support::softhsm::initialise(dir.path());
                    run_child(NAME, &token, "keys", None);
                    run_child(NAME, &token, "live", Some(point));
                    run_child(NAME, &token, "recover", None);
                }
            });
        }
    });
}
