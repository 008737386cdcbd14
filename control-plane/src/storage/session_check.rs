//! Which running sessions must not go on, and why. The state of storage decides, so asking twice does no harm.

use chrono::{DateTime, Utc};
use pglens_core::{GrantId, RunId, SessionId};
use tokio_postgres::Row;
use uuid::Uuid;

use super::notify::Change;
use super::{Storage, StoreError, column, word};

/// Sessions of the runs given that must end, within the bounds of a change when there is one.
const LIST: &str = "select id, run_id, grant_id, reason, at, by_name, \
       (extract(epoch from clock_timestamp() - at) * 1000000)::bigint as age_us from ( \
       select c.id, c.run_id, c.grant_id, \
         case when c.kill_requested_at is not null then 'killed' \
              when u.deleted_at is not null then 'user_deleted' \
              when u.is_disabled then 'user_disabled' \
              when d.deleted_at is not null then 'database_deleted' \
              when d.is_disabled then 'database_disabled' \
              when g.revoked_at is not null then 'grant_revoked' \
              when g.expires_at <= now() then 'grant_expired' \
              when c.window_ends_at <= now() then 'window_closed' \
              when u.password_changed_at > c.started_at then 'password_changed' \
              when d.target_changed_at > c.started_at then 'database_changed' end as reason, \
         case when c.kill_requested_at is not null then c.kill_requested_at \
              when u.deleted_at is not null then u.deleted_at \
              when u.is_disabled then u.updated_at \
              when d.deleted_at is not null then d.deleted_at \
              when d.is_disabled then d.updated_at \
              when g.revoked_at is not null then g.revoked_at \
              when g.expires_at <= now() then g.expires_at \
              when c.window_ends_at <= now() then c.window_ends_at \
              when u.password_changed_at > c.started_at then u.password_changed_at \
              when d.target_changed_at > c.started_at then d.target_changed_at end as at, \
         (select username from users b where b.id = coalesce(c.kill_requested_by, g.revoked_by)) as by_name \
       from connections c join users u on u.id = c.user_id join databases d on d.id = c.database_id \
         join grants g on g.id = c.grant_id \
       where c.run_id = any($1) and c.ended_at is null \
         and ($2::bigint is null or c.user_id = $2) and ($3::bigint is null or c.database_id = $3) \
         and ($4::bigint is null or c.grant_id = $4) and ($5::uuid is null or c.id = $5)) s \
     where reason is not null";

/// Of sessions a proxy says it holds, those that are not open ones of its run.
const LIST_UNKNOWN: &str = "select held.id from unnest($2::uuid[]) held (id) \
     where not exists (select from connections c \
         where c.id = held.id and c.run_id = $1 and c.ended_at is null)";

/// Why a session must not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// Somebody ended it.
    Killed,
    /// Its user was deleted.
    UserDeleted,
    /// Its user was disabled.
    UserDisabled,
    /// Its database was deleted.
    DatabaseDeleted,
    /// Its database was disabled.
    DatabaseDisabled,
    /// Its grant was taken back.
    GrantRevoked,
    /// Its grant is over.
    GrantExpired,
    /// The hours of its grant are over.
    WindowClosed,
    /// It was opened with an earlier password.
    PasswordChanged,
    /// Its database has another target now.
    DatabaseChanged,
    /// The control plane does not know it as running.
    Unknown,
}

impl EndReason {
    /// Every reason that storage can give.
    const OF_STORAGE: [Self; 10] = [
        Self::Killed,
        Self::UserDeleted,
        Self::UserDisabled,
        Self::DatabaseDeleted,
        Self::DatabaseDisabled,
        Self::GrantRevoked,
        Self::GrantExpired,
        Self::WindowClosed,
        Self::PasswordChanged,
        Self::DatabaseChanged,
    ];

    /// The word in storage's answer and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::UserDeleted => "user_deleted",
            Self::UserDisabled => "user_disabled",
            Self::DatabaseDeleted => "database_deleted",
            Self::DatabaseDisabled => "database_disabled",
            Self::GrantRevoked => "grant_revoked",
            Self::GrantExpired => "grant_expired",
            Self::WindowClosed => "window_closed",
            Self::PasswordChanged => "password_changed",
            Self::DatabaseChanged => "database_changed",
            Self::Unknown => "unknown",
        }
    }
}

impl std::str::FromStr for EndReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::OF_STORAGE
            .into_iter()
            .find(|reason| reason.as_str() == text);
        found.ok_or_else(|| format!("\"{text}\" is no reason to end a session"))
    }
}

/// A session that must end.
#[derive(Debug, Clone)]
pub struct DoomedSession {
    /// Which one.
    pub id: SessionId,
    /// The run that holds it.
    pub run_id: RunId,
    /// The grant it is pinned to.
    pub grant_id: GrantId,
    /// Why.
    pub reason: EndReason,
    /// Since when; absent where nobody wrote it down.
    pub at: Option<DateTime<Utc>>,
    /// How long ago that was, by the storage database's clock alone, in microseconds.
    pub age_us: Option<i64>,
    /// Who did it, where it was somebody.
    pub by: Option<String>,
}

impl Storage {
    /// Sessions of `runs` that must end; with a `change`, only among those it can concern.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn session_list_doomed(
        &self,
        runs: &[RunId],
        change: Option<&Change>,
    ) -> Result<Vec<DoomedSession>, StoreError> {
        let (mut user, mut database, mut grant, mut session) = (None, None, None, None);
        match change {
            Some(Change::UserChanged(id)) => user = Some(id.0),
            Some(Change::DatabaseChanged(id)) => database = Some(id.0),
            Some(Change::GrantRevoked(id)) => grant = Some(id.0),
            Some(Change::SessionKilled(id)) => session = Some(id.0),
            None => {}
        }
        let runs: Vec<Uuid> = runs.iter().map(|run| run.0).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST).await?;
        let rows = client
            .query(&statement, &[&runs, &user, &database, &grant, &session])
            .await?;
        rows.iter().map(doomed).collect()
    }

    /// Of the sessions that a proxy says it holds, those that are not open sessions of its run.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn session_list_unknown(
        &self,
        run_id: RunId,
        held: &[SessionId],
    ) -> Result<Vec<SessionId>, StoreError> {
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let held: Vec<Uuid> = held.iter().map(|id| id.0).collect();
        let client = self.client().await?;
        let statement = client.prepare_cached(LIST_UNKNOWN).await?;
        let rows = client.query(&statement, &[&run_id.0, &held]).await?;
        rows.iter()
            .map(|row| column(row, "id").map(SessionId))
            .collect()
    }
}

fn doomed(row: &Row) -> Result<DoomedSession, StoreError> {
    Ok(DoomedSession {
        id: SessionId(column(row, "id")?),
        run_id: RunId(column(row, "run_id")?),
        grant_id: GrantId(column(row, "grant_id")?),
        reason: word(row, "reason")?,
        at: column(row, "at")?,
        age_us: column(row, "age_us")?,
        by: column(row, "by_name")?,
    })
}
