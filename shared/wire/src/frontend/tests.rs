//! Tests of the client's messages.

use super::*;
use crate::frame::Header;
use bytes::BytesMut;
use postgres_protocol::IsNull;
use postgres_protocol::message::frontend as library;
use proptest::prelude::*;

fn payload(message: &[u8]) -> &[u8] {
    let header = Header::peek(message).unwrap().unwrap();
    assert_eq!(header.total_bytes(), message.len());
    header.payload(message)
}

#[test]
fn messages_of_the_library_are_read() {
    let mut bytes = BytesMut::new();
    library::query("select 1", &mut bytes).unwrap();
    let text: &[u8] = b"select 1";
    assert_eq!(Query::decode(payload(&bytes)), Ok(Query { text }));

    let mut bytes = BytesMut::new();
    library::parse("s", "select $1", [23], &mut bytes).unwrap();
    let parse = Parse::decode(payload(&bytes)).unwrap();
    assert_eq!((parse.name, parse.text), (&b"s"[..], &b"select $1"[..]));
    assert_eq!(parse.parameter_types, [23]);

    let mut bytes = BytesMut::new();
    let values = [Some(&b"7"[..]), None];
    let serialize = |value: Option<&[u8]>, out: &mut BytesMut| match value {
        Some(value) => {
            out.extend_from_slice(value);
            Ok(IsNull::No)
        }
        None => Ok(IsNull::Yes),
    };
    let bound = library::bind("p", "s", [0, 1], values, serialize, [1], &mut bytes);
    assert!(bound.is_ok());
    let bind = Bind::decode(payload(&bytes)).unwrap();
    assert_eq!((bind.portal, bind.statement), (&b"p"[..], &b"s"[..]));
    assert!(bind.parameters.iter().eq(values));
    assert!(bind.parameter_formats.iter().eq([0, 1]));
    assert!(bind.result_formats.iter().eq([1]));

    let mut bytes = BytesMut::new();
    library::execute("p", 50, &mut bytes).unwrap();
    let execute = Execute::decode(payload(&bytes)).unwrap();
    assert_eq!((execute.portal, execute.max_rows), (&b"p"[..], 50));

    let mut bytes = BytesMut::new();
    library::describe(b'S', "s", &mut bytes).unwrap();
    let describe = Named::decode(payload(&bytes)).unwrap();
    assert_eq!(
        (describe.subject, describe.name),
        (Subject::Statement, &b"s"[..])
    );

    let mut bytes = BytesMut::new();
    library::sasl_initial_response("SCRAM-SHA-256", b"n,,", &mut bytes).unwrap();
    let read = sasl_initial_response(payload(&bytes));
    assert_eq!(read, Ok((&b"SCRAM-SHA-256"[..], &b"n,,"[..])));
}

#[test]
fn our_messages_equal_those_of_the_library() {
    let check = |ours: &dyn Fn(&mut Vec<u8>), theirs: &dyn Fn(&mut BytesMut)| {
        let (mut one, mut other) = (Vec::new(), BytesMut::new());
        ours(&mut one);
        theirs(&mut other);
        assert_eq!(one, other);
    };
    check(&|out| put_query(out, "x"), &|out| {
        library::query("x", out).unwrap();
    });
    check(&|out| put_parse(out, b"s", "x"), &|out| {
        library::parse("s", "x", [], out).unwrap();
    });
    check(&|out| put_execute(out, b"p"), &|out| {
        library::execute("p", 0, out).unwrap();
    });
    check(&|out| put_terminate(out), &|out| library::terminate(out));
    check(&|out| put_copy_fail(out, "no"), &|out| {
        library::copy_fail("no", out).unwrap();
    });
    check(&|out| put_password(out, b"pw"), &|out| {
        library::password_message(b"pw", out).unwrap();
    });
    check(&|out| put_sasl_initial_response(out, "M", b"d"), &|out| {
        library::sasl_initial_response("M", b"d", out).unwrap();
    });
    check(&|out| put_sasl_response(out, b"d"), &|out| {
        library::sasl_response(b"d", out).unwrap();
    });
}

#[test]
fn our_substitutes_can_be_read_back() {
    let mut out = Vec::new();
    put_bind(&mut out, b"", b"missing");
    let bind = Bind::decode(payload(&out)).unwrap();
    assert_eq!(bind.statement, b"missing");
    let mut out = Vec::new();
    put_function_call(&mut out, 0);
    assert_eq!(FunctionCall::decode(payload(&out)).unwrap().function, 0);
}

#[test]
fn one_format_is_that_of_every_column() {
    assert_eq!(format_at(&[], 3), 0);
    assert_eq!(format_at(&[1], 3), 1);
    assert_eq!(format_at(&[0, 1], 1), 1);
    let at = |list, index| Formats::decode(list).unwrap().at(index);
    assert_eq!(at(b"\0\0", 3), 0);
    assert_eq!(at(b"\0\x01\0\x01", 3), 1);
    assert_eq!(at(b"\0\x02\0\0\0\x01", 1), 1);
    assert_eq!(at(b"\0\x02\0\0\0\x01", 2), 0);
    assert_eq!(Formats::decode(b"\0\x01\0"), None);
}

proptest! {
    #[test]
    fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Query::decode(&bytes);
        let _ = Parse::decode(&bytes);
        let _ = Bind::decode(&bytes);
        let _ = Named::decode(&bytes);
        let _ = Execute::decode(&bytes);
        let _ = FunctionCall::decode(&bytes);
        let _ = password(&bytes);
        let _ = sasl_initial_response(&bytes);
    }
}
