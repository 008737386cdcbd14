//! Tests of the target's messages.

use super::*;
use crate::frame::{HEADER_BYTES, Header};
use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::Message;
use proptest::prelude::*;

fn library(bytes: &[u8]) -> Message {
    let mut buffer = BytesMut::from(bytes);
    let message = Message::parse(&mut buffer).unwrap().unwrap();
    assert!(buffer.is_empty());
    message
}

fn made(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out);
    assert_eq!(
        Header::peek(&out).unwrap().unwrap().total_bytes(),
        out.len()
    );
    out
}

#[test]
fn the_library_reads_what_we_make() {
    let report = Report {
        severity: Severity::Fatal,
        sqlstate: "57P01",
        message: "over",
        detail: "",
        hint: "go home",
    };
    let bytes = made(|out| report.put(out));
    let Message::ErrorResponse(body) = library(&bytes) else {
        panic!("not an error");
    };
    let fields: Vec<_> = body
        .fields()
        .map(|field| {
            Ok((
                field.type_(),
                String::from_utf8_lossy(field.value_bytes()).into_owned(),
            ))
        })
        .collect()
        .unwrap();
    let text = |code: u8, value: &str| (code, value.to_owned());
    assert_eq!(
        fields,
        [
            text(b'S', "FATAL"),
            text(b'V', "FATAL"),
            text(b'C', "57P01"),
            text(b'M', "over"),
            text(b'H', "go home")
        ]
    );
    let read = ErrorFields::read(&bytes[HEADER_BYTES..]);
    assert!(read.is_fatal());
    assert_eq!((read.sqlstate, read.message), (&b"57P01"[..], &b"over"[..]));

    assert!(matches!(
        library(&made(put_authentication_ok)),
        Message::AuthenticationOk
    ));
    let bytes = made(|out| put_authentication_sasl(out, ["A", "B"]));
    assert!(matches!(library(&bytes), Message::AuthenticationSasl(_)));
    assert_eq!(
        Authentication::decode(&bytes[HEADER_BYTES..]),
        Ok(Authentication::Sasl {
            mechanisms: vec!["A", "B"]
        })
    );
    let bytes = made(|out| put_backend_key_data(out, 7, &[0, 0, 0, 9]));
    assert!(
        matches!(library(&bytes), Message::BackendKeyData(b) if b.process_id() == 7 && b.secret_key() == 9)
    );
    let bytes = made(|out| put_parameter_status(out, b"a", b"b"));
    assert_eq!(
        parameter_status(&bytes[HEADER_BYTES..]),
        Ok((&b"a"[..], &b"b"[..]))
    );
}

#[test]
fn row_descriptions_round_trip() {
    let columns = vec![Column {
        name: b"id".to_vec(),
        table_oid: 16_384,
        table_column: 1,
        type_oid: 23,
        type_modifier: -1,
        format: 1,
    }];
    let bytes = made(|out| put_row_description(out, &columns));
    assert_eq!(row_description(&bytes[HEADER_BYTES..]), Ok(columns));
    let Message::RowDescription(body) = library(&bytes) else {
        panic!("not a row description");
    };
    let oids: Vec<_> = body.fields().map(|f| Ok(f.type_oid())).collect().unwrap();
    assert_eq!(oids, [23]);
}

#[test]
fn an_error_that_was_cut_short_still_shows_its_code() {
    let read = ErrorFields::read(b"SERROR\0VERROR\0C42P01\0Mrelation \"x\" do");
    assert_eq!(
        (read.sqlstate, read.message),
        (&b"42P01"[..], &b"relation \"x\" do"[..])
    );
}

#[test]
fn a_version_is_negotiated_down() {
    let bytes = made(|out| put_negotiate_protocol_version(out, 2, &["_pq_.x"]));
    assert_eq!(&bytes[HEADER_BYTES..], b"\0\x03\0\x02\0\0\0\x01_pq_.x\0");
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Authentication::decode(&bytes);
        let _ = row_description(&bytes);
        let _ = parameter_description(&bytes);
        let _ = command_complete(&bytes);
        let _ = parameter_status(&bytes);
        let _ = backend_key_data(&bytes);
        let _ = TransactionStatus::decode(&bytes);
        let _ = ErrorFields::read(&bytes);
    }
}
