//! Where the feed goes, and what goes with it.

use std::fmt;
use std::path::{Path, PathBuf};

use pglens_core::Secret;
use pglens_runtime::tls;
use tonic::metadata::{Ascii, MetadataKey, MetadataValue};
use tonic::transport::Uri;

use crate::percent;

/// Names that gRPC and HTTP/2 keep for themselves.
const RESERVED: [&str; 5] = ["content-type", "host", "te", "user-agent", "connection"];

/// The feed's settings.
#[derive(Debug, Clone)]
pub struct FeedConfig {
    /// The collector.
    pub endpoint: Endpoint,
    /// Sent with each request.
    pub headers: Headers,
    /// Authorities that the collector's certificate may be of; absent: the system's.
    pub ca: Option<PathBuf>,
    /// Whether the texts of statements are sent.
    pub has_query_text: bool,
}

impl FeedConfig {
    /// Whether whoever listens on the way learns the headers.
    #[must_use]
    pub fn sends_secrets_in_clear(&self) -> bool {
        !self.endpoint.is_tls() && !self.headers.values.is_empty()
    }
}

/// The address of an OTLP/gRPC receiver: `http` or `https`, host and port, and nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Uri);

impl Endpoint {
    /// Reads `https://host:port`.
    ///
    /// # Errors
    /// In words, when it is anything else.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || "is not of the form http://host:port or https://host:port".to_owned();
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') {
            return Err("must hold no login; PGL_FEED_HEADERS is for secrets".to_owned());
        }
        let is_known = matches!(uri.scheme_str(), Some("http" | "https"));
        if !is_known || authority.host().is_empty() {
            return Err(wrong());
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err("must have no path: records go there over OTLP/gRPC, not HTTP".to_owned());
        }
        Ok(Self(uri))
    }

    /// Whether it is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    pub(super) fn uri(&self) -> Uri {
        self.0.clone()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Headers of each request. They are secrets.
#[derive(Clone, Default)]
pub struct Headers {
    values: Vec<(MetadataKey<Ascii>, Secret<String>)>,
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.values.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Headers {
    /// Reads `name=value,other=value`, values percent-encoded, as `OTEL_EXPORTER_OTLP_HEADERS` has them.
    ///
    /// # Errors
    /// In words that quote no value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut values = Vec::new();
        let pairs = text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        for (index, pair) in pairs.enumerate() {
            let place = index + 1;
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| format!("header {place} is not of the form name=value"))?;
            let name = name.trim().to_ascii_lowercase();
            let key = MetadataKey::<Ascii>::from_bytes(name.as_bytes())
                .map_err(|_| format!("the name of header {place} cannot be used"))?;
            if RESERVED.contains(&name.as_str()) || name.starts_with("grpc-") {
                return Err(format!("header {place} is one that gRPC sets itself"));
            }
            // A plus is one: tokens in base64 have them.
            let value = percent::decode(&value.trim().replace('+', "%2B"))
                .filter(|value| MetadataValue::<Ascii>::try_from(value.as_str()).is_ok())
                .ok_or_else(|| format!("the value of header {place} cannot be used"))?;
            values.push((key, Secret::new(value)));
        }
        Ok(Self { values })
    }

    /// Puts them on a request.
    pub(super) fn add_to(&self, metadata: &mut tonic::metadata::MetadataMap) {
        for (name, value) in &self.values {
            if let Ok(mut value) = MetadataValue::try_from(value.expose().as_str()) {
                value.set_sensitive(true);
                metadata.insert(name.clone(), value);
            }
        }
    }

    /// `text` of the collector without values it may quote, the whole or what stands behind its scheme ("Bearer").
    pub(super) fn hide_in(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (_, value) in &self.values {
            let value = value.expose();
            let words = value.split_whitespace().filter(|word| word.len() >= 4);
            for part in std::iter::once(value.as_str()).chain(words) {
                if !part.is_empty() && !part.eq_ignore_ascii_case("bearer") {
                    text = text.replace(part, "[secret]");
                }
            }
        }
        text
    }
}

/// Looks whether a file of authorities can be used.
///
/// # Errors
/// When it cannot.
pub fn ca_file(path: &str) -> Result<PathBuf, tls::TlsError> {
    tls::load_certs(Path::new(path))?;
    Ok(PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_scheme_a_host_and_a_port() {
        for good in [
            "http://127.0.0.1:4317",
            "https://otel.example:4317/",
            "https://[::1]:4317",
        ] {
            let endpoint = Endpoint::parse(good).unwrap();
            assert_eq!(endpoint.is_tls(), good.starts_with("https"));
        }
        let wrong = [
            "otel.example:4317",
            "grpc://otel.example:4317",
            "https://otel.example:4318/v1/logs",
            "https://otel.example:4317?a=b",
            "https://user:hunter2@otel.example:4317",
            "",
        ];
        for wrong in wrong {
            let reason = Endpoint::parse(wrong).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }

    #[test]
    fn headers_are_read_as_open_telemetry_writes_them_and_shown_to_nobody() {
        let headers =
            Headers::parse("Authorization=Bearer%20ab+c/d==, x-scope-orgid = pglens,").unwrap();
        let mut metadata = tonic::metadata::MetadataMap::new();
        headers.add_to(&mut metadata);
        assert_eq!(metadata.get("authorization").unwrap(), "Bearer ab+c/d==");
        assert_eq!(metadata.get("x-scope-orgid").unwrap(), "pglens");
        assert!(metadata.get("authorization").unwrap().is_sensitive());
        assert_eq!(
            format!("{headers:?}"),
            r#"["authorization", "x-scope-orgid"]"#
        );
        assert_eq!(
            headers.hide_in("token ab+c/d== is not known"),
            "token [secret] is not known"
        );
        for wrong in [
            "hunter2",
            "a b=hunter2",
            "te=hunter2",
            "x=hunter2%0a",
            "x=%zzhunter2",
        ] {
            let reason = Headers::parse(wrong).unwrap_err();
            assert!(!reason.contains("hunter2"), "{reason}");
        }
    }
}
