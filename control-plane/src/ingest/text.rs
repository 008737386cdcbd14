//! Text from outside, made storable: PostgreSQL's `text` cannot hold NUL, and every field has a bound.

use std::borrow::Cow;

/// Stands for NUL, visibly: the symbol for it.
const NUL_SYMBOL: &str = "\u{2400}";

/// `text` with each NUL replaced by its symbol.
#[must_use]
pub fn storable(text: String) -> String {
    if text.contains('\0') {
        text.replace('\0', NUL_SYMBOL)
    } else {
        text
    }
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

/// As [`bounded`], for text that is ours already: nothing is copied when it fits.
#[must_use]
pub fn word(text: String, max_bytes: usize) -> String {
    match bounded(&text, max_bytes) {
        Cow::Borrowed(_) => text,
        Cow::Owned(changed) => changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_is_replaced_visibly() {
        assert_eq!(storable("a\0b".to_owned()), "a␀b");
        assert_eq!(bounded("a\0b", 10), "a␀b");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(bounded("häuser", 2), "h…");
        assert_eq!(bounded("häuser", 3), "hä…");
        assert_eq!(bounded("haus", 4), "haus");
    }
}
