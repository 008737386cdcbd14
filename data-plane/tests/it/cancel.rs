//! Cancel requests: of this proxy's sessions and of another's, in plain and over TLS, with the right key and a wrong one.

use std::time::Duration;

use pglens_data_plane::run;
use pglens_testkit::{DEADLINE, eventually};
use pglens_wire::backend::{ErrorFields, tag};
use pglens_wire::{frontend, startup};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::harness::{Stack, config};
use crate::raw::{Greeting, Raw, SSL_REQUEST, dial, encrypt};

const TLS: [(&str, &str); 2] = [
    ("PGL_TLS_CERT", "file:server.pem"),
    ("PGL_TLS_KEY", "file:server.key"),
];

/// Starts a statement that is running once this returns, for longer than clocks may be apart.
async fn sleep(stack: &Stack, client: &mut Raw<TcpStream>, process_id: u32) {
    let mut query = Vec::new();
    frontend::put_query(&mut query, "select pg_sleep(60)");
    client.send(&query).await;
    let watcher = stack.database.connect().await;
    let sql = format!(
        "select count(*) from pg_stat_activity where pid = {process_id} and state = 'active' \
         and clock_timestamp() - query_start > interval '0.5 s'"
    );
    eventually(DEADLINE, || async {
        let row = watcher.query_one(&sql, &[]).await.unwrap();
        row.get::<_, i64>(0) == 1
    })
    .await;
}

/// The SQLSTATE that the statement ends with.
async fn ended(client: &mut Raw<TcpStream>) -> String {
    let mut sqlstate = String::new();
    loop {
        let (kind, payload) = client.frame().await;
        match kind {
            tag::ERROR_RESPONSE => {
                let error = ErrorFields::read(&payload);
                sqlstate = String::from_utf8_lossy(error.sqlstate).into_owned();
            }
            tag::READY_FOR_QUERY => return sqlstate,
            _ => {}
        }
    }
}

fn cancel_of(greeting: &Greeting) -> Vec<u8> {
    let mut request = Vec::new();
    startup::put_cancel_request(&mut request, greeting.process_id, &greeting.secret);
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn short_and_long_keys_cancel_in_plain_and_over_tls() {
    let stack = Stack::start_with(&TLS).await;
    for minor in [0, 2] {
        let mut client = dial(&stack).await;
        let greeting = client.log_in(minor, &[]).await;
        let request = cancel_of(&greeting);

        sleep(&stack, &mut client, greeting.process_id).await;
        let mut plain = dial(&stack).await;
        plain.send(&request).await;
        assert_eq!(plain.rest().await, "", "a cancel is not answered");
        assert_eq!(ended(&mut client).await, "57014");

        sleep(&stack, &mut client, greeting.process_id).await;
        let mut asking = dial(&stack).await;
        asking.send(&SSL_REQUEST).await;
        assert_eq!(asking.byte().await, b'S');
        let mut asked = encrypt(&stack, asking.0, &["postgresql"]).await;
        asked.send(&request).await;
        assert_eq!(asked.rest().await, "");
        assert_eq!(ended(&mut client).await, "57014");

        sleep(&stack, &mut client, greeting.process_id).await;
        let mut direct = encrypt(&stack, dial(&stack).await.0, &["postgresql"]).await;
        direct.send(&request).await;
        assert_eq!(ended(&mut client).await, "57014");
    }
    assert!(stack.control.state().cancels.is_empty(), "they are our own");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_reaches_the_proxy_that_holds_the_session() {
    let stack = Stack::start().await;
    let shutdown = CancellationToken::new();
    let (ready, bound) = oneshot::channel();
    let other = tokio::spawn(run(config(&stack.control, &[]), shutdown.clone(), ready));
    let other_port = bound.await.unwrap().proxy.port();
    let mut client = dial(&stack).await;
    let greeting = client.log_in(0, &[]).await;
    sleep(&stack, &mut client, greeting.process_id).await;
    let press = async |request: &[u8]| {
        let socket = TcpStream::connect(("127.0.0.1", other_port)).await.unwrap();
        let mut socket = Raw(socket);
        socket.send(request).await;
        assert_eq!(socket.rest().await, "");
    };
    let mut wrong = cancel_of(&greeting);
    *wrong.last_mut().unwrap() ^= 1;
    // Until the other proxy is attached, and knows the time.
    eventually(DEADLINE, || async {
        press(&wrong).await;
        !stack.control.state().cancels.is_empty()
    })
    .await;

    let request = cancel_of(&greeting);
    press(&request).await;
    let ended = tokio::time::timeout(Duration::from_secs(30), ended(&mut client));
    assert_eq!(ended.await.unwrap(), "57014");
    let told = stack.control.state().cancels.last().unwrap().clone();
    assert_eq!(told.process_id, greeting.process_id);
    assert!(
        !told
            .key_digest
            .windows(greeting.secret.len())
            .any(|part| part == greeting.secret),
        "the secret stays here"
    );
    shutdown.cancel();
    other.await.unwrap().unwrap();
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_sees_the_connection_close_when_the_request_is_served() {
    let stack = Stack::start().await;
    let mut client = dial(&stack).await;
    let greeting = client.log_in(0, &[]).await;
    let mut elsewhere = cancel_of(&greeting);
    *elsewhere.last_mut().unwrap() ^= 1;
    // Until this proxy is attached, and knows the time.
    eventually(DEADLINE, || async {
        let mut socket = dial(&stack).await;
        socket.send(&elsewhere).await;
        assert_eq!(socket.rest().await, "");
        !stack.control.state().cancels.is_empty()
    })
    .await;

    stack.control.answers.send_replace(false);
    let before = stack.control.state().cancels.len();
    let mut socket = dial(&stack).await;
    socket.send(&elsewhere).await;
    eventually(DEADLINE, || async {
        stack.control.state().cancels.len() > before
    })
    .await;
    let closed = tokio::time::timeout(Duration::from_millis(300), socket.0.readable());
    assert!(closed.await.is_err(), "the control plane has not answered");
    stack.control.answers.send_replace(true);
    assert_eq!(socket.rest().await, "");
    stack.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_guesses_keys_is_not_listened_to() {
    let stack = Stack::start().await;
    let mut client = dial(&stack).await;
    let greeting = client.log_in(0, &[]).await;
    sleep(&stack, &mut client, greeting.process_id).await;
    let mut request = cancel_of(&greeting);
    for guess in 0..100_u8 {
        *request.last_mut().unwrap() = greeting.secret[3] ^ guess.max(1);
        let mut socket = dial(&stack).await;
        socket.send(&request).await;
        assert_eq!(socket.rest().await, "");
    }
    let asked = stack.control.state().cancels.len();
    // The first ones, and those that time allows again while a slow machine sends the others.
    assert!((20..90).contains(&asked), "{asked} were looked up");
    // Not even for the right one, until the address has been quiet for a moment.
    let mut socket = dial(&stack).await;
    socket.send(&cancel_of(&greeting)).await;
    assert_eq!(socket.rest().await, "");
    eventually(DEADLINE, || async {
        let mut socket = dial(&stack).await;
        socket.send(&cancel_of(&greeting)).await;
        assert_eq!(socket.rest().await, "");
        let ended = tokio::time::timeout(Duration::from_secs(1), client_ended(&stack, &greeting));
        ended.await.is_ok()
    })
    .await;
    assert_eq!(ended(&mut client).await, "57014");
    stack.stop().await;
}

/// Resolves once the session runs nothing.
async fn client_ended(stack: &Stack, greeting: &Greeting) {
    let watcher = stack.database.connect().await;
    let sql = format!(
        "select count(*) from pg_stat_activity where pid = {} and state = 'active'",
        greeting.process_id
    );
    eventually(DEADLINE, || async {
        let row = watcher.query_one(&sql, &[]).await.unwrap();
        row.get::<_, i64>(0) == 0
    })
    .await;
}
