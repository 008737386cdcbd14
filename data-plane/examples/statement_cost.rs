//! Prints what a statement costs the engine of a session, recorded, without sockets:
//! `cargo run --release -p pglens-data-plane --example statement_cost [STATEMENTS [PROTOCOL]]`.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use pglens_data_plane::measure::{self, Protocol};

const PROTOCOLS: [(&str, Protocol); 4] = [
    ("simple", Protocol::Simple),
    ("extended", Protocol::Extended),
    ("prepared", Protocol::Prepared),
    ("pipeline", Protocol::Pipeline(10)),
];

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let statements = arguments.next().and_then(|text| text.parse().ok());
    let statements: u64 = statements.unwrap_or(200_000);
    let only = arguments.next();
    let folder = std::env::temp_dir().join("pglens-statement-cost");
    for (name, protocol) in PROTOCOLS {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        let took = measure::statements(&folder, protocol, statements)?;
        let each = took.as_nanos() / u128::from(statements);
        println!("{name}: {each} ns per statement");
    }
    Ok(())
}
