//! Sends what earlier runs of this proxy have left in the spool, and has their sessions closed.
//!
//! A folder is taken over only when its process is gone, and only the identity it belongs to gets its key. What was
//! recorded is published as that run, from the sequence the control plane names; statements that may have run though
//! their record had not begun follow. Then the control plane closes the run's sessions, and the folder goes.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pglens_core::limits::MAX_BATCH_BYTES;
use pglens_core::{RunId, Secret};
use pglens_rpc::v1;
use pglens_rpc::v1::fleet_client::FleetClient;
use pglens_runtime::Chain;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::ControlPlanes;
use super::channel::ControlPlane;
use super::record_codec::{self, Outgoing};
use crate::audit::folder::RunFolder;
use crate::audit::frame::{FrameError, FrameKey};
use crate::audit::replay::Replay;
use crate::audit::window::BatchLimit;

/// Another process that used the same folder may die at any time.
const INTERVAL: Duration = Duration::from_secs(30);
/// As soon as that while something is left that a control plane did not take.
const RETRY: Duration = Duration::from_secs(2);
/// One answer of a control plane; storage has to commit a batch in it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
const BATCH: BatchLimit = BatchLimit {
    records: 1000,
    bytes: MAX_BATCH_BYTES,
};

/// Why a folder was not done with.
#[derive(Debug, thiserror::Error)]
enum RecoverError {
    #[error("no control plane answers for it")]
    Status(#[from] Box<Status>),
    #[error("no control plane answered within {ANSWER_TIMEOUT:?}")]
    TimedOut,
    #[error("it cannot be read")]
    Io(#[from] std::io::Error),
    #[error("its key is none")]
    Key(#[from] FrameError),
    #[error("the control plane closed the stream")]
    Closed,
}

impl From<Status> for RecoverError {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

/// What became of a folder.
enum Recovered {
    Done,
    /// It is not ours to send, for good.
    Refused,
    /// The control planes are of a version that does not know how. They may be replaced at any time.
    NotYet,
}

/// Runs whose folder is left for now.
#[derive(Default)]
struct Left {
    refused: HashSet<RunId>,
    /// Said to wait for a newer control plane.
    not_yet: HashSet<RunId>,
}

/// What the recovery works with.
pub(crate) struct Recovery {
    pub(crate) folder: PathBuf,
    pub(crate) planes: Arc<ControlPlanes>,
}

impl Recovery {
    /// Looks for folders until `shutdown` is cancelled.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut left = Left::default();
        loop {
            let is_left = tokio::select! {
                () = shutdown.cancelled() => return,
                is_left = self.round(&mut left) => is_left,
            };
            let pause = if is_left { RETRY } else { INTERVAL };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Whether something is left that may go better next time.
    async fn round(&self, left: &mut Left) -> bool {
        let path = self.folder.clone();
        let found = tokio::task::spawn_blocking(move || RunFolder::abandoned(&path)).await;
        let folders = match found.map_err(std::io::Error::other).flatten() {
            Ok(folders) => folders,
            Err(error) => {
                tracing::warn!(error = %Chain(&error), "spool not searched for earlier runs");
                return true;
            }
        };
        let mut is_left = false;
        for folder in folders {
            let run_id = folder.run_id;
            if left.refused.contains(&run_id) {
                continue;
            }
            let folder = Arc::new(folder);
            match self.recover(&folder).await {
                Ok(Recovered::Done) => {}
                Ok(Recovered::Refused) => _ = left.refused.insert(run_id),
                Ok(Recovered::NotYet) => {
                    is_left = true;
                    if left.not_yet.insert(run_id) {
                        tracing::warn!(run.id = %run_id, "spool of an earlier run waits for a newer control plane");
                    }
                }
                Err(error) => {
                    is_left = true;
                    tracing::warn!(run.id = %run_id, error = %Chain(&error), "spool of an earlier run not sent yet");
                }
            }
        }
        is_left
    }

    async fn recover(&self, folder: &Arc<RunFolder>) -> Result<Recovered, RecoverError> {
        let mut last = Err(RecoverError::Closed);
        for (_index, plane) in self.planes.in_order() {
            last = recover_with(plane, folder).await;
            if matches!(last, Ok(Recovered::Done | Recovered::Refused)) {
                break;
            }
        }
        last
    }
}

async fn recover_with(
    plane: ControlPlane,
    folder: &Arc<RunFolder>,
) -> Result<Recovered, RecoverError> {
    let run_id = folder.run_id;
    let mut client = FleetClient::new(plane.decisions);
    let request = v1::RecoverRequest {
        run_id: run_id.to_wire(),
    };
    let answer = match in_time(client.recover(request)).await {
        Ok(answer) => answer.into_inner(),
        Err(RecoverError::Status(status)) => return refused(folder, *status),
        Err(error) => return Err(error),
    };
    let key = FrameKey::new(run_id, &Secret::new(answer.record_key))?;
    let replay = Replay::new(Arc::clone(folder), key);
    let (replay, ()) = read(replay, Replay::survey).await?;
    let (replay, sent) = send(plane.records, run_id, replay).await?;
    let is_complete = !replay.is_damaged() && !folder.is_from_another_boot();
    let request = v1::FinishRecoveryRequest {
        run_id: run_id.to_wire(),
        last_sequence: sent,
        complete: is_complete,
    };
    let finished = in_time(client.finish_recovery(request)).await?.into_inner();
    tracing::info!(
        run.id = %run_id,
        last_sequence = sent,
        sessions_closed = finished.sessions_closed,
        sessions_incomplete = finished.sessions_incomplete,
        "record of an earlier run is complete"
    );
    if replay.is_damaged() {
        let kept = folder.set_aside()?;
        tracing::error!(run.id = %run_id, folder = %kept.display(), "spool of an earlier run is damaged, its sessions are marked incomplete");
    } else {
        folder.remove()?;
    }
    Ok(Recovered::Done)
}

fn refused(folder: &RunFolder, status: Status) -> Result<Recovered, RecoverError> {
    let run_id = folder.run_id;
    match status.code() {
        // A run that no control plane ever knew has recorded nothing.
        Code::NotFound if !folder.has_records()? => {
            folder.remove()?;
            Ok(Recovered::Done)
        }
        Code::Unimplemented => Ok(Recovered::NotYet),
        Code::NotFound | Code::PermissionDenied => {
            tracing::error!(
                run.id = %run_id,
                reason = status.message(),
                "spool of a run that is not this proxy's, left as it is"
            );
            Ok(Recovered::Refused)
        }
        _ => Err(status.into()),
    }
}

/// Publishes what is behind the committed sequence; returns the last sequence.
async fn send(
    channel: Channel,
    run_id: RunId,
    mut replay: Replay,
) -> Result<(Replay, u64), RecoverError> {
    let (requests, receiver) = mpsc::channel(1);
    let hello = requests.send(Outgoing::Hello(run_id)).await;
    hello.map_err(|_| RecoverError::Closed)?;
    let mut answers = in_time(record_codec::publish(channel, receiver)).await?;
    let first = next(&mut answers).await?;
    let mut committed = first.committed_sequence;
    loop {
        let batch;
        (replay, batch) = read(replay, move |replay| replay.next_behind(committed, BATCH)).await?;
        let Some(mut batch) = batch else {
            return Ok((replay, committed));
        };
        if !first.takes_brief_records {
            batch = batch.in_full().map_err(std::io::Error::other)?;
        }
        let sent = requests.send(Outgoing::Batch(batch)).await;
        sent.map_err(|_| RecoverError::Closed)?;
        committed = next(&mut answers).await?.committed_sequence;
    }
}

async fn next(
    answers: &mut Streaming<v1::PublishResponse>,
) -> Result<v1::PublishResponse, RecoverError> {
    let answer = in_time(answers.message()).await?;
    answer.ok_or(RecoverError::Closed)
}

async fn in_time<T>(answer: impl Future<Output = Result<T, Status>>) -> Result<T, RecoverError> {
    match tokio::time::timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(RecoverError::TimedOut),
    }
}

/// Works on the disk, on a thread that may wait for it.
async fn read<T: Send + 'static>(
    mut replay: Replay,
    work: impl FnOnce(&mut Replay) -> std::io::Result<T> + Send + 'static,
) -> Result<(Replay, T), RecoverError> {
    let worked = tokio::task::spawn_blocking(move || {
        let done = work(&mut replay)?;
        Ok((replay, done))
    });
    Ok(worked.await.map_err(std::io::Error::other).flatten()?)
}
