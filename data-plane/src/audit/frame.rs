//! One write to the spool: records that were made together, sealed together.
//!
//! A frame is a header in clear, which is authenticated, and the sealed content: the records as they are sent, then
//! notes that only this proxy reads. The run's key is used for this run alone, and the counter in the nonce is never
//! used twice, not even for a write that failed. A frame whose end is missing or does not open is the torn end of what
//! a process wrote before it died.

use pglens_core::{RunId, Secret};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

/// Bytes of a run's key.
#[cfg(test)]
pub(crate) const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
/// Of the header: sealed length, counter, first sequence, records, bytes that are sent.
pub(crate) const HEADER_BYTES: usize = 4 + 8 + 8 + 4 + 4;
/// No frame is larger; a header that says so is damaged.
const MAX_SEALED_BYTES: usize = 64 * 1024 * 1024;

/// What stands before the sealed content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) sealed_bytes: u32,
    pub(crate) counter: u64,
    /// Sequence number of its first record, or of the next one if it has none.
    pub(crate) first_sequence: u64,
    pub(crate) record_count: u32,
    /// The content up to here is sent; the notes follow.
    pub(crate) sent_bytes: u32,
}

impl Header {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        joined([
            &self.sealed_bytes.to_be_bytes(),
            &self.counter.to_be_bytes(),
            &self.first_sequence.to_be_bytes(),
            &self.record_count.to_be_bytes(),
            &self.sent_bytes.to_be_bytes(),
        ])
    }

    /// Reads a header; `None` when it cannot be one.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (sealed_bytes, rest) = bytes.split_first_chunk()?;
        let (counter, rest) = rest.split_first_chunk()?;
        let (first_sequence, rest) = rest.split_first_chunk()?;
        let (record_count, rest) = rest.split_first_chunk()?;
        let (sent_bytes, _rest) = rest.split_first_chunk()?;
        let header = Self {
            sealed_bytes: u32::from_be_bytes(*sealed_bytes),
            counter: u64::from_be_bytes(*counter),
            first_sequence: u64::from_be_bytes(*first_sequence),
            record_count: u32::from_be_bytes(*record_count),
            sent_bytes: u32::from_be_bytes(*sent_bytes),
        };
        let sealed = header.sealed_bytes();
        let is_possible = (TAG_BYTES..=MAX_SEALED_BYTES).contains(&sealed)
            && header.sent_bytes() <= sealed - TAG_BYTES
            && header.first_sequence > 0;
        is_possible.then_some(header)
    }

    pub(crate) fn sealed_bytes(&self) -> usize {
        usize::try_from(self.sealed_bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn sent_bytes(&self) -> usize {
        usize::try_from(self.sent_bytes).unwrap_or(usize::MAX)
    }

    pub(crate) fn last_sequence(&self) -> u64 {
        self.first_sequence
            .saturating_add(u64::from(self.record_count))
            .saturating_sub(1)
    }
}

/// Seals and opens the frames of one run.
pub(crate) struct FrameKey {
    key: LessSafeKey,
    run_id: RunId,
}

impl std::fmt::Debug for FrameKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameKey").finish_non_exhaustive()
    }
}

/// A key that is not one, or content that does not open.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the key of the run has the wrong length")]
    Key,
    #[error("a frame does not open with the key of its run")]
    Damaged,
    #[error("more than a frame can hold was to be written at once")]
    TooLarge,
}

impl FrameKey {
    pub(crate) fn new(run_id: RunId, key: &Secret<Vec<u8>>) -> Result<Self, FrameError> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| FrameError::Key)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            run_id,
        })
    }

    /// Replaces `out` by the frame with the content `sent` and `notes`.
    pub(crate) fn seal(
        &self,
        segment: u32,
        mut header: Header,
        (sent, notes): (&[u8], &[u8]),
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let too_large = |_| FrameError::TooLarge;
        let sealed = sent.len() + notes.len() + TAG_BYTES;
        if sealed > MAX_SEALED_BYTES {
            return Err(FrameError::TooLarge);
        }
        header.sealed_bytes = u32::try_from(sealed).map_err(too_large)?;
        header.sent_bytes = u32::try_from(sent.len()).map_err(too_large)?;
        let header_bytes = header.encode();
        out.clear();
        out.reserve_exact(HEADER_BYTES + sealed);
        out.extend_from_slice(&header_bytes);
        out.extend_from_slice(sent);
        out.extend_from_slice(notes);
        let content = out.get_mut(HEADER_BYTES..).ok_or(FrameError::TooLarge)?;
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(header.counter),
                self.associated(segment, &header_bytes),
                content,
            )
            .map_err(|_| FrameError::TooLarge)?;
        out.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// Opens sealed content in place and cuts it to the content.
    pub(crate) fn open(
        &self,
        segment: u32,
        header: Header,
        sealed: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        let content = self
            .key
            .open_in_place(
                nonce(header.counter),
                self.associated(segment, &header.encode()),
                sealed,
            )
            .map_err(|_| FrameError::Damaged)?
            .len();
        sealed.truncate(content);
        Ok(())
    }

    /// What binds a frame to its run and segment, and its header to it.
    fn associated(
        &self,
        segment: u32,
        header: &[u8; HEADER_BYTES],
    ) -> Aad<[u8; 16 + 4 + HEADER_BYTES]> {
        Aad::from(joined([
            self.run_id.0.as_bytes(),
            &segment.to_be_bytes(),
            header,
        ]))
    }
}

/// The parts one behind the other; they have `N` bytes together.
fn joined<const N: usize, const PARTS: usize>(parts: [&[u8]; PARTS]) -> [u8; N] {
    let mut bytes = [0; N];
    let mut at = 0;
    for part in parts {
        if let Some(place) = bytes.get_mut(at..at + part.len()) {
            place.copy_from_slice(part);
        }
        at += part.len();
    }
    bytes
}

fn nonce(counter: u64) -> Nonce {
    let mut nonce = [0; NONCE_LEN];
    if let Some(place) = nonce.last_chunk_mut() {
        *place = counter.to_be_bytes();
    }
    Nonce::assume_unique_for_key(nonce)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn key(byte: u8) -> FrameKey {
        let run_id = RunId(Uuid::from_u128(5));
        FrameKey::new(run_id, &Secret::new(vec![byte; KEY_BYTES])).unwrap()
    }

    fn sealed() -> Vec<u8> {
        let header = Header {
            sealed_bytes: 0,
            counter: 9,
            first_sequence: 1,
            record_count: 2,
            sent_bytes: 0,
        };
        let mut out = Vec::new();
        key(1)
            .seal(3, header, (b"records", b"notes"), &mut out)
            .unwrap();
        out
    }

    fn open(frame: &[u8], key: &FrameKey, segment: u32) -> Result<Vec<u8>, FrameError> {
        let header = Header::decode(frame).unwrap();
        let mut content = frame[HEADER_BYTES..].to_vec();
        key.open(segment, header, &mut content)?;
        Ok(content)
    }

    #[test]
    fn a_frame_opens_where_it_belongs_only() {
        let frame = sealed();
        let header = Header::decode(&frame).unwrap();
        assert_eq!((header.sent_bytes(), header.last_sequence()), (7, 2));
        assert!(!frame.windows(7).any(|bytes| bytes == b"records"));
        assert_eq!(open(&frame, &key(1), 3).unwrap(), b"recordsnotes");
        assert_eq!(open(&frame, &key(2), 3), Err(FrameError::Damaged));
        assert_eq!(open(&frame, &key(1), 4), Err(FrameError::Damaged));
        for place in [5, 13, 22, HEADER_BYTES, frame.len() - 1] {
            let mut changed = frame.clone();
            changed[place] ^= 1;
            assert_eq!(
                open(&changed, &key(1), 3),
                Err(FrameError::Damaged),
                "{place}"
            );
        }
    }

    #[test]
    fn what_is_no_header_is_not_read_as_one() {
        assert_eq!(Header::decode(&[0; HEADER_BYTES]), None);
        assert_eq!(Header::decode(&[255; HEADER_BYTES]), None);
        assert_eq!(Header::decode(&sealed()[..HEADER_BYTES - 1]), None);
    }
}
