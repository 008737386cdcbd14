//! The parameters of a statement, as they stand in its record.

use std::cell::RefCell;

use smallvec::SmallVec;

use super::encode;

/// `StatementStarted.parameters`.
const FIELD: u32 = 6;
/// A buffer that one set of large values has grown beyond this is given back.
const MAX_SCRATCH_BYTES: usize = 64 * 1024;

/// What needs no memory of its own: two or three numbers, or a short text.
const INLINE_BYTES: usize = 48;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Encoded once, when they are bound: the same values are recorded each time their portal runs.
#[derive(Debug, Default)]
pub(crate) struct Parameters {
    fields: SmallVec<[u8; INLINE_BYTES]>,
}

/// One parameter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Parameter<'a> {
    pub(crate) type_oid: u32,
    pub(crate) format: u16,
    /// `None` is NULL.
    pub(crate) value: Option<&'a [u8]>,
    /// Bytes and digest of a value of which only the beginning is kept.
    pub(crate) whole: Option<(u64, [u8; 32])>,
}

impl Parameters {
    pub(crate) fn new<'a>(parameters: impl Iterator<Item = Parameter<'a>>) -> Self {
        let mut scratch = SCRATCH.take();
        for parameter in parameters {
            encode::message(&mut scratch, FIELD, |out| put(out, &parameter));
        }
        let fields = SmallVec::from_slice(&scratch);
        scratch.clear();
        if scratch.capacity() <= MAX_SCRATCH_BYTES {
            SCRATCH.set(scratch);
        }
        Self { fields }
    }

    /// The fields, as they stand in the record.
    pub(crate) fn fields(&self) -> &[u8] {
        &self.fields
    }
}

fn put(out: &mut Vec<u8>, parameter: &Parameter<'_>) {
    encode::number(out, 1, u64::from(parameter.type_oid));
    encode::number(out, 2, u64::from(parameter.format));
    if let Some(value) = parameter.value {
        encode::present_bytes(out, 3, value);
    }
    if let Some((value_bytes, digest)) = &parameter.whole {
        encode::present_number(out, 4, *value_bytes);
        encode::bytes(out, 5, digest);
    }
}
