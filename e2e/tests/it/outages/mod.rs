//! Networks that are cut, storage in trouble, a long time without a control plane: what the target executed is what is
//! recorded, and nobody waits without an answer. The cells of `docs/outages.md` name these tests.

mod alone;
mod network;
mod storage;

use std::time::Duration;

use pglens_e2e::{Fleet, FleetOptions, wait};

/// For all that was held back to be sent.
const SETTLE_LIMIT: Duration = Duration::from_secs(100);

/// One control plane and one data plane: nothing can go another way.
fn single() -> FleetOptions {
    FleetOptions {
        control_planes: 1,
        data_planes: 1,
        ..FleetOptions::default()
    }
}

/// Waits until no session is open, and all that sessions recorded is acknowledged.
async fn drained(fleet: &Fleet) {
    let plane = &fleet.data_planes[0];
    wait::within(SETTLE_LIMIT, "the spool is empty", || async {
        let sessions = plane.metric("pglens_sessions_active").await;
        let records = plane.metric("pglens_record_outbox_records").await;
        match sessions == 0.0 && records == 0.0 {
            true => Ok(()),
            false => Err(format!("{records} records, {sessions} sessions")),
        }
    })
    .await;
}

/// A number from 0 to 1.
fn chance() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}
