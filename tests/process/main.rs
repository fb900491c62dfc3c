//! The real program as others meet it: started, signalled, killed, refused. A file each; the renewals have
//! `tests/crash_renewal.rs`, what must not be found in clear has `tests/peers/canaries.rs`.

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

#[cfg(feature = "faults")]
mod backups;
mod ceremony;
mod chaos;
mod connections;
mod disks;
mod endings;
mod judging;
#[cfg(feature = "faults")]
mod kill;
mod open;
mod own_certificate;
mod recovery;
mod refusals;
#[cfg(feature = "faults")]
mod rotation;
mod sinks;
mod upkeep;
