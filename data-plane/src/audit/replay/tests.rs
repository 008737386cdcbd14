//! A process dies; what it left is read by the next.

use pglens_core::{RunId, Secret, SessionId};
use uuid::Uuid;

use super::*;
use crate::audit::encode::Started;
use crate::audit::folder::Segment;
use crate::audit::frame::KEY_BYTES;
use crate::audit::outbox::{Acknowledged, Outbox, SpoolLimits};

const RUN: RunId = RunId(Uuid::from_u128(77));
const ALL: BatchLimit = BatchLimit {
    records: 1000,
    bytes: 1_000_000,
};

fn key() -> Secret<Vec<u8>> {
    Secret::new(vec![1; KEY_BYTES])
}

fn started(number: u128) -> Started<'static> {
    Started {
        query_id: Uuid::from_u128(number),
        session_id: SessionId(Uuid::from_u128(2)),
        sequence: 1,
        sql: "select 1",
        kind: "SELECT",
        parameters: &[],
        started_at_unix_us: 0,
        fingerprint: None,
    }
}

struct Dead {
    parent: tempfile::TempDir,
}

impl Dead {
    /// A process that does `work` and dies.
    fn after(work: impl FnOnce(&Outbox)) -> Self {
        let parent = tempfile::tempdir().unwrap();
        let limits = SpoolLimits {
            disk_bytes: 10_000_000,
            memory_bytes: 1_000_000,
        };
        let outbox = Outbox::create(parent.path(), RUN, limits).unwrap();
        outbox.unlock(RUN, &key()).unwrap();
        work(&outbox);
        Self { parent }
    }

    fn folder(&self) -> RunFolder {
        RunFolder::abandoned(self.parent.path()).unwrap().remove(0)
    }

    fn replay(&self) -> Replay {
        let key = FrameKey::new(RUN, &key()).unwrap();
        let mut replay = Replay::new(Arc::new(self.folder()), key);
        replay.survey().unwrap();
        replay
    }
}

fn ids(batch: &Batch) -> Vec<u128> {
    let bytes = batch.records.concat();
    let batch = v1::RecordBatch::decode(bytes.as_slice()).unwrap();
    let id = |record: v1::Record| match record.event {
        Some(Event::StatementStarted(started)) => {
            Uuid::from_slice(&started.query_id).unwrap().as_u128()
        }
        _ => panic!("a start was expected"),
    };
    let records = batch.in_full().decoded().unwrap();
    records.into_iter().map(id).collect()
}

#[test]
fn written_records_are_there_and_statements_under_way_follow() {
    let dead = Dead::after(|outbox| {
        outbox.push(&started(1));
        outbox.flush();
        let announced = [11, 12, 13].map(|number| outbox.announce(&started(number)));
        outbox.push(&started(2));
        outbox.flush();
        // One begins, one does not run.
        outbox.push(&started(11));
        outbox.settle(&announced[2]);
        outbox.flush();
        // Never written, so never in effect.
        outbox.push(&started(99));
    });
    let mut replay = dead.replay();
    let batch = replay.next_behind(1, ALL).unwrap().unwrap();
    assert_eq!((batch.first_sequence, ids(&batch)), (2, vec![2, 11]));
    let batch = replay.next_behind(3, ALL).unwrap().unwrap();
    assert_eq!((batch.first_sequence, ids(&batch)), (4, vec![12]));
    assert!(replay.next_behind(4, ALL).unwrap().is_none());
    assert!(!replay.is_damaged());
}

fn last_segment(dead: &Dead) -> (Segment, u64) {
    let folder = dead.folder();
    let number = *folder.segments().unwrap().last().unwrap();
    let path = dead.parent.path().join(RUN.to_string());
    let path = path.join(format!("{number:010}.segment"));
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    (Segment { number, file }, length)
}

#[test]
fn a_torn_end_is_left_out_wherever_it_is_torn() {
    let dead = Dead::after(|outbox| {
        outbox.push(&started(1));
        outbox.flush();
    });
    let (_segment, whole) = last_segment(&dead);
    for cut in 1..whole {
        let dead = Dead::after(|outbox| {
            for number in 1..3 {
                outbox.push(&started(number));
                outbox.flush();
            }
        });
        let (segment, length) = last_segment(&dead);
        segment.file.set_len(length - cut).unwrap();
        let mut replay = dead.replay();
        let batch = replay.next_behind(0, ALL).unwrap().unwrap();
        assert_eq!(ids(&batch), [1], "{cut} bytes are missing");
        assert!(!replay.is_damaged());
    }
}

#[test]
fn what_a_file_held_before_it_became_the_next_segment_is_not_read() {
    const COUNT: u128 = 62;
    for kept in [1, 2, 9] {
        let dead = Dead::after(|outbox| {
            for number in 1..=COUNT {
                // Six frames of one length to a segment: behind the last two begin those of before.
                let sql = "x".repeat(100_000);
                outbox.push(&Started {
                    sql: &sql,
                    ..started(number)
                });
                outbox.flush();
                let stored = u64::try_from(number - kept.min(number)).unwrap();
                outbox.acknowledge(Acknowledged::stored(stored)).unwrap();
                outbox.tidy().unwrap();
            }
        });
        let mut replay = dead.replay();
        assert!(!replay.is_damaged());
        let behind = u64::try_from(COUNT - kept).unwrap();
        let batch = replay.next_behind(behind, ALL).unwrap().unwrap();
        let waiting: Vec<_> = (COUNT - kept + 1..=COUNT).collect();
        assert_eq!(ids(&batch), waiting);
        let all = u64::try_from(COUNT).unwrap();
        assert!(replay.next_behind(all, ALL).unwrap().is_none());
        assert!(!replay.is_damaged());
    }
}

#[test]
fn a_gap_is_damage() {
    let dead = Dead::after(|outbox| {
        let large = "x".repeat(300_000);
        for number in 1..8 {
            outbox.push(&Started {
                sql: &large,
                ..started(number)
            });
            outbox.flush();
        }
    });
    let folder = dead.folder();
    let segments = folder.segments().unwrap();
    assert!(segments.len() > 2);
    folder.remove_segment(segments[1]).unwrap();
    drop(folder);
    assert!(dead.replay().is_damaged());
    let folder = dead.folder();
    folder.remove_segment(segments[0]).unwrap();
    drop(folder);
    let mut replay = dead.replay();
    assert!(replay.next_behind(0, ALL).unwrap().is_none());
    assert!(replay.is_damaged(), "the beginning is missing");
}
