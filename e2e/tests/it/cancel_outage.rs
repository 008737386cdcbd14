//! Cancel while the control planes cannot use storage: no one knows who holds a session, so every proxy is asked.

use futures_util::future::join_all;
use pglens_e2e::{Fleet, FleetOptions, Flow, client::db_error, step};
use std::time::Instant;
use tokio_postgres::Client;

use crate::cancel::{CANCELED, HIT_WITHIN, cancel_request, press, runs_for_a_while, sum};

const PROXIES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_find_their_session_without_storage() {
    let fleet = Fleet::start_with(FleetOptions {
        data_planes: PROXIES,
        networks: true,
        ..FleetOptions::default()
    })
    .await;
    // Nobody can log in later.
    let (_, login) = fleet.place.writer("presser").await;
    let connecting = fleet.data_planes.iter().map(async |plane| {
        let client = plane.login(&login).connect().await;
        let request = cancel_request(&client).await;
        (client, request)
    });
    let sessions = join_all(connecting).await;
    let storage = &fleet.networks.as_ref().expect("asked for").storage;
    for (name, flow) in [("down", Flow::Reset), ("silent", Flow::Stalled)] {
        storage.set(flow);
        step(name, every_way(&fleet, &sessions, name)).await;
    }
    storage.set(Flow::Open);
    let mut uncertain = 0.0;
    for plane in &fleet.data_planes {
        uncertain += sum(&plane.metrics().await, "uncertain");
    }
    // All but those that reached the session's own proxy.
    assert_eq!(uncertain, 12.0, "nobody knew who holds the sessions");
}

/// Cancels a statement of each session at each proxy.
async fn every_way(fleet: &Fleet, sessions: &[(Client, Vec<u8>)], name: &str) {
    for shift in 0..PROXIES {
        let hits = sessions.iter().enumerate().map(async |(holder, session)| {
            let (client, request) = session;
            let sql = format!("select pg_sleep(60), ''{name} {shift} {holder}''");
            let plain = sql.replace("''", "'");
            let pressing = async {
                runs_for_a_while(fleet, &sql).await;
                let pressed = Instant::now();
                let reached = &fleet.data_planes[(holder + shift) % PROXIES];
                press(&reached.proxy, request).await;
                pressed
            };
            let running = async {
                let result = client.simple_query(&plain).await;
                (result, Instant::now())
            };
            let (pressed, (result, ended)) = tokio::join!(pressing, running);
            let error = result.expect_err("cancelled");
            assert_eq!(db_error(&error).code().code(), CANCELED);
            let took = ended.saturating_duration_since(pressed);
            assert!(took < HIT_WITHIN, "{plain}: {took:?}");
            took
        });
        let took = join_all(hits).await;
        eprintln!("storage {name}, {shift} proxies further: {took:?}");
    }
}
