//! The collector: a connection that is made when it is needed, and what its answers mean.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use pglens_runtime::tls::{TlsError, load_text, system_roots};
use prost::Message;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::config::FeedConfig;

/// A collector that is there answers sooner; the leader's lease is longer than both together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How soon a connection that vanished without a word is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Of what a collector says, in a log line.
const MAX_WORDS: usize = 200;

/// A request that was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    /// No connection can be made with these settings.
    #[error("no connection to the collector can be made")]
    Endpoint(#[from] tonic::transport::Error),
    /// The authorities cannot be used.
    #[error("authorities of the collector's certificate")]
    Authorities(#[from] TlsError),
    /// The collector, or the way there, refused it.
    #[error("the collector answers {code:?}: {words}")]
    Refused {
        /// Of gRPC.
        code: Code,
        /// Its own, without secrets.
        words: String,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
}

impl SendError {
    /// Whether fewer records may get through: it is too large, or one of them is not understood. A collector that asks
    /// for a rest is merely busy.
    pub(crate) fn is_about_the_content(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::InvalidArgument | Code::ResourceExhausted | Code::OutOfRange,
                retry_after: None,
                ..
            }
        )
    }

    /// Whether a single record will never get through.
    pub(crate) fn is_final(&self) -> bool {
        matches!(
            self,
            Self::Refused {
                code: Code::InvalidArgument,
                ..
            }
        )
    }

    /// When the collector wants to be asked again.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Endpoint(_) | Self::Authorities(_) => None,
        }
    }
}

/// What a collector did with a request that it took.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Records that it did not want, and does not want again.
    pub(crate) rejected: u64,
    /// Its words on that, without secrets.
    pub(crate) words: String,
}

/// The connection to the collector.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    config: &'a FeedConfig,
    channel: Option<Channel>,
}

impl<'a> Collector<'a> {
    pub(crate) fn new(config: &'a FeedConfig) -> Self {
        Self {
            config,
            channel: None,
        }
    }

    /// Sends `request`. Ends within the two timeouts above. After an error the next one goes over a new connection, with
    /// the file of authorities read again.
    ///
    /// # Errors
    /// When it was not taken; whether the collector has it all the same is not known.
    pub(crate) async fn send(
        &mut self,
        request: ExportLogsServiceRequest,
    ) -> Result<Taken, SendError> {
        let sent = self.try_send(request).await;
        if sent.is_err() {
            self.channel = None;
        }
        sent
    }

    async fn try_send(&mut self, request: ExportLogsServiceRequest) -> Result<Taken, SendError> {
        let channel = match &self.channel {
            Some(channel) => channel.clone(),
            None => {
                let channel = endpoint(self.config)?.connect_lazy();
                self.channel.insert(channel).clone()
            }
        };
        let mut request = Request::new(request);
        self.config.headers.add_to(request.metadata_mut());
        let answer = LogsServiceClient::new(channel).export(request).await;
        let answer = answer.map_err(|status| self.refused(&status))?;
        let partial = answer.into_inner().partial_success.unwrap_or_default();
        Ok(Taken {
            rejected: u64::try_from(partial.rejected_log_records).unwrap_or_default(),
            words: self.words(&partial.error_message),
        })
    }

    fn refused(&self, status: &Status) -> SendError {
        SendError::Refused {
            code: status.code(),
            words: self.words(status.message()),
            retry_after: retry_after(status.details()),
        }
    }

    /// A collector may quote what it got.
    fn words(&self, text: &str) -> String {
        let text = self.config.headers.hide_in(text);
        let text = text.chars().take(MAX_WORDS);
        text.map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

fn endpoint(config: &FeedConfig) -> Result<Endpoint, SendError> {
    let endpoint = Endpoint::from(config.endpoint.uri())
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
    if !config.endpoint.is_tls() {
        return Ok(endpoint);
    }
    let tls = ClientTlsConfig::new();
    let tls = match &config.ca {
        Some(path) => tls.ca_certificate(Certificate::from_pem(load_text(path)?)),
        None => tls.trust_anchors(system_roots()?.roots),
    };
    Ok(endpoint.tls_config(tls)?)
}

/// `google.rpc.Status`, as far as it is of interest here; it is what the details of a status are made of.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    details: Vec<prost_types::Any>,
}

/// `google.rpc.RetryInfo`, with which a collector asks for a rest (OTLP specification, "OTLP/gRPC Throttling").
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

fn retry_after(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let info = RetryInfo::decode(info.value.as_slice()).ok()?;
    info.retry_delay?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_that_is_asked_for_is_understood() {
        let info = RetryInfo {
            retry_delay: Some(prost_types::Duration {
                seconds: 3,
                nanos: 0,
            }),
        };
        let status = RpcStatus {
            details: vec![prost_types::Any {
                type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
                value: info.encode_to_vec(),
            }],
        };
        let details = status.encode_to_vec();
        assert_eq!(retry_after(&details), Some(Duration::from_secs(3)));
        assert_eq!(retry_after(b""), None);
        assert_eq!(retry_after(b"not protobuf"), None);
    }

    #[test]
    fn answers_are_told_apart() {
        let refused = |code, retry_after| SendError::Refused {
            code,
            words: String::new(),
            retry_after,
        };
        let check = |error: SendError, about_the_content, is_final| {
            let said = (error.is_about_the_content(), error.is_final());
            assert_eq!(said, (about_the_content, is_final), "{error:?}");
        };
        check(refused(Code::InvalidArgument, None), true, true);
        check(refused(Code::ResourceExhausted, None), true, false);
        let rest = Some(Duration::from_secs(1));
        check(refused(Code::ResourceExhausted, rest), false, false);
        check(refused(Code::Unavailable, None), false, false);
        check(refused(Code::Unauthenticated, None), false, false);
    }
}
