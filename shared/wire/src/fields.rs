//! Reads the fields of a message, never past its end, and writes messages with their length.

/// A message whose bytes do not have the form its type prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {message} message: {reason}")]
pub struct MalformedMessage {
    /// Name of the message in the PostgreSQL manual.
    pub message: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// A cursor over the payload of one message.
#[derive(Debug, Clone)]
pub(crate) struct Fields<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn new(message: &'static str, payload: &'a [u8]) -> Self {
        Self {
            message,
            rest: payload,
        }
    }

    pub(crate) fn malformed(&self, reason: &'static str) -> MalformedMessage {
        MalformedMessage {
            message: self.message,
            reason,
        }
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], MalformedMessage> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| self.malformed("a field runs past the end"))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], MalformedMessage> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed("a field runs past the end"))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, MalformedMessage> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, MalformedMessage> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, MalformedMessage> {
        self.array().map(i32::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, MalformedMessage> {
        self.array().map(u32::from_be_bytes)
    }

    /// A text up to its NUL, which is taken as well.
    pub(crate) fn cstr(&mut self) -> Result<&'a [u8], MalformedMessage> {
        // Most names are empty.
        if let Some((0, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(b"");
        }
        let end = memchr::memchr(0, self.rest)
            .ok_or_else(|| self.malformed("a text has no terminator"))?;
        let text = self.bytes(end)?;
        self.bytes(1)?;
        Ok(text)
    }

    /// A counted value; a length of -1 is NULL.
    pub(crate) fn value(&mut self) -> Result<Option<&'a [u8]>, MalformedMessage> {
        match self.i32()? {
            -1 => Ok(None),
            length => {
                let length = usize::try_from(length)
                    .map_err(|_| self.malformed("a value has a negative length"))?;
                self.bytes(length).map(Some)
            }
        }
    }

    /// What lies between this place and `later` in the same message.
    pub(crate) fn before(&self, later: &Self) -> &'a [u8] {
        let count = self.rest.len().saturating_sub(later.rest.len());
        self.rest.get(..count).unwrap_or_default()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn end(&self) -> Result<(), MalformedMessage> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.malformed("bytes are left over"))
        }
    }
}

/// Appends a message to `out`: its tag, its length, and whatever `body` appends.
pub(crate) fn put_message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    put_counted(out, body);
}

/// Appends a length that counts itself, and whatever `body` appends.
pub(crate) fn put_counted(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(field) = out.get_mut(start..start + 4) {
        field.copy_from_slice(&length.to_be_bytes());
    }
}

/// Appends a text with its NUL. A NUL inside would end the text early and is left out.
pub(crate) fn put_cstr(out: &mut Vec<u8>, text: &[u8]) {
    out.extend(text.iter().copied().filter(|byte| *byte != 0));
    out.push(0);
}

/// Appends a number of list entries; lists we make are short.
pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u16::try_from(count).unwrap_or(u16::MAX);
    out.extend_from_slice(&count.to_be_bytes());
}
