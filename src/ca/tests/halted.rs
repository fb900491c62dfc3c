//! Issuing stopped, and keys blocked.

use super::*;

#[test]
fn r11_issuing_stops_at_once_where_it_is_told_to_and_goes_on() {
    with_token(|token| async move {
        let house = house(&token).await;
        let label = |text: &str| Some(text.parse::<Label>().unwrap());
        let stop = |authority, profile| StopIssuing {
            authority,
            profile,
            reason: "a wrong profile".to_owned(),
        };
        let client = || request("client-tls", KeyType::EcP256, &["a.test"]);
        for (authority, profile, others_too) in [
            (None, None, true),
            (label("internal"), None, true),
            (None, label("server-tls"), false),
            (label("internal"), label("server-tls"), false),
        ] {
            let calls = house.hsm.calls();
            house.perform(stop(authority.clone(), profile.clone())).await.unwrap();
            let refused = house.issue(server("a.test")).await.unwrap_err();
            assert_eq!(refused.kind(), Kind::Unavailable);
            assert!(refused.public().contains("a wrong profile"), "{refused:?}");
            assert!(refused.retry_in().is_some());
            assert_eq!(house.hsm.calls(), calls);
            assert_eq!(house.issue(client()).await.is_err(), others_too);
            // The service's own listener goes on.
            house.enrol("spiffe://chancery.test/listener").await;
            house.authority.crl("internal-issuing-1", 0).await.unwrap();
            let twice = house.perform(stop(authority.clone(), profile.clone())).await;
            assert_eq!(twice.unwrap_err().kind(), Kind::Conflict);
            assert_eq!(house.perform(ListStops).await.unwrap().len(), 1);
            let resume = ResumeIssuing { authority, profile };
            house.perform(resume.clone()).await.unwrap();
            assert_eq!(house.perform(resume).await.unwrap_err().kind(), Kind::NotFound);
            house.issue(server("a.test")).await.unwrap();
        }
        for wrong in [stop(label("other"), None), stop(None, label("nope"))] {
            house.perform(wrong).await.unwrap_err();
        }
        assert!(house.outcomes("StopIssuing").await.contains(&"done".to_owned()));
    });
}

#[test]
fn a_blocked_key_is_never_certified() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        house.issue(asked.clone()).await.unwrap();
        let hash = crate::x509::inspect::spki_sha256(asked.key.spki()).unwrap();
        let block = |hash: &str| BlockKey {
            spki_sha256: hash.to_owned(),
            reason: "found in a repository".to_owned(),
        };
        house.perform(block(&hash.to_uppercase())).await.unwrap();
        let refused = house.issue(asked).await.unwrap_err();
        assert!(refused.public().contains("this key is blocked"), "{refused:?}");
        assert_eq!(house.perform(block(&hash)).await.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(house.perform(block("12")).await.unwrap_err().kind(), Kind::Invalid);
        let page = ListBlockedKeys { after: None, limit: 9 };
        assert_eq!(house.perform(page).await.unwrap()[0].spki_sha256, hash);
        house.issue(server("b.test")).await.unwrap();
    });
}
