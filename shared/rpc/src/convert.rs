//! Conversions at the edge. An unspecified or unknown value is an error that names its field.

use chrono::{DateTime, Utc};
use pglens_core::{AccessLevel, AuditLevel, QueryId, RunId, SessionId, SslMode};

use crate::v1;

/// A field of a message holds what it must not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("field {field}: {reason}")]
pub struct InvalidField {
    /// Name of the field in the proto file.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

impl InvalidField {
    /// An error about `field`.
    pub fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self {
            field,
            reason: reason.into(),
        }
    }

    /// The error of a message field that is absent.
    #[must_use]
    pub fn missing(field: &'static str) -> Self {
        Self::new(field, "is missing")
    }
}

macro_rules! enum_conversion {
    ($domain:ident, $proto:ident, $field:literal { $($variant:ident),+ $(,)? }) => {
        impl From<$domain> for v1::$proto {
            fn from(value: $domain) -> Self {
                match value { $($domain::$variant => Self::$variant),+ }
            }
        }

        impl TryFrom<v1::$proto> for $domain {
            type Error = InvalidField;

            fn try_from(value: v1::$proto) -> Result<Self, InvalidField> {
                match value {
                    v1::$proto::Unspecified => Err(InvalidField::new($field, "is unspecified")),
                    $(v1::$proto::$variant => Ok(Self::$variant)),+
                }
            }
        }
    };
}

enum_conversion!(AccessLevel, AccessLevel, "access_level" { Read, Write });
enum_conversion!(AuditLevel, AuditLevel, "audit_level" { Spooled, Strict });
enum_conversion!(SslMode, SslMode, "ssl_mode" { Disable, Allow, Prefer, Require, VerifyCa, VerifyFull });

macro_rules! uuid_field {
    ($(#[$doc:meta])* $name:ident, $id:ident, $field:literal) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// When the field does not hold 16 bytes.
        pub fn $name(bytes: &[u8]) -> Result<$id, InvalidField> {
            $id::from_wire(bytes).map_err(|_| InvalidField::new($field, format!("has {} bytes, not 16", bytes.len())))
        }
    };
}

uuid_field!(
    /// Reads a `session_id` field.
    session_id,
    SessionId,
    "session_id"
);
uuid_field!(
    /// Reads a `query_id` field.
    query_id,
    QueryId,
    "query_id"
);
uuid_field!(
    /// Reads a `run_id` field.
    run_id,
    RunId,
    "run_id"
);

/// A protobuf timestamp of `time`, to the nanosecond.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: time.timestamp(),
        nanos: time.timestamp_subsec_nanos().cast_signed(),
    }
}

/// Reads a protobuf timestamp.
///
/// # Errors
/// When it lies outside the years a timestamp can hold, or its nanoseconds are not below a second.
pub fn time(
    field: &'static str,
    timestamp: &prost_types::Timestamp,
) -> Result<DateTime<Utc>, InvalidField> {
    u32::try_from(timestamp.nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(timestamp.seconds, nanos))
        .ok_or_else(|| InvalidField::new(field, "is not a valid time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unspecified_is_an_error_that_names_the_field() {
        let error = AccessLevel::try_from(v1::AccessLevel::Unspecified).unwrap_err();
        assert_eq!(error.to_string(), "field access_level: is unspecified");
    }

    #[test]
    fn times_round_trip() {
        let now = Utc::now();
        assert_eq!(time("at", &timestamp(now)), Ok(now));
    }

    #[test]
    fn short_ids_are_refused() {
        assert_eq!(
            session_id(&[1, 2]).unwrap_err().to_string(),
            "field session_id: has 2 bytes, not 16"
        );
    }
}
