//! Messages from a server: decoders for those that are judged or recorded, encoders for those we tell a client.
//!
//! PostgreSQL manual, sections "Message Formats" and "Error and Notice Message Fields".

use crate::fields::{Fields, MalformedMessage};

mod put;

pub use put::*;

/// Type bytes of the messages a server sends.
pub mod tag {
    #![allow(missing_docs, reason = "the names are those of the manual")]
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// What a server asks for, or says, about authentication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Done.
    Ok,
    /// The password itself.
    CleartextPassword,
    /// The password hashed with this salt.
    Md5Password {
        /// Four random bytes.
        salt: [u8; 4],
    },
    /// A SASL exchange by one of these mechanisms.
    Sasl {
        /// Their names, in order of preference.
        mechanisms: Vec<&'a str>,
    },
    /// The server's part of the exchange.
    SaslContinue {
        /// Of the mechanism.
        data: &'a [u8],
    },
    /// The last part of the exchange.
    SaslFinal {
        /// Of the mechanism.
        data: &'a [u8],
    },
    /// Kerberos, GSSAPI, SSPI and what may come.
    Other {
        /// The code in the message.
        code: u32,
    },
}

impl<'a> Authentication<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Authentication", payload);
        match fields.u32()? {
            0 => Ok(Self::Ok),
            3 => Ok(Self::CleartextPassword),
            5 => {
                let salt = fields.u32()?.to_be_bytes();
                Ok(Self::Md5Password { salt })
            }
            10 => {
                let mut mechanisms = Vec::new();
                loop {
                    match fields.cstr()? {
                        [] => return Ok(Self::Sasl { mechanisms }),
                        name => {
                            let name = std::str::from_utf8(name)
                                .map_err(|_| fields.malformed("a mechanism is not UTF-8"))?;
                            mechanisms.push(name);
                        }
                    }
                }
            }
            11 => Ok(Self::SaslContinue {
                data: fields.rest(),
            }),
            12 => Ok(Self::SaslFinal {
                data: fields.rest(),
            }),
            code => Ok(Self::Other { code }),
        }
    }
}

/// One column of a `RowDescription`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Name, in the client's encoding.
    pub name: Vec<u8>,
    /// Object id of the table it is a column of; 0 when it is none.
    pub table_oid: u32,
    /// Number of the column in that table.
    pub table_column: u16,
    /// Object id of its type.
    pub type_oid: u32,
    /// Modifier of its type, -1 for none.
    pub type_modifier: i32,
    /// 0 text, 1 binary.
    pub format: u16,
}

/// Reads a `RowDescription`.
///
/// # Errors
/// When it is malformed.
pub fn row_description(payload: &[u8]) -> Result<Vec<Column>, MalformedMessage> {
    let mut fields = Fields::new("RowDescription", payload);
    let count = fields.u16()?;
    let mut columns = Vec::new();
    for _column in 0..count {
        let name = fields.cstr()?.to_vec();
        let (table_oid, table_column) = (fields.u32()?, fields.u16()?);
        let type_oid = fields.u32()?;
        let _type_bytes = fields.u16()?;
        columns.push(Column {
            name,
            table_oid,
            table_column,
            type_oid,
            type_modifier: fields.i32()?,
            format: fields.u16()?,
        });
    }
    fields.end()?;
    Ok(columns)
}

/// Reads the types in a `ParameterDescription`.
///
/// # Errors
/// When it is malformed.
pub fn parameter_description(payload: &[u8]) -> Result<Vec<u32>, MalformedMessage> {
    let mut fields = Fields::new("ParameterDescription", payload);
    let count = fields.u16()?;
    let types = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
    fields.end()?;
    Ok(types)
}

/// Reads the tag of a `CommandComplete`.
///
/// # Errors
/// When it is malformed.
pub fn command_complete(payload: &[u8]) -> Result<&[u8], MalformedMessage> {
    let mut fields = Fields::new("CommandComplete", payload);
    let tag = fields.cstr()?;
    fields.end()?;
    Ok(tag)
}

/// Reads name and value of a `ParameterStatus`.
///
/// # Errors
/// When it is malformed.
pub fn parameter_status(payload: &[u8]) -> Result<(&[u8], &[u8]), MalformedMessage> {
    let mut fields = Fields::new("ParameterStatus", payload);
    let pair = (fields.cstr()?, fields.cstr()?);
    fields.end()?;
    Ok(pair)
}

/// Reads process id and secret of a `BackendKeyData`.
///
/// # Errors
/// When it is malformed.
pub fn backend_key_data(payload: &[u8]) -> Result<(u32, &[u8]), MalformedMessage> {
    let mut fields = Fields::new("BackendKeyData", payload);
    Ok((fields.u32()?, fields.rest()))
}

/// The transaction status in `ReadyForQuery`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a transaction block that has failed.
    Failed,
}

impl TransactionStatus {
    /// Reads the payload of a `ReadyForQuery`.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &[u8]) -> Result<Self, MalformedMessage> {
        match payload {
            b"I" => Ok(Self::Idle),
            b"T" => Ok(Self::InTransaction),
            b"E" => Ok(Self::Failed),
            _ => {
                Err(Fields::new("ReadyForQuery", payload)
                    .malformed("the status is none of I, T, E"))
            }
        }
    }

    /// The letter on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "I",
            Self::InTransaction => "T",
            Self::Failed => "E",
        }
    }
}

/// What is judged and recorded of an `ErrorResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorFields<'a> {
    /// Severity that is never localized; empty before PostgreSQL 9.6.
    pub severity: &'a [u8],
    /// SQLSTATE.
    pub sqlstate: &'a [u8],
    /// Primary message.
    pub message: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Reads as much of the fields as `payload` holds; a payload that was cut short is not an error.
    #[must_use]
    pub fn read(payload: &'a [u8]) -> Self {
        let mut fields = Fields::new("ErrorResponse", payload);
        let mut read = Self::default();
        while let Ok(code) = fields.u8() {
            if code == 0 {
                break;
            }
            let value = match fields.cstr() {
                Ok(value) => value,
                Err(_cut_short) => fields.rest(),
            };
            match code {
                b'V' => read.severity = value,
                b'C' => read.sqlstate = value,
                b'M' => read.message = value,
                _ => {}
            }
        }
        read
    }

    /// Whether the server ends the session with it.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self.severity, b"FATAL" | b"PANIC")
    }
}

#[cfg(test)]
mod tests;
