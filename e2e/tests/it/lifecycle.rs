//! `pglens dev` over its life: found again, wiped, stopped, mended.

use std::time::Duration;

use nix::sys::signal::Signal;
use pglens_e2e::process::{is_alive, signal};
use pglens_e2e::target::open_folder;
use pglens_e2e::{Place, Stack, StackOptions, Target, eventually};

const STOP_LIMIT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_start_finds_its_data_and_a_fresh_one_does_not() {
    let folder = open_folder();
    let options = StackOptions::default();
    let mut stack = Stack::start_in(folder.path(), &options).await;
    let place = stack.place().await;
    let (person, login) = place.reader("returning").await;
    login
        .connect()
        .await
        .batch_execute("select 'the first time'")
        .await
        .unwrap();
    let recorded = place.api.recorded(&person, 1).await;
    assert_eq!(recorded[0].sql, "select 'the first time'");
    let rows = place.api.rows(&recorded[0].id).await;
    assert_eq!(rows.len(), 1);
    stop_cleanly(&mut stack, Signal::SIGINT);
    drop(stack);

    let mut stack = Stack::start_in(folder.path(), &options).await;
    let again = Place {
        api: stack.api(),
        ..moved(place, stack.text("proxy"))
    };
    let listed = again.api.recorded(&person, 1).await;
    assert_eq!(listed[0].json, recorded[0].json, "the same record");
    assert_eq!(
        again.api.rows(&recorded[0].id).await,
        rows,
        "and its rows, opened with the same key"
    );
    again
        .login(&person)
        .connect()
        .await
        .batch_execute("select 'the second time'")
        .await
        .unwrap();
    assert_eq!(again.api.recorded(&person, 2).await.len(), 2);
    stop_cleanly(&mut stack, Signal::SIGTERM);
    drop(stack);

    let fresh = StackOptions {
        arguments: vec!["--fresh".to_owned()],
        ..options
    };
    let mut stack = Stack::start_in(folder.path(), &fresh).await;
    let users = stack.api().list("/api/users", "users").await;
    assert!(
        users
            .iter()
            .all(|user| user["username"] != person.name.as_str()),
        "{users:?}"
    );
    assert!(stack.api().list("/api/queries", "queries").await.is_empty());
    stop_cleanly(&mut stack, Signal::SIGINT);
}

fn moved(place: Place, proxy: &str) -> Place {
    let (host, port) = proxy.rsplit_once(':').unwrap();
    Place {
        proxy_host: host.to_owned(),
        proxy_port: port.parse().unwrap(),
        ..place
    }
}

/// Ends with code 0 in time, and nothing of it is left.
fn stop_cleanly(stack: &mut Stack, with: Signal) {
    let pids = ["control_plane", "data_plane", "postgres"].map(|part| stack.pid_of(part));
    assert!(pids.iter().all(|pid| is_alive(*pid)), "{pids:?}");
    stack.process.signal(with);
    let status = stack.process.wait(STOP_LIMIT);
    assert_eq!(status.code(), Some(0), "{with}:\n{}", stack.process.log());
    let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
    assert!(left.is_empty(), "still running after {with}: {left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_outlives_the_stack_however_it_ends() {
    let folder = open_folder();
    let options = StackOptions::processes();
    let mut stack = Stack::start_in(folder.path(), &options).await;
    // With a session open: it is told, and does not hold the stop up.
    let place = Place::new(stack.text("proxy"), stack.api(), Target::start().await).await;
    let (_person, login) = place.reader("lingering").await;
    let client = login.connect().await;
    stop_cleanly(&mut stack, Signal::SIGINT);
    eventually("the session is closed", || async {
        if client.is_closed() {
            Ok(())
        } else {
            Err("open".to_owned())
        }
    })
    .await;
    drop(stack);

    let mut stack = Stack::start_in(folder.path(), &options).await;
    let pids = ["control_plane", "data_plane", "postgres"].map(|part| stack.pid_of(part));
    stack.process.signal(Signal::SIGKILL);
    eventually("all are gone after kill -9", || async {
        let left: Vec<_> = pids.iter().filter(|pid| is_alive(**pid)).collect();
        if left.is_empty() {
            Ok(())
        } else {
            Err(format!("{left:?}"))
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plane_that_dies_is_started_again() {
    let stack = Stack::start(StackOptions::processes()).await;
    let place = stack.place().await;
    let (_person, login) = place.reader("patient").await;
    for part in ["control_plane", "data_plane"] {
        signal(stack.pid_of(part), Signal::SIGKILL);
        eventually(&format!("a login after the {part} was killed"), || async {
            let client = login
                .try_connect()
                .await
                .map_err(|error| format!("{error:?}"))?;
            client
                .batch_execute("select 1")
                .await
                .map_err(|error| format!("{error:?}"))
        })
        .await;
        eventually("the API answers", || async {
            let answer = place
                .api
                .try_send(reqwest::Method::GET, "/api/me", None)
                .await;
            answer.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }
}
