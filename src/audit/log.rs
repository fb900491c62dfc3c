//! The log as the house sees it: opening, appending, reading, checkpoints, health.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::check::{Check, Older};
use super::checkpoint::{AuditKey, Checkpoint, Signer, TokenKey};
use super::disk::OsDisk;
use super::forward::{Anchors, Forward, Lag};
use super::journal::Journal;
use super::known::{compare, known_checkpoint};
use super::note::Verifier;
use super::queue::{self, Queue};
use super::reader::Reader;
use super::record::{self, MAX_RECORD_BYTES, Record};
use super::repo;
use super::rows::{self, Rows};
use super::search::{self, Filler, Page, Place, Query, Search};
use super::sink::Sink;
use super::tree::Tree;
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::hsm::{Hsm, KeyRef};
use crate::id::Id;
use crate::store::{CommitSink as _, Drained, OutboxRecord, Store, Tx};

/// How long a fresh checkpoint is waited for.
const FRESH: Duration = Duration::from_secs(3);
/// Between two looks whether records are durable.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Which record is to be proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proved {
    /// The one at this index.
    Index(u64),
    /// The one with this id.
    Record(Id),
}

/// This node's audit log. Cheap to clone; it lives until [`Log::close`].
#[derive(Clone)]
pub struct Log(Arc<Inner>);

struct Inner {
    queue: Arc<Queue>,
    signer: Arc<Signer>,
    search: Arc<Search>,
    forward: Forward,
    anchors: Anchors,
    filling: tokio::task::AbortHandle,
    deadline: Duration,
    checkpoints: tokio::task::AbortHandle,
    check: Check,
}

/// Records in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The index of the first of them.
    pub first: u64,
    /// Their bytes.
    pub records: Vec<Vec<u8>>,
    /// How many records the log has.
    pub size: u64,
}

impl Log {
    /// Opens this node's log, named `origin` (`<zone>/audit/<node>`; behind that stands what tells it from the log of a
    /// service that this one was restored from): reads its newest part, compares it with the newest
    /// checkpoint that the store knows, has the rest checked in the background, takes over what waits in the store's outbox, and from then on receives the
    /// records of changes. Must be called before anything is changed or answered, within a tokio runtime.
    ///
    /// # Errors
    /// `Internal` if the log is damaged, shorter than its newest checkpoint, or another one; `Unavailable` if disk,
    /// store or token do not answer. The text says what to do.
    pub async fn open(
        settings: &Settings,
        origin: &str,
        store: &Store,
        hsm: Hsm,
        key: KeyRef,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let spki = hsm
            .find(&key.label)
            .await?
            .and_then(|public| public.spki_der)
            .ok_or_else(|| {
                Error::unavailable(format!(
                    "the token does not show the audit key `{}`: see that it is the right token",
                    key.label
                ))
            })?;
        let origin = repo::registered(store)
            .await?
            .map(|registered| registered.origin)
            .filter(|known| known.strip_prefix(origin).is_some_and(|rest| rest.starts_with('/')))
            .unwrap_or_else(|| origin.to_owned());
        let verifier = Verifier::new(&origin, &spki)?;
        Self::open_with(settings, verifier, store, Arc::new(TokenKey { hsm, key }), clock).await
    }

    async fn open_with(
        settings: &Settings,
        verifier: Verifier,
        store: &Store,
        key: Arc<dyn AuditKey>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let known = known_checkpoint(store, &verifier).await?;
        let epoch = repo::open(store, verifier.origin(), &verifier.vkey()).await?;
        // Each of the two is true: records of the outbox up to a number are in the log, others stand behind a size.
        let (one, other) = (
            repo::drained(store).await?,
            known.as_ref().map_or_else(Drained::default, |known| known.drained),
        );
        let drained = Drained {
            seq: one.seq.max(other.seq),
            log_size: one.log_size.max(other.log_size),
        };
        let waiting = repo::outbox(store).await?;
        fit(&waiting)?;
        let waiting: HashSet<_> = waiting
            .into_iter()
            .filter(|record| record.seq > drained.seq)
            .map(|record| record.id)
            .collect();
        let tail = u64::try_from(drained.log_size).unwrap_or(0);

        let mut taken_over = HashSet::new();
        let mut then = None;
        let known_size = known.as_ref().map_or(0, |known| known.size);
        let mut visit = |tree: &Tree, bytes: &[u8]| {
            if tree.size() == known_size {
                then.get_or_insert_with(|| tree.clone());
            }
            if tree.size() >= tail
                && !waiting.is_empty()
                && let Some(id) = record::id_of(bytes).filter(|id| waiting.contains(id))
            {
                taken_over.insert(id);
            }
        };
        // What no checkpoint covers must be read, and what may hold records of the outbox.
        let from = if waiting.is_empty() {
            known_size
        } else {
            known_size.min(tail)
        };
        let (sink, reader, tree, older) = match &settings.journal {
            Some(folder) => {
                let (journal, tree, older) = Journal::open(
                    folder,
                    verifier.origin(),
                    settings.segment_bytes,
                    Box::new(OsDisk),
                    from,
                    &mut visit,
                )?;
                let reader = (Reader::Journal(journal.index()), Place::beside(folder));
                let origin = verifier.origin().to_owned();
                (Sink::journal(journal), reader, tree, Older::Journal { origin, older })
            }
            None => {
                let signed = known.as_ref().and_then(|known| known.tree.clone()).unwrap_or_default();
                let (rows, tree) = Rows::open(store, epoch, signed.clone(), from, &mut visit).await?;
                let older = rows::Older {
                    store: store.clone(),
                    tree: signed,
                };
                let reader = (Reader::Rows(store.clone()), Place::Store(store.clone()));
                (Sink::rows(rows), reader, tree, Older::Rows(older))
            }
        };
        if tree.size() == known_size {
            then.get_or_insert_with(|| tree.clone());
        }
        if let Some(known) = &known {
            let then = compare(&verifier, tree.size(), then, known)?;
            if known.tree.is_none() {
                repo::keep_checkpoint(store, epoch, &then, &known.text, known.drained.seq).await?;
            }
        }

        let queue = Queue::new(tree, drained.seq);
        store.attach_sink(queue.clone());
        let (done, left): (Vec<_>, _) = repo::outbox(store)
            .await?
            .into_iter()
            .partition(|record| record.seq <= drained.seq || taken_over.contains(&record.id));
        fault::point("audit.drain.before");
        // CRASH: what becomes durable here is still in the outbox; the next start finds its id in the log.
        queue
            .start(sink, left, done.last().map_or(0, |record| record.seq))
            .await?;
        fault::point("audit.drain.after");

        let forward = Forward::start(&settings.sink, store, &reader.0, &queue.durable(), &clock).await?;
        let search = Arc::new(Search::new(store.clone(), reader, queue.durable()));
        let signer = Arc::new(Signer::new(
            verifier,
            key,
            (store.clone(), epoch),
            clock.clone(),
            Duration::from_secs(settings.max_unsigned_s),
            queue.clone(),
            known.map(|known| Checkpoint {
                size: known.size,
                text: known.text,
            }),
        ));
        signer.sign().await?;
        let node = store.node().as_str();
        let anchors = Anchors::start(&settings.anchor, node, &signer.newest(), &clock)?;
        let checkpoints = tokio::spawn(signer.clone().run()).abort_handle();
        Ok(Self(Arc::new(Inner {
            queue,
            signer,
            filling: tokio::spawn(Filler::new(search.clone(), clock).run()).abort_handle(),
            search,
            forward,
            anchors,
            deadline: Duration::from_millis(settings.deadline_ms),
            checkpoints,
            check: Check::start(older)?,
        })))
    }

    /// Appends a record; it is durable on return.
    ///
    /// # Errors
    /// `Unavailable` if the record is not known to be durable: then nothing may be answered.
    pub async fn append(&self, record: &Record) -> Result<()> {
        self.0.signer.accepts()?;
        let durable = self.0.queue.push(record.to_bytes());
        tokio::time::timeout(self.0.deadline, durable)
            .await
            .unwrap_or_else(|_| {
                Err(Error::unavailable(
                    "the audit log did not take a record in time, so nothing is answered: try again",
                )
                .retry_after(Duration::from_secs(1)))
            })
    }

    /// Whether acts may begin now; one asks before it does anything. What is begun gets its record all the same.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot be written, its records could not be signed for too long, or a sink that must not
    /// be is too far behind.
    pub fn accepts(&self) -> Result<()> {
        self.writable()?;
        self.0.signer.accepts()?;
        self.0.forward.accepts()
    }

    /// Whether all is well; `/readyz` asks.
    ///
    /// # Errors
    /// `Unavailable` if the log cannot be written, its records are not signed in time, older ones were found damaged, or
    /// acts are refused because of a sink.
    pub fn health(&self) -> Result<()> {
        self.writable()?;
        self.0.check.health()?;
        self.0.forward.accepts()?;
        self.0.signer.health()
    }

    fn writable(&self) -> Result<()> {
        match self.0.queue.broken() {
            Some(why) => Err(Error::unavailable(queue::UNWRITABLE).because(why)),
            None => Ok(()),
        }
    }

    /// How many records are durable.
    pub fn size(&self) -> u64 {
        self.0.queue.durable().borrow().size()
    }

    /// How far each sink is behind.
    pub fn sinks(&self) -> Vec<Lag> {
        self.0.forward.lags()
    }

    /// By how many records the newest checkpoint that each anchor has is behind.
    pub fn anchors(&self) -> Vec<Lag> {
        self.0.anchors.lags(self.size())
    }

    /// How many records of this node's log the index lacks that it is searched by, and how many it has that are to be
    /// made anew.
    pub fn index_lag(&self) -> (u64, u64) {
        self.0.search.lag()
    }

    /// The node whose log's index can be made anew here: `node`, or this one if it is left out.
    ///
    /// # Errors
    /// `NotFound` if that log's records do not lie here; `Unavailable` if the store does not answer.
    pub async fn rebuildable(&self, node: Option<&str>) -> Result<String> {
        self.0.search.rebuildable(node).await
    }

    /// Asks, in a change, that the index over a node's log be made anew. Once that is committed, [`Self::rebuild`] begins
    /// it.
    ///
    /// # Errors
    /// The store's.
    pub async fn ask_rebuild(tx: &Tx, node: &str) -> Result<()> {
        search::ask_rebuild(tx, node).await
    }

    /// Makes the index anew if somebody has asked for it, behind everything else and while it is used. Of another node's
    /// log it is begun within a minute.
    pub fn rebuild(&self) {
        self.0.search.wake();
    }

    /// Durable records from index `from` on, at most `max` and not more than a few MiB of them. Never holds up the
    /// writer.
    ///
    /// # Errors
    /// `Conflict` if one is damaged or missing; `Internal` or `Unavailable` if they cannot be read.
    pub async fn entries(&self, from: u64, max: u64) -> Result<Entries> {
        let size = self.size();
        let until = from.saturating_add(max).min(size);
        let records = self
            .0
            .search
            .reader()
            .entries(self.0.search.node(), from, until)
            .await?;
        Ok(Entries {
            first: from,
            records,
            size,
        })
    }

    /// The newest `limit` records that fit `query`, of this node's log and of every other that can be read here; with a
    /// `cursor`, those behind the page that gave it. A page may hold fewer, even none, and go on all the same.
    ///
    /// # Errors
    /// `Invalid` for a cursor that is none of ours; `Conflict` if a record is damaged or missing; `Internal` or
    /// `Unavailable` if they cannot be read.
    pub async fn search(&self, query: &Query, cursor: Option<&str>, limit: usize) -> Result<Page> {
        self.0.search.page(query, cursor, limit).await
    }

    /// A file that proves one record to be in a log: whose log, and the file (c2sp.org/tlog-proof).
    ///
    /// # Errors
    /// `NotFound` if there is no such record in any log that can be read here, or it is not signed yet; `Unavailable`
    /// if the index has not come far enough; as [`Self::search`].
    pub async fn prove(&self, which: &Proved, node: Option<&str>) -> Result<(String, String)> {
        let (node, index) = match which {
            Proved::Record(id) => self.0.search.find(*id, node).await?,
            Proved::Index(index) => (node.unwrap_or_else(|| self.0.search.node()).to_owned(), *index),
        };
        let checkpoint = self.checkpoint_over(&node, index + 1).await?;
        let proof = self.0.search.inclusion(&node, index, &checkpoint).await?;
        Ok((node, proof))
    }

    /// A file that proves the first `old` records of a log to be its beginning still (c2sp.org/tlog-witness).
    ///
    /// # Errors
    /// `Conflict` if the log is shorter; otherwise as [`Self::prove`].
    pub async fn prove_grown(&self, old: u64, node: Option<&str>) -> Result<String> {
        let node = node.unwrap_or_else(|| self.0.search.node());
        let checkpoint = self.checkpoint_over(node, old).await?;
        self.0.search.consistency(node, old, &checkpoint).await
    }

    /// The newest checkpoint of a node's log; of this node's, one over `size` records if it is signed soon.
    async fn checkpoint_over(&self, node: &str, size: u64) -> Result<Arc<str>> {
        if node == self.0.search.node() {
            let newest = self.0.signer.newest().borrow().as_ref().map_or(0, |newest| newest.size);
            return Ok(if newest < size {
                self.fresh_checkpoint().await
            } else {
                self.checkpoint()
            });
        }
        self.0.search.checkpoint_of(node).await
    }

    /// The newest checkpoint, a signed note.
    pub fn checkpoint(&self) -> Arc<str> {
        let newest = self.0.signer.newest();
        newest
            .borrow()
            .as_ref()
            .map_or_else(|| "".into(), |newest| newest.text.clone())
    }

    /// A checkpoint over at least every record that is durable now, if one is signed within a few seconds; else the
    /// newest. Costs the token nothing: it waits for the next one, at most a second.
    pub async fn fresh_checkpoint(&self) -> Arc<str> {
        let size = self.size();
        let mut newest = self.0.signer.newest();
        let covered = newest.wait_for(|newest| newest.as_ref().is_some_and(|newest| newest.size >= size));
        let _ = tokio::time::timeout(FRESH, covered).await;
        self.checkpoint()
    }

    /// Signs every durable record now.
    ///
    /// # Errors
    /// `Unavailable` if token or store do not answer.
    pub async fn sign_now(&self) -> Result<Arc<str>> {
        self.0.signer.sign().await?;
        Ok(self.checkpoint())
    }

    /// Waits until the record of every change up to this number of the outbox is durable, and signs them all.
    ///
    /// # Errors
    /// `Unavailable` if that takes too long, or token or store do not answer.
    pub async fn sign_up_to(&self, seq: i64) -> Result<Arc<str>> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        let mut left = self.0.deadline.as_millis() / LOOK_EVERY.as_millis();
        while self.0.queue.drained().seq < seq {
            if left == 0 {
                return Err(Error::unavailable("the audit log is behind: try again"));
            }
            left -= 1;
            looks.tick().await;
        }
        self.sign_now().await
    }

    /// The log's public key as outsiders hold it: `<origin>+<hash>+<base64>` (a C2SP vkey).
    pub fn verifier_key(&self) -> String {
        self.0.signer.verifier().vkey()
    }

    /// Writes what waits, signs it, and lets go of the journal. Records that come later are refused.
    ///
    /// # Errors
    /// `Unavailable` if the last records could not be signed; the next start signs them.
    pub async fn close(&self) -> Result<()> {
        self.0.queue.close().await;
        self.0.forward.close().await;
        self.0.check.close().await;
        self.0.checkpoints.abort();
        self.0.filling.abort();
        self.0.search.close().await;
        self.0.signer.sign().await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.checkpoints.abort();
        self.filling.abort();
        self.check.stop();
        self.queue.stop();
    }
}

/// Whether what waits in the outbox can be written at all.
fn fit(waiting: &[OutboxRecord]) -> Result<()> {
    match waiting.iter().find(|record| record.bytes.len() > MAX_RECORD_BYTES) {
        Some(record) => Err(Error::internal(format!(
            "row {} of table outbox is longer than any audit record, so it is none of ours: look where it comes from, \
             and delete it",
            record.seq
        ))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(super) mod tests;
