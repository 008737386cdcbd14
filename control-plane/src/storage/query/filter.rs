//! What a list of statements is narrowed by, and which index answers which part of it.

use chrono::{DateTime, TimeDelta, Utc};
use pglens_core::{DatabaseId, GrantId, SessionId, UserId};
use uuid::Uuid;

use super::first_id;
use crate::storage::filter::{Conditions, contains_pattern};

/// Statements that took this long are in an index of their own (V5).
pub(super) const SLOW_US: i64 = 100_000;
/// Statements with so many rows are in an index of their own (V5).
pub(super) const MANY_ROWS: i64 = 1000;

/// An id is made with its statement's start, by one clock; times are compared exactly, ids only to leave out what is
/// far away.
const ID_TOLERANCE: TimeDelta = TimeDelta::minutes(1);
/// A session's id is made by a control plane's clock, those of its statements by a proxy's.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::days(1);

/// Which statements are listed; absent fields match all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct QueryFilter {
    /// Of this session.
    pub connection_id: Option<SessionId>,
    /// Of this user.
    pub user_id: Option<UserId>,
    /// On this database.
    pub database_id: Option<DatabaseId>,
    /// Under this grant.
    pub grant_id: Option<GrantId>,
    /// Begun then or later.
    pub from: Option<DateTime<Utc>>,
    /// Begun before then.
    pub to: Option<DateTime<Utc>>,
    /// With this in its text, in any case.
    pub text: Option<String>,
    /// Ended with this.
    pub sqlstate: Option<String>,
    /// Refused, or not.
    pub refused: Option<bool>,
    /// Took at least this long.
    pub min_duration_us: Option<i64>,
    /// Gave at least so many rows.
    pub min_rows: Option<i64>,
    /// Equal but for constants.
    pub fingerprint: Option<String>,
}

/// How it is found out whether a statement has a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextIs {
    /// By reading its text. To fold the case of ASCII alone takes half the time, and where nothing else is looked for it
    /// finds the same, but for a few letters that other alphabets fold into ours, such as the Kelvin sign.
    Read,
    /// In an index, which is in the collation of the column.
    LookedUp,
}

/// Which end of the record a list begins at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest statement comes first.
    #[default]
    Newest,
    /// The oldest statement comes first.
    Oldest,
}

/// The index a list is read along; each is in the order of ids.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Driver {
    /// The primary key.
    All,
    /// Of one session.
    Connection(Uuid),
    /// Of these grants, merged. A user's and a database's statements are those of their grants.
    Grants(Vec<i64>),
    /// Of one SQLSTATE.
    Failed(String),
    /// Refused.
    Refused,
    /// At least [`SLOW_US`].
    Slow,
    /// At least [`MANY_ROWS`].
    Large,
}

impl QueryFilter {
    /// Whether it names what grants are between.
    pub(super) fn names_grants(&self) -> bool {
        self.user_id.is_some() || self.database_id.is_some() || self.grant_id.is_some()
    }

    /// The index that leaves the least to read. `grants` are those it names, when they are few enough.
    pub(super) fn driver(&self, grants: Option<Vec<i64>>) -> Driver {
        if let Some(SessionId(id)) = self.connection_id {
            return Driver::Connection(id);
        }
        if self.refused == Some(true) {
            return Driver::Refused;
        }
        if let Some(sqlstate) = &self.sqlstate {
            return Driver::Failed(sqlstate.clone());
        }
        if self.min_duration_us.is_some_and(|least| least >= SLOW_US) {
            return Driver::Slow;
        }
        if self.min_rows.is_some_and(|least| least >= MANY_ROWS) {
            return Driver::Large;
        }
        grants.map_or(Driver::All, Driver::Grants)
    }

    /// Whether every statement that `driver` finds between the bounds is one that is listed.
    pub(super) fn is_decided_by(&self, driver: &Driver) -> bool {
        let mut rest = Self {
            from: None,
            to: None,
            ..self.clone()
        };
        match driver {
            Driver::All => {}
            Driver::Connection(_) => rest.connection_id = None,
            Driver::Grants(_) => {
                (rest.user_id, rest.database_id, rest.grant_id) = (None, None, None);
            }
            Driver::Failed(_) => rest.sqlstate = None,
            Driver::Refused => rest.refused = None,
            Driver::Slow => rest.min_duration_us = rest.min_duration_us.filter(|us| *us != SLOW_US),
            Driver::Large => rest.min_rows = rest.min_rows.filter(|rows| *rows != MANY_ROWS),
        }
        rest == Self::default()
    }

    /// The ids between which its statements are: from the first one on, and before the second.
    pub(super) fn bounds(&self) -> (Option<Uuid>, Option<Uuid>) {
        let first = |time: DateTime<Utc>, tolerance| first_id(time.checked_sub_signed(tolerance)?);
        let from = self.from.and_then(|from| first(from, ID_TOLERANCE));
        let begun = self.connection_id.and_then(|SessionId(id)| time_of(id));
        let begun = begun.and_then(|begun| first(begun, CLOCK_TOLERANCE));
        // There are no ids of times before 1970.
        let to = self
            .to
            .and_then(|to| to.checked_add_signed(ID_TOLERANCE))
            .map(|to| first_id(to).unwrap_or_default());
        (from.max(begun), to)
    }

    /// Every condition but those on ids.
    pub(super) fn add_to(&self, conditions: &mut Conditions, text_is: TextIs) {
        conditions.add_some("q.connection_id = $", self.connection_id.map(|id| id.0));
        conditions.add_some("q.user_id = $", self.user_id.map(|id| id.0));
        conditions.add_some("q.database_id = $", self.database_id.map(|id| id.0));
        conditions.add_some("q.grant_id = $", self.grant_id.map(|id| id.0));
        conditions.add_some("q.started_at >= $", self.from);
        conditions.add_some("q.started_at < $", self.to);
        if let Some(text) = &self.text {
            let is_like = match text_is {
                TextIs::Read if text.is_ascii() => "q.sql collate \"C\" ilike $",
                TextIs::Read | TextIs::LookedUp => "q.sql ilike $",
            };
            conditions.add(is_like, contains_pattern(text));
        }
        conditions.add_some("q.sqlstate = $", self.sqlstate.clone());
        match self.refused {
            Some(true) => conditions.add_fixed("q.refusal <> ''"),
            Some(false) => conditions.add_fixed("q.refusal = ''"),
            None => {}
        }
        conditions.add_some("q.duration_us >= $", self.min_duration_us);
        conditions.add_some("q.row_count >= $", self.min_rows);
        conditions.add_some("q.fingerprint = $", self.fingerprint.clone());
    }
}

impl Driver {
    /// The conditions of its index, in the words of the index's own predicate.
    pub(super) fn add_to(&self, conditions: &mut Conditions) {
        match self {
            Self::All => {}
            Self::Connection(id) => conditions.add("q.connection_id = $", *id),
            Self::Grants(ids) => match ids.as_slice() {
                [one] => conditions.add("q.grant_id = $", *one),
                _ => conditions.add_fixed("q.grant_id = g.id"),
            },
            Self::Failed(sqlstate) => {
                conditions.add("q.sqlstate = $ and q.sqlstate <> ''", sqlstate.clone());
            }
            Self::Refused => conditions.add_fixed("q.refusal <> ''"),
            Self::Slow => conditions.add_fixed("q.duration_us >= 100000"),
            Self::Large => conditions.add_fixed("q.row_count >= 1000"),
        }
    }
}

/// The time in a `UUIDv7`.
fn time_of(id: Uuid) -> Option<DateTime<Utc>> {
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    DateTime::from_timestamp(i64::try_from(seconds).ok()?, nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rarest_thing_asked_for_drives() {
        let all = QueryFilter::default();
        assert_eq!(all.driver(None), Driver::All);
        assert!(all.is_decided_by(&Driver::All));
        let slow = QueryFilter {
            user_id: Some(UserId(1)),
            min_duration_us: Some(SLOW_US),
            ..all.clone()
        };
        assert_eq!(slow.driver(Some(vec![7])), Driver::Slow);
        assert!(!slow.is_decided_by(&Driver::Slow), "the user is not");
        let quick = QueryFilter {
            min_duration_us: Some(SLOW_US - 1),
            ..slow.clone()
        };
        assert_eq!(quick.driver(Some(vec![7])), Driver::Grants(vec![7]));
        let slow = QueryFilter {
            user_id: None,
            from: Some(Utc::now()),
            ..slow
        };
        assert!(slow.is_decided_by(&Driver::Slow));
    }

    #[test]
    fn bounds_are_a_little_wider_than_what_is_asked_for() {
        let (from, session) = (Utc::now(), Uuid::now_v7());
        let filter = QueryFilter {
            from: Some(from),
            to: Some(DateTime::UNIX_EPOCH - TimeDelta::days(2)),
            connection_id: Some(SessionId(session)),
            ..QueryFilter::default()
        };
        let (low, high) = filter.bounds();
        assert_eq!(low, first_id(from - ID_TOLERANCE));
        assert_eq!(high, Some(Uuid::nil()));
        let of_session = QueryFilter {
            from: None,
            to: None,
            ..filter
        };
        assert!(of_session.bounds().0.unwrap() < session);
    }
}
