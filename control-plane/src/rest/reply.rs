//! Answers: the only place that chooses a status or writes a body.

use std::convert::Infallible;

use bytes::Bytes;
use http::{StatusCode, header};
use pglens_core::ErrorCode;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc::Receiver;
use tokio_stream::wrappers::ReceiverStream;
use warp::Reply;
use warp::reject::{MethodNotAllowed, Rejection};
use warp::reply::Response;

use super::Refused;
use crate::error::ServiceError;
use crate::service::page::Paged;

const JSON: header::HeaderValue = header::HeaderValue::from_static("application/json");
const CHALLENGE: header::HeaderValue =
    header::HeaderValue::from_static("Basic realm=\"PgLens\", charset=\"UTF-8\"");

/// 200 with the value.
pub fn ok<T: Serialize>(result: Result<T, ServiceError>) -> Response {
    answer(StatusCode::OK, result)
}

/// 201 with the value.
pub fn created<T: Serialize>(result: Result<T, ServiceError>) -> Response {
    answer(StatusCode::CREATED, result)
}

/// 204 without a body.
pub fn no_content(result: Result<(), ServiceError>) -> Response {
    match result {
        Ok(()) => {
            let mut response = Response::default();
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Err(error) => failure(&error),
    }
}

/// 200 with `{"<name>": […], "next_cursor": …}`.
pub fn list<T: Serialize>(
    name: &'static str,
) -> impl Fn(Result<Paged<T>, ServiceError>) -> Response + Clone {
    move |result| {
        ok(result.and_then(|paged| {
            let items = serde_json::to_value(paged.items).map_err(ServiceError::internal)?;
            Ok(json!({ name: items, "next_cursor": paged.next_cursor }))
        }))
    }
}

/// 200 with a body that is made while it is sent. When that fails half-way, the connection is cut: what arrived is not
/// whole, and looks it.
pub fn download(
    content_type: &'static str,
    file_name: String,
    pieces: Receiver<Result<Bytes, ServiceError>>,
) -> Response {
    let mut response = warp::reply::stream(ReceiverStream::new(pieces)).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        header::HeaderValue::from_static(content_type),
    );
    let disposition = format!("attachment; filename=\"{file_name}\"");
    if let Ok(disposition) = header::HeaderValue::from_str(&disposition) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn answer<T: Serialize>(status: StatusCode, result: Result<T, ServiceError>) -> Response {
    let body = result.and_then(|value| serde_json::to_vec(&value).map_err(ServiceError::internal));
    match body {
        Ok(body) => json_response(status, body),
        Err(error) => failure(&error),
    }
}

/// `{"error", "code", "details"}` with the status of the error's code.
#[must_use]
pub fn failure(error: &ServiceError) -> Response {
    error.log();
    let code = error.code();
    let body = json!({
        "error": error.message(),
        "code": code.as_str(),
        "details": error.detail().unwrap_or(&Value::Null),
    });
    let status =
        StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json_response(status, body.to_string().into_bytes());
    if status == StatusCode::UNAUTHORIZED {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, CHALLENGE);
    }
    response
}

fn json_response(status: StatusCode, body: Vec<u8>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    response
}

/// The answer to a request that reached no handler.
///
/// # Errors
/// Never; what is not understood is a path that does not exist.
pub async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
    if let Some(Refused(error)) = rejection.find() {
        return Ok(failure(error));
    }
    let error = if rejection.find::<MethodNotAllowed>().is_some() {
        ServiceError::new(
            ErrorCode::MethodNotAllowed,
            "this path does not have this method",
        )
    } else if rejection.is_not_found() {
        ServiceError::new(ErrorCode::NotFound, "there is nothing at this path")
    } else {
        ServiceError::new(ErrorCode::InvalidArgument, "the request is malformed")
    };
    Ok(failure(&error))
}
