//! The closed sets of words that grants and databases are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A word that is not one of a closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{value}\" is not one of {expected}")]
pub struct UnknownWord {
    /// What was given.
    pub value: String,
    /// The words that would have been understood.
    pub expected: &'static str,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $expected:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $word)] $variant),+
        }

        impl $name {
            /// The word as REST, storage and settings spell it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownWord { value: text.to_owned(), expected: $expected }),
                }
            }
        }
    };
}

words!(
    /// What a grant lets its user do. `Write` is the higher level.
    AccessLevel, "read, write" {
        /// Statements that cannot change the target.
        Read = "read",
        /// Whatever the stored login may do.
        Write = "write",
    }
);

words!(
    /// How durable a statement's record is before the statement runs.
    AuditLevel, "spooled, strict" {
        /// The start of the statement is in the proxy's own record.
        Spooled = "spooled",
        /// The start of the statement is committed by the control plane.
        Strict = "strict",
    }
);

words!(
    /// libpq's `sslmode`, for the connection to a target (PostgreSQL manual, section 34.19.3).
    SslMode, "disable, allow, prefer, require, verify-ca, verify-full" {
        /// Plain TCP only.
        Disable = "disable",
        /// Plain TCP first, TLS if the server insists.
        Allow = "allow",
        /// TLS if the server offers it.
        Prefer = "prefer",
        /// TLS, with any certificate.
        Require = "require",
        /// TLS, with a certificate of a trusted CA.
        VerifyCa = "verify-ca",
        /// TLS, with a certificate of a trusted CA that names the host.
        VerifyFull = "verify-full",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_round_trip_and_others_are_refused() {
        assert_eq!("verify-ca".parse(), Ok(SslMode::VerifyCa));
        assert_eq!(
            serde_json::to_string(&AccessLevel::Read).unwrap(),
            "\"read\""
        );
        let error = "READ".parse::<AccessLevel>().unwrap_err();
        assert_eq!(error.to_string(), "\"READ\" is not one of read, write");
    }

    #[test]
    fn write_is_the_higher_level() {
        assert!(AccessLevel::Write > AccessLevel::Read);
    }
}
