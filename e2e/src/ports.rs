//! Ports for processes that have to be told theirs.

use std::net::TcpListener;

/// Ports that nobody listens on. They are all held until all are chosen, so that they differ.
pub fn free_ports(count: usize) -> Vec<u16> {
    let listen = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    let held: Vec<TcpListener> = (0..count).map(listen).collect();
    held.iter()
        .map(|listener| listener.local_addr().expect("bound").port())
        .collect()
}
