//! The scheduler: finds renewals for which it is time, takes their lease, and takes their steps.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::Lifecycle;
use super::backoff::Class;
use super::repo;
use super::steps::defer::Defer;
use super::steps::{self, Onward, Work};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::gate::Gate;
use crate::id::Id;
use crate::identity::Caller;
use crate::policy::system;

/// How long to sleep at most: another node may have made something due, or died with a lease.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
const LONGEST_SLEEP_SHARED: Duration = Duration::from_secs(5);
/// After a failure to look.
const AFTER_FAILURE: Duration = Duration::from_secs(5);

/// The running scheduler of a node.
pub struct Scheduler {
    task: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

impl Scheduler {
    /// Starts it. It ends by [`Scheduler::stop`].
    pub fn start(gate: Gate, lifecycle: Arc<Lifecycle>) -> Self {
        let (stop, stopped) = watch::channel(false);
        Self {
            task: tokio::spawn(run(gate, lifecycle, stopped)),
            stop,
        }
    }

    /// Takes nothing up any more, and waits for what runs to finish its step. Whatever is cut off later goes on from its
    /// row.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the scheduler ended badly");
        }
    }

    /// Whether it still runs; it never ends by itself.
    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }
}

async fn run(gate: Gate, lifecycle: Arc<Lifecycle>, mut stop: watch::Receiver<bool>) {
    // CRASH: what this node held before it died is its own to go on with; nobody else runs under its name.
    let mut workers = JoinSet::new();
    let mut fresh = true;
    while !*stop.borrow() {
        let found = async {
            if fresh {
                lifecycle.release(None).await?;
            }
            let room = lifecycle.workers.saturating_sub(workers.len());
            lifecycle.claim(room).await
        };
        let sleep_until = match found.await {
            Ok(claimed) => {
                fresh = false;
                let any = !claimed.is_empty();
                for id in claimed {
                    workers.spawn(drive(gate.clone(), lifecycle.clone(), id, stop.clone()));
                }
                if any {
                    None
                } else {
                    lifecycle.wake_time(workers.len()).await
                }
            }
            Err(error) => {
                tracing::warn!(error = %error.detail(), "the scheduler cannot look for renewals");
                Some(lifecycle.clock.now() + AFTER_FAILURE)
            }
        };
        let Some(sleep_until) = sleep_until else { continue };
        tokio::select! {
            () = lifecycle.clock.sleep_until(sleep_until) => {}
            () = lifecycle.wake.notified() => {}
            Some(ended) = workers.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a renewal's worker ended badly; its lease will run out");
                }
            }
            _ = stop.changed() => {}
        }
    }
    while workers.join_next().await.is_some() {}
}

/// Takes steps until the renewal rests, fails or the scheduler stops.
async fn drive(gate: Gate, lifecycle: Arc<Lifecycle>, id: Id, stop: watch::Receiver<bool>) {
    let mut rests = false;
    while !rests && !*stop.borrow() {
        rests = match step(&gate, &lifecycle, id).await {
            Ok(onward) => onward == Onward::Rest,
            Err(error) => {
                tracing::warn!(renewal.id = %id, error = %error.detail(), "a renewal cannot go on");
                true
            }
        };
    }
    if let Err(error) = lifecycle.release(Some(id)).await {
        tracing::warn!(renewal.id = %id, error = %error.detail(), "a lease was not given back; it will run out");
    }
}

/// One step, and what follows if it fails.
async fn step(gate: &Gate, lifecycle: &Arc<Lifecycle>, id: Id) -> Result<Onward> {
    let read = lifecycle.store.read();
    let Some(renewal) = repo::renewal(read, id).await? else {
        return Ok(Onward::Rest);
    };
    if renewal.stopped {
        return Ok(Onward::Rest);
    }
    let certificate = repo::certificate_by_id(read, renewal.certificate).await?;
    let work = Arc::new(Work { renewal, certificate });
    let caller = Caller::system(system::SCHEDULER, &*lifecycle.entropy)?;
    let error = match steps::take(gate, lifecycle, &caller, work.clone()).await {
        Ok(onward) => return Ok(onward),
        Err(error) => error,
    };
    tracing::warn!(
        cert.name = %work.renewal.name, renewal.id = %id, renewal.state = %work.renewal.state,
        error = %error.detail(), "a step of the renewal of `{}` failed", work.renewal.name
    );
    let defer = Defer {
        class: Class::of(&error),
        text: error.public().to_owned(),
        retry_after: error.retry_in(),
        work,
    };
    gate.perform(&caller, &**lifecycle, defer).await?;
    Ok(Onward::Rest)
}

impl Lifecycle {
    async fn claim(&self, room: usize) -> Result<Vec<Id>> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let (node, now) = (self.store.node().clone(), self.clock.now());
        let limit = u64::try_from(room).unwrap_or(u64::MAX);
        // A look without a lock first: an idle scheduler writes nothing.
        match repo::next_time(&self.store, &node, now).await? {
            Some(next) if next <= now => {}
            _ => return Ok(Vec::new()),
        }
        self.store
            .transact(move |tx| {
                let node = node.clone();
                async move { repo::claim(tx, &node, now, limit).await }.boxed()
            })
            .await
    }

    /// When to look again.
    async fn wake_time(&self, working: usize) -> Option<Timestamp> {
        let now = self.clock.now();
        let longest = if self.store.is_shared() {
            LONGEST_SLEEP_SHARED
        } else {
            LONGEST_SLEEP
        };
        if working >= self.workers {
            // A worker that ends wakes the scheduler.
            return Some(now + longest);
        }
        match repo::next_time(&self.store, self.store.node(), now).await {
            Ok(Some(next)) if next <= now => None,
            Ok(Some(next)) => Some(next.min(now + longest)),
            Ok(None) => Some(now + longest),
            Err(error) => {
                tracing::warn!(error = %error.detail(), "the scheduler cannot see what is next");
                Some(now + AFTER_FAILURE)
            }
        }
    }

    async fn release(&self, one: Option<Id>) -> Result<u64> {
        let node = self.store.node().clone();
        self.store
            .transact(move |tx| {
                let node = node.clone();
                async move { repo::release(tx, &node, one).await }.boxed()
            })
            .await
    }
}
