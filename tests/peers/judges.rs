//! OpenSSL, GnuTLS and pkilint judge every kind of certificate and CRL that `x509` builds.

use std::thread;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature;
use chancery::clock::{Clock, SystemClock, Timestamp};
use chancery::entropy::OsEntropy;
use chancery::key_type::KeyType;
use chancery::secret::Secret;
use chancery::x509::chain::Issuer;
use chancery::x509::crl::{self, Entries, Entry, Issue, Reason, Scope};
use chancery::x509::csr::{self, Csr};
use chancery::x509::hierarchy::{Hierarchy, Place};
use chancery::x509::key::{self, PublicKey};
use chancery::x509::lint;
use chancery::x509::name::Name;
use chancery::x509::profile::Profile;
use chancery::x509::serial::Serial;
use chancery::x509::tbs::{self, Leaf, Tbs};
use rcgen::{PublicKeyData as _, SigningKey as _};
use rustls::pki_types::PrivatePkcs8KeyDer;

use crate::support::judges::Bench;

/// Root and issuing CA with software keys.
struct Authority {
    hierarchy: Hierarchy,
    now: Timestamp,
    root: (Issuer, Signing),
    issuing: (Issuer, Signing),
}

/// A software key that signs as a token does with one of that kind.
struct Signing {
    kind: KeyType,
    key: Secret,
}

impl Signing {
    fn new(kind: KeyType) -> Self {
        let key = key::generate(kind.material()).unwrap();
        Self { kind, key }
    }

    fn public(&self) -> PublicKey {
        key::public(&self.key).unwrap().signing_as(self.kind)
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let padding = match self.kind {
            KeyType::RsaPss2048 => &signature::RSA_PSS_SHA256,
            KeyType::RsaPss3072 => &signature::RSA_PSS_SHA384,
            KeyType::RsaPss4096 => &signature::RSA_PSS_SHA512,
            _ => {
                let key = PrivatePkcs8KeyDer::from(self.key.expose());
                let algorithm = self.public().algorithm();
                let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&key, algorithm).unwrap();
                return pair.sign(message).unwrap();
            }
        };
        let pair = signature::RsaKeyPair::from_pkcs8(self.key.expose()).unwrap();
        let mut signed = vec![0; pair.public_modulus_len()];
        pair.sign(padding, &SystemRandom::new(), message, &mut signed).unwrap();
        signed
    }

    fn finish(&self, tbs: &Tbs, issuer: Option<&Issuer>) -> Vec<u8> {
        lint::twin(tbs, issuer).unwrap();
        tbs.assemble(&self.sign(tbs.as_bytes())).unwrap()
    }

    fn certified(&self, der: &[u8]) -> Issuer {
        Issuer::read(der).unwrap().signing_as(self.kind)
    }
}

fn serial() -> Serial {
    Serial::random(&OsEntropy).unwrap()
}

impl Authority {
    fn new() -> Self {
        Self::with(KeyType::EcP256, KeyType::EcP256)
    }

    fn with(root_kind: KeyType, issuing_kind: KeyType) -> Self {
        Self::of(include_str!("../../pki/hierarchy.toml"), root_kind, issuing_kind)
    }

    fn of(hierarchy: &str, root_kind: KeyType, issuing_kind: KeyType) -> Self {
        let now = SystemClock.now();
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        let hierarchy = Hierarchy::parse(hierarchy, place).unwrap();
        let root_key = Signing::new(root_kind);
        let public = root_key.public();
        let validity = hierarchy.root().validity(now, None);
        let tbs = tbs::root(hierarchy.root(), &public, &serial(), validity).unwrap();
        let root = root_key.certified(&root_key.finish(&tbs, None));
        let issuing_key = Signing::new(issuing_kind);
        let tbs = tbs::issuing(
            hierarchy.issuing(),
            &issuing_key.public(),
            &serial(),
            hierarchy.issuing().validity(now, Some(root.validity())),
            &root,
            &hierarchy.pointers("internal-root-1", 0),
        )
        .unwrap();
        let issuing = issuing_key.certified(&root_key.finish(&tbs, Some(&root)));
        Self {
            hierarchy,
            now,
            root: (root, root_key),
            issuing: (issuing, issuing_key),
        }
    }

    /// A chain for a request of that profile, leaf first.
    fn issue(&self, profile: &str, kind: KeyType, names: &[&str]) -> Vec<Vec<u8>> {
        let names: Vec<Name> = names.iter().map(|name| name.parse().unwrap()).collect();
        let request = csr::create(&key::generate(kind).unwrap(), &names).unwrap();
        let csr = Csr::parse(&request).unwrap();
        let all = Profile::built_in().unwrap();
        let profile = all.iter().find(|it| it.name().as_str() == profile).unwrap();
        let leaf = Leaf {
            key: csr.key(),
            names: csr.names(),
            pointers: &self.hierarchy.pointers("internal-issuing-1", 0),
            serial: &serial(),
            validity: profile.validity(self.now, None, self.issuing.0.validity()).unwrap(),
        };
        let tbs = tbs::leaf(profile, &self.issuing.0, leaf).unwrap();
        let leaf = self.issuing.1.finish(&tbs, Some(&self.issuing.0));
        self.issuing.0.verify(&leaf).unwrap();
        vec![leaf, self.issuing.0.der().to_vec(), self.root.0.der().to_vec()]
    }

    /// A chain that no rule was asked about.
    fn unjudged(&self, names: &[Name]) -> Vec<Vec<u8>> {
        let all = Profile::built_in().unwrap();
        let profile = all.iter().find(|it| it.name().as_str() == "server-tls").unwrap();
        let leaf = Leaf {
            key: &key::public(&key::generate(KeyType::EcP256).unwrap()).unwrap(),
            names,
            pointers: &self.hierarchy.pointers("internal-issuing-1", 0),
            serial: &serial(),
            validity: profile.validity(self.now, None, self.issuing.0.validity()).unwrap(),
        };
        let tbs = tbs::leaf(profile, &self.issuing.0, leaf).unwrap();
        let leaf = tbs.assemble(&self.issuing.1.sign(tbs.as_bytes())).unwrap();
        vec![leaf, self.issuing.0.der().to_vec(), self.root.0.der().to_vec()]
    }

    /// The list that all certificates here name.
    fn crl(&self, (issuer, key): &(Issuer, Signing), number: u64, entries: &[Entry]) -> Vec<u8> {
        let scope = if issuer.der() == self.root.0.der() {
            Scope::Everything
        } else {
            Scope::Shard(self.hierarchy.pointers("internal-issuing-1", 0).crl)
        };
        let mut encoded = Entries::default();
        for entry in entries {
            encoded.push(entry).unwrap();
        }
        let issue = Issue {
            number,
            this_update: self.now,
            next_update: self.now + self.hierarchy.crl_validity(),
        };
        let tbs = crl::to_be_signed(issuer, issue, &scope, &encoded).unwrap();
        crl::assemble(issuer, &tbs, &key.sign(&tbs)).unwrap()
    }

    fn revoked(&self, serial: Serial, reason: Reason) -> Entry {
        Entry {
            reason,
            revoked_at: self.now - Duration::from_secs(60),
            serial,
        }
    }
}

#[test]
fn every_kind_of_certificate_passes_every_judge() {
    let authority = Authority::new();
    let long = format!("{}.chancery.test", "a".repeat(60));
    let cases: [(&str, KeyType, &[&str]); 10] = [
        (
            "server-tls",
            KeyType::EcP256,
            &["www.chancery.test", "*.apps.chancery.test", "10.0.0.1", "2001:db8::1"],
        ),
        ("server-tls", KeyType::EcP384, &[&long]),
        ("server-tls", KeyType::Rsa2048, &["10.0.0.1"]),
        (
            "client-tls",
            KeyType::Ed25519,
            &["job.chancery.test", "https://jobs.test/7"],
        ),
        ("svid", KeyType::EcP256, &["spiffe://chancery.test/app/web"]),
        ("svid", KeyType::Rsa2048, &["spiffe://chancery.test/app/db"]),
        ("mtls", KeyType::EcP256, &["peer.chancery.test", "10.0.0.1"]),
        ("server-short", KeyType::EcP256, &["www.chancery.test"]),
        (
            "user",
            KeyType::Rsa2048,
            &["jo@chancery.test", "upn:jo@corp.chancery.test"],
        ),
        ("code-signing", KeyType::Rsa3072, &["builds@chancery.test"]),
    ];
    let bench = Bench::new();
    thread::scope(|scope| {
        for (profile, kind, names) in cases {
            let (authority, bench) = (&authority, &bench);
            scope.spawn(move || bench.chain(&authority.issue(profile, kind, names)));
        }
    });
}

/// An authority whose issuing CA may issue to some names only.
fn constrained(permitted: &str) -> Authority {
    let text = include_str!("../../pki/hierarchy.toml").replace(
        "[crl]",
        &format!(
            "[issuing.names]\npermitted_dns = [\"{permitted}\"]\npermitted_ip = [\"10.0.0.0/8\", \"2001:db8::/32\"]\n\
             permitted_email = [\"chancery.test\"]\npermitted_uri = [\"chancery.test\", \".chancery.test\"]\n\
             excluded_dns = [\"x.chancery.test\"]\n[crl]"
        ),
    );
    Authority::of(&text, KeyType::EcP256, KeyType::EcP256)
}

#[test]
fn judges_read_name_constraints_as_they_are_obeyed_here() {
    let bench = Bench::new();
    let within = constrained("chancery.test");
    for (profile, names) in [
        ("server-tls", &["a.chancery.test", "10.0.0.1", "2001:db8::1"][..]),
        ("client-tls", &["https://jobs.chancery.test/7"]),
        ("svid", &["spiffe://chancery.test/app"]),
        ("user", &["jo@chancery.test"]),
    ] {
        bench.chain(&within.issue(profile, KeyType::EcP256, names));
    }
    // The same names below a CA that permits others: whoever signs them makes what nobody takes.
    let other = constrained("other.test");
    let names: Vec<Name> = vec!["a.chancery.test".parse().unwrap()];
    let said = other.issuing.0.constraints().check(&names).unwrap_err().to_string();
    assert!(said.contains("dns:other.test"), "{said}");
    let chain = other.unjudged(&names);
    let lists = [other.crl(&other.issuing, 2, &[]), other.crl(&other.root, 1, &[])];
    let said = bench.verify_with_crls(&chain, &lists).unwrap_err();
    assert!(said.contains("permitted subtree violation"), "{said}");
}

#[test]
fn cas_with_every_kind_of_key_pass_every_judge() {
    let bench = Bench::new();
    thread::scope(|scope| {
        for (root, issuing, leaf) in [
            (KeyType::EcP384, KeyType::EcP521, KeyType::EcP521),
            (KeyType::EcP521, KeyType::Rsa2048, KeyType::Rsa3072),
            (KeyType::Rsa4096, KeyType::EcP384, KeyType::EcP384),
            (KeyType::Rsa3072, KeyType::Rsa4096, KeyType::Rsa4096),
            (KeyType::Rsa2048, KeyType::Rsa3072, KeyType::EcP256),
            (KeyType::Ed25519, KeyType::Ed25519, KeyType::Ed25519),
            (KeyType::RsaPss3072, KeyType::RsaPss2048, KeyType::EcP256),
            (KeyType::EcP384, KeyType::RsaPss4096, KeyType::Rsa2048),
        ] {
            let bench = &bench;
            scope.spawn(move || {
                let authority = Authority::with(root, issuing);
                bench.chain(&authority.issue("server-tls", leaf, &["www.chancery.test"]));
                let revoked = [authority.revoked(serial(), Reason::Superseded)];
                let list = authority.crl(&authority.issuing, 7, &revoked);
                bench.crl(&list, authority.issuing.0.der(), false);
            });
        }
    });
}

#[test]
fn every_kind_of_crl_passes_every_judge() {
    let authority = Authority::new();
    let bench = Bench::new();
    let all: Vec<Entry> = Reason::ALL
        .into_iter()
        .map(|reason| authority.revoked(serial(), reason))
        .collect();
    let (issuing, root) = (authority.issuing.0.der(), authority.root.0.der());
    bench.crl(&authority.crl(&authority.issuing, 1, &[]), issuing, false);
    bench.crl(&authority.crl(&authority.issuing, 300, &all), issuing, false);
    bench.crl(&authority.crl(&authority.root, 1, &[]), root, true);
}

#[test]
fn openssl_refuses_what_the_crl_names_and_nothing_else() {
    let authority = Authority::new();
    let bench = Bench::new();
    let revoked = authority.issue("server-tls", KeyType::EcP256, &["a.test"]);
    let valid = authority.issue("server-tls", KeyType::EcP256, &["b.test"]);
    let facts = chancery::x509::chain::Facts::read(&revoked[0]).unwrap();
    let entry = authority.revoked(facts.serial.parse().unwrap(), Reason::KeyCompromise);
    let lists = [
        authority.crl(&authority.issuing, 2, &[entry]),
        authority.crl(&authority.root, 1, &[]),
    ];
    let said = bench.verify_with_crls(&revoked, &lists).unwrap_err();
    assert!(said.contains("certificate revoked"), "{said}");
    bench.verify_with_crls(&valid, &lists).unwrap();
}
