//! What the process does to itself before it holds a secret.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::error::{Error, Result};

/// As many open files as we are allowed, no core files, no reading of our memory by other processes of the same user, and no swapping out of it where the
/// system allows to lock it.
///
/// # Errors
/// `Internal`, if the middle two cannot be had.
pub(super) fn harden() -> Result<()> {
    let files = getrlimit(Resource::Nofile);
    let most = Rlimit {
        current: files.maximum,
        maximum: files.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none).map_err(|e| Error::internal("RLIMIT_CORE cannot be set").because(e))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|e| Error::internal("PR_SET_DUMPABLE cannot be set").because(e))?;
    // Locking what is mapped later too would make every large mapping fail under a small RLIMIT_MEMLOCK.
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::ONFAULT) {
        tracing::warn!(%error, "memory is not locked and may be swapped: raise LimitMEMLOCK, or use encrypted swap");
    }
    Ok(())
}
