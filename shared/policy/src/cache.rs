//! Analyses of texts seen before.

use std::sync::Arc;

use moka::sync::Cache;

use crate::analysis::{Analysis, analyze};
use crate::shape::shape_of;

/// Memory the cached texts and analyses may take, about: some ten thousand statements of an application.
const MAX_CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Longest text that is kept: a longer one is rarely sent twice, and would push many short ones out.
const MAX_CACHED_TEXT_BYTES: usize = 64 * 1024;

/// Keeps the analyses of texts, compared byte for byte. Cheap to clone; clones share their contents.
#[derive(Clone)]
pub struct AnalysisCache {
    analyses: Cache<Arc<str>, Arc<Analysis>>,
}

impl AnalysisCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        let weigher = |text: &Arc<str>, analysis: &Arc<Analysis>| {
            u32::try_from(text.len() + analysis.heap_bytes()).unwrap_or(u32::MAX)
        };
        Self {
            analyses: Cache::builder()
                .max_capacity(MAX_CACHE_BYTES)
                .weigher(weigher)
                .build(),
        }
    }

    /// The analysis of `sql`, made now if it is not kept.
    #[must_use]
    pub fn get(&self, sql: &str) -> Arc<Analysis> {
        if let Some(shape) = shape_of(sql).filter(|shape| shape != sql) {
            let known = self.get_as_it_is(&shape).for_text_of_shape(&shape, sql);
            if let Some(analysis) = known {
                return Arc::new(analysis);
            }
        }
        self.get_as_it_is(sql)
    }

    fn get_as_it_is(&self, sql: &str) -> Arc<Analysis> {
        if let Some(analysis) = self.analyses.get(sql) {
            return analysis;
        }
        let analysis = Arc::new(analyze(sql));
        if sql.len() <= MAX_CACHED_TEXT_BYTES {
            self.analyses.insert(sql.into(), Arc::clone(&analysis));
        }
        analysis
    }

    /// Texts kept now, about; for a metric.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.analyses.entry_count()
    }

    /// Whether no text is kept, about.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Default for AnalysisCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_analysed_once() {
        let cache = AnalysisCache::new();
        let first = cache.get("SELECT 1");
        assert!(Arc::ptr_eq(&first, &cache.get("SELECT 1")));
        assert!(!Arc::ptr_eq(&first, &cache.get("SELECT 2")));
    }

    #[test]
    fn texts_that_differ_in_numbers_take_the_place_of_one() {
        let cache = AnalysisCache::new();
        for number in 0..100 {
            let sql = format!("select a from t where b = {number}");
            assert_eq!(*cache.get(&sql), analyze(&sql));
        }
        cache.analyses.run_pending_tasks();
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn long_texts_are_analysed_and_not_kept() {
        let cache = AnalysisCache::new();
        let sql = format!("SELECT '{}'", "x".repeat(MAX_CACHED_TEXT_BYTES));
        let first = cache.get(&sql);
        assert_eq!(first.parse, Ok(()));
        assert!(!Arc::ptr_eq(&first, &cache.get(&sql)));
    }

    #[test]
    fn the_cache_stays_within_its_weight() {
        let cache = AnalysisCache::new();
        let filler = "x".repeat(60_000);
        for index in 0..1000 {
            let _ = cache.get(&format!("SELECT {index}, '{filler}'"));
        }
        cache.analyses.run_pending_tasks();
        assert!(cache.analyses.weighted_size() <= MAX_CACHE_BYTES);
        assert!(!cache.is_empty());
    }
}
