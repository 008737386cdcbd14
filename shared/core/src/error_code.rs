//! The one table from an error's meaning to SQLSTATE, gRPC code and HTTP status.
//!
//! A new variant is a decision about all three columns. SQLSTATEs are those of the PostgreSQL manual, appendix A.

/// What went wrong, in the terms every protocol `PgLens` speaks can express.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// A field, filter or parameter has a value that cannot be used.
    InvalidArgument,
    /// User name, password or token are not right.
    AuthenticationFailed,
    /// No credentials where some are needed.
    Unauthenticated,
    /// The caller is known and may not do this.
    PermissionDenied,
    /// No grant lets this user into this database now; an unknown database looks the same.
    NoGrant,
    /// A read grant does not allow the statement.
    ReadOnly,
    /// Another control of the grant does not allow the statement.
    StatementRefused,
    /// The grant's statements or bytes are used up.
    QuotaSpent,
    /// The session was ended from outside: revoked, expired, killed, disabled or drained.
    SessionTerminated,
    /// The thing named does not exist.
    NotFound,
    /// A thing of that name exists already.
    AlreadyExists,
    /// The state of the thing does not permit this now.
    Conflict,
    /// The request body is larger than is accepted.
    TooLarge,
    /// The method does not exist on this path.
    MethodNotAllowed,
    /// More of something than is allowed at once.
    Overloaded,
    /// More connections than are allowed.
    TooManyConnections,
    /// The control plane or its storage cannot be reached.
    ControlPlaneUnavailable,
    /// The target cannot be reached or refused the stored login.
    TargetUnavailable,
    /// The record of a statement cannot be kept.
    RecordUnavailable,
    /// The peer broke the protocol.
    ProtocolViolation,
    /// Understood, and not supported.
    Unsupported,
    /// The SQL text does not parse.
    SyntaxError,
    /// A prepared statement or portal of that name does not exist.
    UndefinedStatement,
    /// A defect of `PgLens`.
    Internal,
}

/// gRPC status codes as numbers (grpc.io, "Status codes and their use in gRPC"); this crate has no gRPC library.
pub mod grpc {
    /// The caller's argument is at fault whatever the state of the system.
    pub const INVALID_ARGUMENT: i32 = 3;
    /// The thing named was not found.
    pub const NOT_FOUND: i32 = 5;
    /// The thing to create exists.
    pub const ALREADY_EXISTS: i32 = 6;
    /// The caller is known and not allowed.
    pub const PERMISSION_DENIED: i32 = 7;
    /// Something is used up.
    pub const RESOURCE_EXHAUSTED: i32 = 8;
    /// The system is not in the state the call needs.
    pub const FAILED_PRECONDITION: i32 = 9;
    /// The call was ended from outside.
    pub const ABORTED: i32 = 10;
    /// Not implemented or not supported.
    pub const UNIMPLEMENTED: i32 = 12;
    /// An invariant is broken.
    pub const INTERNAL: i32 = 13;
    /// Try again later.
    pub const UNAVAILABLE: i32 = 14;
    /// No valid credentials.
    pub const UNAUTHENTICATED: i32 = 16;
}

impl ErrorCode {
    /// The five characters a PostgreSQL client sees.
    #[must_use]
    pub fn sqlstate(self) -> &'static str {
        self.row().0
    }

    /// The gRPC status code, one of [`grpc`].
    #[must_use]
    pub fn grpc_code(self) -> i32 {
        self.row().1
    }

    /// The HTTP status of a REST answer.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.row().2
    }

    /// The `code` field of a REST error and of a gRPC status detail.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().3
    }

    fn row(self) -> (&'static str, i32, u16, &'static str) {
        match self {
            Self::InvalidArgument => ("22023", grpc::INVALID_ARGUMENT, 400, "invalid_argument"),
            Self::AuthenticationFailed => {
                ("28P01", grpc::UNAUTHENTICATED, 401, "authentication_failed")
            }
            Self::Unauthenticated => ("28000", grpc::UNAUTHENTICATED, 401, "unauthenticated"),
            Self::PermissionDenied => ("42501", grpc::PERMISSION_DENIED, 403, "permission_denied"),
            Self::NoGrant => ("42501", grpc::PERMISSION_DENIED, 403, "no_grant"),
            Self::ReadOnly => ("25006", grpc::PERMISSION_DENIED, 403, "read_only"),
            Self::StatementRefused => ("42501", grpc::PERMISSION_DENIED, 403, "statement_refused"),
            Self::QuotaSpent => ("53400", grpc::RESOURCE_EXHAUSTED, 429, "quota_spent"),
            Self::SessionTerminated => ("57P01", grpc::ABORTED, 409, "session_terminated"),
            Self::NotFound => ("42704", grpc::NOT_FOUND, 404, "not_found"),
            Self::AlreadyExists => ("42710", grpc::ALREADY_EXISTS, 409, "already_exists"),
            Self::Conflict => ("55000", grpc::FAILED_PRECONDITION, 409, "conflict"),
            Self::TooLarge => ("54000", grpc::INVALID_ARGUMENT, 413, "too_large"),
            Self::MethodNotAllowed => ("0A000", grpc::UNIMPLEMENTED, 405, "method_not_allowed"),
            Self::Overloaded => ("53300", grpc::RESOURCE_EXHAUSTED, 429, "overloaded"),
            Self::TooManyConnections => (
                "53300",
                grpc::RESOURCE_EXHAUSTED,
                429,
                "too_many_connections",
            ),
            Self::ControlPlaneUnavailable => {
                ("57P03", grpc::UNAVAILABLE, 503, "control_plane_unavailable")
            }
            Self::TargetUnavailable => ("08001", grpc::UNAVAILABLE, 502, "target_unavailable"),
            Self::RecordUnavailable => ("58030", grpc::UNAVAILABLE, 503, "record_unavailable"),
            Self::ProtocolViolation => ("08P01", grpc::INVALID_ARGUMENT, 400, "protocol_violation"),
            Self::Unsupported => ("0A000", grpc::UNIMPLEMENTED, 501, "unsupported"),
            Self::SyntaxError => ("42601", grpc::INVALID_ARGUMENT, 400, "syntax_error"),
            Self::UndefinedStatement => ("26000", grpc::NOT_FOUND, 404, "undefined_statement"),
            Self::Internal => ("XX000", grpc::INTERNAL, 500, "internal"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_facing_rows_are_the_documented_ones() {
        let check = |code: ErrorCode, sqlstate, http| {
            assert_eq!(
                (code.sqlstate(), code.http_status()),
                (sqlstate, http),
                "{code:?}"
            );
        };
        check(ErrorCode::AuthenticationFailed, "28P01", 401);
        check(ErrorCode::NoGrant, "42501", 403);
        check(ErrorCode::ReadOnly, "25006", 403);
        check(ErrorCode::QuotaSpent, "53400", 429);
        check(ErrorCode::SessionTerminated, "57P01", 409);
        check(ErrorCode::ControlPlaneUnavailable, "57P03", 503);
        check(ErrorCode::TargetUnavailable, "08001", 502);
        check(ErrorCode::RecordUnavailable, "58030", 503);
        check(ErrorCode::ProtocolViolation, "08P01", 400);
        check(ErrorCode::Unsupported, "0A000", 501);
    }
}
