//! What the test programs share: peers as child processes, the real service as one, ports and folders.
//!
//! A missing peer fails the test and says how to get it; nothing is skipped. A new peer gets a file here.

// Not every test program uses every part.
#![allow(dead_code, unreachable_pub, reason = "shared by several test programs")]

pub mod acme;
pub mod audit;
pub mod child;
pub mod disk;
pub mod judges;
pub mod node;
pub mod pebble;
pub mod postgres;
pub mod process;
pub mod renewing;
pub mod server;
pub mod softhsm;
pub mod sumdb;
pub mod wire;
