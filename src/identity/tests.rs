//! Who gets in, who does not, and what a stranger is told.

#![cfg(test)]

use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use openssl::asn1::{Asn1Integer, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::extension::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAlternativeName};
use openssl::x509::{X509, X509Name};
use rustls::pki_types::PrivateKeyDer;

use super::register::{JoinToken, Registration};
use super::*;
use crate::entropy::SeededEntropy;
use crate::error::Kind;
use crate::policy::SpiffeId;
use crate::store::Settings;

const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);
const HOUR: Duration = Duration::from_secs(3_600);

/// What a certificate of these tests says.
struct Says {
    serial: u32,
    name: &'static str,
    from: Timestamp,
    to: Timestamp,
    uris: Vec<&'static str>,
    is_ca: bool,
    is_for_servers: bool,
}

struct Ca {
    certificate: X509,
    key: PKey<Private>,
}

fn key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn name(common: &str) -> X509Name {
    let mut name = X509Name::builder().unwrap();
    if !common.is_empty() {
        name.append_entry_by_text("CN", common).unwrap();
    }
    name.build()
}

/// A certificate over `key`, signed by `ca` or by itself. By OpenSSL, so that what is judged is not of our own making.
fn sign(says: &Says, key: &PKey<Private>, ca: Option<&Ca>) -> X509 {
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    let serial = Asn1Integer::from_bn(&BigNum::from_u32(says.serial).unwrap()).unwrap();
    builder.set_serial_number(&serial).unwrap();
    builder
        .set_not_before(&Asn1Time::from_unix(says.from.unix()).unwrap())
        .unwrap();
    builder
        .set_not_after(&Asn1Time::from_unix(says.to.unix()).unwrap())
        .unwrap();
    let subject = name(says.name);
    builder.set_subject_name(&subject).unwrap();
    builder
        .set_issuer_name(ca.map_or(&subject, |ca| ca.certificate.subject_name()))
        .unwrap();
    builder.set_pubkey(key).unwrap();
    if says.is_ca {
        builder
            .append_extension(BasicConstraints::new().critical().ca().build().unwrap())
            .unwrap();
        builder
            .append_extension(KeyUsage::new().critical().key_cert_sign().build().unwrap())
            .unwrap();
    } else {
        let mut usage = ExtendedKeyUsage::new();
        if says.is_for_servers {
            usage.server_auth();
        } else {
            usage.client_auth();
        }
        builder.append_extension(usage.build().unwrap()).unwrap();
    }
    if !says.uris.is_empty() {
        let mut names = SubjectAlternativeName::new();
        for uri in &says.uris {
            match uri.strip_prefix("dns:") {
                Some(host) => names.dns(host),
                None => names.uri(uri),
            };
        }
        let names = names.build(&builder.x509v3_context(None, None)).unwrap();
        builder.append_extension(names).unwrap();
    }
    builder
        .sign(ca.map_or(key, |ca| &ca.key), MessageDigest::sha256())
        .unwrap();
    builder.build()
}

impl Ca {
    fn new(name: &'static str, serial: u32, to: Timestamp, above: Option<&Self>) -> Self {
        let says = Says {
            serial,
            name,
            from: NOW - HOUR * 24,
            to,
            uris: Vec::new(),
            is_ca: true,
            is_for_servers: false,
        };
        let key = key();
        let certificate = sign(&says, &key, above);
        Self { certificate, key }
    }

    fn root(name: &'static str) -> Self {
        Self::new(name, 1, NOW + HOUR * 1_000, None)
    }

    fn issuing(&self, name: &'static str, serial: u32, to: Timestamp) -> Self {
        Self::new(name, serial, to, Some(self))
    }

    fn der(&self) -> CertificateDer<'static> {
        self.certificate.to_der().unwrap().into()
    }

    fn leaf(&self, serial: u32, change: impl FnOnce(&mut Says)) -> Vec<CertificateDer<'static>> {
        let mut says = Says {
            serial,
            name: "",
            from: NOW - HOUR,
            to: NOW + HOUR,
            uris: vec!["spiffe://chancery.test/web"],
            is_ca: false,
            is_for_servers: false,
        };
        change(&mut says);
        vec![sign(&says, &key(), Some(self)).to_der().unwrap().into()]
    }
}

#[derive(Default)]
struct Source(Mutex<Trusted>);

impl TrustSource for Source {
    fn load(&self) -> BoxFuture<'_, Result<Trusted>> {
        let trusted = self.0.lock().unwrap().clone();
        async move { Ok(trusted) }.boxed()
    }
}

struct House {
    root: Ca,
    issuing: Ca,
    identity: Identity,
    store: Store,
    _folder: tempfile::TempDir,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let store = Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap();
        let identity = Identity::new("chancery.test".parse().unwrap(), store.clone());
        let root = Ca::root("root");
        let issuing = root.issuing("issuing", 2, NOW + HOUR * 10);
        let source = Source::default();
        source.0.lock().unwrap().bundle = bundle(&root, &issuing);
        source.0.lock().unwrap().revoked.insert("0bad".to_owned());
        identity.attach(Arc::new(source)).await.unwrap();
        Self {
            root,
            issuing,
            identity,
            store,
            _folder: folder,
        }
    }

    async fn show(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> Result<Caller> {
        let request = Id::random(&SeededEntropy::new(1)).unwrap();
        let source = "192.0.2.1:4711".parse().unwrap();
        self.identity.authenticate(chain, source, request, now).await
    }

    async fn refusal(&self, chain: &[CertificateDer<'_>], now: Timestamp) -> String {
        let error = self.show(chain, now).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated, "{error:?}");
        error.public().to_owned()
    }
}

fn bundle(root: &Ca, issuing: &Ca) -> Bundle {
    Bundle {
        roots: vec![root.der().to_vec()],
        issuers: vec![issuing.der().to_vec()],
    }
}

#[tokio::test]
async fn a_caller_is_what_its_certificate_says() {
    let house = House::new().await;
    let mut chain = house.issuing.leaf(0xabc, |_| ());
    for _ in 0..2 {
        let caller = house.show(&chain, NOW).await.unwrap();
        assert_eq!(caller.principal.to_string(), "spiffe://chancery.test/web");
        assert_eq!(caller.serial.as_deref(), Some("0abc"));
        assert_eq!(caller.not_after, Some(NOW + HOUR));
        chain.push(house.issuing.der());
    }
}

#[tokio::test]
async fn whoever_is_not_ours_is_told_what_to_do() {
    let house = House::new().await;
    assert!(house.refusal(&[], NOW).await.contains("is needed: enrol"));
    assert!(
        house
            .refusal(&[vec![1, 2, 3].into()], NOW)
            .await
            .contains("cannot be read")
    );

    let stranger = Ca::root("root").issuing("issuing", 2, NOW + HOUR);
    let text = house.refusal(&stranger.leaf(7, |_| ()), NOW).await;
    assert!(
        text.contains("does not lead to an authority of `chancery.test`"),
        "{text}"
    );
    // A root that the caller brings along proves nothing.
    let other = Ca::root("other");
    let mut chain = other.leaf(7, |_| ());
    chain.push(other.der());
    assert!(house.refusal(&chain, NOW).await.contains("does not lead"));

    let mut chain = house.issuing.leaf(7, |_| ());
    chain.extend(std::iter::repeat_n(house.issuing.der(), 6));
    assert!(house.refusal(&chain, NOW).await.contains("too long"));
}

#[tokio::test]
async fn a_leaf_must_be_a_workloads_of_our_trust_domain() {
    let house = House::new().await;
    let elsewhere = |says: &mut Says| says.uris = vec!["spiffe://other.test/web"];
    let text = house.refusal(&house.issuing.leaf(7, elsewhere), NOW).await;
    assert!(
        text.contains("trust domain `other.test`, this service is `chancery.test`"),
        "{text}"
    );

    for names in [
        vec![],
        vec!["https://chancery.test/web"],
        vec!["spiffe://chancery.test/web", "spiffe://chancery.test/admin"],
        vec!["spiffe://chancery.test/web", "https://chancery.test/"],
        vec!["spiffe://chancery.test"],
        vec!["spiffe://chancery.test/../admin"],
    ] {
        let text = house
            .refusal(&house.issuing.leaf(7, |p| p.uris.clone_from(&names)), NOW)
            .await;
        assert!(
            text.contains("names no workload") || text.contains("SPIFFE ID is not valid"),
            "{names:?}: {text}"
        );
    }

    let server = |says: &mut Says| says.is_for_servers = true;
    assert!(
        house
            .refusal(&house.issuing.leaf(7, server), NOW)
            .await
            .contains("does not lead")
    );
    let ca = |says: &mut Says| says.is_ca = true;
    assert!(
        house
            .refusal(&house.issuing.leaf(7, ca), NOW)
            .await
            .contains("does not lead")
    );
}

#[tokio::test]
async fn time_is_judged_with_every_request() {
    let house = House::new().await;
    let chain = house.issuing.leaf(7, |_| ());
    let early = house.refusal(&chain, NOW - HOUR - Duration::from_secs(1)).await;
    assert!(early.contains("is valid from 2027-01-15T07:00:00Z on"), "{early}");
    house.show(&chain, NOW + HOUR).await.unwrap();
    // The path is remembered now; the end comes all the same.
    let late = house.refusal(&chain, NOW + HOUR + Duration::from_secs(1)).await;
    assert!(late.contains("ended at 2027-01-15T09:00:00Z"), "{late}");
    let early = house.refusal(&chain, NOW - HOUR - Duration::from_secs(1)).await;
    assert!(early.contains("is valid from"), "{early}");

    let long = house.issuing.leaf(8, |says| says.to = NOW + HOUR * 100);
    house.show(&long, NOW).await.unwrap();
    let text = house.refusal(&long, NOW + HOUR * 11).await;
    assert!(text.contains("an authority above"), "{text}");
    let unseen = house.issuing.leaf(9, |says| says.to = NOW + HOUR * 100);
    assert!(
        house
            .refusal(&unseen, NOW + HOUR * 11)
            .await
            .contains("an authority above")
    );
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_with_the_next_request_and_told_from_one_that_ended() {
    let house = House::new().await;
    let chain = house.issuing.leaf(0xabc, |_| ());
    house.show(&chain, NOW).await.unwrap();
    house.identity.note_revoked("0abc");
    let text = house.refusal(&chain, NOW).await;
    assert!(text.contains("`0abc` is revoked"), "{text}");
    assert!(
        house.refusal(&chain, NOW + HOUR * 2).await.contains("is revoked"),
        "after its end, too"
    );

    let stored = house.issuing.leaf(0xbad, |_| ());
    assert!(house.refusal(&stored, NOW).await.contains("`0bad` is revoked"));

    let other = house.issuing.leaf(0xdef, |_| ());
    house.show(&other, NOW).await.unwrap();
    house.identity.note_revoked("02");
    let text = house.refusal(&other, NOW).await;
    assert!(text.contains("the authority that issued"), "{text}");
}

#[tokio::test]
async fn a_bundle_is_replaced_for_remembered_paths_too() {
    let house = House::new().await;
    let chain = house.issuing.leaf(7, |_| ());
    house.show(&chain, NOW).await.unwrap();
    let next = Ca::root("next");
    let issuing = next.issuing("issuing", 3, NOW + HOUR * 10);
    house.identity.note_bundle(bundle(&next, &issuing)).unwrap();
    assert!(house.refusal(&chain, NOW).await.contains("does not lead"));
    house.show(&issuing.leaf(8, |_| ()), NOW).await.unwrap();
    house.identity.note_bundle(bundle(&house.root, &house.issuing)).unwrap();
    house.show(&chain, NOW).await.unwrap();
}

#[tokio::test]
async fn nobody_gets_in_before_the_authorities_are_known() {
    let house = House::new().await;
    let identity = Identity::new("chancery.test".parse().unwrap(), house.store.clone());
    let request = Id::random(&SeededEntropy::new(1)).unwrap();
    let chain = house.issuing.leaf(7, |_| ());
    let error = identity
        .authenticate(&chain, "192.0.2.1:1".parse().unwrap(), request, NOW)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

impl House {
    async fn register(&self, id: &str) -> Result<()> {
        let identity = self.identity.clone();
        let registration = Registration {
            id: id.parse().unwrap(),
            ttl: Some(HOUR),
            created: NOW,
            disabled: None,
        };
        self.store
            .transact(move |tx| {
                let (identity, registration) = (identity.clone(), registration.clone());
                async move { identity.register(tx, &registration).await }.boxed()
            })
            .await
    }

    async fn token(&self, seed: u64, id: &str, life: Duration) -> Result<JoinToken> {
        let token = JoinToken::random(&SeededEntropy::new(seed)).unwrap();
        let (identity, digest) = (self.identity.clone(), token.digest());
        let id: SpiffeId = id.parse().unwrap();
        self.store
            .transact(move |tx| {
                let (identity, digest, id) = (identity.clone(), digest.clone(), id.clone());
                async move { identity.issue_token(tx, &digest, &id, NOW, NOW + life).await }.boxed()
            })
            .await?;
        Ok(token)
    }

    async fn look_up(&self, token: &JoinToken, key: &str, now: Timestamp) -> Result<register::Claim> {
        self.identity.look_up(&token.digest(), key, now).await
    }

    async fn claim(&self, token: &JoinToken, key: &'static str, now: Timestamp) -> Result<()> {
        let (identity, digest) = (self.identity.clone(), token.digest());
        self.store
            .transact(move |tx| {
                let (identity, digest) = (identity.clone(), digest.clone());
                async move { identity.claim(tx, &digest, key, now).await }.boxed()
            })
            .await
    }

    async fn redeem(&self, token: &JoinToken, serial: &'static str) -> Result<()> {
        let (identity, digest) = (self.identity.clone(), token.digest());
        self.store
            .transact(move |tx| {
                let (identity, digest) = (identity.clone(), digest.clone());
                async move { identity.redeem(tx, &digest, serial).await }.boxed()
            })
            .await
    }
}

#[tokio::test]
async fn an_identity_is_registered_once_in_our_trust_domain() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let twice = house.register("spiffe://chancery.test/web").await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    let elsewhere = house.register("spiffe://other.test/web").await.unwrap_err();
    assert!(
        elsewhere.public().contains("begin it with `spiffe://chancery.test/`"),
        "{elsewhere}"
    );
    house.register("spiffe://chancery.test/db").await.unwrap();
    let first = house.identity.registrations(None, 1).await.unwrap();
    assert_eq!(first[0].id.path(), "/db");
    let rest = house.identity.registrations(Some(&first[0].id), 9).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].ttl, Some(HOUR));
    let unknown = "spiffe://chancery.test/nobody".parse().unwrap();
    assert_eq!(
        house.identity.registration(&unknown).await.unwrap_err().kind(),
        Kind::NotFound
    );
}

#[tokio::test]
async fn a_join_token_is_for_one_key_and_a_lost_answer_can_be_asked_for_again() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let token = house.token(1, "spiffe://chancery.test/web", HOUR).await.unwrap();

    let first = house.look_up(&token, "key-1", NOW).await.unwrap();
    assert_eq!(first.registration.id.path(), "/web");
    assert_eq!(first.serial, None);
    house
        .look_up(&token, "key-2", NOW)
        .await
        .expect("nothing is bound by looking");
    house.claim(&token, "key-1", NOW).await.unwrap();
    house
        .claim(&token, "key-1", NOW)
        .await
        .expect("the same key, before a certificate was issued");
    house.redeem(&token, "0abc").await.unwrap();
    let twice = house.redeem(&token, "0def").await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    let again = house
        .look_up(&token, "key-1", NOW + Duration::from_secs(3_599))
        .await
        .unwrap();
    assert_eq!(again.serial.as_deref(), Some("0abc"));

    for thief in [
        house.look_up(&token, "key-2", NOW).await.map(|_| ()).unwrap_err(),
        house.claim(&token, "key-2", NOW).await.unwrap_err(),
    ] {
        assert_eq!(thief.kind(), Kind::Unauthenticated);
        let text = thief.public();
        assert!(
            text.contains("used by another key") && text.contains("`0abc`"),
            "{text}"
        );
    }
    for late in [
        house
            .look_up(&token, "key-1", NOW + HOUR)
            .await
            .map(|_| ())
            .unwrap_err(),
        house.claim(&token, "key-1", NOW + HOUR).await.unwrap_err(),
    ] {
        assert!(late.public().contains("ended at"), "{late}");
    }

    let unknown = JoinToken::random(&SeededEntropy::new(2)).unwrap();
    assert!(!house.identity.is_token_known(&unknown.digest()).await.unwrap());
    let unknown = house.claim(&unknown, "key-1", NOW).await.unwrap_err();
    assert!(unknown.public().contains("is not known"), "{unknown}");
    let nobody = house
        .token(3, "spiffe://chancery.test/nobody", HOUR)
        .await
        .err()
        .unwrap();
    assert_eq!(nobody.kind(), Kind::NotFound);
}

#[tokio::test]
async fn who_has_enrolled_is_known() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let web: SpiffeId = "spiffe://chancery.test/web".parse().unwrap();
    let token = house.token(1, web.as_str(), HOUR).await.unwrap();
    assert!(!house.identity.has_enrolled(std::slice::from_ref(&web)).await.unwrap());
    house.redeem(&token, "0abc").await.unwrap();
    assert!(house.identity.has_enrolled(&[web]).await.unwrap());
    assert!(
        !house
            .identity
            .has_enrolled(&["spiffe://chancery.test/db".parse().unwrap()])
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn of_two_keys_at_once_one_is_bound() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let token = house.token(1, "spiffe://chancery.test/web", HOUR).await.unwrap();
    let (a, b) = tokio::join!(house.claim(&token, "key-1", NOW), house.claim(&token, "key-2", NOW));
    assert!(a.is_ok() != b.is_ok());
}

#[test]
fn a_join_token_comes_back_from_its_text_and_no_refusal_repeats_it() {
    let token = JoinToken::random(&SeededEntropy::new(1)).unwrap();
    let digest = token.digest();
    let text = String::from_utf8(token.into_secret().expose().to_vec()).unwrap();
    assert_eq!(text.len(), 46);
    assert_eq!(JoinToken::parse(&format!(" {text}\n")).unwrap().digest(), digest);
    for bad in ["", "hunter2", &text[3..], &format!("{text}{text}")] {
        let error = JoinToken::parse(bad).err().unwrap();
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
}

mod handshake {
    use rustls::client::ResolvesClientCert;
    use rustls::crypto::aws_lc_rs;
    use rustls::sign::CertifiedKey;
    use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, SignatureScheme};

    use super::*;

    #[derive(Debug)]
    struct Show(Arc<CertifiedKey>);

    impl ResolvesClientCert for Show {
        fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
            Some(self.0.clone())
        }
        fn has_certs(&self) -> bool {
            true
        }
    }

    fn itself(key: &PKey<Private>) -> CertificateDer<'static> {
        let says = Says {
            serial: 1,
            name: "stranger",
            from: Timestamp::from_unix(0),
            to: Timestamp::from_unix(4_000_000_000),
            uris: vec!["dns:chancery.test"],
            is_ca: false,
            is_for_servers: true,
        };
        sign(&says, key, None).to_der().unwrap().into()
    }

    fn pkcs8(key: &PKey<Private>) -> PrivateKeyDer<'static> {
        PrivateKeyDer::try_from(key.private_key_to_pkcs8().unwrap()).unwrap()
    }

    /// What the server sees of the client's chain, if the handshake passes.
    fn shake(client_cert: CertificateDer<'static>, client_key: &PKey<Private>) -> Result<usize, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let key = key();
        let server_cert = itself(&key);
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(tls::possession_verifier())
            .with_single_cert(vec![server_cert.clone()], pkcs8(&key))
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(server_cert).unwrap();
        let client_key = provider.key_provider.load_private_key(pkcs8(client_key)).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(Arc::new(Show(Arc::new(CertifiedKey::new(
                vec![client_cert],
                client_key,
            )))));
        let mut client = ClientConnection::new(Arc::new(client), "chancery.test".try_into().unwrap()).unwrap();
        let mut server = ServerConnection::new(Arc::new(server)).unwrap();
        while client.is_handshaking() || server.is_handshaking() {
            let mut wire = Vec::new();
            client.write_tls(&mut wire).unwrap();
            server.read_tls(&mut wire.as_slice()).unwrap();
            server.process_new_packets()?;
            wire.clear();
            server.write_tls(&mut wire).unwrap();
            client.read_tls(&mut wire.as_slice()).unwrap();
            client.process_new_packets()?;
        }
        Ok(server.peer_certificates().unwrap().len())
    }

    #[test]
    fn proves_possession_and_nothing_else() {
        let key = key();
        let unknown = itself(&key);
        assert_eq!(shake(unknown.clone(), &key), Ok(1), "who it is, is judged per request");
        let stolen = shake(unknown, &super::key());
        assert!(stolen.is_err(), "a certificate was shown without its key");
    }
}
