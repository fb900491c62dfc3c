//! Revocation lists, and the list of all that was issued.

use super::*;

#[test]
fn r14_r15_lists_are_fresh_with_nothing_revoked_and_numbers_only_rise() {
    with_token(|token| async move {
        let house = house(&token).await;
        let list = async || house.authority.crl("internal-issuing-1", 5).await.unwrap();
        let mut last = list().await;
        let half = hierarchy().crl_validity() / 2;
        for _ in 0..3 {
            house.clock.advance(half + Duration::from_secs(1));
            let due = house.authority.keep_up_once().await;
            assert!(due > house.clock.now());
            let next = list().await;
            assert!(next.number > last.number);
            assert!(
                last.next_update > house.clock.now(),
                "made before the last one grew old"
            );
            assert_eq!(next.this_update, house.clock.now());
            last = next;
        }
        let root = house.authority.crl("internal-root-1", 0).await.unwrap();
        assert!(serials(&root).is_empty());
        for (label, shard) in [("internal-issuing-1", 16), ("internal-root-1", 1), ("other", 0)] {
            let error = house.authority.crl(label, shard).await.unwrap_err();
            assert_eq!(error.kind(), Kind::NotFound);
        }
    });
}

/// R13: what an independent reader finds in the certificates is what the lists say, and all of it.
#[test]
fn r13_the_lists_together_say_all_that_is_revoked_each_where_its_certificates_name_it() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut expected: BTreeMap<u32, Vec<String>> = BTreeMap::new();
        for n in 0..40 {
            let issued = house.issue(server(&format!("h{n}.test"))).await.unwrap();
            let text = String::from_utf8_lossy(&issued.certificate).into_owned();
            let address = text
                .split("http://pki.chancery.test/crl/internal-issuing-1/")
                .nth(1)
                .unwrap();
            let shard: u32 = address.split(".crl").next().unwrap().parse().unwrap();
            if n % 4 == 0 {
                continue;
            }
            house.revoke(&issued.serial, Reason::Superseded).await.unwrap();
            expected.entry(shard).or_default().push(issued.serial);
        }
        let opened = async || {
            let keys = keys(&house.hsm).await;
            let profiles = Profile::built_in().unwrap();
            let (gate, hsm, identity) = (house.gate.clone(), house.hsm.clone(), house.identity.clone());
            Authority::open(gate, hsm, identity, hierarchy(), profiles, keys)
                .await
                .unwrap()
        };
        let said = async |authority: &Authority| {
            let mut said = BTreeMap::new();
            for shard in 0..hierarchy().crl_shards() {
                let list = authority.crl("internal-issuing-1", shard).await.unwrap();
                let mut serials = serials(&list);
                serials.sort_unstable();
                if !serials.is_empty() {
                    said.insert(shard, serials);
                }
            }
            said
        };
        expected.values_mut().for_each(|serials| serials.sort_unstable());
        assert_eq!(said(&house.authority).await, expected);
        // After a restart nothing is made anew; after the half of a list's life all is, from the store.
        let calls = house.hsm.calls();
        let again = opened().await;
        assert_eq!(said(&again).await, expected);
        assert_eq!(house.hsm.calls(), calls);
        house.clock.advance(hierarchy().crl_validity() / 2);
        assert_eq!(said(&again).await, expected);
        // A list bears its entries until one was made after their certificates' end.
        house.clock.advance(DAY * 100);
        assert_eq!(said(&again).await, BTreeMap::new());
    });
}

#[test]
fn fewer_shards_leave_those_that_certificates_name() {
    with_token(|token| async move {
        let house = house(&token).await;
        house.authority.crl("internal-issuing-1", 15).await.unwrap();
        let text = include_str!("../../../pki/hierarchy.toml").replace("shards = 16", "shards = 2");
        let place = Place {
            zone: "chancery.test".to_owned(),
            http: "http://pki.chancery.test".to_owned(),
        };
        let again = Authority::open(
            house.gate.clone(),
            house.hsm.clone(),
            house.identity.clone(),
            Hierarchy::parse(&text, place).unwrap(),
            Profile::built_in().unwrap(),
            keys(&house.hsm).await,
        )
        .await
        .unwrap();
        house.clock.advance(hierarchy().crl_validity() / 2);
        assert_eq!(
            again.crl("internal-issuing-1", 15).await.unwrap().this_update,
            house.clock.now()
        );
    });
}

#[test]
fn upkeep_publishes_after_a_revocation_without_being_asked() {
    with_token(|token| async move {
        let house = house(&token).await;
        let issued = house.issue(server("a.test")).await.unwrap();
        let upkeep = tokio::spawn({
            let authority = house.authority.clone();
            async move { authority.keep_up().await }
        });
        let shard = hierarchy().crl_shard(&issued.serial.parse().unwrap());
        let number = async || {
            revoked::repo::newer_crl(house.gate.store().read(), "internal-issuing-1", shard, 0)
                .await
                .unwrap()
                .map_or(0, |row| row.number)
        };
        while number().await == 0 {
            tokio::task::yield_now().await;
        }
        let before = number().await;
        house.revoke(&issued.serial, Reason::Superseded).await.unwrap();
        while number().await == before {
            tokio::task::yield_now().await;
        }
        assert_eq!(serials(&*house.crl_of(&issued.serial).await), [issued.serial.as_str()]);
        upkeep.abort();
    });
}

#[test]
fn all_that_was_issued_is_listed_page_by_page() {
    with_token(|token| async move {
        let house = house(&token).await;
        let mut made = Vec::new();
        for n in 0..5 {
            made.push(house.issue(server(&format!("h{n}.test"))).await.unwrap().serial);
        }
        made.reverse();
        let mut seen = Vec::new();
        let mut cursor = None;
        loop {
            let page = house.list(cursor, 2).await;
            assert!(page.items.len() <= 2);
            seen.extend(page.items.into_iter().map(|it| it.serial));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen.len(), 7);
        assert_eq!(seen[..5], made);
    });
}
