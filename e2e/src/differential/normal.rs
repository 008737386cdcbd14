//! What may differ between an answer of the target and the same through the proxy. This is the whole list.
//!
//! | field | why |
//! |---|---|
//! | `Authentication…` | the proxy authenticates the user, with a secret of PgLens' own, and says so once there is a session |
//! | process id and secret in `BackendKeyData` | of each connection; the proxy's secret is its own, so that a cancel request comes back to it |
//! | `application_name` in `ParameterStatus` | carries the user's name to the target: `pglens/USER: NAME` |
//! | process id in `NotificationResponse` | of each connection |
//! | object ids of tables that the session made, in `RowDescription` | handed out in order by the server |

use std::collections::BTreeMap;

use super::peer::Answer;

/// The first object id that is not of the system's own tables.
const FIRST_USER_OID: u32 = 16384;

/// Object ids from here on belong to tables that are made by sessions; the target's samples are made before.
pub type SampleEnd = u32;

/// Makes the answers of a session comparable.
pub fn normal(answers: &[Answer], sample_end: SampleEnd) -> Vec<Answer> {
    let mut oids = BTreeMap::new();
    answers
        .iter()
        .filter(|answer| answer.tag != b'R')
        .map(|answer| {
            let mut answer = answer.clone();
            match answer.tag {
                b'K' => mask(&mut answer.payload, 0, usize::MAX),
                b'A' => mask(&mut answer.payload, 0, 4),
                b'S' => plain_application_name(&mut answer.payload),
                b'T' => number_oids(&mut answer.payload, sample_end, &mut oids),
                _ => {}
            }
            answer
        })
        .collect()
}

fn mask(payload: &mut [u8], from: usize, to: usize) {
    let end = to.min(payload.len());
    payload[from..end].fill(0);
}

/// `pglens/USER: NAME` becomes `NAME`.
fn plain_application_name(payload: &mut Vec<u8>) {
    const PREFIX: &[u8] = b"application_name\0";
    let Some(value) = payload.strip_prefix(PREFIX) else {
        return;
    };
    let Some(rest) = value.strip_prefix(b"pglens/") else {
        return;
    };
    let colon = rest.iter().position(|byte| *byte == b':');
    let own = colon.map_or(&[0][..], |colon| &rest[colon + 1..]);
    let own = own.strip_prefix(b" ").unwrap_or(own).to_vec();
    *payload = [PREFIX, &own].concat();
}

/// Object ids of tables that the session made become numbers in the order they are seen.
fn number_oids(payload: &mut [u8], sample_end: SampleEnd, seen: &mut BTreeMap<u32, u32>) {
    let mut at = 2;
    while at < payload.len() {
        let Some(end) = payload[at..].iter().position(|byte| *byte == 0) else {
            return;
        };
        at += end + 1;
        let Some(field) = payload.get_mut(at..at + 4) else {
            return;
        };
        let oid = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        if oid >= sample_end.max(FIRST_USER_OID) {
            let next = u32::MAX - u32::try_from(seen.len()).expect("few tables");
            let number = *seen.entry(oid).or_insert(next);
            field.copy_from_slice(&number.to_be_bytes());
        }
        at += 18;
    }
}

#[test]
fn names_keys_and_object_ids_are_made_equal_and_nothing_else() {
    let answer = |tag, payload: &[u8]| Answer {
        tag,
        payload: payload.to_vec(),
    };
    let column = |oid: u32| {
        let mut payload = vec![0, 1, b'x', 0];
        payload.extend(oid.to_be_bytes());
        payload.extend([0; 14]);
        payload
    };
    let direct = [
        answer(b'K', &[1, 2, 3, 4, 5, 6, 7, 8]),
        answer(b'S', b"application_name\0psql\0"),
        answer(b'T', &column(20001)),
        answer(b'T', &column(17000)),
    ];
    let proxied = [
        answer(b'K', &[9, 2, 3, 4, 5, 6, 7, 7]),
        answer(b'S', b"application_name\0pglens/ann: psql\0"),
        answer(b'T', &column(20009)),
        answer(b'T', &column(17000)),
    ];
    assert_eq!(normal(&direct, 20000), normal(&proxied, 20000));
    let other = [answer(b'T', &column(17001))];
    assert_ne!(normal(&direct[3..], 20000), normal(&other, 20000));
}
