//! The whole service in one process: every room, the real store (SQLite and PostgreSQL), a real token, a clock that is
//! moved by hand. Requests go through the same routes as over TLS; only the handshake is missing.
//!
//! A test is a function over a [`house::TestHouse`]; `on_both!` runs it on both engines.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::allow_attributes,
    reason = "a test may panic: that is how it fails"
)]

#[macro_use]
mod house;
mod access;
mod issuing;
mod refusals;
#[path = "../support/mod.rs"]
mod support;
