//! The one way to act: decide, record, run.
//!
//! Every act is a type that implements [`Operation`] and runs only through [`Gate::perform`]. Deny by default; a denial
//! is recorded too. No durable audit record, no answer:
//!
//! * a **read** runs first, its record is durable before the value leaves;
//! * a **change** commits together with its record ([`Permit::commit`]), so that they stand or fall together;
//! * an **act** that cannot be undone (a signature by the HSM, an order at another CA) has its intent committed first
//!   ([`Permit::intend`]) and is closed by an outcome, after a crash by [`Gate::close_intents`].
//!
//! The gate must never know what an operation does. A new act is a struct in its room; nothing is added here.

mod permit;
mod recovery;
mod refusal;

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use self::permit::Draft;
pub use self::permit::Permit;
pub use self::recovery::{Intent, Resolution, Resolve};
use self::refusal::Refusals;
pub use self::refusal::network;
use crate::audit::{self, Outcome};
use crate::authz::Authz;
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::identity::Caller;
use crate::policy::{Action, Resource};
use crate::store::{Store, is_commit_unknown};

/// What an act leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Something outside the database that cannot be undone: intent first, outcome afterwards.
    Act,
    /// Rows, committed with their record.
    Change,
    /// Nothing.
    Read,
}

/// An act, as a type.
pub trait Operation: Send {
    /// What is asked for.
    const ACTION: Action;
    /// What it leaves behind.
    const EFFECT: Effect;
    /// What the act works on.
    type Engine: Sync;
    /// What it gives.
    type Output: Send;

    /// What it acts on.
    fn resource(&self) -> Resource;

    /// Does it. Called by the gate only, once allowed.
    fn run(self, engine: &Self::Engine, permit: &Permit) -> impl Future<Output = Result<Self::Output>> + Send;
}

/// Decides, records and runs. Cheap to clone.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    authz: Authz,
    log: audit::Log,
    store: Store,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    refusals: Refusals,
}

impl Gate {
    /// A gate over these rooms. Starts the task that records refusals of strangers; it ends with the gate.
    pub fn new(authz: Authz, log: audit::Log, store: Store, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let refusals = Refusals::start(log.clone(), &store, clock.clone(), entropy.clone());
        Self(Arc::new(Inner {
            authz,
            log,
            store,
            clock,
            entropy,
            refusals,
        }))
    }

    /// Performs `op` for `caller` on `engine`.
    ///
    /// # Errors
    /// `Denied` if no policy allows it; `Unavailable` if the record cannot be made durable; else what the act returns.
    /// Whatever it is, it is recorded.
    pub async fn perform<O: Operation>(&self, caller: &Caller, engine: &O::Engine, op: O) -> Result<O::Output> {
        // Before anything is done: a log that takes no records must not see changes.
        self.0.log.accepts()?;
        let resource = op.resource();
        let roles = self.0.authz.view().await?;
        let decision = roles.decide(&caller.principal, O::ACTION, &resource);
        let allowed = decision.allow;
        let draft = Draft::new(self.0.store.node(), caller, O::ACTION, &resource, decision);
        if !allowed {
            self.append(&draft, Outcome::Denied, None).await?;
            return Err(Error::denied(format!(
                "`{}` may not {} on `{resource}`: ask an administrator for a role that allows it there",
                caller.principal,
                O::ACTION,
            )));
        }

        let permit = Permit::new(self.clone(), caller.clone(), roles, O::ACTION, draft);
        match op.run(engine, &permit).await {
            Ok(value) if O::EFFECT == Effect::Read => {
                self.append(permit.draft(), Outcome::Done, None).await?;
                Ok(value)
            }
            Ok(value) if permit.is_committed() => Ok(value),
            Ok(_) => {
                permit.abandon(Outcome::Failed, "the change left no record").await?;
                Err(Error::internal(format!(
                    "`{}` answered without a committed record",
                    O::ACTION
                )))
            }
            // The outcome is in the log already; what failed came after it.
            Err(error) if permit.is_committed() => Err(error),
            Err(error) => {
                let outcome = if is_commit_unknown(&error) {
                    Outcome::Unknown
                } else {
                    Outcome::Failed
                };
                if let Err(unrecorded) = permit.abandon(outcome, error.public()).await {
                    tracing::error!(error = %unrecorded.detail(), action = %O::ACTION, "a failed act was not recorded");
                    // No record, no answer. That a commit is in doubt tells nothing of what there is, and must be told.
                    if outcome == Outcome::Failed {
                        return Err(unrecorded);
                    }
                }
                Err(error)
            }
        }
    }

    /// Notes that a stranger was refused before anybody knew who it was. Recorded once a second per source and reason,
    /// so that strangers cannot fill the log.
    pub fn refuse(&self, source: IpAddr, reason: &str) {
        self.0.refusals.note(source, reason);
    }

    /// The store that permits commit to.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The clock that acts are timed by.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The randomness that acts draw from.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.0.entropy
    }

    async fn append(&self, draft: &Draft, outcome: Outcome, reason: Option<&str>) -> Result<()> {
        let record = draft.record(&*self.0.entropy, &*self.0.clock, outcome, Vec::new(), reason, None)?;
        self.0.log.append(&record).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::*;
    use crate::clock::{ManualClock, Timestamp};
    use crate::entropy::SeededEntropy;
    use crate::error::Kind;
    use crate::hsm::KeyRef;
    use crate::id::Id;
    use crate::key_type::KeyType;
    use crate::policy::{Assignment, Principal, Role, Scope, SpiffeId};
    use crate::softhsm::{Token, with_token};
    use crate::store;

    struct Engine {
        ran: AtomicU32,
    }

    /// What the act does, so that one type shows every end.
    #[derive(Clone, Copy)]
    enum Script {
        Answer,
        Commit,
        Fail,
        FailInCommit,
        IntendAndFail,
        IntendAndLeave,
        IntendAndCommit,
        ForgetToCommit,
    }

    struct Read(Script);
    struct Change(Script);

    impl Operation for Read {
        const ACTION: Action = Action::ReadSecret;
        const EFFECT: Effect = Effect::Read;
        type Engine = Engine;
        type Output = &'static str;

        fn resource(&self) -> Resource {
            "vaults/kv-prod/secrets/db".parse().unwrap()
        }

        async fn run(self, engine: &Engine, permit: &Permit) -> Result<&'static str> {
            engine.ran.fetch_add(1, Ordering::SeqCst);
            permit.note("version", "3");
            match self.0 {
                Script::Answer => Ok("value"),
                _ => Err(Error::not_found("no such version")),
            }
        }
    }

    impl Operation for Change {
        const ACTION: Action = Action::SetSecret;
        const EFFECT: Effect = Effect::Act;
        type Engine = Engine;
        type Output = ();

        fn resource(&self) -> Resource {
            "vaults/kv-prod/secrets/db".parse().unwrap()
        }

        async fn run(self, engine: &Engine, permit: &Permit) -> Result<()> {
            engine.ran.fetch_add(1, Ordering::SeqCst);
            fn nothing(_: &store::Tx) -> BoxFuture<'_, Result<()>> {
                async { Ok(()) }.boxed()
            }
            match self.0 {
                Script::Commit => permit.commit(nothing).await,
                Script::FailInCommit => {
                    permit
                        .commit(|_| async { Err(Error::conflict("exists")) }.boxed())
                        .await
                }
                Script::IntendAndFail => {
                    permit.intend(nothing).await?;
                    Err(Error::unavailable("the other side hung up"))
                }
                Script::IntendAndCommit => {
                    permit.intend(nothing).await?;
                    permit.commit(nothing).await
                }
                Script::IntendAndLeave => {
                    permit.intend(nothing).await?;
                    std::future::pending().await
                }
                Script::ForgetToCommit => Ok(()),
                Script::Answer | Script::Fail => Err(Error::invalid("no")),
            }
        }
    }

    struct House {
        gate: Gate,
        log: audit::Log,
        caller: Caller,
        engine: Engine,
    }

    async fn house(token: &Token, role: Role) -> House {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(Timestamp::from_unix(1_800_000_000)));
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(7));
        let hsm = token.hsm();
        let key = KeyRef {
            label: "audit".to_owned(),
            kind: KeyType::Ed25519,
        };
        if hsm.find("audit").await.unwrap().is_none() {
            hsm.generate("audit", KeyType::Ed25519).await.unwrap();
        }
        let settings = store::Settings {
            url: format!("sqlite:{}", token.dir().join("chancery.db").display()),
        };
        let store = Store::open(&settings, &"n1".parse().unwrap()).await.unwrap();
        let settings = audit::Settings {
            journal: Some(token.dir().join("journal")),
            ..audit::Settings::default()
        };
        let log = audit::Log::open(&settings, "chancery.test/audit/n1", &store, hsm, key, clock.clone())
            .await
            .unwrap();
        let authz = Authz::open(store.clone(), clock.clone()).await.unwrap();
        let id: SpiffeId = "spiffe://chancery.test/web".parse().unwrap();
        let grant = authz
            .grant(Assignment::lasting(
                Id::random(&*entropy).unwrap(),
                id.clone(),
                role,
                "vaults/kv-prod".parse::<Scope>().unwrap(),
            ))
            .unwrap();
        let assigning = authz.clone();
        store
            .transact(move |tx| {
                let (authz, grant) = (assigning.clone(), grant.clone());
                async move { authz.assign(tx, &grant).await }.boxed()
            })
            .await
            .unwrap();
        let caller = Caller {
            principal: Principal::Spiffe(id),
            serial: Some("01ab".to_owned()),
            not_after: None,
            source: None,
            request: Id::random(&*entropy).unwrap().into(),
        };
        House {
            gate: Gate::new(authz, log.clone(), store, clock, entropy),
            log,
            caller,
            engine: Engine { ran: AtomicU32::new(0) },
        }
    }

    impl House {
        /// The records so far, as `outcome resource reason`.
        async fn told(&self) -> Vec<serde_json::Value> {
            let entries = self.log.entries(0, 100).await.unwrap();
            entries
                .records
                .iter()
                .map(|bytes| serde_json::from_slice(bytes).unwrap())
                .collect()
        }

        async fn outcomes(&self) -> Vec<String> {
            self.told()
                .await
                .iter()
                .map(|record| record["outcome"].as_str().unwrap().to_owned())
                .collect()
        }
    }

    #[test]
    fn a_denied_act_is_recorded_and_not_run() {
        with_token(|token| async move {
            let house = house(&token, Role::Reader).await;
            let error = house
                .gate
                .perform(&house.caller, &house.engine, Read(Script::Answer))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.public().contains("ReadSecret"), "{error}");
            assert_eq!(house.engine.ran.load(Ordering::SeqCst), 0);
            let told = house.told().await;
            assert_eq!(told[0]["outcome"], "denied");
            assert_eq!(told[0]["decision"], "deny");
            assert_eq!(told[0]["caller"]["serial"], "01ab");
        });
    }

    #[test]
    fn every_end_of_an_act_leaves_its_record() {
        with_token(|token| async move {
            let house = house(&token, Role::SecretsOfficer).await;
            assert_eq!(
                house
                    .gate
                    .perform(&house.caller, &house.engine, Read(Script::Answer))
                    .await
                    .unwrap(),
                "value"
            );
            house
                .gate
                .perform(&house.caller, &house.engine, Read(Script::Fail))
                .await
                .unwrap_err();
            house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::Commit))
                .await
                .unwrap();
            house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::FailInCommit))
                .await
                .unwrap_err();
            house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::IntendAndCommit))
                .await
                .unwrap();
            house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::IntendAndFail))
                .await
                .unwrap_err();
            let forgot = house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::ForgetToCommit))
                .await;
            assert_eq!(forgot.unwrap_err().kind(), Kind::Internal);

            let outcomes = house.outcomes().await;
            assert_eq!(
                outcomes,
                [
                    "done", "failed", "done", "failed", "intent", "done", "intent", "failed", "failed"
                ]
            );
            let told = house.told().await;
            assert_eq!(told[0]["version"], "3");
            assert!(!told[0]["policy"].as_array().unwrap().is_empty());
            assert_eq!(told[5]["closes"], told[4]["id"]);
            assert_eq!(told[7]["closes"], told[6]["id"]);
            assert!(house.gate.store().open_intents().await.unwrap().is_empty());
        });
    }

    struct Knows;

    #[async_trait]
    impl Resolve for Knows {
        async fn resolve(&self, intent: &Intent) -> Result<Option<Resolution>> {
            assert_eq!(intent.action, "SetSecret");
            Ok(Some(Resolution {
                outcome: Outcome::Failed,
                reason: "nothing was signed".to_owned(),
            }))
        }
    }

    #[test]
    fn an_intent_left_open_is_closed_once() {
        with_token(|token| async move {
            let house = house(&token, Role::SecretsOfficer).await;
            let left = house
                .gate
                .perform(&house.caller, &house.engine, Change(Script::IntendAndLeave));
            let opened = async {
                while house.gate.store().open_intents().await.unwrap().is_empty() {
                    tokio::task::yield_now().await;
                }
            };
            tokio::select! {
                ended = left => panic!("{ended:?}"),
                () = opened => {}
            }
            assert_eq!(house.gate.close_intents(&[&Knows]).await.unwrap(), 1);
            assert_eq!(house.gate.close_intents(&[&Knows]).await.unwrap(), 0);
            let told = house.told().await;
            assert_eq!(told.len(), 2);
            assert_eq!(told[1]["closes"], told[0]["id"]);
            assert_eq!(told[1]["outcome"], "failed");
            assert_eq!(told[1]["caller"]["id"], "system:recovery");
        });
    }
}
