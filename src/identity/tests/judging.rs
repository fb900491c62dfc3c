//! Callers, judged for every request.

use super::*;

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
        .authenticate(&chain, "192.0.2.1:1".parse().unwrap(), request.into(), NOW)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
}

#[tokio::test]
async fn grace_is_for_renewing_and_for_what_ended_only() {
    let house = House::new().await;
    let chain = house.issuing.leaf(7, |_| ());
    let second = Duration::from_secs(1);
    let renew = async |chain: &[CertificateDer<'_>], now| {
        let request = Id::random(&SeededEntropy::new(1)).unwrap();
        let source = "192.0.2.1:4711".parse().unwrap();
        house
            .identity
            .authenticate_renewing(chain, source, request.into(), now)
            .await
    };
    let refusal = async |chain: &[CertificateDer<'_>], now| {
        let error = renew(chain, now).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unauthenticated, "{error:?}");
        error.public().to_owned()
    };
    let late = NOW + HOUR + second;
    assert!(
        refusal(&chain, late).await.contains("ended at"),
        "who is not registered has none"
    );
    house.register("spiffe://chancery.test/web").await.unwrap();
    assert!(
        refusal(&chain, late).await.contains("ended at"),
        "there is none by default"
    );
    renew(&chain, NOW).await.unwrap();

    house.give_grace("spiffe://chancery.test/web", HOUR).await;
    let caller = renew(&chain, late).await.unwrap();
    assert_eq!(caller.not_after, Some(NOW + HOUR));
    renew(&chain, NOW + HOUR * 2).await.unwrap();
    let over = refusal(&chain, NOW + HOUR * 2 + second).await;
    assert!(over.contains("ended at"), "{over}");
    assert!(
        house.refusal(&chain, late).await.contains("ended at"),
        "nothing but renewing"
    );
    let early = refusal(&chain, NOW - HOUR - second).await;
    assert!(early.contains("is valid from"), "{early}");

    // Banned is not ended: not before, not after, and the text says which it is.
    let revoked = house.issuing.leaf(0xbad, |_| ());
    assert!(refusal(&revoked, late).await.contains("`0bad` is revoked"));
    // Its end is over, so that only the store knows of it.
    house.identity.0.refused().revoked.clear();
    assert!(refusal(&revoked, late).await.contains("`0bad` is revoked"));
    house
        .identity
        .note_disabled(&"spiffe://chancery.test/web".parse().unwrap(), true);
    let banned = refusal(&chain, late).await;
    assert!(banned.contains("is disabled") && !banned.contains("ended"), "{banned}");
    house
        .identity
        .note_disabled(&"spiffe://chancery.test/web".parse().unwrap(), false);

    // Whoever stands above it must be valid now.
    let long = house.issuing.leaf(8, |says| says.to = NOW + HOUR * 10);
    let above = refusal(&long, NOW + HOUR * 10 + second).await;
    assert!(above.contains("an authority above"), "{above}");
}
