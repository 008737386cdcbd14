//! Errors as gRPC statuses: the code from the one table, the name of the error code in the metadata.

use pglens_core::ErrorCode;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::convert::InvalidField;

/// Metadata key under which [`ErrorCode::as_str`] travels.
pub const ERROR_CODE_KEY: &str = "pglens-error-code";

/// A status with the code that belongs to `code`. `message` is shown to the caller.
pub fn status(code: ErrorCode, message: impl Into<String>) -> Status {
    let mut status = Status::new(Code::from_i32(code.grpc_code()), message);
    status
        .metadata_mut()
        .insert(ERROR_CODE_KEY, MetadataValue::from_static(code.as_str()));
    status
}

impl From<InvalidField> for Status {
    fn from(error: InvalidField) -> Self {
        status(ErrorCode::InvalidArgument, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_carries_both_codes() {
        let status = status(ErrorCode::NotFound, "user 7 does not exist");
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.metadata().get(ERROR_CODE_KEY).unwrap(), "not_found");
    }
}
