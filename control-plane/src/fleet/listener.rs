//! Hears of changes that other replicas, or this one, have committed, and passes them on to the proxies attached here.
//!
//! Storage decides which sessions end; a notification only says when to look. One that is lost with its connection is
//! made up for by looking at everything once the next connection stands, and every half second ([`super::look`]).

use std::sync::Arc;
use std::time::Duration;

use pglens_runtime::{Backoff, Chain};
use tokio::sync::mpsc;
use tokio_postgres::AsyncMessage;

use super::{cancel, desk, end_doomed};
use crate::app::App;
use crate::storage::notify::{CANCEL_CHANNEL, CHANNEL, Change, QuotaWord, SealedCancel};
use crate::storage::{StoreError, pool::ApartConnection};

/// Notifications that wait while sessions are looked up; more wait in the connection.
const QUEUED_CHANGES: usize = 256;
/// How often an idle connection is asked whether it is still one.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
/// How long it may take to answer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// Listens until the process is to end.
pub async fn run(app: Arc<App>) {
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let ended = tokio::select! {
            () = app.shutdown.cancelled() => return,
            ended = listen(&app, &mut backoff) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(error = %Chain(&error), "listening for changes interrupted");
        }
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}

/// Listens on one connection until it fails.
async fn listen(app: &App, backoff: &mut Backoff) -> Result<(), StoreError> {
    let (client, connection) = app.storage.connect_apart().await?;
    let (sender, mut changes) = mpsc::channel(QUEUED_CHANGES);
    let driver = AbortOnDrop(tokio::spawn(drive(connection, sender)));
    let listen = format!("listen {CHANNEL}; listen {CANCEL_CHANNEL}");
    client.batch_execute(&listen).await?;
    end_doomed(app, None).await?;
    backoff.reset();
    loop {
        match tokio::time::timeout(PROBE_INTERVAL, changes.recv()).await {
            Ok(Some(Heard::Change(payload))) => on_change(app, &payload).await?,
            Ok(Some(Heard::Cancel(payload))) => on_cancel(app, &payload),
            Ok(None) => break,
            Err(_idle) => {
                let probe = tokio::time::timeout(PROBE_TIMEOUT, client.simple_query(""));
                if !matches!(probe.await, Ok(Ok(_))) {
                    break;
                }
            }
        }
    }
    drop(driver);
    Ok(())
}

/// A notification, by its channel.
enum Heard {
    Change(String),
    Cancel(String),
}

fn on_cancel(app: &App, payload: &str) {
    match SealedCancel::read(payload) {
        Ok(notice) => cancel::heard(app, &notice),
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "cancel request of a replica not understood");
        }
    }
}

async fn on_change(app: &App, payload: &str) -> Result<(), StoreError> {
    if let Ok(word) = serde_json::from_str::<QuotaWord>(payload) {
        desk::hear(app, word);
        return Ok(());
    }
    match serde_json::from_str::<Change>(payload) {
        Ok(change) => end_doomed(app, Some(&change)).await,
        // A newer replica may know kinds of change that this one does not.
        Err(_) => end_doomed(app, None).await,
    }
}

/// Keeps the connection going and hands its notifications on.
async fn drive(mut connection: ApartConnection, sender: mpsc::Sender<Heard>) {
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                let payload = notification.payload().to_owned();
                let heard = match notification.channel() {
                    CANCEL_CHANNEL => Heard::Cancel(payload),
                    _ => Heard::Change(payload),
                };
                if sender.send(heard).await.is_err() {
                    return;
                }
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return,
        }
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}
