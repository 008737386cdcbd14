//! Judges the texts a client sends by its grant, and what a refused one is told.

use std::sync::Arc;

use pglens_core::{AccessLevel, ErrorCode};
use pglens_policy::{Analysis, ControlGuard, LastVerdict, Refusal, Rules, VerdictCache};

use super::catalogs::CatalogView;
use super::quota::Left;
use super::study::{AT_ONCE_BYTES, Answer, Question, Study};
use super::substitute;
use crate::clock::rfc3339;
use crate::control::allowed::Grant;

/// What of a statement is recorded must fit into one message to the control plane with room to spare.
pub(crate) const MAX_RECORDED_STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// Decides about texts for one session.
pub(crate) struct Judge {
    cache: VerdictCache,
    last: LastVerdict,
    /// Of read grants.
    catalog: Option<CatalogView>,
    controls: ControlGuard,
    grant: Grant,
    study: Option<Box<Study>>,
}

/// A text with what is known of it and whether it may run.
#[derive(Debug)]
pub(crate) struct Judged {
    /// As it is recorded: bytes that are not UTF-8 are replaced.
    pub(crate) text: Arc<str>,
    pub(crate) analysis: Arc<Analysis>,
    pub(crate) verdict: Result<(), Refusal>,
    /// See [`pglens_policy::Judged::longer_by`].
    pub(crate) longer_by: usize,
    /// What the target gets in its place.
    pub(crate) substitute: Option<Substitute>,
}

impl Judged {
    /// It asks PgLens, not the target: no quota counts it.
    pub(crate) fn is_free(&self) -> bool {
        self.substitute.as_ref().is_some_and(|one| one.is_free)
    }
}

/// Another text for the target.
#[derive(Debug)]
pub(crate) struct Substitute {
    pub(crate) text: String,
    /// What the client is told about it.
    pub(crate) notice: Option<String>,
    /// It asks PgLens, not the target: no quota counts it.
    pub(crate) is_free: bool,
}

impl Judge {
    /// For a session under `grant`; with the target's catalog if that is a read grant.
    pub(crate) fn new(cache: VerdictCache, grant: &Grant, catalog: Option<CatalogView>) -> Self {
        debug_assert_eq!(catalog.is_some(), grant.access_level == AccessLevel::Read);
        Self {
            cache,
            last: LastVerdict::default(),
            catalog,
            controls: ControlGuard {
                block_copy: grant.block_copy,
                block_ddl: grant.block_ddl,
            },
            grant: grant.clone(),
            study: None,
        }
    }

    pub(crate) fn is_read(&self) -> bool {
        self.catalog.is_some()
    }

    pub(crate) fn grant(&self) -> &Grant {
        &self.grant
    }

    fn rules(&self) -> Rules {
        match &self.catalog {
            Some(catalog) => Rules::Read(catalog.current(), self.controls),
            None => Rules::Write(self.controls),
        }
    }

    /// Judges the text of a Query or Parse message; `left` is asked for what is left of the quotas. Allocates nothing
    /// for a text that was judged before and may run. `None`: that takes a while, [`Judge::question`] has what is to be
    /// answered first.
    pub(crate) fn text(&mut self, bytes: &[u8], left: impl FnOnce() -> Left) -> Option<Judged> {
        if substitute::is_show_grant(bytes) {
            return Some(self.show_grant(bytes, left()));
        }
        let judged = self.judged(bytes)?;
        Some(Judged {
            substitute: self.lowered_timeout(&judged.text),
            text: judged.text,
            analysis: judged.analysis,
            verdict: judged.verdict.map_err(|refusal| self.told(refusal)),
            longer_by: judged.longer_by,
        })
    }

    fn judged(&mut self, bytes: &[u8]) -> Option<pglens_policy::Judged> {
        if bytes.len() <= AT_ONCE_BYTES {
            let rules = self.rules();
            return Some(self.cache.judge_after(&mut self.last, bytes, &rules));
        }
        if let Some(study) = &self.study
            && study.is_of(bytes)
        {
            return study.judged().cloned();
        }
        let rules = self.rules();
        let known = self.cache.known(bytes, &rules);
        if known.is_none() {
            self.study = Some(Box::new(Study::new(bytes, rules, self.cache.clone())));
        }
        known
    }

    /// What is to be answered elsewhere before the text at hand can be judged; once.
    pub(crate) fn question(&mut self) -> Option<Question> {
        self.study.as_mut()?.question()
    }

    /// The answer to the last question.
    pub(crate) fn answered(&mut self, answer: Answer) {
        if let Some(study) = &mut self.study {
            study.answered(answer);
        }
    }

    /// The text at hand has gone on.
    pub(crate) fn forget_study(&mut self) {
        self.study = None;
    }

    fn told(&self, refusal: Refusal) -> Refusal {
        told(refusal, &self.grant)
    }

    /// What the grant is and what is left of it. The guards have nothing to say: the text that runs is ours.
    fn show_grant(&self, bytes: &[u8], left: Left) -> Judged {
        let analysed = self.cache.judge(b"show server_version", &self.rules());
        Judged {
            text: String::from_utf8_lossy(bytes).into(),
            analysis: Arc::clone(&analysed.analysis),
            verdict: Ok(()),
            longer_by: 0,
            substitute: Some(Substitute {
                text: substitute::grant_row(&self.grant, left),
                notice: None,
                is_free: true,
            }),
        }
    }

    fn lowered_timeout(&self, text: &str) -> Option<Substitute> {
        let limit = self.grant.statement_timeout?;
        let text = substitute::lowered_timeout(text, limit)?;
        let notice = format!(
            "statement_timeout is {} ms, the most that the grant allows",
            limit.as_millis()
        );
        Some(Substitute {
            text,
            notice: Some(notice),
            is_free: false,
        })
    }

    /// Judges the types of parameters: their values are made by functions that no text names.
    pub(crate) fn parameter_types(&self, oids: &[u32]) -> Result<(), Refusal> {
        match &self.catalog {
            Some(catalog) if !oids.is_empty() => catalog
                .current()
                .check_parameter_types(oids)
                .map_err(|refusal| self.told(refusal)),
            _ => Ok(()),
        }
    }

    /// Judges a call through the function call message, of which only an object id is known.
    pub(crate) fn function_call(&self) -> Result<(), Refusal> {
        if !self.is_read() && !self.controls.block_ddl {
            return Ok(());
        }
        Err(self.told(Refusal {
            rule: "guard.function_call",
            code: self.code(),
            message: "function calls by object id are not allowed by this grant".to_owned(),
            detail: Some("What the function does cannot be seen from outside.".to_owned()),
            hint: Some("Call the function in a SELECT statement.".to_owned()),
        }))
    }

    fn code(&self) -> ErrorCode {
        if self.is_read() {
            ErrorCode::ReadOnly
        } else {
            ErrorCode::StatementRefused
        }
    }
}

/// With the grant that decided in its DETAIL: a client that sees only the refusal knows whom to ask about what.
pub(crate) fn told(refusal: Refusal, grant: &Grant) -> Refusal {
    let why = refusal
        .detail
        .map_or(String::new(), |why| format!("{why} "));
    let detail = format!(
        "{why}Grant {} ({}, from {} until {}) does not allow it: rule {}.",
        grant.id,
        grant.access_level,
        rfc3339(grant.starts_at_unix_us),
        rfc3339(grant.expires_at_unix_us),
        refusal.rule
    );
    Refusal {
        detail: Some(detail),
        hint: refusal
            .hint
            .or_else(|| Some("Ask for another grant.".to_owned())),
        ..refusal
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pglens_core::{AuditLevel, GrantId};

    use super::*;
    use crate::upstream::CancelKey;

    fn grant(access_level: AccessLevel) -> Grant {
        Grant {
            id: GrantId(7),
            access_level,
            expires_in: Duration::ZERO,
            starts_at_unix_us: 0,
            expires_at_unix_us: 1_000_000,
            window: None,
            schedule: String::new(),
            max_queries: None,
            max_bytes: None,
            max_connections: None,
            block_copy: true,
            block_ddl: true,
            statement_timeout: None,
            audit_level: AuditLevel::Spooled,
        }
    }

    fn judge(access_level: AccessLevel) -> Judge {
        let target = CancelKey::for_tests(1).target;
        let catalog = (access_level == AccessLevel::Read).then(|| CatalogView::for_tests(target));
        Judge::new(VerdictCache::new(), &grant(access_level), catalog)
    }

    fn nothing_left() -> Left {
        Left {
            queries: None,
            bytes: None,
        }
    }

    #[track_caller]
    fn assert_names_the_grant(refusal: &Refusal, level: &str) {
        let detail = refusal.detail.as_deref().unwrap_or_default();
        let named = format!(
            "Grant {} ({level}, from 1970-01-01T00:00:00Z until 1970-01-01T00:00:01Z) does not allow it: rule {}.",
            GrantId(7),
            refusal.rule
        );
        assert!(detail.ends_with(&named), "{detail}");
        assert!(detail.len() > named.len(), "it says why as well: {detail}");
        assert!(refusal.hint.is_some(), "{refusal:?}");
    }

    #[test]
    fn every_refusal_by_a_grant_names_it() {
        let mut reads = judge(AccessLevel::Read);
        for text in [
            &b"DELETE FROM t"[..],
            b"SELECT pg_sleep_for_ever(1, 2)",
            b"SELECT pg_terminate_backend(1)",
            b"COPY t TO STDOUT",
            b"SELECT FROM WHERE",
            b"SELECT '\xff'",
        ] {
            let refusal = reads.text(text, nothing_left).unwrap().verdict.unwrap_err();
            assert_names_the_grant(&refusal, "read");
        }
        assert_names_the_grant(&reads.parameter_types(&[99_999]).unwrap_err(), "read");
        assert_names_the_grant(&reads.function_call().unwrap_err(), "read");

        let mut writes = judge(AccessLevel::Write);
        for text in [&b"DROP TABLE t"[..], b"COPY t TO STDOUT"] {
            let refusal = writes
                .text(text, nothing_left)
                .unwrap()
                .verdict
                .unwrap_err();
            assert_names_the_grant(&refusal, "write");
        }
        assert_names_the_grant(&writes.function_call().unwrap_err(), "write");
    }
}
