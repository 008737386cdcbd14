//! Verdicts on texts seen before.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use equivalent::Equivalent;
use foldhash::quality::RandomState;
use moka::sync::Cache;
use pglens_core::ErrorCode;

use crate::analysis::{Analysis, analyze};
use crate::catalog::Catalog;
use crate::guard::ControlGuard;
use crate::last_verdict::{LastVerdict, of_shape};
use crate::refusal::Refusal;
use crate::shape::shape_of;

/// Memory the cached texts, analyses and verdicts may take, about: some ten thousand statements of an application.
const MAX_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Longest text that is kept: a longer one is rarely sent twice, and would push many short ones out.
const MAX_CACHED_TEXT_BYTES: usize = 64 * 1024;

/// What moka and the key take for an entry, about.
const ENTRY_BYTES: usize = 256;

/// By what a session's texts are judged.
#[derive(Debug, Clone)]
pub enum Rules {
    /// Of a read grant, with what is known of the target.
    Read(Arc<Catalog>, ControlGuard),
    /// Of a write grant.
    Write(ControlGuard),
}

/// A text with what is known of it and whether it may run.
#[derive(Debug, Clone)]
pub struct Judged {
    /// As it is recorded: bytes that are not UTF-8 are replaced.
    pub text: Arc<str>,
    /// What is in it.
    pub analysis: Arc<Analysis>,
    /// By the rules it was judged by.
    pub verdict: Result<(), Refusal>,
    /// The analysis is that of a text shorter by so many bytes, whose only statement is this one with shorter constants.
    pub longer_by: usize,
}

/// Keeps verdicts by text, compared byte for byte, and rules. Cheap to clone; clones share their contents.
///
/// A text seen before costs one lookup and no allocation.
#[derive(Clone)]
pub struct VerdictCache {
    judged: Cache<Key, Arc<Judged>, RandomState>,
}

/// The number of the rules, and the text.
#[derive(PartialEq, Eq, Hash)]
struct Key(u64, Box<[u8]>);

/// A key that owns nothing; hashes as [`Key`] does.
struct KeyRef<'a>(u64, &'a [u8]);

impl Hash for KeyRef<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.0 == key.0 && *self.1 == *key.1
    }
}

/// Judged by no rule: what all verdicts on a text share.
const NO_RULES: u64 = 4;

impl Rules {
    /// Rules of the same number give the same verdicts. Write grants have the numbers of the four sets of controls;
    /// read grants larger ones.
    fn number(&self) -> u64 {
        match self {
            Self::Write(controls) => controls.number(),
            Self::Read(catalog, controls) => catalog.generation() << 2 | controls.number(),
        }
    }

    fn check(&self, analysis: &Analysis, is_utf8: bool) -> Result<(), Refusal> {
        match self {
            Self::Read(catalog, controls) => {
                if !is_utf8 {
                    return Err(not_utf8(ErrorCode::ReadOnly));
                }
                catalog.check(analysis)?;
                controls.check(analysis)
            }
            Self::Write(controls) => {
                if !is_utf8 && *controls != ControlGuard::default() {
                    return Err(not_utf8(ErrorCode::StatementRefused));
                }
                controls.check(analysis)
            }
        }
    }
}

/// What the parser sees would not be what the server reads.
fn not_utf8(code: ErrorCode) -> Refusal {
    Refusal {
        rule: "guard.not_utf8",
        code,
        message: "statements must be valid UTF-8".to_owned(),
        detail: Some("This grant only allows statements that PgLens can read.".to_owned()),
        hint: Some("Use client_encoding UTF8.".to_owned()),
    }
}

impl VerdictCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        let weigher = |key: &Key, judged: &Arc<Judged>| {
            let bytes =
                ENTRY_BYTES + key.1.len() + judged.text.len() + judged.analysis.heap_bytes();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            judged: Cache::builder()
                .max_capacity(MAX_CACHE_BYTES)
                .weigher(weigher)
                .build_with_hasher(RandomState::default()),
        }
    }

    /// The verdict on the text of a message, made now if it is not kept.
    #[must_use]
    pub fn judge(&self, text: &[u8], rules: &Rules) -> Arc<Judged> {
        let judge = |text: &[u8]| self.judge_as_it_is(text, rules);
        match by_shape(text, |shape| Some(judge(shape))) {
            Some(judged) => Arc::new(judged),
            None => judge(text),
        }
    }

    /// The same, with a look at the `last` verdict of the session before.
    #[must_use]
    pub fn judge_after(&self, last: &mut LastVerdict, text: &[u8], rules: &Rules) -> Judged {
        let number = rules.number();
        if let Some(judged) = last.on_like(number, text) {
            return judged;
        }
        let judge = |last: &mut LastVerdict, text: &[u8]| {
            let judged = self.judge_as_it_is(text, rules);
            last.keep(number, text, &judged);
            judged
        };
        let by_shape = by_shape(text, |shape| {
            let known = last.on_shape(number, shape);
            Some(known.unwrap_or_else(|| judge(last, shape)))
        });
        by_shape.unwrap_or_else(|| Judged::clone(&judge(last, text)))
    }

    /// The verdict on the text of a message if it needs no parser: it is kept, or that of another text of its shape is.
    /// `None` for a text too long to be kept.
    #[must_use]
    pub fn known(&self, text: &[u8], rules: &Rules) -> Option<Judged> {
        if text.len() > MAX_CACHED_TEXT_BYTES {
            return None;
        }
        let number = rules.number();
        let kept = |text: &[u8]| self.judged.get(&KeyRef(number, text));
        by_shape(text, kept).or_else(|| kept(text).as_deref().cloned())
    }

    fn judge_as_it_is(&self, text: &[u8], rules: &Rules) -> Arc<Judged> {
        let number = rules.number();
        if let Some(judged) = self.judged.get(&KeyRef(number, text)) {
            return judged;
        }
        let seen = self.seen(text);
        let is_utf8 = seen.text.as_bytes() == text;
        let judged = Arc::new(Judged {
            text: Arc::clone(&seen.text),
            analysis: Arc::clone(&seen.analysis),
            verdict: rules.check(&seen.analysis, is_utf8),
            longer_by: 0,
        });
        if text.len() <= MAX_CACHED_TEXT_BYTES {
            self.judged
                .insert(Key(number, text.into()), Arc::clone(&judged));
        }
        judged
    }

    /// What is in the text; shared by all rules.
    fn seen(&self, text: &[u8]) -> Arc<Judged> {
        if let Some(seen) = self.judged.get(&KeyRef(NO_RULES, text)) {
            return seen;
        }
        let lossy: Arc<str> = String::from_utf8_lossy(text).into();
        let seen = Arc::new(Judged {
            analysis: Arc::new(analyze(&lossy)),
            text: lossy,
            verdict: Ok(()),
            longer_by: 0,
        });
        if text.len() <= MAX_CACHED_TEXT_BYTES {
            self.judged
                .insert(Key(NO_RULES, text.into()), Arc::clone(&seen));
        }
        seen
    }

    /// Verdicts kept now, about; for a metric.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.judged.entry_count()
    }

    /// Whether nothing is kept, about.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The verdict on a text whose shape is that of others, which it shares with them. `judge` is asked about the shape.
fn by_shape(text: &[u8], judge: impl FnOnce(&[u8]) -> Option<Arc<Judged>>) -> Option<Judged> {
    let shape = shape_of(std::str::from_utf8(text).ok()?)?;
    of_shape(text, &*judge(shape.as_bytes())?)
}

impl Default for VerdictCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn writes() -> Rules {
        Rules::Write(ControlGuard::default())
    }

    pub(crate) fn reads() -> Rules {
        let catalog = Catalog::unavailable(crate::AllowedFunctions::default());
        Rules::Read(Arc::new(catalog), ControlGuard::default())
    }

    #[test]
    fn a_text_is_judged_once_for_each_set_of_rules() {
        let cache = VerdictCache::new();
        let (reads, other) = (reads(), reads());
        let first = cache.judge(b"DELETE FROM t", &reads);
        assert!(first.verdict.is_err());
        assert!(Arc::ptr_eq(&first, &cache.judge(b"DELETE FROM t", &reads)));
        let second = cache.judge(b"DELETE FROM t", &other);
        assert!(!Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&first.analysis, &second.analysis));
        assert!(cache.judge(b"DELETE FROM t", &writes()).verdict.is_ok());
        let blocked = Rules::Write(ControlGuard {
            block_copy: true,
            block_ddl: false,
        });
        assert!(cache.judge(b"COPY t TO STDOUT", &blocked).verdict.is_err());
        assert!(cache.judge(b"COPY t TO STDOUT", &writes()).verdict.is_ok());
    }

    #[test]
    fn texts_that_differ_in_constants_take_the_place_of_one() {
        let cache = VerdictCache::new();
        for number in [1, 22, 333] {
            let sql = format!("select a from t where b = {number} and c = 'it''s {number}'; ");
            let judged = cache.judge(sql.as_bytes(), &writes());
            let [only] = judged.analysis.statements.as_slice() else {
                panic!("{judged:?}")
            };
            let range = only.range.start..only.range.end + judged.longer_by;
            assert_eq!(&judged.text[range], sql.trim_end_matches([';', ' ']));
        }
        cache.judged.run_pending_tasks();
        assert_eq!(cache.len(), 2, "with rules and without");
    }

    #[test]
    fn only_what_needs_no_parser_is_known() {
        let cache = VerdictCache::new();
        let (first, other) = (
            b"SELECT a FROM t WHERE b = 1",
            b"SELECT a FROM t WHERE b = 2",
        );
        assert!(cache.known(first, &writes()).is_none());
        let judged = cache.judge(first, &writes());
        for text in [first, other] {
            let known = cache.known(text, &writes()).unwrap();
            assert_eq!(known.text.as_bytes(), text);
            assert!(Arc::ptr_eq(&known.analysis, &judged.analysis));
        }
        assert!(cache.known(first, &reads()).is_none(), "by other rules");
        let _ = cache.judge(b"SELECT 'a', U&'b'", &writes());
        assert!(cache.known(b"SELECT 'a', U&'b'", &writes()).is_some());
    }

    #[test]
    fn long_texts_are_judged_and_not_kept() {
        let cache = VerdictCache::new();
        let sql = format!("SELECT '{}'", "x".repeat(MAX_CACHED_TEXT_BYTES));
        let first = cache.judge(sql.as_bytes(), &writes());
        assert_eq!(first.analysis.parse, Ok(()));
        assert!(!Arc::ptr_eq(
            &first,
            &cache.judge(sql.as_bytes(), &writes())
        ));
    }

    #[test]
    fn bytes_that_are_no_text_pass_only_without_rules() {
        let cache = VerdictCache::new();
        assert!(cache.judge(b"SELECT '\xff'", &writes()).verdict.is_ok());
        let refusal = cache
            .judge(b"SELECT '\xff'", &reads())
            .verdict
            .clone()
            .unwrap_err();
        assert_eq!(
            (refusal.rule, refusal.code.sqlstate()),
            ("guard.not_utf8", "25006")
        );
    }

    #[test]
    fn the_cache_stays_within_its_weight() {
        let cache = VerdictCache::new();
        let filler = "x".repeat(60_000);
        for index in 0..1000 {
            let _ = cache.judge(format!("SELECT {index}, '{filler}'").as_bytes(), &writes());
        }
        cache.judged.run_pending_tasks();
        assert!(cache.judged.weighted_size() <= MAX_CACHE_BYTES);
        assert!(!cache.is_empty());
    }
}
