//! The `x=value,…` syntax of SCRAM messages (RFC 5802, section 7).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pglens_core::limits::MAX_PASSWORD_MESSAGE_BYTES;

use super::ScramError;

/// Checks length and encoding of a message before anything looks inside.
pub(super) fn message_text(data: &[u8]) -> Result<&str, ScramError> {
    if data.len() > MAX_PASSWORD_MESSAGE_BYTES {
        return Err(ScramError::MessageTooLong { bytes: data.len() });
    }
    let text = std::str::from_utf8(data).map_err(|_| ScramError::Malformed("not UTF-8"))?;
    if text.contains('\0') {
        return Err(ScramError::Malformed("contains a null byte"));
    }
    Ok(text)
}

/// Reads the attributes of a message in order.
pub(super) struct Attributes<'a> {
    /// What is unread; `None` once the last attribute has been taken.
    rest: Option<&'a str>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: Some(text) }
    }

    /// Takes the next attribute, which must be `name`.
    pub(super) fn take(
        &mut self,
        name: char,
        missing: &'static str,
    ) -> Result<&'a str, ScramError> {
        match self.next()? {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(ScramError::Malformed(missing)),
        }
    }

    /// Takes whatever attribute comes next.
    pub(super) fn next(&mut self) -> Result<Option<(char, &'a str)>, ScramError> {
        let Some(rest) = self.rest else {
            return Ok(None);
        };
        let (part, rest) = match rest.split_once(',') {
            Some((part, rest)) => (part, Some(rest)),
            None => (rest, None),
        };
        self.rest = rest;
        let mut chars = part.chars();
        match (chars.next(), chars.next()) {
            (Some(name), Some('=')) if name.is_ascii_alphabetic() => {
                Ok(Some((name, chars.as_str())))
            }
            _ => Err(ScramError::Malformed("expected an attribute")),
        }
    }

    /// Refuses anything after the last attribute that is known, where the grammar has no extensions.
    pub(super) fn end(self) -> Result<(), ScramError> {
        match self.rest {
            None => Ok(()),
            Some(_) => Err(ScramError::Malformed("trailing data")),
        }
    }
}

/// Whether `nonce` is made of `printable` characters: ASCII without space and comma.
pub(super) fn is_printable(nonce: &str) -> bool {
    !nonce.is_empty()
        && nonce
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b',')
}

pub(super) fn decode_base64(text: &str, what: &'static str) -> Result<Vec<u8>, ScramError> {
    STANDARD
        .decode(text)
        .map_err(|_| ScramError::Malformed(what))
}

pub(super) fn decode_key(text: &str, what: &'static str) -> Result<[u8; 32], ScramError> {
    decode_base64(text, what)?
        .try_into()
        .map_err(|_| ScramError::Malformed(what))
}

pub(super) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}
