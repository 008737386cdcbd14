//! What the record must hold, told from the server's answers alone.

use super::peer::Answer;

/// How a statement ended: its tag or SQLSTATE, and the rows it gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Empty unless it completed; of a part of a portal and of a function call it is empty as well.
    pub tag: String,
    /// Empty unless it failed.
    pub sqlstate: String,
    /// Rows that came back or, of a COPY in either direction, as many as its tag says.
    pub rows: i64,
}

/// One outcome for each statement that the answers tell the end of, in order: `CommandComplete`, `ErrorResponse`,
/// `PortalSuspended`, `EmptyQueryResponse`, `FunctionCallResponse`.
pub fn outcomes(answers: &[Answer]) -> Vec<Outcome> {
    let mut found = Vec::new();
    let (mut rows, mut is_copy) = (0, false);
    for answer in answers {
        let text = |field: &[u8]| String::from_utf8_lossy(field).into_owned();
        let outcome = |tag, sqlstate, rows| Outcome {
            tag,
            sqlstate,
            rows,
        };
        match answer.tag {
            b'D' | b'd' => {
                rows += 1;
                continue;
            }
            b'G' | b'H' => {
                is_copy = true;
                continue;
            }
            b'C' => {
                let tag = text(answer.payload.strip_suffix(&[0]).unwrap_or_default());
                let copied = tag.strip_prefix("COPY ").filter(|_| is_copy);
                let copied = copied.and_then(|count| count.parse().ok());
                found.push(outcome(tag, String::new(), copied.unwrap_or(rows)));
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
        (rows, is_copy) = (0, false);
    }
    found
}
