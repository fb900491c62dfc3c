//! A clock that leaps, as after a suspension or a move to another machine, and one that is put right again.

use super::ocsp_answers::{request as asks_about, signed};
use super::*;
use openssl::hash::MessageDigest;

#[test]
fn r21_what_is_published_follows_a_clock_that_leaps_and_is_put_back() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house.issue(server("a.test")).await.unwrap();
        let asks = asks_about(&[&issued], MessageDigest::sha1());
        let start = house.clock.now();
        // Each time from here back and forth by days and a year: nothing is of a time that has not come, nothing is old.
        let mut number = 0;
        for days in [0, 9, 1, 60, 0, 365, 2] {
            let now = start + DAY * days;
            house.log.sign_now().await.unwrap();
            house.clock.set(now);
            let due = house.authority.keep_up_once().await;
            assert!(now < due && due <= now + UPKEEP_EVERY, "day {days}: {due}");
            let list = house.crl_of(&issued.serial).await;
            assert!(list.this_update <= now && now < list.half(), "day {days}");
            assert!(list.number >= number, "numbers only rise, whatever the time");
            number = list.number;
            let answer = signed(&house, &asks).await;
            assert!(answer.window.this_update <= now, "day {days}");
            assert!(now < answer.window.next_update, "day {days}");
            let responder = house.authority.answering().await.unwrap();
            assert!(responder.validity.not_before <= now, "day {days}");
            assert!(now < responder.validity.not_after, "day {days}");
        }
        assert!(number > 5, "made anew when it had to be");

        // A revocation is on the next list, whatever the time was when the last one was made.
        house.revoke(&issued.serial, Reason::Superseded).await.unwrap();
        assert_eq!(serials(&*house.crl_of(&issued.serial).await), [issued.serial.as_str()]);
    });
}

/// A pause after a failure is a pause, however far the clock is put back in it.
#[test]
fn r21_what_failed_before_a_clock_was_put_back_is_tried_again() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house.issue(server("a.test")).await.unwrap();
        let asks = asks_about(&[&issued], MessageDigest::sha1());
        house.authority.answering().await.unwrap();
        house.clock.advance(DAY);
        house.log.sign_now().await.unwrap();
        let away = token.dir().join("away");
        fs::rename(token.tokens(), &away).unwrap();
        let shard = hierarchy().crl_shard(&issued.serial.parse().unwrap());
        let list = async || house.authority.crl("internal-issuing-1", shard).await;
        list().await.unwrap_err();
        assert!(matches!(
            house.authority.ocsp("internal-issuing-1", &asks).await.unwrap(),
            Answer::Refused(_)
        ));
        fs::rename(&away, token.tokens()).unwrap();
        while let Err(e) = house.hsm.probe().await {
            assert!(e.is_retryable(), "{e}");
        }
        house.clock.set(START + Duration::from_secs(400));
        assert_eq!(list().await.unwrap().this_update, house.clock.now());
        signed(&house, &asks).await;
    });
}
