//! Values in binary format against what the server prints: our text of a binary value is the text that PostgreSQL gives,
//! and both formats become the same JSON. Of the major under test; the values are random, the server's own.

use std::error::Error;

use pglens_e2e::Target;
use pglens_testkit::target_major;
use pglens_wire::value::{Format, to_json, to_text};
use tokio_postgres::types::{FromSql, Type};

/// Random values of each type.
const VALUES: u32 = 300;

/// The server's text is what `format` gives, which is the type's output function; a cast is not always.
/// A type and an expression over random numbers; `n` counts from 1. Few values are NULL.
const EXPRESSIONS: &str = include_str!("values.tsv");

/// The bytes of a value, whatever its type.
struct Raw(Option<Vec<u8>>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(Some(raw.to_vec())))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(None))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_values_are_shown_as_the_server_prints_them() {
    let target = Target::start().await;
    let client = target.login().connect().await;
    client
        .batch_execute(
            "set timezone = 'UTC'; select setseed(0.4242);
             create type pair as (one int, two text);
             create type nested as (inner_pair pair, list int[], at timestamp);",
        )
        .await
        .unwrap();
    let (mut checked, mut wrong) = (0, Vec::new());
    for line in EXPRESSIONS.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<&str> = line.split('\t').collect();
        let [since, name, expression] = fields[..] else {
            panic!("not three fields: {line}")
        };
        if since.parse::<u32>().unwrap() > target_major() {
            continue;
        }
        let sql = format!(
            "select v, case when v is not null then format('%s', v) end from (select ({expression})::{name} from generate_series(1, {VALUES}) n) as t(v)"
        );
        let rows = client.query(&sql, &[]).await;
        let rows = rows.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let oid = rows[0].columns()[0].type_().oid();
        for row in &rows {
            let (Raw(binary), text) = (row.get(0), row.get::<_, Option<String>>(1));
            let (Some(binary), Some(text)) = (binary, text) else {
                continue;
            };
            checked += 1;
            if let Some(difference) = difference(name, oid, &binary, &text) {
                wrong.push(difference);
                break;
            }
        }
    }
    eprintln!("{checked} values, PostgreSQL {}", target_major());
    assert!(checked > VALUES * 50, "only {checked} values");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn difference(name: &str, oid: u32, binary: &[u8], text: &str) -> Option<String> {
    let shown = to_text(oid, Format::Binary, binary);
    let expected = match name {
        // Its currency is not on the wire.
        "money" => text.replace(['$', ','], ""),
        _ => text.to_owned(),
    };
    if shown != expected {
        return Some(format!("{name}: printed {expected:?}, shown {shown:?}"));
    }
    let json = [
        (Format::Text, expected.as_bytes()),
        (Format::Binary, binary),
    ]
    .map(|(format, bytes)| to_json(oid, format, Some(bytes)).get().to_owned());
    (json[0] != json[1]).then(|| format!("{name}: as JSON {} and {}", json[0], json[1]))
}
