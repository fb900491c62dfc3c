//! http-01 (RFC 8555 §8.3): answers stand in the store, so that any node's plain-HTTP listener gives them.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::store::{Store, Tx};
use crate::upstream::repo;

/// How long an answer stays if nobody takes it away: longer than any validation.
const LIFETIME: Duration = Duration::from_secs(3600);
/// Longer than any token seen; RFC 8555 asks for at least 22 characters.
const LONGEST_TOKEN: usize = 256;

/// What to say to a validating CA. Public by nature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The name being validated.
    pub domain: String,
    /// The last part of the path that the CA asks for.
    pub token: String,
    /// The body of the answer.
    pub key_authorization: String,
}

/// The body for `/.well-known/acme-challenge/<token>`; `None` if we have no such challenge.
///
/// # Errors
/// The store's.
pub async fn answer(store: &Store, token: &str) -> Result<Option<String>> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if token.is_empty() || token.len() > LONGEST_TOKEN || !token.bytes().all(plain) {
        return Ok(None);
    }
    repo::answer(store, token).await
}

/// Puts the answers of an order up, in the transaction of the act that needs them, and sweeps what is long over.
///
/// # Errors
/// The store's.
pub async fn publish(tx: &Tx, order_url: &str, answers: &[Answer], now: Timestamp) -> Result<()> {
    repo::publish(tx, order_url, answers, now + LIFETIME, now).await
}

/// Takes the answers of an order away, whoever put them up.
///
/// # Errors
/// The store's.
pub async fn withdraw(tx: &Tx, order_url: &str) -> Result<()> {
    repo::withdraw(tx, order_url).await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;
    use crate::store::Settings;

    #[tokio::test]
    async fn an_answer_is_given_until_it_is_withdrawn() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("chancery.db").display());
        let store = Store::open(&Settings { url }, &"n1".parse().unwrap()).await.unwrap();
        let answers = Arc::new([Answer {
            domain: "x.test".to_owned(),
            token: "to-ken_1".to_owned(),
            key_authorization: "to-ken_1.thumb".to_owned(),
        }]);
        let now = Timestamp::from_unix(1000);
        for _ in 0..2 {
            let answers = answers.clone();
            store
                .transact(move |tx| {
                    let answers = answers.clone();
                    async move { publish(tx, "https://ca/order/1", &*answers, now).await }.boxed()
                })
                .await
                .unwrap();
        }
        assert_eq!(
            answer(&store, "to-ken_1").await.unwrap().as_deref(),
            Some("to-ken_1.thumb")
        );
        for unknown in ["to-ken_2", "", "../etc", "a/b"] {
            assert_eq!(answer(&store, unknown).await.unwrap(), None, "{unknown}");
        }
        store
            .transact(|tx| async move { withdraw(tx, "https://ca/order/1").await }.boxed())
            .await
            .unwrap();
        assert_eq!(answer(&store, "to-ken_1").await.unwrap(), None);
    }
}
