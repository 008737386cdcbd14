//! Fields and messages of protobuf (Encoding, "Message Structure"), appended to a buffer.

use uuid::Uuid;

pub(super) const VARINT: u32 = 0;
pub(super) const BYTES: u32 = 2;
/// Bytes of a length that is filled in afterwards; enough for 256 MiB, and no record is near that.
pub(super) const LENGTH_BYTES: usize = 4;
/// Longest varint.
const MAX_VARINT_BYTES: usize = 10;
/// Smaller numbers take one byte.
const ONE_BYTE: u64 = 0x80;
const ID_BYTES: usize = 16;

/// Fields of a few bytes each, gathered where there is room for all of them and appended at once: to append is to ask for
/// room and to call the copying of any number of bytes, and most fields are shorter than that takes.
///
/// It has room for `N` bytes; what would not fit is a mistake of the caller and left out, which its tests see.
pub(super) struct Gathered<const N: usize> {
    bytes: [u8; N],
    count: usize,
}

impl<const N: usize> Gathered<N> {
    #[inline]
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; N],
            count: 0,
        }
    }

    #[inline]
    fn put<const M: usize>(&mut self, bytes: [u8; M]) {
        let place = self.bytes.get_mut(self.count..);
        let place = place.and_then(<[u8]>::first_chunk_mut);
        debug_assert!(place.is_some(), "the fields have more bytes than was said");
        if let Some(place) = place {
            *place = bytes;
            self.count += M;
        }
    }

    #[inline]
    fn varint(&mut self, mut value: u64) {
        if value < ONE_BYTE {
            return self.put([low_bits(value)]);
        }
        if let Some((bytes, count)) = spread(value)
            && self.count + bytes.len() <= N
        {
            self.put(bytes);
            self.count -= bytes.len() - count;
            return;
        }
        while value >= ONE_BYTE {
            self.put([low_bits(value) | 0x80]);
            value >>= 7;
        }
        self.put([low_bits(value)]);
    }

    /// A number; 0 is what a reader assumes without it.
    #[inline]
    pub(super) fn number(&mut self, field: u32, value: u64) {
        if value != 0 {
            self.present_number(field, value);
        }
    }

    #[inline]
    pub(super) fn present_number(&mut self, field: u32, value: u64) {
        self.varint(key(field, VARINT));
        self.varint(value);
    }

    /// `M` bytes, fewer than 128.
    #[inline]
    pub(super) fn fixed<const M: usize>(&mut self, field: u32, bytes: [u8; M]) {
        self.varint(key(field, BYTES));
        self.put([low_bits(M as u64)]);
        self.put(bytes);
    }

    #[inline]
    pub(super) fn id(&mut self, field: u32, id: Uuid) {
        self.fixed::<ID_BYTES>(field, id.into_bytes());
    }

    #[inline]
    pub(super) fn append_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.bytes.get(..self.count).unwrap_or_default());
    }
}

#[inline]
fn low_bits(value: u64) -> u8 {
    u8::try_from(value & 0x7f).unwrap_or_default()
}

/// The varint of a number of up to 56 bits, in the first of eight bytes: its sevens of bits are moved to a byte each, and
/// all but the last get their sign of more, at once.
#[inline]
fn spread(value: u64) -> Option<([u8; 8], usize)> {
    const MORE: u64 = 0x8080_8080_8080_8080;
    if value >> 56 != 0 {
        return None;
    }
    let halves = (value & 0x00ff_ffff_f000_0000) << 4 | value & 0x0fff_ffff;
    let quarters = (halves & 0x0fff_c000_0fff_c000) << 2 | halves & 0x0000_3fff_0000_3fff;
    let bytes = (quarters & 0x3f80_3f80_3f80_3f80) << 1 | quarters & 0x007f_007f_007f_007f;
    let last = bytes.checked_ilog2().unwrap_or_default() / 8;
    let more = MORE & ((1 << (8 * last)) - 1);
    Some(((bytes | more).to_le_bytes(), last as usize + 1))
}

#[inline]
pub(super) fn key(field: u32, wire_type: u32) -> u64 {
    u64::from(field << 3 | wire_type)
}

/// Appends a number; 0 is what a reader assumes without it.
#[inline]
pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        present_number(out, field, value);
    }
}

#[inline]
pub(crate) fn present_number(out: &mut Vec<u8>, field: u32, value: u64) {
    let mut gathered = Gathered::<{ 2 * MAX_VARINT_BYTES }>::new();
    gathered.present_number(field, value);
    gathered.append_to(out);
}

#[inline]
pub(crate) fn signed(out: &mut Vec<u8>, field: u32, value: i64) {
    number(out, field, value.cast_unsigned());
}

/// Appends a text or bytes; the empty ones are what a reader assumes without it.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        present_bytes(out, field, value);
    }
}

#[inline]
pub(crate) fn present_bytes(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    let key = key(field, BYTES);
    match (u8::try_from(key), u8::try_from(value.len())) {
        (Ok(key @ 0..0x80), Ok(length @ 0..0x80)) => out.extend_from_slice(&[key, length]),
        _ => {
            let mut gathered = Gathered::<{ 2 * MAX_VARINT_BYTES }>::new();
            gathered.varint(key);
            gathered.varint(value.len() as u64);
            gathered.append_to(out);
        }
    }
    out.extend_from_slice(value);
}

/// Appends a message whose length is known afterwards.
#[inline]
pub(crate) fn message(out: &mut Vec<u8>, field: u32, content: impl FnOnce(&mut Vec<u8>)) {
    let head = message_head(field);
    out.extend_from_slice(&head);
    let content_at = out.len();
    content(out);
    set_length(out, content_at);
}

/// The same of a message in a message, and of nothing else in it.
#[inline]
pub(super) fn message_in_message(
    out: &mut Vec<u8>,
    (outer, inner): (u32, u32),
    content: impl FnOnce(&mut Vec<u8>),
) {
    let [outer, inner] = [outer, inner].map(message_head);
    out.extend_from_slice([outer, inner].as_flattened());
    let content_at = out.len();
    content(out);
    set_length(out, content_at - inner.len());
    set_length(out, content_at);
}

/// The key of a message, which has one byte, and the place of its length.
#[inline]
fn message_head(field: u32) -> [u8; 1 + LENGTH_BYTES] {
    debug_assert!(key(field, BYTES) < ONE_BYTE, "the key has one byte");
    let [a, b, c, d] = [0; LENGTH_BYTES];
    [low_bits(key(field, BYTES)), a, b, c, d]
}

/// Fills in the length of a message whose content begins at `content_at` and goes on to the end.
#[inline]
fn set_length(out: &mut [u8], content_at: usize) {
    let length = padded_length(out.len() - content_at);
    let place = out.get_mut(content_at - LENGTH_BYTES..content_at);
    if let Some(place) = place.and_then(<[u8]>::first_chunk_mut) {
        *place = length;
    }
}

/// A length in as many bytes as are set aside for it.
#[inline]
fn padded_length(length: usize) -> [u8; LENGTH_BYTES] {
    let length = length as u64;
    [
        low_bits(length) | 0x80,
        low_bits(length >> 7) | 0x80,
        low_bits(length >> 14) | 0x80,
        low_bits(length >> 21),
    ]
}
