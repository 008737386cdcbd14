//! Cancel requests between proxies: handed to the control plane, and taken from it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::RunId;
use pglens_rpc::v1;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_runtime::Chain;
use tokio::sync::Semaphore;

use super::{ControlPlanes, Registry, StorageClock};
use crate::metrics::{CancelOrigin, CancelOutcome, Metrics};

/// A cancel that takes longer is of no use to the person who asked.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(3);
/// Cancel requests that other proxies handed over and that are on their way to targets; more are dropped and counted.
const MAX_DELIVERIES: usize = 256;
/// Cancel requests on their way to the control plane; more are dropped and counted.
const MAX_FORWARDS: usize = 64;

/// The way to the sessions of other proxies, and from them.
pub(crate) struct CancelExchange {
    run_id: RunId,
    planes: Arc<ControlPlanes>,
    registry: Arc<Registry>,
    clock: Arc<StorageClock>,
    metrics: Arc<Metrics>,
    deliveries: Arc<Semaphore>,
    forwards: Semaphore,
}

impl CancelExchange {
    pub(crate) fn new(
        run_id: RunId,
        planes: Arc<ControlPlanes>,
        registry: Arc<Registry>,
        clock: Arc<StorageClock>,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            run_id,
            planes,
            registry,
            clock,
            metrics,
            deliveries: Arc::new(Semaphore::new(MAX_DELIVERIES)),
            forwards: Semaphore::new(MAX_FORWARDS),
        })
    }

    /// Hands over a cancel request whose key is not one of ours. `asked_at` is when its connection came.
    pub(crate) async fn forward(
        &self,
        process_id: u32,
        key_digest: [u8; 32],
        asked_at: Instant,
    ) -> CancelOutcome {
        // Without a common clock nobody could tell whether the cancel comes too late.
        let (Some(asked_at_unix_us), Ok(_place)) = (
            self.clock.earliest_us(asked_at),
            self.forwards.try_acquire(),
        ) else {
            return CancelOutcome::Unavailable;
        };
        let request = v1::ForwardCancelRequest {
            run_id: self.run_id.to_wire(),
            process_id,
            key_digest: key_digest.to_vec(),
            asked_at_unix_us,
        };
        let mut outcome = CancelOutcome::Unavailable;
        for (_index, plane) in self.planes.in_order() {
            let mut client = FleetClient::new(plane.decisions);
            let call = client.forward_cancel(request.clone());
            match tokio::time::timeout(FORWARD_TIMEOUT, call).await {
                Ok(Ok(answer)) => match answer.into_inner().outcome() {
                    v1::CancelOutcome::HandedOver => return CancelOutcome::HandedOver,
                    v1::CancelOutcome::UnknownKey => return CancelOutcome::UnknownKey,
                    // It asked those it could; another control plane may reach others.
                    v1::CancelOutcome::Uncertain | v1::CancelOutcome::Unspecified => {
                        outcome = CancelOutcome::Uncertain;
                    }
                },
                Ok(Err(status)) => {
                    tracing::debug!(control_plane = %plane.url, error = %Chain(&status), "cancel request not taken");
                }
                Err(_elapsed) => {
                    tracing::debug!(control_plane = %plane.url, "cancel request not taken in time");
                }
            }
        }
        outcome
    }

    /// Takes a cancel request that another proxy handed over. Does not wait for the target.
    pub(crate) fn deliver(&self, cancel: &v1::Cancel) {
        let Ok(place) = Arc::clone(&self.deliveries).try_acquire_owned() else {
            self.metrics
                .cancel(CancelOrigin::Fleet, CancelOutcome::Dropped);
            return;
        };
        let found = self.registry.begin_handed_cancel(cancel, &self.clock);
        let metrics = Arc::clone(&self.metrics);
        tokio::spawn(async move {
            metrics.cancel(CancelOrigin::Fleet, found.send().await);
            drop(place);
        });
    }
}
