//! Blocks of captured rows: the small results of many statements in one sealed value, so that storage keeps one row for
//! a batch and not one for each statement. Pure.
//!
//! A block is a sequence of `query id (16) | chunk (4) | first row (8) | row count (4) | length (4) | data`, numbers in
//! network order. A statement whose record came whole in one batch may have its rows in one; it names the block. The
//! statement's id stands in the sealed part, so a statement that is made to name another's block finds nothing there.

use pglens_core::QueryId;
use uuid::Uuid;

use super::record::RowChunk;

/// Largest part of a statement in a block; more has chunks of its own, which compress well by themselves.
pub const MAX_PACKED_BYTES: usize = 16 * 1024;
/// A block is closed when it has this size: who reads one statement's rows opens the whole block.
pub const BLOCK_TARGET_BYTES: usize = 256 * 1024;

const HEADER_BYTES: usize = 16 + 4 + 8 + 4 + 4;

/// Consecutive rows of a statement, as they were on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlainChunk {
    /// Counts the chunks from 0.
    pub chunk: i32,
    /// Number of its first row, from 0.
    pub first_row: i64,
    /// Rows in it.
    pub row_count: i32,
    /// Wire messages.
    pub data: Vec<u8>,
}

/// A block holds something else than chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a block of rows is malformed")]
pub struct MalformedBlock;

/// Adds a chunk to a block.
pub fn pack(block: &mut Vec<u8>, chunk: &RowChunk) {
    // Chunks above MAX_PACKED_BYTES are not packed.
    let length = u32::try_from(chunk.data.len()).unwrap_or(u32::MAX);
    block.reserve(HEADER_BYTES + chunk.data.len());
    block.extend_from_slice(chunk.id.0.as_bytes());
    block.extend_from_slice(&chunk.chunk.to_be_bytes());
    block.extend_from_slice(&chunk.first_row.to_be_bytes());
    block.extend_from_slice(&chunk.row_count.to_be_bytes());
    block.extend_from_slice(&length.to_be_bytes());
    block.extend_from_slice(&chunk.data);
}

/// The chunks of one statement in a block, in order.
///
/// # Errors
/// When the block is not what [`pack`] makes.
pub fn unpack(block: &[u8], id: QueryId) -> Result<Vec<PlainChunk>, MalformedBlock> {
    let mut chunks = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let (query_id, behind) = rest.split_first_chunk::<16>().ok_or(MalformedBlock)?;
        let (chunk, behind) = behind.split_first_chunk().ok_or(MalformedBlock)?;
        let (first_row, behind) = behind.split_first_chunk().ok_or(MalformedBlock)?;
        let (row_count, behind) = behind.split_first_chunk().ok_or(MalformedBlock)?;
        let (length, behind) = behind.split_first_chunk().ok_or(MalformedBlock)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| MalformedBlock)?;
        let (data, behind) = behind.split_at_checked(length).ok_or(MalformedBlock)?;
        if Uuid::from_bytes(*query_id) == id.0 {
            chunks.push(PlainChunk {
                chunk: i32::from_be_bytes(*chunk),
                first_row: i64::from_be_bytes(*first_row),
                row_count: i32::from_be_bytes(*row_count),
                data: data.to_vec(),
            });
        }
        rest = behind;
    }
    chunks.sort_by_key(|chunk| chunk.chunk);
    Ok(chunks)
}

/// An id for a block with rows of the statement `id`: of the same moment, so that both are of one day.
#[must_use]
pub fn block_id(id: QueryId) -> Uuid {
    let unix_ms = u64::try_from(id.0.as_u128() >> 80).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(unix_ms, &rand::random()).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pglens_core::SessionId;

    fn chunk(id: QueryId, number: i32, data: &'static [u8]) -> RowChunk {
        RowChunk {
            record: 1,
            id,
            session_id: SessionId(Uuid::now_v7()),
            chunk: number,
            first_row: i64::from(number) * 10,
            row_count: 10,
            data: data.into(),
        }
    }

    #[test]
    fn a_statement_finds_its_own_chunks_in_order() {
        let [one, other, absent] = [(); 3].map(|()| QueryId(Uuid::now_v7()));
        let mut block = Vec::new();
        for chunk in [
            chunk(one, 1, b"second"),
            chunk(other, 0, b"x"),
            chunk(one, 0, b"first"),
        ] {
            pack(&mut block, &chunk);
        }
        let found = unpack(&block, one).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].data, b"first");
        assert_eq!((found[1].first_row, found[1].row_count), (10, 10));
        assert_eq!(unpack(&block, absent).unwrap(), []);
        for cut in 1..block.len() {
            // A cut between two chunks is whole; sealing is what notices that.
            let _never_panics = unpack(&block[..cut], one);
        }
        assert_eq!(unpack(&block[..block.len() - 1], one), Err(MalformedBlock));
    }

    #[test]
    fn a_block_is_of_its_statements_day() {
        let id = QueryId(Uuid::now_v7());
        let block = block_id(id);
        assert_eq!(block.as_u128() >> 80, id.0.as_u128() >> 80);
        assert_eq!(block.get_version_num(), 7);
        assert_ne!(block, block_id(id));
    }
}
