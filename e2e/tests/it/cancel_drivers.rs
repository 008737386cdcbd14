//! Cancel as the drivers of Python do it behind a load balancer, in clear and over TLS, to the session's own proxy and
//! to others.

use pglens_e2e::{Fleet, FleetOptions, program, step};

use crate::cancel::sum;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drivers_cancel_whichever_proxy_they_reach() {
    let fleet = Fleet::start_with(FleetOptions {
        data_planes: 3,
        ..FleetOptions::default()
    })
    .await;
    for driver in ["psycopg", "asyncpg"] {
        for (mode, told) in [("disable", "in clear"), ("require", "over TLS")] {
            let name = format!("{driver} {told}");
            let part = all_are_hit(&fleet, driver, mode);
            let said = step(&name, part).await;
            assert_eq!(said, format!("6 of 6 cancelled {told}"), "{driver}");
        }
    }
}

/// What the script says. Half of its cancels reach the session's own proxy, half another one.
async fn all_are_hit(fleet: &Fleet, driver: &str, mode: &str) -> String {
    let (_, login) = fleet.place.writer(&format!("{driver}_{mode}")).await;
    let python = crate::psycopg::python().await;
    let script = program::workspace().join("e2e/python/cancel.py");
    let login = login.with_options(&format!("sslmode={mode}"));
    let (own_before, handed_before) = counted(fleet).await;
    let arguments = [script.to_str().unwrap(), driver, &login.conninfo()];
    let ran = login.run(&python, &arguments, "").await;
    let said = ran.success("cancel.py").trim().to_owned();
    let (own, handed) = counted(fleet).await;
    // A proxy that hands over has handed over, and the one that holds the session has delivered.
    let (delivered, handed) = (own - own_before, handed - handed_before);
    assert!(handed >= 1.0, "{driver} {mode}: none went another way");
    assert!(
        delivered > handed,
        "{driver} {mode}: {delivered} delivered, {handed} by way of another proxy"
    );
    said
}

/// Cancels delivered to the target, and handed over by a proxy, so far.
async fn counted(fleet: &Fleet) -> (f64, f64) {
    let mut counted = (0.0, 0.0);
    for plane in &fleet.data_planes {
        let metrics = plane.metrics().await;
        counted.0 += sum(&metrics, "delivered");
        counted.1 += sum(&metrics, "handed_over");
    }
    counted
}
