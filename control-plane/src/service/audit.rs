//! Audit events: who did what to which thing, and how it looked before and after. Secrets are masked here.

use std::net::IpAddr;

use pglens_core::UserId;
use serde::Serialize;
use serde_json::{Map, Value};

use super::caller::Caller;
use super::page::{Page, Paged};
use crate::app::App;
use crate::error::ServiceError;
pub use crate::storage::audit::{AuditEvent, AuditFilter};

/// Stands for a secret in events.
pub const MASK: &str = "********";

macro_rules! actions {
    ($($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// What was done; a closed set, so that the log can be searched.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Action { $($(#[$doc])* $variant),+ }

        impl Action {
            /// The word in the log.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

actions! {
    /// A user was created.
    UserCreated = "user.created",
    /// A user was changed.
    UserUpdated = "user.updated",
    /// A user was disabled.
    UserDisabled = "user.disabled",
    /// A user was deleted.
    UserDeleted = "user.deleted",
    /// A database was created.
    DatabaseCreated = "database.created",
    /// A database was changed.
    DatabaseUpdated = "database.updated",
    /// A database was deleted.
    DatabaseDeleted = "database.deleted",
    /// The logins of a database were tried.
    DatabaseTested = "database.tested",
    /// A grant was created.
    GrantCreated = "grant.created",
    /// A grant was revoked.
    GrantRevoked = "grant.revoked",
    /// An API token was created.
    TokenCreated = "token.created",
    /// An API token was revoked.
    TokenRevoked = "token.revoked",
    /// Somebody logged in to the API.
    SessionLogin = "session.login",
    /// Somebody logged out of the API.
    SessionLogout = "session.logout",
    /// A login was refused, to the API or through a proxy.
    LoginRefused = "login.refused",
    /// An administrator ended a connection.
    ConnectionKilled = "connection.killed",
    /// Somebody read captured rows.
    RowsRead = "rows.read",
    /// A proxy did not come back; records may be missing.
    ProxyLost = "proxy.lost",
    /// A proxy came back with the record of an earlier run of its own.
    ProxyRecovered = "proxy.recovered",
    /// Records of a proxy could not be stored for what they hold.
    RecordRefused = "record.refused",
    /// Old records were dropped.
    RecordsDropped = "records.dropped",
    /// Values were sealed again with the newest master key.
    KeysResealed = "keys.resealed",
}

/// Who did it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Actor {
    /// A user, under the name of that time.
    User {
        /// The user.
        id: UserId,
        /// The name.
        name: String,
    },
    /// Somebody who is not logged in.
    Anonymous,
    /// PgLens itself.
    System,
}

impl Actor {
    /// The user, if it was one.
    #[must_use]
    pub fn user_id(&self) -> Option<UserId> {
        match self {
            Self::User { id, .. } => Some(*id),
            Self::Anonymous | Self::System => None,
        }
    }

    /// The name in the log.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::User { name, .. } => name,
            Self::Anonymous => "anonymous",
            Self::System => "pglens",
        }
    }
}

/// An event to be written.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// The kind of thing it was done to.
    pub subject_type: &'static str,
    /// The thing's id as text.
    pub subject_id: String,
    /// The thing before; secrets masked.
    pub before: Option<Value>,
    /// The thing after; secrets masked.
    pub after: Option<Value>,
    /// Where the request came from.
    pub client_address: Option<IpAddr>,
}

impl AuditEntry {
    /// An event about something `caller` did.
    #[must_use]
    pub fn by(
        caller: &Caller,
        action: Action,
        subject_type: &'static str,
        subject_id: impl ToString,
    ) -> Self {
        let actor = Actor::User {
            id: caller.user_id,
            name: caller.username.clone(),
        };
        Self {
            client_address: caller.client_address,
            ..Self::of(actor, action, subject_type, subject_id)
        }
    }

    /// An event without a request behind it.
    #[must_use]
    pub fn of(
        actor: Actor,
        action: Action,
        subject_type: &'static str,
        subject_id: impl ToString,
    ) -> Self {
        Self {
            actor,
            action,
            subject_type,
            subject_id: subject_id.to_string(),
            before: None,
            after: None,
            client_address: None,
        }
    }

    /// Adds how the thing was before.
    #[must_use]
    pub fn before(mut self, before: Value) -> Self {
        self.before = Some(before);
        self
    }

    /// Adds how the thing is now.
    #[must_use]
    pub fn after(mut self, after: Value) -> Self {
        self.after = Some(after);
        self
    }

    /// Adds where the request came from.
    #[must_use]
    pub fn from_address(mut self, address: Option<IpAddr>) -> Self {
        self.client_address = address;
        self
    }
}

/// `thing` as an object for an event, with `secrets` as masked fields.
///
/// The types that are passed here hold no secrets themselves.
#[must_use]
pub fn snapshot<T: Serialize>(thing: &T, secrets: &[&str]) -> Value {
    let mut object = match serde_json::to_value(thing) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    };
    for name in secrets {
        object.insert((*name).to_owned(), MASK.into());
    }
    Value::Object(object)
}

/// A page of the audit log, the newest first.
///
/// # Errors
/// When the caller is no administrator or storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    filter: &AuditFilter,
    page: &Page,
) -> Result<Paged<AuditEvent>, ServiceError> {
    caller.require_admin()?;
    let rows = app.storage.audit_list(filter, page).await?;
    Ok(page.cut(rows, |event| event.id))
}
