//! What is counted, kept and digested.

use super::*;

const LIMITS: CaptureLimits = CaptureLimits {
    max_rows: 3,
    max_bytes: 1_000_000_000,
};

fn capture() -> Capture {
    Capture::new(LIMITS, Vec::new())
}

/// First row, rows and bytes of the chunk that is handed on.
fn hand_on(capture: &mut Capture, follow: Follow) -> Option<(u64, u32, Vec<u8>)> {
    let chunk = capture.chunk(follow)?;
    let handed = (chunk.first_row, chunk.row_count, chunk.data.to_vec());
    capture.handed_on();
    Some(handed)
}

fn row(capture: &mut Capture, bytes: &[u8]) {
    capture.begin(bytes.len());
    capture.bytes(bytes);
}

#[test]
fn counts_and_digest_go_on_when_capture_stops() {
    let mut capture = capture();
    for text in [&b"a"[..], b"bb", b"c", b"d", b"e"] {
        row(&mut capture, text);
    }
    assert_eq!(
        (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
        (5, 3, 4)
    );
    assert!(capture.is_truncated());
    assert_eq!(capture.digest(), Some(*blake3::hash(b"abbcde").as_bytes()));
    let handed = hand_on(&mut capture, Follow::No);
    assert_eq!(handed, Some((0, 3, b"abbc".to_vec())));
    assert_eq!(capture.digest(), Some(*blake3::hash(b"abbcde").as_bytes()));
    assert_eq!(hand_on(&mut capture, Follow::No), None);
}

#[test]
fn the_digest_is_that_of_all_chunks() {
    let mut capture = capture();
    row(&mut capture, b"a");
    row(&mut capture, b"bb");
    hand_on(&mut capture, Follow::Maybe).unwrap();
    assert_eq!(capture.digest(), Some(*blake3::hash(b"abb").as_bytes()));
    // A text that was not understood can have several results in one record.
    row(&mut capture, b"c");
    hand_on(&mut capture, Follow::No).unwrap();
    assert_eq!(capture.digest(), Some(*blake3::hash(b"abbc").as_bytes()));
}

#[test]
fn the_digest_of_an_only_chunk_is_that_of_its_rows() {
    let mut capture = capture();
    row(&mut capture, b"a");
    hand_on(&mut capture, Follow::No).unwrap();
    assert_eq!(capture.digest(), Some(*blake3::hash(b"a").as_bytes()));
    assert!(capture.take_buffer().is_empty());
}

#[test]
fn rows_begun_together_count_like_rows_begun_one_by_one() {
    let mut capture = capture();
    assert_eq!(capture.plain_rows().rows, 3);
    assert_eq!(capture.plain_rows().bytes, CHUNK_TARGET_BYTES);
    capture.begin_all(2, 5);
    capture.bytes(b"aabbb");
    assert_eq!(capture.plain_rows().rows, 1);
    row(&mut capture, b"c");
    assert_eq!(capture.plain_rows().rows, 0, "the next one is not kept");
    row(&mut capture, b"d");
    assert_eq!(capture.plain_rows().rows, u64::MAX);
    capture.begin_all(10, 30);
    capture.bytes(&[0; 30]);
    assert_eq!(
        (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
        (14, 3, 6)
    );
    assert_eq!(hand_on(&mut capture, Follow::No).unwrap().1, 3);
}

#[test]
fn chunks_are_numbered_and_follow_one_another() {
    let mut capture = capture();
    row(&mut capture, &vec![1; CHUNK_TARGET_BYTES]);
    assert!(capture.must_hand_on_before(0, 1));
    hand_on(&mut capture, Follow::Maybe).unwrap();
    assert!(!capture.must_hand_on_before(0, 1));
    row(&mut capture, b"x");
    let chunk = capture.chunk(Follow::No).unwrap();
    assert_eq!((chunk.number, chunk.first_row, chunk.row_count), (1, 1, 1));
}

#[test]
fn a_row_too_large_for_a_chunk_ends_the_capture() {
    let mut capture = capture();
    row(&mut capture, b"a");
    row(&mut capture, &vec![0; MAX_ROW_CHUNK_BYTES + 1]);
    row(&mut capture, b"c");
    assert_eq!((capture.rows(), capture.kept_rows()), (3, 1));
    assert!(capture.is_truncated());
}

#[test]
fn a_result_can_say_how_many_rows_it_had() {
    let mut capture = capture();
    row(&mut capture, b"a");
    capture.result_complete(None);
    capture.begin_uncounted(2);
    capture.bytes(b"bb");
    assert_eq!(capture.rows(), 1, "of one that broke off nothing is known");
    capture.result_complete(Some(5));
    row(&mut capture, b"c");
    capture.result_complete(Some(0));
    assert_eq!((capture.rows(), capture.kept_rows()), (6, 3));
}

#[test]
fn no_rows_have_no_digest() {
    assert!(capture().digest().is_none());
}

#[test]
fn abandoned_rows_are_not_counted_as_kept() {
    let mut capture = capture();
    row(&mut capture, b"a");
    capture.abandon_chunk();
    row(&mut capture, b"b");
    assert_eq!(
        (capture.rows(), capture.kept_rows(), capture.kept_bytes()),
        (2, 0, 0)
    );
    assert!(capture.is_truncated() && capture.chunk(Follow::No).is_none());
}
