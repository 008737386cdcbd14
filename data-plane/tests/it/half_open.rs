//! Connections that never log in: they cost little, they end, and they keep nobody out.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::harness::Stack;
use crate::raw::{dial, startup};

const HALF_OPEN: usize = 2_000;
/// Task, timers, socket and the first bytes of one connection, in a debug build; the client's end is in this process too.
const MOST_BYTES_EACH: usize = 12 * 1024;
/// The slowest of the queries that run meanwhile, on a machine that may be busy with other tests.
const SLOWEST_QUERY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_half_open_connections_do_not_hurt_those_who_work() {
    let stack = Stack::start().await;
    let client = stack.connect().await;
    client.simple_query("select 1").await.unwrap();
    let before = resident_bytes();
    // Half of them say nothing, half of them announce a packet and send a part of it.
    let part = &startup(0, &[])[..6];
    let begun = Instant::now();
    let sockets: Vec<_> = (0..HALF_OPEN)
        .map(|number| {
            let mut socket = TcpStream::connect(stack.proxy()).unwrap();
            if number % 2 == 0 {
                std::io::Write::write_all(&mut socket, part).unwrap();
            }
            socket
        })
        .collect();
    let (mut slowest, mut queries) = (Duration::ZERO, 0);
    while queries < 200 {
        let asked = Instant::now();
        client.simple_query("select 1").await.unwrap();
        slowest = slowest.max(asked.elapsed());
        queries += 1;
    }
    let each = resident_bytes().saturating_sub(before) / HALF_OPEN;
    eprintln!("{HALF_OPEN} half-open connections: {each} bytes each, slowest query {slowest:?}");
    assert!(slowest < SLOWEST_QUERY, "{slowest:?}");
    assert!(each < MOST_BYTES_EACH, "{each} bytes each");
    // Newcomers log in all the same.
    stack
        .connect()
        .await
        .simple_query("select 1")
        .await
        .unwrap();

    // They end by themselves.
    for socket in sockets {
        socket
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut socket = socket;
        let read = std::io::Read::read(&mut socket, &mut [0]);
        assert!(
            matches!(&read, Ok(0))
                || read.is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset)
        );
    }
    let lasted = begun.elapsed();
    assert!(lasted >= Duration::from_secs(9), "{lasted:?}");
    client.simple_query("select 1").await.unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_half_open_connection_makes_room() {
    let stack = Stack::start_with(&[("PGL_MAX_STARTING", "3")]).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        waiting.push(dial(&stack).await);
    }
    let mut client = dial(&stack).await;
    client.log_in(0, &[]).await;
    assert_eq!(waiting[0].rest().await, "", "the oldest was closed");
    // The others kept their places, which the login has left meanwhile.
    for mut client in waiting.drain(1..) {
        client.log_in(0, &[]).await;
    }
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn half_open_connections_take_no_session_from_anyone() {
    let stack = Stack::start_with(&[("PGL_MAX_SESSIONS", "1")]).await;
    let _waiting = [dial(&stack).await, dial(&stack).await];
    let first = stack.connect().await;
    let error = stack.try_connect().await.err().unwrap();
    assert!(format!("{error:?}").contains("53300"), "{error:?}");
    drop(first);
    pglens_testkit::eventually(pglens_testkit::DEADLINE, || async {
        stack.try_connect().await.is_ok()
    })
    .await;
    stack.stop().await;
}

/// Memory of this process that is in use.
fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() * 1024
}
