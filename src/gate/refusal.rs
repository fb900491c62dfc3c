//! Refusals of strangers, counted per source and second.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::audit::{self, CallerRef, Decision, Outcome, Record};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::Result;
use crate::id::{Id, Label};
use crate::store::Store;

/// Rows of one second; what goes beyond is counted together.
const DISTINCT: usize = 256;
/// Reasons of one source told apart in it, so that one source cannot hide the others or fill the log.
const REASONS: usize = 4;
/// What further reasons of one source are counted as.
const FURTHER: &str = "further reasons in this second";

/// Who was refused and why; `None` stands for all beyond [`DISTINCT`].
type Key = Option<(IpAddr, String)>;
type Counts = Mutex<HashMap<Key, u64>>;

pub(super) struct Refusals(Arc<Counts>);

impl Refusals {
    pub(super) fn start(log: audit::Log, store: &Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let counts = Arc::new(Counts::default());
        tokio::spawn(flush(
            Arc::downgrade(&counts),
            log,
            store.node().clone(),
            clock,
            entropy,
        ));
        Self(counts)
    }

    pub(super) fn note(&self, source: IpAddr, reason: &str) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        add(&mut counts, Some((network(source), reason.to_owned())), 1);
    }
}

/// Counts `by` under `key`, or under what stands for it once there are too many.
fn add(counts: &mut HashMap<Key, u64>, key: Key, by: u64) {
    let mut key = key;
    if !counts.contains_key(&key)
        && let Some((source, _)) = &key
    {
        let source = *source;
        if counts.keys().flatten().filter(|(other, _)| *other == source).count() >= REASONS {
            key = Some((source, FURTHER.to_owned()));
        }
        if counts.len() >= DISTINCT && !counts.contains_key(&key) {
            key = None;
        }
    }
    *counts.entry(key).or_insert(0) += by;
}

/// Who can have many addresses counts as one: an IPv6 subscriber has at least a /64.
pub fn network(source: IpAddr) -> IpAddr {
    match source {
        IpAddr::V4(_) => source,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => IpAddr::V4(mapped),
            None => IpAddr::V6((address.to_bits() & (u128::MAX << 64)).into()),
        },
    }
}

async fn flush(counts: Weak<Counts>, log: audit::Log, node: Label, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) {
    loop {
        clock.sleep(Duration::from_secs(1)).await;
        let Some(counts) = counts.upgrade() else { return };
        let lock = || counts.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = std::mem::take(&mut *lock());
        for (key, count) in counted {
            let written = match record(key.clone(), count, &node, &*clock, &*entropy) {
                Ok(record) => log.append(&record).await,
                Err(error) => Err(error),
            };
            if let Err(error) = written {
                // Counted again, until the log takes it.
                add(&mut lock(), key, count);
                tracing::error!(error = %error.detail(), "refusals were not recorded");
            }
        }
    }
}

fn record(key: Key, count: u64, node: &Label, clock: &dyn Clock, entropy: &dyn Entropy) -> Result<Record> {
    let time_ms = clock.now_millis();
    let (source, reason) = match key {
        Some((source, reason)) => (Some(source.to_string()), reason),
        None => (None, "further sources and reasons in this second".to_owned()),
    };
    Ok(Record {
        id: Id::ordered(entropy, time_ms)?,
        time_ms,
        node: node.to_string(),
        request: Id::ordered(entropy, time_ms)?,
        trace: None,
        caller: CallerRef {
            id: "unknown".to_owned(),
            serial: None,
            source,
        },
        action: "Authenticate".to_owned(),
        resource: "/".to_owned(),
        version: None,
        decision: Decision::Deny,
        policy: Vec::new(),
        outcome: Outcome::Denied,
        detail: [("reason".to_owned(), reason)].into(),
        closes: None,
        count: Some(count),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_neither_fills_the_log_nor_hides_the_others() {
        let mut counts = HashMap::new();
        let loud: IpAddr = "2001:db8::1".parse().unwrap();
        for n in 0..10_000_u32 {
            let source: IpAddr = format!("2001:db8::{:x}", n % 5000 + 1).parse().unwrap();
            add(&mut counts, Some((network(source), format!("trust domain `{n}`"))), 1);
        }
        assert_eq!(counts.len(), REASONS + 1);
        assert_eq!(
            counts[&Some((network(loud), FURTHER.to_owned()))],
            10_000 - REASONS as u64
        );
        let quiet: IpAddr = "192.0.2.1".parse().unwrap();
        add(&mut counts, Some((quiet, "no certificate".to_owned())), 1);
        assert_eq!(counts[&Some((quiet, "no certificate".to_owned()))], 1);

        for n in 0..100_000_u32 {
            add(
                &mut counts,
                Some((IpAddr::V4(n.into()), "no certificate".to_owned())),
                1,
            );
        }
        assert!(counts.len() <= DISTINCT + 1, "{}", counts.len());
        assert_eq!(counts.values().sum::<u64>(), 110_001, "nobody is forgotten");
    }
}
