//! The digest of a result, made while it passes.

/// The hash works on several kilobytes at once, if it is given so many and has been given none but whole pieces before.
const PIECE_BYTES: usize = 16 * 1024;

/// BLAKE3 of everything it is given, in order.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    state: Option<Box<State>>,
    only: Option<[u8; 32]>,
}

#[derive(Debug, Default)]
struct State {
    hasher: blake3::Hasher,
    /// Less than a piece.
    staged: Vec<u8>,
}

impl Digest {
    /// Takes all there is, if nothing came before; nothing may come after. It costs a small result no memory.
    pub(crate) fn update_last(&mut self, bytes: &[u8]) {
        match self.state {
            None => self.only = Some(*blake3::hash(bytes).as_bytes()),
            Some(_) => self.update(bytes),
        }
    }

    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        let State { hasher, staged } = &mut **self.state.get_or_insert_default();
        if !staged.is_empty() {
            let missing = bytes.len().min(PIECE_BYTES - staged.len());
            let (now, later) = bytes.split_at(missing);
            staged.extend_from_slice(now);
            bytes = later;
            if staged.len() < PIECE_BYTES {
                return;
            }
            hasher.update(staged);
            staged.clear();
        }
        let (pieces, rest) = bytes.split_at(bytes.len() - bytes.len() % PIECE_BYTES);
        hasher.update(pieces);
        staged.extend_from_slice(rest);
    }

    /// Nothing came yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.state.is_none() && self.only.is_none()
    }

    /// `None` when there was nothing.
    pub(crate) fn value(&self) -> Option<[u8; 32]> {
        let of_several = self.state.as_ref().map(|state| state.value());
        of_several.or(self.only)
    }
}

impl State {
    /// Not inlined: the copy of the hasher is two kilobytes of stack, which most statements have no use for.
    #[inline(never)]
    fn value(&self) -> [u8; 32] {
        let mut hasher = self.hasher.clone();
        *hasher.update(&self.staged).finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_that_of_all_bytes_however_they_come(
            sizes in prop::collection::vec(0..3 * PIECE_BYTES, 1..8),
        ) {
            let bytes: Vec<u8> = (0..=250).cycle().take(sizes.iter().sum()).collect();
            let (mut digest, mut rest) = (Digest::default(), bytes.as_slice());
            for size in sizes {
                let (now, later) = rest.split_at(size);
                digest.update(now);
                rest = later;
            }
            prop_assert_eq!(digest.value(), Some(*blake3::hash(&bytes).as_bytes()));
        }
    }

    #[test]
    fn nothing_has_none_and_one_piece_needs_no_state() {
        assert_eq!(Digest::default().value(), None);
        let mut digest = Digest::default();
        digest.update_last(b"abc");
        assert!(digest.state.is_none());
        assert_eq!(digest.value(), Some(*blake3::hash(b"abc").as_bytes()));
        let mut digest = Digest::default();
        digest.update(b"ab");
        digest.update_last(b"c");
        assert_eq!(digest.value(), Some(*blake3::hash(b"abc").as_bytes()));
    }
}
