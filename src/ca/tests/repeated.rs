//! What was begun and not finished, and requests that come twice.

use super::*;

#[test]
fn r03_what_was_reserved_and_not_signed_is_found_and_revoked() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.issue(server("a.test")).await.unwrap();
        let shards = hierarchy().crl_shards();
        let mut good = Vec::new();
        for shard in 0..shards {
            good.push(house.authority.crl("internal-issuing-1", shard).await.unwrap());
        }
        let published = house.outcomes("PublishCrl").await.len();
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let error = house.issue(server("b.test")).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
        let reserved = house.list(None, 1).await.items.remove(0);
        assert_eq!(reserved.state, State::Reserved);

        // Revoking needs no token; the list does, and the last good one is served meanwhile.
        house.revoke(&reserved.serial, Reason::Unspecified).await.unwrap();
        let good = &good[hierarchy().crl_shard(&reserved.serial.parse().unwrap()) as usize];
        assert_eq!(house.crl_of(&reserved.serial).await, *good);
        assert_eq!(house.crl_of(&reserved.serial).await, *good);
        assert_eq!(
            house.outcomes("PublishCrl").await.len(),
            published + 2,
            "one try, not one for every reader"
        );
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        house.clock.advance(Duration::from_secs(2));
        assert_eq!(
            serials(&*house.crl_of(&reserved.serial).await),
            [reserved.serial.as_str()]
        );
    });
}

#[test]
fn a_repeated_request_gives_the_same_certificate_and_no_second_signature() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        let first = house.issue_once(asked.clone(), "k1").await.unwrap();
        let calls = house.hsm.calls();
        assert_eq!(house.issue_once(asked.clone(), "k1").await.unwrap(), first);
        assert_eq!(house.hsm.calls(), calls);
        let other = house.issue_once(server("a.test"), "k1").await.unwrap_err();
        assert!(other.public().contains("use a new key for a new request"), "{other:?}");
        assert_ne!(
            house.issue_once(asked.clone(), "k2").await.unwrap().serial,
            first.serial
        );

        // A try that came to nothing is tried again, and its serial is never handed out.
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let fresh = server("b.test");
        house.issue_once(fresh.clone(), "k3").await.unwrap_err();
        let lost = house.list(None, 1).await.items.remove(0);
        assert_eq!(lost.state, State::Reserved);
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        let second = house.issue_once(fresh.clone(), "k3").await.unwrap();
        assert_ne!(second.serial, lost.serial);
        assert_eq!(house.issue_once(fresh.clone(), "k3").await.unwrap(), second);
        house.revoke(&second.serial, Reason::Superseded).await.unwrap();
        let gone = house.issue_once(fresh, "k3").await.unwrap_err();
        assert!(gone.public().contains("was revoked"), "{gone:?}");

        house.clock.advance(DAY * 2);
        let later = house.issue_once(asked.clone(), "k9").await.unwrap();
        let again = house.issue_once(asked, "k1").await.unwrap();
        assert_ne!(again.serial, first.serial, "keys are remembered for a day");
        assert_ne!(again.serial, later.serial);
    });
}

#[test]
fn of_many_requests_with_one_key_one_certificate_is_handed_out() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("a.test");
        let answers = futures::future::join_all((0..8).map(|_| house.issue_once(asked.clone(), "k"))).await;
        let mut given: Vec<String> = answers.into_iter().flatten().map(|issued| issued.serial).collect();
        given.push(house.issue_once(asked, "k").await.unwrap().serial);
        given.dedup();
        assert_eq!(given.len(), 1, "{given:?}");
    });
}
