//! Rules for what people may type, each error naming its field.

use pglens_core::{Secret, limits};

use crate::error::ServiceError;

/// Longest password: it has to fit into one password message of the protocol.
pub const MAX_PASSWORD_BYTES: usize = limits::MAX_PASSWORD_MESSAGE_BYTES;
/// Longest description or reason.
pub const MAX_TEXT_BYTES: usize = 4096;
/// Longest host name or address (RFC 1035, section 2.3.4), or path of a socket.
const MAX_HOST_BYTES: usize = 255;
/// A handful of certificates.
const MAX_PEM_BYTES: usize = 48 * 1024;

/// The name of a user, a database, a token or a role.
///
/// # Errors
/// When it is empty, too long, has control characters or blanks around it.
pub fn name(field: &str, text: &str) -> Result<(), ServiceError> {
    length(field, text, 1, limits::MAX_NAME_BYTES)?;
    if text.trim() != text {
        return Err(ServiceError::invalid(
            field,
            "must not start or end with a blank",
        ));
    }
    no_control(field, text)
}

/// A password, which is never shown in the error.
///
/// # Errors
/// When it is empty, too long or has a NUL.
pub fn password(field: &str, text: &Secret<String>) -> Result<(), ServiceError> {
    length(field, text.expose(), 1, MAX_PASSWORD_BYTES)?;
    match text.expose().contains('\0') {
        true => Err(ServiceError::invalid(
            field,
            "must not contain a NUL character",
        )),
        false => Ok(()),
    }
}

/// Free text.
///
/// # Errors
/// When it is too long or has a NUL, which storage cannot hold.
pub fn text(field: &str, text: &str) -> Result<(), ServiceError> {
    length(field, text, 0, MAX_TEXT_BYTES)?;
    match text.contains('\0') {
        true => Err(ServiceError::invalid(
            field,
            "must not contain a NUL character",
        )),
        false => Ok(()),
    }
}

/// A host name, an IP address, or the folder of a Unix socket.
///
/// # Errors
/// When it is empty, too long, or has characters no host has.
pub fn host(field: &str, text: &str) -> Result<(), ServiceError> {
    length(field, text, 1, MAX_HOST_BYTES)?;
    no_control(field, text)?;
    match text.contains([' ', ',', '@', '?', '#']) {
        true => Err(ServiceError::invalid(
            field,
            "must be one host name or address",
        )),
        false => Ok(()),
    }
}

/// A TCP port.
///
/// # Errors
/// When it is not 1 to 65535.
pub fn port(field: &str, port: i64) -> Result<u16, ServiceError> {
    match u16::try_from(port) {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(ServiceError::invalid(field, "must be 1 to 65535")),
    }
}

/// A limit that may be left to the server.
///
/// # Errors
/// When it is below 1.
pub fn limit(field: &str, limit: Option<i64>) -> Result<(), ServiceError> {
    match limit {
        Some(limit) if limit < 1 => Err(ServiceError::invalid(
            field,
            "must be at least 1, or null for the server's setting",
        )),
        _ => Ok(()),
    }
}

/// Certificates in PEM.
///
/// # Errors
/// When there is none in it that can be used.
pub fn certificates(field: &str, pem: &str) -> Result<(), ServiceError> {
    length(field, pem, 1, MAX_PEM_BYTES)?;
    pglens_runtime::tls::client_config(pglens_runtime::Verification::Chain, Some(pem))
        .map(drop)
        .map_err(|error| ServiceError::invalid(field, error))
}

fn length(field: &str, text: &str, min: usize, max: usize) -> Result<(), ServiceError> {
    match text.len() {
        0 if min > 0 => Err(ServiceError::invalid(field, "must not be empty")),
        length if length > max => Err(ServiceError::invalid(
            field,
            format_args!("must have at most {max} bytes"),
        )),
        _ => Ok(()),
    }
}

fn no_control(field: &str, text: &str) -> Result<(), ServiceError> {
    match text.chars().any(char::is_control) {
        true => Err(ServiceError::invalid(
            field,
            "must not contain control characters",
        )),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["a", "ann.lee@example.com", "Ünï cødé", &"x".repeat(63)] {
            assert!(name("username", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            " a",
            "a ",
            "a\nb",
            "a\0b",
            &"x".repeat(64),
            &"é".repeat(32),
        ] {
            let error = name("username", bad).unwrap_err();
            assert!(error.to_string().starts_with("username: must"), "{error}");
        }
    }

    #[test]
    fn password_errors_do_not_show_the_password() {
        for bad in ["", "hunter2\0", &"hunter2".repeat(200)] {
            let error = password("password", &bad.to_owned().into()).unwrap_err();
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
        assert!(password("password", &" ".to_owned().into()).is_ok());
    }
}
