//! `ordered -> issued`: names proven, order finalized, chain fetched, judged and stored.

use std::sync::Arc;

use aws_lc_rs::digest;
use futures::FutureExt;
use tokio::time::timeout;

use super::{CONVERSATION, Lease, Onward, Renewal, State, Work};
use crate::error::{Error, Result};
use crate::fault;
use crate::gate::{Effect, Operation, Permit};
use crate::lifecycle::certificate::Version;
use crate::lifecycle::{Lifecycle, leaf, repo};
use crate::policy::{Action, Resource};
use crate::upstream::solver::http_01::{self, Answer};
use crate::upstream::{Order, Progress, UpstreamError};

pub(super) struct Obtain(pub(super) Arc<Work>);

impl Operation for Obtain {
    const ACTION: Action = Action::RunRenewal;
    const EFFECT: Effect = Effect::Act;
    type Engine = Lifecycle;
    type Output = Onward;

    fn resource(&self) -> Resource {
        self.0.renewal.resource()
    }

    // CRASH: the order is found again by its URL, and what is left to do follows from the state that the issuer says it
    // is in: `pending` names are proven, `ready` is finalized, `processing` is waited for, `valid` is fetched. So no
    // certificate is issued twice for an order, and none is lost. Answers are taken away by whoever ends the order.
    async fn run(self, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
        let work = self.0;
        work.note(permit);
        let issuer = &work.certificate.spec.issuer;
        let too_long = || Error::unavailable(format!("issuer `{issuer}` takes too long"));
        let url = work.renewal.order_url.clone().unwrap_or_default();
        let found = timeout(CONVERSATION, engine.upstream.order(permit, issuer, &url))
            .await
            .map_err(|e| too_long().because(e))??;
        let Some(mut order) = found.filter_valid() else {
            return order_again(&work, engine, permit).await;
        };

        let answers = match order.progress() {
            Progress::Pending => order.answers().await?,
            _ => Vec::new(),
        };
        fault::point("lifecycle.published.before");
        publish(&work, engine, permit, answers).await?;
        fault::point("lifecycle.published.after");
        let outcome = timeout(CONVERSATION, obtain(&mut order, &work)).await;
        let chain = match outcome {
            Ok(Ok(pem)) => pem,
            Ok(Err(error)) => {
                withdraw(engine, url).await;
                return Err(error.into());
            }
            Err(e) => {
                withdraw(engine, url).await;
                return Err(too_long().because(e));
            }
        };
        store(&work, engine, permit, &chain, url).await?;
        Ok(Onward::Go)
    }
}

/// An order that may still become a certificate.
trait FilterValid {
    fn filter_valid(self) -> Option<Order>;
}

impl FilterValid for Option<Order> {
    fn filter_valid(mut self) -> Option<Order> {
        self.take_if(|order| order.progress() != Progress::Invalid)
    }
}

/// The issuer lost the order or has given it up, before or after a failure that was recorded then.
async fn order_again(work: &Work, engine: &Lifecycle, permit: &Permit) -> Result<Onward> {
    permit.note("order", "gone");
    let url = work.renewal.order_url.clone().unwrap_or_default();
    let row = Renewal {
        order_url: None,
        ..work.reach(State::CsrReady, permit.now())
    };
    work.commit(engine, permit, row, Lease::Keep, move |tx| {
        let url = url.clone();
        async move { http_01::withdraw(tx, &url).await }.boxed()
    })
    .await?;
    Ok(Onward::Go)
}

/// Commits the intent together with the answers to the challenges.
async fn publish(work: &Arc<Work>, engine: &Lifecycle, permit: &Permit, answers: Vec<Answer>) -> Result<()> {
    let (work, node, now) = (work.clone(), engine.store.node().clone(), permit.now());
    permit
        .intend(move |tx| {
            let (work, node, answers) = (work.clone(), node.clone(), answers.clone());
            async move {
                repo::hold(tx, &node, &work.renewal, now).await?;
                let url = work.renewal.order_url.as_deref().unwrap_or_default();
                http_01::publish(tx, url, &answers, now).await
            }
            .boxed()
        })
        .await
}

/// Takes answers away that are of no more use. They are swept anyway, so a failure is not worth another.
async fn withdraw(engine: &Lifecycle, order_url: String) {
    let withdrawn = engine.store.transact(move |tx| {
        let url = order_url.clone();
        async move { http_01::withdraw(tx, &url).await }.boxed()
    });
    if let Err(error) = withdrawn.await {
        tracing::warn!(error = %error.detail(), "challenge answers are left to be swept");
    }
}

/// From wherever the order is to its chain, PEM.
async fn obtain(order: &mut Order, work: &Work) -> Result<String, UpstreamError> {
    if order.progress() == Progress::Pending {
        fault::point("lifecycle.proven.before");
        order.prove().await?;
        fault::point("lifecycle.proven.after");
    }
    if order.progress() == Progress::Ready {
        fault::point("lifecycle.finalized.before");
        order.finalize(work.renewal.csr.as_deref().unwrap_or_default()).await?;
        fault::point("lifecycle.finalized.after");
    }
    order.chain().await
}

async fn store(work: &Work, engine: &Lifecycle, permit: &Permit, pem: &str, url: String) -> Result<()> {
    let now = permit.now();
    let chain = leaf::parse_chain(pem)?;
    let key = work.key(engine).await?;
    let judged = leaf::judge(&chain, &key, &work.certificate.spec.dns_names, now)?;
    let fingerprint = chain.first().map(|leaf| digest::digest(&digest::SHA256, leaf));
    let version = Version {
        id: work.version()?,
        certificate: work.certificate.id,
        ordinal: 0,
        issuer: work.certificate.spec.issuer.clone(),
        serial: judged.serial.clone(),
        validity: judged.validity,
        fingerprint: fingerprint.map(hex::encode).unwrap_or_default(),
        chain: pem.to_owned(),
        key_sealed: work.renewal.key_sealed.clone().unwrap_or_default(),
        created: now,
        revoked: None,
    };
    permit.note("serial", judged.serial.clone());
    permit.note("not_after", judged.validity.not_after.to_string());
    let row = Renewal {
        failures: 0,
        refusals: 0,
        last_error: None,
        serial: Some(judged.serial),
        ..work.reach(State::Issued, now)
    };
    let beside = Arc::new((version, url));
    fault::point("lifecycle.issued.before");
    work.commit(engine, permit, row, Lease::Keep, move |tx| {
        let beside = beside.clone();
        async move {
            let (version, url) = &*beside;
            let ordinal = repo::append_version(tx, version).await?;
            tx.note("version", ordinal.to_string());
            http_01::withdraw(tx, url).await
        }
        .boxed()
    })
    .await?;
    fault::point("lifecycle.issued.after");
    Ok(())
}
