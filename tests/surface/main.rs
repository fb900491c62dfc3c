//! The native API as a client sees it: routes, answers and refusals, over the real rooms behind the real gate. Requests
//! go straight into the routes, as the listeners would pass them on.

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

mod authorities;
mod certificates;
mod house;
mod identities;
mod keys;
mod operators;
mod requests;
mod secrets;
mod trust;
mod vaults;
