//! The end of a session: the client learns why, the target stops, the record is completed.

use std::time::Duration;

use pglens_runtime::Chain;
use pglens_wire::frontend;
use tokio::io::AsyncWriteExt;

use super::relay::{Delivery, Ending, Relay, Side};
use crate::audit::Recorder;
use crate::clock::Now;
use crate::net::Connection;
use crate::policy::quota::Used;
use crate::upstream::CancelKey;

/// A peer that does not take its last bytes within this is gone.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the last rows of a statement wait for room in the outbox before they are given up.
const LAST_ROWS_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a session that never reached its relay.
pub(crate) async fn before_relay(client: &mut Connection, mut recorder: Recorder, ending: &Ending) {
    let mut out = Vec::new();
    if let Some(error) = &ending.error {
        error.put_fatal(&mut out);
    }
    let sqlstate = ending.error.as_ref().map_or("", |error| &error.sqlstate);
    recorder.end_session(ending.reason, sqlstate, Used::default());
    let sending = async {
        client.send(&out).await?;
        client.stream.shutdown().await
    };
    let _client_may_be_gone = tokio::time::timeout(LAST_WRITE_TIMEOUT, sending).await;
}

/// Ends a relay.
pub(crate) async fn run(mut relay: Relay, ending: &Ending, cancel_key: &CancelKey) {
    // What was admitted may only run when its record is written.
    let is_recorded = relay.engine.is_recorded();
    if !is_recorded {
        relay.target.output = super::relay::Output::default();
    }
    let must_cancel = relay.engine.must_cancel(ending);
    let is_between = relay.engine.is_between_target_messages();
    tokio::join!(
        tell_client(&mut relay.client, ending, is_between),
        stop_target(&mut relay.target, must_cancel.then_some(cancel_key)),
    );
    let room_for_rows = async {
        while !relay.engine.can_finish() {
            if relay.room.changed().await.is_err() {
                break;
            }
        }
    };
    let _given_up = tokio::time::timeout(LAST_ROWS_TIMEOUT, room_for_rows).await;
    relay.engine.finish(ending, Now::read());
}

async fn tell_client(client: &mut Side, ending: &Ending, is_between_messages: bool) {
    let can_be_told = match ending.delivery {
        Delivery::All if is_between_messages => true,
        Delivery::All | Delivery::Cut => client.output.cut_to_boundary(),
    };
    if let Some(error) = &ending.error
        && can_be_told
    {
        error.put_fatal(client.output.put());
    }
    let writing = async {
        let stream = &mut client.connection.stream;
        stream.write_all(client.output.pending()).await?;
        stream.shutdown().await
    };
    let _client_may_be_gone = tokio::time::timeout(LAST_WRITE_TIMEOUT, writing).await;
}

/// Sends what the target still has to get and says goodbye, having cancelled what runs.
async fn stop_target(target: &mut Side, cancel_key: Option<&CancelKey>) {
    if let Some(cancel_key) = cancel_key {
        // What was not sent yet must not run.
        target.output = super::relay::Output::default();
        if let Err(error) = cancel_key.cancel().await {
            tracing::warn!(error = %Chain(&error), "statement of an ended session not cancelled");
        }
    } else {
        frontend::put_terminate(target.output.put());
    }
    let writing = async {
        let stream = &mut target.connection.stream;
        stream.write_all(target.output.pending()).await?;
        stream.shutdown().await
    };
    let _target_may_be_gone = tokio::time::timeout(LAST_WRITE_TIMEOUT, writing).await;
}
