//! Attributes of OpenTelemetry: those that say nothing are left out.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};

/// The attributes of a record, or of a resource.
#[derive(Debug, Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    /// A text; an empty one is none.
    pub(super) fn text(&mut self, key: &str, text: impl Into<String>) -> &mut Self {
        let text = text.into();
        match text.is_empty() {
            true => self,
            false => self.put(key, Value::StringValue(text)),
        }
    }

    /// A text that may not be there.
    pub(super) fn some_text(&mut self, key: &str, text: Option<&str>) -> &mut Self {
        self.text(key, text.unwrap_or_default())
    }

    pub(super) fn number(&mut self, key: &str, number: i64) -> &mut Self {
        self.put(key, Value::IntValue(number))
    }

    /// A number that may not be there.
    pub(super) fn some_number(&mut self, key: &str, number: Option<i64>) -> &mut Self {
        match number {
            Some(number) => self.number(key, number),
            None => self,
        }
    }

    pub(super) fn flag(&mut self, key: &str, flag: bool) -> &mut Self {
        self.put(key, Value::BoolValue(flag))
    }

    /// A flag that is worth saying when it is up.
    pub(super) fn raised(&mut self, key: &str, flag: bool) -> &mut Self {
        match flag {
            true => self.flag(key, true),
            false => self,
        }
    }

    pub(super) fn into_inner(self) -> Vec<KeyValue> {
        self.0
    }

    fn put(&mut self, key: &str, value: Value) -> &mut Self {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..Default::default()
        });
        self
    }
}

/// The body of a record.
pub(super) fn body(text: String) -> Option<AnyValue> {
    Some(AnyValue {
        value: Some(Value::StringValue(text)),
    })
}
