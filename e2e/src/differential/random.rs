//! Sessions that nobody thought of: steps drawn at random, valid and not, in any order.
//!
//! Names and tables are few, so that steps meet what others made. The same seed gives the same session.

use std::fmt::Write as _;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Steps of a session behind the one that makes its table.
const STEPS: std::ops::Range<usize> = 4..40;

const QUERIES: &[&str] = &[
    "",
    ";;",
    "-- nothing but a comment",
    "select",
    "select 1",
    "select 1; select 'two', 2.5; select null",
    "select 1; select 1 / 0; select 2",
    "select 1 / 0",
    "selec 1",
    "select * from nowhere",
    "select $1",
    "select 1 where false",
    "select n, repeat('x', n) from generate_series(1, 5) n",
    "select n, md5(n::text) from generate_series(1, 3000) n",
    "select repeat('x', 300000)",
    "select n, repeat('y', 700) from generate_series(1, 300) n",
    "begin",
    "begin; select 1",
    "begin; select 1 / 0; select 2",
    "start transaction isolation level serializable",
    "set transaction read only",
    "commit",
    "commit; select 2",
    "commit and chain",
    "rollback",
    "rollback; select 3",
    "savepoint s",
    "rollback to s",
    "release s",
    "insert into t values (1, 'one'), (2, null)",
    "insert into t values (3, 'three'); select 1 / 0",
    "update t set b = 'x' returning a",
    "delete from t",
    "select * from t order by a, b",
    "prepare a as select 7",
    "prepare b(int) as select $1 + 1",
    "execute a",
    "execute b(3)",
    "deallocate a",
    "deallocate all",
    "discard plans",
    "declare p cursor for select n from generate_series(1, 9) n",
    "declare q cursor with hold for select 1",
    "fetch 2 from p",
    "fetch all from q",
    "move 1 in p",
    "close p",
    "close all",
    "copy (select n, 'a' from generate_series(1, 3) n) to stdout",
    "copy (select 1) to stdout; select 2",
    "copy t to stdout",
    "copy (select 1 / (n - 3) from generate_series(1, 5) n) to stdout",
    "set search_path = public, pg_temp",
    "set datestyle = 'German'",
    "set extra_float_digits = 0",
    "reset datestyle",
    "show search_path",
    "select noisy(3)",
    "select failing(3)",
    "do $$ begin raise notice 'done'; end $$",
    "explain (costs off) select 1",
    "lock table nowhere",
    "create table pg_temp.u (x int)",
    "drop table pg_temp.u",
    "alter table t add column c int",
    "listen c",
    "unlisten *",
    "notify c, 'heard'",
    "begin; notify c, 'later'",
    "select pg_notify('c', n::text) from generate_series(1, 2) n",
    "set client_encoding = 'LATIN1'",
    "reset client_encoding",
    "set standard_conforming_strings = off",
    "set application_name = 'other'; select 1",
    "set local datestyle = 'SQL'",
    "reset all",
    "discard all",
    "set session authorization default",
    "select pg_cancel_backend(pg_backend_pid()), pg_sleep(1)",
    "set statement_timeout = '1d'",
    "select lo_from_bytea(0, 'large') > 0",
    "copy (select 1, 'binary') to stdout (format binary)",
    "fetch backward 1 from p",
    "declare r binary cursor for select n, n::text from generate_series(1, 5) n",
    "fetch 2 from r",
    "values (1, 'é'), (2, E'\\u00fc')",
    "select 1 as \"a b\", 2 as a, 3 as a",
    "select current_setting('transaction_isolation'), pg_current_xact_id_if_assigned() is null",
    "do $$ begin commit; end $$",
    "commit and chain; select 4",
    "rollback and chain",
    "begin; begin; select 5; commit; commit",
    "insert into t values (8, 'x') returning *; select * from t where false; table t",
];

const COPIES_IN: &[&str] = &[
    COPY_IN,
    "copy t (a) from stdin (format csv)",
    "copy nowhere from stdin",
    "copy t from stdin; select 3",
    "select 2; copy t from stdin",
];

const COPY_IN: &str = "copy t from stdin";

const PARSED: &[&str] = &[
    "",
    "select 1",
    "select $1::int",
    "select $1::text, $2::int8",
    "select n from generate_series(1, 10) n",
    "select n from generate_series(1, $1::int) n",
    "select length($1::text), $1::text",
    "select repeat('z', 9000) from generate_series(1, 20)",
    "select 1 / $1::int",
    "select 1 / 0",
    "select 1 / (5 - n) from generate_series(1, 9) n",
    "select 1; select 2",
    "selec",
    "select * from nowhere",
    "select * from t order by a, b",
    "insert into t values ($1::int, $2::text)",
    "insert into t values (5, 'five') returning a, b",
    "update t set a = a + 1",
    "begin",
    "commit",
    "rollback",
    "savepoint s",
    "rollback to s",
    COPY_IN,
    "copy (select n from generate_series(1, 4) n) to stdout",
    "show work_mem",
    "set work_mem = '5MB'",
    "execute a",
    "execute b(1)",
    "prepare a as select 8",
    "deallocate a",
    "deallocate all",
    "fetch 1 from p",
    "declare q cursor for select 2",
    "close p",
    "select noisy(1)",
    "select failing(1)",
    "explain (costs off) select $1::int",
    "listen c",
    "notify c, 'heard'",
    "select pg_notify('c', $1::text)",
    "set client_encoding = 'LATIN1'",
    "discard all",
    "commit and chain",
    "begin transaction read only",
    "do $$ begin commit; end $$",
    "values ($1::numeric, $2::timestamptz)",
    "select $1::int[], $2::jsonb",
    "fetch 2 from r",
    "select pg_cancel_backend(pg_backend_pid())",
    "execute b($1)",
];

const VALUES: &[&str] = &[
    "'1'",
    "'7'",
    "''",
    "'no number'",
    "null",
    "x'00000002'",
    "x'00'",
    "'\\{word *30000}'",
];
const FORMATS: &[&str] = &["", " => binary", " => text", " => text binary", " => 7"];
const STATEMENTS: &[&str] = &["-", "-", "a", "b"];
const PORTALS: &[&str] = &["-", "-", "p", "q"];
const MAX_ROWS: &[&str] = &["", "", " 0", " 1", " 3", " 10", " 5000"];
const CALLS: &[&str] = &[
    "call 1318 'word' => text",
    "call 1318 null => binary",
    "call 177 x'00000001' x'00000002' => binary",
    "call 154 x'00000001' x'00000000' => text",
    "call 4000000000 => text",
];
const COPY_DATA: &[&str] = &[
    "copy-data 1\\tone\\n",
    "copy-data 2\\ttwo\\n3\\tth",
    "copy-data ree\\n",
    "copy-data 4\\n",
    "copy-data no number\\tx\\n",
    "copy-data 6\\t\\{0123456789*9000}\\n",
    "copy-data",
];

/// What a read grant allows.
const READ_QUERIES: &[&str] = &[
    "",
    "-- nothing but a comment",
    "select 1; select 'two', 2.5; select null",
    "select 1; select 1 / 0; select 2",
    "select 1 / 0",
    "selec 1",
    "select * from nowhere",
    "select n, md5(n::text) from generate_series(1, 3000) n",
    "select * from kept order by id",
    "begin",
    "begin; select 1",
    "commit",
    "rollback",
    "savepoint s",
    "rollback to s",
    "copy (select n, 'a' from generate_series(1, 3) n) to stdout",
    "copy (select 1 / (n - 3) from generate_series(1, 5) n) to stdout",
    "show search_path",
    "explain (costs off) select 1",
];
const READ_PARSED: &[&str] = &[
    "",
    "select 1",
    "select $1::int",
    "select $1::text, $2::int8",
    "select n from generate_series(1, 10) n",
    "select n from generate_series(1, $1::int) n",
    "select 1 / $1::int",
    "select 1 / (5 - n) from generate_series(1, 9) n",
    "select 1; select 2",
    "selec",
    "select * from nowhere",
    "begin",
    "commit",
    "rollback",
    "copy (select n from generate_series(1, 4) n) to stdout",
    "show work_mem",
];

/// What it does not: each is answered as if it could not be understood.
pub const REFUSED: &[&str] = &[
    "insert into kept values (9, 9, 'nine')",
    "select 1; delete from kept; select 2",
    "begin; drop table kept",
    "create temp table t (a int, b text)",
    "update kept set note = 'x' returning id",
    "select set_config('transaction_read_only', 'off', false)",
    "select pg_advisory_lock(1)",
    "set transaction read write",
    "do $$ begin end $$",
    "copy kept from stdin",
    "call committing()",
    "lock table kept",
];

/// Which queries a session may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Queries {
    All,
    /// What a read grant allows, and [`REFUSED`].
    Read,
    /// None of several statements, which `strict` refuses, and no COPY FROM STDIN without an end: where PostgreSQL hangs up
    /// because something else comes in the middle, `strict` lets it fail.
    Strict,
}

/// A session as a file has it.
pub fn session(seed: u64, queries: Queries) -> String {
    let mut random = StdRng::seed_from_u64(seed);
    let first = match queries {
        Queries::Read => "select 'first'",
        Queries::All | Queries::Strict => "create temp table t (a int, b text)",
    };
    let mut lines = format!("session random {seed}\nquery {first}\n");
    let steps = random.random_range(STEPS);
    let syncs_often = random.random_bool(0.5);
    for _ in 0..steps {
        step(&mut random, syncs_often, queries, &mut lines);
    }
    // Without it the last answers are shown only if somebody asks the target to flush them, as the proxy does when it must
    // know whether a COPY has begun.
    lines.push_str("sync\n");
    lines
}

fn step(random: &mut StdRng, syncs_often: bool, queries: Queries, lines: &mut String) {
    let mut pick = |from: &'static [&'static str]| *from.choose(random).expect("not empty");
    let (statement, portal) = (pick(STATEMENTS), pick(PORTALS));
    let (sql, parsed, copy) = match queries {
        Queries::All | Queries::Strict => (pick(QUERIES), pick(PARSED), pick(COPIES_IN)),
        Queries::Read => (pick(READ_QUERIES), pick(READ_PARSED), pick(REFUSED)),
    };
    let (rows, format, call, stray) = (pick(MAX_ROWS), pick(FORMATS), pick(CALLS), pick(COPY_DATA));
    let mut line = |text: &str| {
        lines.push_str(text.trim_end());
        lines.push('\n');
    };
    let is_strict = queries == Queries::Strict;
    let has_several = sql.contains("; ") || copy.contains("; ");
    match random.random_range(0..100) {
        0..22 if is_strict && has_several => {}
        22..38 if is_strict && parsed == COPY_IN => {}
        34..38 if queries == Queries::Read => line(&format!("parse {statement} {copy}")),
        0..16 => line(&format!("query {sql}")),
        16..22 => {
            line(&format!("query {copy}"));
            copy_in(random, lines);
            if is_strict {
                lines.push_str("copy-done\n");
            }
        }
        22..38 => line(&format!("parse {statement} {parsed}")),
        38..56 => {
            let values = values(random);
            line(&format!("bind {portal} {statement}{values}{format}"));
        }
        56..72 => line(&format!("execute {portal}{rows}")),
        72..76 => line(&format!("describe portal {portal}")),
        76..80 => line(&format!("describe statement {statement}")),
        80..82 => line(&format!("close portal {portal}")),
        82..84 => line(&format!("close statement {statement}")),
        84..86 => line("flush"),
        86..88 => line(call),
        88..90 => line(stray),
        90..91 => line("copy-done"),
        91..92 => line("copy-fail no"),
        92..95 if queries == Queries::All => {
            let parts = ["parse - copy t from stdin", "bind - -", "execute -"];
            parts.into_iter().for_each(line);
            copy_in(random, lines);
        }
        _ if syncs_often => line("sync"),
        _ => copy_in(random, lines),
    }
}

fn values(random: &mut StdRng) -> String {
    let mut values = String::new();
    for _ in 0..random.random_range(0..3) {
        let value = VALUES.choose(random).expect("not empty");
        let _infallible = write!(values, " {value}");
    }
    values
}

/// What follows a COPY FROM STDIN, or something that is none.
fn copy_in(random: &mut StdRng, lines: &mut String) {
    for _ in 0..random.random_range(0..4) {
        let data = COPY_DATA.choose(random).expect("not empty");
        let _infallible = writeln!(lines, "{data}");
    }
    match random.random_range(0..10) {
        0..6 => lines.push_str("copy-done\n"),
        6..8 => lines.push_str("copy-fail no more\n"),
        8 => lines.push_str("sync\n"),
        _ => {}
    }
}

#[test]
fn a_seed_gives_one_session_and_another_seed_another() {
    let session = |seed| session(seed, Queries::All);
    assert_eq!(session(7), session(7));
    assert_ne!(session(7), session(8));
    for seed in 0..500 {
        let read = super::script::parse("random", &session(seed));
        assert!(read[0].steps.len() >= STEPS.start, "seed {seed}");
    }
}
