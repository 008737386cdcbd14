//! The decision that lets a session in, checked field by field.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pglens_core::{
    AccessLevel, AuditLevel, DatabaseId, GrantId, Secret, SessionId, SslMode, UserId,
};
use pglens_policy::AllowedFunctions;
use pglens_rpc::convert::{self, InvalidField};
use pglens_rpc::v1;

use crate::audit::capture::CaptureLimits;
use crate::policy::Quota;
use crate::policy::quota::SharedQuota;

/// A session that may be opened.
#[derive(Debug)]
pub(crate) struct Allowed {
    pub(crate) sasl_final: Vec<u8>,
    pub(crate) session_id: SessionId,
    pub(crate) user_id: UserId,
    pub(crate) database_id: DatabaseId,
    pub(crate) grant: Grant,
    pub(crate) capture: CaptureLimits,
    pub(crate) target: Target,
    pub(crate) quota: v1::QuotaSlice,
    pub(crate) lease: Duration,
}

/// The grant as it was at login.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) id: GrantId,
    pub(crate) access_level: AccessLevel,
    /// From the moment the decision arrived.
    pub(crate) expires_in: Duration,
    pub(crate) starts_at_unix_us: i64,
    pub(crate) expires_at_unix_us: i64,
    /// The hours of the grant end in so long, at that time.
    pub(crate) window: Option<(Duration, i64)>,
    /// The hours in words; empty: any.
    pub(crate) schedule: String,
    pub(crate) max_connections: Option<u32>,
    pub(crate) max_queries: Option<u64>,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) block_copy: bool,
    pub(crate) block_ddl: bool,
    pub(crate) statement_timeout: Option<Duration>,
    pub(crate) audit_level: AuditLevel,
}

/// Where the session goes, with the stored login.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) username: String,
    pub(crate) password: Secret<String>,
    pub(crate) ssl_mode: SslMode,
    pub(crate) root_certificate: Option<String>,
    /// Functions that read grants may call, whatever the catalog says of them.
    pub(crate) allowed_functions: AllowedFunctions,
}

impl Allowed {
    /// The session's share of the grant's quotas, if there are any.
    pub(crate) fn shared_quota(&self, now: Instant) -> Option<Arc<SharedQuota>> {
        let max = (self.grant.max_queries, self.grant.max_bytes);
        let session_id = self.session_id.to_wire();
        Quota::shared(session_id, self.grant.id, max, &self.quota, now)
    }
}

impl TryFrom<v1::Allow> for Allowed {
    type Error = InvalidField;

    fn try_from(allow: v1::Allow) -> Result<Self, InvalidField> {
        let grant = allow.grant.ok_or_else(|| InvalidField::missing("grant"))?;
        let target = allow
            .target
            .ok_or_else(|| InvalidField::missing("target"))?;
        let limits = allow
            .limits
            .ok_or_else(|| InvalidField::missing("limits"))?;
        let kept = |limit: u64| if limits.capture_rows { limit } else { 0 };
        let mut quota = allow.quota.unwrap_or_default();
        let grant = Grant::try_from(grant)?;
        // A quota of the grant that comes without a slice begins with nothing; the proxy asks for more.
        quota.queries = grant.max_queries.map(|_| quota.queries.unwrap_or(0));
        quota.bytes = grant.max_bytes.map(|_| quota.bytes.unwrap_or(0));
        Ok(Self {
            sasl_final: allow.sasl_final,
            session_id: convert::session_id(&allow.session_id)?,
            user_id: UserId(allow.user_id),
            database_id: DatabaseId(allow.database_id),
            grant,
            capture: CaptureLimits {
                max_rows: kept(limits.capture_max_rows),
                max_bytes: kept(limits.capture_max_bytes),
            },
            target: Target::try_from(target)?,
            quota,
            lease: Duration::from_millis(allow.lease_ms),
        })
    }
}

impl TryFrom<v1::Grant> for Grant {
    type Error = InvalidField;

    fn try_from(grant: v1::Grant) -> Result<Self, InvalidField> {
        Ok(Self {
            id: GrantId(grant.id),
            access_level: grant.access_level().try_into()?,
            expires_in: Duration::from_millis(grant.expires_in_ms),
            starts_at_unix_us: grant.starts_at_unix_us,
            expires_at_unix_us: grant.expires_at_unix_us,
            window: grant
                .window_ends_in_ms
                .map(|ms| (Duration::from_millis(ms), grant.window_ends_at_unix_us)),
            max_connections: grant.max_connections,
            max_queries: grant.max_queries,
            max_bytes: grant.max_bytes,
            block_copy: grant.block_copy,
            block_ddl: grant.block_ddl,
            audit_level: grant.audit_level().try_into()?,
            statement_timeout: grant.statement_timeout_ms.map(Duration::from_millis),
            schedule: grant.schedule,
        })
    }
}

impl TryFrom<v1::Target> for Target {
    type Error = InvalidField;

    fn try_from(target: v1::Target) -> Result<Self, InvalidField> {
        let ssl_mode = target.ssl_mode().try_into()?;
        let port = u16::try_from(target.port)
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| InvalidField::new("port", "is no TCP port"))?;
        if target.host.is_empty() {
            return Err(InvalidField::missing("host"));
        }
        Ok(Self {
            host: target.host,
            port,
            database: target.database_name,
            username: target.username,
            password: Secret::new(target.password),
            ssl_mode,
            root_certificate: Some(target.ssl_root_cert).filter(|pem| !pem.is_empty()),
            allowed_functions: AllowedFunctions::parse(&target.allowed_functions)
                .map_err(|_| InvalidField::new("allowed_functions", "holds an invalid name"))?,
        })
    }
}
