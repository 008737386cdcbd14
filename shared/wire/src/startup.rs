//! The packets that come before there are typed messages: startup, cancel, and the requests for encryption.
//!
//! PostgreSQL manual, section "Message Formats": `StartupMessage`, `CancelRequest`, `SSLRequest`, `GSSENCRequest`.

use pglens_core::limits::MAX_STARTUP_PACKET_BYTES;

use crate::fields::{Fields, MalformedMessage, put_counted, put_cstr};

const SSL_REQUEST: u32 = 80_877_103;
const GSS_ENC_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const PROTOCOL_MAJOR: u32 = 3;
/// Newest minor version of protocol 3 that is spoken, as by PostgreSQL 18.
const NEWEST_MINOR: u16 = 2;
/// From this minor version on, cancel keys may be longer than four bytes.
const LONG_CANCEL_KEYS_MINOR: u16 = 2;
/// Length and code.
const PREAMBLE_BYTES: usize = 8;
/// Longest cancel key there can be (protocol 3.2).
const MAX_CANCEL_KEY_BYTES: usize = 256;

/// The first packet of a connection, or the one that follows a request for encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StartupPacket {
    /// Asks for TLS; answered with `S` or `N`.
    SslRequest,
    /// Asks for GSSAPI encryption; answered with `G` or `N`.
    GssEncRequest,
    /// Asks that a statement of another connection be cancelled; not answered at all.
    Cancel(CancelRequest),
    /// Begins a session.
    Startup(StartupMessage),
}

/// The key of the session whose statement is to be cancelled.
#[derive(Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// Process id, as told in `BackendKeyData`.
    pub process_id: u32,
    /// Secret: four bytes under protocol 3.0, up to 256 under 3.2.
    pub secret: Vec<u8>,
}

impl std::fmt::Debug for CancelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelRequest({})", self.process_id)
    }
}

/// The parameters a client begins a session with.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StartupMessage {
    /// Minor version of protocol 3 that the client would like.
    pub minor: u16,
    /// Names and values in the order they came; protocol options (`_pq_.…`) are among them.
    pub parameters: Vec<(String, String)>,
}

impl StartupMessage {
    /// The value of a parameter; the last one counts, as in PostgreSQL.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let mut found = self.parameters.iter().rev();
        found
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The minor version the session speaks: what the client would like, or the newest there is.
    #[must_use]
    pub fn spoken_minor(&self) -> u16 {
        self.minor.min(NEWEST_MINOR)
    }

    /// Whether the client understands cancel keys of more than four bytes.
    #[must_use]
    pub fn takes_long_cancel_keys(&self) -> bool {
        self.spoken_minor() >= LONG_CANCEL_KEYS_MINOR
    }

    /// Whether the client asks for anything that it must be told it does not get.
    #[must_use]
    pub fn needs_negotiation(&self) -> bool {
        self.minor > NEWEST_MINOR || !self.protocol_options().is_empty()
    }

    /// Names of the protocol options asked for, none of which are supported.
    #[must_use]
    pub fn protocol_options(&self) -> Vec<&str> {
        let names = self.parameters.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.starts_with("_pq_.")).collect()
    }
}

/// A first packet that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// The length is out of the bounds of such a packet.
    #[error("invalid length of startup packet")]
    Length {
        /// The length field.
        length: u32,
    },
    /// The client speaks another protocol.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Protocol {
        /// Major version.
        major: u32,
        /// Minor version.
        minor: u32,
    },
    /// The fields are not what they should be.
    #[error("invalid startup packet layout: {0}")]
    Layout(#[from] MalformedMessage),
}

impl StartupError {
    /// The error of a request for encryption that comes once too often: PostgreSQL then takes its code for a version.
    #[must_use]
    pub fn repeated(packet: &StartupPacket) -> Self {
        let code = match packet {
            StartupPacket::GssEncRequest => GSS_ENC_REQUEST,
            _ => SSL_REQUEST,
        };
        Self::Protocol {
            major: code >> 16,
            minor: code & 0xffff,
        }
    }
}

impl StartupPacket {
    /// Reads the packet at the start of `chunk` and says how many bytes it has; `None` until all have arrived.
    ///
    /// # Errors
    /// When it cannot be a packet, as soon as that is certain.
    pub fn decode(chunk: &[u8]) -> Result<Option<(Self, usize)>, StartupError> {
        let Some((length, _)) = chunk.split_first_chunk::<4>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let total = usize::try_from(length).unwrap_or(usize::MAX);
        if !(PREAMBLE_BYTES..=MAX_STARTUP_PACKET_BYTES).contains(&total) {
            return Err(StartupError::Length { length });
        }
        let Some(packet) = chunk.get(..total) else {
            return Ok(None);
        };
        let mut fields = Fields::new("startup", packet);
        fields.u32()?;
        let code = fields.u32()?;
        let packet = match code {
            SSL_REQUEST if total == PREAMBLE_BYTES => Self::SslRequest,
            GSS_ENC_REQUEST if total == PREAMBLE_BYTES => Self::GssEncRequest,
            SSL_REQUEST | GSS_ENC_REQUEST => return Err(StartupError::Length { length }),
            CANCEL_REQUEST => Self::Cancel(cancel_request(fields, length)?),
            _ if code >> 16 == PROTOCOL_MAJOR => Self::Startup(startup_message(fields, code)?),
            _ => {
                return Err(StartupError::Protocol {
                    major: code >> 16,
                    minor: code & 0xffff,
                });
            }
        };
        Ok(Some((packet, total)))
    }
}

fn cancel_request(mut fields: Fields<'_>, length: u32) -> Result<CancelRequest, StartupError> {
    let process_id = fields.u32()?;
    let secret = fields.rest();
    if !(4..=MAX_CANCEL_KEY_BYTES).contains(&secret.len()) {
        return Err(StartupError::Length { length });
    }
    Ok(CancelRequest {
        process_id,
        secret: secret.to_vec(),
    })
}

fn startup_message(mut fields: Fields<'_>, code: u32) -> Result<StartupMessage, StartupError> {
    let mut parameters = Vec::new();
    loop {
        let name = text(&mut fields)?;
        if name.is_empty() {
            break;
        }
        parameters.push((name, text(&mut fields)?));
    }
    fields.end()?;
    Ok(StartupMessage {
        minor: u16::try_from(code & 0xffff).unwrap_or(u16::MAX),
        parameters,
    })
}

fn text(fields: &mut Fields<'_>) -> Result<String, StartupError> {
    let bytes = fields.cstr()?;
    let text = std::str::from_utf8(bytes).map_err(|_| fields.malformed("a text is not UTF-8"))?;
    Ok(text.to_owned())
}

/// Appends a `StartupMessage` of protocol 3.0.
pub fn put_startup<'a>(
    out: &mut Vec<u8>,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) {
    put_counted(out, |out| {
        out.extend_from_slice(&(PROTOCOL_MAJOR << 16).to_be_bytes());
        for (name, value) in parameters {
            put_cstr(out, name.as_bytes());
            put_cstr(out, value.as_bytes());
        }
        out.push(0);
    });
}

/// Appends an `SSLRequest`.
pub fn put_ssl_request(out: &mut Vec<u8>) {
    put_counted(out, |out| out.extend_from_slice(&SSL_REQUEST.to_be_bytes()));
}

/// Appends a `CancelRequest`.
pub fn put_cancel_request(out: &mut Vec<u8>, process_id: u32, secret: &[u8]) {
    put_counted(out, |out| {
        out.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_startup_message_round_trips_with_the_library() {
        let mut library = bytes::BytesMut::new();
        let parameters = [("user", "ann"), ("database", "shop"), ("_pq_.x", "1")];
        postgres_protocol::message::frontend::startup_message(parameters, &mut library).unwrap();
        let (packet, length) = StartupPacket::decode(&library).unwrap().unwrap();
        assert_eq!(length, library.len());
        let StartupPacket::Startup(message) = packet else {
            panic!("{packet:?}");
        };
        assert_eq!(message.parameter("database"), Some("shop"));
        assert_eq!(message.protocol_options(), ["_pq_.x"]);
        let mut ours = Vec::new();
        put_startup(&mut ours, parameters);
        // The library adds its own client_encoding in front.
        let (packet, _) = StartupPacket::decode(&ours).unwrap().unwrap();
        assert!(matches!(packet, StartupPacket::Startup(m) if m.parameters.len() == 3));
    }

    #[test]
    fn requests_round_trip() {
        let mut bytes = Vec::new();
        put_ssl_request(&mut bytes);
        let decoded = StartupPacket::decode(&bytes).unwrap();
        assert_eq!(decoded, Some((StartupPacket::SslRequest, 8)));
        let mut bytes = Vec::new();
        put_cancel_request(&mut bytes, 7, &[1; 32]);
        let (packet, _) = StartupPacket::decode(&bytes).unwrap().unwrap();
        assert!(
            matches!(packet, StartupPacket::Cancel(c) if c.process_id == 7 && c.secret.len() == 32)
        );
    }

    #[test]
    fn what_cannot_be_a_packet_is_refused_before_it_is_complete() {
        let check = |bytes: &[u8]| StartupPacket::decode(bytes).unwrap_err();
        check(&[0, 0, 0, 7]);
        check(&[0xff; 4]);
        check(b"GET / HTTP/1.1");
        check(&[0, 0, 0, 12, 4, 0xd2, 0x16, 0x2e, 0, 0, 0, 1]); // a cancel request without a secret
        assert_eq!(
            check(&[0, 0, 0, 8, 0, 2, 0, 0]).to_string(),
            "unsupported frontend protocol 2.0: server supports 3.0 to 3.2"
        );
        check(&[0, 0, 0, 9, 0, 3, 0, 0, b'x']);
    }

    #[test]
    fn the_version_spoken_is_the_newest_that_both_know() {
        let check = |minor: u16, spoken: u16, long: bool, told: bool| {
            let message = StartupMessage {
                minor,
                ..StartupMessage::default()
            };
            let seen = (
                message.spoken_minor(),
                message.takes_long_cancel_keys(),
                message.needs_negotiation(),
            );
            assert_eq!(seen, (spoken, long, told), "3.{minor}");
        };
        check(0, 0, false, false);
        check(1, 1, false, false);
        check(2, 2, true, false);
        check(3, 2, true, true);
        check(9999, 2, true, true);
        assert_eq!(
            StartupError::repeated(&StartupPacket::SslRequest).to_string(),
            "unsupported frontend protocol 1234.5679: server supports 3.0 to 3.2"
        );
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = StartupPacket::decode(&bytes);
        }

        /// The same with a length and a code in front that lead into each kind of packet.
        #[test]
        fn nothing_inside_a_packet_panics(
            code in prop::sample::select(vec![SSL_REQUEST, GSS_ENC_REQUEST, CANCEL_REQUEST, 3 << 16, (3 << 16) + 2]),
            body in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut packet = Vec::new();
            put_counted(&mut packet, |out| {
                out.extend_from_slice(&code.to_be_bytes());
                out.extend_from_slice(&body);
            });
            for end in 0..packet.len() {
                let part = StartupPacket::decode(&packet[..end]);
                prop_assert!(!matches!(part, Ok(Some(_))), "a part was taken for the whole");
            }
            let _ = StartupPacket::decode(&packet);
        }
    }
}
