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

/// Sources and reasons told apart within one second; the rest is counted together.
const DISTINCT: usize = 256;

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
        let key = Some((source, reason.to_owned()));
        let key = if counts.len() < DISTINCT || counts.contains_key(&key) {
            key
        } else {
            None
        };
        *counts.entry(key).or_insert(0) += 1;
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
                *lock().entry(key).or_insert(0) += count;
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
