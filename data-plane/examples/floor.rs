//! A relay that looks at nothing, as the measure of what one costs at least:
//! `floor LISTEN_PORT TARGET_PORT`, both on 127.0.0.1. `bench/run.py --way floor` compares with it.
#![expect(clippy::print_stderr, reason = "it is a tool for developers")]

use std::io;
use std::net::Ipv4Addr;

use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};

/// In each direction: a large part of a result with each call to the system.
const BUFFER_BYTES: usize = 64 * 1024;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut ports = std::env::args().skip(1).map(|port| port.parse::<u16>());
    let (Some(Ok(listen)), Some(Ok(target))) = (ports.next(), ports.next()) else {
        return Err(io::Error::other("usage: floor LISTEN_PORT TARGET_PORT"));
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, listen)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = relay(client, target).await {
                eprintln!("floor: {error}");
            }
        });
    }
}

async fn relay(mut client: TcpStream, target: u16) -> io::Result<()> {
    let mut target = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await?;
    client.set_nodelay(true)?;
    target.set_nodelay(true)?;
    copy_bidirectional_with_sizes(&mut client, &mut target, BUFFER_BYTES, BUFFER_BYTES).await?;
    Ok(())
}
