//! The live stream over several replicas, for watchers that come back, and for those that are slow.

use std::time::Duration;

use pglens_testkit::DEADLINE;
use reqwest::Response;
use serde_json::Value;
use uuid::Uuid;

use crate::planes::Plane;
use crate::reading::Scene;
use crate::records::{ended, session_ended, started};
use crate::support::{ADMIN_PASSWORD, basic};

/// A stream that is being read.
struct Watcher {
    answer: Response,
    text: String,
}

impl Watcher {
    async fn new(plane: &Plane, last: Option<Uuid>) -> Self {
        let url = format!("http://{}/api/stream", plane.bound.api);
        let mut request = reqwest::Client::new().get(url);
        request = request.header("authorization", basic("admin", ADMIN_PASSWORD));
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        Self {
            answer,
            text: String::new(),
        }
    }

    /// The next event: its name, id and data. `None` when there is none within `time`.
    async fn next(&mut self, time: Duration) -> Option<(String, Option<String>, Value)> {
        let end = tokio::time::Instant::now() + time;
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let field = |name: &str| {
                    let line = event.lines().find_map(|line| line.strip_prefix(name));
                    line.map(|value| value.trim().to_owned())
                };
                let parsed = field("event:").map(|name| {
                    let data = serde_json::from_str(&field("data:").unwrap()).unwrap();
                    (name, field("id:"), data)
                });
                self.text = rest.to_owned();
                match parsed {
                    Some(event) => return Some(event),
                    None => continue, // a comment
                }
            }
            let chunk = tokio::time::timeout_at(end, self.answer.chunk())
                .await
                .ok()?;
            let chunk = chunk.unwrap().expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }
}

async fn store(scene: &mut Scene, sequence: u64) -> Uuid {
    let (query, session) = (Uuid::now_v7(), scene.session.clone());
    let sql = format!("select {sequence}");
    let records = vec![
        started(query, &session, sequence, &sql),
        ended(query, &session),
    ];
    scene.publisher.store(records).await;
    query
}

#[tokio::test(flavor = "multi_thread")]
async fn every_replica_shows_what_any_of_them_stores() {
    let mut scene = Scene::new().await;
    let other = scene.plane.fleet.start_plane().await;
    let mut here = Watcher::new(&scene.plane, None).await;
    let mut there = Watcher::new(&other, None).await;
    // Until word of the watcher has come round.
    let mut sequence = 0;
    let started = tokio::time::Instant::now();
    loop {
        sequence += 1;
        let query = store(&mut scene, sequence).await;
        if let Some((name, id, data)) = there.next(Duration::from_millis(200)).await {
            assert_eq!(
                (name.as_str(), id.unwrap()),
                ("query_started", data["id"].as_str().unwrap().to_owned())
            );
            if data["id"] == query.to_string() {
                break;
            }
        }
        assert!(started.elapsed() < DEADLINE);
    }
    for _ in 0..50 {
        sequence += 1;
        let query = store(&mut scene, sequence).await;
        let (_, _, data) = there.next(DEADLINE).await.unwrap();
        assert_eq!(
            (&data["id"], &data["sql"]),
            (
                &query.to_string().into(),
                &format!("select {sequence}").into()
            )
        );
        assert_eq!(data["end"]["row_count"], 1);
    }
    let session = scene.session.clone();
    scene
        .publisher
        .store(vec![session_ended(&session, sequence, 0)])
        .await;
    let (name, _, data) = there.next(DEADLINE).await.unwrap();
    assert_eq!(
        (name.as_str(), &data["end_reason"]),
        ("connection_ended", &"client_closed".into())
    );
    for expected in 1..=sequence {
        let (_, _, data) = here.next(DEADLINE).await.unwrap();
        assert_eq!(data["sequence"], expected, "one's own are told once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_comes_back_is_told_what_was_missed() {
    let mut scene = Scene::new().await;
    let first = store(&mut scene, 1).await;
    let missed = [store(&mut scene, 2).await, store(&mut scene, 3).await];
    let mut watcher = Watcher::new(&scene.plane, Some(first)).await;
    for query in missed {
        let (name, id, _) = watcher.next(DEADLINE).await.unwrap();
        assert_eq!(
            (name.as_str(), id),
            ("query_started", Some(query.to_string()))
        );
    }
    let now = store(&mut scene, 4).await;
    let (_, id, _) = watcher.next(DEADLINE).await.unwrap();
    assert_eq!(id, Some(now.to_string()));
    let url = format!("http://{}/api/stream", scene.plane.bound.api);
    let request = reqwest::Client::new().get(url).header("last-event-id", "7");
    let request = request.header("authorization", basic("admin", ADMIN_PASSWORD));
    assert_eq!(request.send().await.unwrap().status(), 400);
}
