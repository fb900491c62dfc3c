//! The register of identities and their join tokens.

use futures::FutureExt;

use super::*;
use crate::identity::register::{self, JoinToken, Registration};
use crate::policy::SpiffeId;

impl House {
    pub(super) async fn register(&self, id: &str) -> Result<()> {
        let identity = self.identity.clone();
        let registration = Registration {
            id: id.parse().unwrap(),
            ttl: Some(HOUR),
            grace: None,
            created: NOW,
            disabled: None,
        };
        self.store
            .transact(move |tx| {
                let (identity, registration) = (identity.clone(), registration.clone());
                async move { identity.register(tx, &registration).await }.boxed()
            })
            .await
    }

    pub(super) async fn give_grace(&self, id: &str, grace: Duration) {
        let (identity, id): (_, SpiffeId) = (self.identity.clone(), id.parse().unwrap());
        self.store
            .transact(move |tx| {
                let (identity, id) = (identity.clone(), id.clone());
                async move { identity.update(tx, &id, Some(HOUR), Some(grace)).await }.boxed()
            })
            .await
            .unwrap();
    }

    async fn token(&self, seed: u64, id: &str, life: Duration) -> Result<JoinToken> {
        let token = JoinToken::random(&SeededEntropy::new(seed)).unwrap();
        let (identity, digest) = (self.identity.clone(), token.digest());
        let id: SpiffeId = id.parse().unwrap();
        self.store
            .transact(move |tx| {
                let (identity, digest, id) = (identity.clone(), digest.clone(), id.clone());
                async move { identity.issue_token(tx, &digest, &id, NOW, NOW + life).await }.boxed()
            })
            .await?;
        Ok(token)
    }

    async fn look_up(&self, token: &JoinToken, key: &str, now: Timestamp) -> Result<register::Claim> {
        self.identity.look_up(&token.digest(), key, now).await
    }

    async fn claim(&self, token: &JoinToken, key: &'static str, now: Timestamp) -> Result<()> {
        let (identity, digest) = (self.identity.clone(), token.digest());
        self.store
            .transact(move |tx| {
                let (identity, digest) = (identity.clone(), digest.clone());
                async move { identity.claim(tx, &digest, key, now).await }.boxed()
            })
            .await
    }

    async fn redeem(&self, token: &JoinToken, serial: &'static str) -> Result<()> {
        let (identity, digest) = (self.identity.clone(), token.digest());
        self.store
            .transact(move |tx| {
                let (identity, digest) = (identity.clone(), digest.clone());
                async move { identity.redeem(tx, &digest, serial).await }.boxed()
            })
            .await
    }
}

#[tokio::test]
async fn an_identity_is_registered_once_in_our_trust_domain() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let twice = house.register("spiffe://chancery.test/web").await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    let elsewhere = house.register("spiffe://other.test/web").await.unwrap_err();
    assert!(
        elsewhere.public().contains("begin it with `spiffe://chancery.test/`"),
        "{elsewhere}"
    );
    house.register("spiffe://chancery.test/db").await.unwrap();
    let first = house.identity.registrations(None, 1).await.unwrap();
    assert_eq!(first[0].id.path(), "/db");
    let rest = house.identity.registrations(Some(&first[0].id), 9).await.unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].ttl, Some(HOUR));
    let unknown = "spiffe://chancery.test/nobody".parse().unwrap();
    assert_eq!(
        house.identity.registration(&unknown).await.unwrap_err().kind(),
        Kind::NotFound
    );
}

#[tokio::test]
async fn a_join_token_is_for_one_key_and_a_lost_answer_can_be_asked_for_again() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let token = house.token(1, "spiffe://chancery.test/web", HOUR).await.unwrap();

    let first = house.look_up(&token, "key-1", NOW).await.unwrap();
    assert_eq!(first.registration.id.path(), "/web");
    assert_eq!(first.serial, None);
    house
        .look_up(&token, "key-2", NOW)
        .await
        .expect("nothing is bound by looking");
    house.claim(&token, "key-1", NOW).await.unwrap();
    house
        .claim(&token, "key-1", NOW)
        .await
        .expect("the same key, before a certificate was issued");
    house.redeem(&token, "0abc").await.unwrap();
    let twice = house.redeem(&token, "0def").await.unwrap_err();
    assert_eq!(twice.kind(), Kind::Conflict);
    let again = house
        .look_up(&token, "key-1", NOW + Duration::from_secs(3_599))
        .await
        .unwrap();
    assert_eq!(again.serial.as_deref(), Some("0abc"));

    for thief in [
        house.look_up(&token, "key-2", NOW).await.map(|_| ()).unwrap_err(),
        house.claim(&token, "key-2", NOW).await.unwrap_err(),
    ] {
        assert_eq!(thief.kind(), Kind::Unauthenticated);
        let text = thief.public();
        assert!(
            text.contains("used by another key") && text.contains("`0abc`"),
            "{text}"
        );
    }
    for late in [
        house
            .look_up(&token, "key-1", NOW + HOUR)
            .await
            .map(|_| ())
            .unwrap_err(),
        house.claim(&token, "key-1", NOW + HOUR).await.unwrap_err(),
    ] {
        assert!(late.public().contains("ended at"), "{late}");
    }

    let unknown = JoinToken::random(&SeededEntropy::new(2)).unwrap();
    assert!(!house.identity.is_token_known(&unknown.digest()).await.unwrap());
    let unknown = house.claim(&unknown, "key-1", NOW).await.unwrap_err();
    assert!(unknown.public().contains("is not known"), "{unknown}");
    let nobody = house
        .token(3, "spiffe://chancery.test/nobody", HOUR)
        .await
        .err()
        .unwrap();
    assert_eq!(nobody.kind(), Kind::NotFound);
}

#[tokio::test]
async fn who_has_enrolled_is_known() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let web: SpiffeId = "spiffe://chancery.test/web".parse().unwrap();
    let token = house.token(1, web.as_str(), HOUR).await.unwrap();
    assert!(!house.identity.has_enrolled(std::slice::from_ref(&web)).await.unwrap());
    house.redeem(&token, "0abc").await.unwrap();
    assert!(house.identity.has_enrolled(&[web]).await.unwrap());
    assert!(
        !house
            .identity
            .has_enrolled(&["spiffe://chancery.test/db".parse().unwrap()])
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn of_two_keys_at_once_one_is_bound() {
    let house = House::new().await;
    house.register("spiffe://chancery.test/web").await.unwrap();
    let token = house.token(1, "spiffe://chancery.test/web", HOUR).await.unwrap();
    let (a, b) = tokio::join!(house.claim(&token, "key-1", NOW), house.claim(&token, "key-2", NOW));
    assert!(a.is_ok() != b.is_ok());
}

#[test]
fn a_join_token_comes_back_from_its_text_and_no_refusal_repeats_it() {
    let token = JoinToken::random(&SeededEntropy::new(1)).unwrap();
    let digest = token.digest();
    let text = String::from_utf8(token.into_secret().expose().to_vec()).unwrap();
    assert_eq!(text.len(), 46);
    assert_eq!(JoinToken::parse(&format!(" {text}\n")).unwrap().digest(), digest);
    for bad in ["", "hunter2", &text[3..], &format!("{text}{text}")] {
        let error = JoinToken::parse(bad).err().unwrap();
        assert!(bad.is_empty() || !error.to_string().contains(bad));
    }
}
