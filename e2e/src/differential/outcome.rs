//! What the record must hold, told from the server's answers alone.

use super::peer::Answer;

/// How a statement ended: its tag or SQLSTATE, and the rows it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Empty unless it completed; of a part of a portal and of a function call it is empty as well.
    pub tag: String,
    /// Empty unless it failed.
    pub sqlstate: String,
    /// Rows, or lines of COPY data, that came back; nothing for COPY FROM STDIN.
    pub rows: Option<i64>,
}

/// One outcome for each statement that the answers tell the end of, in order: `CommandComplete`, `ErrorResponse`,
/// `PortalSuspended`, `EmptyQueryResponse`, `FunctionCallResponse`.
pub fn outcomes(answers: &[Answer]) -> Vec<Outcome> {
    let mut found = Vec::new();
    let (mut rows, mut is_copy_in) = (0, false);
    for answer in answers {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let outcome = |tag, sqlstate, rows| Outcome {
            tag,
            sqlstate,
            rows: (!is_copy_in).then_some(rows),
        };
        match answer.tag {
            b'D' | b'd' => {
                rows += 1;
                continue;
            }
            b'G' => {
                is_copy_in = true;
                continue;
            }
            b'C' => {
                let tag = answer.payload.strip_suffix(&[0]).unwrap_or_default();
                found.push(outcome(text(tag), String::new(), rows));
            }
            b'E' => {
                let fields = answer.payload.split(|byte| *byte == 0);
                let state = fields
                    .into_iter()
                    .find_map(|field| field.strip_prefix(b"C"));
                found.push(outcome(
                    String::new(),
                    text(state.unwrap_or_default()),
                    rows,
                ));
            }
            b's' | b'I' | b'V' => found.push(outcome(String::new(), String::new(), rows)),
            _ => continue,
        }
        (rows, is_copy_in) = (0, false);
    }
    found
}
