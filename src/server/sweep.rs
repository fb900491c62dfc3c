//! What has expired is removed for good, now and then.

use std::time::Duration;

use super::House;

/// How often.
const EVERY: Duration = Duration::from_secs(3_600);

/// At the start and then every hour, for as long as the service runs. On several nodes each does; what one has removed
/// the others do not find.
pub(super) async fn keep_swept(house: House) {
    let services = &house.services;
    let gate = &services.gate;
    loop {
        let swept = match services.enrollment.sweep(gate).await {
            Ok(()) => services.vault.sweep(gate).await,
            failed => failed,
        };
        if let Err(error) = swept {
            tracing::warn!(error = %error.detail(), "what has expired is not removed; it is tried again in an hour");
        }
        gate.clock().sleep(EVERY).await;
    }
}
