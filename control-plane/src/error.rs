//! What goes wrong in the control plane: errors with words for the caller, and errors that end the process.

use std::error::Error;
use std::fmt;

use pglens_core::ErrorCode;
use pglens_runtime::{Chain, ConfigError, Fatal};
use serde_json::{Value, json};
use tonic::Status;

/// A request that was not fulfilled.
///
/// `Display` is what the caller is told; the source is for the log only and is never shown.
#[derive(Debug)]
pub struct ServiceError {
    code: ErrorCode,
    message: String,
    detail: Option<Value>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ServiceError {
    /// An error of `code` that tells the caller `message`.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            detail: None,
            source: None,
        }
    }

    /// A field, filter or parameter that cannot be used; named in the message and in the details.
    pub fn invalid(field: &str, reason: impl fmt::Display) -> Self {
        Self::new(ErrorCode::InvalidArgument, format!("{field}: {reason}"))
            .with_detail(json!({ "field": field }))
    }

    /// `what` does not exist, for example "user 7".
    pub fn not_found(what: impl fmt::Display) -> Self {
        Self::new(ErrorCode::NotFound, format!("{what} does not exist"))
    }

    /// The state of the thing does not permit this now.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// The caller is known and may not do this.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::PermissionDenied, message)
    }

    /// The storage database cannot be reached.
    pub fn unavailable(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            ErrorCode::ControlPlaneUnavailable,
            "the storage database cannot be reached",
        )
        .with_source(source)
    }

    /// A defect; the caller learns no more than that.
    pub fn internal(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(
            ErrorCode::Internal,
            "an internal error, see the log of the control plane",
        )
        .with_source(source)
    }

    /// Adds structured facts for the caller.
    #[must_use]
    pub fn with_detail(mut self, detail: Value) -> Self {
        self.detail = Some(detail);
        self
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Its row in the one table of codes.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// The words for the caller.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Structured facts for the caller.
    #[must_use]
    pub fn detail(&self) -> Option<&Value> {
        self.detail.as_ref()
    }

    /// Writes what an operator has to know; called once, where the error becomes an answer.
    pub fn log(&self) {
        match self.code {
            ErrorCode::Internal => tracing::error!(error = %Chain(self), "request failed"),
            ErrorCode::ControlPlaneUnavailable => {
                tracing::warn!(error = %Chain(self), "request failed");
            }
            code => tracing::debug!(code = code.as_str(), error = %Chain(self), "request refused"),
        }
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ServiceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source
            .as_deref()
            .map(|source| source as &(dyn Error + 'static))
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        error.log();
        pglens_rpc::status::status(error.code, error.message)
    }
}

impl From<pglens_rpc::convert::InvalidField> for ServiceError {
    fn from(error: pglens_rpc::convert::InvalidField) -> Self {
        Self::invalid(error.field, error.reason)
    }
}

/// Why the control plane ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A setting cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address of a listener cannot be told.
    #[error("the address of a listener cannot be told")]
    Listener(#[source] std::io::Error),
    /// The storage database cannot be used.
    #[error("the storage database cannot be used")]
    Storage(#[source] crate::storage::StoreError),
    /// The schema could not be brought up to date.
    #[error("the storage schema cannot be brought up to date")]
    Migrate(#[source] crate::storage::StoreError),
    /// The first user could not be made.
    #[error("the default administrator cannot be created")]
    Bootstrap(#[source] ServiceError),
    /// The gRPC server ended by itself.
    #[error("the gRPC server failed")]
    Grpc(#[source] tonic::transport::Error),
    /// A task that should run for ever ended.
    #[error("{0} ended unexpectedly")]
    TaskEnded(&'static str),
}

impl Fatal for RunError {
    fn config_error(&self) -> Option<&ConfigError> {
        match self {
            Self::Config(error) => Some(error),
            _ => None,
        }
    }
}
