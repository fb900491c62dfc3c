//! OCSP answers, signed once or for one.

use super::*;
use openssl::hash::MessageDigest;
use openssl::ocsp::{OcspCertId, OcspCertStatus, OcspFlag, OcspRequest, OcspResponse, OcspResponseStatus};
use openssl::stack::Stack;
use openssl::x509::X509;
use openssl::x509::store::X509StoreBuilder;

/// OpenSSL's own request about these certificates.
pub(super) fn request(issued: &[&Issued], digest: MessageDigest) -> Vec<u8> {
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

pub(super) async fn signed(house: &House, request: &[u8]) -> Arc<Response> {
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

/// Two authorities side by side: what either says is signed below its own root, and it says nothing about the other's.
#[test]
fn each_authority_answers_for_itself_by_its_own_responder() {
    with_token(|token| async move {
        let house = house(&token).await;
        let devices: Label = "devices".parse().unwrap();
        house
            .perform(InitAuthority {
                authority: devices.clone(),
                key_type: None,
                origin: Origin::Token,
            })
            .await
            .unwrap();
        house.authority.keep_up_once().await;
        let own = house.issue(server("a.test")).await.unwrap();
        let operation = IssueCertificate {
            authority: devices.clone(),
            idempotency_key: None,
            request: server("a.test"),
        };
        let other = house.perform(operation).await.unwrap();
        let roots = [None, Some(&devices)];
        let mut trusting = Vec::new();
        for authority in roots {
            let bundle = house.authority.trust_bundle(authority).await.unwrap();
            let mut store = X509StoreBuilder::new().unwrap();
            store
                .add_cert(X509::from_der(&bundle.roots[0].certificate).unwrap())
                .unwrap();
            store
                .set_flags(openssl::x509::verify::X509VerifyFlags::NO_CHECK_TIME)
                .unwrap();
            trusting.push(store.build());
        }
        for (place, label) in ["internal-issuing-1", "devices-issuing-1"].into_iter().enumerate() {
            for (whose, one) in [&own, &other].into_iter().enumerate() {
                let asks = request(&[one], MessageDigest::sha256());
                let answer = house.authority.ocsp(label, &asks).await.unwrap();
                if place != whose {
                    assert!(
                        matches!(answer, Answer::Refused(crate::x509::ocsp::Refusal::Unauthorized)),
                        "{label} speaks of the other's: {answer:?}"
                    );
                    continue;
                }
                let Answer::Signed(response) = answer else {
                    panic!("{label}: {answer:?}")
                };
                let basic = OcspResponse::from_der(&response.der).unwrap().basic().unwrap();
                assert_eq!(
                    basic.find_status(&id(one, MessageDigest::sha256())).unwrap().status,
                    OcspCertStatus::GOOD
                );
                for (trusted, store) in trusting.iter().enumerate() {
                    let mut issuers = Stack::new().unwrap();
                    issuers.push(X509::from_der(&one.chain[1]).unwrap()).unwrap();
                    let verified = basic.verify(&issuers, store, OcspFlag::empty());
                    assert_eq!(verified.is_ok(), trusted == place, "{label} by the root of {trusted}");
                }
            }
        }
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
