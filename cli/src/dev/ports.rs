//! Free ports, chosen before anything listens: the planes have to know each other's.
//!
//! Each port is held by a listener until just before its owner starts.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pglens_runtime::ConfigError;
use tokio::net::TcpListener;

use super::options::Wanted;

/// Ports below those that systems give to outgoing connections (Linux: from 32768), so that none takes ours meanwhile.
const FIRST_PORT: u16 = 20_000;
const PORTS: u16 = 10_000;
/// Stacks that start at the same time look in different blocks.
const BLOCK: u32 = 8;

/// A port that is ours for now.
#[derive(Debug)]
pub(super) struct Held {
    listener: TcpListener,
    listen: String,
}

impl Held {
    /// Takes the address asked for. One that nobody asked for may move to another port.
    pub(super) async fn take(wanted: &Wanted) -> Result<Self, ConfigError> {
        let setting = &wanted.setting;
        if setting.addr.port() != 0 {
            match setting.bind().await {
                Ok(listener) => {
                    let listen = setting.addr.to_string();
                    return Ok(Self { listener, listen });
                }
                Err(error) if wanted.is_given => return Err(error),
                Err(_taken) => {}
            }
        }
        for port in candidates() {
            let addr = setting.addr.with_port(port);
            if let Ok(listener) = addr.bind().await {
                let listen = addr.to_string();
                return Ok(Self { listener, listen });
            }
        }
        // None of ten thousand: the address itself is at fault, and this says why.
        let listener = setting.bind().await?;
        let listen = setting.addr.to_string();
        Ok(Self { listener, listen })
    }

    /// Where clients of this machine connect to.
    pub(super) fn address(&self) -> SocketAddr {
        let mut address = self
            .listener
            .local_addr()
            .unwrap_or_else(|_| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        if address.ip().is_unspecified() {
            address.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        address
    }

    pub(super) fn port(&self) -> u16 {
        self.address().port()
    }

    /// Lets the port go and says what to listen on.
    pub(super) fn release(self) -> String {
        self.listen
    }
}

/// Some hundred ports, beginning with a block that follows from our process id.
fn candidates() -> impl Iterator<Item = u16> {
    let block = std::process::id() % (u32::from(PORTS) / BLOCK) * BLOCK;
    (0..u32::from(PORTS)).filter_map(move |offset| {
        let offset = u16::try_from((block + offset) % u32::from(PORTS)).ok()?;
        Some(FIRST_PORT + offset)
    })
}
