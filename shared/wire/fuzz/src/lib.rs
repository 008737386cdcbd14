//! What is true of every input, one function for each parser that meets bytes from outside.
//!
//! The fuzzers under `fuzz_targets` call these with what they make up, `tests/fuzz.rs` with the seeds under `seeds` and
//! with random bytes. Each panics when something is not true.

use pglens_wire::backend::{self, Authentication, ErrorFields, TransactionStatus};
use pglens_wire::frame::{FrameScanner, Header, Look};
use pglens_wire::frontend::{self, Bind, Execute, FunctionCall, Named, Parse, Query};
use pglens_wire::proxy_protocol::ProxyHeader;
use pglens_wire::scram::{ClientExchange, ScramVerifier, ServerExchange};
use pglens_wire::startup::StartupPacket;
use pglens_wire::value::{Format, to_json, to_text};

/// Enough for SCRAM here; what is derived from a password is not the subject.
const ITERATIONS: u32 = 1;

/// A name and the function that takes its inputs.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, by the name of their fuzz target and seed folder.
pub const TARGETS: [Target; 7] = [
    ("frames", frames),
    ("startup", startup),
    ("frontend", frontend),
    ("backend", backend),
    ("scram", scram),
    ("values", values),
    ("proxy_protocol", proxy_protocol),
];

/// Nothing is known of the outcome, but that there is one.
fn tried<T>(_outcome: &T) {}

/// Where frames begin does not depend on how the stream is cut.
pub fn frames(data: &[u8]) {
    let Some((&size, stream)) = data.split_first() else {
        return;
    };
    let whole = frame_starts(stream, stream.len().max(1));
    let cut = frame_starts(stream, usize::from(size).max(1));
    assert_eq!(whole, cut);
}

/// Headers up to the first that cannot be one, of a stream that comes in pieces.
fn frame_starts(stream: &[u8], size: usize) -> Vec<(u8, usize)> {
    let (mut scanner, mut found, mut buffer) = (FrameScanner::new(), Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        buffer.extend_from_slice(piece);
        while !buffer.is_empty() {
            let taken = match scanner.look(&buffer) {
                Ok(Look::Incomplete) => break,
                Ok(Look::Frame(header)) => {
                    found.push((header.tag(), header.payload_bytes()));
                    scanner.take_frame(header, buffer.len())
                }
                Ok(Look::Rest(_)) => scanner.take_rest(buffer.len()),
                Err(_) => return found,
            };
            assert!(taken > 0, "it goes on");
            buffer.drain(..taken);
        }
    }
    found
}

/// A packet is what it is whatever follows it, and no part of it is a packet of another kind.
pub fn startup(data: &[u8]) {
    let Ok(Some((packet, bytes))) = StartupPacket::decode(data) else {
        return;
    };
    assert!(bytes <= data.len());
    let alone = StartupPacket::decode(&data[..bytes]);
    assert_eq!(alone, Ok(Some((packet, bytes))));
    for end in 0..bytes {
        assert_eq!(
            StartupPacket::decode(&data[..end]),
            Ok(None),
            "{end} of {bytes} bytes"
        );
    }
}

/// The first byte is the type of the message.
pub fn frontend(data: &[u8]) {
    let Some((tag, payload)) = data.split_first() else {
        return;
    };
    match *tag {
        frontend::tag::QUERY => {
            if let Ok(query) = Query::decode(payload) {
                assert_eq!(query.text.len() + 1, payload.len());
            }
        }
        frontend::tag::PARSE => {
            if let Ok(parse) = Parse::decode(payload) {
                let bytes =
                    parse.name.len() + parse.text.len() + 4 + 4 * parse.parameter_types.len();
                assert_eq!(bytes, payload.len());
            }
        }
        frontend::tag::BIND => {
            if let Ok(bind) = Bind::decode(payload) {
                bind_is_whole(&bind, payload.len());
            }
        }
        frontend::tag::EXECUTE => tried(&Execute::decode(payload)),
        frontend::tag::DESCRIBE | frontend::tag::CLOSE => tried(&Named::decode(payload)),
        frontend::tag::FUNCTION_CALL => tried(&FunctionCall::decode(payload)),
        frontend::tag::PASSWORD => {
            tried(&frontend::password(payload));
            tried(&frontend::sasl_initial_response(payload));
        }
        _ => {}
    }
}

fn bind_is_whole(bind: &Bind<'_>, payload_bytes: usize) {
    let values = bind
        .parameters
        .iter()
        .map(|value| 4 + value.map_or(0, <[u8]>::len));
    let lists = bind.parameter_formats.iter().count() + bind.result_formats.iter().count();
    let names = bind.portal.len() + bind.statement.len() + 2;
    assert_eq!(names + 6 + 2 * lists + values.sum::<usize>(), payload_bytes);
}

/// What we understand of a message, `postgres-protocol` understands likewise.
pub fn backend(data: &[u8]) {
    let Ok(Some(header)) = Header::peek(data) else {
        return;
    };
    if header.total_bytes() > data.len() {
        return;
    }
    let payload = header.payload(data);
    let _any = ErrorFields::read(payload);
    match header.tag() {
        backend::tag::ROW_DESCRIPTION => {
            if let Ok(columns) = backend::row_description(payload) {
                same_columns(&columns, &data[..header.total_bytes()]);
            }
        }
        backend::tag::PARAMETER_DESCRIPTION => tried(&backend::parameter_description(payload)),
        backend::tag::COMMAND_COMPLETE => tried(&backend::command_complete(payload)),
        backend::tag::PARAMETER_STATUS => tried(&backend::parameter_status(payload)),
        backend::tag::BACKEND_KEY_DATA => tried(&backend::backend_key_data(payload)),
        backend::tag::READY_FOR_QUERY => tried(&TransactionStatus::decode(payload)),
        backend::tag::AUTHENTICATION => tried(&Authentication::decode(payload)),
        _ => {}
    }
}

fn same_columns(ours: &[backend::Column], message: &[u8]) {
    use fallible_iterator::FallibleIterator;
    use postgres_protocol::message::backend::Message;
    let mut buffer = bytes::BytesMut::from(message);
    let Ok(Some(Message::RowDescription(body))) = Message::parse(&mut buffer) else {
        return;
    };
    // The library wants names in UTF-8; we do not.
    let Ok(theirs) = body
        .fields()
        .map(|field| Ok((field.type_oid(), field.table_oid())))
        .collect::<Vec<_>>()
    else {
        return;
    };
    let ours: Vec<_> = ours
        .iter()
        .map(|column| (column.type_oid, column.table_oid))
        .collect();
    assert_eq!(ours, theirs);
}

/// Nobody gets in by what was made up, and no message makes either side panic.
pub fn scram(data: &[u8]) {
    let mut messages = data.splitn(3, |byte| *byte == 0);
    let mut next = || messages.next().unwrap_or_default();
    let (mechanism, first, second) = (next(), next(), next());
    let verifier = ScramVerifier::derive("secret", *b"a salt of 16 byt", ITERATIONS);
    let mechanism = String::from_utf8_lossy(mechanism).into_owned();
    if let Ok((waiting, _challenge)) =
        ServerExchange::start(verifier, None).client_first(&mechanism, first)
    {
        assert!(waiting.client_final(second).is_err(), "a proof was made up");
    }
    if let Ok((exchange, _first)) = ClientExchange::start(["SCRAM-SHA-256"], "secret", None)
        && let Ok((waiting, _proof)) = exchange.server_first(first)
    {
        assert!(
            waiting.server_final(second).is_err(),
            "a signature was made up"
        );
    }
    let _any = String::from_utf8_lossy(data).parse::<ScramVerifier>();
}

/// Type, format and bytes: whatever they are, they are shown, as JSON that is JSON.
pub fn values(data: &[u8]) {
    let Some((&[a, b, code], bytes)) = data.split_first_chunk::<3>() else {
        return;
    };
    let type_oid = u32::from(u16::from_be_bytes([a, b]));
    let format = if code & 1 == 0 {
        Format::Text
    } else {
        Format::Binary
    };
    let json = to_json(type_oid, format, Some(bytes));
    assert!(
        serde_json::from_str::<serde::de::IgnoredAny>(json.get()).is_ok(),
        "{json}"
    );
    let _shown = to_text(type_oid, format, bytes);
}

/// A header is what it is whatever follows it.
pub fn proxy_protocol(data: &[u8]) {
    let Ok(Some((header, bytes))) = ProxyHeader::decode(data) else {
        return;
    };
    assert!(bytes <= data.len());
    assert_eq!(
        ProxyHeader::decode(&data[..bytes]),
        Ok(Some((header, bytes)))
    );
}
