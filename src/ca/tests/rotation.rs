//! A new issuing CA or root takes the place of the old one.

use super::*;
use crate::ca::issuers::Role;

const DAY_S: i64 = 86_400;

impl House {
    async fn stages(&self) -> Vec<String> {
        let authority = self.authority.name().clone();
        let progress = self.perform(ShowRotation { authority }).await.unwrap();
        let spell = |one: Progress| format!("{} {}", one.label, one.stage);
        progress.into_iter().map(spell).collect()
    }

    async fn rotate(&self, root: bool) -> Result<String> {
        self.perform(RotateAuthority {
            authority: self.authority.name().clone(),
            key_type: None,
            root,
        })
        .await
    }

    /// Upkeep's round after that many seconds.
    async fn later(&self, seconds: i64) {
        self.clock.advance(Duration::from_secs(seconds.unsigned_abs()));
        self.authority.keep_up_once().await;
    }

    /// A caller's certificate, verified up to one of these roots as its relying parties do.
    fn leads_to(&self, issued: &Issued, root: &[u8]) -> bool {
        let now = self.clock.now();
        let mut below = Issuer::read(issued.chain.last().unwrap()).unwrap();
        if Issuer::read(root).unwrap().verify(below.der()).is_err() {
            return false;
        }
        for der in issued.chain.iter().rev().skip(1) {
            assert!(chain::Facts::read(der).unwrap().validity.not_after >= now);
            if below.verify(der).is_err() {
                return false;
            }
            if let Ok(next) = Issuer::read(der) {
                below = next;
            }
        }
        true
    }
}

#[test]
fn an_issuing_ca_is_replaced_with_an_overlap_and_nothing_breaks() {
    with_token(|token| async move {
        let house = house(&token).await;
        let long = IssueRequest {
            validity: Some(DAY * 30),
            ..server("old.test")
        };
        let old = house.issue(long).await.unwrap();
        assert_eq!(house.rotate(false).await.unwrap(), "internal-issuing-2");
        assert_eq!(house.rotate(false).await.unwrap_err().kind(), Kind::Conflict);

        house.later(0).await;
        assert_eq!(
            house.stages().await,
            [
                "internal-root-1 active",
                "internal-issuing-1 active",
                "internal-issuing-2 published"
            ]
        );
        let bundle = house.authority.trust_bundle(None).await.unwrap();
        assert_eq!((bundle.roots.len(), bundle.issuers.len()), (1, 2));
        // Published, it has lists and answers already, and signs nothing else.
        assert!(house.authority.crl("internal-issuing-2", 0).await.is_ok());
        let before = house.issue(server("before.test")).await.unwrap();
        assert_eq!(before.chain[1], old.chain[1]);

        let mut signs = house.authority.signs();
        signs.mark_unchanged();
        house.later(DAY_S - 60).await;
        let node = house.enrol("spiffe://chancery.test/node").await;
        assert_eq!(node.chain[1], old.chain[1]);
        house.later(60).await;
        assert_eq!(*signs.borrow_and_update(), "internal-issuing-2");
        let new = house.issue(server("new.test")).await.unwrap();
        assert_ne!(new.chain[1], old.chain[1]);
        assert_eq!(
            house.authority.issuer_certificate("internal-issuing-2").unwrap(),
            new.chain[1]
        );
        // Both are good; each is revoked, listed and found where it was issued.
        for issued in [&old, &new] {
            assert_eq!(
                house.authority.issued(&issued.serial).await.unwrap().chain,
                issued.chain
            );
        }
        house.authenticate(&node).await.unwrap();
        let key_id = house
            .authority
            .signer("internal-issuing-1")
            .unwrap()
            .issuer
            .key_id()
            .to_vec();
        let serial = old.serial.parse().unwrap();
        assert!(!house.authority.standing(&key_id, &serial).await.unwrap().is_lost);
        house.revoke(&before.serial, Reason::Superseded).await.unwrap();

        // Time is up: what is left is to be replaced at once (RFC 9773), and is named.
        house.later(7 * DAY_S).await;
        assert_eq!(house.stages().await[1], "internal-issuing-1 tainted");
        let long = house.issue(server("long.test")).await.unwrap();
        assert_eq!(long.chain[1], new.chain[1]);

        // Nothing of it is valid any more.
        house.later(30 * DAY_S).await;
        assert_eq!(house.stages().await[1], "internal-issuing-1 retired");
        assert_eq!(house.authority.trust_bundle(None).await.unwrap().issuers.len(), 1);
        assert!(house.authority.issuer_certificate("internal-issuing-1").is_some());
        // All this holds after a restart, too.
        let (gate, hsm, identity) = (house.gate.clone(), house.hsm.clone(), house.identity.clone());
        let (profiles, keys) = (Profile::built_in().unwrap(), keys(&house.hsm).await);
        let again = Authority::open(gate, hsm, identity, hierarchy(), profiles, keys)
            .await
            .unwrap();
        assert_eq!(
            again.trust_bundle(None).await.unwrap(),
            house.authority.trust_bundle(None).await.unwrap()
        );
        assert_eq!(*again.signs().borrow(), "internal-issuing-2");
    });
}

#[test]
fn a_caller_with_a_certificate_by_pss_is_known() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = RotateAuthority {
            authority: house.authority.name().clone(),
            key_type: Some(KeyType::RsaPss2048),
            root: false,
        };
        house.perform(asked).await.unwrap();
        house.later(0).await;
        house.later(DAY_S).await;
        let node = house.enrol("spiffe://chancery.test/node").await;
        let signed_by = openssl::x509::X509::from_der(&node.certificate).unwrap();
        let signed_by = signed_by.signature_algorithm().object().nid();
        assert_eq!(signed_by, openssl::nid::Nid::RSASSAPSS);
        house.authenticate(&node).await.unwrap();
    });
}

#[test]
fn those_who_hold_an_old_certificate_are_named_and_keep_the_old_issuer_alive() {
    with_token(|token| async move {
        let house = house(&token).await;
        let asked = server("slow.test");
        let validity = Some(DAY * 60);
        let slow = house.issue(IssueRequest { validity, ..asked }).await.unwrap();
        house.rotate(false).await.unwrap();
        house.later(0).await;
        house.later(DAY_S).await;
        let authority = house.authority.name().clone();
        let taint = TaintIssuer {
            authority: authority.clone(),
            number: 1,
        };
        let retire = |force| RetireIssuer {
            authority: authority.clone(),
            force,
            number: 1,
        };
        assert_eq!(house.perform(retire(true)).await.unwrap_err().kind(), Kind::Conflict);
        let signing = TaintIssuer {
            number: 2,
            ..taint.clone()
        };
        assert_eq!(house.perform(signing).await.unwrap_err().kind(), Kind::Conflict);
        house.perform(taint).await.unwrap();
        house.later(0).await;

        let key_id = house
            .authority
            .signer("internal-issuing-1")
            .unwrap()
            .issuer
            .key_id()
            .to_vec();
        let serial = slow.serial.parse().unwrap();
        assert!(house.authority.standing(&key_id, &serial).await.unwrap().is_lost);
        let progress = house
            .perform(ShowRotation {
                authority: authority.clone(),
            })
            .await
            .unwrap();
        let old = progress
            .iter()
            .find(|one| one.number == 1 && one.role == Role::Issuing)
            .unwrap();
        assert_eq!(old.stage, Stage::Tainted);
        let left: Vec<&str> = old.left.iter().map(|one| one.serial.as_str()).collect();
        assert_eq!(left, [slow.serial.as_str()]);
        let error = house.perform(retire(false)).await.unwrap_err();
        assert!(error.public().contains("--force"), "{error}");
        let late = house.enrol("spiffe://chancery.test/late").await;
        assert_eq!(
            late.chain[1],
            house.authority.issuer_certificate("internal-issuing-2").unwrap()
        );
        house.perform(retire(true)).await.unwrap();
        assert_eq!(house.stages().await[1], "internal-issuing-1 retired");
        // It is on its root's list, and what stands below it is not taken even with its whole chain.
        let issuer = chain::Facts::read(&slow.chain[1]).unwrap();
        let list = house.authority.crl("internal-root-1", 0).await.unwrap();
        assert_eq!(serials(&list), [issuer.serial]);
        house.authenticate(&late).await.unwrap();
    });
}

#[test]
fn a_root_is_replaced_and_whoever_trusts_either_is_served_meanwhile() {
    with_token(|token| async move {
        let house = house(&token).await;
        let roots =
            |bundle: TrustBundle| -> Vec<Vec<u8>> { bundle.roots.into_iter().map(|one| one.certificate).collect() };
        let first = roots(house.authority.trust_bundle(None).await.unwrap());
        assert_eq!(house.rotate(true).await.unwrap(), "internal-root-2");
        house.later(0).await;
        let both = roots(house.authority.trust_bundle(None).await.unwrap());
        assert_eq!(both.len(), 2);
        assert_eq!(both[0], first[0]);
        // The root is active after one overlap, the issuing CA below it after a second one.
        house.later(DAY_S).await;
        assert_eq!(
            house.stages().await,
            [
                "internal-root-1 replaced",
                "internal-root-2 active",
                "internal-issuing-1 active",
                "internal-issuing-2 published"
            ]
        );
        house.later(DAY_S - 60).await;
        let node = house.enrol("spiffe://chancery.test/node").await;
        assert_eq!(node.chain.len(), 2);
        house.later(60).await;
        let new = house.issue(server("new.test")).await.unwrap();
        assert_eq!(new.chain.len(), 3);
        assert!(house.leads_to(&new, &both[0]), "those who know the old root only");
        let chains = house.authority.chains(&new);
        assert_eq!(chains, [new.chain.clone(), new.chain[..2].to_vec()]);
        assert_eq!(house.authority.chains(&node), std::slice::from_ref(&node.chain));
        let short = Issued {
            chain: chains[1].clone(),
            ..new.clone()
        };
        assert!(house.leads_to(&short, &both[1]), "those who know the new root");
        assert!(!house.leads_to(&short, &both[0]));
        house.authenticate(&node).await.unwrap();
        let newer = house.enrol("spiffe://chancery.test/newer").await;
        house.authenticate(&newer).await.unwrap();

        house.later(7 * DAY_S).await;
        house.later(30 * DAY_S).await;
        assert_eq!(
            house.stages().await,
            [
                "internal-root-1 retired",
                "internal-root-2 active",
                "internal-issuing-1 retired",
                "internal-issuing-2 active"
            ]
        );
        assert_eq!(roots(house.authority.trust_bundle(None).await.unwrap()), both[1..]);
        assert_eq!(house.authority.roots_pem(), pem::encode_chain(&both[1..]));
        assert_eq!(house.issue(server("late.test")).await.unwrap().chain.len(), 2);
    });
}
