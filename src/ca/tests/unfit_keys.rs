//! Keys that become unfit while a certificate for them is made.

use futures::future::BoxFuture;

use super::*;
use crate::gate::{Effect, Permit};
use crate::store::Tx;
use crate::x509::key::PublicKey;
use crate::x509::known_keys::{DEBIAN, KnownKeys};

/// Issues; behind the signature, before the certificate is stored, the key becomes unfit.
struct IssueMeanwhile {
    request: IssueRequest,
    /// A certificate of the same key that is revoked as compromised; else the key is blocked.
    revoked: Option<String>,
}

struct Meanwhile {
    key: String,
    revoked: Option<String>,
}

impl Alongside for Meanwhile {
    fn stored<'t>(&'t self, tx: &'t Tx, _issued: &'t Issued) -> BoxFuture<'t, Result<()>> {
        async move {
            match &self.revoked {
                Some(serial) => {
                    let label = "internal-issuing-1";
                    let revision = revoked::repo::next_revision(tx, label).await?;
                    revoked::repo::mark(tx, serial, Reason::KeyCompromise, START, revision).await?;
                }
                None => halt::block(tx, &self.key).await?,
            }
            Ok(())
        }
        .boxed()
    }
}

impl Operation for IssueMeanwhile {
    const ACTION: Action = Action::IssueCertificate;
    const EFFECT: Effect = Effect::Act;
    type Engine = Authority;
    type Output = Issued;

    fn resource(&self) -> Resource {
        Authority::resource(&"internal".parse().unwrap())
    }

    async fn run(self, authority: &Authority, permit: &Permit) -> Result<Issued> {
        let meanwhile = Meanwhile {
            key: chain::sha256(self.request.key.spki()),
            revoked: self.revoked,
        };
        authority.issue(permit, self.request, meanwhile).await
    }
}

#[test]
fn r17_what_is_being_made_when_its_key_is_lost_is_not_handed_out() {
    with_token(|token| async move {
        let house = house(&token).await;
        let lost = server("a.test");
        let first = house.issue(lost.clone()).await.unwrap();
        let blocked = server("b.test");
        for (request, revoked, why) in [
            (lost.clone(), Some(first.serial.clone()), "revoked as compromised"),
            (blocked.clone(), None, "is blocked"),
        ] {
            house.clock.advance(Duration::from_millis(1));
            let calls = house.hsm.calls();
            let issue = IssueMeanwhile { request, revoked };
            let error = house.perform(issue).await.unwrap_err();
            assert!(error.public().contains(why), "{error:?}");
            assert_eq!(house.hsm.calls(), calls + 1, "it was signed, and given to nobody");
            assert_eq!(house.list(None, 1).await.items[0].state, State::Reserved);
        }
        // What the failed commit said is gone with it.
        house.revoke(&first.serial, Reason::KeyCompromise).await.unwrap();
        let spki_sha256 = chain::sha256(blocked.key.spki());
        let reason = "found in a repository".to_owned();
        house.perform(BlockKey { spki_sha256, reason }).await.unwrap();
        for request in [lost, blocked] {
            let calls = house.hsm.calls();
            assert_eq!(house.issue(request).await.unwrap_err().kind(), Kind::Invalid);
            assert_eq!(house.hsm.calls(), calls);
        }
    });
}

#[test]
fn a_key_that_others_know_is_never_certified() {
    with_token(|token| async move {
        let house = house(&token).await;
        let (spki, entry) = DEBIAN;
        let request = IssueRequest {
            key: PublicKey::from_spki(&hex::decode(spki).unwrap()).unwrap(),
            ..server("a.test")
        };
        house.issue(request.clone()).await.unwrap();
        let mut known = KnownKeys::default();
        known.add(entry).unwrap();
        house.authority.refuse(known);
        let calls = house.hsm.calls();
        let error = house.issue(request).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid);
        assert!(error.public().contains("CVE-2008-0166"), "{error:?}");
        assert_eq!(house.hsm.calls(), calls);
        house.issue(server("b.test")).await.unwrap();
    });
}
