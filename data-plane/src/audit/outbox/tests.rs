//! The outbox on a real disk: order, bounds, what is written when, and what comes back from it.

use std::ops::Deref;

use pglens_core::SessionId;
use pglens_rpc::v1;
use prost::Message as _;
use uuid::Uuid;

use super::*;
use crate::audit::encode::{Rows, SessionEnded, Started};
use crate::audit::frame::KEY_BYTES;
use crate::audit::reader::Position;
use crate::audit::window::BatchLimit;

/// An outbox whose folder goes with it.
pub(crate) struct TestOutbox {
    pub(crate) outbox: Arc<Outbox>,
    folder: tempfile::TempDir,
}

impl Deref for TestOutbox {
    type Target = Arc<Outbox>;

    fn deref(&self) -> &Arc<Outbox> {
        &self.outbox
    }
}

const RUN: RunId = RunId(Uuid::from_u128(77));

impl TestOutbox {
    /// Takes `capacity` bytes beside the segment that is set aside.
    pub(crate) fn new(capacity: u64) -> Self {
        Self::with_memory(capacity, 16 * 1024 * 1024)
    }

    fn with_memory(capacity: u64, memory_bytes: usize) -> Self {
        let outbox = Self::locked(capacity, memory_bytes);
        outbox.unlock_it();
        outbox
    }

    /// It cannot be written until [`TestOutbox::unlock_it`].
    pub(crate) fn locked(capacity: u64, memory_bytes: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk_bytes = capacity + MIN_SEGMENT_BYTES;
        let disk_bytes = match disk_bytes / SEGMENTS > MIN_SEGMENT_BYTES {
            true => capacity * SEGMENTS / (SEGMENTS - 1),
            false => disk_bytes,
        };
        let limits = SpoolLimits {
            disk_bytes,
            memory_bytes,
        };
        let outbox = Outbox::create(folder.path(), RUN, limits).unwrap();
        Self { outbox, folder }
    }

    pub(crate) fn unlock_it(&self) {
        let key = Secret::new(vec![1; KEY_BYTES]);
        self.unlock(RUN, &key).unwrap();
    }

    fn hold(&self) -> OutboxHold {
        OutboxHold::new(Arc::clone(&self.outbox))
    }

    /// Puts a row of so many bytes on record.
    pub(crate) fn push_row(&self, bytes: usize) -> Pushed {
        self.push(&Rows {
            query_id: Uuid::from_u128(1),
            session_id: SessionId(Uuid::from_u128(2)),
            chunk: 0,
            first_row: 0,
            row_count: 1,
            data: &vec![b'r'; bytes],
        })
    }

    /// All records that wait, as a control plane reads them.
    pub(crate) fn records(&self) -> Vec<v1::Record> {
        self.flush();
        let committed = self.state.lock().committed;
        match self.next_behind(committed, ALL) {
            Next::Batch(batch) => decode(&batch),
            Next::Nothing => Vec::new(),
            Next::HasLarge | Next::OnDisk => {
                let (mut position, all) = (Position::default(), ALL);
                decode(&self.read_behind(&mut position, committed, all).unwrap())
            }
        }
    }
}

const ALL: BatchLimit = BatchLimit {
    records: u64::MAX,
    bytes: usize::MAX,
};

fn decode(batch: &Batch) -> Vec<v1::Record> {
    let bytes = batch.records.concat();
    let batch = v1::RecordBatch::decode(bytes.as_slice()).unwrap();
    batch.in_full().decoded().unwrap()
}

fn started() -> Started<'static> {
    Started {
        query_id: Uuid::from_u128(9),
        session_id: SessionId(Uuid::from_u128(2)),
        sequence: 1,
        sql: "select pg_sleep(1000)",
        kind: "SELECT",
        parameters: &[],
        started_at_unix_us: 0,
        fingerprint: None,
    }
}

#[test]
fn records_are_kept_until_they_are_acknowledged() {
    let outbox = TestOutbox::new(1_000_000);
    for _ in 0..5 {
        outbox.push_row(10);
        assert!(outbox.flush());
    }
    let limit = BatchLimit { records: 3, ..ALL };
    let Next::Batch(batch) = outbox.next_behind(0, limit) else {
        panic!()
    };
    assert_eq!((batch.first_sequence, batch.last_sequence), (1, 3));
    assert_eq!(decode(&batch).len(), 3);
    outbox.acknowledge(Acknowledged::stored(2)).unwrap();
    assert_eq!(outbox.records().len(), 3);
    assert_eq!(outbox.depth().records, 3);
    outbox.acknowledge(Acknowledged::stored(5)).unwrap();
    assert_eq!(outbox.depth(), Depth::default());
    assert!(matches!(outbox.next_behind(5, ALL), Next::Nothing));
    assert!(
        outbox.acknowledge(Acknowledged::stored(6)).is_err(),
        "not beyond the newest"
    );
    assert!(
        outbox.acknowledge(Acknowledged::stored(1)).is_err(),
        "not what was dropped"
    );
}

#[test]
fn what_another_session_has_written_is_not_written_again() {
    let outbox = TestOutbox::new(1_000_000);
    let first = outbox.push(&started());
    let second = outbox.announce(&started()).frame;
    assert_eq!(first.frame, second);
    assert!(outbox.flush_through(second));
    let later = outbox.push(&started());
    assert!(outbox.flush_through(second));
    let nothing = outbox.next_behind(first.sequence, ALL);
    assert!(
        matches!(nothing, Next::Nothing),
        "it waits for whoever needs it"
    );
    assert!(outbox.flush_through(later.frame));
    let batch = outbox.next_behind(first.sequence, ALL);
    assert!(matches!(batch, Next::Batch(_)));
}

#[test]
fn only_what_is_written_is_sent() {
    let outbox = TestOutbox::new(1_000_000);
    outbox.push_row(10);
    assert!(matches!(outbox.next_behind(0, ALL), Next::Nothing));
    assert!(outbox.flush());
    assert!(matches!(outbox.next_behind(0, ALL), Next::Batch(_)));
}

#[test]
fn promises_take_half_and_come_back() {
    let outbox = TestOutbox::new(100_000);
    let promised = outbox.hold().try_reserve(40_000).unwrap();
    assert!(
        outbox.hold().try_reserve(40_000).is_none(),
        "half is for the rows of running statements"
    );
    assert!(outbox.has_room(50_000, 0));
    let mut room = outbox.watch_room();
    assert!(!outbox.has_room(60_000, 0) && !outbox.has_room(60_000, 59_999));
    assert!(outbox.has_room(60_000, 60_000), "it has a place already");
    drop(promised);
    assert!(room.has_changed().unwrap());
    room.mark_unchanged();
    assert!(outbox.hold().try_reserve(40_000).is_some());
}

#[test]
fn a_full_outbox_promises_nothing_until_it_is_acknowledged() {
    let outbox = TestOutbox::new(100_000);
    outbox.push_row(95_000);
    outbox.flush();
    assert!(outbox.hold().try_reserve(10_000).is_none());
    outbox.acknowledge(Acknowledged::stored(1)).unwrap();
    assert!(outbox.hold().try_reserve(10_000).is_some());
}

#[test]
fn without_a_key_nothing_is_promised_or_written() {
    let outbox = TestOutbox::locked(1_000_000, 1_000_000);
    assert!(outbox.hold().try_reserve(10).is_none());
    outbox.push_row(10);
    assert!(!outbox.flush());
    outbox.unlock_it();
    assert!(outbox.hold().try_reserve(10).is_some());
    assert!(matches!(outbox.next_behind(0, ALL), Next::Batch(_)));
}

#[test]
fn what_left_memory_is_read_from_the_disk_in_order() {
    let outbox = TestOutbox::with_memory(8_000_000, 100_000);
    for size in 1..1500 {
        outbox.push_row(size);
        assert!(outbox.flush());
    }
    assert!(matches!(outbox.next_behind(0, ALL), Next::OnDisk));
    let limit = BatchLimit {
        records: 1000,
        bytes: 50_000,
    };
    let (mut position, mut sent, mut sizes) = (Position::default(), 700, 701);
    loop {
        let batch = match outbox.next_behind(sent, limit) {
            Next::OnDisk => outbox.read_behind(&mut position, sent, limit).unwrap(),
            Next::HasLarge => panic!("none is large"),
            Next::Batch(batch) => batch,
            Next::Nothing => break,
        };
        assert_eq!(batch.first_sequence, sent + 1);
        assert!(batch.bytes <= 50_000);
        for record in decode(&batch) {
            let Some(v1::record::Event::RowsCaptured(rows)) = record.event else {
                panic!()
            };
            assert_eq!(rows.data.len(), sizes);
            sizes += 1;
        }
        sent = batch.last_sequence;
    }
    assert_eq!((sent, sizes), (1499, 1500));
}

#[test]
fn large_frames_are_on_disk_only_and_come_in_their_place() {
    let outbox = TestOutbox::new(8_000_000);
    let expected: Vec<_> = (0..40_usize)
        .map(|number| {
            if number % 3 == 1 {
                120_000
            } else {
                10 + number
            }
        })
        .collect();
    for size in &expected {
        outbox.push_row(*size);
        outbox.flush();
    }
    let is_in_memory = |behind| matches!(outbox.next_behind(behind, ALL), Next::Batch(_));
    assert!(is_in_memory(38) && !is_in_memory(37) && !is_in_memory(0));
    let read = |behind| {
        let mut position = Position::default();
        let batch = outbox.read_behind(&mut position, behind, ALL).unwrap();
        let sizes = decode(&batch).into_iter().map(|record| {
            let Some(v1::record::Event::RowsCaptured(rows)) = record.event else {
                panic!()
            };
            rows.data.len()
        });
        sizes.collect::<Vec<_>>()
    };
    for behind in [0, 1, 2, 37, 38] {
        let from = usize::try_from(behind).unwrap();
        assert_eq!(read(behind), expected[from..]);
    }
}

#[test]
fn committed_segments_go_and_announced_statements_stay() {
    let outbox = TestOutbox::new(3_000_000);
    let started = started();
    let announced = outbox.announce(&started);
    for _ in 0..20 {
        outbox.push_row(100_000);
        outbox.flush();
    }
    outbox.acknowledge(Acknowledged::stored(20)).unwrap();
    outbox.tidy().unwrap();
    let segments = outbox.outbox.folder.segments().unwrap();
    assert_eq!(segments.len(), 1, "{segments:?}");
    let state = outbox.state.lock();
    let frames: Vec<_> = state.announced.iter().map(|(_, one)| one.frame).collect();
    let newest = state.next_frame() - 1;
    assert_eq!(frames, [newest], "the newest frame says it again");
    drop(state);
    outbox.settle(&announced);
    outbox.flush();
    outbox.close().unwrap();
    assert!(!outbox.folder.path().join(RUN.to_string()).exists());
}

#[test]
fn a_disk_that_cannot_be_written_stops_statements_and_loses_nothing() {
    let outbox = TestOutbox::new(3_000_000);
    outbox.push_row(10);
    assert!(outbox.flush());
    // The next segment cannot be made while the folder is away.
    let path = outbox.folder.path().join(RUN.to_string());
    let away = outbox.folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    outbox.push_row(270_000);
    assert!(!outbox.flush());
    assert!(outbox.hold().try_reserve(10).is_none());
    assert!(!outbox.has_room(10, 10));
    outbox.push(&SessionEnded {
        session_id: SessionId(Uuid::from_u128(2)),
        ended_at_unix_us: 1,
        reason: "x",
        sqlstate: "",
        queries_used: 0,
        bytes_used: 0,
        bytes_in: 0,
        bytes_out: 0,
    });
    assert!(!outbox.flush());
    std::fs::rename(&away, &path).unwrap();
    let end = std::time::Instant::now() + pglens_testkit::DEADLINE;
    while !outbox.flush() {
        assert!(std::time::Instant::now() < end);
        std::thread::yield_now();
    }
    assert!(outbox.hold().try_reserve(10).is_some());
    assert_eq!(outbox.records().len(), 3);
}

#[tokio::test]
async fn what_no_session_waits_for_is_written_soon() {
    let outbox = TestOutbox::new(1_000_000);
    let shutdown = tokio_util::sync::CancellationToken::new();
    let keeping = tokio::spawn(Arc::clone(&outbox).keep(shutdown.clone()));
    // Twice: whoever writes must have gone to sleep in between, or notice that there is more.
    for _ in 0..2 {
        let wake = WakeAt {
            sequence: outbox.push_row(10).sequence,
            total_bytes: u64::MAX,
        };
        tokio::time::timeout(pglens_testkit::DEADLINE, outbox.written(wake))
            .await
            .expect("it is written");
    }
    shutdown.cancel();
    keeping.await.unwrap();
}
