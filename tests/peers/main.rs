//! Tests against real peers, a file each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

#[path = "../support/mod.rs"]
mod support;

mod acme_clients;
mod canaries;
mod custody;
mod judges;
mod pebble;
mod postgres;
mod readme;
mod setup;
