//! tls-alpn-01, a vector per rule, and redirects to https. The servers are OpenSSL's.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use openssl::asn1::{Asn1Object, Asn1OctetString, Asn1Time};
use openssl::bn::BigNum;
use openssl::ec::{EcGroup, EcKey};
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{AlpnError, NameType, SslAcceptor, SslMethod, SslVersion};
use openssl::x509::{X509, X509Builder, X509Extension};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::name_server::{NameServer, address};
use super::web::{Web, ok, redirect};
use super::*;

const ACME: &str = "1.3.6.1.5.5.7.1.31";

/// What a certificate for the purpose is made of; each test spoils one part.
#[derive(Clone)]
struct Recipe {
    /// GeneralName: its tag and its octets.
    names: Vec<(u8, Vec<u8>)>,
    /// OID, whether critical, value.
    extensions: Vec<(&'static str, bool, Vec<u8>)>,
    key: PKey<Private>,
    digest: MessageDigest,
}

fn ec_key() -> PKey<Private> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1).unwrap();
    PKey::from_ec_key(EcKey::generate(&group).unwrap()).unwrap()
}

fn octets(value: &[u8]) -> Vec<u8> {
    [&[0x04, value.len().try_into().unwrap()], value].concat()
}

fn digest() -> Vec<u8> {
    openssl::sha::sha256(key_authorization().as_bytes()).to_vec()
}

impl Recipe {
    fn right() -> Self {
        Self {
            names: vec![(0x82, b"x.test".to_vec())],
            extensions: vec![(ACME, true, octets(&digest()))],
            key: ec_key(),
            digest: MessageDigest::sha256(),
        }
    }

    fn named(names: &[(u8, &[u8])]) -> Self {
        Self {
            names: names.iter().map(|(tag, octets)| (*tag, octets.to_vec())).collect(),
            ..Self::right()
        }
    }

    fn extended(extensions: Vec<(&'static str, bool, Vec<u8>)>) -> Self {
        Self {
            extensions,
            ..Self::right()
        }
    }

    fn keyed(key: PKey<Private>, digest: MessageDigest) -> Self {
        Self {
            key,
            digest,
            ..Self::right()
        }
    }

    /// Long expired, which matters to nobody here.
    fn make(&self) -> X509 {
        let mut builder = X509Builder::new().unwrap();
        builder.set_version(2).unwrap();
        let serial = BigNum::from_u32(1).unwrap().to_asn1_integer().unwrap();
        builder.set_serial_number(&serial).unwrap();
        builder.set_not_before(&Asn1Time::from_unix(0).unwrap()).unwrap();
        builder.set_not_after(&Asn1Time::from_unix(1000).unwrap()).unwrap();
        builder.set_pubkey(&self.key).unwrap();
        let mut add = |oid: &str, critical, value: &[u8]| {
            let (oid, value) = (
                Asn1Object::from_str(oid).unwrap(),
                Asn1OctetString::new_from_bytes(value).unwrap(),
            );
            builder
                .append_extension(X509Extension::new_from_der(&oid, critical, &value).unwrap())
                .unwrap();
        };
        if !self.names.is_empty() {
            let inner: Vec<u8> = self
                .names
                .iter()
                .flat_map(|(tag, octets)| [&[*tag, octets.len().try_into().unwrap()], octets.as_slice()].concat())
                .collect();
            add(
                "2.5.29.17",
                false,
                &[&[0x30, inner.len().try_into().unwrap()], inner.as_slice()].concat(),
            );
        }
        for (oid, critical, value) in &self.extensions {
            add(oid, *critical, value);
        }
        builder.sign(&self.key, self.digest).unwrap();
        builder.build()
    }
}

#[derive(Clone, Default)]
struct Seen {
    server_name: String,
    offered: Vec<u8>,
    version: String,
    /// What came behind the handshake.
    data: Vec<u8>,
}

/// How a server behaves beside its certificate.
struct Manners {
    protocol: Option<&'static [u8]>,
    versions: (SslVersion, SslVersion),
    /// Said to whoever is there after the handshake, when a request has come.
    answer: Vec<u8>,
    bind: &'static str,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            protocol: Some(b"acme-tls/1"),
            versions: (SslVersion::TLS1_2, SslVersion::TLS1_3),
            answer: Vec::new(),
            bind: "127.0.0.1:0",
        }
    }
}

fn serve(certificate: &X509, key: &PKey<Private>, manners: Manners) -> (SocketAddr, Arc<Mutex<Vec<Seen>>>) {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    acceptor.set_security_level(0);
    acceptor.set_cipher_list("ALL:@SECLEVEL=0").unwrap();
    acceptor.clear_options(openssl::ssl::SslOptions::all());
    acceptor.set_min_proto_version(Some(manners.versions.0)).unwrap();
    acceptor.set_max_proto_version(Some(manners.versions.1)).unwrap();
    acceptor.set_certificate(certificate).unwrap();
    acceptor.set_private_key(key).unwrap();
    let offered = Arc::new(Mutex::new(Vec::new()));
    let noted = offered.clone();
    acceptor.set_alpn_select_callback(move |_, offered| {
        *noted.lock().unwrap() = offered.to_vec();
        manners.protocol.ok_or(AlpnError::NOACK)
    });
    let acceptor = acceptor.build();
    let listener = TcpListener::bind(manners.bind).unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut tls) = acceptor.accept(stream.unwrap()) else {
                continue;
            };
            let mut one = Seen {
                server_name: tls.ssl().servername(NameType::HOST_NAME).unwrap_or_default().to_owned(),
                offered: offered.lock().unwrap().clone(),
                version: tls.ssl().version_str().to_owned(),
                data: vec![0; 1024],
            };
            let len = tls.read(&mut one.data).unwrap_or(0);
            one.data.truncate(len);
            log.lock().unwrap().push(one);
            let _ = tls.write_all(&manners.answer);
            let _ = tls.shutdown();
        }
    });
    (address, seen)
}

async fn look_at(port: u16, identifier: &str) -> Result<Proof, Failure> {
    let names = NameServer::with(vec![address("x.test", "127.0.0.1")]).await;
    let more = format!("tls_alpn01_port = {port}\ntimeout_s = 5");
    ask(&validator(&settings(&names, &more)), Method::TlsAlpn01, identifier).await
}

async fn look(recipe: &Recipe, manners: Manners) -> Result<Proof, Failure> {
    let (at, _) = serve(&recipe.make(), &recipe.key, manners);
    look_at(at.port(), "x.test").await
}

#[tokio::test]
async fn t1_and_t5_the_one_protocol_is_asked_for_by_name_and_nothing_is_said() {
    let recipe = Recipe::right();
    let (at, seen) = serve(&recipe.make(), &recipe.key, Manners::default());
    assert_eq!(look_at(at.port(), "x.test").await, Ok(Proof { reusable_for: None }));
    // The server notes it a moment after we are gone.
    let seen = loop {
        if let Some(seen) = seen.lock().unwrap().first() {
            break seen.clone();
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(seen.server_name, "x.test");
    assert_eq!(seen.offered, b"\x0aacme-tls/1");
    assert_eq!(seen.version, "TLSv1.3");
    assert_eq!(seen.data, b"");
}

#[tokio::test]
async fn t1_keys_of_all_kinds_will_do() {
    let p384 = EcGroup::from_curve_name(Nid::SECP384R1).unwrap();
    for recipe in [
        Recipe::keyed(
            PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap(),
            MessageDigest::sha256(),
        ),
        Recipe::keyed(
            PKey::from_ec_key(EcKey::generate(&p384).unwrap()).unwrap(),
            MessageDigest::sha384(),
        ),
        Recipe::keyed(PKey::generate_ed25519().unwrap(), MessageDigest::null()),
    ] {
        assert!(look(&recipe, Manners::default()).await.is_ok());
    }
}

#[tokio::test]
async fn r08_t2_exactly_the_one_name_whatever_its_case() {
    assert!(
        look(&Recipe::named(&[(0x82, b"X.tEsT")]), Manners::default())
            .await
            .is_ok()
    );
    for (names, said) in [
        (&[][..], "it has none"),
        (&[(0x82, &b"y.test"[..])], "it has `DNSName(y.test)`"),
        (&[(0x82, b"x.test"), (0x82, b"y.test")], "it has 2"),
        (&[(0x82, b"x.test"), (0x82, b"x.test")], "it has 2"),
        (&[(0x82, b"x.test"), (0x86, b"https://x.test")], "it has 2"),
        (&[(0x81, b"x.test")], "it has `"),
        (&[(0x82, b"*.test")], "it has `"),
        (&[(0x82, b"www.x.test")], "it has `"),
        (&[(0x87, &[127, 0, 0, 1])], "it has `"),
    ] {
        assert_failure(
            look(&Recipe::named(names), Manners::default()).await,
            FailureKind::IncorrectResponse,
            &["`x.test` as its one subject alternative name", said],
        );
    }
}

#[tokio::test]
async fn r08_t3_the_extension_is_critical_and_holds_the_digest() {
    let right = octets(&digest());
    let mut other = digest();
    other[31] ^= 1;
    for (extensions, said) in [
        (vec![], "lacks the extension acmeIdentifier"),
        (
            vec![("1.3.6.1.5.5.7.1.30.1", true, right.clone())],
            "lacks the extension acmeIdentifier",
        ),
        (vec![(ACME, false, right.clone())], "not critical"),
        (vec![(ACME, true, octets(&other))], &hex::encode(digest())),
        (vec![(ACME, true, digest())], "no OCTET STRING of 32 octets"),
        (
            vec![(ACME, true, octets(&digest()[..31]))],
            "no OCTET STRING of 32 octets",
        ),
        (
            vec![(ACME, true, [right.as_slice(), &[0]].concat())],
            "no OCTET STRING of 32 octets",
        ),
        (vec![(ACME, true, vec![])], "no OCTET STRING of 32 octets"),
        (
            vec![(ACME, true, right.clone()), (ACME, true, right.clone())],
            "is malformed",
        ),
        (
            vec![
                (ACME, true, right.clone()),
                ("2.5.29.17", false, b"\x30\x08\x82\x06x.test".to_vec()),
            ],
            "is malformed",
        ),
    ] {
        assert_failure(
            look(&Recipe::extended(extensions), Manners::default()).await,
            FailureKind::IncorrectResponse,
            &["the certificate of `x.test` at 127.0.0.1:", said],
        );
    }
}

#[tokio::test]
async fn r08_t4_tls_1_2_and_nothing_older() {
    let only = |version| Manners {
        versions: (version, version),
        ..Manners::default()
    };
    assert!(look(&Recipe::right(), only(SslVersion::TLS1_2)).await.is_ok());
    assert_failure(
        look(&Recipe::right(), only(SslVersion::TLS1_1)).await,
        FailureKind::Tls,
        &["the TLS handshake with `x.test` at 127.0.0.1:"],
    );
}

#[tokio::test]
async fn t5_the_protocol_is_agreed_on() {
    for protocol in [None, Some(&b"http/1.1"[..])] {
        let manners = Manners {
            protocol,
            ..Manners::default()
        };
        assert_failure(look(&Recipe::right(), manners).await, FailureKind::Tls, &["acme-tls/1"]);
    }
}

#[tokio::test]
async fn t6_who_signed_the_certificate_does_not_matter_but_its_key_must_be_held() {
    let recipe = Recipe::right();
    let mut der = recipe.make().to_der().unwrap();
    let last = der.len() - 1;
    der[last] ^= 1;
    let (at, _) = serve(&X509::from_der(&der).unwrap(), &recipe.key, Manners::default());
    assert!(look_at(at.port(), "x.test").await.is_ok());

    // Somebody else's certificate, shown by one who does not have its key.
    let thief = PrivateKeyDer::try_from(ec_key().private_key_to_pkcs8().unwrap()).unwrap();
    let shown = CertifiedKey::new(
        vec![CertificateDer::from(recipe.make().to_der().unwrap())],
        aws_lc_rs::sign::any_supported_type(&thief).unwrap(),
    );
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(shown)));
    config.alpn_protocols = vec![b"acme-tls/1".to_vec()];
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    assert_failure(look_at(port, "x.test").await, FailureKind::Tls, &["BadSignature"]);
}

#[tokio::test]
async fn t6_what_is_no_tls_is_said() {
    let web = Web::start(|_| ok("no")).await;
    assert_failure(
        look_at(web.port(), "x.test").await,
        FailureKind::Tls,
        &["the TLS handshake with `x.test`", "failed: "],
    );
    let silent = super::web::hostile(|mut stream| async move {
        tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.map(drop)
    })
    .await;
    assert_failure(
        look_at(silent.port(), "x.test").await,
        FailureKind::Tls,
        &["did not end in time"],
    );
}

#[tokio::test]
async fn i5_an_address_is_asked_for_by_its_reverse_name() {
    let four = Recipe::named(&[(0x87, &[127, 0, 0, 1])]);
    let (at, seen) = serve(&four.make(), &four.key, Manners::default());
    assert!(look_at(at.port(), "127.0.0.1").await.is_ok());
    let mut loopback = [0; 16];
    loopback[15] = 1;
    let six = Recipe::named(&[(0x87, &loopback)]);
    let manners = Manners {
        bind: "[::1]:0",
        ..Manners::default()
    };
    let (at6, seen6) = serve(&six.make(), &six.key, manners);
    assert!(look_at(at6.port(), "::1").await.is_ok());
    for (seen, name) in [
        (seen, "1.0.0.127.in-addr.arpa"),
        (
            seen6,
            "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
        ),
    ] {
        let noted = loop {
            if let Some(seen) = seen.lock().unwrap().first() {
                break seen.server_name.clone();
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(noted, name);
    }
    for wrong in [
        Recipe::named(&[(0x82, b"127.0.0.1")]),
        Recipe::named(&[(0x87, &[127, 0, 0, 2])]),
        Recipe::named(&[(0x87, &loopback)]),
        Recipe::named(&[(0x82, b"1.0.0.127.in-addr.arpa")]),
        Recipe::named(&[(0x87, &[127, 0, 0, 1]), (0x82, b"x.test")]),
    ] {
        let (at, _) = serve(&wrong.make(), &wrong.key, Manners::default());
        assert_failure(
            look_at(at.port(), "127.0.0.1").await,
            FailureKind::IncorrectResponse,
            &["`127.0.0.1` as its one subject alternative name"],
        );
    }
}

#[tokio::test]
async fn row_71_a_redirect_to_https_needs_no_certificate_that_anybody_trusts() {
    let recipe = Recipe::named(&[(0x82, b"somebody.else")]);
    let manners = Manners {
        protocol: Some(b"http/1.1"),
        answer: ok(&key_authorization()),
        ..Manners::default()
    };
    let (secure, seen) = serve(&recipe.make(), &recipe.key, manners);
    let web = Web::start(|_| redirect("https://x.test/there")).await;
    let names = NameServer::with(vec![address("x.test", "127.0.0.1")]).await;
    let more = format!("http01_port = {}\nhttps_port = {}", web.port(), secure.port());
    let result = ask(&validator(&settings(&names, &more)), Method::Http01, "x.test").await;
    assert!(result.is_ok(), "{result:?}");
    let seen = seen.lock().unwrap()[0].clone();
    assert_eq!(seen.server_name, "x.test");
    assert!(
        String::from_utf8(seen.data)
            .unwrap()
            .starts_with("GET /there HTTP/1.1\r\n")
    );

    let plain = format!("http01_port = {0}\nhttps_port = {0}", web.port());
    assert_failure(
        ask(&validator(&settings(&names, &plain)), Method::Http01, "x.test").await,
        FailureKind::Tls,
        &["https://x.test:"],
    );
}
