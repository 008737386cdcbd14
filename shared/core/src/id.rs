//! Identifiers, one type for each kind of thing, so that two of them cannot be swapped in a call.
//!
//! Users, databases and grants carry the integers of the REST API; sessions, queries and proxy runs are `UUIDv7`,
//! whose leading 48 bits are a Unix time in milliseconds (RFC 9562, section 5.7) and therefore sort by time.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! integer_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Reads the 16 bytes an id has on the wire between the planes.
            ///
            /// # Errors
            /// When `bytes` is not 16 bytes long.
            pub fn from_wire(bytes: &[u8]) -> Result<Self, uuid::Error> {
                Uuid::from_slice(bytes).map(Self)
            }

            /// The 16 bytes of the id, in network order.
            #[must_use]
            pub fn to_wire(self) -> Vec<u8> {
                self.0.as_bytes().to_vec()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }
    };
}

integer_id!(
    /// A person who logs in through `PgLens`.
    UserId
);
integer_id!(
    /// A target database as `PgLens` knows it.
    DatabaseId
);
integer_id!(
    /// Permission of one user on one database for a time.
    GrantId
);
uuid_id!(
    /// One client connection that was let in; the REST API calls it a connection.
    SessionId
);
uuid_id!(
    /// One executed or refused statement; the REST API calls it a query.
    QueryId
);
uuid_id!(
    /// One run of a data plane process, from its start to its end.
    RunId
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_form_round_trips() {
        let id = SessionId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001));
        assert_eq!(SessionId::from_wire(&id.to_wire()).unwrap(), id);
    }

    #[test]
    fn wire_form_of_another_length_is_refused() {
        assert!(QueryId::from_wire(&[0; 15]).is_err());
    }
}
