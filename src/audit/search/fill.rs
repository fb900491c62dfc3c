//! Filling of the index, behind the log: never in the way of what is appended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Search;
use super::postings::{Builder, CHUNK, Chunk};
use crate::audit::reader::{Reader, aside};
use crate::audit::repo::Known;
use crate::audit::tree::{self, Hash, Tree};
use crate::clock::Clock;
use crate::error::{Error, Result};

/// How long until it tries again what failed.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is looked whether a log of another node, which may be gone, is behind.
const OTHERS: Duration = Duration::from_secs(60);
/// What is said of an index that cannot be read.
const DAMAGED: &str = "the index of the audit log is damaged; it is made anew: try again in a while";

/// An index with rows that are none of ours.
pub(super) fn damaged() -> Error {
    Error::unavailable(DAMAGED).retry_after(AGAIN)
}

/// Whether the index has to be made anew before it can be read.
pub(super) fn is_damage(error: &Error) -> bool {
    let detail = error.detail();
    [DAMAGED, "malformed", "not a database"]
        .iter()
        .any(|sign| detail.contains(sign))
}

/// Fills the index as the log grows.
pub(in super::super) struct Filler {
    search: Arc<Search>,
    clock: Arc<dyn Clock>,
}

impl Filler {
    pub(in super::super) fn new(search: Arc<Search>, clock: Arc<dyn Clock>) -> Self {
        Self { search, clock }
    }

    /// Until the log is gone.
    pub(in super::super) async fn run(self) {
        futures::join!(self.own(), self.others());
    }

    async fn own(&self) {
        let log = self.search.node();
        while let Err(error) = self.follow(log).await {
            self.search.compared.store(false, Ordering::Release);
            if is_damage(&error) {
                tracing::warn!("the audit log's index is made anew: {}", error.detail());
                if let Err(error) = self.search.place.forget(log).await {
                    tracing::warn!("{}", error.detail());
                    self.clock.sleep(AGAIN).await;
                }
            } else {
                tracing::warn!("the audit log's index cannot be filled yet: {}", error.detail());
                self.clock.sleep(AGAIN).await;
            }
        }
    }

    /// Fills until the log ends.
    async fn follow(&self, log: &str) -> Result<()> {
        let mut durable = self.search.durable.clone();
        let size = durable.borrow().size();
        let mut next = self.search.begin(log, size).await?;
        self.search.compared.store(true, Ordering::Release);
        let mut again = self.search.rebuilding(log).await?;
        loop {
            self.search.tell(next, again);
            let is_again = again.is_some();
            let grown = async { durable.wait_for(|tree| tree.size() >= (next + 1) * CHUNK).await.is_ok() };
            let is_new = tokio::select! {
                biased;
                () = self.search.anew.notified() => return Err(damaged()),
                () = self.search.rebuild.notified() => {
                    again = self.search.rebuilding(log).await?;
                    continue;
                }
                // What is new comes first.
                is_open = grown => match is_open {
                    true => true,
                    false => return Ok(()),
                },
                () = std::future::ready(()), if is_again => false,
            };
            let began = Instant::now();
            match again {
                Some(chunk) if !is_new => again = self.search.remake(log, chunk, next).await?,
                _ => {
                    self.search.fill(log, next, false).await?;
                    next += 1;
                }
            }
            self.search.tell(next, again);
            // If there is much to do, half of the time is left to others.
            self.clock.sleep(began.elapsed()).await;
        }
    }

    /// Fills up what nodes that are gone have left, as far as it is signed: what is not may be taken back.
    async fn others(&self) {
        if matches!(self.search.reader, Reader::Journal(_)) {
            return;
        }
        loop {
            self.clock.sleep(OTHERS).await;
            if let Err(error) = self.catch_up().await {
                tracing::warn!("the audit logs' index cannot be filled yet: {}", error.detail());
            }
        }
    }

    async fn catch_up(&self) -> Result<()> {
        for Known { node, signed } in crate::audit::repo::logs(&self.search.store).await? {
            let rows = crate::audit::repo::rows_of(&self.search.store, &node).await?;
            if node == self.search.node() || rows < signed {
                continue;
            }
            let mut next = self.search.begin(&node, rows).await?;
            while (next + 1) * CHUNK <= signed {
                let began = Instant::now();
                self.search.fill(&node, next, false).await?;
                next += 1;
                self.clock.sleep(began.elapsed()).await;
            }
            let mut again = self.search.rebuilding(&node).await?;
            while let Some(chunk) = again {
                let began = Instant::now();
                again = self.search.remake(&node, chunk, next).await?;
                self.clock.sleep(began.elapsed()).await;
            }
        }
        Ok(())
    }
}

impl Search {
    /// The stretch of `log`, which has `size` records, that comes next. An index over other records is forgotten.
    async fn begin(&self, log: &str, size: u64) -> Result<u64> {
        let Some((count, last)) = self.place.held(log).await? else {
            return Ok(0);
        };
        if count * CHUNK <= size {
            let mut tree = Tree::default();
            for record in self.stretch(log, (count - 1) * CHUNK, count * CHUNK).await? {
                tree.push(tree::leaf(&record));
            }
            if tree.root().as_slice() == last {
                return Ok(count);
            }
        }
        tracing::warn!("the index of audit log `{log}` is not of its records: it is made anew");
        self.place.forget(log).await?;
        Ok(0)
    }

    /// Takes a stretch into the index; `anew`, in place of what is there of it.
    pub(super) async fn fill(&self, log: &str, chunk: u64, anew: bool) -> Result<()> {
        let (from, until) = (chunk * CHUNK, (chunk + 1) * CHUNK);
        let (held, root): (Chunk, Hash) = match &self.reader {
            Reader::Journal(index) => {
                let index = index.clone();
                aside(move || {
                    let (mut builder, mut tree) = (Builder::new(), Tree::default());
                    index.visit(from, until, &mut |offset, record| {
                        builder.lies_at(offset);
                        builder.push(record);
                        tree.push(tree::leaf(record));
                        true
                    })?;
                    Ok((builder.finish(), tree.root()))
                })
                .await?
            }
            Reader::Rows(_) => {
                let records = self.stretch(log, from, until).await?;
                aside(move || {
                    let (mut builder, mut tree) = (Builder::new(), Tree::default());
                    for record in &records {
                        builder.push(record);
                        tree.push(tree::leaf(record));
                    }
                    Ok((builder.finish(), tree.root()))
                })
                .await?
            }
        };
        self.place.keep(log, chunk, root, held, anew).await
    }
}
