//! Handing a certificate and its key to whoever serves them: files, then a hook.
//!
//! Deliveries may be repeated: each one checks what is there already. A new way of delivery is a file of its own here
//! and a field of the certificate object.

pub mod files;
pub mod hook;
