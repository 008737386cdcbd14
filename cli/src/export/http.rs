//! GET over HTTP/1.1, in the clear or inside TLS: a connection for each request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use pglens_core::Secret;
use pglens_runtime::Chain;
use pglens_runtime::tls::{Verification, client_config};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// To connect, and between two pieces of an answer.
const WAIT: Duration = Duration::from_secs(60);

/// Why there is no answer, or no more of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// The same request may succeed later.
    pub(super) may_pass: bool,
}

impl Failure {
    fn passing(reason: impl ToString) -> Self {
        Self {
            reason: reason.to_string(),
            may_pass: true,
        }
    }

    fn broken(error: &(dyn std::error::Error + 'static)) -> Self {
        Self::passing(Chain(error))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A server, and the credentials for it.
pub(super) struct Server {
    authority: http::uri::Authority,
    prefix: String,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    token: Secret<String>,
}

impl Server {
    /// # Errors
    /// When the URL or the authority's certificate cannot be used.
    pub(super) fn new(
        url: &str,
        token: Secret<String>,
        ca_pem: Option<&str>,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "is not a URL".to_owned())?;
        let authority = uri.authority().cloned().ok_or("names no host")?;
        let tls = match uri.scheme_str() {
            Some("http") => None,
            Some("https") => {
                let config = client_config(Verification::Full, ca_pem);
                let config = config.map_err(|error| error.to_string())?;
                let host = authority.host().trim_matches(['[', ']']).to_owned();
                let name = ServerName::try_from(host).map_err(|error| error.to_string())?;
                Some((TlsConnector::from(Arc::new(config)), name))
            }
            _ => return Err("must begin with http:// or https://".to_owned()),
        };
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self {
            authority,
            prefix,
            tls,
            token,
        })
    }

    /// The answer to a GET, if it is a success.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, Failure> {
        let late = || Failure::passing("no answer in time");
        let asked = timeout(WAIT, self.ask(path)).await;
        let mut answer = Answer(asked.map_err(|_| late())??);
        let status = answer.0.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        let words = body.get("error").and_then(serde_json::Value::as_str);
        Err(Failure {
            reason: format!("{status}: {}", words.unwrap_or("no reason given")),
            may_pass: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
        })
    }

    async fn ask(&self, path: &str) -> Result<Response<Incoming>, Failure> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Failure::broken(&error))?;
        // It ends with the answer, and what goes wrong with it is the answer's error.
        tokio::spawn(async move { _ = connection.await });
        let request = Request::get(format!("{}{path}", self.prefix))
            .header(header::HOST, self.authority.as_str())
            .header(
                header::AUTHORIZATION,
                format!("Bearer {}", self.token.expose()),
            )
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| Failure {
                reason: error.to_string(),
                may_pass: false,
            })?;
        let answered = sender.send_request(request).await;
        answered.map_err(|error| Failure::broken(&error))
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Failure> {
        let default = if self.tls.is_some() { 443 } else { 80 };
        let host = self.authority.host().trim_matches(['[', ']']);
        let port = self.authority.port_u16().unwrap_or(default);
        let socket = TcpStream::connect((host, port)).await;
        let socket = socket.map_err(|error| Failure::broken(&error))?;
        match &self.tls {
            None => Ok(Box::new(socket)),
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), socket).await;
                Ok(Box::new(stream.map_err(|error| Failure::broken(&error))?))
            }
        }
    }
}

/// An answer that comes in piece by piece.
pub(super) struct Answer(Response<Incoming>);

impl Answer {
    /// The next piece of the body; `None` at its end. A body that is cut short is an error.
    pub(super) async fn piece(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout(WAIT, self.0.body_mut().frame()).await;
            let frame = frame.map_err(|_| Failure::passing("the answer does not go on"))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(Failure::broken(&error)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
            }
        }
    }

    /// The whole body.
    pub(super) async fn json(&mut self) -> Result<serde_json::Value, Failure> {
        let mut body = Vec::new();
        while let Some(piece) = self.piece().await? {
            body.extend_from_slice(&piece);
        }
        serde_json::from_slice(&body).map_err(|error| Failure::passing(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked() {
        let check = |url: &str, expected: Result<&str, &str>| {
            let server = Server::new(url, Secret::new("x".to_owned()), None);
            let seen = server.as_ref().map(|server| server.prefix.as_str());
            assert_eq!(seen.map_err(String::as_str), expected, "{url}");
        };
        check("http://127.0.0.1:8080", Ok(""));
        check("http://[::1]/pglens/", Ok("/pglens"));
        check("ftp://x", Err("must begin with http:// or https://"));
        check("/api", Err("names no host"));
    }
}
