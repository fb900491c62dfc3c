//! Revocation: by serial, by key, by proof, of what the store lost.

use super::*;

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
            authority: house.authority.name().clone(),
            clock: house.clock.clone(),
            store: house.gate.store().clone(),
        };
        other.attach(Arc::new(trust)).await.unwrap();
        let chain: Vec<CertificateDer<'_>> = gone.chain.iter().map(|der| der.as_slice().into()).collect();
        let request = Id::random(&SeededEntropy::new(9)).unwrap();
        let refused = other
            .authenticate(&chain, "192.0.2.1:7".parse().unwrap(), request.into(), START)
            .await;
        assert!(refused.is_err());
    });
}

/// R16: a revocation is done and known whatever becomes of its list, costs the same after tens of thousands, and no list
/// is too large for the store that it lies in.
#[test]
fn r16_a_revocation_needs_no_list_and_costs_the_same_however_many_there_were() {
    const BEFORE: u64 = 60_000;
    with_token(|token| async move {
        let house = house(&token).await;
        let mut left = Vec::new();
        for n in 0..10 {
            left.push(house.enrol(&format!("spiffe://chancery.test/n{n}")).await);
        }
        let timed = async |one: &Issued| {
            let begun = std::time::Instant::now();
            house.revoke(&one.serial, Reason::Superseded).await.unwrap();
            begun.elapsed()
        };
        let mut first = Vec::new();
        for one in left.drain(..5) {
            first.push(timed(&one).await);
        }

        // The shard of the next one grows beyond a megabyte, and beyond what one statement or record may hold.
        let shard = hierarchy().crl_shard(&left[0].serial.parse().unwrap());
        repo::fill_revoked(house.gate.store(), "internal-issuing-1", shard, BEFORE)
            .await
            .unwrap();
        // Without the token no list can be made.
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let mut later = Vec::new();
        for one in &left {
            later.push(timed(one).await);
            let refused = house.authenticate(one).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Unauthenticated, "known before the answer");
        }
        house.authority.crl("internal-issuing-1", shard).await.unwrap_err();
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        house.clock.advance(Duration::from_secs(2));
        let list = house.crl_of(&left[0].serial).await;
        assert!(list.der.len() > 1 << 21, "{}", list.der.len());
        let serials = serials(&list);
        assert!(serials.len() as u64 > BEFORE && serials.contains(&left[0].serial));

        // The same, but for what a busy machine adds; a peer takes seconds at a quarter of this.
        first.sort_unstable();
        later.sort_unstable();
        assert!(
            later[2] < first[2] * 5 + Duration::from_millis(50),
            "{first:?} {later:?}"
        );
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
        let says = async |bytes: &[u8]| {
            revoke_proven(&house.authority, "192.0.2.1:7".parse().unwrap(), request.into(), bytes).await
        };

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
