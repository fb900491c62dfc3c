//! After a start: what a crash left open gets its outcome.

use std::collections::BTreeMap;

use async_trait::async_trait;
use futures::FutureExt;
use serde::Deserialize;

use super::Gate;
use super::permit::Draft;
use crate::audit::Outcome;
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::policy::{Action, Resource, system};

/// An act that was begun before the crash, as its intent describes it.
#[derive(Clone, Debug, Deserialize)]
pub struct Intent {
    /// The id of the intent's record.
    pub id: String,
    /// What was about to be done.
    pub action: String,
    /// On what.
    pub resource: String,
    /// The details noted with the intent, for example the serial reserved.
    #[serde(default)]
    pub detail: BTreeMap<String, String>,
}

/// What is known of an act that was begun.
pub struct Resolution {
    /// `Done`, `Failed`, or `Unknown` if nobody can tell.
    pub outcome: Outcome,
    /// Why that is known; goes into the record.
    pub reason: String,
}

/// A room that can tell how its acts ended.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// `None`: not an act of this room.
    async fn resolve(&self, intent: &Intent) -> Result<Option<Resolution>>;
}

impl Gate {
    /// Closes every intent of this node that has no outcome. Called once, before anything is served.
    ///
    /// # Errors
    /// The store's; then the service must not start, or an act would stay open for good.
    pub async fn close_intents(&self, rooms: &[&dyn Resolve]) -> Result<usize> {
        let open = self.0.store.open_intents().await?;
        for row in &open {
            let intent: Intent = serde_json::from_slice(&row.record)
                .map_err(|e| Error::internal(format!("the record of intent `{}` cannot be read", row.id)).because(e))?;
            let mut resolution = Resolution {
                outcome: Outcome::Unknown,
                reason: "the process ended in between".to_owned(),
            };
            for room in rooms {
                if let Some(known) = room.resolve(&intent).await? {
                    resolution = known;
                    break;
                }
            }
            self.close(intent, resolution).await?;
        }
        Ok(open.len())
    }

    async fn close(&self, intent: Intent, resolution: Resolution) -> Result<()> {
        let action: Action = intent.action.parse()?;
        let caller = Caller::system(system::RECOVERY, &*self.0.entropy)?;
        let decision = self
            .0
            .authz
            .decide(&caller.principal, Action::CloseIntent, &Resource::Audit)
            .await?;
        let draft = Draft::recovered(
            self.0.store.node(),
            &caller,
            action,
            intent.resource,
            decision,
            intent.detail,
        );
        let record = draft.record(
            &*self.0.entropy,
            &*self.0.clock,
            resolution.outcome,
            Vec::new(),
            Some(&resolution.reason),
            Some(intent.id.parse()?),
        )?;
        let (id, bytes) = (record.id.to_string(), record.to_bytes());
        self.0
            .store
            .transact(move |tx| {
                let (id, bytes, intent) = (id.clone(), bytes.clone(), intent.id.clone());
                async move {
                    // CRASH: a second recovery finds the row gone and writes no second outcome.
                    if tx.is_intent_open(&intent).await? {
                        tx.close_intent(intent);
                        tx.record(id, bytes);
                    }
                    Ok(())
                }
                .boxed()
            })
            .await
    }
}
