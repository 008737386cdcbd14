//! The API as an export sees it: pages of statements, and rows as they stream in.

use std::time::Duration;

use pglens_runtime::Backoff;
use serde_json::Value;

use super::ExportError;
use super::http::{Answer, Failure, Server};
use super::options::Options;

/// Largest page the API gives.
const PAGE_ROWS: u32 = 1000;
/// A page that fails for a reason that may pass is asked for again, this often.
const MAX_ATTEMPTS: u32 = 6;
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(15);

/// An administrator's access to the REST API.
pub(super) struct Api(Server);

/// A page of statements, the oldest first.
pub(super) struct Page {
    pub(super) queries: Vec<Value>,
    pub(super) next_cursor: Option<String>,
}

impl Api {
    pub(super) fn new(options: &Options) -> Result<Self, ExportError> {
        let (token, ca_pem) = (options.token.clone(), options.ca_pem.as_deref());
        Server::new(&options.url, token, ca_pem)
            .map(Self)
            .map_err(|reason| ExportError::Usage(format!("--url: {reason}")))
    }

    /// The statements behind `cursor`.
    pub(super) async fn queries(
        &self,
        filter: &[(&'static str, String)],
        cursor: Option<&str>,
    ) -> Result<Page, ExportError> {
        let mut path = format!("/api/queries?order=oldest&limit={PAGE_ROWS}");
        let cursor = cursor.map(|cursor| ("cursor", cursor.to_owned()));
        for (key, value) in filter.iter().cloned().chain(cursor) {
            path.push_str(&format!("&{key}={}", escaped(&value)));
        }
        let mut page = self.retried(&path).await?;
        let next_cursor = page.get("next_cursor").and_then(Value::as_str);
        let next_cursor = next_cursor.map(str::to_owned);
        match page.get_mut("queries").map(Value::take) {
            Some(Value::Array(queries)) => Ok(Page {
                queries,
                next_cursor,
            }),
            _ => Err(failure(
                "reading statements",
                "the answer is no list of statements",
            )),
        }
    }

    async fn retried(&self, path: &str) -> Result<Value, ExportError> {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let mut attempt = 1;
        loop {
            let answered = async { self.0.get(path).await?.json().await };
            match answered.await {
                Ok(page) => return Ok(page),
                Err(Failure { reason, may_pass }) if !may_pass || attempt == MAX_ATTEMPTS => {
                    return Err(failure("reading statements", &reason));
                }
                Err(_) => tokio::time::sleep(backoff.next_delay()).await,
            }
            attempt += 1;
        }
    }

    /// The rows of a statement, as NDJSON. That they are read is in the audit log.
    pub(super) async fn rows(&self, id: &str) -> Result<Rows, ExportError> {
        let path = format!("/api/queries/{id}/rows?format=ndjson");
        let answered = self.0.get(&path).await;
        answered
            .map(Rows)
            .map_err(|error| failure("reading rows", &error.reason))
    }
}

/// Rows that come in piece by piece.
pub(super) struct Rows(Answer);

impl Rows {
    /// The next piece; `None` at the end.
    pub(super) async fn piece(&mut self) -> Result<Option<bytes::Bytes>, ExportError> {
        let piece = self.0.piece().await;
        piece.map_err(|error| failure("reading rows", &error.reason))
    }
}

fn failure(what: &str, reason: &str) -> ExportError {
    ExportError::Api {
        what: what.to_owned(),
        reason: reason.to_owned(),
    }
}

/// `text` as a value in a query string (RFC 3986, section 2.3).
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(byte.into())
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped() {
        assert_eq!(escaped("a+b &ü"), "a%2Bb%20%26%C3%BC");
    }
}
