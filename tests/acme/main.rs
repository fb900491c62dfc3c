//! The ACME server against the texts of its standards: each row of the matrix of requirements is a test named by its
//! number (`row_15_..`: RFC 8555), driven by a client of our own that can be wrong on purpose.
//!
//! Rows whose number is missing here are about validation, which has them beside its code, or say that nothing is to be
//! done.

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

mod accounts;
mod authorities;
mod certificates;
mod external;
mod house;
mod limits;
mod nodes;
mod orders;
mod profiles;
mod renewals;
mod stock;
#[path = "../support/mod.rs"]
mod support;
mod transport;
mod upkeep;
