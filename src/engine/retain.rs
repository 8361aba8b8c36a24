//! Forgetting: delivered, superseded and discarded jobs older than `retain_delivered` go, with their idempotency
//! keys, in small steps that leave the store's writer to its real work. Flagged jobs never go by themselves. The audit log
//! and the bulk changes that have ended are cut down to the newest.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::{
    ledger::{Answer, Work},
    time::Timestamp,
};

use super::EngineHandle;

/// At least once a minute.
const SWEEP_EVERY: Duration = Duration::from_secs(30);
/// Jobs removed in one commit.
const STEP: usize = 200;

impl EngineHandle {
    /// Sweeps until `drain` is cancelled.
    pub async fn run_retention(&self, drain: CancellationToken) {
        while drain.run_until_cancelled(tokio::time::sleep(self.sweep_interval())).await.is_some() {
            // A store that takes no writes is loud elsewhere; the next sweep tries again.
            drain.run_until_cancelled(self.sweep()).await;
            drain.run_until_cancelled(self.trim_drawers()).await;
        }
    }

    fn sweep_interval(&self) -> Duration {
        SWEEP_EVERY.min(self.shared.options.retain.max(Duration::from_millis(100)))
    }

    async fn sweep(&self) {
        let (world, retain) = (&self.shared.world, self.shared.options.retain);
        let now = world.clock.now();
        while let Ok(Answer::Pruned { more: true, .. }) = world.order(step(now, retain)).await {}
    }
}

/// One step of a sweep that began at `now`; the next one follows while there is more.
pub fn step(now: Timestamp, retain: Duration) -> Work {
    let retain = i64::try_from(retain.as_micros()).unwrap_or(i64::MAX);
    Work::Prune { ended_before: Timestamp::from_micros(now.as_micros().saturating_sub(retain)), limit: STEP }
}
