//! The live stream of all replicas: who watches, and what happens, through `LISTEN` and `NOTIFY` of the storage database.
//!
//! A replica with watchers says so every few seconds. The others then put what they store into notifications, many
//! events in each, behind the storing and not in it: a slow watcher, or a storage that does not answer, delays no record.
//! What the way has no room for is counted and told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pglens_runtime::{Backoff, Chain};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_postgres::AsyncMessage;
use uuid::Uuid;

use super::live::{Live, LiveEvent, WATCHING_FOR};
use crate::app::App;
use crate::storage::pool::ApartConnection;
use crate::storage::{StoreError, notify};

/// How often a replica with watchers says so.
const SAY_INTERVAL: Duration = Duration::from_secs(5);
/// PostgreSQL takes up to 7999 bytes.
const MAX_PAYLOAD_BYTES: usize = 7900;
/// Rest between two notifications: 200 a second at most, of some ten statements each.
const SEND_INTERVAL: Duration = Duration::from_millis(5);
/// Notifications that wait to be handed on.
const QUEUED_NOTIFICATIONS: usize = 1024;
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What replicas tell each other.
#[derive(Debug, Serialize, Deserialize)]
struct Word {
    /// The process that says it.
    from: Uuid,
    /// None: somebody watches there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    events: Option<Vec<LiveEvent>>,
    /// Events that there was no room for.
    #[serde(default)]
    missed: u64,
}

/// Tells and hears until the process is to end.
pub async fn run(app: Arc<App>) {
    let Some(mut queued) = app.live.away.queued.lock().take() else {
        return;
    };
    let from = Uuid::now_v7();
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let ended = tokio::select! {
            () = app.shutdown.cancelled() => return,
            ended = talk(&app, from, &mut queued, &mut backoff) => ended,
        };
        if let Err(error) = ended {
            tracing::warn!(error = %Chain(&error), "live stream between replicas interrupted");
        }
        // What others tell in the meantime is not heard.
        app.live.heard(LiveEvent::lagged(None));
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            () = sleep(backoff.next_delay()) => {}
        }
    }
}

/// Tells and hears on one connection until it fails.
async fn talk(
    app: &App,
    from: Uuid,
    queued: &mut mpsc::Receiver<LiveEvent>,
    backoff: &mut Backoff,
) -> Result<(), StoreError> {
    let (client, connection) = app.storage.connect_apart().await?;
    let (sender, mut heard) = mpsc::channel(QUEUED_NOTIFICATIONS);
    let _driver = AbortOnDrop(tokio::spawn(drive(connection, sender)));
    notify::live_listen(&client).await?;
    backoff.reset();
    let live = &app.live;
    let mut ticks = interval(SAY_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // An event that did not fit into the notification before.
    let mut left = None;
    loop {
        // Each branch's future can be dropped: what was received is received whole or not at all.
        tokio::select! {
            payload = heard.recv() => match payload {
                Some(payload) => hear(live, from, &payload),
                None => return Ok(()),
            },
            () = live.away.began.notified() => say_watching(&client, live, from).await?,
            _ = ticks.tick() => say_watching(&client, live, from).await?,
            event = next(&mut left, queued) => {
                let Some(event) = event else { return Ok(()) };
                let word = gather(live, from, event, queued, &mut left);
                notify::live_send(&client, &word).await?;
                sleep(SEND_INTERVAL).await;
            }
        }
    }
}

async fn next(
    left: &mut Option<LiveEvent>,
    queued: &mut mpsc::Receiver<LiveEvent>,
) -> Option<LiveEvent> {
    match left.take() {
        Some(event) => Some(event),
        None => queued.recv().await,
    }
}

async fn say_watching(
    client: &tokio_postgres::Client,
    live: &Live,
    from: Uuid,
) -> Result<(), StoreError> {
    // Asked in any case: an idle connection that is none any more is found by it.
    let word = Word {
        from,
        events: (live.watchers() == 0).then(Vec::new),
        missed: 0,
    };
    notify::live_send(client, &text(&word)).await
}

/// One notification of as many events as it has room for.
fn gather(
    live: &Live,
    from: Uuid,
    first: LiveEvent,
    queued: &mut mpsc::Receiver<LiveEvent>,
    left: &mut Option<LiveEvent>,
) -> String {
    let mut word = Word {
        from,
        events: None,
        missed: live.away.missed.swap(0, Ordering::Relaxed),
    };
    let mut bytes = text(&word).len() + "\"events\":[],".len();
    let mut events = Vec::new();
    let mut event = Some(first);
    while let Some(next) = event {
        let more = size(&next);
        if bytes + more > MAX_PAYLOAD_BYTES {
            match events.is_empty() {
                // Larger than any notification: a text of nothing but escapes.
                true => word.missed += 1,
                false => *left = Some(next),
            }
            break;
        }
        bytes += more;
        events.push(next);
        event = queued.try_recv().ok();
    }
    word.events = Some(events);
    text(&word)
}

/// Bytes of an event in a notification, with its comma.
fn size(event: &LiveEvent) -> usize {
    serde_json::to_string(event).map_or(usize::MAX / 2, |text| text.len() + 1)
}

fn text(word: &Word) -> String {
    serde_json::to_string(word).unwrap_or_default()
}

fn hear(live: &Live, own: Uuid, payload: &str) {
    // A newer replica may say what this one does not understand.
    let Ok(word) = serde_json::from_str::<Word>(payload) else {
        return;
    };
    if word.from == own {
        return;
    }
    match word.events {
        None => *live.away.watched.lock() = Some(Instant::now()),
        Some(events) if live.watchers() > 0 => {
            for event in events {
                live.heard(event);
            }
            if word.missed > 0 {
                live.heard(LiveEvent::lagged(Some(word.missed)));
            }
        }
        Some(_) => {}
    }
}

/// Keeps the connection going and hands its notifications on.
async fn drive(mut connection: ApartConnection, sender: mpsc::Sender<String>) {
    loop {
        match std::future::poll_fn(|cx| connection.poll_message(cx)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => {
                if sender
                    .send(notification.payload().to_owned())
                    .await
                    .is_err()
                {
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

// Saying it twice within the time keeps it said when one is lost.
const _: () = assert!(SAY_INTERVAL.as_secs() * 2 < WATCHING_FOR.as_secs());

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(text: &str) -> LiveEvent {
        LiveEvent {
            name: "query_started".to_owned(),
            id: Some(Uuid::now_v7()),
            data: json!({ "sql": text }),
        }
    }

    #[test]
    fn notifications_are_filled_and_never_too_long() {
        let live = Live::default();
        let (sender, mut queued) = mpsc::channel(100);
        for _ in 0..30 {
            sender.try_send(event(&"x".repeat(1000))).unwrap();
        }
        live.away.missed.store(3, Ordering::Relaxed);
        let (mut left, mut seen, mut missed) = (None, 0, 0);
        while let Some(first) = left.take().or_else(|| queued.try_recv().ok()) {
            let text = gather(&live, Uuid::nil(), first, &mut queued, &mut left);
            assert!(text.len() <= MAX_PAYLOAD_BYTES, "{}", text.len());
            let word: Word = serde_json::from_str(&text).unwrap();
            seen += word.events.unwrap().len();
            missed += word.missed;
        }
        assert_eq!((seen, missed), (30, 3));
        let text = gather(
            &live,
            Uuid::nil(),
            event(&"\u{1}".repeat(4000)),
            &mut queued,
            &mut left,
        );
        let word: Word = serde_json::from_str(&text).unwrap();
        assert_eq!((word.events.unwrap().len(), word.missed), (0, 1));
    }

    #[test]
    fn one_s_own_word_is_not_news() {
        let live = Live::default();
        let (mut events, _place) = live.watch().unwrap();
        let (own, other) = (Uuid::now_v7(), Uuid::now_v7());
        let word = |from| {
            text(&Word {
                from,
                events: Some(vec![event("a")]),
                missed: 2,
            })
        };
        hear(&live, own, &word(own));
        assert!(events.try_recv().is_err());
        hear(&live, own, &word(other));
        assert_eq!(events.try_recv().unwrap().name, "query_started");
        assert_eq!(events.try_recv().unwrap().data, json!({ "count": 2 }));
        let watching = text(&Word {
            from: other,
            events: None,
            missed: 0,
        });
        hear(&live, own, &watching);
        assert!(live.away.watched.lock().is_some());
    }
}
