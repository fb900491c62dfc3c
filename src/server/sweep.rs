//! What has expired is removed for good, now and then.

use std::time::Duration;

use super::House;
use crate::limit;

/// How often.
const EVERY: Duration = Duration::from_secs(3_600);

/// At the start and then every hour, for as long as the service runs. On several nodes each does; what one has removed
/// the others do not find.
pub(super) async fn keep_swept(house: House) {
    let services = &house.services;
    let gate = &services.gate;
    loop {
        let swept = async {
            services.enrollment.sweep(gate).await?;
            services.vault.sweep(gate).await?;
            limit::sweep(gate.store(), gate.clock().now()).await
        };
        if let Err(error) = swept.await {
            tracing::warn!(error = %error.detail(), "what has expired is not removed; it is tried again in an hour");
        }
        gate.clock().sleep(EVERY).await;
    }
}
