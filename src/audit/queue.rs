//! Records on their way into the log, and the one thread that takes them there.
//!
//! Whatever waits is written as one batch, as far as a batch may go: what a power loss can tear is bounded by that. A
//! read's or a denial's record that could not be written is dropped with its caller told so; a change's record is never
//! dropped, because its change stands: it waits at the front, in commit order, until the log can be written again.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::{oneshot, watch};

use super::journal::{self, BATCH_BYTES};
use super::sink::Sink;
use super::tree::{self, Tree};
use crate::error::{Error, Result};
use crate::store::{CommitSink, Drained, OutboxRecord};

/// Records that may wait before callers are turned away; changes' records are always taken.
const WAITING: usize = 65_536;
/// What callers are told while it cannot be written.
pub(super) const UNWRITABLE: &str = "the audit log cannot be written, so nothing is answered: free its disk or mend \
                                     what the service's log names, then try again; it goes on by itself";
/// While there is no room in it, and at its end.
const BUSY: &str = "the audit log cannot take records now, so nothing is answered: try again";
/// How often a log that cannot be written is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// The queue before the writer, and what the writer says of itself.
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    /// The tree over all durable records.
    durable: watch::Sender<Tree>,
}

struct State {
    entries: VecDeque<Entry>,
    closed: bool,
    /// Why the log cannot be written, while it cannot.
    broken: Option<String>,
    outbox: Outbox,
    writer: Option<JoinHandle<()>>,
}

/// Which of the outbox's records are durable.
struct Outbox {
    waiting: BTreeSet<i64>,
    newest: i64,
}

/// A record that waits.
struct Entry {
    record: Vec<u8>,
    /// The sequence number of a change's record; `None` for a read's.
    seq: Option<i64>,
    /// Whom to tell; of one caller's records, the last one has it.
    done: Option<Done>,
}

type Done = oneshot::Sender<Result<(), String>>;

impl Queue {
    /// A queue before a log with `tree`, whose outbox is drained up to `drained`. Nothing is written until
    /// [`Self::start`].
    pub(super) fn new(tree: Tree, drained: i64) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                entries: VecDeque::new(),
                closed: false,
                broken: None,
                outbox: Outbox {
                    waiting: BTreeSet::new(),
                    newest: drained,
                },
                writer: None,
            }),
            wake: Condvar::new(),
            durable: watch::Sender::new(tree),
        })
    }

    /// Puts what a former process left in the outbox before everything that came since, and starts the writer. Of that
    /// outbox, what was in the log already goes up to the number `taken_over`.
    ///
    /// # Errors
    /// If no thread can be had, or a left record does not become durable.
    pub(super) async fn start(self: &Arc<Self>, sink: Sink, left: Vec<OutboxRecord>, taken_over: i64) -> Result<()> {
        let (done, durable) = oneshot::channel();
        {
            let mut state = self.state();
            // The store may have handed some of them over since the outbox was read.
            let known = state.outbox.waiting.clone();
            let left: Vec<_> = left.into_iter().filter(|record| !known.contains(&record.seq)).collect();
            let left = state.outbox.entries(left, done);
            state.outbox.newest = state.outbox.newest.max(taken_over);
            let since = std::mem::replace(&mut state.entries, left);
            state.entries.extend(since);
            let queue = self.clone();
            let writer = std::thread::Builder::new()
                .name("audit-writer".into())
                .spawn(move || queue.serve(sink))
                .map_err(|error| Error::unavailable("no thread for the audit log").because(error))?;
            state.writer = Some(writer);
        }
        answer(durable.await)
    }

    /// Enqueues a record; the future resolves once it is durable.
    pub(super) fn push(&self, record: Vec<u8>) -> impl Future<Output = Result<()>> + Send + use<> {
        let (done, durable) = oneshot::channel();
        let mut state = self.state();
        let refusal = if state.closed {
            Some(unavailable(BUSY, "the audit log is closed"))
        } else if let Some(broken) = &state.broken {
            Some(unavailable(UNWRITABLE, broken))
        } else if state.entries.len() >= WAITING {
            Some(unavailable(BUSY, "too many records wait for the audit log"))
        } else {
            state.entries.push_back(Entry {
                record,
                seq: None,
                done: Some(done),
            });
            self.wake.notify_one();
            None
        };
        async move {
            match refusal {
                Some(refusal) => Err(refusal),
                None => answer(durable.await),
            }
        }
    }

    /// Why the log cannot be written, while it cannot.
    pub(super) fn broken(&self) -> Option<String> {
        self.state().broken.clone()
    }

    /// The tree over all durable records, and when it grows.
    pub(super) fn durable(&self) -> watch::Receiver<Tree> {
        self.durable.subscribe()
    }

    /// Takes no more records; the writer ends after those that wait.
    pub(super) fn stop(&self) {
        self.state().closed = true;
        self.wake.notify_one();
    }

    /// Takes no more records, writes those that wait, and returns when the writer is gone.
    pub(super) async fn close(&self) {
        self.stop();
        let writer = self.state().writer.take();
        if let Some(writer) = writer {
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut sink: Sink) {
        let mut retry_at: Option<Instant> = None;
        while let Some(batch) = self.next_batch(retry_at) {
            let tree = self.durable.borrow().clone();
            match write(&mut sink, &tree, &batch) {
                Ok(grown) => {
                    retry_at = None;
                    self.written(grown, batch);
                }
                Err(why) => {
                    retry_at = Some(Instant::now() + RETRY);
                    self.failed(why, batch);
                }
            }
        }
    }

    /// What waits, up to a batch; an empty one to try a broken log again. `None` when closed and nothing is left.
    fn next_batch(&self, retry_at: Option<Instant>) -> Option<Vec<Entry>> {
        let mut state = self.state();
        loop {
            let left = retry_at.map(|at| at.saturating_duration_since(Instant::now()));
            if state.closed && (state.entries.is_empty() || state.broken.is_some()) {
                return None;
            }
            match left {
                Some(Duration::ZERO) => break,
                None if !state.entries.is_empty() => break,
                None => state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    state = self
                        .wake
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0;
                }
            }
        }
        let mut bytes = 0;
        let mut fits = |entry: &Entry| {
            bytes += journal::bytes_of(&entry.record);
            bytes <= BATCH_BYTES
        };
        let count = state.entries.iter().take_while(|entry| fits(entry)).count();
        Some(state.entries.drain(..count).collect())
    }

    fn written(&self, grown: Tree, batch: Vec<Entry>) {
        {
            let mut state = self.state();
            if state.broken.take().is_some() {
                tracing::info!("the audit log can be written again");
            }
            for seq in batch.iter().filter_map(|entry| entry.seq.as_ref()) {
                state.outbox.waiting.remove(seq);
                state.outbox.newest = state.outbox.newest.max(*seq);
            }
            // INVARIANT: size and drained position change under one lock, so that a record behind the position never
            // stands before the size.
            self.durable.send_replace(grown);
        }
        for done in batch.into_iter().filter_map(|entry| entry.done) {
            let _ = done.send(Ok(()));
        }
    }

    fn failed(&self, why: String, batch: Vec<Entry>) {
        let mut state = self.state();
        if state.broken.as_ref() != Some(&why) {
            tracing::error!("{why}");
        }
        // Whoever waits behind this batch is told too: nothing is accepted that cannot be written.
        let mut entries: Vec<_> = batch.into_iter().chain(state.entries.drain(..)).collect();
        for done in entries.iter_mut().filter_map(|entry| entry.done.take()) {
            let _ = done.send(Err(why.clone()));
        }
        state.entries = entries.into_iter().filter(|entry| entry.seq.is_some()).collect();
        state.broken = Some(why);
    }
}

impl Outbox {
    /// What is to be written for a change's `records`; `done` hears when the last one is durable.
    fn entries(&mut self, records: Vec<OutboxRecord>, done: Done) -> VecDeque<Entry> {
        self.waiting.extend(records.iter().map(|record| record.seq));
        let mut entries: VecDeque<_> = records
            .into_iter()
            .map(|record| Entry {
                record: record.bytes,
                seq: Some(record.seq),
                done: None,
            })
            .collect();
        match entries.back_mut() {
            Some(last) => last.done = Some(done),
            None => drop(done.send(Ok(()))),
        }
        entries
    }
}

impl CommitSink for Queue {
    fn committed(&self, records: Vec<OutboxRecord>) -> BoxFuture<'static, Result<()>> {
        let (done, durable) = oneshot::channel();
        let mut state = self.state();
        let entries = state.outbox.entries(records, done);
        // CRASH: once closed, nobody writes any more; the records wait in the outbox for the next start.
        if !state.closed {
            state.entries.extend(entries);
            self.wake.notify_one();
        }
        async move { answer(durable.await) }.boxed()
    }

    fn drained(&self) -> Drained {
        let state = self.state();
        let Outbox { waiting, newest } = &state.outbox;
        Drained {
            seq: waiting
                .first()
                .map_or(*newest, |first| newest.min(&(first - 1)).to_owned()),
            log_size: i64::try_from(self.durable.borrow().size()).unwrap_or(i64::MAX),
        }
    }
}

/// Writes a batch behind `tree` and returns the tree with it.
fn write(sink: &mut Sink, tree: &Tree, batch: &[Entry]) -> Result<Tree, String> {
    sink.heal(tree)?;
    let records: Vec<&[u8]> = batch.iter().map(|entry| entry.record.as_slice()).collect();
    let mut grown = tree.clone();
    if !records.is_empty() {
        records.iter().for_each(|record| grown.push(tree::leaf(record)));
        sink.append(tree, &records)?;
    }
    Ok(grown)
}

fn answer(durable: Result<Result<(), String>, oneshot::error::RecvError>) -> Result<()> {
    match durable {
        Ok(Ok(())) => Ok(()),
        Ok(Err(why)) => Err(unavailable(UNWRITABLE, &why)),
        Err(_) => Err(unavailable(BUSY, "the audit log is closed")),
    }
}

fn unavailable(text: &'static str, why: &str) -> Error {
    Error::unavailable(text).because(why.to_owned()).retry_after(RETRY)
}

#[cfg(test)]
mod tests {
    use super::super::disk::tests::Failing;
    use super::super::journal::Journal;
    use super::super::record::MAX_RECORD_BYTES;
    use super::*;

    fn change(seq: i64) -> OutboxRecord {
        OutboxRecord {
            seq,
            id: seq.to_string(),
            bytes: format!("change {seq}").into_bytes(),
        }
    }

    #[tokio::test]
    async fn a_changes_record_outlasts_a_broken_log_and_a_reads_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Failing::default();
        let (journal, tree, _) =
            Journal::open(folder.path(), "log", 1 << 20, Box::new(disk.clone()), 0, &mut |_, _| {}).unwrap();
        let index = journal.index();
        let queue = Queue::new(tree, 0);
        let early = queue.committed(vec![change(2)]);
        queue
            .start(Sink::journal(journal), vec![change(1), change(2)], 0)
            .await
            .unwrap();
        early.await.unwrap();
        assert_eq!(queue.drained(), Drained { seq: 2, log_size: 2 });

        disk.set(Some("sync"));
        queue.push(b"read".to_vec()).await.unwrap_err();
        let text = queue.broken().unwrap();
        assert!(text.contains("the device is gone"), "{text}");
        queue.committed(vec![change(3)]).await.unwrap_err();
        queue.push(b"read".to_vec()).await.unwrap_err();
        assert_eq!(queue.drained(), Drained { seq: 2, log_size: 2 });

        disk.set(None);
        queue.durable().wait_for(|tree| tree.size() == 3).await.unwrap();
        queue.push(b"another read".to_vec()).await.unwrap();
        assert_eq!(queue.drained(), Drained { seq: 3, log_size: 4 });
        queue.close().await;
        let records = index.read(0, 4, usize::MAX).unwrap();
        assert_eq!(
            records,
            [b"change 1".as_slice(), b"change 2", b"change 3", b"another read"]
        );
    }
    /// Two changes of one commit, far more than a batch may hold, before and behind reads.
    #[tokio::test]
    async fn no_batch_is_larger_than_what_a_start_would_cut() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Failing::default();
        let (journal, tree, _) = Journal::open(
            folder.path(),
            "log",
            64 << 20,
            Box::new(disk.clone()),
            0,
            &mut |_, _| {},
        )
        .unwrap();
        let index = journal.index();
        let long = |seq| OutboxRecord {
            bytes: vec![b'x'; MAX_RECORD_BYTES],
            ..change(seq)
        };
        let queue = Queue::new(tree, 0);
        let committed = queue.committed((61..=120).map(long).collect());
        queue
            .start(Sink::journal(journal), (1..=60).map(long).collect(), 0)
            .await
            .unwrap();
        queue.push(vec![b'y'; MAX_RECORD_BYTES]).await.unwrap();
        committed.await.unwrap();
        assert_eq!(
            queue.drained(),
            Drained {
                seq: 120,
                log_size: 121
            }
        );
        queue.close().await;
        assert_eq!(
            index.read(120, 121, usize::MAX).unwrap(),
            [vec![b'y'; MAX_RECORD_BYTES]]
        );
        let largest = disk.largest();
        assert!(
            largest <= BATCH_BYTES && largest > BATCH_BYTES - MAX_RECORD_BYTES,
            "{largest}"
        );
    }

    #[tokio::test]
    async fn of_a_commit_that_was_written_in_part_the_rest_follows_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Failing::default();
        let (journal, tree, _) = Journal::open(
            folder.path(),
            "log",
            64 << 20,
            Box::new(disk.clone()),
            0,
            &mut |_, _| {},
        )
        .unwrap();
        let index = journal.index();
        let queue = Queue::new(tree, 0);
        queue.start(Sink::journal(journal), Vec::new(), 0).await.unwrap();
        let long = |seq: i64| OutboxRecord {
            bytes: format!("{seq:050000}").into_bytes(),
            ..change(seq)
        };
        disk.after(1, "sync");
        queue.committed((1..=60).map(long).collect()).await.unwrap_err();
        let written = queue.drained();
        assert!(written.seq > 0 && written.seq < 60, "{written:?}");
        disk.set(None);
        queue.durable().wait_for(|tree| tree.size() == 60).await.unwrap();
        assert_eq!(queue.drained(), Drained { seq: 60, log_size: 60 });
        queue.close().await;
        let expected: Vec<_> = (1..=60).map(|seq| long(seq).bytes).collect();
        assert_eq!(index.read(0, 60, usize::MAX).unwrap(), expected);
    }
}
