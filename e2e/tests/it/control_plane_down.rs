//! The control plane away, frozen or killed: who is logged in works on, who is not is told to wait.

use nix::sys::signal::Signal;
use pglens_e2e::{Place, Stack, StackOptions, client::db_error, eventually, process, step};

use crate::refusals::assert_tells_nothing;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_go_on_and_logins_are_refused_until_it_is_back() {
    let stack = Stack::start(StackOptions::processes()).await;
    let place = stack.place().await;
    let control_plane = stack.pid_of("control_plane");
    assert_ne!(control_plane, stack.pid_of("data_plane"));
    assert_ne!(control_plane, stack.process.pid());
    for part in ["control_plane", "data_plane"] {
        let leads = process::leads_session(stack.pid_of(part));
        assert!(leads, "the {part} shares its part of the processors");
    }
    step("frozen", frozen(&place, control_plane)).await;
    step("killed", killed(&stack, &place)).await;
    step("data plane killed", data_plane_killed(&stack, &place)).await;
}

async fn frozen(place: &Place, control_plane: u32) {
    let (person, login) = place.reader("frozen").await;
    let session = login.connect().await;
    process::signal(control_plane, Signal::SIGSTOP);
    session
        .batch_execute("select 'in the meantime'")
        .await
        .unwrap();
    let refused = login.try_connect().await.unwrap_err();
    let error = db_error(&refused);
    assert_eq!(
        (error.severity(), error.code().code()),
        ("FATAL", "57P03"),
        "{error:?}"
    );
    assert_tells_nothing(place, error);
    session.batch_execute("select 'and after'").await.unwrap();
    process::signal(control_plane, Signal::SIGCONT);
    login_again(&login).await;
    drop(session);
    let ended = eventually("the record of the session", || async {
        let connections = place.api.connections(&person).await;
        let session = connections.into_iter().next().ok_or("no connection")?;
        if session["ended_at"].is_null() {
            Err(session.to_string())
        } else {
            Ok(session)
        }
    })
    .await;
    assert_eq!(ended["audit_complete"], true, "{ended}");
    assert_eq!(ended["query_count"], 2, "{ended}");
}

/// `pglens dev` starts what died.
async fn killed(stack: &Stack, place: &Place) {
    let (person, login) = place.reader("killed").await;
    let session = login.connect().await;
    session.batch_execute("select 'before'").await.unwrap();
    process::signal(stack.pid_of("control_plane"), Signal::SIGKILL);
    session
        .batch_execute("select 'in the meantime'")
        .await
        .unwrap();
    login_again(&login).await;
    session.batch_execute("select 'after'").await.unwrap();
    drop(session);
    eventually("the API answers", || async {
        let answer = place
            .api
            .try_send(reqwest::Method::GET, "/api/me", None)
            .await;
        answer.map(drop).map_err(|error| error.to_string())
    })
    .await;
    let connections = place.api.connections(&person).await.len();
    let recorded = place.api.recorded(&person, connections).await;
    let texts: Vec<&str> = recorded
        .iter()
        .map(|record| record.sql.as_str())
        .take(3)
        .collect();
    assert_eq!(
        texts,
        [
            "select 'before'",
            "select 'in the meantime'",
            "select 'after'"
        ]
    );
}

async fn data_plane_killed(stack: &Stack, place: &Place) {
    let (_person, login) = place.reader("cut_off").await;
    let session = login.connect().await;
    process::signal(stack.pid_of("data_plane"), Signal::SIGKILL);
    session.batch_execute("select 1").await.unwrap_err();
    login_again(&login).await;
}

async fn login_again(login: &pglens_e2e::Login) {
    eventually("a login succeeds again", || async {
        let client = login
            .try_connect()
            .await
            .map_err(|error| format!("{error:?}"))?;
        client
            .batch_execute("select 'logged in again'")
            .await
            .map_err(|error| format!("{error:?}"))
    })
    .await;
}
