//! Brief records in full, for whoever does not read them, or not with all that is before them.

use bytes::Bytes;
use pglens_core::limits::MAX_REPEATED_BYTES;
use prost::Message;

use crate::v1::record::Event;
use crate::v1::{Record, RowsCaptured, StatementEnded, StatementStarted};

/// Fills in what brief records leave out; the rules are those of `Record` in `events.proto`.
#[derive(Debug, Default)]
pub(crate) struct InFull {
    session_id: Vec<u8>,
    query_id: Vec<u8>,
    start: Option<StatementStarted>,
    end: Option<StatementEnded>,
    /// The record before has them, and no others come before them.
    first_rows: Option<Bytes>,
}

impl InFull {
    /// The record that follows, in full. One that cannot be read stays as it is, and nothing refers to it; nothing is left
    /// of one that refers to what is not there.
    pub(crate) fn next(&mut self, record: Bytes) -> Bytes {
        let Ok(Record { event: Some(event) }) = Record::decode(record.clone()) else {
            *self = Self::default();
            return record;
        };
        let event = match event {
            Event::BriefStatementStarted(brief) => self.started(brief).map(Event::StatementStarted),
            Event::BriefRowsCaptured(brief) => self.rows(brief).map(Event::RowsCaptured),
            Event::BriefStatementEnded(brief) => self.ended(brief).map(Event::StatementEnded),
            full => {
                self.note(full);
                return record;
            }
        };
        let Some(event) = event else {
            *self = Self::default();
            return Bytes::new();
        };
        let full = Record { event: Some(event) };
        let bytes = full.encode_to_vec().into();
        full.event.into_iter().for_each(|event| self.note(event));
        bytes
    }

    /// Notes what the next one may refer to.
    fn note(&mut self, event: Event) {
        self.first_rows = None;
        match event {
            Event::StatementStarted(started) => {
                self.is_of(&started.query_id, &started.session_id);
                self.start = Some(started);
            }
            Event::RowsCaptured(rows) => {
                self.is_of(&rows.query_id, &rows.session_id);
                self.first_rows = (rows.chunk == 0).then_some(rows.data);
            }
            Event::StatementEnded(ended) => {
                self.is_of(&ended.query_id, &ended.session_id);
                self.end = Some(ended);
            }
            Event::SessionEnded(ended) => self.is_of(&[], &ended.session_id),
            Event::BriefStatementStarted(_)
            | Event::BriefRowsCaptured(_)
            | Event::BriefStatementEnded(_) => {}
        }
    }

    fn is_of(&mut self, query_id: &[u8], session_id: &[u8]) {
        self.query_id = query_id.to_vec();
        self.session_id = session_id.to_vec();
    }

    fn started(&self, mut brief: StatementStarted) -> Option<StatementStarted> {
        let before = self.start.as_ref()?;
        fill(&mut brief.session_id, &self.session_id)?;
        fill(&mut brief.sql, &before.sql)?;
        fill(&mut brief.kind, &before.kind)?;
        fill(&mut brief.fingerprint, &before.fingerprint)?;
        Some(brief).filter(|full| !full.session_id.is_empty())
    }

    fn rows(&self, mut brief: RowsCaptured) -> Option<RowsCaptured> {
        fill(&mut brief.query_id, &self.query_id)?;
        fill(&mut brief.session_id, &self.session_id)?;
        Some(brief).filter(|full| !full.query_id.is_empty() && !full.session_id.is_empty())
    }

    fn ended(&self, mut brief: StatementEnded) -> Option<StatementEnded> {
        fill(&mut brief.query_id, &self.query_id)?;
        fill(&mut brief.session_id, &self.session_id)?;
        if brief.command_tag.is_empty() && brief.sqlstate.is_empty() {
            let before = self.end.as_ref().filter(|end| can_be_repeated(end))?;
            brief.command_tag.clone_from(&before.command_tag);
            brief.sqlstate.clone_from(&before.sqlstate);
            brief.error_message.clone_from(&before.error_message);
            brief.refusal.clone_from(&before.refusal);
            brief.columns.clone_from(&before.columns);
        }
        if let Some(rows) = &self.first_rows
            && brief.result_digest.is_empty()
            && brief.query_id == self.query_id
        {
            brief.result_digest = blake3::hash(rows).as_bytes().to_vec();
        }
        Some(brief).filter(|full| !full.query_id.is_empty() && !full.session_id.is_empty())
    }
}

/// Whether what it says of how it ended is short enough.
fn can_be_repeated(end: &StatementEnded) -> bool {
    let columns = end.columns.iter().map(Message::encoded_len);
    let said = end.command_tag.len() + end.sqlstate.len() + end.error_message.len();
    said + end.refusal.len() + columns.sum::<usize>() <= MAX_REPEATED_BYTES
}

/// What is empty becomes `before`; `None` when that is too long for it, whichever field it is: a batch must not become
/// many times what was sent.
fn fill<T: Default + PartialEq + Clone + AsRef<[u8]>>(field: &mut T, before: &T) -> Option<()> {
    if *field == T::default() {
        let is_short = before.as_ref().len() <= MAX_REPEATED_BYTES;
        is_short.then(|| field.clone_from(before))?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started(query: u8) -> StatementStarted {
        StatementStarted {
            query_id: vec![query; 16],
            session_id: vec![9; 16],
            sequence: query.into(),
            sql: "select 1".to_owned(),
            kind: "SELECT".to_owned(),
            parameters: Vec::new(),
            started_at_unix_us: 5,
            fingerprint: "00ab".to_owned(),
        }
    }

    fn rows(query: u8, chunk: u32) -> RowsCaptured {
        RowsCaptured {
            query_id: vec![query; 16],
            session_id: vec![9; 16],
            chunk,
            row_count: 1,
            data: vec![query; 20].into(),
            ..Default::default()
        }
    }

    fn ended(query: u8) -> StatementEnded {
        StatementEnded {
            query_id: vec![query; 16],
            session_id: vec![9; 16],
            row_count: query.into(),
            command_tag: "SELECT 1".to_owned(),
            columns: vec![Default::default()],
            result_digest: blake3::hash(&[query; 20]).as_bytes().to_vec(),
            ..Default::default()
        }
    }

    /// What becomes of the records; `None` where nothing is left.
    fn in_full(events: &[Event]) -> Vec<Option<Event>> {
        let mut in_full = InFull::default();
        let record = |event: &Event| Record {
            event: Some(event.clone()),
        };
        let mut next = |event| in_full.next(record(event).encode_to_vec().into());
        let full = events.iter().map(&mut next);
        full.map(|bytes| Record::decode(bytes).unwrap().event)
            .collect()
    }

    #[test]
    fn what_is_left_out_is_that_of_the_records_before() {
        let brief_start = StatementStarted {
            query_id: started(2).query_id,
            sequence: 2,
            started_at_unix_us: 5,
            ..Default::default()
        };
        let brief_rows = RowsCaptured {
            query_id: Vec::new(),
            session_id: Vec::new(),
            ..rows(2, 0)
        };
        let brief_end = StatementEnded {
            row_count: 2,
            ..Default::default()
        };
        let other_end = StatementEnded {
            command_tag: "SELECT 7".to_owned(),
            row_count: 3,
            ..Default::default()
        };
        let full = [
            Event::StatementStarted(started(1)),
            Event::RowsCaptured(rows(1, 0)),
            Event::StatementEnded(ended(1)),
            Event::StatementStarted(started(2)),
            Event::RowsCaptured(rows(2, 0)),
            Event::StatementEnded(ended(2)),
            Event::StatementEnded(StatementEnded {
                query_id: started(2).query_id,
                session_id: started(2).session_id,
                ..other_end.clone()
            }),
        ];
        let mut sent = full.clone();
        sent[3] = Event::BriefStatementStarted(brief_start);
        sent[4] = Event::BriefRowsCaptured(brief_rows);
        sent[5] = Event::BriefStatementEnded(brief_end);
        sent[6] = Event::BriefStatementEnded(other_end);
        assert_eq!(in_full(&sent), full.map(Some));
    }

    #[test]
    fn the_digest_is_that_of_the_only_rows_and_right_behind_them() {
        let brief_end = |query| StatementEnded {
            result_digest: Vec::new(),
            ..ended(query)
        };
        let digest = |before: Event, brief| {
            let full = in_full(&[before, Event::BriefStatementEnded(brief)]).remove(1);
            match full {
                Some(Event::StatementEnded(ended)) => ended.result_digest,
                _ => panic!("an end"),
            }
        };
        let chunk = |number| Event::RowsCaptured(rows(1, number));
        assert_eq!(digest(chunk(0), brief_end(1)), ended(1).result_digest);
        assert!(digest(chunk(1), brief_end(1)).is_empty());
        assert!(digest(chunk(0), brief_end(2)).is_empty());
        assert!(digest(Event::StatementStarted(started(1)), brief_end(1)).is_empty());
    }

    #[test]
    fn what_refers_to_nothing_is_not_made_up() {
        let brief = [
            Event::BriefStatementStarted(started(1)),
            Event::BriefRowsCaptured(RowsCaptured::default()),
            Event::BriefStatementEnded(StatementEnded::default()),
            Event::BriefStatementEnded(StatementEnded {
                command_tag: String::new(),
                ..ended(1)
            }),
        ];
        for event in brief {
            assert_eq!(in_full(&[event]), [None]);
        }
        let long = "x".repeat(MAX_REPEATED_BYTES + 1);
        let long_start = StatementStarted {
            sql: long.clone(),
            ..started(1)
        };
        let long_end = StatementEnded {
            error_message: long,
            ..ended(1)
        };
        let of_long = [
            Event::StatementStarted(long_start),
            Event::BriefStatementStarted(StatementStarted {
                sql: String::new(),
                ..started(2)
            }),
            Event::StatementEnded(long_end),
            Event::BriefStatementEnded(StatementEnded::default()),
        ];
        let is_left = in_full(&of_long).into_iter().map(|event| event.is_some());
        assert_eq!(is_left.collect::<Vec<_>>(), [true, false, true, false]);
        let full_of = |kind: usize, session_id: usize| {
            let full = StatementStarted {
                kind: "k".repeat(kind),
                session_id: vec![9; session_id],
                ..started(1)
            };
            let brief = StatementStarted {
                query_id: vec![2; 16],
                ..Default::default()
            };
            in_full(&[
                Event::StatementStarted(full),
                Event::BriefStatementStarted(brief),
            ])
            .remove(1)
        };
        let most = MAX_REPEATED_BYTES;
        assert!(full_of(most, 16).is_some() && full_of(6, most).is_some());
        assert!(full_of(most + 1, 16).is_none() && full_of(6, most + 1).is_none());
        let mut after_damage = InFull::default();
        let start = Record {
            event: Some(Event::StatementStarted(started(1))),
        };
        after_damage.next(start.encode_to_vec().into());
        let damaged = Bytes::from_static(&[255]);
        assert_eq!(after_damage.next(damaged.clone()), damaged);
        let brief = Record {
            event: Some(Event::BriefStatementStarted(started(2))),
        };
        assert!(after_damage.next(brief.encode_to_vec().into()).is_empty());
    }
}
