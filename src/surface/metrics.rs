//! What is counted, and how it is read: Prometheus text, for callers who may.

use std::sync::{Mutex, PoisonError};

use axum::extract::{Extension, State};
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::frame::Failure;
use super::{Mounts, Services, Shared, perform};
use crate::error::{Error, Result};
use crate::gate::{Effect, Operation, Permit};
use crate::identity::Caller;
use crate::policy::{Action, Resource};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Route {
    method: String,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Issuer {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Sink {
    sink: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Anchor {
    anchor: String,
}

/// The registry, with what this floor counts itself and what it looks up when it is asked.
pub struct Metrics {
    registry: Mutex<Registry>,
    ends: Family<Issuer, Gauge>,
    healthy: Gauge,
    records: Gauge,
    unindexed: Gauge,
    rebuilding: Gauge,
    sinks: Family<Sink, Gauge>,
    anchors: Family<Anchor, Gauge>,
    requests: Family<Route, Counter>,
    durations: Histogram,
}

impl Metrics {
    /// Adds the counts of requests to `registry`, where the rooms have registered theirs.
    pub fn new(mut registry: Registry) -> Self {
        let requests = Family::default();
        let durations = Histogram::new([0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0]);
        registry.register("chancery_requests", "Requests by route and status", requests.clone());
        registry.register(
            "chancery_request_duration_seconds",
            "How long requests took",
            durations.clone(),
        );
        let (ends, healthy, records) = (Family::<Issuer, Gauge>::default(), Gauge::default(), Gauge::default());
        registry.register(
            "chancery_issuer_not_after_seconds",
            "When a CA certificate of our own ends, in seconds since 1970",
            ends.clone(),
        );
        registry.register(
            "chancery_audit_healthy",
            "Whether records are written and signed in time",
            healthy.clone(),
        );
        registry.register("chancery_audit_records", "Records in this node's log", records.clone());
        let unindexed = Gauge::default();
        registry.register(
            "chancery_audit_index_lag_records",
            "Records of this node's log that its search index does not hold yet",
            unindexed.clone(),
        );
        let rebuilding = Gauge::default();
        registry.register(
            "chancery_audit_index_rebuild_records",
            "Records of this node's log whose part of the search index is still to be made anew",
            rebuilding.clone(),
        );
        let sinks = Family::<Sink, Gauge>::default();
        registry.register(
            "chancery_audit_sink_lag_records",
            "Records of this node's log that a sink has not taken",
            sinks.clone(),
        );
        let anchors = Family::<Anchor, Gauge>::default();
        registry.register(
            "chancery_audit_anchor_lag_records",
            "Records of this node's log that no checkpoint covers which an anchor has",
            anchors.clone(),
        );
        Self {
            registry: Mutex::new(registry),
            ends,
            healthy,
            records,
            unindexed,
            rebuilding,
            sinks,
            anchors,
            requests,
            durations,
        }
    }

    pub(super) fn request(&self, method: &Method, route: &str, status: StatusCode, took_ms: i64) {
        let route = Route {
            // A stranger may send any word as a method.
            method: match *method {
                Method::DELETE | Method::GET | Method::HEAD | Method::POST | Method::PUT => method.to_string(),
                _ => "other".to_owned(),
            },
            route: route.to_owned(),
            status: status.as_u16(),
        };
        self.requests.get_or_create(&route).inc();
        self.durations
            .observe(f64::from(i32::try_from(took_ms).unwrap_or(i32::MAX)) / 1000.0);
    }

    fn text(&self, services: &Services) -> Result<String> {
        for (issuer, validity) in services.authority.ends() {
            let issuer = Issuer { issuer };
            self.ends.get_or_create(&issuer).set(validity.not_after.unix());
        }
        self.healthy.set(i64::from(services.log.health().is_ok()));
        self.records.set(i64::try_from(services.log.size()).unwrap_or(i64::MAX));
        let (lacks, left) = services.log.index_lag();
        self.unindexed.set(i64::try_from(lacks).unwrap_or(i64::MAX));
        self.rebuilding.set(i64::try_from(left).unwrap_or(i64::MAX));
        for lag in services.log.sinks() {
            let records = i64::try_from(lag.records).unwrap_or(i64::MAX);
            self.sinks.get_or_create(&Sink { sink: lag.sink }).set(records);
        }
        for lag in services.log.anchors() {
            let records = i64::try_from(lag.records).unwrap_or(i64::MAX);
            self.anchors.get_or_create(&Anchor { anchor: lag.sink }).set(records);
        }
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        encode(&mut text, &registry).map_err(|e| Error::internal("metrics cannot be written").because(e))?;
        Ok(text)
    }
}

/// On a listener of its own: whoever reaches it may read.
pub(super) fn mount(mounts: Mounts) -> Mounts {
    mounts.ungated(Method::GET, "/metrics", scrape)
}

async fn scrape(State(services): State<Shared>) -> Result<Response, Failure> {
    Ok(spell(services.metrics.text(&services)?))
}

/// On the TLS listener: for callers who may.
pub(super) async fn show(
    State(services): State<Shared>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, Failure> {
    Ok(spell(
        perform(&services, caller, |services| services, ShowMetrics).await?,
    ))
}

fn spell(text: String) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Reads the metrics.
pub(super) struct ShowMetrics;

impl Operation for ShowMetrics {
    const ACTION: Action = Action::ShowMetrics;
    const EFFECT: Effect = Effect::Read;
    type Engine = Services;
    type Output = String;

    fn resource(&self) -> Resource {
        Resource::Everything
    }

    async fn run(self, engine: &Services, _permit: &Permit) -> Result<String> {
        engine.metrics.text(engine)
    }
}
