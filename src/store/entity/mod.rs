//! The tables as sea-orm sees them. Visible to `repo.rs` files and to `store` only.

pub mod acme_challenge;
pub mod audit_entry;
pub mod audit_log;
pub mod authority_issuer;
pub mod certificate;
pub mod certificate_version;
pub mod change_counter;
pub mod crl;
pub mod dek;
pub mod identity;
pub mod intent;
pub mod issue_request;
pub mod issued;
pub mod issuer;
pub mod join_token;
pub mod lease;
pub mod ocsp_responder;
pub mod outbox;
pub mod outbox_position;
pub mod renewal;
pub mod role_assignment;
pub mod secret;
pub mod secret_version;
pub mod token_key;
pub mod vault;
