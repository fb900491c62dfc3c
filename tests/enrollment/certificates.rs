//! Certificates by certificates: another CA's, our own for another name, and the current one.

use std::time::Duration;

use chancery::clock::{Clock, Timestamp};
use chancery::enrollment::{CreateIdentity, Enrolled, Reenroll, Request, UpdateEntry, enroll_by_certificate};
use chancery::error::{Kind, Result};
use chancery::id::Id;
use chancery::identity::Caller;
use chancery::secret::Secret;
use chancery::wire::Way;
use chancery::x509::csr::Csr;
use chancery::x509::pem;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::CertificateDer;

use crate::house::{HOUR, House, WEB, csr_of, id, new_key, refused, request, source};

on_both_engines!(
    a_certificate_of_another_ca_is_good_for_the_entrys_identity,
    a_certificate_of_another_ca_is_judged_as_our_own_are,
    a_revocation_list_is_obeyed,
    a_subject_is_the_whole_of_it,
    our_own_certificate_gives_another_identity,
    r41_a_renewal_whose_answer_was_lost_gives_the_same_certificate,
);

/// A CA that is not ours.
struct Ca {
    der: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

fn at(at: Timestamp) -> time::OffsetDateTime {
    at.to_offset()
}

impl Ca {
    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params
    }

    fn root(params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().unwrap();
        let der = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let issuer = Issuer::new(params, key);
        Self { der, issuer }
    }

    fn pem(&self) -> String {
        pem::encode(pem::CERTIFICATE, &self.der)
    }

    fn leaf(&self, names: &[SanType], change: impl FnOnce(&mut CertificateParams)) -> Vec<CertificateDer<'static>> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = names.to_vec();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        vec![params.signed_by(&key, &self.issuer).unwrap().der().clone()]
    }

    fn crl(&self, revoked: &[u64], now: Timestamp) -> String {
        let params = CertificateRevocationListParams {
            this_update: at(now),
            next_update: at(now + HOUR),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from(*serial),
                    revocation_time: at(now),
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        pem::encode("X509 CRL", params.signed_by(&self.issuer).unwrap().der())
    }

    fn way(&self, name: &str) -> Way {
        Way::X509 {
            ca_pem: Some(self.pem()),
            name: name.to_owned(),
            crl_pem: None,
        }
    }
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

impl House {
    async fn way(&self, admin: &Caller, identity: &str, way: Way) -> Result<Id> {
        let create = CreateIdentity {
            way: Some(way),
            ..CreateIdentity::by_token(id(identity), None)
        };
        Ok(self.enrol_as(admin, create).await?.entries[0].id)
    }

    async fn by_certificate(&self, chain: &[CertificateDer<'_>], key: &Secret) -> Result<Enrolled> {
        let csr = csr_of(key);
        let asked = Request {
            source: source(),
            request: request(),
            wanted: None,
            csr: &csr,
        };
        enroll_by_certificate(&self.gate, &self.enrollment, asked, chain).await
    }

    async fn is_refused(&self, chain: &[CertificateDer<'_>], says: &str) {
        refused(
            self.by_certificate(chain, &new_key()).await,
            Kind::Unauthenticated,
            says,
        );
    }
}

async fn a_certificate_of_another_ca_is_good_for_the_entrys_identity(house: House) {
    let admin = house.administrator().await;
    let (ca, other) = (Ca::root(Ca::params("old")), Ca::root(Ca::params("old")));
    let entry = house.way(&admin, WEB, ca.way("dns:*.dc1.example")).await.unwrap();
    house
        .way(
            &admin,
            "spiffe://chancery.test/job",
            ca.way("uri:spiffe://old.test/ns/*/job"),
        )
        .await
        .unwrap();

    let web = ca.leaf(&[dns("a.dc1.example")], |_| ());
    let key = new_key();
    let first = house.by_certificate(&web, &key).await.unwrap();
    assert_eq!(first.id, id(WEB));
    house.show(&first).await.unwrap();
    // R41: lost answers; and another key gets another certificate.
    assert_eq!(house.by_certificate(&web, &key).await.unwrap(), first);
    let second = house.by_certificate(&web, &new_key()).await.unwrap();
    assert_ne!(second.serial, first.serial);
    house.wait(Duration::from_secs(600)).await;
    assert_ne!(house.by_certificate(&web, &key).await.unwrap().serial, first.serial);
    let job = ca.leaf(&[uri("spiffe://old.test/ns/a/job")], |_| ());
    let job = house.by_certificate(&job, &new_key()).await.unwrap();
    assert_eq!(job.id, id("spiffe://chancery.test/job"));

    for name in [
        dns("dc1.example"),
        dns("a.b.dc1.example"),
        dns("*.dc1.example"),
        dns("a.dc1.example.test"),
        uri("spiffe://old.test/ns/a/b/job"),
        uri("spiffe://other.test/ns/a/job"),
        uri("spiffe://old.test/ns/a/jobs"),
    ] {
        house
            .is_refused(&ca.leaf(&[name], |_| ()), "no registration entry takes")
            .await;
    }
    let impostor = other.leaf(&[dns("a.dc1.example")], |_| ());
    house.is_refused(&impostor, "does not lead to the entry's CA").await;
    house.is_refused(&[], "a client certificate is needed").await;

    // A stranger's certificate is nobody's anywhere else.
    let stranger = ca.leaf(&[dns("a.dc1.example"), uri(WEB)], |_| ());
    house.by_certificate(&stranger, &new_key()).await.unwrap();
    let now = house.clock.now();
    let caller = house.identity.authenticate(&stranger, source(), request(), now).await;
    refused(caller, Kind::Unauthenticated, "does not lead to an authority");

    let recorded = house.records("Enroll").await;
    let by: Vec<_> = recorded
        .iter()
        .filter(|one| one["detail"]["entry"] == entry.to_string() && one["outcome"] == "done")
        .collect();
    assert_eq!(by.len(), 5);
    assert_eq!(by[0]["detail"]["by"], "x509");
    assert!(by[0]["detail"]["subject"].as_str().unwrap().ends_with("CN=old"));
    assert_eq!(by[1]["detail"]["repeated"], "yes");
}

async fn a_certificate_of_another_ca_is_judged_as_our_own_are(house: House) {
    let admin = house.administrator().await;
    let now = house.clock.now();
    let ca = Ca::root(Ca::params("old"));
    let name = [dns("web.example")];
    house.way(&admin, WEB, ca.way("dns:web.example")).await.unwrap();

    let through = |middle: &Ca| {
        let mut chain = middle.leaf(&name, |_| ());
        chain.push(middle.der.clone());
        chain
    };
    let middle = ca.below(Ca::params("middle"));
    house.by_certificate(&through(&middle), &new_key()).await.unwrap();
    house
        .is_refused(&middle.leaf(&name, |_| ()), "no registration entry")
        .await;

    let mut constrained = Ca::params("constrained");
    constrained.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName("other.example".to_owned())],
        excluded_subtrees: Vec::new(),
    });
    house
        .is_refused(&through(&ca.below(constrained)), "does not lead")
        .await;
    let mut last = Ca::params("last");
    last.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let last = ca.below(last);
    let mut chain = through(&last.below(Ca::params("one too many")));
    chain.push(last.der.clone());
    house.is_refused(&chain, "does not lead").await;
    let mut long = through(&middle);
    long.extend(vec![middle.der.clone(); 6]);
    house.is_refused(&long, "chain is too long").await;

    let server = ca.leaf(&name, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    house.is_refused(&server, "is not for clients").await;
    let ended = ca.leaf(&name, |params| params.not_after = at(now - Duration::from_secs(1)));
    house.is_refused(&ended, "has ended").await;
    let early = ca.leaf(&name, |params| params.not_before = at(now + HOUR));
    house.is_refused(&early, "not valid yet").await;
    let issuing = ca.leaf(&name, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained));
    house.is_refused(&issuing, "does not lead").await;

    let mut short = Ca::params("short");
    short.not_after = at(now + HOUR);
    let short = Ca::root(short);
    house.way(&admin, WEB, short.way("dns:web.example")).await.unwrap();
    let leaf = short.leaf(&name, |_| ());
    house.by_certificate(&leaf, &new_key()).await.unwrap();
    house.wait(HOUR + Duration::from_secs(1)).await;
    house
        .is_refused(&leaf, "CA of the registration entry is not valid now")
        .await;

    let leaf_pem = pem::encode(pem::CERTIFICATE, &leaf[0]);
    for (ca_pem, name, crl_pem, says) in [
        (None, "web.example", None, "is not a name to ask for"),
        (None, "dns:*", None, "is not a name to ask for"),
        (None, "dns:we*.example", None, "is not a name to ask for"),
        (None, "uri:spiffe://*/web", None, "is not a name to ask for"),
        (None, "subject:", None, "is not a name to ask for"),
        (Some(leaf_pem), "dns:a.test", None, "is not a CA's"),
        (Some("x".to_owned()), "dns:a.test", None, "not one certificate in PEM"),
        (
            Some(ca.pem() + &ca.pem()),
            "dns:a.test",
            None,
            "not one certificate in PEM",
        ),
        (Some(ca.pem()), "dns:a.test", Some("x".to_owned()), "cannot be read"),
        (None, "dns:a.test", Some(ca.crl(&[], now)), "need no revocation list"),
    ] {
        let way = Way::X509 {
            ca_pem,
            name: name.to_owned(),
            crl_pem,
        };
        refused(house.way(&admin, WEB, way).await, Kind::Invalid, says);
    }
}

async fn a_revocation_list_is_obeyed(house: House) {
    let admin = house.administrator().await;
    let now = house.clock.now();
    let (ca, other) = (Ca::root(Ca::params("old")), Ca::root(Ca::params("other")));
    let entry = house.way(&admin, WEB, ca.way("dns:web.example")).await.unwrap();
    let with = async |crl: String| {
        let way = Way::X509 {
            ca_pem: Some(ca.pem()),
            name: "dns:web.example".to_owned(),
            crl_pem: Some(crl),
        };
        let update = UpdateEntry {
            identity: id(WEB),
            id: entry,
            way,
        };
        house.enrol_as(&admin, update).await.unwrap();
    };
    let leaf = |serial: u64| {
        ca.leaf(&[dns("web.example")], |params| {
            params.serial_number = Some(SerialNumber::from(serial));
        })
    };
    let (good, bad) = (leaf(7), leaf(8));
    house.by_certificate(&bad, &new_key()).await.unwrap();
    with(ca.crl(&[8], now)).await;
    house.by_certificate(&good, &new_key()).await.unwrap();
    house.is_refused(&bad, "is revoked by its CA").await;
    // An issuer in between that is on record as bad takes all below it along.
    let mut middle = Ca::params("middle");
    middle.serial_number = Some(SerialNumber::from(9_u64));
    let middle = ca.below(middle);
    let mut chain = middle.leaf(&[dns("web.example")], |_| ());
    chain.push(middle.der.clone());
    with(ca.crl(&[], now) + &middle.crl(&[], now)).await;
    house.by_certificate(&chain, &new_key()).await.unwrap();
    with(ca.crl(&[9], now) + &middle.crl(&[], now)).await;
    house.is_refused(&chain, "is revoked by its CA").await;
    // A list that says nothing of it lets nobody in.
    with(other.crl(&[], now)).await;
    house.is_refused(&good, "does not cover the client certificate").await;
    with(ca.crl(&[], now)).await;
    house.by_certificate(&good, &new_key()).await.unwrap();
    house.wait(HOUR + Duration::from_secs(1)).await;
    house.is_refused(&good, "does not cover the client certificate").await;
}

async fn a_subject_is_the_whole_of_it(house: House) {
    let admin = house.administrator().await;
    let ca = Ca::root(Ca::params("old"));
    house
        .way(&admin, WEB, ca.way("subject:CN=web,O=Example"))
        .await
        .unwrap();
    let named = |parts: &[(DnType, &str)]| {
        ca.leaf(&[], |params| {
            for (kind, value) in parts {
                params.distinguished_name.push(kind.clone(), *value);
            }
        })
    };
    let right = named(&[(DnType::OrganizationName, "Example"), (DnType::CommonName, "web")]);
    house.by_certificate(&right, &new_key()).await.unwrap();
    for wrong in [
        named(&[(DnType::CommonName, "web")]),
        named(&[(DnType::CommonName, "web,O=Example")]),
        named(&[(DnType::CommonName, "web"), (DnType::OrganizationName, "Example")]),
        named(&[(DnType::OrganizationName, "Example"), (DnType::CommonName, "Web")]),
    ] {
        house.is_refused(&wrong, "no registration entry takes").await;
    }
}

async fn our_own_certificate_gives_another_identity(house: House) {
    let admin = house.administrator().await;
    let batch = "spiffe://chancery.test/batch";
    let own = Way::X509 {
        ca_pem: None,
        name: format!("uri:{WEB}"),
        crl_pem: None,
    };
    house.way(&admin, batch, own).await.unwrap();
    let token = house.web_token(&admin).await;
    let web = house.redeem(&token, &new_key()).await.unwrap();
    let chain: Vec<CertificateDer<'_>> = pem::decode_all(pem::CERTIFICATE, &web.chain_pem)
        .unwrap()
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    let second = house.by_certificate(&chain, &new_key()).await.unwrap();
    assert_eq!(second.id, id(batch));
    let impostor = Ca::root(Ca::params("x")).leaf(&[uri(WEB)], |_| ());
    house.is_refused(&impostor, "does not lead to an authority").await;
    house.identity.note_revoked(&web.serial);
    house.is_refused(&chain, "is revoked").await;
    let token = house.web_token(&admin).await;
    let web = house.redeem(&token, &new_key()).await.unwrap();
    let chain: Vec<CertificateDer<'_>> = pem::decode_all(pem::CERTIFICATE, &web.chain_pem)
        .unwrap()
        .into_iter()
        .map(CertificateDer::from)
        .collect();
    house.by_certificate(&chain, &new_key()).await.unwrap();
    house.wait(HOUR + Duration::from_secs(1)).await;
    house.is_refused(&chain, "ended at").await;
}

async fn r41_a_renewal_whose_answer_was_lost_gives_the_same_certificate(house: House) {
    let admin = house.administrator().await;
    let token = house.web_token(&admin).await;
    let first = house.redeem(&token, &new_key()).await.unwrap();
    let web = house.show(&first).await.unwrap();
    let key = new_key();
    let renew = async |caller: &Caller, key: &Secret| {
        let op = Reenroll {
            id: id(WEB),
            csr: Csr::parse(&csr_of(key)).unwrap(),
        };
        house.enrol_as(caller, op).await.unwrap()
    };
    let second = renew(&web, &key).await;
    assert_eq!(renew(&web, &key).await, second);
    assert_ne!(renew(&web, &new_key()).await.serial, second.serial);
    // The next certificate renews with the same key, if somebody wants that.
    let next = house.show(&second).await.unwrap();
    assert_ne!(renew(&next, &key).await.serial, second.serial);
    house.wait(Duration::from_secs(600)).await;
    assert_ne!(renew(&web, &key).await.serial, second.serial);
}
