//! The life of certificates that other CAs issue: when to renew, how, delivery, and whether the new one is served.

pub mod deliver;
pub mod leaf;
pub mod maintenance;
pub mod verify_served;
pub mod window;
