//! Frames: a type byte, a length that counts itself, a payload.
//!
//! Nothing is assembled here. [`Header::peek`] looks at the head of a chunk, [`FrameScanner`] remembers how much of a
//! frame that was let through before its end is still to come. PostgreSQL manual, section "Message Flow".

use pglens_core::limits::MAX_MESSAGE_BYTES;

/// Bytes of type and length in front of every payload.
pub const HEADER_BYTES: usize = 5;

/// The length field counts its own four bytes.
const LENGTH_FIELD_BYTES: u32 = 4;

/// A header that cannot be one. Behind it the stream has no known frame boundary; close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length does not even count itself.
    #[error("message of type {tag:#04x} announces {length} bytes")]
    LengthTooSmall {
        /// Type of the message.
        tag: u8,
        /// The length field.
        length: u32,
    },
    /// The length is beyond what PostgreSQL itself can send or take.
    #[error("message of type {tag:#04x} announces {length} bytes, more than a message may have")]
    TooLarge {
        /// Type of the message.
        tag: u8,
        /// The length field.
        length: u32,
    },
}

/// Type and length of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    tag: u8,
    payload_bytes: usize,
}

impl Header {
    /// Reads the header at the start of `chunk`; `None` until all of it has arrived.
    ///
    /// # Errors
    /// When the length cannot be that of a message.
    pub fn peek(chunk: &[u8]) -> Result<Option<Self>, FrameError> {
        let Some((&[tag, a, b, c, d], _)) = chunk.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([a, b, c, d]);
        let payload = length
            .checked_sub(LENGTH_FIELD_BYTES)
            .ok_or(FrameError::LengthTooSmall { tag, length })?;
        match usize::try_from(payload) {
            Ok(payload_bytes) if payload_bytes <= MAX_MESSAGE_BYTES => {
                Ok(Some(Self { tag, payload_bytes }))
            }
            _ => Err(FrameError::TooLarge { tag, length }),
        }
    }

    /// The type of the message.
    #[must_use]
    pub fn tag(self) -> u8 {
        self.tag
    }

    /// Bytes behind the header.
    #[must_use]
    pub fn payload_bytes(self) -> usize {
        self.payload_bytes
    }

    /// Bytes of the whole message, header included.
    #[must_use]
    pub fn total_bytes(self) -> usize {
        HEADER_BYTES + self.payload_bytes
    }

    /// The payload of the message at the start of `chunk`, as far as it has arrived.
    #[must_use]
    pub fn payload(self, chunk: &[u8]) -> &[u8] {
        let end = chunk.len().min(self.total_bytes());
        chunk.get(HEADER_BYTES..end).unwrap_or_default()
    }
}

/// What lies at the start of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Not enough of a header; wait for more.
    Incomplete,
    /// A message begins here. Nothing of it has been taken.
    Frame(Header),
    /// This many bytes continue the message that was taken before its end.
    Rest(usize),
}

/// The place in a stream of frames: at a boundary, or so many bytes before the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FrameScanner {
    remaining: usize,
}

impl FrameScanner {
    /// At a boundary.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the bytes at the place are. Takes nothing.
    ///
    /// # Errors
    /// When a header is expected and cannot be one.
    pub fn look(&self, chunk: &[u8]) -> Result<Look, FrameError> {
        if self.remaining > 0 {
            return Ok(Look::Rest(self.remaining.min(chunk.len())));
        }
        Ok(Header::peek(chunk)?.map_or(Look::Incomplete, Look::Frame))
    }

    /// Takes the message `header` as far as it is among `available` bytes and returns how many that are.
    pub fn take_frame(&mut self, header: Header, available: usize) -> usize {
        self.remaining = header.total_bytes();
        self.take_rest(available)
    }

    /// Takes up to `available` bytes of the message in progress and returns how many that were.
    pub fn take_rest(&mut self, available: usize) -> usize {
        let taken = self.remaining.min(available);
        self.remaining -= taken;
        taken
    }

    /// Whether the place is between two messages.
    #[must_use]
    pub fn is_at_boundary(&self) -> bool {
        self.remaining == 0
    }

    /// Bytes of the message in progress that have not been taken.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.remaining
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read_when_they_are_whole() {
        assert_eq!(Header::peek(b"Z\0\0\0"), Ok(None));
        let header = Header::peek(b"Z\0\0\0\x05I").unwrap().unwrap();
        assert_eq!((header.tag(), header.payload_bytes()), (b'Z', 1));
        assert_eq!(header.payload(b"Z\0\0\0\x05Iabc"), b"I");
    }

    #[test]
    fn impossible_lengths_are_errors() {
        assert!(matches!(
            Header::peek(b"Q\0\0\0\x03"),
            Err(FrameError::LengthTooSmall { length: 3, .. })
        ));
        assert!(matches!(
            Header::peek(b"Q\x7f\xff\xff\xff"),
            Err(FrameError::TooLarge { tag: b'Q', .. })
        ));
    }

    /// Walks `stream` in chunks of the given sizes, each frame being let through as it comes.
    fn walk(stream: &[u8], sizes: &[usize]) -> Vec<(u8, usize)> {
        let mut scanner = FrameScanner::new();
        let (mut seen, mut buffer) = (Vec::new(), Vec::new());
        let mut sizes = sizes.iter().copied().cycle();
        let mut rest = stream;
        while !rest.is_empty() {
            let size = sizes.next().unwrap().min(rest.len());
            buffer.extend_from_slice(&rest[..size]);
            rest = &rest[size..];
            while !buffer.is_empty() {
                let taken = match scanner.look(&buffer).unwrap() {
                    Look::Incomplete => break,
                    Look::Frame(header) => {
                        seen.push((header.tag(), header.payload_bytes()));
                        scanner.take_frame(header, buffer.len())
                    }
                    Look::Rest(_) => scanner.take_rest(buffer.len()),
                };
                buffer.drain(..taken);
            }
        }
        assert!(scanner.is_at_boundary() && buffer.is_empty());
        seen
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(
            frames in prop::collection::vec((any::<u8>(), 0usize..300), 0..20),
            sizes in prop::collection::vec(1usize..50, 1..10),
        ) {
            let mut stream = Vec::new();
            for (tag, length) in &frames {
                crate::fields::put_message(&mut stream, *tag, |out| out.extend(vec![7; *length]));
            }
            prop_assert_eq!(walk(&stream, &sizes), frames);
        }
    }
}
