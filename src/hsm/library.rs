//! The PKCS#11 library in this process: loaded once, initialised while somebody uses it, and the barrier around it.
//!
//! PKCS#11 has one state per process and library (`C_Initialize`, the login, every session), so this is the one place
//! in the house that keeps something process-wide: a register of libraries, each shared by all the doors opened on it.
//!
//! INVARIANT: every call into the library happens inside a [`Pass`]. `C_Finalize` beside a running call is a SIGSEGV,
//! so it happens only with the barrier closed, when no pass is out and no thread can get one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use tracing::{info, warn};

use super::error::HsmError;
use super::worker::lock;

/// Between two tries to bring a lost token back: doubled after each failure, from 50 ms up to this.
const MAX_PAUSE: Duration = Duration::from_secs(2);
const MIN_PAUSE: Duration = Duration::from_millis(50);

static LIBRARIES: LazyLock<Mutex<HashMap<PathBuf, Entry>>> = LazyLock::new(Mutex::default);

struct Entry {
    library: Arc<Library>,
    users: usize,
}

/// One loaded library.
pub(super) struct Library {
    pkcs11: Pkcs11,
    /// Readers are calls, the writer is the one that finalizes: this lock is the barrier.
    state: RwLock<State>,
    patience: Mutex<Patience>,
    /// Key making is serialised: SoftHSM errs under concurrent generation.
    making: Mutex<()>,
}

struct State {
    /// Counts initialisations. Handles and sessions of an earlier one are void.
    epoch: u64,
    up: bool,
}

#[derive(Default)]
struct Patience {
    failures: u32,
    not_before: Option<Instant>,
}

/// The right to call the library, for the time of one call.
pub(super) struct Pass<'l> {
    library: &'l Library,
    state: RwLockReadGuard<'l, State>,
}

impl Pass<'_> {
    pub(super) fn epoch(&self) -> u64 {
        self.state.epoch
    }

    pub(super) fn making(&self) -> &Mutex<()> {
        &self.library.making
    }

    /// The library, if it is initialised.
    pub(super) fn pkcs11(&self) -> Option<&Pkcs11> {
        self.state.up.then_some(&self.library.pkcs11)
    }
}

impl Library {
    /// Waits while the barrier is closed.
    pub(super) fn enter(&self) -> Pass<'_> {
        Pass {
            library: self,
            state: self.state.read().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Closes the barrier, waits until every worker of every door is out of the library, finalizes and initialises
    /// it anew. Does nothing if that has happened since `seen`.
    ///
    /// # Errors
    /// `TokenLost` while the last try is too recent: the token must not be hammered by everybody who misses it.
    pub(super) fn revive(&self, seen: u64, why: &str) -> Result<(), HsmError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.epoch != seen {
            return Ok(());
        }
        let mut patience = lock(&self.patience);
        if patience.not_before.is_some_and(|at| Instant::now() < at) {
            return Err(HsmError::TokenLost(why.to_owned()));
        }
        warn!(why, "token lost: finalizing and initialising the PKCS#11 library anew");
        if state.up
            && let Err(error) = self.pkcs11.clone().finalize()
        {
            warn!(%error, "finalizing the PKCS#11 library failed");
        }
        let initialised = self.pkcs11.initialize(arguments());
        state.epoch += 1;
        state.up = initialised.is_ok();
        let pause = MIN_PAUSE.saturating_mul(1 << patience.failures.min(10)).min(MAX_PAUSE);
        patience.failures = patience.failures.saturating_add(1);
        patience.not_before = Some(Instant::now() + pause);
        initialised.map_err(|error| HsmError::TokenLost(format!("{why}, and its library says {error}")))
    }

    /// A call that had lost the token went through: the next loss is healed at once again.
    pub(super) fn revived(&self) {
        let mut patience = lock(&self.patience);
        if patience.failures > 0 {
            *patience = Patience::default();
            info!("token is back");
        }
    }
}

/// A share in a library. It stays initialised while one is alive.
pub(super) struct Lease {
    key: PathBuf,
    library: Arc<Library>,
}

impl Lease {
    /// Loads and initialises the library at `path`, or joins those who use it already.
    pub(super) fn take(path: &Path) -> Result<Self, HsmError> {
        let broken = |reason: String| HsmError::Module {
            path: path.display().to_string(),
            reason,
        };
        let key = path.canonicalize().map_err(|e| broken(e.to_string()))?;
        let mut libraries = lock(&LIBRARIES);
        if !libraries.contains_key(&key) {
            let library = Arc::new(Library {
                pkcs11: Pkcs11::new(&key).map_err(|e| broken(e.to_string()))?,
                state: RwLock::new(State { epoch: 0, up: false }),
                patience: Mutex::default(),
                making: Mutex::default(),
            });
            // It is never unloaded again: libraries leave exit handlers and thread locals behind.
            libraries.insert(key.clone(), Entry { library, users: 0 });
        }
        let Some(entry) = libraries.get_mut(&key) else {
            return Err(broken("it vanished from the register".to_owned()));
        };
        if entry.users == 0 {
            let mut state = entry.library.state.write().unwrap_or_else(PoisonError::into_inner);
            entry
                .library
                .pkcs11
                .initialize(arguments())
                .map_err(|e| broken(e.to_string()))?;
            state.epoch += 1;
            state.up = true;
            *lock(&entry.library.patience) = Patience::default();
        }
        entry.users += 1;
        Ok(Self {
            library: Arc::clone(&entry.library),
            key,
        })
    }

    pub(super) fn library(&self) -> &Library {
        &self.library
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut libraries = lock(&LIBRARIES);
        let Some(entry) = libraries.get_mut(&self.key) else {
            return;
        };
        entry.users = entry.users.saturating_sub(1);
        if entry.users > 0 {
            return;
        }
        // Under the register's lock, so that nobody initialises between the last user's end and this.
        let mut state = entry.library.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.up
            && let Err(error) = entry.library.pkcs11.clone().finalize()
        {
            warn!(%error, "finalizing the PKCS#11 library failed");
        }
        state.up = false;
        state.epoch += 1;
    }
}

fn arguments() -> CInitializeArgs {
    CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)
}
