//! A text and its shape have the same analysis, and what has no shape is left alone.

use super::*;
use crate::analysis::{Analysis, analyze};
use pglens_testkit::corpus::{Step, read};
use proptest::prelude::*;

/// What is known of `sql` by its shape.
fn by_shape(sql: &str) -> Option<Analysis> {
    let shape = shape_of(sql)?;
    let mut known = analyze(&shape);
    match (&known.parse, known.statements.as_mut_slice()) {
        (Ok(()), [only]) => only.range.end += sql.len() - shape.len(),
        _ => return None,
    }
    Some(known)
}

#[test]
fn constants_fold_and_nothing_else_does() {
    assert_eq!(
        shape_of("SELECT a1 FROM t WHERE aid = 42;").unwrap(),
        "SELECT a1 FROM t WHERE aid = 1;"
    );
    assert_eq!(shape_of("select -0,77").unwrap(), "select -1,1");
    assert_eq!(
        shape_of("select a from t where b='x;--y' and c = 'it''s /*' or d = ''''").unwrap(),
        "select a from t where b='' and c = '' or d = ''"
    );
    assert_eq!(
        shape_of("select f(1, ')''('), 2 where a in (3, 4) and b = ('5') or c = 6").unwrap(),
        "select f(1, ')''('), 1 where a in (3, 4) and b = ('5') or c = 1"
    );
    assert_eq!(
        shape_of("select interval '7 days', 'a'").unwrap(),
        "select interval '', ''"
    );
    for other in [
        "select a from t",
        "select f(1)",
        "select 1)",
        "select set_config(name, 'x', false) from pg_settings where name = 'y'",
        "select \"Set_Config\"(name, 'x', false) from pg_settings where name = 'y'",
        "select ('a')",
        "select ('a'\n'b') = 1",
        "select (E'a') = 1",
        "select E'1'",
        "select e'\\', ';'",
        "select U&'1'",
        "select b'1'",
        "select interval'1'",
        "select '\\, 2'",
        "select '\n'",
        "select 'ä'",
        "select 'a",
        "select 'a''",
        "select 'a'\n'b'",
        "select 'a' 'b'",
        "select 'a'; select 'b'",
        "select \"a\" = 2",
        "select $1 + 2",
        "select 1.5",
        "select .5",
        "select 1 . 5 --",
        "select 1e5",
        "select 0x1f",
        "select 1_000",
        "select 12345678901",
        "select 1 --2",
        "select 1 /* 2 */",
        "select 1; select 2",
        "select 1; ;",
        "select a[1]",
        "select 1::int",
        "select\u{a0}1",
        "selects 1",
        "set x = 1",
        "explain select 1",
        " select 1",
    ] {
        assert_eq!(shape_of(other), None, "{other}");
    }
}

#[test]
fn a_text_that_is_no_sql_is_not_known_by_its_shape() {
    assert_eq!(
        shape_of("select 1 from where").unwrap(),
        "select 1 from where"
    );
    assert_eq!(by_shape("select 2 from where"), None);
}

#[test]
fn no_attack_hides_behind_a_shape() {
    let corpora = [
        include_str!("../../tests/corpus/read_attacks.sql"),
        include_str!("../../tests/corpus/read_honest.sql"),
        include_str!("../../tests/corpus/write_attacks.sql"),
        include_str!("../../tests/corpus/write_honest.sql"),
    ];
    let mut shapes = 0;
    for step in corpora
        .into_iter()
        .flat_map(read)
        .flat_map(|case| case.steps)
    {
        let (Step::Query(sql) | Step::Extended(sql, _)) = step else {
            continue;
        };
        if let Some(known) = by_shape(&sql) {
            assert_eq!(known, analyze(&sql), "{sql}");
            shapes += 1;
        }
    }
    assert!(shapes > 40, "only {shapes} texts have one");
}

proptest! {
    #[test]
    fn text_and_shape_have_the_same_analysis(
        words in prop::collection::vec(
            prop::sample::select(vec![
                "a", "b1", "t.c", "from", "where", "and", "or", "order by", "limit", "offset", "into", "set", "=",
                "<", ">=", "+", "-", "*", ",", "as", "union all select", "group by", "between", "is", "null",
                "not", "interval", "fetch first", "rows only", "for update", "pg_settings", "-", ".",
                "(", ")", "count(*)", "coalesce(", "in (", "exists (select", "varchar(", "now()", "name",
            ]),
            0..14,
        ),
        numbers in prop::collection::vec((0usize..16, 0u32..1_100_000_000), 0..4),
        strings in prop::collection::vec((0usize..16, r"'[ -~\n]{0,6}'|'(''|[a-z ]){0,3}'"), 0..4),
        verb in prop::sample::select(vec!["SELECT", "select", "update", "delete from"]),
        end in prop::sample::select(vec!["", ";", " ; ", "\n"]),
        gap in prop::sample::select(vec![" ", "\n", ""]),
    ) {
        let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
        for (at, number) in numbers {
            words.insert(at.min(words.len()), number.to_string());
        }
        for (at, string) in strings {
            words.insert(at.min(words.len()), string);
        }
        let sql = format!("{verb} {}{end}", words.join(gap));
        if let Some(known) = by_shape(&sql) {
            prop_assert_eq!(known, analyze(&sql), "{}", sql);
        }
    }

    #[test]
    fn usual_statements_are_known_by_their_shape(a in 0u32..999_999_999, b in 0u32..999_999_999) {
        for sql in [
            format!("SELECT abalance FROM pgbench_accounts WHERE aid = {a};"),
            format!("UPDATE pgbench_accounts SET abalance = abalance + {a} WHERE aid = {b};"),
            format!("delete from t where a > -{a} and b between {a} and {b}"),
            format!("SELECT id, name FROM app.customers WHERE id = {a} AND status = 'active {b}'"),
            format!("select f(a, {a}, '{b}'), count(*) from t where c in ({a}, {b}) and d > {a} group by 1"),
            format!("select a->'{a}' from t where b like '%{b}''%' order by c at time zone 'utc{a}'"),
            format!("select * from s.t order by {a} limit {b} offset 5"),
        ] {
            prop_assert_eq!(by_shape(&sql), Some(analyze(&sql)), "{}", sql);
        }
    }
}
