//! Encoders for the messages we tell a client in our own name, and for scripted servers.

use super::{Column, TransactionStatus, tag};
use crate::fields::{put_count, put_cstr, put_message};

/// How severe an error or notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The session ends.
    Fatal,
    /// The statement ends.
    Error,
    /// Nothing ends.
    Warning,
    /// Nothing ends.
    Notice,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Fatal => "FATAL",
            Self::Error => "ERROR",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
        }
    }
}

/// An error or notice of ours. Empty texts are left out.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// How severe it is.
    pub severity: Severity,
    /// SQLSTATE.
    pub sqlstate: &'a str,
    /// Primary message.
    pub message: &'a str,
    /// What exactly happened.
    pub detail: &'a str,
    /// What can be done about it.
    pub hint: &'a str,
}

impl Report<'_> {
    /// Appends an `ErrorResponse`, or a `NoticeResponse` for severities below error.
    pub fn put(&self, out: &mut Vec<u8>) {
        let tag = match self.severity {
            Severity::Fatal | Severity::Error => tag::ERROR_RESPONSE,
            Severity::Warning | Severity::Notice => tag::NOTICE_RESPONSE,
        };
        let severity = self.severity.as_str();
        let fields = [
            (b'S', severity),
            (b'V', severity),
            (b'C', self.sqlstate),
            (b'M', self.message),
            (b'D', self.detail),
            (b'H', self.hint),
        ];
        put_message(out, tag, |out| {
            for (code, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
                out.push(code);
                put_cstr(out, value.as_bytes());
            }
            out.push(0);
        });
    }
}

fn put_authentication(out: &mut Vec<u8>, code: u32, data: impl FnOnce(&mut Vec<u8>)) {
    put_message(out, tag::AUTHENTICATION, |out| {
        out.extend_from_slice(&code.to_be_bytes());
        data(out);
    });
}

/// Appends an `AuthenticationOk`.
pub fn put_authentication_ok(out: &mut Vec<u8>) {
    put_authentication(out, 0, |_| {});
}

/// Appends an `AuthenticationCleartextPassword`.
pub fn put_authentication_cleartext_password(out: &mut Vec<u8>) {
    put_authentication(out, 3, |_| {});
}

/// Appends an `AuthenticationSASL`.
pub fn put_authentication_sasl<'a>(
    out: &mut Vec<u8>,
    mechanisms: impl IntoIterator<Item = &'a str>,
) {
    put_authentication(out, 10, |out| {
        for mechanism in mechanisms {
            put_cstr(out, mechanism.as_bytes());
        }
        out.push(0);
    });
}

/// Appends an `AuthenticationSASLContinue`.
pub fn put_authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    put_authentication(out, 11, |out| out.extend_from_slice(data));
}

/// Appends an `AuthenticationSASLFinal`.
pub fn put_authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    put_authentication(out, 12, |out| out.extend_from_slice(data));
}

/// Appends a `ParameterStatus`.
pub fn put_parameter_status(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    put_message(out, tag::PARAMETER_STATUS, |out| {
        put_cstr(out, name);
        put_cstr(out, value);
    });
}

/// Appends a `BackendKeyData`.
pub fn put_backend_key_data(out: &mut Vec<u8>, process_id: u32, secret: &[u8]) {
    put_message(out, tag::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// Appends a `NegotiateProtocolVersion` that offers `3.minor` and names the options that are not supported.
///
/// The version goes out whole, major number included, as every PostgreSQL server sends it.
pub fn put_negotiate_protocol_version(out: &mut Vec<u8>, minor: u16, unsupported: &[&str]) {
    put_message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        out.extend_from_slice(&[0, 3]);
        out.extend_from_slice(&minor.to_be_bytes());
        let count = u32::try_from(unsupported.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_be_bytes());
        for option in unsupported {
            put_cstr(out, option.as_bytes());
        }
    });
}

/// Appends a `ReadyForQuery`.
pub fn put_ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    put_message(out, tag::READY_FOR_QUERY, |out| {
        out.extend_from_slice(status.as_str().as_bytes());
    });
}

/// Appends a `CommandComplete`.
pub fn put_command_complete(out: &mut Vec<u8>, command_tag: &str) {
    put_message(out, tag::COMMAND_COMPLETE, |out| {
        put_cstr(out, command_tag.as_bytes());
    });
}

/// Appends a `RowDescription`.
pub fn put_row_description(out: &mut Vec<u8>, columns: &[Column]) {
    put_message(out, tag::ROW_DESCRIPTION, |out| {
        put_count(out, columns.len());
        for column in columns {
            put_cstr(out, &column.name);
            out.extend_from_slice(&column.table_oid.to_be_bytes());
            out.extend_from_slice(&column.table_column.to_be_bytes());
            out.extend_from_slice(&column.type_oid.to_be_bytes());
            out.extend_from_slice(&(-1_i16).to_be_bytes());
            out.extend_from_slice(&column.type_modifier.to_be_bytes());
            out.extend_from_slice(&column.format.to_be_bytes());
        }
    });
}

/// Appends a message with a payload that is passed on as it came.
pub fn put_raw(out: &mut Vec<u8>, tag: u8, payload: &[u8]) {
    put_message(out, tag, |out| out.extend_from_slice(payload));
}

/// Appends a message that has no payload, such as `ParseComplete`.
pub fn put_empty(out: &mut Vec<u8>, tag: u8) {
    put_message(out, tag, |_| {});
}

/// Appends a `DataRow` of text values.
pub fn put_data_row(out: &mut Vec<u8>, values: &[Option<&[u8]>]) {
    put_message(out, tag::DATA_ROW, |out| {
        put_count(out, values.len());
        for value in values {
            let length = value.map_or(-1, |value| i32::try_from(value.len()).unwrap_or(i32::MAX));
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value.unwrap_or_default());
        }
    });
}
