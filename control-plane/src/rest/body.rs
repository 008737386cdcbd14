//! Request bodies: JSON of a bounded size, every error naming its field and never showing a value.

use bytes::{Buf, BytesMut};
use futures_util::{Stream, StreamExt};
use pglens_core::ErrorCode;
use serde::de::DeserializeOwned;
use warp::{Filter, Rejection};

use crate::error::ServiceError;

/// Largest body; the largest field is a handful of certificates.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// The body as a `T`.
pub fn json<T: DeserializeOwned + Send + 'static>()
-> impl Filter<Extract = (T,), Error = Rejection> + Clone {
    warp::body::stream().and_then(async |stream| {
        let bytes = read(stream).await?;
        Ok::<_, Rejection>(parse::<T>(&bytes)?)
    })
}

async fn read<B: Buf>(
    stream: impl Stream<Item = Result<B, warp::Error>>,
) -> Result<BytesMut, ServiceError> {
    let mut stream = std::pin::pin!(stream);
    let mut bytes = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let mut chunk = chunk.map_err(|error| {
            ServiceError::new(ErrorCode::InvalidArgument, "the body did not arrive whole")
                .with_source(error)
        })?;
        if bytes.len() + chunk.remaining() > MAX_BODY_BYTES {
            let message = format!("the body has more than {MAX_BODY_BYTES} bytes");
            return Err(ServiceError::new(ErrorCode::TooLarge, message));
        }
        while chunk.has_remaining() {
            let length = chunk.chunk().len();
            bytes.extend_from_slice(chunk.chunk());
            chunk.advance(length);
        }
    }
    Ok(bytes)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ServiceError> {
    // serde takes an array for a struct as well.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(ServiceError::invalid("body", "is not a JSON object"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        describe(&path, error.inner())
    })?;
    match deserializer.end() {
        Ok(()) => Ok(parsed),
        Err(_) => Err(ServiceError::invalid(
            "body",
            "has something behind the JSON object",
        )),
    }
}

/// The error in words of ours. serde's own may repeat the value, which may be a password.
fn describe(path: &str, error: &serde_json::Error) -> ServiceError {
    if !error.is_data() {
        return ServiceError::invalid("body", "is not a JSON object");
    }
    let words = error.to_string();
    let words = words
        .rsplit_once(" at line ")
        .map_or(words.as_str(), |(words, _)| words);
    if let Some(field) = quoted(words, "unknown field `") {
        return ServiceError::invalid(field, "is not a field of this request");
    }
    if let Some(field) = quoted(words, "missing field `") {
        return ServiceError::invalid(field, "is missing");
    }
    let field = if path == "." { "body" } else { path };
    match words.rsplit_once("expected ") {
        Some((_, expected)) => ServiceError::invalid(field, format_args!("must be {expected}")),
        // Words of a type of ours or of chrono; none of them is used for a secret.
        None => ServiceError::invalid(field, words),
    }
}

fn quoted<'a>(words: &'a str, prefix: &str) -> Option<&'a str> {
    words.strip_prefix(prefix)?.split('`').next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::grants::CreateGrant;
    use crate::service::users::CreateUser;

    fn check<T: DeserializeOwned>(body: &str, expected: &str) {
        let Err(error) = parse::<T>(body.as_bytes()) else {
            unreachable!("{body} was accepted")
        };
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn errors_name_the_field_and_show_no_value() {
        check::<CreateUser>(
            r#"{"username":"a","password":"b","x":1}"#,
            "x: is not a field of this request",
        );
        check::<CreateUser>(r#"{"username":"a"}"#, "password: is missing");
        check::<CreateUser>(
            r#"{"username":"a","password":123}"#,
            "password: must be a string",
        );
        check::<CreateUser>(
            r#"{"username":"a","password":"b","is_admin":"x"}"#,
            "is_admin: must be a boolean",
        );
        check::<CreateUser>("", "body: is not a JSON object");
        check::<CreateUser>("{", "body: is not a JSON object");
        check::<CreateUser>("[1]", "body: is not a JSON object");
        check::<CreateUser>(
            r#"{"username":"a","password":"b"}{}"#,
            "body: has something behind the JSON object",
        );
    }

    #[test]
    fn words_and_times_are_explained() {
        let grant = |level: &str, expires_at: &str| {
            format!(
                r#"{{"user_id":1,"database_id":1,"access_level":"{level}","expires_at":"{expires_at}"}}"#
            )
        };
        check::<CreateGrant>(
            &grant("admin", "2030-01-01T00:00:00Z"),
            "access_level: must be `read` or `write`",
        );
        let error = parse::<CreateGrant>(grant("read", "tomorrow").as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("expires_at: "), "{error}");
    }
}
