//! Asks a target to cancel the statement of one session (PostgreSQL manual, section "Canceling Requests in Progress").

use std::time::Duration;

#[cfg(test)]
use pglens_core::Secret;
use pglens_wire::startup::put_cancel_request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::ConnectError;
use super::dial::{Encryption, dial};
use crate::control::Target;

/// A cancel that takes longer is of no use to the person who asked.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// The key of a target session, and the way to the target. Never told to anyone but the target.
#[derive(Clone)]
pub(crate) struct CancelKey {
    pub(crate) process_id: u32,
    pub(crate) secret: Vec<u8>,
    pub(crate) target: Target,
    /// As the session itself did.
    pub(crate) encryption: Encryption,
}

impl std::fmt::Debug for CancelKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CancelKey({})", self.process_id)
    }
}

impl CancelKey {
    /// Sends the cancel request and waits until the target has closed the connection: from then on the signal is sent.
    ///
    /// # Errors
    /// When the target cannot be reached in time.
    pub(crate) async fn cancel(&self) -> Result<(), ConnectError> {
        let sending = async {
            let mut stream = dial(&self.target, self.encryption).await?.stream;
            let mut request = Vec::new();
            put_cancel_request(&mut request, self.process_id, &self.secret);
            let sent = stream.write_all(&request).await;
            sent.map_err(ConnectError::Write)?;
            let flushed = stream.flush().await;
            flushed.map_err(ConnectError::Write)?;
            // The target answers nothing; whatever way the connection ends is the end.
            let _closed = stream.read_u8().await;
            Ok(())
        };
        let timed_out = |_| ConnectError::TimedOut {
            address: format!("{}:{}", self.target.host, self.target.port),
            after: CANCEL_TIMEOUT,
        };
        tokio::time::timeout(CANCEL_TIMEOUT, sending)
            .await
            .map_err(timed_out)?
    }

    #[cfg(test)]
    pub(crate) fn for_tests(process_id: u32) -> Self {
        Self {
            process_id,
            secret: vec![9; 4],
            target: Target {
                host: "192.0.2.1".to_owned(),
                port: 1,
                database: String::new(),
                username: String::new(),
                password: Secret::new(String::new()),
                ssl_mode: pglens_core::SslMode::Disable,
                root_certificate: None,
                allowed_functions: pglens_policy::AllowedFunctions::default(),
            },
            encryption: Encryption::Plain,
        }
    }
}
