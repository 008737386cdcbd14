//! What was executed, by the target's own log, against what is on record, by the API.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pglens_e2e::{Person, Place, wait};
use serde_json::Value;

use crate::compare::trimmed;
use crate::load::MARKER;

/// Everything that a test may want to say about an account that is right.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) executed: usize,
    pub(crate) recorded: usize,
    /// Sessions with statements on record that say of themselves that something may be missing.
    pub(crate) incomplete: usize,
}

/// Which sessions are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    All,
    /// A login that was cut off at the wrong moment leaves a session that its proxy never heard of. It is closed after
    /// a minute, for which a short test does not wait.
    WithStatements,
}

/// Every marked statement that the target executed for `person` is recorded, each once, and none besides, but for
/// statements of unknown outcome and sessions that say that they are not complete.
pub(crate) async fn exactly_once(
    place: &Place,
    person: &Person,
    closed: Closed,
    limit: Duration,
) -> Account {
    let connections = closed_sessions(place, person, closed, limit).await;
    let incomplete: BTreeSet<&str> = connections
        .iter()
        .filter(|connection| connection["audit_complete"] == false)
        .filter_map(id)
        .collect();
    let log = place.target.executed(person);
    let executed = count(log.iter().map(|text| trimmed(text)));
    let queries = format!("/api/queries?user_id={}", person.id);
    let listed = place.api.list(&queries, "queries").await;
    let recorded = count(listed.iter().map(text));

    let missing: Vec<_> = executed
        .keys()
        .filter(|text| !recorded.contains_key(*text))
        .collect();
    assert!(missing.is_empty(), "executed and not recorded: {missing:?}");
    let twice: Vec<_> = recorded.iter().filter(|(_, count)| **count != 1).collect();
    assert!(twice.is_empty(), "recorded more than once: {twice:?}");
    let invented: Vec<_> = listed
        .iter()
        .filter(|query| is_said_to_have_run(query))
        .filter(|query| !executed.contains_key(text(query)))
        .collect();
    assert!(
        invented.is_empty(),
        "recorded and not executed: {invented:?}"
    );
    let unmarked: Vec<_> = listed
        .iter()
        .filter(|query| query["duration_us"].is_null())
        .filter(|query| !incomplete.contains(session(query)))
        .collect();
    assert!(
        unmarked.is_empty(),
        "without an end in a session that says it is complete: {unmarked:?}"
    );
    let with_statements: BTreeSet<&str> = listed.iter().map(session).collect();
    Account {
        executed: executed.len(),
        recorded: recorded.len(),
        incomplete: incomplete.intersection(&with_statements).count(),
    }
}

async fn closed_sessions(
    place: &Place,
    person: &Person,
    closed: Closed,
    limit: Duration,
) -> Vec<Value> {
    wait::within(limit, "every session is closed on record", || async {
        let answer = place
            .api
            .try_send(reqwest::Method::GET, "/api/me", None)
            .await;
        match answer.map_err(|error| error.to_string())? {
            (status, _) if status.is_success() => {}
            (status, answer) => return Err(format!("{status} {answer}")),
        }
        let connections = place.api.connections(person).await;
        let open = connections
            .iter()
            .filter(|connection| connection["ended_at"].is_null())
            .filter(|connection| closed == Closed::All || connection["query_count"] != 0);
        match open.count() {
            0 => Ok(connections),
            open => Err(format!("{open} of {} are open", connections.len())),
        }
    })
    .await
}

fn is_said_to_have_run(query: &Value) -> bool {
    let failed = query["sqlstate"]
        .as_str()
        .is_some_and(|state| !state.is_empty());
    text(query).contains(MARKER) && query["outcome_unknown"] != true && !failed
}

fn text(query: &Value) -> &str {
    trimmed(query["sql"].as_str().unwrap_or_default())
}

fn session(query: &Value) -> &str {
    query["connection_id"].as_str().unwrap_or_default()
}

fn id(connection: &Value) -> Option<&str> {
    connection["id"].as_str()
}

fn count<'a>(texts: impl Iterator<Item = &'a str>) -> BTreeMap<&'a str, u32> {
    let mut counts = BTreeMap::new();
    for text in texts.filter(|text| text.contains(MARKER)) {
        *counts.entry(text).or_default() += 1;
    }
    counts
}
