//! Proving control over a name to an ACME server. One file per challenge type.

pub mod http_01;
