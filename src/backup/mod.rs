//! The backup of the whole service: one file, made while the service runs, from which an empty database becomes what it
//! was at one moment.
//!
//! It holds the file's format (`file`, and `item` for what is sealed in it), the making of one (`create`) and the putting
//! back (`restore`). Rows are read in one snapshot of the database, and the audit log up to a checkpoint that covers all
//! that the snapshot shows; both are the engine's own no longer, so what SQLite had PostgreSQL takes. It must never put
//! rows back into a database that has some, hand out a byte before the record of it is durable, or go on with the log of
//! a service that it was made from. A new table is named in `store::tables`; what must not live on as it was is changed
//! in `repo`.

mod create;
mod file;
mod item;
mod repo;
mod restore;

pub use self::create::{Backups, CreateBackup};
pub use self::file::{Header, Opened, Sealed};
pub use self::item::{Item, OldLog};
pub use self::restore::{NewLog, OldLogs, Restored, Target, restore};
