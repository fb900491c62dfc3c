//! After a failed step: what went wrong is kept, and when to try again.

use std::sync::Arc;

use futures::FutureExt;

use super::{Lease, Renewal, State, Work, draw};
use crate::error::Result;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::backoff::{Class, Failure};
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};

/// The act itself is recorded as failed already; this is what follows from it.
pub(in crate::lifecycle) struct Defer {
    pub(in crate::lifecycle) work: Arc<Work>,
    pub(in crate::lifecycle) class: Class,
    pub(in crate::lifecycle) text: String,
    pub(in crate::lifecycle) retry_after: Option<std::time::Duration>,
}

impl Operation for Defer {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = ();

    fn resource(&self) -> Resource {
        self.work.renewal.resource()
    }

    // CRASH: the failure is not counted, and the step is tried again when the lease is over or this node is back.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<()> {
        let Self {
            work,
            class,
            text,
            retry_after,
        } = self;
        work.note(permit);
        let now = permit.now();
        let current = match work.certificate.current {
            Some(current) => Some(repo::version(engine.store.read(), current).await?),
            None => None,
        };
        let was = &work.renewal;
        let failures = was.failures.saturating_add(1);
        let refusals = if class.is_refusal() {
            was.refusals.saturating_add(1)
        } else {
            was.refusals
        };
        let failure = Failure {
            class,
            failures,
            refusals,
            retry_after,
            expires: current.map(|version| version.validity.not_after),
            now,
        };
        let next = engine.patience.next(&failure, draw(engine)?);
        let mut row = Renewal {
            next,
            failures,
            refusals,
            stopped: next.is_none(),
            last_error: Some(match next {
                Some(_) => text,
                None => format!(
                    "stopped after {refusals} refusals, the last one: {text}; mend it, then run `chancery cert renew --name {}`",
                    was.name
                ),
            }),
            updated: now,
            ..was.clone()
        };
        if class == Class::Permanent && was.state == State::Ordered {
            // What was refused is not offered again: another key, another order.
            row.state = State::Due;
            row.version = None;
            row.key_sealed = None;
            row.csr = None;
            row.order_url = None;
        }
        permit.note("class", class.as_str());
        permit.note("failures", failures.to_string());
        permit.note("next", next.map_or_else(|| "never".to_owned(), |at| at.to_string()));
        if row.stopped {
            tracing::error!(
                cert.name = %was.name, renewal.id = %was.id,
                "the renewal of certificate `{}` has stopped: {}", was.name, row.last_error.as_deref().unwrap_or_default()
            );
        }
        let asked_to_wait = class == Class::RateLimited;
        let (issuer, until) = (was.issuer.clone(), next.filter(|_| asked_to_wait));
        work.commit(engine, permit, row, Lease::Release, move |tx| {
            let issuer = issuer.clone();
            async move {
                match until {
                    // An issuer that says it was too much is left alone by all. One that does not answer is found out by each:
                    // the fault may be of this certificate alone, and another may have hours left.
                    Some(until) => repo::postpone(tx, &issuer, until).await,
                    None => Ok(()),
                }
            }
            .boxed()
        })
        .await
    }
}
