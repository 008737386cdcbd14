//! What a session was told last.

use std::sync::Arc;

use crate::cache::Judged;
use crate::pattern::Pattern;

/// The verdict that a session had last. Many send the same text again, or one that differs in constants: comparing the
/// two costs less than looking it up.
#[derive(Debug, Default)]
pub struct LastVerdict {
    kept: Option<Kept>,
}

#[derive(Debug)]
struct Kept {
    /// Of the rules.
    number: u64,
    judged: Arc<Judged>,
    /// Of a text that is the shape of others, of which two came in a row: sessions that go from one shape to another would
    /// have little use for it.
    pattern: Option<Pattern>,
}

impl LastVerdict {
    /// On a shape: another text had it just before if there is one.
    pub(crate) fn on_shape(&mut self, number: u64, shape: &[u8]) -> Option<Arc<Judged>> {
        let kept = self.kept.as_mut().filter(|kept| kept.number == number)?;
        if kept.judged.text.as_bytes() != shape {
            return None;
        }
        if kept.pattern.is_none() {
            kept.pattern = Pattern::of(&kept.judged.text);
        }
        Some(Arc::clone(&kept.judged))
    }

    /// On the text itself or another one of its shape.
    pub(crate) fn on_like(&self, number: u64, text: &[u8]) -> Option<Judged> {
        let kept = self.kept.as_ref().filter(|kept| kept.number == number)?;
        if kept.judged.text.as_bytes() == text {
            return Some(Judged::clone(&kept.judged));
        }
        let fits = kept.pattern.as_ref()?.fits(text);
        fits.then(|| of_shape(text, &kept.judged))?
    }

    pub(crate) fn keep(&mut self, number: u64, text: &[u8], judged: &Arc<Judged>) {
        // What is recorded of bytes that are no text is another text.
        let is_same = judged.text.as_bytes() == text;
        self.kept = is_same.then(|| Kept {
            number,
            judged: Arc::clone(judged),
            pattern: None,
        });
    }
}

/// The verdict on a text that has the shape which `known` is of, if that says enough.
pub(crate) fn of_shape(text: &[u8], known: &Judged) -> Option<Judged> {
    if known.analysis.parse.is_err() || known.analysis.statements.len() != 1 {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    Some(Judged {
        text: text.into(),
        analysis: Arc::clone(&known.analysis),
        verdict: known.verdict.clone(),
        longer_by: text.len() - known.text.len(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{reads, writes};
    use crate::cache::{Rules, VerdictCache};

    #[test]
    fn the_last_verdict_serves_its_own_text_and_rules_only() {
        let (cache, mut last) = (VerdictCache::new(), LastVerdict::default());
        let mut is_kept = |text: &str, rules: &Rules| {
            let judged = cache.judge_after(&mut last, text.as_bytes(), rules);
            assert_eq!(&*judged.text, text);
            let only = &judged.analysis.statements[0];
            let range = only.range.start..only.range.end + judged.longer_by;
            assert_eq!(&judged.text[range], text);
            let kept = last.kept.as_ref().unwrap();
            assert_eq!(kept.judged.verdict.is_ok(), judged.verdict.is_ok());
            Arc::clone(&kept.judged)
        };
        let reads = reads();
        let first = is_kept("DELETE FROM t WHERE a = 1", &writes());
        let again = is_kept("DELETE FROM t WHERE a = 22", &writes());
        assert!(first.verdict.is_ok() && Arc::ptr_eq(&first, &again));
        let refused = is_kept("DELETE FROM t WHERE a = 1", &reads);
        assert!(refused.verdict.is_err(), "by other rules");
        let other = is_kept("DELETE FROM t WHERE b = 1", &writes());
        assert!(!Arc::ptr_eq(&first, &other));
        let _ = cache.judge_after(&mut last, b"SELECT '\xff'", &reads);
        assert!(last.kept.is_none(), "as text it may be allowed");
    }

    #[test]
    fn two_texts_of_a_shape_in_a_row_make_a_pattern() {
        let (cache, mut last) = (VerdictCache::new(), LastVerdict::default());
        let mut has_pattern = |text: &str| {
            let judged = cache.judge_after(&mut last, text.as_bytes(), &writes());
            assert_eq!(&*judged.text, text);
            last.kept.as_ref().unwrap().pattern.is_some()
        };
        let texts = [
            "SELECT a",
            "SELECT 7",
            "SELECT 'x'",
            "SELECT 8",
            "SELECT 9",
            "SELECT 10",
        ];
        let expected = [false, false, false, false, true, true];
        assert_eq!(texts.map(&mut has_pattern), expected);
        assert!(!has_pattern("SELECT a"), "it was another shape's");
    }
}
