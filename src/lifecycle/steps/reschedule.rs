//! A renewal that is not due yet: the issuer is asked what it suggests (RFC 9773), and the pick is drawn again if that
//! has changed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Lease, Onward, Renewal, State, Work, draw, nothing};
use crate::error::Result;
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::certificate::Version;
use crate::lifecycle::window::{Plan, Window, pick};
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};
use crate::upstream::Suggestion;

/// Whatever the issuer says, it is asked no more often and no less often (RFC 9773 §4.3.2).
const SOONEST: Duration = Duration::from_secs(60);
const LATEST: Duration = Duration::from_secs(24 * 3600);
/// After a failure, which RFC 9773 §4.3.3 wants to be retried.
const AFTER_FAILURE: Duration = Duration::from_secs(900);
/// The renewal must not wait long for a question that it can do without.
const QUESTION: Duration = Duration::from_secs(20);

pub(super) struct Reschedule(pub(super) Arc<Work>);

impl Operation for Reschedule {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Change;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: the issuer is asked again.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let now = permit.now();
        let mut row = Renewal {
            updated: now,
            ask_issuer: None,
            ..work.renewal.clone()
        };
        if let Some(current) = work.certificate.current {
            let version = repo::version(engine.store.read(), current).await?;
            match ask(&work, engine, permit, &version).await {
                Ok(Some(suggestion)) => {
                    row.ask_issuer = Some(now + suggestion.ask_again_in.clamp(SOONEST, LATEST));
                    redraw(&mut row, &work, engine, &version, &suggestion)?;
                    if let Some(explanation) = suggestion.explanation {
                        permit.note("explanation", explanation);
                    }
                }
                Ok(None) => {}
                // INVARIANT: a failing question never keeps a renewal from its time.
                Err(error) => {
                    permit.note("renewal_info", error.public().to_owned());
                    row.ask_issuer = Some(now + AFTER_FAILURE);
                }
            }
        }
        // RFC 9773 §4.3.2: never again once the renewal is due.
        row.ask_issuer = row.ask_issuer.filter(|at| *at < row.due);
        row.next = Some(row.ask_issuer.map_or(row.due, |at| at.min(row.due)));
        permit.note("due", row.due.to_string());
        permit.note("basis", row.basis.clone());
        let lease = if row.due <= now { Lease::Keep } else { Lease::Release };
        fault::point("lifecycle.due.before");
        work.commit(engine, permit, row, lease, nothing).await?;
        fault::point("lifecycle.due.after");
        Ok(if lease == Lease::Keep { Onward::Go } else { Onward::Rest })
    }
}

async fn ask(work: &Work, engine: &Lifecycle, permit: &Permit, version: &Version) -> Result<Option<Suggestion>> {
    if work.renewal.state != State::Due || version.issuer != work.renewal.issuer {
        return Ok(None);
    }
    let leaf = version.leaf_der()?;
    match timeout(QUESTION, engine.upstream.suggestion(permit, &version.issuer, &leaf)).await {
        Ok(answer) => answer,
        Err(e) => Err(crate::error::Error::unavailable("the issuer does not answer").because(e)),
    }
}

/// INVARIANT: a window is drawn from once; the same suggestion changes nothing, however often it is made.
fn redraw(
    row: &mut Renewal,
    work: &Work,
    engine: &Lifecycle,
    version: &Version,
    suggestion: &Suggestion,
) -> Result<()> {
    let window = Window {
        start: suggestion.start,
        end: suggestion.end,
    };
    if row.suggested == Some(window) {
        return Ok(());
    }
    let maintenance = work.certificate.maintenance()?;
    let plan = Plan {
        validity: version.validity,
        suggested: Some(window),
        fraction: work.certificate.fraction()?,
        maintenance: &maintenance,
        hurried: work.certificate.hurried,
        now: row.updated,
    };
    let picked = pick(&plan, draw(engine)?);
    row.suggested = Some(window);
    row.due = picked.at;
    row.basis = picked.basis.as_str().to_owned();
    Ok(())
}
