//! Finding records by what they say.
//!
//! An index names candidates; whether a record fits is asked of the record itself, as it lies in the log. The index is
//! filled behind the log (`fill`), a stretch of records at a time (`postings`), and kept beside it (`repo`). What it has
//! not come to yet is looked through. Of each stretch it also holds the root, for proofs (`prove`). So an answer never lacks what is in the log, unless somebody took it out of the
//! index: a search proves nothing, the log does.

mod fields;
mod fill;
mod postings;
mod prove;
mod rebuild;
mod repo;

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::{Notify, watch};

pub use self::fields::Query;
use self::fields::{Fields, Term};
pub(super) use self::fill::Filler;
use self::postings::{CHUNK, STRIDE, Which};
pub(super) use self::repo::{Place, ask as ask_rebuild};
use super::reader::{Reader, aside};
use super::tree::Tree;
use crate::error::{Error, Result};
use crate::store::Store;

/// Records of a log that are looked at for one page. What is left is for the next one.
const LOOKS: usize = 8_192;
/// Records that are read together.
const TOGETHER: u64 = 512;
/// Stretches whose rows are read together: few at first, then more.
const FEW: u64 = 4;
const MANY: u64 = 256;

/// A record that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose log it is in.
    pub node: String,
    /// Its index there.
    pub index: u64,
    /// Its bytes.
    pub record: Vec<u8>,
}

/// What was found, the newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The records. Those of one log are in its order; between logs it is their times' order.
    pub records: Vec<Found>,
    /// Where the next page goes on; none at the end.
    pub next: Option<String>,
    /// Which logs there are.
    pub logs: Vec<Searched>,
}

/// A log, and how far it was searched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Searched {
    /// Whose it is.
    pub node: String,
    /// How many records it has; of one that cannot be read here, how many its newest checkpoint covers.
    pub size: u64,
    /// How many of them, from the first on, are in the index. `None`: its records cannot be read here.
    pub indexed: Option<u64>,
}

/// Searches what this node can read.
pub(super) struct Search {
    store: Store,
    reader: Reader,
    place: Place,
    durable: watch::Receiver<Tree>,
    /// Whether the index over this node's log was compared with it; before, it is not used.
    compared: AtomicBool,
    /// Told when it has to be made anew, because it cannot be used.
    anew: Notify,
    /// Told when somebody has asked that it be made anew.
    rebuild: Notify,
    /// How many stretches of this node's log it has.
    next: AtomicU64,
    /// Which of them is made anew next; [`rebuild::NONE`] if none is.
    again: AtomicU64,
}

/// One log's part of a page.
struct Walk {
    node: String,
    found: VecDeque<Candidate>,
    /// What stands before this index was not looked at.
    next: u64,
    /// When what was looked at last was made, if that was not the end.
    cut_ms: Option<i64>,
}

struct Candidate {
    index: u64,
    time_ms: i64,
    record: Vec<u8>,
}

impl Search {
    pub(super) fn new(store: Store, (reader, place): (Reader, Place), durable: watch::Receiver<Tree>) -> Self {
        Self {
            store,
            reader,
            place,
            durable,
            compared: AtomicBool::new(false),
            anew: Notify::new(),
            rebuild: Notify::new(),
            next: AtomicU64::new(0),
            again: AtomicU64::new(rebuild::NONE),
        }
    }

    /// This node's name, which is its log's too.
    pub(super) fn node(&self) -> &str {
        self.store.node().as_str()
    }

    pub(super) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Lets go of the index's file.
    pub(super) async fn close(&self) {
        self.place.close().await;
    }

    pub(super) async fn page(&self, query: &Query, cursor: Option<&str>, limit: usize) -> Result<Page> {
        let from = cursor.map(places).transpose()?;
        let logs = self.logs().await?;
        let mut walks = Vec::new();
        for log in &logs {
            let Some(indexed) = log.indexed else { continue };
            if query.node.as_ref().is_some_and(|node| *node != log.node) {
                continue;
            }
            let end = match &from {
                Some(from) => from.get(&log.node).copied().unwrap_or(0),
                None => u64::MAX,
            };
            let mut walk = Walk {
                node: log.node.clone(),
                found: VecDeque::new(),
                next: end.min(log.size),
                cut_ms: None,
            };
            let walked = self.walk(&mut walk, indexed, query, limit).await;
            if let Err(error) = &walked
                && fill::is_damage(error)
            {
                self.anew.notify_one();
            }
            walked?;
            walks.push(walk);
        }
        let records = merge(&mut walks, limit);
        let mut next = String::new();
        for walk in &walks {
            let place = walk.found.front().map_or(walk.next, |left| left.index + 1);
            if place > 0 {
                let comma = if next.is_empty() { "" } else { "," };
                // Writing to a string cannot fail.
                let _ = write!(next, "{comma}{}:{place}", walk.node);
            }
        }
        Ok(Page {
            records,
            next: (!next.is_empty()).then_some(next),
            logs,
        })
    }

    /// Every log that is registered.
    async fn logs(&self) -> Result<Vec<Searched>> {
        let mut logs = Vec::new();
        for known in crate::audit::repo::logs(&self.store).await? {
            let size = match &self.reader {
                _ if known.node == self.node() => Some(self.durable.borrow().size()),
                Reader::Journal(_) => None,
                Reader::Rows(store) => {
                    let rows = crate::audit::repo::rows_of(store, &known.node).await?;
                    // One that has no rows here has a journal of its own.
                    (rows > 0 || known.signed == 0).then_some(rows)
                }
            };
            let indexed = match size {
                Some(size) => Some(self.indexed(&known.node, size).await?),
                None => None,
            };
            logs.push(Searched {
                node: known.node,
                size: size.unwrap_or(known.signed),
                indexed,
            });
        }
        Ok(logs)
    }

    /// How many records of a log with `size` of them are in the index.
    async fn indexed(&self, log: &str, size: u64) -> Result<u64> {
        if log == self.node() && !self.compared.load(Ordering::Acquire) {
            return Ok(0);
        }
        let held = self.place.held(log).await?;
        Ok(held.map_or(0, |(count, _)| count * CHUNK).min(size / CHUNK * CHUNK))
    }

    /// Goes down from `walk.next` until `limit` records are found, or enough was looked at.
    async fn walk(&self, walk: &mut Walk, indexed: u64, query: &Query, limit: usize) -> Result<()> {
        let mut looks = 0;
        while walk.next > indexed {
            if walk.found.len() >= limit || looks >= LOOKS {
                return Ok(());
            }
            let first = indexed.max(walk.next.saturating_sub(TOGETHER));
            let records = self.stretch(&walk.node, first, walk.next).await?;
            looks += records.len();
            let numbered = (first..walk.next).rev().zip(records.into_iter().rev());
            walk.look(query, numbered, limit, looks >= LOOKS);
        }
        let Some(top) = walk.next.checked_sub(1) else {
            return Ok(());
        };
        if walk.found.len() >= limit {
            return Ok(());
        }
        let span = self.place.span(&walk.node, query.since_ms(), query.until_ms()).await?;
        let Some((lowest, highest)) = span else {
            walk.next = 0;
            return Ok(());
        };
        let terms = query.terms();
        let mut high = Some(highest.min(top / CHUNK));
        let mut width = FEW;
        while let Some(last) = high.filter(|last| *last >= lowest) {
            let first = lowest.max(last.saturating_sub(width - 1));
            let held = self.which(&walk.node, &terms, (first, last)).await?;
            for (chunk, which) in (first..=last).rev().zip(held.into_iter().rev()) {
                let base = chunk * CHUNK;
                let positions = which.before(walk.next.saturating_sub(base));
                let mut left = positions.as_slice();
                while !left.is_empty() {
                    if walk.found.len() >= limit || looks >= LOOKS {
                        return Ok(());
                    }
                    let wanted = (limit - walk.found.len()).clamp(16, 256);
                    let (some, rest) = left.split_at(wanted.min(left.len()));
                    left = rest;
                    looks += some.len();
                    let indices: Vec<_> = some.iter().rev().map(|position| base + u64::from(*position)).collect();
                    let records = self.pick(&walk.node, chunk, indices.clone()).await?;
                    walk.look(query, indices.into_iter().zip(records).rev(), limit, looks >= LOOKS);
                }
                if walk.found.len() >= limit {
                    return Ok(());
                }
                walk.next = walk.next.min(base);
            }
            high = first.checked_sub(1);
            width = (width * 2).min(MANY);
        }
        walk.next = 0;
        Ok(())
    }

    /// Which records of each of these stretches have all terms.
    async fn which(&self, log: &str, terms: &[Term], (first, last): (u64, u64)) -> Result<Vec<Which>> {
        let mut rows = HashMap::new();
        if !terms.is_empty() {
            let buckets: Vec<_> = terms.iter().map(|term| term.bucket).collect();
            for (chunk, bucket, row) in self.place.rows(log, &buckets, (first, last)).await? {
                rows.insert((chunk, bucket), row);
            }
        }
        let which = |chunk| {
            let mut which = Which::ALL;
            for term in terms {
                let has = match rows.get(&(chunk, term.bucket)) {
                    Some(row) => postings::which(row, term.print).ok_or_else(fill::damaged)?,
                    None => Which::NONE,
                };
                which.and(&has);
            }
            Ok(which)
        };
        (first..=last).map(which).collect()
    }

    /// Records `from..until` of a log.
    async fn stretch(&self, log: &str, from: u64, until: u64) -> Result<Vec<Vec<u8>>> {
        let mut records = Vec::new();
        let mut next = from;
        while next < until {
            let some = self.reader.entries(log, next, until).await?;
            if some.is_empty() {
                return Err(Error::conflict(format!(
                    "audit record {next} of node `{log}` is missing: restore what the records are kept in"
                )));
            }
            next += u64::try_from(some.len()).unwrap_or(u64::MAX);
            records.extend(some);
        }
        Ok(records)
    }

    /// The records at these positions of one stretch of a log, in ascending order.
    async fn pick(&self, log: &str, chunk: u64, positions: Vec<u64>) -> Result<Vec<Vec<u8>>> {
        match &self.reader {
            Reader::Journal(index) => {
                let offsets = self.place.offsets(log, chunk).await?;
                let index: Arc<_> = index.clone();
                let (records, is_wrong) = aside(move || {
                    let near = |position: u64| {
                        let at = usize::try_from((position - chunk * CHUNK) / STRIDE).ok()?;
                        Some((position - position % STRIDE, *offsets.get(at)?))
                    };
                    match index.pick(&positions, &near) {
                        // Before the log is called damaged, it is read without the index.
                        Err(_) => Ok((index.pick(&positions, &|_| None)?, true)),
                        Ok(records) => Ok((records, false)),
                    }
                })
                .await?;
                if is_wrong {
                    self.anew.notify_one();
                }
                Ok(records)
            }
            Reader::Rows(store) => crate::audit::repo::pick(store, log, &positions).await,
        }
    }
}

impl Walk {
    /// Looks at records, the newest first, until there are enough. If these are the last that are looked at, their end is noted.
    fn look(&mut self, query: &Query, records: impl Iterator<Item = (u64, Vec<u8>)>, limit: usize, is_last: bool) {
        for (index, record) in records {
            if self.found.len() >= limit {
                return;
            }
            self.next = index;
            let Some(fields) = Fields::parse(&record) else { continue };
            let Some(time_ms) = fields.time_ms() else { continue };
            if is_last {
                self.cut_ms = Some(time_ms);
            }
            if query.fits(&fields, time_ms) {
                drop(fields);
                self.found.push_back(Candidate { index, time_ms, record });
            }
        }
    }
}

/// Takes the newest `limit` of what was found. Nothing that is older than what one of the logs was not looked through
/// for: it may hold newer ones.
fn merge(walks: &mut [Walk], limit: usize) -> Vec<Found> {
    let edge = walks.iter().filter_map(|walk| walk.cut_ms).max().unwrap_or(i64::MIN);
    let mut records = Vec::new();
    while records.len() < limit {
        let newest = walks
            .iter_mut()
            .filter_map(|walk| Some((walk.found.front()?.time_ms, walk)))
            .max_by_key(|(time_ms, _)| *time_ms);
        let Some((time_ms, walk)) = newest else { break };
        // Within the log that was cut the order is its own.
        if time_ms < edge && walk.cut_ms != Some(edge) {
            break;
        }
        if let Some(Candidate { index, record, .. }) = walk.found.pop_front() {
            records.push(Found {
                node: walk.node.clone(),
                index,
                record,
            });
        }
    }
    records
}

/// A cursor: before which index each log goes on.
fn places(cursor: &str) -> Result<HashMap<String, u64>> {
    let place = |text: &str| {
        let (node, index) = text.split_once(':')?;
        Some((node.to_owned(), index.parse().ok()?))
    };
    let places = cursor.split(',').map(place).collect::<Option<_>>();
    places.ok_or_else(|| Error::invalid("the cursor is none of ours: give the `next` of the page before"))
}
