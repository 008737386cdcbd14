//! How far an export is, on standard error.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::text;

const INTERVAL: Duration = Duration::from_secs(2);

pub(super) struct Progress {
    quiet: bool,
    statements: usize,
    started: Instant,
    told: Instant,
}

impl Progress {
    pub(super) fn new(quiet: bool) -> Self {
        let now = Instant::now();
        Self {
            quiet,
            statements: 0,
            started: now,
            told: now,
        }
    }

    /// A page more.
    pub(super) fn add(&mut self, queries: &[Value], cursor: Option<&str>) {
        self.statements += queries.len();
        if self.quiet || self.told.elapsed() < INTERVAL {
            return;
        }
        self.told = Instant::now();
        let at = queries.last().map_or("", |query| text(query, "started_at"));
        let (count, cursor) = (self.statements, cursor.unwrap_or_default());
        eprintln!("pglens export: {count} statements, up to {at}, cursor {cursor}");
    }

    /// All is written.
    pub(super) fn done(&self) {
        if !self.quiet {
            let (count, seconds) = (self.statements, self.started.elapsed().as_secs_f64());
            eprintln!("pglens export: {count} statements in {seconds:.1} s");
        }
    }
}
