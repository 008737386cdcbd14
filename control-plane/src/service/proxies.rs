//! The proxies: which are attached, which are away, which are lost.

use chrono::{DateTime, Utc};
use pglens_core::RunId;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::caller::Caller;
use super::page::{Page, Paged};
use crate::app::App;
use crate::error::ServiceError;
use crate::fleet::attached_within;
use crate::storage::proxy_run::RunInfo;

/// Whether a proxy is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyStatus {
    /// It was heard of a moment ago.
    Attached,
    /// It was not; its sessions may go on until their lease ends, if it has any.
    Away,
    /// It did not come back; its sessions were given up.
    Lost,
}

impl ProxyStatus {
    /// The word in gRPC.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Away => "away",
            Self::Lost => "lost",
        }
    }
}

/// One run of a proxy.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Proxy {
    /// From its start to its end.
    pub run_id: Uuid,
    /// The name in its certificate.
    pub name: String,
    /// Of its machine.
    pub hostname: String,
    /// Of its program.
    pub version: String,
    /// By its own clock.
    pub started_at: DateTime<Utc>,
    /// When it was heard of last.
    pub last_seen_at: DateTime<Utc>,
    /// Whether it is there.
    pub status: ProxyStatus,
    /// Connections that are open.
    pub active_sessions: i64,
    /// Its record is stored up to this one.
    pub committed_sequence: i64,
    /// Its clock less the storage database's; the way of the message is in it. Null: not measured yet.
    pub clock_skew_ms: Option<i64>,
}

impl From<RunInfo> for Proxy {
    fn from(run: RunInfo) -> Self {
        let status = match (run.lost_at, run.is_attached) {
            (Some(_), _) => ProxyStatus::Lost,
            (None, true) => ProxyStatus::Attached,
            (None, false) => ProxyStatus::Away,
        };
        Self {
            run_id: run.run_id.0,
            name: run.proxy_name,
            hostname: run.hostname,
            version: run.version,
            started_at: run.started_at,
            last_seen_at: run.last_seen_at,
            status,
            active_sessions: run.active_sessions,
            committed_sequence: run.committed_sequence,
            clock_skew_ms: run.clock_skew_us.map(|us| us / 1000),
        }
    }
}

/// A page of proxies, the newest run first.
///
/// # Errors
/// When the caller is no administrator, or storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    page: &Page<Uuid>,
) -> Result<Paged<Proxy>, ServiceError> {
    caller.require_admin()?;
    let before = RunId(page.after().unwrap_or(Uuid::max()));
    let rows = app
        .storage
        .proxy_run_list(before, page.fetch_rows(), attached_within())
        .await?;
    Ok(page.cut(rows, |run| run.run_id.0).map(Proxy::from))
}
