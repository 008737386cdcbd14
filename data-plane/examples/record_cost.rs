//! Prints what the record costs per statement: `cargo run --release -p pglens-data-plane --example record_cost [FOLDER]`.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::path::PathBuf;

const STATEMENTS: u64 = 200_000;

fn main() -> std::io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| std::env::temp_dir().join("pglens-record-cost"));
    for together in [1, 4, 16, 64] {
        let took = pglens_data_plane::measure::record(&folder, STATEMENTS, together)?;
        let each = took.as_nanos() / u128::from(STATEMENTS);
        println!("{together:>3} sessions share a write: {each} ns per statement");
    }
    Ok(())
}
