//! A wire tap: a port that leads to another one and keeps what the server says on the way.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::client::Login;
use crate::differential::Answer;
use crate::differential::peer::decode;
use crate::wait::eventually;

const READ_BYTES: usize = 64 * 1024;

/// What the server said in one connection, and whether it has ended.
#[derive(Debug, Default)]
struct Heard {
    bytes: Vec<u8>,
    ended: bool,
}

type Connections = Arc<Mutex<Vec<Arc<Mutex<Heard>>>>>;

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    connections: Connections,
    accepting: JoinHandle<()>,
}

impl Tap {
    /// A tap in front of where `login` leads.
    pub async fn start(login: &Login) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let connections = Connections::default();
        let server = (login.host.clone(), login.port);
        let accepting = tokio::spawn(accept(listener, server, Arc::clone(&connections)));
        Self {
            address,
            connections,
            accepting,
        }
    }

    /// The same login through the tap.
    pub fn login(&self, login: &Login) -> Login {
        Login {
            host: self.address.ip().to_string(),
            port: self.address.port(),
            ..login.clone()
        }
    }

    /// The server's messages in each connection, once all of them have ended.
    pub async fn heard(&self) -> Vec<Vec<Answer>> {
        eventually("the connections through the tap end", || async {
            let connections = self.connections.lock().expect("no panic holds it");
            let mut heard = Vec::new();
            for connection in connections.iter() {
                let connection = connection.lock().expect("no panic holds it");
                if !connection.ended {
                    return Err(format!("{} connections", connections.len()));
                }
                heard.push(messages(&connection.bytes));
            }
            Ok(heard)
        })
        .await
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: (String, u16), connections: Connections) {
    while let Ok((client, _)) = listener.accept().await {
        let heard = Arc::new(Mutex::new(Heard::default()));
        connections
            .lock()
            .expect("no panic holds it")
            .push(Arc::clone(&heard));
        let server = server.clone();
        tokio::spawn(async move {
            // Either side hanging up ends the connection, which is what the other side is to see.
            let _hung_up = pass(client, &server, &heard).await;
            heard.lock().expect("no panic holds it").ended = true;
        });
    }
}

async fn pass(
    client: TcpStream,
    server: &(String, u16),
    heard: &Mutex<Heard>,
) -> std::io::Result<()> {
    let server = TcpStream::connect((server.0.as_str(), server.1)).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move {
        let _hung_up = tokio::io::copy(&mut from_client, &mut to_server).await;
        let _hung_up = to_server.shutdown().await;
    });
    let mut chunk = vec![0; READ_BYTES];
    loop {
        let count = from_server.read(&mut chunk).await?;
        if count == 0 {
            break;
        }
        heard
            .lock()
            .expect("no panic holds it")
            .bytes
            .extend_from_slice(&chunk[..count]);
        // A client that has gone does not end what the server says.
        let _gone = to_client.write_all(&chunk[..count]).await;
    }
    up.abort();
    Ok(())
}

/// Whole messages; a plain answer to a request for encryption is left out.
fn messages(mut bytes: &[u8]) -> Vec<Answer> {
    if bytes.first() == Some(&b'N') && bytes.get(1) != Some(&0) {
        bytes = &bytes[1..];
    }
    let mut messages = Vec::new();
    while let Some((answer, used)) = decode(bytes) {
        messages.push(answer);
        bytes = &bytes[used..];
    }
    assert!(bytes.is_empty(), "the stream ends inside a message");
    messages
}
