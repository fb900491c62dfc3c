//! The ACME server's domain (RFC 8555): what its accounts, orders and authorizations mean, and how control over a name
//! is proven.
//!
//! Nothing here knows HTTP routes or JSON on the wire: `surface/acme` translates.

pub mod identifier;
pub mod validation;
