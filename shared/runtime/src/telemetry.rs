//! Log lines and metrics of a process.

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;
use std::str::FromStr;
use std::sync::Arc;

use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder, Registry, TextEncoder};
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("\"{text}\" is not one of text, json")),
        }
    }
}

/// A filter of log lines that cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("\"{filter}\" is not a log filter: {reason}")]
pub struct InvalidLogFilter {
    filter: String,
    reason: String,
}

/// Reads a filter of log lines.
///
/// # Errors
/// When `filter` is not in the syntax of `EnvFilter`.
pub fn parse_log_filter(filter: &str) -> Result<EnvFilter, InvalidLogFilter> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|error| InvalidLogFilter {
            filter: filter.to_owned(),
            reason: error.to_string(),
        })
}

/// Sends log lines to standard error. In a process that logs already, nothing changes.
///
/// # Errors
/// When `filter` is not in the syntax of `EnvFilter`.
pub fn init_logging(filter: &str, format: LogFormat) -> Result<(), InvalidLogFilter> {
    let filter = parse_log_filter(filter)?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // An error means that a subscriber is set: embedding programs and tests bring their own.
    let _already_set = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    Ok(())
}

/// The metrics of one plane: instruments come from its meters, the operations server shows them.
///
/// Names appear as they were given: `pglens_queries_total` gets no second `_total` and no unit.
#[derive(Debug, Clone)]
pub struct Metrics {
    provider: SdkMeterProvider,
    registry: Arc<Registry>,
}

impl Metrics {
    /// An empty set of metrics, independent of any other of the process.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build();
        let provider = match exporter {
            Ok(exporter) => SdkMeterProvider::builder().with_reader(exporter).build(),
            Err(error) => {
                tracing::error!(%error, "metrics exporter not built, metrics stay empty");
                SdkMeterProvider::default()
            }
        };
        Self {
            provider,
            registry: Arc::new(registry),
        }
    }

    /// A meter to make instruments with.
    #[must_use]
    pub fn meter(&self, name: &'static str) -> Meter {
        self.provider.meter(name)
    }

    /// The metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics not encoded");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows an error with everything that caused it: `Chain(&error)` in a log field.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.to_string();
        f.write_str(&shown)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            let text = error.to_string();
            // Some libraries repeat their source in their own text.
            if !shown.ends_with(&text) {
                write!(f, ": {text}")?;
                shown = text;
            }
            source = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::KeyValue;

    #[test]
    fn metrics_are_rendered_under_the_names_they_were_given() {
        let metrics = Metrics::new();
        let meter = metrics.meter("pglens");
        let counter = meter
            .u64_counter("pglens_queries_total")
            .with_description("Statements executed")
            .build();
        counter.add(3, &[KeyValue::new("outcome", "ok")]);
        meter
            .f64_histogram("pglens_query_duration_seconds")
            .build()
            .record(0.2, &[]);
        let text = metrics.render();
        assert!(
            text.contains("# HELP pglens_queries_total Statements executed"),
            "{text}"
        );
        assert!(
            text.contains("pglens_queries_total{outcome=\"ok\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("pglens_query_duration_seconds_count 1"),
            "{text}"
        );
    }

    #[test]
    fn two_sets_of_metrics_are_independent() {
        let (one, other) = (Metrics::new(), Metrics::new());
        one.meter("pglens")
            .u64_counter("pglens_x_total")
            .build()
            .add(1, &[]);
        assert!(!other.render().contains("pglens_x_total"));
    }

    #[test]
    fn a_chain_shows_every_cause_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("storage failed")]
        struct Outer(#[source] Middle);
        #[derive(Debug, thiserror::Error)]
        #[error("query failed: {0}")]
        struct Middle(#[source] std::num::ParseIntError);
        let error = Outer(Middle("x".parse::<i32>().unwrap_err()));
        assert_eq!(
            Chain(&error).to_string(),
            "storage failed: query failed: invalid digit found in string"
        );
    }

    #[test]
    fn log_settings_are_checked() {
        assert_eq!("json".parse(), Ok(LogFormat::Json));
        assert!("JSON".parse::<LogFormat>().is_err());
        assert!(parse_log_filter("info,tower=warn").is_ok());
        let error = parse_log_filter("tower=loud").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("\"tower=loud\" is not a log filter"),
            "{error}"
        );
    }
}
