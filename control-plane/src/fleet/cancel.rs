//! Cancel requests that reached another proxy than the one that holds the session.
//!
//! Storage knows which run holds which key, by a digest that only the master key can make. The run's proxy is told
//! through the stream it has open here, or to another replica: that one hears of it through `NOTIFY`, sealed. Whether
//! the key is right, and whether there is still something to cancel, is for the proxy that holds the session to say.

use std::time::Duration;

use pglens_core::{ErrorCode, RunId};
use pglens_rpc::status::status;
use pglens_rpc::v1::control_message::Message;
use pglens_rpc::v1::{Cancel, CancelOutcome, ControlMessage, ForwardCancelRequest};
use pglens_runtime::Chain;
use prost::Message as _;
use tokio::sync::Semaphore;
use tonic::Status;

use super::registry::Delivery;
use crate::app::App;
use crate::crypto::keyring::{KeyRing, SealContext};
use crate::storage::StoreError;
use crate::storage::notify::SealedCancel;

/// Requests that use storage at once: whoever sends many must not keep logins from it.
const MAX_AT_ONCE: usize = 4;
/// Together with [`LOOKUP_TIMEOUT`] less than a proxy waits for its answer.
const PLACE_TIMEOUT: Duration = Duration::from_secs(1);
/// Storage that takes longer is asked no more: the proxy that waits would give up before it answers.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);
/// SHA-256.
const DIGEST_BYTES: usize = 32;

/// What cancel requests need besides the app.
#[derive(Debug)]
pub struct Cancels {
    places: Semaphore,
    key: [u8; DIGEST_BYTES],
}

impl Cancels {
    /// Derives the key of stored digests from the master keys.
    #[must_use]
    pub fn new(keys: &KeyRing) -> Self {
        Self {
            places: Semaphore::new(MAX_AT_ONCE),
            key: keys.derive("cancel keys"),
        }
    }

    /// What storage keeps of a session's cancel key. Four random bytes are soon found from a plain digest of them, so
    /// this one takes the master key; `None` for what is no digest.
    #[must_use]
    pub fn stored(&self, digest: &[u8]) -> Option<[u8; DIGEST_BYTES]> {
        (digest.len() == DIGEST_BYTES).then(|| *blake3::keyed_hash(&self.key, digest).as_bytes())
    }
}

/// Hands a cancel request to the proxy that holds its session.
///
/// # Errors
/// When the request is malformed, or there are too many.
pub async fn forward(app: &App, request: ForwardCancelRequest) -> Result<CancelOutcome, Status> {
    let stored = app.cancels.stored(&request.key_digest).ok_or_else(|| {
        status(
            ErrorCode::InvalidArgument,
            "field key_digest: is no SHA-256 digest",
        )
    })?;
    let cancel = Cancel {
        process_id: request.process_id,
        key_digest: request.key_digest,
        asked_at_unix_us: request.asked_at_unix_us,
    };
    let place = tokio::time::timeout(PLACE_TIMEOUT, app.cancels.places.acquire());
    let Ok(Ok(_place)) = place.await else {
        return Err(status(ErrorCode::Overloaded, "too many cancel requests"));
    };
    let lookup = app.storage.session_run_list_by_cancel_key(&stored);
    let runs = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
        Ok(Ok(runs)) => runs,
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "cancel key not looked up, every proxy here is asked");
            return Ok(ask_every_proxy(app, &cancel));
        }
        Err(_elapsed) => {
            tracing::warn!(after = ?LOOKUP_TIMEOUT, "cancel key not looked up in time, every proxy here is asked");
            return Ok(ask_every_proxy(app, &cancel));
        }
    };
    if runs.is_empty() {
        return Ok(CancelOutcome::UnknownKey);
    }
    let mut outcome = CancelOutcome::HandedOver;
    for run_id in runs {
        if app.fleet.send(run_id, message(&cancel)) == Delivery::Queued {
            continue;
        }
        if let Err(error) = tell_replicas(app, run_id, &cancel).await {
            tracing::warn!(run.id = %run_id, error = %Chain(&error), "cancel request not passed on");
            outcome = CancelOutcome::Uncertain;
        }
    }
    Ok(outcome)
}

/// What remains without storage: the proxy that holds the session knows the key.
fn ask_every_proxy(app: &App, cancel: &Cancel) -> CancelOutcome {
    for run_id in app.fleet.runs() {
        app.fleet.send(run_id, message(cancel));
    }
    CancelOutcome::Uncertain
}

async fn tell_replicas(app: &App, run_id: RunId, cancel: &Cancel) -> Result<(), StoreError> {
    let row = run_id.to_string();
    let sealed = app.keys.seal(context(&row), &cancel.encode_to_vec());
    app.storage
        .notify_cancel(&SealedCancel { run_id, sealed })
        .await
}

/// A replica has a cancel request for a run that may be attached here.
pub fn heard(app: &App, notice: &SealedCancel) {
    if !app.fleet.holds(notice.run_id) {
        return;
    }
    let row = notice.run_id.to_string();
    let opened = app.keys.open(context(&row), &notice.sealed);
    let cancel = opened
        .map_err(|error| Chain(&error).to_string())
        .and_then(|plain| {
            Cancel::decode(plain.expose().as_slice()).map_err(|error| error.to_string())
        });
    match cancel {
        Ok(cancel) => {
            app.fleet.send(notice.run_id, message(&cancel));
        }
        Err(error) => {
            tracing::warn!(run.id = %notice.run_id, error, "cancel request of a replica not understood");
        }
    }
}

fn context(row: &str) -> SealContext<'_> {
    SealContext {
        table: "notifications",
        column: "cancel",
        row,
    }
}

fn message(cancel: &Cancel) -> ControlMessage {
    ControlMessage {
        message: Some(Message::Cancel(cancel.clone())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_digests_need_the_master_key() {
        let key = |seed: u8| {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode([seed; 32]);
            Cancels::new(&KeyRing::parse(&text).unwrap())
        };
        let digest = [7; DIGEST_BYTES];
        assert_eq!(key(1).stored(&digest), key(1).stored(&digest));
        assert_ne!(key(1).stored(&digest), key(2).stored(&digest));
        assert_ne!(key(1).stored(&digest).unwrap(), digest);
        assert_eq!(key(1).stored(&digest[1..]), None);
    }
}
