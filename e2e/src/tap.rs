//! A wire between one client and a proxy that looks at what the proxy sends: how its stream ends, and when.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

/// What the system keeps for a tap that has not read it yet: it is to hear soon how the stream ends.
const RECEIVE_BYTES: u32 = 64 * 1024;
/// Type byte and length.
const HEADER_BYTES: usize = 5;

/// What the proxy has said to its client so far.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// The text of the FATAL, field by field.
    pub fatal: Option<String>,
    /// Bytes that came behind it.
    pub bytes_after_fatal: usize,
    /// When the stream ended.
    pub ended: Option<Instant>,
    buffer: Vec<u8>,
}

impl Said {
    fn hear(&mut self, bytes: &[u8]) {
        if self.fatal.is_some() {
            self.bytes_after_fatal += bytes.len();
            return;
        }
        self.buffer.extend_from_slice(bytes);
        while let Some(total) = frame_bytes(&self.buffer) {
            let frame: Vec<u8> = self.buffer.drain(..total).collect();
            let text = String::from_utf8_lossy(&frame[HEADER_BYTES..]).into_owned();
            if frame[0] == b'E' && text.contains("FATAL") {
                self.fatal = Some(text);
                self.bytes_after_fatal = self.buffer.len();
                return;
            }
        }
    }
}

/// Bytes of the message at the start, once all of it is there.
fn frame_bytes(buffer: &[u8]) -> Option<usize> {
    let length = buffer.get(1..HEADER_BYTES)?;
    let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
    let total = usize::try_from(length).expect("it is small") + 1;
    (buffer.len() >= total).then_some(total)
}

/// Accepts one client for a proxy.
#[derive(Debug)]
pub struct Tap {
    pub address: SocketAddr,
    said: Arc<Mutex<Said>>,
    passing: JoinHandle<()>,
}

impl Tap {
    /// Listens on a free port.
    pub async fn start(proxy: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let said = Arc::new(Mutex::new(Said::default()));
        let hearing = Arc::clone(&said);
        let passing = tokio::spawn(async move {
            let (client, _) = listener.accept().await.expect("a client");
            let proxy = proxy.parse().expect("an address");
            let socket = TcpSocket::new_v4().expect("a socket");
            socket
                .set_recv_buffer_size(RECEIVE_BYTES)
                .expect("less than usual");
            let proxy = socket.connect(proxy).await.expect("the proxy accepts");
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_proxy, mut to_proxy) = proxy.into_split();
            let up = tokio::spawn(async move {
                let _hung_up = tokio::io::copy(&mut from_client, &mut to_proxy).await;
                let _hung_up = to_proxy.shutdown().await;
            });
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(count @ 1..) = from_proxy.read(&mut buffer).await {
                hearing.lock().expect("lock").hear(&buffer[..count]);
                if to_client.write_all(&buffer[..count]).await.is_err() {
                    break;
                }
            }
            hearing.lock().expect("lock").ended = Some(Instant::now());
            let _hung_up = to_client.shutdown().await;
            up.abort();
        });
        Self {
            address,
            said,
            passing,
        }
    }

    /// What the proxy has said so far.
    pub fn said(&self) -> Said {
        self.said.lock().expect("lock").clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.passing.abort();
    }
}
