//! Seals again, under the newest master key, what older ones sealed. Every sealed column is listed here.

use super::audit::insert_in_txn as audit_in_txn;
use super::{Storage, StoreError, column};
use crate::crypto::keyring::{KeyRing, SealContext};
use crate::service::audit::{Action, Actor, AuditEntry};

/// Values sealed again in one transaction: rows of one table stay locked for as long as that takes.
const PAGE_ROWS: i64 = 500;

/// A column with sealed values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedColumn {
    /// The table.
    pub table: &'static str,
    /// The column.
    pub column: &'static str,
    /// The row's name in the associated data, as an expression.
    row: &'static str,
}

/// All that the master keys seal.
pub const SEALED_COLUMNS: [SealedColumn; 5] = [
    SealedColumn {
        table: "users",
        column: "scram_verifier_sealed",
        row: "t.id::text",
    },
    SealedColumn {
        table: "databases",
        column: "password_sealed",
        row: "t.id::text",
    },
    SealedColumn {
        table: "databases",
        column: "read_password_sealed",
        row: "t.id::text",
    },
    SealedColumn {
        table: "proxy_runs",
        column: "record_key_sealed",
        row: "t.run_id::text",
    },
    SealedColumn {
        table: "data_keys",
        column: "key_sealed",
        row: "t.day::text || case t.purpose when 'rows' then ' rows' else '' end",
    },
];

/// What was done about a column.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values under the newest key now.
    pub sealed: u64,
    /// Values that none of the keys opens; they are as they were.
    pub unreadable: u64,
}

impl Storage {
    /// Seals the values of a column again where an older key sealed them. Each page is a transaction with its audit
    /// event: what is done is done, and a second run goes on behind it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn reseal(
        &self,
        keys: &KeyRing,
        sealed: SealedColumn,
    ) -> Result<Resealed, StoreError> {
        let SealedColumn { table, column, row } = sealed;
        // The id of the key is in bytes 2 to 9 of a sealed value.
        let page = format!(
            "select {row} as row, t.{column} as sealed from {table} t \
             where t.{column} is not null and substring(t.{column} from 2 for 8) <> $1 and {row} > $2 \
             order by 1 limit $3"
        );
        // A value that was changed meanwhile was sealed with the newest key already.
        let update = format!(
            "update {table} t set {column} = n.new from unnest($1::text[], $2::bytea[], $3::bytea[]) n (row, old, new) \
             where {row} = n.row and t.{column} = n.old"
        );
        let mut client = self.client().await?;
        let mut done = Resealed::default();
        let mut after = String::new();
        loop {
            let txn = client.transaction().await?;
            let rows = txn
                .query(&page, &[&keys.current_id(), &after, &PAGE_ROWS])
                .await?;
            let Some(last) = rows.last() else {
                return Ok(done);
            };
            after = super::column(last, "row")?;
            let page = seal_page(keys, sealed, &rows)?;
            done.unreadable += page.unreadable;
            let changed = txn
                .execute(&update, &[&page.rows, &page.old, &page.new])
                .await?;
            done.sealed += changed;
            if changed > 0 {
                audit_in_txn(&txn, &event(keys, sealed, changed)).await?;
            }
            txn.commit().await?;
        }
    }
}

#[derive(Default)]
struct Page {
    rows: Vec<String>,
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
    unreadable: u64,
}

fn seal_page(
    keys: &KeyRing,
    sealed: SealedColumn,
    rows: &[tokio_postgres::Row],
) -> Result<Page, StoreError> {
    let mut page = Page::default();
    for found in rows {
        let (row, old): (String, Vec<u8>) = (column(found, "row")?, column(found, "sealed")?);
        let context = SealContext {
            table: sealed.table,
            column: sealed.column,
            row: &row,
        };
        match keys.open(context, &old) {
            Ok(plain) => {
                page.new.push(keys.seal(context, plain.expose()));
                page.old.push(old);
                page.rows.push(row);
            }
            Err(error) => {
                tracing::error!(
                    table = sealed.table,
                    column = sealed.column,
                    row,
                    %error,
                    "sealed value cannot be opened"
                );
                page.unreadable += 1;
            }
        }
    }
    Ok(page)
}

fn event(keys: &KeyRing, sealed: SealedColumn, count: u64) -> AuditEntry {
    let key_id = crate::crypto::keyring::hexadecimal(keys.current_id());
    AuditEntry::of(Actor::System, Action::KeysResealed, "master_key", &key_id).after(
        serde_json::json!({ "table": sealed.table, "column": sealed.column, "values": count }),
    )
}
