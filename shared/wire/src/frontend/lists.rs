//! The counted lists of a message, read where they stand.

use crate::fields::{Fields, MalformedMessage};

const FORMAT_BYTES: usize = 2;

/// Format codes of values: none (all text), one for all, or one for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Formats<'a> {
    codes: &'a [u8],
}

impl<'a> Formats<'a> {
    pub(crate) fn read(fields: &mut Fields<'a>) -> Result<Self, MalformedMessage> {
        let count = usize::from(fields.u16()?);
        let codes = fields.bytes(count * FORMAT_BYTES)?;
        Ok(Self { codes })
    }

    /// Reads a counted list; `None` when `bytes` do not hold it to its end.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        Self::read(&mut Fields::new("Bind", bytes)).ok()
    }

    /// The codes in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let (codes, _rest) = self.codes.as_chunks::<FORMAT_BYTES>();
        codes.iter().copied().map(u16::from_be_bytes)
    }

    /// The format of value `index`.
    #[must_use]
    pub fn at(self, index: usize) -> u16 {
        let (codes, _rest) = self.codes.as_chunks::<FORMAT_BYTES>();
        let code = match codes {
            [all] => Some(all),
            each => each.get(index),
        };
        code.copied().map_or(0, u16::from_be_bytes)
    }
}

/// Values, each with its length; `None` is NULL.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Values<'a> {
    count: u16,
    bytes: &'a [u8],
}

impl<'a> Values<'a> {
    /// Reads a counted list and sees that all of it is there.
    pub(crate) fn read(fields: &mut Fields<'a>) -> Result<Self, MalformedMessage> {
        let count = fields.u16()?;
        let begin = fields.clone();
        for _ in 0..count {
            fields.value()?;
        }
        let bytes = begin.before(fields);
        Ok(Self { count, bytes })
    }

    /// The values in order.
    pub fn iter(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut fields = Fields::new("", self.bytes);
        // That no value is cut short was seen when the list was read.
        (0..self.count).map_while(move |_| fields.value().ok())
    }
}
