//! Authorities beside the installation's own: with a root in the token, and below somebody else's.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, GeneralSubtree, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, NameConstraints, RevokedCertParams, SerialNumber,
};

use super::*;

const DEVICES: &str = "devices";

impl House {
    async fn init(&self, name: &str, origin: Origin) -> Result<()> {
        self.perform(InitAuthority {
            authority: name.parse().unwrap(),
            key_type: None,
            origin,
        })
        .await
    }

    async fn issue_by(&self, authority: &str, request: IssueRequest) -> Result<Issued> {
        self.perform(IssueCertificate {
            authority: authority.parse().unwrap(),
            idempotency_key: None,
            request,
        })
        .await
    }
}

#[test]
fn one_beside_the_own_does_all_that_an_authority_does_and_nothing_for_the_other() {
    with_token(|token| async move {
        let house = house(&token).await;
        let devices: Label = DEVICES.parse().unwrap();
        house.init(DEVICES, Origin::Token).await.unwrap();
        assert_eq!(
            house.init(DEVICES, Origin::Token).await.unwrap_err().kind(),
            Kind::Conflict
        );
        for bad in ["a-root-1".to_owned(), "a".repeat(60)] {
            assert_eq!(house.init(&bad, Origin::Token).await.unwrap_err().kind(), Kind::Invalid);
        }
        let early = house.issue_by(DEVICES, server("a.test")).await.unwrap_err();
        assert_eq!(early.kind(), Kind::Unavailable);
        house.authority.keep_up_once().await;
        assert_eq!(
            house.authority.names().await.unwrap(),
            [devices.clone(), "internal".parse().unwrap()]
        );

        let issued = house.issue_by(DEVICES, server("a.test")).await.unwrap();
        let issuer = chain::Facts::read(&issued.chain[1]).unwrap();
        assert!(
            issuer.subject.contains("devices chancery.test issuing 1"),
            "{}",
            issuer.subject
        );
        let own = house.authority.trust_bundle(None).await.unwrap();
        let beside = house.authority.trust_bundle(Some(&devices)).await.unwrap();
        assert_eq!((own.roots.len(), beside.roots.len()), (1, 1));
        let root = Issuer::read(&beside.roots[0].certificate).unwrap();
        root.verify(&issued.chain[1]).unwrap();
        assert!(root.verify(&own.issuers[0].certificate).is_err());
        let nobody = "nobody".parse().unwrap();
        let unknown = house.authority.trust_bundle(Some(&nobody)).await.unwrap_err();
        assert_eq!(unknown.kind(), Kind::NotFound);

        // Nobody is a caller of the service by it.
        let caller = Caller::system(system::SERVER, &SeededEntropy::new(1)).unwrap();
        let posing = IssueCertificate {
            authority: devices.clone(),
            idempotency_key: None,
            request: request("svid", KeyType::EcP256, &["spiffe://chancery.test/officer"]),
        };
        let posing = house.gate.perform(&caller, &house.authority, posing).await.unwrap();
        house.authenticate(&posing).await.unwrap_err();
        house
            .authenticate(&house.enrol("spiffe://chancery.test/node").await)
            .await
            .unwrap();

        // Each revokes and lists its own, on its own lists.
        let revoke = |authority: &str| RevokeIssued {
            authority: authority.parse().unwrap(),
            reason: Reason::Superseded,
            serial: issued.serial.parse().unwrap(),
        };
        assert_eq!(
            house.perform(revoke("internal")).await.unwrap_err().kind(),
            Kind::NotFound
        );
        house.perform(revoke(DEVICES)).await.unwrap();
        let shard = hierarchy().crl_shard(&issued.serial.parse().unwrap());
        let list = house.authority.crl("devices-issuing-1", shard).await.unwrap();
        assert_eq!(serials(&list), std::slice::from_ref(&issued.serial));
        assert!(serials(&*house.crl_of(&issued.serial).await).is_empty());

        // Each stops and rotates by itself.
        let stop = StopIssuing {
            authority: Some(devices.clone()),
            profile: None,
            reason: "a drill".to_owned(),
        };
        house.perform(stop).await.unwrap();
        assert_eq!(
            house.issue_by(DEVICES, server("b.test")).await.unwrap_err().kind(),
            Kind::Unavailable
        );
        house.issue(server("b.test")).await.unwrap();
        let resume = ResumeIssuing {
            authority: Some(devices.clone()),
            profile: None,
        };
        house.perform(resume).await.unwrap();
        let rotate = RotateAuthority {
            authority: devices.clone(),
            key_type: Some(KeyType::EcP384),
            root: false,
        };
        house.perform(rotate).await.unwrap();
        house.authority.keep_up_once().await;
        house.clock.advance(DAY);
        house.authority.keep_up_once().await;
        assert_eq!(*house.authority.signs().borrow(), "internal-issuing-1");

        let again = house.again(Profile::built_in().unwrap()).await;
        let issued = house.issue_by(DEVICES, server("c.test")).await.unwrap();
        assert_eq!(again.issuer_certificate("devices-issuing-2").unwrap(), issued.chain[1]);
        Issuer::read(&issued.chain[1])
            .unwrap()
            .verify(&issued.certificate)
            .unwrap();
    });
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = (START - DAY).to_offset();
    params.not_after = (START + DAY * 365).to_offset();
    params
}

#[test]
fn a_chain_from_outside_is_judged_first_and_its_constraints_are_obeyed() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.init("sub", Origin::Foreign).await.unwrap();
        let authority: Label = "sub".parse().unwrap();
        let import = |chain: Vec<Vec<u8>>| ImportChain {
            authority: authority.clone(),
            chain,
        };
        let early = house.perform(import(Vec::new())).await.unwrap_err();
        assert!(early.public().contains("ca csr"), "{early}");
        let ask = RequestCertificate {
            authority: authority.clone(),
        };
        let csr = house.perform(ask.clone()).await.unwrap();
        let csr = Csr::parse(&csr).unwrap();
        // Asked again, it is for the same key.
        let again = Csr::parse(&house.perform(ask).await.unwrap()).unwrap();
        assert_eq!(again.key().spki(), csr.key().spki());

        let (root_key, middle_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let root = ca("Their root");
        let mut middle = ca("Their policy CA");
        middle.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("corp.test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let by_root = rcgen::Issuer::from_params(&root, &root_key);
        let middle_der = middle.signed_by(&middle_key, &by_root).unwrap().der().to_vec();
        let by_middle = rcgen::Issuer::from_params(&middle, &middle_key);
        let ours = ca("Ours").signed_by(csr.key(), &by_middle).unwrap().der().to_vec();
        for (wrong, why) in [
            (vec![ours.clone()], "1 certificates"),
            (vec![middle_der.clone(), root_der.clone()], "not for the key"),
            (vec![ours.clone(), root_der.clone()], "not signed by"),
            (vec![ours.clone(), middle_der.clone()], "no root"),
        ] {
            let refused = house.perform(import(wrong)).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Invalid);
            assert!(refused.public().contains(why), "{refused}");
        }
        let whole = vec![ours.clone(), middle_der.clone(), root_der.clone()];
        house.perform(import(whole.clone())).await.unwrap();
        assert_eq!(house.perform(import(whole)).await.unwrap_err().kind(), Kind::Conflict);
        house.authority.keep_up_once().await;

        let issued = house.issue_by("sub", server("www.corp.test")).await.unwrap();
        assert_eq!(issued.chain[1..], [ours, middle_der]);
        let calls = house.hsm.calls();
        let refused = house.issue_by("sub", server("www.other.test")).await.unwrap_err();
        assert_eq!((refused.kind(), house.hsm.calls()), (Kind::Invalid, calls));
        let bundle = house.authority.trust_bundle(Some(&authority)).await.unwrap();
        assert_eq!(bundle.roots[0].certificate, root_der);
        assert!(!house.authority.roots_pem().contains(&pem::encode_chain(&[root_der])));

        // The next one, below another root of theirs: the first one's end takes nothing from its chain.
        let rotate = |root| RotateAuthority {
            authority: authority.clone(),
            key_type: None,
            root,
        };
        assert_eq!(house.perform(rotate(true)).await.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(house.perform(rotate(false)).await.unwrap(), "sub-issuing-2");
        let csr = house
            .perform(RequestCertificate {
                authority: authority.clone(),
            })
            .await
            .unwrap();
        let csr = Csr::parse(&csr).unwrap();
        let (root, root_key) = (ca("Their root 2"), KeyPair::generate().unwrap());
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let by_root = rcgen::Issuer::from_params(&root, &root_key);
        let middle_der = middle.signed_by(&middle_key, &by_root).unwrap().der().to_vec();
        let ours = ca("Ours 2").signed_by(csr.key(), &by_middle).unwrap().der().to_vec();
        house
            .perform(import(vec![ours.clone(), middle_der.clone(), root_der.clone()]))
            .await
            .unwrap();
        for days in [0, 1, 7, 40] {
            house.clock.advance(DAY * days);
            house.authority.keep_up_once().await;
        }
        let bundle = house.authority.trust_bundle(Some(&authority)).await.unwrap();
        let roots: Vec<Vec<u8>> = bundle.roots.into_iter().map(|one| one.certificate).collect();
        assert_eq!(roots, [root_der]);
        let issued = house.issue_by("sub", server("late.corp.test")).await.unwrap();
        assert_eq!(issued.chain[1..], [ours, middle_der]);
    });
}

#[test]
fn a_list_from_outside_keeps_what_it_revokes_from_signing() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.init("sub", Origin::Offline).await.unwrap();
        let authority: Label = "sub".parse().unwrap();
        let (root, root_key) = (ca("Their root"), KeyPair::generate().unwrap());
        let root_der = root.self_signed(&root_key).unwrap().der().to_vec();
        let certified = async |serial: u8| {
            let authority = authority.clone();
            let csr = house.perform(RequestCertificate { authority }).await.unwrap();
            let mut ours = ca("Ours");
            ours.serial_number = Some(SerialNumber::from_slice(&[serial; 16]));
            let by_root = rcgen::Issuer::from_params(&root, &root_key);
            let csr = Csr::parse(&csr).unwrap();
            ImportChain {
                authority: "sub".parse().unwrap(),
                chain: vec![
                    ours.signed_by(csr.key(), &by_root).unwrap().der().to_vec(),
                    root_der.clone(),
                ],
            }
        };
        let list = |number: u64, revoked: &[u8]| {
            let list = CertificateRevocationListParams {
                this_update: START.to_offset(),
                next_update: (START + DAY * 200).to_offset(),
                crl_number: SerialNumber::from(number),
                issuing_distribution_point: None,
                revoked_certs: revoked
                    .iter()
                    .map(|serial| RevokedCertParams {
                        serial_number: SerialNumber::from_slice(&[*serial; 16]),
                        revocation_time: START.to_offset(),
                        reason_code: None,
                        invalidity_date: None,
                    })
                    .collect(),
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let by_root = rcgen::Issuer::from_params(&root, &root_key);
            ImportList {
                authority: authority.clone(),
                list: list.signed_by(&by_root).unwrap().der().to_vec(),
            }
        };
        let early = house.perform(list(1, &[])).await.unwrap_err();
        assert_eq!(early.kind(), Kind::Conflict, "{early}");
        house.perform(certified(1).await).await.unwrap();
        house.authority.keep_up_once().await;
        house.issue_by("sub", server("a.test")).await.unwrap();

        // What is not here yet is not taken, once its root has revoked it.
        let rotate = RotateAuthority {
            authority: authority.clone(),
            key_type: None,
            root: false,
        };
        house.perform(rotate).await.unwrap();
        let second = certified(2).await;
        assert!(house.perform(list(2, &[2])).await.unwrap().is_empty());
        let refused = house.perform(second).await.unwrap_err();
        assert!(refused.public().contains("revoked by list 2"), "{refused}");
        house.perform(certified(3).await).await.unwrap();
        house.authority.keep_up_once().await;
        house.issue_by("sub", server("b.test")).await.unwrap();

        // What waits for its turn gets none.
        assert_eq!(house.perform(list(3, &[2, 3])).await.unwrap(), ["sub-issuing-2"]);
        assert_eq!(house.perform(list(3, &[])).await.unwrap_err().kind(), Kind::Conflict);
        let stopped = house.issue_by("sub", server("c.test")).await.unwrap_err();
        assert!(stopped.public().contains("revokes sub-issuing-2"), "{stopped}");
        house.issue(server("d.test")).await.unwrap();
        assert_eq!(house.authority.crl("sub-root-1", 0).await.unwrap().number, 3);

        house.clock.advance(DAY * 201);
        house.authority.keep_up_once().await;
        let ended = house.authority.crl("sub-root-1", 0).await.unwrap_err();
        assert!(ended.public().contains("ca import --crl"), "{ended}");
    });
}
