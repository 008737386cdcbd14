//! Tests of values as text and JSON.

use proptest::prelude::*;

use super::*;

const CORPUS: &str = include_str!("../../tests/corpus/values.tsv");

struct Case {
    type_oid: u32,
    binary: Vec<u8>,
    text: String,
    json: &'static str,
}

fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(character) = chars.next() {
        match (character, character == '\\') {
            (_, true) => match chars.next().unwrap() {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                other => out.push(other),
            },
            (other, false) => out.push(other),
        }
    }
    out
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn corpus() -> Vec<Case> {
    let case = |line: &'static str| {
        let fields: Vec<&'static str> = line.split('\t').collect();
        let [oid, binary, text, json] = fields[..] else {
            panic!("not four fields: {line}")
        };
        Case {
            type_oid: oid.parse().unwrap(),
            binary: hex(binary),
            text: unescape(text),
            json,
        }
    };
    let lines = CORPUS.lines().filter(|line| !line.starts_with('#'));
    lines.map(case).collect()
}

fn json_of(type_oid: u32, format: Format, bytes: &[u8]) -> String {
    to_json(type_oid, format, Some(bytes)).get().to_owned()
}

#[test]
fn both_formats_become_what_to_json_says() {
    let cases = corpus();
    assert!(cases.len() > 180, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        for (format, bytes) in [
            (Format::Text, case.text.as_bytes()),
            (Format::Binary, &case.binary),
        ] {
            let got = json_of(case.type_oid, format, bytes);
            if got != case.json {
                wrong.push(format!("{} {format:?} {}: {got}", case.type_oid, case.json));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn of_two_shortest_numbers_the_even_one_is_shown() {
    let check = |value: f64, text: &str| {
        assert_eq!(to_text(701, Format::Binary, &value.to_be_bytes()), text);
    };
    check(5_186_468_391_807_786.0 / 8.0, "648308548975973.2");
    check(5_186_468_391_807_790.0 / 8.0, "648308548975973.8");
    // Half-way to a neighbour, 2.979449932030431e+16 would do for who reads it.
    check(-29_794_499_320_304_312.0, "-2.9794499320304312e+16");
    check(-0.0, "-0");
    check(100.0, "100");
    check(123_456.0, "123456");
    check(1e15, "1e+15");
    check(0.000_1, "0.0001");
    check(1.5e-7, "1.5e-07");
}

#[test]
fn null_is_null_in_every_type() {
    for oid in [16, 25, 1007, 999_999] {
        assert_eq!(to_json(oid, Format::Binary, None).get(), "null");
    }
}

#[test]
fn what_is_not_understood_is_shown() {
    let check =
        |oid, format, bytes: &[u8], expected| assert_eq!(json_of(oid, format, bytes), expected);
    check(999_999, Format::Text, b"(1,\"a b\")", r#""(1,\"a b\")""#);
    check(999_999, Format::Binary, b"\x01\x02", r#""\\x0102""#);
    check(23, Format::Binary, b"\x01", r#""\\x01""#);
    check(23, Format::Text, b"no number", r#""no number""#);
    check(23, Format::Text, b"0123", r#""0123""#);
    check(25, Format::Text, b"\xff", r#""\\xff""#);
    check(114, Format::Text, b"{broken", r#""{broken""#);
    check(3802, Format::Binary, b"\x02{}", r#""\\x027b7d""#);
    check(1007, Format::Text, b"{1,{2}", r#""{1,{2}""#);
    check(
        1184,
        Format::Text,
        b"Thu Feb 29 12:00:00 2024 CET",
        r#""Thu Feb 29 12:00:00 2024 CET""#,
    );
    check(
        1114,
        Format::Text,
        b"29.02.2024 12:00:00",
        r#""29.02.2024 12:00:00""#,
    );
}

#[test]
fn array_lengths_that_promise_too_much_are_not_followed() {
    // Two dimensions of 2^31-1 and 0: nothing to read, and two thousand million brackets to write.
    let mut bytes = Vec::new();
    for word in [2, 0, 23, i32::MAX, 1, 0, 1] {
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    assert!(json_of(1007, Format::Binary, &bytes).starts_with(r#""\\x"#));
    // An array whose elements claim to be arrays.
    let nested: Vec<u8> = [1, 0, 1007, 1, 1, -1_i32]
        .iter()
        .flat_map(|word| word.to_be_bytes())
        .collect();
    assert!(json_of(1007, Format::Binary, &nested).starts_with(r#""\\x"#));
    let deep = format!("{}1{}", "{".repeat(100_000), "}".repeat(100_000));
    assert!(json_of(1007, Format::Text, deep.as_bytes()).starts_with("\"{{"));
}

#[test]
fn names_are_those_of_pg_type() {
    let names = [16, 23, 1007, 1043, 2950, 22, 999_999].map(type_name);
    let expected = [
        Some("bool"),
        Some("int4"),
        Some("_int4"),
        Some("varchar"),
        Some("uuid"),
        Some("int2vector"),
        None,
    ];
    assert_eq!(names, expected);
}

fn known_type() -> impl Strategy<Value = u32> {
    let known: Vec<u32> = (0..6000).filter(|oid| type_name(*oid).is_some()).collect();
    proptest::sample::select(known)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn every_input_becomes_valid_json(oid in known_type(), bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for format in [Format::Text, Format::Binary] {
            let mut out = String::new();
            write_json(&mut out, oid, format, Some(&bytes));
            prop_assert!(serde_json::from_str::<&RawValue>(&out).is_ok(), "{}", out);
        }
    }

    #[test]
    fn damaged_values_become_valid_json(index in any::<proptest::sample::Index>(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let cases = corpus();
        let case = index.get(&cases);
        for (format, bytes) in [(Format::Text, case.text.as_bytes()), (Format::Binary, &case.binary)] {
            let mut bytes = bytes.to_vec();
            if !bytes.is_empty() {
                *at.get_mut(&mut bytes) = byte;
            }
            let mut out = String::new();
            write_json(&mut out, case.type_oid, format, Some(&bytes));
            prop_assert!(serde_json::from_str::<&RawValue>(&out).is_ok(), "{}", out);
        }
    }
}
