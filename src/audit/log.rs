//! The log as the house sees it: opening, appending, reading, checkpoints, health.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::check::{Check, Older};
use super::checkpoint::{AuditKey, Checkpoint, Signer, TokenKey};
use super::disk::OsDisk;
use super::forward::{Forward, Lag};
use super::journal::Journal;
use super::note::Verifier;
use super::queue::{self, Queue};
use super::reader::Reader;
use super::record::{self, MAX_RECORD_BYTES, Record};
use super::repo;
use super::rows::{self, Rows};
use super::search::{Filler, Page, Place, Query, Search};
use super::sink::Sink;
use super::tree::{Hash, Tree};
use crate::clock::Clock;
use crate::error::{Error, Result};
use crate::fault;
use crate::hsm::{Hsm, KeyRef};
use crate::id::Id;
use crate::store::{Drained, OutboxRecord, Store};

/// How long a fresh checkpoint is waited for.
const FRESH: Duration = Duration::from_secs(3);

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
    /// Opens this node's log, named `origin` (`<zone>/audit/<node>`): reads its newest part, compares it with the newest
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
        let verifier = Verifier::new(origin, &spki)?;
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
        let checkpoints = tokio::spawn(signer.clone().run()).abort_handle();
        Ok(Self(Arc::new(Inner {
            queue,
            signer,
            filling: tokio::spawn(Filler::new(search.clone(), clock).run()).abort_handle(),
            search,
            forward,
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

/// A checkpoint that the store has of this log.
struct Known {
    text: Arc<str>,
    size: u64,
    root: Hash,
    /// The tree that it was signed over, if the store has that too.
    tree: Option<Tree>,
    /// How far the outbox was drained then.
    drained: Drained,
}

/// The newest of them.
async fn known_checkpoint(store: &Store, verifier: &Verifier) -> Result<Option<Known>> {
    let Some(registered) = repo::registered(store).await? else {
        return Ok(None);
    };
    if registered.origin != verifier.origin() {
        return Err(Error::internal(format!(
            "the audit log of node `{}` is registered as `{}`, not `{}`: keep zone and node name, or give the node a new name",
            store.node(),
            registered.origin,
            verifier.origin()
        )));
    }
    let Some(text) = registered.checkpoint else {
        return Ok(None);
    };
    let (size, root) = verifier.open(&text).ok_or_else(|| {
        Error::internal(format!(
            "the store's checkpoint of audit log `{}` is not signed by the audit key: token and store do not belong together",
            verifier.origin()
        ))
    })?;
    // SECURITY: the frontier is the database's word, until it gives the root that the audit key signed.
    let frontier = registered.frontier.and_then(|frontier| Tree::of(size, &frontier));
    Ok(Some(Known {
        text: text.into(),
        size,
        root,
        tree: frontier.filter(|tree| tree.root() == root),
        drained: registered.drained,
    }))
}

/// The tree that the checkpoint covers, if it is the one that was signed.
fn compare(verifier: &Verifier, size: u64, then: Option<Tree>, known: &Known) -> Result<Tree> {
    let (origin, covered) = (verifier.origin(), known.size);
    match then {
        Some(tree) if tree.root() == known.root => Ok(tree),
        Some(_) => Err(Error::internal(format!(
            "the first {covered} records of audit log `{origin}` are not those of its signed checkpoint: put back the log that was there"
        ))),
        None => Err(Error::internal(format!(
            "audit log `{origin}` has {size} records, but its signed checkpoint covers {covered}: put back the log that was there"
        ))),
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
pub(super) mod tests {
    use std::path::Path;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use futures::FutureExt as _;
    use futures::future::BoxFuture;

    use super::super::record::tests::sample;
    use super::super::segment;
    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::error::Kind;
    use crate::store::{self, StoreError, Tx};

    pub(in super::super) struct SoftKey {
        pair: Ed25519KeyPair,
        away: AtomicBool,
    }

    #[async_trait]
    impl AuditKey for SoftKey {
        async fn sign(&self, message: &[u8]) -> Result<Vec<u8>> {
            if self.away.load(Ordering::SeqCst) {
                return Err(Error::unavailable("the token is away"));
            }
            Ok(self.pair.sign(message).as_ref().to_vec())
        }
    }

    /// One node's folder, its store and its log, opened again and again.
    pub(in super::super) struct Node {
        pub(in super::super) folder: tempfile::TempDir,
        key: Arc<SoftKey>,
        pub(in super::super) clock: Arc<ManualClock>,
        pub(in super::super) settings: Settings,
    }

    impl Node {
        pub(in super::super) fn new(journal: bool) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let settings = Settings {
                journal: journal.then(|| folder.path().join("journal")),
                ..Settings::default()
            };
            Self {
                folder,
                key: Self::key(1),
                clock: Arc::new(ManualClock::new(Timestamp::from_unix(1_000))),
                settings,
            }
        }

        fn key(seed: u8) -> Arc<SoftKey> {
            Arc::new(SoftKey {
                pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
                away: AtomicBool::new(false),
            })
        }

        fn journal(&self) -> &Path {
            self.settings.journal.as_deref().unwrap()
        }

        pub(in super::super) async fn store(&self) -> Store {
            let settings = store::Settings {
                url: format!("sqlite:{}", self.folder.path().join("chancery.db").display()),
            };
            loop {
                match Store::open(&settings, &"n1".parse().unwrap()).await {
                    Ok(store) => return store,
                    Err(StoreError::Locked(_)) => tokio::task::yield_now().await,
                    Err(error) => panic!("{error}"),
                }
            }
        }

        pub(in super::super) async fn log(&self, store: &Store) -> Result<Log> {
            let spki = [
                [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00].as_slice(),
                self.key.pair.public_key().as_ref(),
            ]
            .concat();
            let verifier = Verifier::new("chancery.test/audit/n1", &spki).unwrap();
            Log::open_with(&self.settings, verifier, store, self.key.clone(), self.clock.clone()).await
        }

        /// The refusal to open.
        async fn refusal(&self) -> String {
            let store = self.store().await;
            self.log(&store).await.err().expect("must refuse").detail()
        }

        async fn ids(&self, log: &Log) -> Vec<String> {
            let entries = log.entries(0, u64::MAX).await.unwrap();
            assert_eq!(entries.records.len(), usize::try_from(log.size()).unwrap());
            entries
                .records
                .iter()
                .map(|record| record::id_of(record).unwrap())
                .collect()
        }
    }

    fn id(seed: u64) -> String {
        sample(seed).id.to_string()
    }

    /// A change with its record.
    fn change(seed: u64) -> impl for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<()>> + Send + Sync + 'static {
        move |tx| {
            tx.record(id(seed), sample(seed).to_bytes());
            async { Ok(()) }.boxed()
        }
    }

    #[tokio::test]
    async fn reads_and_changes_are_in_the_log_when_they_are_answered() {
        for journal in [true, false] {
            let node = Node::new(journal);
            let store = node.store().await;
            let log = node.log(&store).await.unwrap();
            log.append(&sample(1)).await.unwrap();
            store.transact(change(2)).await.unwrap();
            log.append(&sample(3)).await.unwrap();
            assert_eq!(node.ids(&log).await, [id(1), id(2), id(3)]);
            let checkpoint = log.sign_now().await.unwrap();
            assert!(checkpoint.starts_with("chancery.test/audit/n1\n3\n"), "{checkpoint}");
            log.close().await.unwrap();
            assert_eq!(log.append(&sample(4)).await.unwrap_err().kind(), Kind::Unavailable);
            drop((log, store));

            let store = node.store().await;
            let log = node.log(&store).await.unwrap();
            assert_eq!(log.checkpoint(), checkpoint);
            assert_eq!(node.ids(&log).await, [id(1), id(2), id(3)]);
            log.close().await.unwrap();
        }
    }

    #[tokio::test]
    async fn records_appended_together_are_all_there() {
        let node = Node::new(true);
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        let records: Vec<_> = (0..200).map(sample).collect();
        futures::future::try_join_all(records.iter().map(|record| log.append(record)))
            .await
            .unwrap();
        assert_eq!(node.ids(&log).await, (0..200).map(id).collect::<Vec<_>>());
        log.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_change_without_its_record_gets_it_at_the_next_start_and_only_once() {
        for journal in [true, false] {
            let node = Node::new(journal);
            let store = node.store().await;
            // CRASH: committed, and nobody told the log.
            store.transact(change(1)).await.unwrap();
            store.transact(change(2)).await.unwrap();
            let log = node.log(&store).await.unwrap();
            assert_eq!(node.ids(&log).await, [id(1), id(2)]);
            log.0.checkpoints.abort();
            store.transact(change(3)).await.unwrap();
            // CRASH: in the log, but still in the outbox: the writer ends without another commit.
            log.0.queue.close().await;
            let left = repo::outbox(&store).await.unwrap();
            assert_eq!(left.last().map(|record| record.id.clone()), Some(id(3)));
            drop((log, store));

            for _ in 0..2 {
                let store = node.store().await;
                let log = node.log(&store).await.unwrap();
                assert_eq!(node.ids(&log).await, [id(1), id(2), id(3)]);
                log.close().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_log_that_is_not_what_the_store_knows_refuses() {
        let node = Node::new(true);
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        for seed in 0..3 {
            log.append(&sample(seed)).await.unwrap();
        }
        log.close().await.unwrap();
        drop((log, store));
        let aside = node.folder.path().join("aside");
        std::fs::rename(node.journal(), &aside).unwrap();

        let text = node.refusal().await;
        assert!(
            text.contains("has 0 records, but its signed checkpoint covers 3"),
            "{text}"
        );

        // Other records under the same name, as many as there were.
        let (mut other, mut tree, _) = Journal::open(
            node.journal(),
            "chancery.test/audit/n1",
            1 << 20,
            Box::new(OsDisk),
            0,
            &mut |_, _| {},
        )
        .unwrap();
        for seed in 7..10 {
            let bytes = sample(seed).to_bytes();
            other.append(&tree, &[&bytes]).unwrap();
            tree.push(super::super::tree::leaf(&bytes));
        }
        drop(other);
        let text = node.refusal().await;
        assert!(text.contains("the first 3 records"), "{text}");

        std::fs::remove_dir_all(node.journal()).unwrap();
        std::fs::rename(&aside, node.journal()).unwrap();
        let elsewhere = Node {
            key: Node::key(2),
            ..node
        };
        let text = elsewhere.refusal().await;
        assert!(text.contains("not signed by the audit key"), "{text}");
        let node = Node {
            key: Node::key(1),
            ..elsewhere
        };
        let store = node.store().await;
        node.log(&store).await.unwrap().close().await.unwrap();
    }

    #[tokio::test]
    async fn without_signatures_it_is_not_ready_and_then_refuses() {
        let node = Node::new(true);
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        node.key.away.store(true, Ordering::SeqCst);
        log.append(&sample(1)).await.unwrap();
        while log.0.signer.since_is_none() {
            tokio::task::yield_now().await;
        }
        node.clock.advance(Duration::from_secs(300));
        log.health().unwrap();
        node.clock.advance(Duration::from_secs(2));
        assert_eq!(log.health().unwrap_err().kind(), Kind::Unavailable);
        log.append(&sample(2)).await.unwrap();
        node.clock.advance(Duration::from_secs(60));
        assert_eq!(log.accepts().unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(log.append(&sample(3)).await.unwrap_err().kind(), Kind::Unavailable);
        assert_eq!(node.ids(&log).await, [id(1), id(2)]);

        node.key.away.store(false, Ordering::SeqCst);
        node.clock.advance(Duration::from_secs(1));
        assert!(log.fresh_checkpoint().await.starts_with("chancery.test/audit/n1\n2\n"));
        log.append(&sample(3)).await.unwrap();
        log.health().unwrap();
        log.close().await.unwrap();
    }
    /// A log of many small segments, closed.
    async fn long_log() -> Node {
        let mut node = Node::new(true);
        node.settings.segment_bytes = 4096;
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        for seed in 0..100 {
            log.append(&sample(seed)).await.unwrap();
        }
        log.close().await.unwrap();
        node
    }

    #[tokio::test]
    async fn old_damage_does_not_hold_up_a_start_but_is_told() {
        let node = long_log().await;
        let (_, old) = segment::list(node.journal()).unwrap().remove(2);
        let whole = std::fs::read(&old).unwrap();
        let mut bytes = whole.clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&old, &bytes).unwrap();

        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        log.append(&sample(100)).await.unwrap();
        log.0.check.ended().await;
        let error = log.health().unwrap_err();
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.detail().contains(old.to_str().unwrap()), "{}", error.detail());
        log.accepts().unwrap();
        assert_eq!(log.entries(0, 100).await.unwrap_err().kind(), Kind::Conflict);
        assert_eq!(log.entries(90, 100).await.unwrap().records.len(), 11);
        log.close().await.unwrap();
        drop((log, store));

        std::fs::write(&old, &whole).unwrap();
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        log.0.check.ended().await;
        log.health().unwrap();
        assert_eq!(node.ids(&log).await, (0..101).map(id).collect::<Vec<_>>());
        log.close().await.unwrap();
    }

    #[tokio::test]
    async fn a_forged_frontier_refuses() {
        let node = long_log().await;
        let (first, newest) = segment::list(node.journal()).unwrap().pop().unwrap();
        // Another history of as many records, under the genuine records of the newest segment.
        let mut other = Tree::default();
        (0..first).for_each(|n| other.push(super::super::tree::leaf(&n.to_be_bytes())));
        let aside = node.folder.path().join("aside");
        std::fs::create_dir(&aside).unwrap();
        segment::create(&aside, "chancery.test/audit/n1", &other).unwrap();
        let mut forged = std::fs::read(segment::path(&aside, first)).unwrap();
        let mut frames = segment::Frames::open(&newest, 0).unwrap();
        frames.step().unwrap();
        let records = usize::try_from(frames.offset()).unwrap();
        forged.extend(&std::fs::read(&newest).unwrap()[records..]);
        std::fs::write(&newest, &forged).unwrap();
        let text = node.refusal().await;
        assert!(text.contains("the first 100 records"), "{text}");
    }

    #[tokio::test]
    async fn records_of_the_outbox_are_looked_for_behind_the_newest_checkpoint_only() {
        let mut node = Node::new(true);
        node.settings.segment_bytes = 4096;
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        store.transact(change(0)).await.unwrap();
        for seed in 1..100 {
            log.append(&sample(seed)).await.unwrap();
        }
        log.sign_now().await.unwrap();
        // CRASH: in the log, not signed, and still in the outbox, like the first one.
        log.0.checkpoints.abort();
        store.transact(change(100)).await.unwrap();
        log.0.queue.close().await;
        assert_eq!(repo::outbox(&store).await.unwrap().len(), 2);
        drop((log, store));

        // Whoever read the first segment would find it damaged.
        let first = segment::path(node.journal(), 0);
        let whole = std::fs::read(&first).unwrap();
        std::fs::write(&first, b"damaged").unwrap();
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        std::fs::write(&first, &whole).unwrap();
        store.transact(change(101)).await.unwrap();
        assert_eq!(node.ids(&log).await, (0..102).map(id).collect::<Vec<_>>());
        log.close().await.unwrap();
    }
}
