//! Messages from a client: decoders for those that are judged, encoders for those we send to a target.
//!
//! Texts and names stay bytes: they are in the client's encoding. PostgreSQL manual, section "Message Formats".

mod large_bind;
mod lists;

use crate::fields::{Fields, MalformedMessage, put_count, put_cstr, put_message};

pub use large_bind::{BindHead, BindPiece, BindValues};
pub use lists::{Formats, Values};

/// Type bytes of the messages a client sends.
pub mod tag {
    #![allow(missing_docs, reason = "the names are those of the manual")]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';

    /// Whether a client may send messages of this type once it is logged in.
    #[must_use]
    pub fn comes_after_login(tag: u8) -> bool {
        matches!(
            tag,
            BIND | CLOSE
                | COPY_DATA
                | COPY_DONE
                | COPY_FAIL
                | DESCRIBE
                | EXECUTE
                | FLUSH
                | FUNCTION_CALL
                | PARSE
                | QUERY
                | SYNC
                | TERMINATE
        )
    }
}

/// Whether a message is about a prepared statement or a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

/// `Query`: the text of a simple query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// SQL, possibly several statements.
    pub text: &'a [u8],
}

impl<'a> Query<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Query", payload);
        let text = fields.cstr()?;
        fields.end()?;
        Ok(Self { text })
    }
}

/// `Parse`: a statement to prepare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parse<'a> {
    /// Name of the prepared statement; empty for the unnamed one.
    pub name: &'a [u8],
    /// SQL, one statement.
    pub text: &'a [u8],
    /// Types of the first parameters; 0 leaves one to the server.
    pub parameter_types: Vec<u32>,
}

impl<'a> Parse<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Parse", payload);
        let (name, text) = (fields.cstr()?, fields.cstr()?);
        let count = fields.u16()?;
        let parameter_types = (0..count).map(|_| fields.u32()).collect::<Result<_, _>>()?;
        fields.end()?;
        Ok(Self {
            name,
            text,
            parameter_types,
        })
    }
}

/// `Bind`: a portal made of a prepared statement and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// Name of the portal; empty for the unnamed one.
    pub portal: &'a [u8],
    /// Name of the prepared statement.
    pub statement: &'a [u8],
    /// Formats of the values.
    pub parameter_formats: Formats<'a>,
    /// The values.
    pub parameters: Values<'a>,
    /// Formats of the result columns.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Bind", payload);
        let (portal, statement) = (fields.cstr()?, fields.cstr()?);
        let parameter_formats = Formats::read(&mut fields)?;
        let parameters = Values::read(&mut fields)?;
        let result_formats = Formats::read(&mut fields)?;
        fields.end()?;
        Ok(Self {
            portal,
            statement,
            parameter_formats,
            parameters,
            result_formats,
        })
    }
}

/// The format of item `index` in a list of none, one for all, or one for each.
#[must_use]
pub fn format_at(formats: &[u16], index: usize) -> u16 {
    match formats {
        [] => 0,
        [all] => *all,
        each => each.get(index).copied().unwrap_or(0),
    }
}

/// `Describe` and `Close`: they have the same fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Named<'a> {
    /// What `name` is the name of.
    pub subject: Subject,
    /// Name; empty for the unnamed one.
    pub name: &'a [u8],
}

impl<'a> Named<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Describe or Close", payload);
        let subject = match fields.u8()? {
            b'S' => Subject::Statement,
            b'P' => Subject::Portal,
            _ => return Err(fields.malformed("the subject is neither statement nor portal")),
        };
        let name = fields.cstr()?;
        fields.end()?;
        Ok(Self { subject, name })
    }
}

/// `Execute`: runs a portal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Execute<'a> {
    /// Name of the portal.
    pub portal: &'a [u8],
    /// Most rows to return; 0 is no limit.
    pub max_rows: u32,
}

impl<'a> Execute<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("Execute", payload);
        let (portal, max_rows) = (fields.cstr()?, fields.u32()?);
        fields.end()?;
        Ok(Self { portal, max_rows })
    }
}

/// `FunctionCall`: calls a function by its object id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FunctionCall<'a> {
    /// Object id of the function.
    pub function: u32,
    /// Formats of the arguments.
    pub argument_formats: Formats<'a>,
    /// The arguments.
    pub arguments: Values<'a>,
    /// Format of the result.
    pub result_format: u16,
}

impl<'a> FunctionCall<'a> {
    /// Reads the payload.
    ///
    /// # Errors
    /// When it is malformed.
    pub fn decode(payload: &'a [u8]) -> Result<Self, MalformedMessage> {
        let mut fields = Fields::new("FunctionCall", payload);
        let function = fields.u32()?;
        let argument_formats = Formats::read(&mut fields)?;
        let arguments = Values::read(&mut fields)?;
        let result_format = fields.u16()?;
        fields.end()?;
        Ok(Self {
            function,
            argument_formats,
            arguments,
            result_format,
        })
    }
}

/// `PasswordMessage`: a password, without its NUL.
///
/// # Errors
/// When it is malformed.
pub fn password(payload: &[u8]) -> Result<&[u8], MalformedMessage> {
    let mut fields = Fields::new("PasswordMessage", payload);
    let password = fields.cstr()?;
    fields.end()?;
    Ok(password)
}

/// `SASLInitialResponse`: the mechanism chosen and the first data of the exchange.
///
/// # Errors
/// When it is malformed.
pub fn sasl_initial_response(payload: &[u8]) -> Result<(&[u8], &[u8]), MalformedMessage> {
    let mut fields = Fields::new("SASLInitialResponse", payload);
    let mechanism = fields.cstr()?;
    let data = fields.value()?.unwrap_or_default();
    fields.end()?;
    Ok((mechanism, data))
}

/// Appends a `Query`.
pub fn put_query(out: &mut Vec<u8>, text: &str) {
    put_message(out, tag::QUERY, |out| put_cstr(out, text.as_bytes()));
}

/// Appends a `Parse` without parameter types.
pub fn put_parse(out: &mut Vec<u8>, name: &[u8], text: &str) {
    put_message(out, tag::PARSE, |out| {
        put_cstr(out, name);
        put_cstr(out, text.as_bytes());
        put_count(out, 0);
    });
}

/// Appends a `Bind` of the unnamed portal, without parameters.
pub fn put_bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8]) {
    put_message(out, tag::BIND, |out| {
        put_cstr(out, portal);
        put_cstr(out, statement);
        for _list in 0..3 {
            put_count(out, 0);
        }
    });
}

/// Appends an `Execute` for all rows.
pub fn put_execute(out: &mut Vec<u8>, portal: &[u8]) {
    put_message(out, tag::EXECUTE, |out| {
        put_cstr(out, portal);
        out.extend_from_slice(&[0; 4]);
    });
}

/// Appends a `FunctionCall` without arguments.
pub fn put_function_call(out: &mut Vec<u8>, function: u32) {
    put_message(out, tag::FUNCTION_CALL, |out| {
        out.extend_from_slice(&function.to_be_bytes());
        for _field in 0..3 {
            put_count(out, 0);
        }
    });
}

/// Appends a `CopyFail`.
pub fn put_copy_fail(out: &mut Vec<u8>, reason: &str) {
    put_message(out, tag::COPY_FAIL, |out| put_cstr(out, reason.as_bytes()));
}

/// Appends a `Flush`.
pub fn put_flush(out: &mut Vec<u8>) {
    put_message(out, tag::FLUSH, |_| {});
}

/// Appends a `Sync`.
pub fn put_sync(out: &mut Vec<u8>) {
    put_message(out, tag::SYNC, |_| {});
}

/// Appends a `Terminate`.
pub fn put_terminate(out: &mut Vec<u8>) {
    put_message(out, tag::TERMINATE, |_| {});
}

/// Appends a `PasswordMessage`.
pub fn put_password(out: &mut Vec<u8>, password: &[u8]) {
    put_message(out, tag::PASSWORD, |out| put_cstr(out, password));
}

/// Appends a `SASLInitialResponse`.
pub fn put_sasl_initial_response(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    put_message(out, tag::PASSWORD, |out| {
        put_cstr(out, mechanism.as_bytes());
        let length = i32::try_from(data.len()).unwrap_or(i32::MAX);
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// Appends a `SASLResponse`.
pub fn put_sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    put_message(out, tag::PASSWORD, |out| out.extend_from_slice(data));
}

#[cfg(test)]
mod tests;
