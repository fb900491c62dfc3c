//! A node's log over its store, opened again and again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use super::*;
use crate::audit::record::tests::sample;
use crate::audit::segment;
use crate::clock::{ManualClock, Timestamp};
use crate::error::Kind;
use crate::store::{self, StoreError};

pub(in crate::audit) struct SoftKey {
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
pub(in crate::audit) struct Node {
    pub(in crate::audit) folder: tempfile::TempDir,
    key: Arc<SoftKey>,
    pub(in crate::audit) clock: Arc<ManualClock>,
    pub(in crate::audit) settings: Settings,
}

impl Node {
    pub(in crate::audit) fn new(journal: bool) -> Self {
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

    pub(in crate::audit) async fn store(&self) -> Store {
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

    pub(in crate::audit) async fn log(&self, store: &Store) -> Result<Log> {
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
        tree.push(crate::audit::tree::leaf(&bytes));
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
    (0..first).for_each(|n| other.push(crate::audit::tree::leaf(&n.to_be_bytes())));
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
