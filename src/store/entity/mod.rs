//! The tables as sea-orm sees them. Visible to `repo.rs` files and to `store` only.

pub mod change_counter;
pub mod intent;
pub mod lease;
pub mod outbox;
pub mod outbox_position;
