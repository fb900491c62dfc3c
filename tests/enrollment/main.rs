//! How callers come by their certificates and roles, through the gate, on both engines, with a real token: the first
//! administrator, join tokens that are replayed or stolen, lost answers, re-enrolment, refusals, and what is recorded.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

#[path = "../support/mod.rs"]
mod support;

/// Each story on each engine.
macro_rules! on_both_engines {
    ($($story:ident),* $(,)?) => {
        mod on_sqlite {
            $(#[test]
            fn $story() {
                crate::support::softhsm::with_token(|token| async move {
                    let url = format!("sqlite:{}", token.dir().join("chancery.db").display());
                    super::$story(crate::house::House::open(&token, &url, "n1").await).await;
                });
            })*
        }
        mod on_postgres {
            $(#[test]
            fn $story() {
                crate::support::softhsm::with_token(|token| async move {
                    let url = crate::support::postgres::Postgres::shared().database();
                    super::$story(crate::house::House::open(&token, &url, "n1").await).await;
                });
            })*
        }
    };
}

mod certificates;
mod house;
mod issuer;
mod oidc;
mod tokens;
