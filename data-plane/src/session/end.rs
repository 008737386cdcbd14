//! The end of a session: the client learns why, the target stops, the record is completed.

use std::time::Duration;

use pglens_runtime::Chain;
use pglens_wire::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::relay::{Delivery, Ending, Relay, Side};
use crate::audit::Recorder;
use crate::clock::Now;
use crate::net::{Connection, Stream};
use crate::policy::quota::Used;
use crate::upstream::CancelKey;

/// A peer that does not take its last bytes within this is gone.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long rows that were on their way when a session was cut may take to arrive, and the reason behind them. What has
/// not been delivered then is taken back: a client that reads slowly is not to see more, a second after a revocation.
const CUT_TIMEOUT: Duration = Duration::from_millis(500);
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
pub(crate) async fn run(relay: Relay, ending: &Ending, cancel_key: &CancelKey) {
    let Relay {
        client,
        mut target,
        mut engine,
        mut room,
        ..
    } = relay;
    // What was admitted may only run when its record is written.
    match engine.is_recorded() {
        true => target.release(),
        false => target.forget(),
    }
    let must_cancel = engine.must_cancel(ending);
    let is_between = engine.is_between_target_messages();
    tokio::join!(
        tell_client(client, ending, is_between),
        stop_target(target, must_cancel.then_some(cancel_key)),
    );
    let room_for_rows = async {
        while !engine.can_finish() {
            if room.changed().await.is_err() {
                break;
            }
        }
    };
    let _given_up = tokio::time::timeout(LAST_ROWS_TIMEOUT, room_for_rows).await;
    engine.finish(ending, Now::read());
}

async fn tell_client(mut client: Side, ending: &Ending, is_between_messages: bool) {
    let can_be_told = match ending.delivery {
        Delivery::All if is_between_messages => true,
        Delivery::All | Delivery::Cut => client.output.cut_to_boundary(),
    };
    if let Some(error) = &ending.error
        && can_be_told
    {
        error.put_fatal(client.output.put());
    }
    let (stream, last) = (client.connection.stream, client.output.pending());
    match ending.delivery {
        Delivery::All => deliver(stream, last).await,
        Delivery::Cut => deliver_or_reset(stream, last).await,
    }
}

async fn deliver(mut stream: Stream, last: &[u8]) {
    let writing = async {
        stream.write_all(last).await?;
        stream.shutdown().await
    };
    let _client_may_be_gone = tokio::time::timeout(LAST_WRITE_TIMEOUT, writing).await;
}

/// A client that has read to the end closes its side. Whether it did, or closed only its own half or broke the protocol to
/// be left in peace, cannot be told apart: the connection is reset in any case, which who has closed it never notices.
async fn deliver_or_reset(mut stream: Stream, last: &[u8]) {
    let reading = async {
        stream.write_all(last).await?;
        stream.shutdown().await?;
        let mut unheard = [0; 4096];
        while stream.read(&mut unheard).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    let _client_may_be_gone = tokio::time::timeout(CUT_TIMEOUT, reading).await;
    if let Err(error) = stream.reset() {
        tracing::warn!(error = %Chain(&error), "what a cut session has sent cannot be taken back");
    }
}

/// Sends what the target still has to get and says goodbye, having cancelled what runs.
async fn stop_target(mut target: Side, cancel_key: Option<&CancelKey>) {
    if let Some(cancel_key) = cancel_key {
        // What was not sent yet must not run.
        target.forget();
        if let Err(error) = cancel_key.cancel().await {
            tracing::warn!(error = %Chain(&error), "statement of an ended session not cancelled");
        }
    } else {
        frontend::put_terminate(target.output.put());
    }
    if !target.hears() {
        return;
    }
    let writing = async {
        let stream = &mut target.connection.stream;
        stream.write_all(target.output.pending()).await?;
        stream.shutdown().await
    };
    let _target_may_be_gone = tokio::time::timeout(LAST_WRITE_TIMEOUT, writing).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    async fn pair() -> (TcpStream, Stream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let client = socket.connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        (client.unwrap(), Stream::Plain(accepted.unwrap().0.into()))
    }

    #[tokio::test]
    async fn a_client_that_reads_hears_the_last_word() {
        let (mut client, stream) = pair().await;
        let reading = async {
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.unwrap();
            drop(client);
            heard
        };
        let begun = std::time::Instant::now();
        let ((), heard) = tokio::join!(deliver_or_reset(stream, b"the reason"), reading);
        assert_eq!(heard, b"the reason");
        assert!(begun.elapsed() < CUT_TIMEOUT, "it does not wait for more");
    }

    #[tokio::test]
    async fn what_a_slow_client_has_not_received_is_taken_back() {
        let (client, stream) = pair().await;
        assert_taken_back(client, stream).await;
    }

    #[tokio::test]
    async fn closing_its_own_half_saves_a_slow_client_nothing() {
        let (mut client, stream) = pair().await;
        client.shutdown().await.unwrap();
        assert_taken_back(client, stream).await;
    }

    /// The client reads only when the session has ended.
    async fn assert_taken_back(mut client: TcpStream, mut stream: Stream) {
        // The client's system takes less, ours keeps the rest.
        let sent = vec![7; 256 * 1024];
        stream.write_all(&sent).await.unwrap();
        deliver_or_reset(stream, b"the reason").await;
        let mut heard = Vec::new();
        let error = client.read_to_end(&mut heard).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        assert!(heard.len() < sent.len(), "{} bytes", heard.len());
    }
}
