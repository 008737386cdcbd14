//! COPY FROM STDIN: what of its data is kept.

use super::*;

const LINES: usize = 400;

/// Runs COPY with `messages` messages of `LINES` lines each; returns the end of its record, and the data that is kept.
fn copied(format: u8, messages: usize) -> (v1::StatementEnded, Vec<u8>) {
    let mut script = Setup::default().script();
    script.client(&query("copy t from stdin"));
    script.target(&made(|out| {
        backend::put_raw(out, tag::COPY_IN_RESPONSE, &[format, 0, 0]);
    }));
    let data = message().repeat(messages);
    assert_eq!(script.client(&data), data);
    script.client(&made(|out| {
        backend::put_empty(out, frontend::tag::COPY_DONE)
    }));
    script.target(&[complete("COPY 0"), ready(TransactionStatus::Idle)].concat());
    let (mut ended, mut kept) = (None, Vec::new());
    for event in script.events() {
        match event {
            Event::RowsCaptured(rows) => kept.extend(rows.data),
            Event::StatementEnded(end) => ended = Some(end),
            _ => {}
        }
    }
    (ended.unwrap(), kept)
}

fn message() -> Vec<u8> {
    let lines = b"1\n".repeat(LINES);
    made(|out| backend::put_raw(out, frontend::tag::COPY_DATA, &lines))
}

#[test]
fn the_limit_counts_lines_and_the_digest_all_of_it() {
    let (ended, kept) = copied(0, 7);
    // A thousand rows may be kept: the third message begins below that.
    assert_eq!(kept, message().repeat(3));
    assert_eq!(ended.captured_bytes, kept.len() as u64);
    assert!(ended.rows_truncated);
    let all = message().repeat(7);
    assert_eq!(ended.result_digest, blake3::hash(&all).as_bytes());
    assert_eq!(
        ended.bytes_in - all.len() as u64,
        query("copy t from stdin").len() as u64
    );
}

#[test]
fn binary_data_has_no_lines() {
    let (ended, kept) = copied(1, 7);
    assert_eq!(kept, message().repeat(7));
    assert!(!ended.rows_truncated);
}
