//! The PROXY protocol, versions 1 and 2: what a load balancer says of the client it connects, ahead of everything else.
//!
//! The specification is `doc/proxy-protocol.txt` of HAProxy. Only the client's address is of use here: extensions
//! (TLVs) are skipped, families that are not IP and connections of the balancer's own have none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, its line end included (specification, section 2.1).
const MAX_V1_BYTES: usize = 107;
/// Signature, command, family and length of version 2 (section 2.2).
const V2_PREAMBLE_BYTES: usize = 16;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_SIGNATURE: &[u8; 6] = b"PROXY ";

/// Longest header accepted. Addresses take 52 bytes; what balancers add (names, TLS facts, ids of a cloud) stays well
/// below this, and whoever is in a trusted network cannot make us hold more.
pub const MAX_HEADER_BYTES: usize = 4096;

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The balancer speaks for this client.
    Client(SocketAddr),
    /// The balancer speaks for itself (a health check), or for a client that has no IP address.
    Unknown,
}

/// Bytes that are no PROXY header. The specification allows no guessing: the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProtocolError {
    /// Neither version's signature.
    #[error("the connection does not begin with a PROXY header")]
    NoHeader,
    /// A line of version 1 that is not as it should be.
    #[error("malformed PROXY header: {0}")]
    Malformed(&'static str),
    /// The header is longer than [`MAX_HEADER_BYTES`].
    #[error("the PROXY header announces {bytes} bytes")]
    TooLong {
        /// Announced length, preamble included.
        bytes: usize,
    },
}

impl ProxyHeader {
    /// Reads the header at the start of `chunk` and says how many bytes it has; `None` until all have arrived.
    ///
    /// # Errors
    /// When it cannot be a header, as soon as that is certain.
    pub fn decode(chunk: &[u8]) -> Result<Option<(Self, usize)>, ProxyProtocolError> {
        let begins_as = |signature: &[u8]| {
            let common = chunk.len().min(signature.len());
            chunk.get(..common) == signature.get(..common)
        };
        if begins_as(V2_SIGNATURE) {
            version_2(chunk)
        } else if begins_as(V1_SIGNATURE) {
            version_1(chunk)
        } else {
            Err(ProxyProtocolError::NoHeader)
        }
    }
}

type Decoded = Result<Option<(ProxyHeader, usize)>, ProxyProtocolError>;

fn version_1(chunk: &[u8]) -> Decoded {
    let line_end = chunk.windows(2).take(MAX_V1_BYTES - 1);
    let Some(length) = line_end.into_iter().position(|pair| pair == b"\r\n") else {
        return if chunk.len() < MAX_V1_BYTES {
            Ok(None)
        } else {
            Err(ProxyProtocolError::Malformed("the line does not end"))
        };
    };
    let line = chunk.get(V1_SIGNATURE.len()..length).unwrap_or_default();
    let line = std::str::from_utf8(line)
        .map_err(|_| ProxyProtocolError::Malformed("the line is not text"))?;
    Ok(Some((version_1_line(line)?, length + 2)))
}

/// `TCP4 <source> <destination> <source port> <destination port>`, or `UNKNOWN` and anything.
fn version_1_line(line: &str) -> Result<ProxyHeader, ProxyProtocolError> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(ProxyHeader::Unknown);
    }
    let mut word = || {
        words
            .next()
            .ok_or(ProxyProtocolError::Malformed("a field is missing"))
    };
    let (source, _destination) = (word()?, word()?);
    let (source_port, _destination_port) = (word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyProtocolError::Malformed("there are too many fields"));
    }
    let no_address = |_| ProxyProtocolError::Malformed("the source is no address of its family");
    let ip = match family {
        "TCP4" => IpAddr::V4(source.parse::<Ipv4Addr>().map_err(no_address)?),
        "TCP6" => IpAddr::V6(source.parse::<Ipv6Addr>().map_err(no_address)?),
        _ => return Err(ProxyProtocolError::Malformed("the family is not known")),
    };
    let port = source_port
        .parse()
        .map_err(|_| ProxyProtocolError::Malformed("the source port is no port"))?;
    Ok(ProxyHeader::Client(client(ip, port)))
}

fn version_2(chunk: &[u8]) -> Decoded {
    let Some((&preamble, rest)) = chunk.split_first_chunk::<V2_PREAMBLE_BYTES>() else {
        return Ok(None);
    };
    let [.., version_command, family, high, low] = preamble;
    let body_bytes = usize::from(u16::from_be_bytes([high, low]));
    let bytes = V2_PREAMBLE_BYTES + body_bytes;
    if bytes > MAX_HEADER_BYTES {
        return Err(ProxyProtocolError::TooLong { bytes });
    }
    let is_local = match version_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyProtocolError::Malformed("the command is not known")),
    };
    let Some(body) = rest.get(..body_bytes) else {
        return Ok(None);
    };
    let header = if is_local {
        ProxyHeader::Unknown
    } else {
        version_2_source(family, body)?
    };
    Ok(Some((header, bytes)))
}

/// Source and destination address, source and destination port, then extensions.
fn version_2_source(family: u8, body: &[u8]) -> Result<ProxyHeader, ProxyProtocolError> {
    const SHORT: ProxyProtocolError = ProxyProtocolError::Malformed("the addresses are cut short");
    match family {
        0x11 => {
            let (source, rest) = body.split_first_chunk::<4>().ok_or(SHORT)?;
            let port = version_2_port(rest, 4).ok_or(SHORT)?;
            let ip = Ipv4Addr::from(*source);
            Ok(ProxyHeader::Client(client(ip.into(), port)))
        }
        0x21 => {
            let (source, rest) = body.split_first_chunk::<16>().ok_or(SHORT)?;
            let port = version_2_port(rest, 16).ok_or(SHORT)?;
            let ip = Ipv6Addr::from(*source);
            Ok(ProxyHeader::Client(client(ip.into(), port)))
        }
        // Unspecified, datagrams, Unix sockets: the specification wants them taken as "no address".
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Ok(ProxyHeader::Unknown),
        _ => Err(ProxyProtocolError::Malformed("the family is not known")),
    }
}

/// The source port behind a destination address of `address_bytes`; the destination's port must be there too.
fn version_2_port(rest: &[u8], address_bytes: usize) -> Option<u16> {
    let (&[high, low, _, _], _) = rest.get(address_bytes..)?.split_first_chunk::<4>()?;
    Some(u16::from_be_bytes([high, low]))
}

/// An IPv4 client that reached an IPv6 socket of the balancer is still an IPv4 client.
fn client(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

#[cfg(test)]
mod tests;
