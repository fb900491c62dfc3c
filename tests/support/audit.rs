//! A real audit log, signed by a test's token, and its export.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chancery::audit::{CallerRef, Decision, Log, Outcome, Record, Settings};
use chancery::cli::export::Export;
use chancery::clock::SystemClock;
use chancery::entropy::SeededEntropy;
use chancery::error::Result;
use chancery::hsm::KeyRef;
use chancery::id::Id;
use chancery::key_type::KeyType;
use chancery::store::{self, Store};

use super::child::PATIENCE;
use super::softhsm::Token;

/// A node's log.
pub struct Ledger {
    pub log: Log,
    pub store: Store,
}

impl Ledger {
    /// The log of `node`, in the token's folder, signed by the key `audit`.
    pub async fn open(token: &Token, node: &str) -> Self {
        Self::open_with_key(token, node, "audit").await
    }

    /// The same, signed by another key.
    pub async fn open_with_key(token: &Token, node: &str, key: &str) -> Self {
        Self::open_in(token, &token.dir().join(node), node, key).await
    }

    /// The same, in another folder.
    pub async fn open_in(token: &Token, folder: &Path, node: &str, key: &str) -> Self {
        let url = format!("sqlite:{}", folder.join("chancery.db").display());
        Self::open_at(
            token,
            &url,
            Some((folder, Settings::default().segment_bytes)),
            node,
            key,
        )
        .await
    }

    /// The same, in segments of this size.
    pub async fn open_in_segments(token: &Token, folder: &Path, node: &str, bytes: u64) -> Self {
        let url = format!("sqlite:{}", folder.join("chancery.db").display());
        Self::open_at(token, &url, Some((folder, bytes)), node, "audit").await
    }

    /// A log kept as rows of the database.
    pub async fn open_rows(token: &Token, url: &str, node: &str) -> Self {
        Self::open_at(token, url, None, node, "audit").await
    }

    /// Why that does not open.
    pub async fn refused_rows(token: &Token, url: &str, node: &str) -> String {
        let refusal = Self::try_open_at(token, url, None, node, "audit").await.err();
        refusal.expect("it must not open").detail()
    }

    async fn open_at(token: &Token, url: &str, folder: Option<(&Path, u64)>, node: &str, label: &str) -> Self {
        Self::try_open_at(token, url, folder, node, label).await.unwrap()
    }

    async fn try_open_at(
        token: &Token,
        url: &str,
        folder: Option<(&Path, u64)>,
        node: &str,
        label: &str,
    ) -> Result<Self> {
        let settings = Settings {
            journal: folder.map(|(folder, _)| folder.join("journal")),
            segment_bytes: folder.map_or_else(|| Settings::default().segment_bytes, |(_, bytes)| bytes),
            ..Settings::default()
        };
        Self::try_open_as(token, url, settings, node, label).await
    }

    /// A log with settings of one's own, once nobody holds its database any more.
    pub async fn open_as(token: &Token, url: &str, settings: Settings, node: &str) -> Self {
        let begun = Instant::now();
        loop {
            match Self::try_open_as(token, url, settings.clone(), node, "audit").await {
                Err(error) if error.public().contains("is in use by another process") && begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                opened => return opened.unwrap(),
            }
        }
    }

    async fn try_open_as(token: &Token, url: &str, settings: Settings, node: &str, label: &str) -> Result<Self> {
        let hsm = token.hsm();
        if hsm.find(label).await.unwrap().is_none() {
            hsm.generate(label, KeyType::Ed25519).await.unwrap();
        }
        let key = KeyRef {
            label: label.to_owned(),
            kind: KeyType::Ed25519,
        };
        let store = Store::open(&store::Settings { url: url.to_owned() }, &node.parse().unwrap()).await?;
        let origin = format!("chancery.test/audit/{node}");
        let log = Log::open(&settings, &origin, &store, hsm, key, Arc::new(SystemClock)).await?;
        Ok(Self { log, store })
    }

    /// Appends the records `from..until` in order.
    pub async fn fill(&self, from: u64, until: u64) {
        let records: Vec<_> = (from..until).map(record).collect();
        futures::future::try_join_all(records.iter().map(|record| self.log.append(record)))
            .await
            .unwrap();
    }
}

/// A record; another for each number.
pub fn record(number: u64) -> Record {
    let entropy = SeededEntropy::new(number);
    Record {
        id: Id::random(&entropy).unwrap(),
        time_ms: 1_795_509_325_000 + i64::try_from(number).unwrap(),
        node: "n1".into(),
        request: Id::random(&entropy).unwrap(),
        trace: None,
        caller: CallerRef {
            id: "spiffe://chancery.test/workload/web".into(),
            serial: Some("4a3f".into()),
            source: Some("192.0.2.7:40112".into()),
        },
        action: "ReadSecret".into(),
        resource: "vaults/kv-prod/secrets/db-password".into(),
        version: Some("3".into()),
        decision: Decision::Allow,
        policy: vec!["Secrets User@vaults/kv-prod".into()],
        outcome: Outcome::Done,
        detail: [("number".to_owned(), number.to_string())].into(),
        closes: None,
        count: None,
    }
}

/// Exports a log whole under a checkpoint over all of it; gives the records and the checkpoint.
pub async fn exported(log: &Log, folder: &Path) -> (Vec<Vec<u8>>, String) {
    let checkpoint = log.sign_now().await.unwrap().to_string();
    let mut records = Vec::new();
    let mut export = Export::begin(folder).unwrap();
    while u64::try_from(records.len()).unwrap() < log.size() {
        let from = u64::try_from(records.len()).unwrap();
        records.extend(log.entries(from, u64::MAX).await.unwrap().records);
    }
    records.iter().for_each(|record| export.push(record).unwrap());
    export.finish(&checkpoint).unwrap();
    (records, checkpoint)
}
