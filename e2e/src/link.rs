//! A network between two programs that can be cut: each connection goes through this process.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::client::Login;

/// What a pump holds back at most, besides what the kernel does.
const BUFFER_BYTES: usize = 16 * 1024;

/// What the network does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    Open,
    /// Nothing moves, and nobody is told.
    Stalled,
    /// What is sent to the server arrives, no answer comes back, and nobody is told.
    Deaf,
    /// Every connection is reset, new ones as soon as they are made.
    Reset,
}

#[derive(Debug, Clone, Copy)]
struct State {
    flow: Flow,
    /// Counts the times that every connection was reset.
    resets: u64,
}

#[derive(Debug, Clone, Copy)]
enum Direction {
    ToServer,
    ToClient,
}

impl State {
    fn lets_pass(&self, direction: Direction) -> bool {
        match (self.flow, direction) {
            (Flow::Open, _) | (Flow::Deaf, Direction::ToServer) => true,
            (Flow::Deaf, Direction::ToClient) | (Flow::Stalled | Flow::Reset, _) => false,
        }
    }
}

/// Carries connections to one server until it is dropped.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    state: watch::Sender<State>,
    accepting: JoinHandle<()>,
}

impl Link {
    /// Listens on a free port for connections to `server`, which need not be there yet.
    pub async fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let state = watch::Sender::new(State {
            flow: Flow::Open,
            resets: 0,
        });
        let accepting = tokio::spawn(accept(listener, server, state.subscribe()));
        Self {
            address,
            state,
            accepting,
        }
    }

    /// Where to connect to instead of to the server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The port of the address.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// What happens from now on. What was held back moves when it may.
    pub fn set(&self, flow: Flow) {
        self.state.send_modify(|state| {
            state.flow = flow;
            state.resets += u64::from(flow == Flow::Reset);
        });
    }

    /// Resets every connection there is, with what was held back; new ones are as good as before.
    pub fn reset_all(&self) {
        self.state.send_modify(|state| state.resets += 1);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The networks of an installation.
#[derive(Debug)]
pub struct Networks {
    /// From the data planes to each control plane.
    pub control: Vec<Link>,
    /// From the control planes to storage.
    pub storage: Link,
    /// From the data planes to the target.
    pub target: Link,
}

impl Networks {
    /// To control planes at `control_ports`, and to a server at `server_port` that is storage and target.
    pub async fn start(control_ports: impl Iterator<Item = u16>, server_port: u16) -> Self {
        let link = |port: u16| Link::start(format!("127.0.0.1:{port}"));
        Self {
            control: futures_util::future::join_all(control_ports.map(link)).await,
            storage: link(server_port).await,
            target: link(server_port).await,
        }
    }
}

/// `login` over a network, if there is one.
pub fn route(login: &Login, network: Option<&Link>) -> Login {
    let port = network.map_or(login.port, Link::port);
    Login {
        port,
        ..login.clone()
    }
}

async fn accept(listener: TcpListener, server: String, state: watch::Receiver<State>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(carry(client, server.clone(), state.clone()));
    }
}

async fn carry(mut client: TcpStream, server: String, mut state: watch::Receiver<State>) {
    let resets = state.borrow_and_update().resets;
    let mut cut = state.clone();
    let cut = cut.wait_for(|state| state.flow == Flow::Reset || state.resets != resets);
    let mut connected = None;
    let carried = async {
        // A connection that is made meanwhile comes about when the network is whole again.
        drop(state.wait_for(|state| state.flow == Flow::Open).await);
        let server = connected.insert(TcpStream::connect(server).await?);
        server.set_nodelay(true)?;
        client.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        tokio::try_join!(
            pump(from_client, to_server, state.clone(), Direction::ToServer),
            pump(from_server, to_client, state.clone(), Direction::ToClient),
        )
    };
    let is_cut = tokio::select! {
        _cut = cut => true,
        // One side broke the connection, and so does the network towards the other.
        carried = carried => carried.is_err(),
    };
    if is_cut {
        let _gone = client.set_zero_linger();
        let _gone = connected.map(|server| server.set_zero_linger());
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    direction: Direction,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        passes(&mut state, direction).await?;
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            _changed = state.changed() => continue,
        };
        passes(&mut state, direction).await?;
        match count {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

/// Waits until the network lets pass what goes in that direction; an error when it is no more.
async fn passes(state: &mut watch::Receiver<State>, direction: Direction) -> io::Result<()> {
    let passed = state.wait_for(|state| state.lets_pass(direction)).await;
    passed.map(drop).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Long enough for what can arrive to have done so.
    const SILENCE: Duration = Duration::from_millis(100);

    async fn pair(link: &Link, listener: &TcpListener) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(link.address()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        let read = tokio::time::timeout(SILENCE, stream.read_u8());
        read.await.is_err()
    }

    #[tokio::test]
    async fn each_cut_does_what_it_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let link = Link::start(listener.local_addr().unwrap().to_string()).await;
        let (mut client, mut server) = pair(&link, &listener).await;
        client.write_u8(1).await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), 1);

        link.set(Flow::Stalled);
        client.write_u8(2).await.unwrap();
        server.write_u8(3).await.unwrap();
        assert!(is_silent(&mut server).await && is_silent(&mut client).await);
        link.set(Flow::Deaf);
        assert_eq!(server.read_u8().await.unwrap(), 2);
        assert!(is_silent(&mut client).await);
        link.set(Flow::Open);
        assert_eq!(client.read_u8().await.unwrap(), 3);

        link.set(Flow::Stalled);
        client.write_u8(4).await.unwrap();
        link.reset_all();
        client.read_u8().await.unwrap_err();
        server.read_u8().await.unwrap_err();
        link.set(Flow::Reset);
        let mut refused = TcpStream::connect(link.address()).await.unwrap();
        refused.read_u8().await.unwrap_err();
        link.set(Flow::Open);
        pair(&link, &listener).await;
    }
}
