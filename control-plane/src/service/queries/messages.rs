//! Captured rows as they are kept: `DataRow` and `CopyData` messages, one behind the other (PostgreSQL manual, "Message
//! Formats").

use pglens_wire::value::Format;

use crate::error::ServiceError;

/// The type of text, for lines of COPY and for what has no description.
pub(super) const TEXT_OID: u32 = 25;

pub(super) const DATA_ROW: u8 = b'D';
pub(super) const COPY_DATA: u8 = b'd';

/// Type and format of each column.
pub(super) struct RowFormat(pub(super) Vec<(u32, Format)>);

impl RowFormat {
    /// Without a description of the column, its text is shown.
    pub(super) fn of_column(&self, index: usize) -> (u32, Format) {
        self.0
            .get(index)
            .copied()
            .unwrap_or((TEXT_OID, Format::Text))
    }
}

pub(super) fn malformed() -> ServiceError {
    ServiceError::internal("a chunk of captured rows is not a sequence of row messages")
}

/// The first message of `bytes`: its type, its body, and what is behind it.
pub(super) fn split_message(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (length, _) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (message, behind) = rest.split_at_checked(length)?;
    Some((tag, message.get(4..)?, behind))
}

/// The values of a `DataRow`; `None` when it is not one.
pub(super) fn values(body: &[u8]) -> Option<Vec<Option<&[u8]>>> {
    let (count, mut rest) = body.split_first_chunk::<2>()?;
    // The count is not believed: a row of nothing but NULLs has four bytes for each.
    let count = usize::from(u16::from_be_bytes(*count));
    let mut values = Vec::with_capacity(count.min(rest.len() / 4));
    for _ in 0..count {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let (value, behind) = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, behind) = behind.split_at_checked(length)?;
                (Some(value), behind)
            }
            Err(_null) => (None, behind),
        };
        values.push(value);
        rest = behind;
    }
    rest.is_empty().then_some(values)
}

/// A message of COPY without the end of its line.
pub(super) fn line_of(body: &[u8]) -> &[u8] {
    body.strip_suffix(b"\n").unwrap_or(body)
}
