//! Chancery: a certificate authority, renewal scheduler and key vault whose issuing keys live in an HSM.
//!
//! # The house
//! A room imports lower floors only; siblings never import each other (`tests/house.rs`).
//!
//! | floor | rooms |
//! |---|---|
//! | 0 | [`clock`], [`entropy`], [`secret`], [`error`], [`id`], [`key_type`], [`fault`] |
//! | 1 | [`hsm`], [`policy`], [`store`], [`wire`], [`x509`] |
//! | 2 | [`audit`], [`authz`], [`identity`], [`seal`] |
//! | 3 | [`gate`] |
//! | 4 | [`access`], [`ca`], [`upstream`], [`vault`] |
//! | 5 | [`acme`], [`enrollment`], [`lifecycle`] |
//! | 6 | [`surface`] |
//! | c | [`client`], [`agent`], [`cli`] |

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::disallowed_methods,
        clippy::allow_attributes,
        reason = "a test may panic: that is how it fails"
    )
)]

pub mod access;
pub mod acme;
pub mod agent;
pub mod audit;
pub mod authz;
pub mod backup;
pub mod ca;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod crontab;
pub mod custody;
pub mod enrollment;
pub mod entropy;
pub mod error;
pub mod fault;
pub mod gate;
pub mod hsm;
pub mod id;
pub mod identity;
pub mod key_type;
pub mod lifecycle;
pub mod limit;
pub mod policy;
pub mod program;
pub mod seal;
pub mod secret;
pub mod server;
pub mod store;
pub mod surface;
pub mod upstream;
pub mod vault;
pub mod webhook;
pub mod wire;

// The helper that brings tokens to tests speaks of this crate by its name, here as in `tests/`.
#[cfg(test)]
extern crate self as chancery;
#[cfg(test)]
#[path = "../tests/support/child.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the programs in tests/")]
mod child;
#[cfg(test)]
#[path = "../tests/support/postgres.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the programs in tests/")]
mod postgres;
#[cfg(test)]
#[path = "../tests/support/softhsm.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the programs in tests/")]
mod softhsm;
pub mod x509;
