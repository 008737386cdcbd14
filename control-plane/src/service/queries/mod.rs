//! The record of statements, with what came back. For administrators; reading captured rows is recorded itself.

mod check;
pub mod download;
mod messages;
mod rows;
mod tables;

use pglens_core::QueryId;
use pglens_rpc::v1;
use pglens_wire::value::{Format, to_json, type_name};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::audit::{Action, AuditEntry};
use super::caller::Caller;
use super::page::{Page, Paged};
use crate::app::App;
use crate::crypto::keyring::hexadecimal;
use crate::crypto::sealed_value::Place;
use crate::error::ServiceError;
use crate::ingest::seal::decode_parameters;
use crate::storage::query::QueryRecord;
pub use crate::storage::query::{Order, Query, QueryFilter};
use messages::RowFormat;

pub use tables::TableFormat;

/// A row as JSON text: an array of its values.
pub type Row = Box<RawValue>;

/// A column of a result.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueryColumn {
    /// Its name.
    pub name: String,
    /// Its type in the target's catalog.
    pub type_oid: u32,
    /// The type's name, where it is one of PostgreSQL's own.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
}

/// The type of a parameter.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct ParameterType {
    /// In the target's catalog; 0: the client left it open.
    pub type_oid: u32,
    /// The type's name, where it is one of PostgreSQL's own.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// Only the beginning of the value was kept, which had so many bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_bytes: Option<u64>,
    /// BLAKE3 of the whole of such a value, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value_digest: Option<String>,
}

/// What a statement was bound to.
#[derive(Debug, Default)]
pub struct Parameters {
    /// Values in order.
    pub values: Vec<Box<RawValue>>,
    /// Their types.
    pub types: Vec<ParameterType>,
}

/// A statement with its parameters and columns.
#[derive(Debug)]
pub struct QueryDescription {
    /// The statement.
    pub query: Query,
    /// Its parameters in order.
    pub parameters: Parameters,
    /// The columns of its result; `None`: it had none, or they are not known.
    pub columns: Option<Vec<QueryColumn>>,
}

/// A statement with its parameters and the first of its rows.
#[derive(Debug, Serialize, ToSchema)]
pub struct QueryDetail {
    /// The statement.
    #[serde(flatten)]
    pub query: Query,
    /// Its parameters in order.
    #[schema(value_type = Vec<Object>)]
    pub parameters: Vec<Box<RawValue>>,
    /// The types of its parameters, in the same order.
    pub parameter_types: Vec<ParameterType>,
    /// The columns of its result; null: it had none, or they are not known.
    pub columns: Option<Vec<QueryColumn>>,
    /// The first rows that were kept: arrays in column order. Those of a COPY have one element each, the line.
    #[schema(value_type = Vec<Vec<Object>>)]
    pub result_rows: Vec<Row>,
    /// Where `/api/queries/{id}/rows` goes on; null: that was all.
    pub next_cursor: Option<String>,
}

/// A page of statements. One that has fewer than were asked for and a cursor is where the search was cut short; it goes
/// on from there.
///
/// # Errors
/// When the caller is no administrator, the filter makes no sense, or storage is not available.
pub async fn list(
    app: &App,
    caller: &Caller,
    filter: &QueryFilter,
    order: Order,
    page: &Page<Uuid>,
) -> Result<Paged<Query>, ServiceError> {
    caller.require_admin()?;
    check::filter(filter)?;
    let found = app
        .storage
        .query_list(filter, order, page.after(), page.fetch_rows())
        .await?;
    let mut paged = page.cut(found.rows, |query| query.id);
    if let (None, Some(id)) = (&paged.next_cursor, found.searched_to) {
        paged.next_cursor = Some(page.cursor_behind(id));
    }
    Ok(paged)
}

/// A statement without its rows.
///
/// # Errors
/// When the caller is no administrator, it does not exist, its parameters cannot be read, or storage is not available.
pub async fn describe(
    app: &App,
    caller: &Caller,
    id: QueryId,
) -> Result<QueryDescription, ServiceError> {
    caller.require_admin()?;
    let record = find(app, id).await?;
    let parameters = parameters(app, &record).await?;
    Ok(QueryDescription {
        parameters,
        columns: columns(&record),
        query: record.query,
    })
}

/// A statement with its parameters and the first of its rows.
///
/// # Errors
/// When the caller is no administrator, it does not exist, what was captured cannot be read, or storage is not
/// available.
pub async fn fetch(app: &App, caller: &Caller, id: QueryId) -> Result<QueryDetail, ServiceError> {
    caller.require_admin()?;
    let record = find(app, id).await?;
    let parameters = parameters(app, &record).await?;
    let first = Page::new(None, None)?;
    let rows = rows::read(app, &record, &row_format(&record), &first).await?;
    if !rows.items.is_empty() {
        record_reading(app, caller, id, &first, rows.items.len()).await?;
    }
    Ok(QueryDetail {
        parameters: parameters.values,
        parameter_types: parameters.types,
        columns: columns(&record),
        result_rows: rows.items,
        next_cursor: rows.next_cursor,
        query: record.query,
    })
}

/// A page of the rows that were kept of a statement.
///
/// # Errors
/// As [`fetch`].
pub async fn list_rows(
    app: &App,
    caller: &Caller,
    id: QueryId,
    page: &Page<i64>,
) -> Result<Paged<Row>, ServiceError> {
    caller.require_admin()?;
    let record = find(app, id).await?;
    let rows = rows::read(app, &record, &row_format(&record), page).await?;
    record_reading(app, caller, id, page, rows.items.len()).await?;
    Ok(rows)
}

/// The statement alone.
async fn find(app: &App, id: QueryId) -> Result<QueryRecord, ServiceError> {
    let found = app.storage.query_fetch(id).await?;
    found.ok_or_else(|| ServiceError::not_found(format_args!("query {id}")))
}

/// Nobody sees rows before it is written down that they do.
async fn record_reading(
    app: &App,
    caller: &Caller,
    id: QueryId,
    page: &Page<i64>,
    count: usize,
) -> Result<(), ServiceError> {
    let first_row = page.after().map_or(0, |last| last.saturating_add(1));
    let entry = AuditEntry::by(caller, Action::RowsRead, "query", id)
        .after(json!({ "first_row": first_row, "row_count": count, "format": "json" }));
    Ok(app.storage.audit_insert(&entry).await?)
}

async fn parameters(app: &App, record: &QueryRecord) -> Result<Parameters, ServiceError> {
    let Some(sealed) = &record.parameters_sealed else {
        return Ok(Parameters::default());
    };
    let place = Place::Parameters(QueryId(record.query.id));
    let plain = app.data_keys.open(record.key_day, place, sealed).await?;
    let decoded = decode_parameters(&plain)?;
    let value = |parameter: &v1::Parameter| {
        let format = format_of(parameter.format);
        to_json(parameter.type_oid, format, parameter.value.as_deref())
    };
    let of_type = |parameter: &v1::Parameter| ParameterType {
        type_oid: parameter.type_oid,
        type_name: type_name(parameter.type_oid).map(str::to_owned),
        value_bytes: parameter.value_bytes,
        value_digest: parameter
            .value_bytes
            .map(|_| hexadecimal(&parameter.value_digest)),
    };
    Ok(Parameters {
        values: decoded.iter().map(value).collect(),
        types: decoded.iter().map(of_type).collect(),
    })
}

fn columns(record: &QueryRecord) -> Option<Vec<QueryColumn>> {
    let columns = record.columns.as_ref()?.as_array()?;
    let column = |column: &Value| {
        let type_oid = number(column, "type_oid");
        QueryColumn {
            name: column
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned(),
            type_oid,
            type_name: type_name(type_oid).map(str::to_owned),
        }
    };
    Some(columns.iter().map(column).collect())
}

fn row_format(record: &QueryRecord) -> RowFormat {
    let columns = record.columns.as_ref().and_then(Value::as_array);
    let format = |column: &Value| {
        (
            number(column, "type_oid"),
            format_of(number(column, "format")),
        )
    };
    RowFormat(
        columns
            .map(|columns| columns.iter().map(format).collect())
            .unwrap_or_default(),
    )
}

fn number(column: &Value, field: &str) -> u32 {
    column
        .get(field)
        .and_then(Value::as_u64)
        .and_then(|number| u32::try_from(number).ok())
        .unwrap_or(0)
}

/// An unknown format is shown as bytes, which is what reading it as text comes to.
fn format_of(code: u32) -> Format {
    match code {
        1 => Format::Binary,
        _ => Format::Text,
    }
}
