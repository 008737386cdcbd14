//! A `Bind` that is too large to be held: what stands before its values at once, the values piece by piece.

use super::lists::Formats;
use crate::fields::{Fields, MalformedMessage};

const MESSAGE: &str = "Bind";
const LENGTH_BYTES: usize = 4;

/// What stands before the values of a `Bind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindHead<'a> {
    /// Name of the portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the prepared statement.
    pub statement: &'a [u8],
    /// Formats of the values.
    pub parameter_formats: Formats<'a>,
    /// How many values follow.
    pub parameter_count: u16,
    /// Where in the payload they begin.
    pub bytes: usize,
}

impl<'a> BindHead<'a> {
    /// Reads the beginning of a payload.
    ///
    /// # Errors
    /// When it is malformed, or the first value begins later.
    pub fn decode(prefix: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new(MESSAGE, prefix);
        let (portal, statement) = (fields.cstr()?, fields.cstr()?);
        let parameter_formats = Formats::read(&mut fields)?;
        let parameter_count = fields.u16()?;
        Ok(Self {
            portal,
            statement,
            parameter_formats,
            parameter_count,
            bytes: prefix.len() - fields.rest().len(),
        })
    }
}

/// A piece of the payload behind [`BindHead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindPiece<'a> {
    /// The next value begins and has so many bytes; `None` is NULL.
    Value(Option<usize>),
    /// Bytes of the value that began last.
    Bytes(&'a [u8]),
    /// Bytes behind the last value: the formats of the result.
    Behind(&'a [u8]),
}

/// The place in the values of a `Bind`.
#[derive(Debug, Clone)]
pub struct BindValues {
    /// Values that have not begun.
    left: u16,
    /// Bytes of the value in progress that have not come.
    value_left: usize,
    /// A length of which not all bytes have come.
    length: [u8; LENGTH_BYTES],
    length_bytes: usize,
}

impl BindValues {
    /// Before the first of `count` values.
    #[must_use]
    pub fn new(count: u16) -> Self {
        Self {
            left: count,
            value_left: 0,
            length: [0; LENGTH_BYTES],
            length_bytes: 0,
        }
    }

    /// Whether all values have come to their end.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.left == 0 && self.value_left == 0
    }

    /// Takes the next piece off the front of `bytes`; `None` when more bytes are needed.
    ///
    /// # Errors
    /// When a length is impossible.
    pub fn next<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<BindPiece<'a>>, MalformedMessage> {
        if bytes.is_empty() {
            return Ok(None);
        }
        if self.is_complete() {
            return Ok(Some(BindPiece::Behind(std::mem::take(bytes))));
        }
        if self.value_left > 0 {
            let count = self.value_left.min(bytes.len());
            let (piece, rest) = bytes.split_at(count);
            *bytes = rest;
            self.value_left -= count;
            return Ok(Some(BindPiece::Bytes(piece)));
        }
        while self.length_bytes < LENGTH_BYTES {
            let Some((byte, rest)) = bytes.split_first() else {
                return Ok(None);
            };
            *bytes = rest;
            if let Some(place) = self.length.get_mut(self.length_bytes) {
                *place = *byte;
            }
            self.length_bytes += 1;
        }
        self.length_bytes = 0;
        self.left -= 1;
        match i32::from_be_bytes(self.length) {
            -1 => Ok(Some(BindPiece::Value(None))),
            length => {
                let length = usize::try_from(length).map_err(|_| MalformedMessage {
                    message: MESSAGE,
                    reason: "a value has a negative length",
                })?;
                self.value_left = length;
                Ok(Some(BindPiece::Value(Some(length))))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::Bind;
    use proptest::prelude::*;

    fn payload(formats: &[u16], values: &[Option<Vec<u8>>], results: &[u16]) -> Vec<u8> {
        let mut out = b"portal\0statement\0".to_vec();
        let list = |out: &mut Vec<u8>, list: &[u16]| {
            out.extend(u16::try_from(list.len()).unwrap().to_be_bytes());
            out.extend(list.iter().flat_map(|one| one.to_be_bytes()));
        };
        list(&mut out, formats);
        out.extend(u16::try_from(values.len()).unwrap().to_be_bytes());
        for value in values {
            let length = value
                .as_ref()
                .map_or(-1, |value| i32::try_from(value.len()).unwrap());
            out.extend(length.to_be_bytes());
            out.extend(value.iter().flatten());
        }
        list(&mut out, results);
        out
    }

    type Read = (Vec<Option<Vec<u8>>>, Vec<u8>);

    fn read(values: &mut BindValues, payload: &[u8], sizes: &[usize]) -> Option<Read> {
        let (mut read, mut behind) = (Vec::new(), Vec::new());
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = payload;
        while !rest.is_empty() {
            let (mut chunk, behind_chunk) = rest.split_at(sizes.next()?.min(rest.len()));
            rest = behind_chunk;
            while let Some(piece) = values.next(&mut chunk).ok()? {
                match piece {
                    BindPiece::Value(length) => read.push(length.map(Vec::with_capacity)),
                    BindPiece::Bytes(bytes) => read.last_mut()?.as_mut()?.extend(bytes),
                    BindPiece::Behind(bytes) => behind.extend(bytes),
                }
            }
        }
        Some((read, behind))
    }

    proptest! {
        #[test]
        fn pieces_make_up_what_the_whole_message_says(
            formats in prop::collection::vec(0..2_u16, 0..4),
            values in prop::collection::vec(prop::option::of(prop::collection::vec(any::<u8>(), 0..40)), 0..6),
            results in prop::collection::vec(0..2_u16, 0..4),
            sizes in prop::collection::vec(1..30_usize, 1..8),
        ) {
            let payload = payload(&formats, &values, &results);
            let whole = Bind::decode(&payload).unwrap();
            let head = BindHead::decode(&payload).unwrap();
            prop_assert_eq!((head.portal, head.statement), (whole.portal, whole.statement));
            prop_assert_eq!(&head.parameter_formats, &whole.parameter_formats);
            let mut place = BindValues::new(head.parameter_count);
            let (read, behind) = read(&mut place, &payload[head.bytes..], &sizes).unwrap();
            prop_assert!(place.is_complete());
            prop_assert_eq!(read, values);
            prop_assert!(Formats::decode(&behind).unwrap().iter().eq(results));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise_than_with_an_error(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            count in 0..5_u16,
        ) {
            let _head = BindHead::decode(&bytes);
            let _read = read(&mut BindValues::new(count), &bytes, &[3]);
        }
    }

    #[test]
    fn a_negative_length_is_an_error_and_a_missing_value_is_seen() {
        let mut values = BindValues::new(1);
        assert!(values.next(&mut &(-2_i32).to_be_bytes()[..]).is_err());
        let mut values = BindValues::new(2);
        let mut bytes = &[0, 0, 0, 1, b'x', 0][..];
        while values.next(&mut bytes).unwrap().is_some() {}
        assert!(!values.is_complete());
    }
}
