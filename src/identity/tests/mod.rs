//! Who gets in, who does not, and what a stranger is told: the certificates and the house of these tests.

#![cfg(test)]

mod handshake;
mod judging;
mod register;

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

use super::*;
use crate::entropy::SeededEntropy;
use crate::error::Kind;
use crate::id::Id;
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

    fn is_revoked<'s>(&'s self, serial: &'s str) -> BoxFuture<'s, Result<bool>> {
        let is_revoked = self.0.lock().unwrap().revoked.contains(serial);
        async move { Ok(is_revoked) }.boxed()
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
        self.identity.authenticate(chain, source, request.into(), now).await
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
