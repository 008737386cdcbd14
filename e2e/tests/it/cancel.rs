//! Ctrl-C behind a load balancer: the cancel reaches any proxy, and hits its own session's statement or nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use pglens_e2e::{
    Fleet, FleetOptions,
    client::{Started, db_error},
    eventually, process, step,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, ToSocketAddrs};
use tokio::sync::Barrier;
use tokio_postgres::{Client, NoTls};

const CLIENTS: u64 = 100;
const ROUNDS: u64 = 3;
/// What is to be cancelled runs this long; the cancel comes at any moment of it, or after it.
const STATEMENT: Duration = Duration::from_millis(1500);
pub(crate) const CANCELED: &str = "57014";
/// Within which 99 of 100 cancels reach their statement, from the key to the client's error.
const REACH: Duration = Duration::from_millis(250);
/// Longer than any cancel takes on a machine that is busy with other tests.
pub(crate) const HIT_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_find_their_session_whichever_proxy_they_reach() {
    // For a hundred clients, and storage, which is on the same server.
    let connections = ("max_connections".to_owned(), "300".to_owned());
    let fleet = Fleet::start_with(FleetOptions {
        data_planes: 3,
        target_settings: vec![connections],
        ..FleetOptions::default()
    })
    .await;
    step("psql", psql_is_cancelled_by_ctrl_c(&fleet)).await;
    step("a hundred clients", a_hundred_clients(&fleet)).await;
    step("wrong keys", wrong_keys_do_nothing(&fleet)).await;
}

async fn psql_is_cancelled_by_ctrl_c(fleet: &Fleet) {
    let (_, login) = fleet.place.writer("presser").await;
    // Connections go round the proxies: of four sessions with a cancel each, some meet their own proxy, some do not.
    for _ in 0..4 {
        let _shifts_the_round = TcpStream::connect(fleet.balancer.address()).await.unwrap();
        let conninfo = login.conninfo();
        let arguments = ["-XAt", "-d", &conninfo, "-c", "select pg_sleep(60)"];
        let running = Started::new("psql", &arguments, &[("PGPASSWORD", &login.password)], "");
        runs_for_a_while(fleet, "select pg_sleep(60)").await;
        process::signal(running.pid(), Signal::SIGINT);
        let ran = running.finish().await;
        assert!(
            ran.stderr
                .contains("canceling statement due to user request"),
            "{ran:?}"
        );
    }
}

/// Waits until a statement has been running for longer than the proxies' clocks may be apart.
pub(crate) async fn runs_for_a_while(fleet: &Fleet, sql: &str) {
    let count = format!(
        "select count(*) from pg_stat_activity where query = '{sql}' and state = 'active' \
         and clock_timestamp() - query_start > interval '1 s'"
    );
    eventually("the statement runs", || async {
        match fleet.place.target.value(&count).await.as_str() {
            "1" => Ok(()),
            other => Err(format!("{other} run")),
        }
    })
    .await;
}

async fn a_hundred_clients(fleet: &Fleet) {
    let (_, login) = fleet.place.writer("hundred").await;
    let mut running = tokio::task::JoinSet::new();
    // A hundred logins at once keep the machine busy: what is measured begins behind them.
    let logged_in = Arc::new(Barrier::new(usize::try_from(CLIENTS).unwrap()));
    for number in 0..CLIENTS {
        let (login, balancer) = (login.clone(), fleet.balancer.address());
        let logged_in = Arc::clone(&logged_in);
        running.spawn(async move {
            let client = login.connect().await;
            logged_in.wait().await;
            one_client(number, &client, balancer).await
        });
    }
    let mut hits = Vec::new();
    while let Some(client) = running.join_next().await {
        hits.extend(client.unwrap());
    }
    hits.sort_unstable();
    let cancels = CLIENTS * ROUNDS;
    let percentile = |part: usize| hits[(hits.len() - 1) * part / 100];
    let p99 = percentile(99);
    eprintln!(
        "{cancels} cancels at random moments, {} hit their statement: p50 {:?}, p99 {:?}, most {:?}",
        hits.len(),
        percentile(50),
        p99,
        percentile(100),
    );
    let hits = u64::try_from(hits.len()).unwrap();
    // Nearly a third is asked for after its statement has ended.
    assert!(hits > cancels / 2, "{hits} of {cancels}");
    assert!(p99 < REACH, "{p99:?}");
}

/// Runs statements and cancels each at some moment; returns how long those took that were hit.
async fn one_client(number: u64, client: &Client, balancer: SocketAddr) -> Vec<Duration> {
    let request = cancel_request(client).await;
    let mut hits = Vec::new();
    for round in 0..ROUNDS {
        let marker = format!("client {number} round {round}");
        let pressed_after = Duration::from_millis(scattered(number * ROUNDS + round) % 2000);
        // Held while the key is being pressed: clients wait for that before they go on.
        let pressed = tokio::sync::Mutex::new(None);
        let cancel = async {
            tokio::time::sleep(pressed_after).await;
            let mut pressed = pressed.lock().await;
            *pressed = Some(Instant::now());
            press(balancer, &request).await;
        };
        let statements = async {
            let sleep = STATEMENT.as_secs_f64();
            let sql = format!("select pg_sleep({sleep}), '{marker}'");
            let result = client.simple_query(&sql).await;
            let ended = Instant::now();
            let was_pressed = pressed.lock().await.is_some();
            let behind = client.simple_query("select pg_sleep(0.1)").await;
            // A key that is pressed before a statement begins is not meant for it.
            if was_pressed {
                behind.unwrap_or_else(|error| panic!("behind {marker}: {error:?}"));
            }
            (result, ended)
        };
        let ((), (result, ended)) = tokio::join!(cancel, statements);
        match result {
            Ok(rows) => assert!(format!("{rows:?}").contains(&marker), "its own answer"),
            Err(error) => {
                assert_eq!(db_error(&error).code().code(), CANCELED);
                let pressed = pressed.into_inner().expect("nobody else cancels");
                let took = ended.saturating_duration_since(pressed);
                assert!(took < HIT_WITHIN, "{marker}: {took:?}");
                hits.push(took);
            }
        }
        let last = client.simple_query("select 'not cancelled'").await;
        last.unwrap_or_else(|error| panic!("{marker}: {error:?}"));
    }
    hits
}

async fn wrong_keys_do_nothing(fleet: &Fleet) {
    let (_, login) = fleet.place.writer("careful").await;
    let client = login.connect().await;
    let mut request = cancel_request(&client).await;
    let sleep = client.batch_execute("select pg_sleep(3)");
    let wrong = async {
        for guess in 0..250_u8 {
            // The process id is right, the secret is not.
            request[12] = request[12].wrapping_add(1);
            request[13] ^= guess;
            press(fleet.balancer.address(), &request).await;
        }
    };
    let (slept, ()) = tokio::join!(sleep, wrong);
    slept.unwrap();
    let mut counted = (0.0, 0.0);
    for plane in &fleet.data_planes {
        let metrics = plane.metrics().await;
        counted.0 += sum(&metrics, "unknown_key");
        counted.1 += sum(&metrics, "rate_limited");
    }
    // Twenty at once from one address, two a second from then on, at each proxy.
    let most = 3.0 * 20.0;
    assert!(counted.0 >= most && counted.0 < 3.0 * most, "{counted:?}");
    assert!(counted.1 >= 50.0, "{counted:?}");
}

/// The value of `pglens_cancel_requests_total` of clients with this outcome.
pub(crate) fn sum(metrics: &str, outcome: &str) -> f64 {
    let label = format!("outcome=\"{outcome}\"");
    metrics
        .lines()
        .filter(|line| line.starts_with("pglens_cancel_requests_total") && line.contains(&label))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Presses the key: sends the request and waits, as libpq does, until the server has closed the connection.
pub(crate) async fn press(balancer: impl ToSocketAddrs, request: &[u8]) {
    let mut socket = TcpStream::connect(balancer).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let _reset = socket.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "a cancel is not answered");
}

/// The packet by which a client cancels; tokio-postgres does not show its key.
pub(crate) async fn cancel_request(client: &Client) -> Vec<u8> {
    let (near, mut far) = tokio::io::duplex(64);
    client
        .cancel_token()
        .cancel_query_raw(near, NoTls)
        .await
        .unwrap();
    let mut packet = Vec::new();
    far.read_to_end(&mut packet).await.unwrap();
    packet
}

/// Numbers without a pattern, the same each time.
fn scattered(number: u64) -> u64 {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 31)) >> 16
}
