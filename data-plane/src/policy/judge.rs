//! Judges the texts a client sends by its grant, and what a refused one is told.

use std::sync::Arc;

use pglens_core::{AccessLevel, ErrorCode};
use pglens_policy::{Analysis, ControlGuard, Refusal, Rules, VerdictCache};

use super::catalogs::CatalogView;
use super::quota::Left;
use super::substitute;
use crate::clock::rfc3339;
use crate::control::allowed::Grant;

/// What of a statement is recorded must fit into one message to the control plane with room to spare.
pub(crate) const MAX_RECORDED_STATEMENT_BYTES: usize = 4 * 1024 * 1024;

/// Decides about texts for one session.
#[derive(Clone)]
pub(crate) struct Judge {
    cache: VerdictCache,
    /// Of read grants.
    catalog: Option<CatalogView>,
    controls: ControlGuard,
    grant: Arc<Grant>,
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
            catalog,
            controls: ControlGuard {
                block_copy: grant.block_copy,
                block_ddl: grant.block_ddl,
            },
            grant: Arc::new(grant.clone()),
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
    /// for a text that was judged before and may run.
    pub(crate) fn text(&self, bytes: &[u8], left: impl FnOnce() -> Left) -> Judged {
        if substitute::is_show_grant(bytes) {
            return self.show_grant(bytes, left());
        }
        let judged = self.cache.judge(bytes, &self.rules());
        Judged {
            substitute: self.lowered_timeout(&judged.text),
            text: Arc::clone(&judged.text),
            analysis: Arc::clone(&judged.analysis),
            verdict: judged.verdict.clone().map_err(|refusal| self.told(refusal)),
            longer_by: judged.longer_by,
        }
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

/// A text or a set of parameters that no record can hold.
pub(crate) fn too_large(bytes: usize) -> Refusal {
    Refusal {
        rule: "record.statement_too_large",
        code: ErrorCode::TooLarge,
        message: format!(
            "a statement with parameters of {bytes} bytes cannot be recorded, the most is {MAX_RECORDED_STATEMENT_BYTES}"
        ),
        detail: None,
        hint: Some(
            "Bind large values as parameters of the extended protocol, or use COPY.".to_owned(),
        ),
    }
}

/// The record has no room and did not get any in time.
pub(crate) fn no_room() -> Refusal {
    Refusal {
        rule: "record.full",
        code: ErrorCode::RecordUnavailable,
        message: "the statement cannot be recorded now and was not run".to_owned(),
        detail: Some("The records of this proxy wait for the control plane.".to_owned()),
        hint: Some("Try again later.".to_owned()),
    }
}

/// Under the audit level `strict` the start of each statement is stored before it may run; of several in one message
/// only the first could be.
pub(crate) fn several_under_strict() -> Refusal {
    Refusal {
        rule: "record.strict_one_by_one",
        code: ErrorCode::Unsupported,
        message:
            "several statements in one message cannot be recorded as strictly as the grant demands"
                .to_owned(),
        detail: Some("The grant has the audit level \"strict\".".to_owned()),
        hint: Some("Send them one by one.".to_owned()),
    }
}

/// The grant's statements are used up.
pub(crate) fn queries_spent(grant: &Grant) -> Refusal {
    Refusal {
        rule: "quota.queries",
        code: ErrorCode::QuotaSpent,
        message: "the statement quota of this grant is spent".to_owned(),
        detail: Some(format!(
            "Grant {} allows {} statements in all, until {}.",
            grant.id,
            grant.max_queries.unwrap_or(0),
            rfc3339(grant.expires_at_unix_us)
        )),
        hint: Some("Ask for another grant.".to_owned()),
    }
}

/// The grant has statements left that no session can use now.
pub(crate) fn queries_withheld() -> Refusal {
    Refusal {
        rule: "quota.withheld",
        code: ErrorCode::QuotaSpent,
        message: "no more statements of the grant's quota can be had now".to_owned(),
        detail: Some("The rest is held by sessions of proxies that do not answer.".to_owned()),
        hint: Some("It comes back when these proxies do, and their record is complete.".to_owned()),
    }
}

/// The grant may have statements left, but nobody can be asked for them.
pub(crate) fn queries_unavailable() -> Refusal {
    Refusal {
        rule: "quota.unavailable",
        code: ErrorCode::QuotaSpent,
        message: "this proxy holds no more statements of the grant's quota".to_owned(),
        detail: Some("The control plane cannot be asked for more now.".to_owned()),
        hint: Some("Try again later.".to_owned()),
    }
}

/// The session holds as many named things as it may.
pub(crate) fn too_many(what: &'static str) -> Refusal {
    Refusal {
        rule: "session.too_many",
        code: ErrorCode::TooLarge,
        message: format!("too many {what} in this session"),
        detail: None,
        hint: Some("Close those that are no longer used.".to_owned()),
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
        let reads = judge(AccessLevel::Read);
        for text in [
            &b"DELETE FROM t"[..],
            b"SELECT pg_sleep_for_ever(1, 2)",
            b"SELECT pg_terminate_backend(1)",
            b"COPY t TO STDOUT",
            b"SELECT FROM WHERE",
            b"SELECT '\xff'",
        ] {
            let refusal = reads.text(text, nothing_left).verdict.unwrap_err();
            assert_names_the_grant(&refusal, "read");
        }
        assert_names_the_grant(&reads.parameter_types(&[99_999]).unwrap_err(), "read");
        assert_names_the_grant(&reads.function_call().unwrap_err(), "read");

        let writes = judge(AccessLevel::Write);
        for text in [&b"DROP TABLE t"[..], b"COPY t TO STDOUT"] {
            let refusal = writes.text(text, nothing_left).verdict.unwrap_err();
            assert_names_the_grant(&refusal, "write");
        }
        assert_names_the_grant(&writes.function_call().unwrap_err(), "write");
    }
}
