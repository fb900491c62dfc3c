//! Records for others: files, stdout, syslog, webhooks; and checkpoints for others to hold (`anchor`).
//!
//! Each sink follows this node's log behind the writer, in the log's order, and never holds it up. How far it has come is
//! kept in the store (`repo`), a second later than it is so: after a crash it gets some records again, and none is left
//! out. A sink that must not be behind does not stop what is begun, whose records belong into the log; it keeps new acts
//! from beginning ([`Forward::accepts`]). A new kind of sink is a variant of [`Outlet`] and of `settings::Target`.

mod anchor;
mod lines;
mod repo;
mod settings;
mod syslog;
mod webhook;

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use self::anchor::AnchorSettings;
pub(super) use self::anchor::{Anchors, check as check_anchors};
use self::lines::Lines;
pub use self::settings::SinkSettings;
pub(super) use self::settings::check;
use self::settings::{Begin, Format, OnFailure, Target};
use self::syslog::Syslog;
use super::reader::Reader;
use super::tree::Tree;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::store::Store;
use crate::webhook::Webhook;

/// Records of one batch, and when it is long enough, in bytes.
const BATCH: u64 = 500;
const BATCH_BYTES: usize = 1 << 20;
/// How long after a record was taken this is kept.
const KEEP_MS: i64 = 1_000;
/// Pauses between trials: the first, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What sinks have at the end for what they have not taken yet.
const LAST: Duration = Duration::from_secs(3);
/// After a start nothing is refused for so long: first the sinks are tried.
const GRACE_MS: i64 = 10_000;
/// When nothing waits.
const NOTHING: i64 = i64::MAX;

const BEHIND: &str = "an audit sink does not take the records in time, so nothing is done: try again";

/// How far a sink or an anchor is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Its name.
    pub sink: String,
    /// How many durable records it has not taken.
    pub records: u64,
}

/// All sinks of this node.
pub(super) struct Forward {
    sinks: Vec<Arc<Follower>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    stop: watch::Sender<bool>,
}

/// One sink, as it follows the log.
struct Follower {
    settings: SinkSettings,
    store: Store,
    reader: Reader,
    durable: watch::Receiver<Tree>,
    clock: Arc<dyn Clock>,
    opened_ms: i64,
    /// What it gets next.
    next: AtomicU64,
    /// Since when, at the latest, the record that it gets next has waited for it; [`NOTHING`] if none does.
    waiting_ms: AtomicI64,
}

/// Records in a row, for one sink.
struct Batch {
    node: String,
    first: u64,
    records: Vec<Vec<u8>>,
}

/// What takes them.
enum Outlet {
    Lines(Lines),
    Syslog(Syslog),
    Webhook(Box<Webhook>, Format),
}

/// How far a follower has come.
struct Progress {
    next: u64,
    kept: u64,
    kept_ms: i64,
    /// How long the log was when it was looked at, and when that was.
    seen: Option<(u64, i64)>,
}

impl Forward {
    /// Starts a task for each sink. A new one begins where its settings say.
    ///
    /// # Errors
    /// `Invalid` if the settings are wrong; `Unavailable` if the store or a thread cannot be had.
    pub(super) async fn start(
        settings: &[SinkSettings],
        store: &Store,
        reader: &Reader,
        durable: &watch::Receiver<Tree>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        check(settings)?;
        let (stop, stopping) = watch::channel(false);
        let (mut sinks, mut tasks) = (Vec::new(), Vec::new());
        for sink in settings {
            let name = sink.name.as_str();
            let outlet = Outlet::new(sink)?;
            let size = durable.borrow().size();
            let next = match repo::next(store, name).await? {
                Some(next) if next > size => {
                    tracing::warn!(
                        "audit sink `{name}` has taken {next} records, and the log has {size}: it goes on from there"
                    );
                    size
                }
                Some(next) => next,
                None => {
                    let next = match sink.begin {
                        Begin::First => 0,
                        Begin::Now => size,
                    };
                    repo::keep(store, name, next).await?;
                    next
                }
            };
            let follower = Arc::new(Follower {
                settings: sink.clone(),
                store: store.clone(),
                reader: reader.clone(),
                durable: durable.clone(),
                clock: clock.clone(),
                opened_ms: clock.now_millis(),
                next: AtomicU64::new(next),
                waiting_ms: AtomicI64::new(NOTHING),
            });
            tasks.push(tokio::spawn(follower.clone().run(outlet, next, stopping.clone())));
            sinks.push(follower);
        }
        Ok(Self {
            sinks,
            tasks: Mutex::new(tasks),
            stop,
        })
    }

    /// Whether acts may begin.
    ///
    /// # Errors
    /// `Unavailable` while a sink that must not be is too far behind.
    pub(super) fn accepts(&self) -> Result<()> {
        self.sinks.iter().try_for_each(|sink| sink.accepts())
    }

    pub(super) fn lags(&self) -> Vec<Lag> {
        let lag = |sink: &Arc<Follower>| Lag {
            sink: sink.settings.name.to_string(),
            records: sink.lag(),
        };
        self.sinks.iter().map(lag).collect()
    }

    /// Gives the sinks a moment for what they have not taken, and ends them. The log must have ended before.
    pub(super) async fn close(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks());
        let aborts: Vec<_> = tasks.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(LAST, futures::future::join_all(tasks))
            .await
            .is_err()
        {
            aborts.iter().for_each(tokio::task::AbortHandle::abort);
        }
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.tasks().iter().for_each(JoinHandle::abort);
    }
}

impl Follower {
    fn size(&self) -> u64 {
        self.durable.borrow().size()
    }

    fn lag(&self) -> u64 {
        self.size().saturating_sub(self.next.load(Ordering::Acquire))
    }

    fn accepts(&self) -> Result<()> {
        let now = self.clock.now_millis();
        // A clock that was put back gives no second grace.
        let is_new = (0..GRACE_MS).contains(&now.saturating_sub(self.opened_ms));
        if self.settings.on_failure == OnFailure::Buffered || is_new {
            return Ok(());
        }
        let (lag, since) = (self.lag(), self.waiting_ms.load(Ordering::Acquire));
        let is_late = since != NOTHING && now.saturating_sub(since) > i64::from(self.settings.max_behind_s) * 1_000;
        if lag <= self.settings.max_behind_records && !is_late {
            return Ok(());
        }
        let why = format!("audit sink `{}` is {lag} records behind", self.settings.name);
        Err(Error::unavailable(BEHIND)
            .because(why)
            .retry_after(Duration::from_secs(1)))
    }

    /// Until the log is gone, or it is told to end and has nothing left that is taken.
    async fn run(self: Arc<Self>, mut outlet: Outlet, next: u64, mut stop: watch::Receiver<bool>) {
        let mut durable = self.durable.clone();
        let mut at = Progress {
            next,
            kept: next,
            kept_ms: self.clock.now_millis(),
            seen: None,
        };
        let mut pause = FIRST_PAUSE;
        let mut is_failing = false;
        loop {
            let size = durable.borrow_and_update().size();
            let is_stopping = *stop.borrow_and_update();
            let done = self.step(&mut outlet, &mut at, size, is_stopping).await;
            match &done {
                Err(why) if !is_failing => tracing::warn!(
                    "audit sink `{}` takes no records, {} wait for it: {why}",
                    self.settings.name,
                    self.lag()
                ),
                Ok(true) if is_failing => tracing::info!("audit sink `{}` takes records again", self.settings.name),
                _ => {}
            }
            let is_over = match done {
                Err(_) => {
                    is_failing = true;
                    let wait = pause;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    is_stopping
                        || first(self.clock.sleep(wait), stop.changed())
                            .await
                            .is_some_and(|told| told.is_err())
                }
                Ok(true) => {
                    is_failing = false;
                    pause = FIRST_PAUSE;
                    false
                }
                Ok(false) if is_stopping => true,
                Ok(false) => {
                    let told = async {
                        tokio::select! {
                            grown = durable.changed() => grown.is_err(),
                            told = stop.changed() => told.is_err(),
                        }
                    };
                    match at.kept < at.next {
                        true => first(self.clock.sleep(Duration::from_secs(1)), told)
                            .await
                            .unwrap_or(false),
                        false => told.await,
                    }
                }
            };
            if is_over {
                return;
            }
        }
    }

    /// Gives the sink one batch, if there is one, and keeps how far it has come, if it is time. Whether there was one.
    async fn step(
        &self,
        outlet: &mut Outlet,
        at: &mut Progress,
        size: u64,
        is_stopping: bool,
    ) -> std::result::Result<bool, String> {
        let is_there = at.next < size;
        self.look(at, size);
        if is_there {
            let batch = self.batch(at.next, size).await?;
            let given = outlet.give(&batch, &*self.clock);
            self.in_time(given).await?;
            at.next = batch.until();
            self.next.store(at.next, Ordering::Release);
            self.look(at, size);
        }
        let now = self.clock.now_millis();
        let is_due = (is_stopping && at.next >= size) || now.saturating_sub(at.kept_ms) >= KEEP_MS;
        if at.kept < at.next && is_due {
            if let Err(why) = self.in_time(outlet.settle()).await {
                // What is not known to last is given again.
                at.next = at.kept;
                self.next.store(at.next, Ordering::Release);
                return Err(why);
            }
            fault::point("audit.forward.before");
            // CRASH: it is kept only after it is so; until then the records come again.
            repo::keep(&self.store, self.settings.name.as_str(), at.next)
                .await
                .map_err(|error| error.detail())?;
            fault::point("audit.forward.after");
            at.kept = at.next;
            at.kept_ms = now;
        }
        Ok(is_there)
    }

    /// Notes since when the next record waits: since the last look at the log before it was there, at the latest.
    fn look(&self, at: &mut Progress, size: u64) {
        if at.next >= size {
            at.seen = None;
            self.waiting_ms.store(NOTHING, Ordering::Release);
            return;
        }
        let now = self.clock.now_millis();
        match at.seen {
            // Less, if the clock was put back.
            Some((seen, _)) if at.next < seen => drop(self.waiting_ms.fetch_min(now, Ordering::AcqRel)),
            Some((_, since)) => {
                self.waiting_ms.store(since, Ordering::Release);
                at.seen = Some((size, now));
            }
            None => {
                self.waiting_ms.store(now, Ordering::Release);
                at.seen = Some((size, now));
            }
        }
    }

    async fn batch(&self, first: u64, size: u64) -> std::result::Result<Batch, String> {
        let node = self.store.node().to_string();
        let until = size.min(first.saturating_add(BATCH));
        let mut records = self
            .reader
            .entries(&node, first, until)
            .await
            .map_err(|error| error.detail())?;
        let mut bytes = 0;
        let mut fits = |record: &Vec<u8>| {
            bytes += record.len();
            bytes <= BATCH_BYTES
        };
        // One record is always shorter.
        let count = records.iter().take_while(|record| fits(record)).count();
        records.truncate(count);
        if records.is_empty() {
            return Err(format!("audit record {first} cannot be read"));
        }
        Ok(Batch { node, first, records })
    }

    async fn in_time(
        &self,
        work: impl Future<Output = std::result::Result<(), String>>,
    ) -> std::result::Result<(), String> {
        let limit = Duration::from_secs(self.settings.timeout_s.into());
        tokio::time::timeout(limit, work)
            .await
            .unwrap_or_else(|_| Err(format!("it did not take them within {} s", limit.as_secs())))
    }
}

impl Outlet {
    fn new(settings: &SinkSettings) -> Result<Self> {
        let no_thread = |error| Error::unavailable("no thread for an audit sink").because(error);
        let outlet = match settings.target()? {
            Target::File(path) => Self::Lines(Lines::file(path).map_err(no_thread)?),
            Target::Stdout => Self::Lines(Lines::stdout().map_err(no_thread)?),
            Target::Socket(path) => Self::Syslog(Syslog::Socket { path, open: None }),
            Target::Udp(to) => Self::Syslog(Syslog::Udp { to, open: None }),
            Target::Tcp(to) => Self::Syslog(Syslog::Tcp { to, open: None }),
            Target::Webhook(webhook, format) => Self::Webhook(webhook, format),
        };
        Ok(outlet)
    }

    async fn give(&mut self, batch: &Batch, clock: &dyn Clock) -> std::result::Result<(), String> {
        match self {
            Self::Lines(lines) => lines.write(batch.lines()).await,
            Self::Syslog(syslog) => syslog.send(batch).await.map_err(|error| error.to_string()),
            Self::Webhook(hook, format) => webhook::send(hook, batch, *format, clock.now()).await,
        }
    }

    /// Returns once what it was given outlasts a crash of this host, as far as that can be known.
    async fn settle(&mut self) -> std::result::Result<(), String> {
        match self {
            Self::Lines(lines) => lines.sync().await,
            Self::Syslog(_) | Self::Webhook(..) => Ok(()),
        }
    }
}

impl Batch {
    /// The index behind the last of them.
    fn until(&self) -> u64 {
        self.first
            .saturating_add(u64::try_from(self.records.len()).unwrap_or(u64::MAX))
    }

    /// A record with its place, as `audit search` shows it. The record's bytes are those of the log.
    fn line(&self, index: u64, record: &[u8]) -> Vec<u8> {
        // A node's name needs no escapes.
        let mut line = format!(r#"{{"node":"{}","index":{index},"record":"#, self.node).into_bytes();
        line.extend_from_slice(record);
        line.push(b'}');
        line
    }

    fn lines(&self) -> Vec<u8> {
        let mut lines = Vec::new();
        for (index, record) in (self.first..).zip(&self.records) {
            lines.extend(self.line(index, record));
            lines.push(b'\n');
        }
        lines
    }
}

/// What `other` gives, unless `timer` ends before.
async fn first<T>(timer: impl Future<Output = ()>, other: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        () = timer => None,
        given = other => Some(given),
    }
}

#[cfg(test)]
mod tests;
