//! Checkpoints for others to hold: behind each other in a file, or by HTTP POST.
//!
//! How far an anchor has come is not kept: whoever writes the store could hold checkpoints back with it. So each gets one
//! after a start, and from then on at most one in its interval. A checkpoint is signed as it is; what an anchor gets needs
//! no protection but from being lost.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::lines::Lines;
use super::{FIRST_PAUSE, LONGEST_PAUSE, Lag};
use crate::audit::checkpoint::Checkpoint;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::Label;
use crate::secret::SecretRef;
use crate::webhook::Webhook;

/// One `[[audit.anchor]]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorSettings {
    /// Its name, in the service's log and the metrics.
    pub name: Label,
    /// At most one checkpoint in so many seconds.
    #[serde(default = "every_s")]
    pub every_s: u32,
    /// How long it may take over one, in seconds.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// The file that they are appended to; either this or `url`.
    #[serde(default)]
    pub path: Option<PathBuf>,
    /// Where they are posted.
    #[serde(default)]
    pub url: Option<String>,
    /// What a post is signed with, at least 24 bytes; after `whsec_` they are base64.
    #[serde(default)]
    pub key: Option<SecretRef>,
    /// The roots that the certificate must come from, as PEM, in place of the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
}

const fn every_s() -> u32 {
    3_600
}

const fn timeout_s() -> u32 {
    10
}

/// Where an anchor's checkpoints go.
enum Place {
    File(PathBuf),
    Url(Box<Webhook>),
}

/// What takes them.
enum Outlet {
    File(Lines),
    Url(Box<Webhook>),
}

/// All anchors of this node.
pub(in crate::audit) struct Anchors {
    anchors: Vec<Arc<Anchor>>,
    tasks: Vec<JoinHandle<()>>,
}

/// One of them.
struct Anchor {
    settings: AnchorSettings,
    node: String,
    clock: Arc<dyn Clock>,
    /// What the newest checkpoint covers that it has.
    taken: AtomicU64,
}

impl AnchorSettings {
    /// Where they go. Reads key and roots.
    ///
    /// # Errors
    /// `Invalid`, with the anchor's name and what is wrong.
    fn place(&self) -> Result<Place> {
        let wrong = |why: &str| Error::invalid(format!("audit anchor `{}`: {why}", self.name));
        if self.every_s == 0 || self.timeout_s == 0 {
            return Err(wrong("`every_s` or `timeout_s` is 0: give 1 or more"));
        }
        match (&self.path, &self.url) {
            (Some(path), None) if self.key.is_none() && self.ca.is_none() => Ok(Place::File(path.clone())),
            (Some(_), None) => Err(wrong("`key` and `ca` are for a `url`: remove them")),
            (None, Some(url)) => {
                let key = self.key.as_ref().map(SecretRef::read).transpose()?;
                let limit = Duration::from_secs(self.timeout_s.into());
                let webhook = Webhook::new(url, key.as_ref(), self.ca.as_deref(), limit);
                Ok(Place::Url(Box::new(webhook.map_err(|error| wrong(error.public()))?)))
            }
            _ => Err(wrong("give either a `path` or a `url`")),
        }
    }
}

/// Whether all anchors are well said, and each has its own name.
///
/// # Errors
/// `Invalid`, with the anchor's name and what is wrong.
pub(in crate::audit) fn check(anchors: &[AnchorSettings]) -> Result<()> {
    let mut names = BTreeSet::new();
    for anchor in anchors {
        if !names.insert(anchor.name.as_str()) {
            return Err(Error::invalid(format!(
                "two audit anchors are named `{}`: give each its own name",
                anchor.name
            )));
        }
        anchor.place()?;
    }
    Ok(())
}

impl Anchors {
    /// Starts a task for each anchor of this node's log.
    ///
    /// # Errors
    /// `Invalid` if the settings are wrong; `Unavailable` if a thread cannot be had.
    pub(in crate::audit) fn start(
        settings: &[AnchorSettings],
        node: &str,
        newest: &watch::Receiver<Option<Checkpoint>>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        check(settings)?;
        let (mut anchors, mut tasks) = (Vec::new(), Vec::new());
        for settings in settings {
            let outlet = match settings.place()? {
                Place::File(path) => Outlet::File(
                    Lines::file(path)
                        .map_err(|error| Error::unavailable("no thread for an audit anchor").because(error))?,
                ),
                Place::Url(webhook) => Outlet::Url(webhook),
            };
            let anchor = Arc::new(Anchor {
                settings: settings.clone(),
                node: node.to_owned(),
                clock: clock.clone(),
                taken: AtomicU64::new(0),
            });
            tasks.push(tokio::spawn(anchor.clone().run(outlet, newest.clone())));
            anchors.push(anchor);
        }
        Ok(Self { anchors, tasks })
    }

    /// How far each is behind a log with so many records.
    pub(in crate::audit) fn lags(&self, size: u64) -> Vec<Lag> {
        let lag = |anchor: &Arc<Anchor>| Lag {
            sink: anchor.settings.name.to_string(),
            records: size.saturating_sub(anchor.taken.load(Ordering::Acquire)),
        };
        self.anchors.iter().map(lag).collect()
    }
}

impl Drop for Anchors {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Anchor {
    /// Until the log is gone.
    async fn run(self: Arc<Self>, mut outlet: Outlet, mut newest: watch::Receiver<Option<Checkpoint>>) {
        let every = Duration::from_secs(self.settings.every_s.into());
        let mut due = None;
        let mut pause = FIRST_PAUSE;
        let mut is_failing = false;
        loop {
            let taken = self.taken.load(Ordering::Acquire);
            let is_new = |newest: &Option<Checkpoint>| newest.as_ref().is_some_and(|newest| newest.size > taken);
            if newest.wait_for(is_new).await.is_err() {
                return;
            }
            while let Some(at) = due.filter(|at| is_ahead(*at, self.clock.now(), every)) {
                self.clock.sleep_until(at).await;
            }
            // The newest: those in between are in it.
            let Some(checkpoint) = newest.borrow_and_update().clone() else {
                continue;
            };
            let name = &self.settings.name;
            match self.give(&mut outlet, &checkpoint).await {
                Ok(()) => {
                    self.taken.store(checkpoint.size, Ordering::Release);
                    due = Some(self.clock.now() + every);
                    pause = FIRST_PAUSE;
                    if std::mem::take(&mut is_failing) {
                        tracing::info!("audit anchor `{name}` takes checkpoints again");
                    }
                }
                Err(why) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!("audit anchor `{name}` takes no checkpoint: {why}");
                    }
                    self.clock.sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    async fn give(&self, outlet: &mut Outlet, checkpoint: &Checkpoint) -> std::result::Result<(), String> {
        let limit = Duration::from_secs(self.settings.timeout_s.into());
        let given = async {
            match outlet {
                Outlet::File(lines) => {
                    lines.write(format!("{}\n", checkpoint.text).into_bytes()).await?;
                    lines.sync().await
                }
                Outlet::Url(webhook) => {
                    let id = format!("{}-checkpoint-{}", self.node, checkpoint.size);
                    let body = checkpoint.text.as_bytes().to_vec();
                    webhook
                        .post(&id, "text/plain; charset=utf-8", body, self.clock.now())
                        .await
                }
            }
        };
        tokio::time::timeout(limit, given)
            .await
            .unwrap_or_else(|_| Err(format!("it did not take it within {} s", limit.as_secs())))
    }
}

/// Whether `at` is to be waited for. After a clock was put back it may be further away than it ever was: then not.
fn is_ahead(at: Timestamp, now: Timestamp, every: Duration) -> bool {
    now < at && at.since(now) <= every
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::log::tests::Node;
    use crate::audit::record::tests::sample;

    fn anchor(text: &str) -> AnchorSettings {
        toml::from_str(text).unwrap()
    }

    /// The sizes that the file's checkpoints say.
    fn sizes(path: &std::path::Path) -> Vec<u64> {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines
            .windows(2)
            .filter(|pair| pair[0].contains("/audit/") && !pair[0].starts_with('\u{2014}'))
            .filter_map(|pair| pair[1].parse().ok())
            .collect()
    }

    async fn until(node: &Node, what: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if what() {
                return;
            }
            node.clock.advance(Duration::from_millis(10));
            tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>())
                .await
                .unwrap_err();
        }
        panic!("it does not come");
    }

    #[tokio::test]
    async fn a_file_gets_the_newest_checkpoint_once_in_an_interval_and_after_a_failure() {
        let mut node = Node::new(true);
        let folder = node.folder.path().join("board");
        let path = folder.join("checkpoints");
        node.settings.anchor = vec![anchor(&format!(
            "name = 'board'\npath = '{}'\nevery_s = 600",
            path.display()
        ))];
        let store = node.store().await;
        let log = node.log(&store).await.unwrap();
        log.append(&sample(0)).await.unwrap();
        log.sign_now().await.unwrap();
        assert_eq!(log.anchors()[0].records, 1);
        // Its folder is not there yet.
        std::fs::create_dir(&folder).unwrap();
        until(&node, || log.anchors()[0].records == 0).await;
        let first = sizes(&path);
        assert!(
            first.iter().all(|size| *size <= 1) && first.ends_with(&[1]),
            "{first:?}"
        );

        let before = node.clock.now();
        for seed in 1..4 {
            log.append(&sample(seed)).await.unwrap();
            log.sign_now().await.unwrap();
        }
        until(&node, || node.clock.now().since(before) > Duration::from_secs(5)).await;
        assert_eq!(sizes(&path), first);
        node.clock.advance(Duration::from_secs(600));
        until(&node, || log.anchors()[0].records == 0).await;
        assert_eq!(sizes(&path), [first.as_slice(), &[4]].concat());

        // A clock that is put back does not hold the next one back for longer than the interval.
        log.append(&sample(4)).await.unwrap();
        log.sign_now().await.unwrap();
        node.clock.set(node.clock.now() - Duration::from_secs(86_400));
        until(&node, || log.anchors()[0].records == 0).await;
        log.close().await.unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_anchors_name() {
        for (text, why) in [
            ("name = 'a'", "either a `path` or a `url`"),
            (
                "name = 'a'\npath = '/x'\nurl = 'https://192.0.2.1/'",
                "either a `path` or a `url`",
            ),
            ("name = 'a'\npath = '/x'\nca = '/y'", "are for a `url`"),
            ("name = 'a'\npath = '/x'\nevery_s = 0", "give 1 or more"),
            ("name = 'a'\nurl = 'http://192.0.2.1/'", "not encrypted"),
        ] {
            let text = check(&[anchor(text)]).unwrap_err().detail();
            assert!(text.contains("`a`") && text.contains(why), "{text}");
        }
        let one = anchor("name = 'a'\npath = '/x'");
        check(std::slice::from_ref(&one)).unwrap();
        assert!(check(&[one.clone(), one]).is_err());
    }
}
