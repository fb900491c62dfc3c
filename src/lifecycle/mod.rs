//! The life of certificates that other CAs issue: when to renew, how, delivery, and whether the new one is served.
//!
//! A renewal is a row that goes through the states of [`State`], one idempotent step at a time; each step is an
//! [`Operation`](crate::gate::Operation) of the scheduler's in `steps/`, so that it is decided and recorded like any
//! other act, and what it changed commits together with its record. Whatever is killed goes on from its row.
//!
//! It must never make a key anywhere but here and in the store (sealed), give a step two effects outside of the
//! database, or let a renewal that cannot end keep the next one from being planned. A new step is a state, a file in
//! `steps/` and an arm in `schedule`.

mod backoff;
mod certificate;
mod create;
pub mod deliver;
pub mod leaf;
pub mod maintenance;
mod renew;
mod renewal;
mod repo;
mod revoke;
mod schedule;
mod show;
mod steps;
pub mod verify_served;
pub mod window;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::Notify;

use self::backoff::Patience;
pub use self::create::CreateCertificate;
use self::deliver::files::Roots;
use self::deliver::hook::Programs;
pub use self::renew::RenewCertificate;
pub use self::renewal::{Renewal, State};
pub use self::revoke::RevokeCertificate;
pub use self::schedule::Scheduler;
pub use self::show::{DownloadCertificate, ListCertificates, ListRenewals, ShowCertificate, ShowRenewal};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::seal::Sealer;
use crate::store::Store;
use crate::upstream::Upstream;

/// How renewals are run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How many renewals are worked on at the same time.
    pub workers: usize,
    /// The folders below which certificates may be delivered. None: no delivery to files.
    pub delivery_roots: Vec<PathBuf>,
    /// The folders below which the password files of key stores lie, or single files. None: no key stores.
    pub password_roots: Vec<PathBuf>,
    /// The folders whose programs may be deploy hooks, or single programs. None: no hooks.
    pub hook_roots: Vec<PathBuf>,
    /// The user, or `user:group`, that hooks run as; the service's own if it is left out. Needs root.
    pub hook_user: Option<String>,
    /// How long a hook may take, in seconds.
    pub hook_timeout_s: u32,
    /// How long a server may take to serve the new certificate, in seconds.
    pub verify_within_s: u32,
    /// After a first failure, at most so long until the next try, in seconds; doubled with each.
    pub retry_first_s: u32,
    /// The longest that a try is put off, in seconds, unless the issuer asks for more.
    pub retry_longest_s: u32,
    /// After so many refusals in a row that trying again does not help against, a renewal stops.
    pub stop_after: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: 4,
            delivery_roots: Vec::new(),
            password_roots: Vec::new(),
            hook_roots: Vec::new(),
            hook_user: None,
            hook_timeout_s: 60,
            verify_within_s: 30,
            retry_first_s: 60,
            retry_longest_s: 6 * 3600,
            stop_after: 8,
        }
    }
}

/// How long a worker holds a renewal without a sign of life. Every step ends sooner.
const LEASE: Duration = Duration::from_secs(240);
/// No hook and no verification may take longer, or the lease would run out under it.
const LONGEST_STEP_S: u32 = 150;

/// The engine behind certificate objects and their renewals.
pub struct Lifecycle {
    store: Store,
    sealer: Sealer,
    upstream: Arc<Upstream>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    roots: Roots,
    programs: Programs,
    hook_user: Option<String>,
    hook_timeout: Duration,
    verify_within: Duration,
    patience: Patience,
    workers: usize,
    /// There may be something to do.
    wake: Arc<Notify>,
}

impl Lifecycle {
    /// Over `store`, with leaf keys sealed by `sealer`, ordering from `upstream`.
    pub fn new(
        settings: &Settings,
        store: Store,
        sealer: Sealer,
        upstream: Arc<Upstream>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let step = |seconds: u32| Duration::from_secs(u64::from(seconds.clamp(1, LONGEST_STEP_S)));
        let retry_first = Duration::from_secs(u64::from(settings.retry_first_s.max(1)));
        Self {
            store,
            sealer,
            upstream,
            clock,
            entropy,
            roots: Roots {
                delivery: settings.delivery_roots.clone(),
                passwords: settings.password_roots.clone(),
            },
            programs: Programs(settings.hook_roots.clone()),
            hook_user: settings.hook_user.clone(),
            hook_timeout: step(settings.hook_timeout_s),
            verify_within: step(settings.verify_within_s),
            patience: Patience {
                first: retry_first,
                longest: retry_first.max(Duration::from_secs(u64::from(settings.retry_longest_s))),
                stop_after: settings.stop_after.max(1),
            },
            workers: settings.workers.max(1),
            wake: Arc::default(),
        }
    }
}
