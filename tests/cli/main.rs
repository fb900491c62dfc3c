//! The command line and the client: transcripts of the real program, and its words for what a service answers.
//!
//! The service here is a script of answers, to reach what a real one says only on bad days; that client and service
//! understand each other is proven where the real service runs.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::allow_attributes,
        clippy::disallowed_methods,
        reason = "a test may panic: that is how it fails"
    )
)]

mod agent;
mod answers;
mod audit;
mod client;
mod issue;
mod service;
mod transcripts;
