//! Text from outside, made storable: PostgreSQL's `text` cannot hold NUL, and every field has a bound.

use std::borrow::Cow;

use bytes::Bytes;
use bytestring::ByteString;
use pglens_rpc::convert::InvalidField;

/// Stands for NUL, visibly: the symbol for it.
const NUL_SYMBOL: &str = "\u{2400}";

/// The text in `bytes`, with each NUL replaced by its symbol. It stays where it is unless it has one.
///
/// # Errors
/// When it is not UTF-8, with the name of the field.
pub fn storable(field: &'static str, bytes: Bytes) -> Result<ByteString, InvalidField> {
    word(field, bytes, usize::MAX)
}

/// At most `max_bytes` of `text`, storable, ending in `…` when it was cut.
#[must_use]
pub fn bounded(text: &str, max_bytes: usize) -> Cow<'_, str> {
    if text.len() <= max_bytes && !text.contains('\0') {
        return Cow::Borrowed(text);
    }
    if text.len() <= max_bytes {
        return Cow::Owned(text.replace('\0', NUL_SYMBOL));
    }
    let cut = text.floor_char_boundary(max_bytes);
    let kept = text.get(..cut).unwrap_or_default();
    Cow::Owned(format!("{}…", kept.replace('\0', NUL_SYMBOL)))
}

/// As [`storable`], and at most `max_bytes` of it, as [`bounded`] does it.
///
/// # Errors
/// As [`storable`].
pub fn word(
    field: &'static str,
    bytes: Bytes,
    max_bytes: usize,
) -> Result<ByteString, InvalidField> {
    let text = ByteString::try_from(bytes).map_err(|_| InvalidField::new(field, "is not UTF-8"))?;
    match bounded(&text, max_bytes) {
        Cow::Borrowed(_) => Ok(text),
        Cow::Owned(changed) => Ok(changed.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_visibly() {
        assert_eq!(storable("sql", "a\0b".into()).unwrap(), "a␀b");
        assert_eq!(bounded("a\0b", 10), "a␀b");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(bounded("häuser", 2), "h…");
        assert_eq!(bounded("häuser", 3), "hä…");
        assert_eq!(bounded("haus", 4), "haus");
        assert_eq!(word("kind", "häuser".into(), 3).unwrap(), "hä…");
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let refused = word("kind", Bytes::from_static(b"a\xff"), 9).unwrap_err();
        assert_eq!(refused.to_string(), "field kind: is not UTF-8");
    }
}
