//! `csr_ready -> ordered`: the issuer has the order, and we have its URL.

use std::sync::Arc;

use futures::FutureExt;
use tokio::time::timeout;

use super::{CONVERSATION, Lease, Onward, Renewal, State, Work};
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::{Lifecycle, repo};
use crate::policy::{Action, Resource};
use crate::upstream::Wish;

pub(super) struct PlaceOrder(pub(super) Arc<Work>);

impl Operation for PlaceOrder {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Act;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: an order that was placed and whose URL was not stored is left to expire with the issuer; another one is
    // placed. If the first was meant as a replacement, the issuer says `alreadyReplaced` to the second, which is then
    // placed without `replaces` (RFC 9773 §5).
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let spec = &work.certificate.spec;
        let replaces = match work.certificate.current {
            Some(current) => {
                let version = repo::version(engine.store.read(), current).await?;
                // Another issuer knows nothing of it.
                (version.issuer == spec.issuer)
                    .then(|| version.leaf_der())
                    .transpose()?
            }
            None => None,
        };
        let wish = Wish {
            names: spec.dns_names.clone(),
            profile: spec.profile.clone(),
            replaces,
        };
        work.intend(engine, permit).await?;
        let placed = timeout(CONVERSATION, engine.upstream.place(permit, &spec.issuer, &wish))
            .await
            .map_err(|e| Error::unavailable(format!("issuer `{}` takes too long", spec.issuer)).because(e))??;
        permit.note("order", placed.url.clone());
        let row = Renewal {
            order_url: Some(placed.url),
            ..work.reach(State::Ordered, permit.now())
        };
        let registered = Arc::new(placed.registered);
        fault::point("lifecycle.ordered.before");
        work.commit(engine, permit, row, Lease::Keep, move |tx| {
            let registered = registered.clone();
            async move { registered.remember(tx).await }.boxed()
        })
        .await?;
        fault::point("lifecycle.ordered.after");
        Ok(Onward::Go)
    }
}
