//! What an allowed act holds in its hand: only the gate makes one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::Gate;
use crate::audit::{CallerRef, Decision as Decided, Outcome, Record};
use crate::authz::View;
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::id::{Id, Label};
use crate::identity::{Caller, RequestRef};
use crate::policy::{Action, Decision, Resource};
use crate::store::{OpenIntent, Tx};

/// Everything of a record that is known once it is decided.
pub(super) struct Draft {
    node: String,
    request: RequestRef,
    caller: CallerRef,
    action: Action,
    resource: String,
    allow: bool,
    policy: Vec<String>,
    notes: Mutex<BTreeMap<String, String>>,
}

impl Draft {
    pub(super) fn new(node: &Label, caller: &Caller, action: Action, resource: &Resource, decision: Decision) -> Self {
        Self {
            node: node.to_string(),
            request: caller.request,
            caller: CallerRef {
                id: caller.principal.to_string(),
                serial: caller.serial.clone(),
                source: caller.source.map(|source| source.to_string()),
            },
            action,
            resource: resource.to_string(),
            allow: decision.allow,
            policy: decision.policies,
            notes: Mutex::default(),
        }
    }

    /// The draft of an act whose intent was found after a crash.
    pub(super) fn recovered(
        node: &Label,
        caller: &Caller,
        action: Action,
        resource: String,
        decision: Decision,
        detail: BTreeMap<String, String>,
    ) -> Self {
        Self {
            resource,
            notes: Mutex::new(detail),
            ..Self::new(node, caller, action, &Resource::Everything, decision)
        }
    }

    pub(super) fn note(&self, key: &'static str, value: String) {
        self.notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned(), value);
    }

    /// The record of `outcome`, with a new id. A note called `version` becomes the record's version.
    pub(super) fn record(
        &self,
        entropy: &dyn Entropy,
        clock: &dyn Clock,
        outcome: Outcome,
        notes: Vec<(&'static str, String)>,
        reason: Option<&str>,
        closes: Option<Id>,
    ) -> Result<Record> {
        let time_ms = clock.now_millis();
        let mut detail = self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        detail.extend(notes.into_iter().map(|(key, value)| (key.to_owned(), value)));
        detail.extend(reason.map(|reason| ("reason".to_owned(), reason.to_owned())));
        Ok(Record {
            id: Id::ordered(entropy, time_ms)?,
            time_ms,
            node: self.node.clone(),
            request: self.request.id,
            trace: self.request.trace,
            caller: self.caller.clone(),
            action: self.action.to_string(),
            resource: self.resource.clone(),
            version: detail.remove("version"),
            decision: if self.allow { Decided::Allow } else { Decided::Deny },
            policy: self.policy.clone(),
            outcome,
            detail,
            closes,
            count: None,
        })
    }
}

/// How far an act's record has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    Begun,
    /// The intent with this id is in the log and open.
    Intended(Id),
    Committed,
}

/// The right to do one act, once.
pub struct Permit {
    gate: Gate,
    caller: Caller,
    roles: View,
    action: Action,
    draft: Arc<Draft>,
    progress: Mutex<Progress>,
}

impl Permit {
    pub(super) fn new(gate: Gate, caller: Caller, roles: View, action: Action, draft: Draft) -> Self {
        Self {
            gate,
            caller,
            roles,
            action,
            draft: Arc::new(draft),
            progress: Mutex::new(Progress::Begun),
        }
    }

    /// Who acts.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.gate.0.clock.now()
    }

    /// The randomness to draw from.
    pub fn entropy(&self) -> &dyn Entropy {
        &*self.gate.0.entropy
    }

    /// Adds a detail to the record of this act. Never a secret value. The key `version` names the version acted on.
    pub fn note(&self, key: &'static str, value: impl Into<String>) {
        self.draft.note(key, value.into());
    }

    /// Whether the same caller may do the same on `resource`: lists show only what this allows.
    pub fn allows(&self, resource: &Resource) -> bool {
        self.roles.decide(&self.caller.principal, self.action, resource).allow
    }

    /// Commits `work` together with the record that the act is done; closes its intent, if it had one.
    ///
    /// # Errors
    /// What `work` returns, or the store's; then nothing is changed.
    pub async fn commit<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let closes = match self.progress() {
            Progress::Begun => None,
            Progress::Intended(intent) => Some(intent),
            Progress::Committed => return Err(Error::internal("an act was committed twice")),
        };
        let value = self.write(Outcome::Done, None, closes, work).await?;
        self.advance(Progress::Committed);
        Ok(value)
    }

    /// Commits `work` together with the record that the act is about to be done.
    ///
    /// # Errors
    /// What `work` returns, or the store's; then nothing is changed and nothing may be done.
    pub async fn intend<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        if self.progress() != Progress::Begun {
            return Err(Error::internal("an act was intended twice"));
        }
        let (id, value) = self.write_intent(work).await?;
        self.advance(Progress::Intended(id));
        Ok(value)
    }

    pub(super) fn draft(&self) -> &Draft {
        &self.draft
    }

    pub(super) fn is_committed(&self) -> bool {
        self.progress() == Progress::Committed
    }

    /// Records that the act did not come to its end.
    pub(super) async fn abandon(&self, outcome: Outcome, reason: &str) -> Result<()> {
        match self.progress() {
            Progress::Intended(intent) => {
                self.write(outcome, Some(reason.to_owned()), Some(intent), |_| {
                    async { Ok(()) }.boxed()
                })
                .await
            }
            Progress::Begun | Progress::Committed => self.gate.append(&self.draft, outcome, Some(reason)).await,
        }
    }

    async fn write<T, F>(&self, outcome: Outcome, reason: Option<String>, closes: Option<Id>, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (draft, gate, work) = (self.draft.clone(), self.gate.clone(), Arc::new(work));
        self.gate
            .0
            .store
            .transact(move |tx| {
                let (draft, gate, work, reason) = (draft.clone(), gate.clone(), work.clone(), reason.clone());
                async move {
                    let value = work(tx).await?;
                    let record = draft.record(
                        &*gate.0.entropy,
                        &*gate.0.clock,
                        outcome,
                        tx.take_notes(),
                        reason.as_deref(),
                        closes,
                    )?;
                    if let Some(intent) = closes {
                        tx.close_intent(intent.to_string());
                    }
                    tx.record(record.id.to_string(), record.to_bytes());
                    Ok(value)
                }
                .boxed()
            })
            .await
    }

    async fn write_intent<T, F>(&self, work: F) -> Result<(Id, T)>
    where
        T: Send + 'static,
        F: for<'t> Fn(&'t Tx) -> BoxFuture<'t, Result<T>> + Send + Sync + 'static,
    {
        let (draft, gate, work) = (self.draft.clone(), self.gate.clone(), Arc::new(work));
        self.gate
            .0
            .store
            .commit(move |tx| {
                let (draft, gate, work) = (draft.clone(), gate.clone(), work.clone());
                async move {
                    let value = work(tx).await?;
                    let clock = &*gate.0.clock;
                    let record = draft.record(&*gate.0.entropy, clock, Outcome::Intent, tx.take_notes(), None, None)?;
                    let (id, bytes) = (record.id, record.to_bytes());
                    let open = OpenIntent {
                        id: id.to_string(),
                        record: bytes.clone(),
                    };
                    tx.open_intent(open, gate.0.store.node(), clock.now());
                    tx.record(id.to_string(), bytes);
                    Ok((id, value))
                }
                .boxed()
            })
            .await
    }

    fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn advance(&self, to: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = to;
    }
}
