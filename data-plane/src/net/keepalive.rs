//! Peers that are gone without a word are noticed (tcp(7)), as PostgreSQL and libpq do.
//!
//! A client whose network went away would keep its session, and the locks of its transaction, until the grant ends. The
//! probes also keep a connection that rests alive in load balancers and firewalls, which forget it after some minutes.
//!
//! `TCP_USER_TIMEOUT` is left alone: it ends connections to peers that are there and do not read.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval};

/// Of a connection on which nothing comes, until it is asked for an answer.
const IDLE: Duration = Duration::from_secs(30);
/// Until it is asked again.
const INTERVAL: Duration = Duration::from_secs(10);
/// Questions without an answer after which the peer is gone: a minute after it was heard last.
const PROBES: u32 = 3;

/// Sets it for a socket, or for all that a listener will accept.
///
/// # Errors
/// When the system refuses.
pub(crate) fn set(socket: &impl AsFd) -> io::Result<()> {
    setsockopt(socket, TcpKeepIdle, &seconds(IDLE))?;
    setsockopt(socket, TcpKeepInterval, &seconds(INTERVAL))?;
    setsockopt(socket, TcpKeepCount, &PROBES)?;
    setsockopt(socket, KeepAlive, &true)?;
    Ok(())
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
