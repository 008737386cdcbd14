//! Both ends of a session are asked whether they are there, so that one that is gone without a word is noticed.

use pglens_testkit::{DEADLINE, eventually};

use crate::harness::Stack;
use crate::raw::dial;

const ESTABLISHED: &str = "01";
/// In `/proc/net/tcp`: the socket's timer is that of its keepalive.
const KEEPALIVE: &str = "02";
/// Of `/proc/net/tcp`, in a second.
const TICKS: u64 = 100;

/// How soon the socket with these two ports is asked, in ticks; `None` when it is not.
fn asked_in(local: u16, remote: u16) -> Option<u64> {
    let tables = ["tcp", "tcp6"].map(|name| {
        let table = std::fs::read_to_string(format!("/proc/self/net/{name}"));
        table.unwrap_or_default()
    });
    let port = |address: &str| u16::from_str_radix(address.rsplit(':').next()?, 16).ok();
    let sockets = tables.iter().flat_map(|table| table.lines().skip(1));
    let mut timers = sockets.filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = port(fields[1]) == Some(local) && port(fields[2]) == Some(remote);
        (is_it && fields[3] == ESTABLISHED).then(|| fields[5].to_owned())
    });
    let timer = timers.next().unwrap();
    let (kind, ticks) = timer.split_once(':').unwrap();
    (kind == KEEPALIVE).then(|| u64::from_str_radix(ticks, 16).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_at_rest_asks_its_client_and_its_target_within_half_a_minute() {
    let stack = Stack::start().await;
    let mut client = dial(&stack).await;
    let greeting = client.log_in(0, &[]).await;
    let watcher = stack.database.connect().await;
    let backend = "select client_port, inet_server_port() from pg_stat_activity where pid = $1";
    let pid = i32::try_from(greeting.process_id).unwrap();
    let row = watcher.query_one(backend, &[&pid]).await.unwrap();
    let ports = [0, 1].map(|index| u16::try_from(row.get::<_, i32>(index)).unwrap());
    let to_client = (stack.proxy().port(), client.0.local_addr().unwrap().port());
    for (local, remote) in [to_client, (ports[0], ports[1])] {
        // Another timer runs until the last answer has been acknowledged.
        eventually(DEADLINE, || async { asked_in(local, remote).is_some() }).await;
        let ticks = asked_in(local, remote).unwrap();
        assert!(ticks <= 30 * TICKS, "{local} to {remote}: {ticks}");
    }
    stack.stop().await;
}
