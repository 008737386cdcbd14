//! The planes as tasks of this process.

use pglens_runtime::{ConfigError, Setting, Settings};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::DevError;
use super::options::Pairs;
use crate::planes::{self, PlaneError};

/// A plane that runs in this process. Dropping it ends the task where it stands.
#[derive(Debug)]
pub(super) struct InsidePlane {
    plane: &'static str,
    shutdown: CancellationToken,
    task: Option<JoinHandle<Result<(), PlaneError>>>,
}

impl InsidePlane {
    pub(super) fn control_plane(plane: &'static str, pairs: &Pairs) -> Result<Self, DevError> {
        let settings = settings(pglens_control_plane::SETTINGS, pairs)?;
        let shutdown = CancellationToken::new();
        let (ready, _asked_over_http) = oneshot::channel();
        let task = tokio::spawn(planes::serve_control_plane(
            settings,
            shutdown.clone(),
            ready,
        ));
        Ok(Self {
            plane,
            shutdown,
            task: Some(task),
        })
    }

    pub(super) fn data_plane(plane: &'static str, pairs: &Pairs) -> Result<Self, DevError> {
        let settings = settings(pglens_data_plane::SETTINGS, pairs)?;
        let shutdown = CancellationToken::new();
        let (ready, _asked_over_http) = oneshot::channel();
        let task = tokio::spawn(planes::serve_data_plane(settings, shutdown.clone(), ready));
        Ok(Self {
            plane,
            shutdown,
            task: Some(task),
        })
    }

    /// Waits until the plane has ended by itself. Cancel safe.
    pub(super) async fn failed(&mut self) -> DevError {
        let Some(task) = &mut self.task else {
            return std::future::pending().await;
        };
        let ended = task.await;
        self.task = None;
        let plane = self.plane;
        match ended {
            Ok(Ok(())) => DevError::PlaneEnded { plane },
            Ok(Err(source)) => DevError::Plane { plane, source },
            Err(panicked) => DevError::Plane {
                plane,
                source: PlaneError::Run(panicked.to_string()),
            },
        }
    }

    /// Waits for sessions and requests to end; the plane itself sees to its grace.
    pub(super) async fn stop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = self.task.take() {
            match task.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    tracing::warn!(plane = self.plane, %error, "plane stopped with an error")
                }
                Err(error) => {
                    tracing::error!(plane = self.plane, %error, "plane panicked while stopping")
                }
            }
        }
    }
}

impl Drop for InsidePlane {
    fn drop(&mut self) {
        self.shutdown.cancel();
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn settings(table: &'static [Setting], pairs: &Pairs) -> Result<Settings, ConfigError> {
    Settings::from_pairs(
        table,
        pairs.iter().map(|(name, value)| (*name, value.clone())),
    )
}
