//! What a text contains: ranges, kinds, fingerprints, and the controls of a write grant.

use pglens_policy::{
    AllowedFunctions, Analysis, Catalog, CatalogBuilder, ControlGuard, Notation, ParseFailure,
    Refusal, analyze,
};

fn check(analysis: &Analysis) -> Result<(), Refusal> {
    Catalog::unavailable(AllowedFunctions::default()).check(analysis)
}

fn kinds(sql: &str) -> Vec<&'static str> {
    analyze(sql)
        .statements
        .iter()
        .map(|statement| statement.kind.as_str())
        .collect()
}

#[test]
fn statements_are_told_apart() {
    let sql = " SELECT 'ä;ö' ;\n-- note\nINSERT INTO t VALUES ($$;$$);; /* c */ COMMIT ";
    let analysis = analyze(sql);
    let texts: Vec<_> = analysis
        .statements
        .iter()
        .map(|statement| &sql[statement.range.clone()])
        .collect();
    assert_eq!(
        texts,
        [
            "SELECT 'ä;ö'",
            "-- note\nINSERT INTO t VALUES ($$;$$)",
            "/* c */ COMMIT"
        ]
    );
    assert_eq!(kinds(sql), ["SELECT", "INSERT", "COMMIT"]);
}

#[test]
fn an_empty_text_has_no_statement() {
    for sql in ["", "  ", ";", ";;", "-- comment", "/* a */ ; -- b"] {
        let analysis = analyze(sql);
        assert_eq!(
            (analysis.statements.len(), &analysis.parse),
            (0, &Ok(())),
            "{sql}"
        );
        assert_eq!(check(&analysis), Ok(()));
    }
}

#[test]
fn a_text_that_does_not_parse_is_one_unknown_statement() {
    let analysis = analyze(" SELCT 1 ");
    let message = "syntax error at or near \"SELCT\"".to_owned();
    assert_eq!(
        analysis.parse,
        Err(ParseFailure::Syntax {
            message: message.clone()
        })
    );
    let [statement] = &analysis.statements[..] else {
        panic!("not one statement")
    };
    assert_eq!(
        (statement.kind.as_str(), statement.range.clone()),
        ("UNKNOWN", 1..8)
    );
    let refusal = check(&analysis).unwrap_err();
    assert_eq!(
        (refusal.code.sqlstate(), refusal.message),
        ("42601", message)
    );
}

#[test]
fn kinds_are_named_as_command_tags() {
    let check = |sql: &str, kind| assert_eq!(kinds(sql), [kind], "{sql}");
    check("WITH x AS (SELECT 1) SELECT * FROM x", "SELECT");
    check("VALUES (1)", "SELECT");
    check("SELECT 1 INTO t", "SELECT INTO");
    check("CREATE TABLE t AS SELECT 1", "CREATE TABLE AS");
    check(
        "CREATE MATERIALIZED VIEW m AS SELECT 1",
        "CREATE MATERIALIZED VIEW",
    );
    check("ALTER TABLE t ADD c int", "ALTER TABLE");
    check("ALTER INDEX i RENAME TO j", "ALTER");
    check("DROP VIEW v", "DROP VIEW");
    check("START TRANSACTION", "START TRANSACTION");
    check("END", "COMMIT");
    check("SET a.b = 1", "SET");
    check("RESET ALL", "RESET");
    check("MOVE 1 IN c", "MOVE");
    check("ANALYZE t", "ANALYZE");
    check("VACUUM", "VACUUM");
    check("COPY t FROM STDIN", "COPY");
    check("REVOKE ALL ON t FROM x", "REVOKE");
    check("TRUNCATE t", "TRUNCATE TABLE");
}

#[test]
fn a_fingerprint_ignores_constants_and_layout() {
    let of = |sql: &str| analyze(sql).statements[0].fingerprint.make(sql).unwrap();
    assert_eq!(
        of("SELECT a FROM t WHERE b = 1"),
        of("select  a from t where b = 'x' -- c")
    );
    assert_ne!(of("SELECT a FROM t"), of("SELECT b FROM t"));
    assert_eq!(of("SELECT 1").to_string().len(), 16);
    let both = analyze("SELECT a FROM t; SELECT b FROM t");
    let second = both.statements[1].fingerprint.at_hand();
    assert_eq!(second, Some(of("SELECT b FROM t")));
}

#[test]
fn controls_stop_their_statements_only() {
    let rule = |sql: &str, block_copy, block_ddl| {
        let guard = ControlGuard {
            block_copy,
            block_ddl,
        };
        guard
            .check(&analyze(sql))
            .err()
            .map(|refusal| (refusal.rule, refusal.code.sqlstate()))
    };
    let (copy, ddl) = (
        Some(("control.block_copy", "42501")),
        Some(("control.block_ddl", "42501")),
    );
    for (sql, with_copy, with_ddl) in [
        ("SELECT 1", None, None),
        ("INSERT INTO t VALUES (1)", None, None),
        ("TRUNCATE t", None, None),
        ("SET ROLE x", None, None),
        ("COPY t FROM STDIN", copy, None),
        ("COPY t TO STDOUT", copy, None),
        ("SELECT 1; COPY t TO STDOUT", copy, None),
        ("CREATE TABLE t (a int)", None, ddl),
        ("CREATE TEMP TABLE t AS SELECT 1", None, ddl),
        ("SELECT 1 INTO t", None, ddl),
        ("EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1", None, ddl),
        ("ALTER SYSTEM SET a = 1", None, ddl),
        ("GRANT ALL ON t TO x", None, ddl),
        ("DROP TABLE t", None, ddl),
        ("COMMENT ON TABLE t IS 'x'", None, ddl),
        ("REINDEX TABLE t", None, ddl),
        ("DO $$ BEGIN END $$", copy, ddl),
    ] {
        assert_eq!(rule(sql, false, false), None, "{sql}");
        assert_eq!(rule(sql, true, false), with_copy, "{sql}");
        assert_eq!(rule(sql, false, true), with_ddl, "{sql}");
    }
    assert_eq!(rule("NOT SQL", false, false), None);
    assert_eq!(
        rule("NOT SQL", true, false),
        Some(("control.not_understood", "42601"))
    );
    assert_eq!(
        rule("NOT SQL", false, true),
        Some(("control.not_understood", "42601"))
    );
}

#[test]
fn what_a_statement_uses_is_told() {
    let analysis = analyze(
        "SELECT f(a.b), s.g(1, 2)::w FROM a, h(VARIADIC c) WHERE (a).i AND x OPERATOR(s.@) y \
         AND set_config('jit', 'off', true) = '' ORDER BY 1",
    );
    let uses = &analysis.statements[0].uses;
    let functions: Vec<_> = uses
        .functions
        .iter()
        .map(|one| (one.to_string(), one.notation))
        .collect();
    let expected = [
        ("b", Notation::OfAny),
        ("f", Notation::Call(Some(1))),
        ("h", Notation::Call(None)),
        ("i", Notation::OfAny),
        ("set_config", Notation::Judged(3)),
        ("s.g", Notation::Call(Some(2))),
    ];
    assert_eq!(
        functions,
        expected.map(|(name, notation)| (name.to_owned(), notation))
    );
    let names = |names: &[pglens_policy::NameRef]| {
        names.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(names(&uses.operators), ["<", "=", "s.@"]);
    assert_eq!(names(&uses.types), ["w"]);
    let rows_only = analyze("SELECT a.b FROM a");
    assert_eq!(
        rows_only.statements[0].uses.functions[0].notation,
        Notation::OfRow
    );
}

/// A function may be created between the reading of the catalog and the call: what is not known never passes.
#[test]
fn a_function_that_does_not_exist_is_refused_in_words_that_say_so() {
    let mut builder = CatalogBuilder::new(AllowedFunctions::default());
    let known = [
        "function",
        "20000",
        "app",
        "twice",
        "if",
        "sql",
        "1 0 0 0",
        "",
        "",
        "",
        "select $1",
    ];
    builder.row(&known).unwrap();
    let catalog = builder.finish();
    let refusal = |sql| catalog.check(&analyze(sql)).unwrap_err();
    assert_eq!(catalog.check(&analyze("SELECT app.twice(1)")), Ok(()));
    for sql in [
        "SELECT thrice(1)",
        "SELECT pg_temp.thrice(1)",
        "SELECT app.thrice(1, 2)",
    ] {
        let refusal = refusal(sql);
        assert_eq!(refusal.code.sqlstate(), "25006", "{sql}");
        let detail = refusal.detail.unwrap();
        assert!(detail.contains("when PgLens last read"), "{sql}: {detail}");
        assert!(refusal.hint.unwrap().contains("Check its name"), "{sql}");
    }
    for sql in ["SELECT app.twice(1, 2)", "SELECT pg_temp.twice(1)"] {
        let detail = refusal(sql).detail.unwrap();
        assert!(
            detail.contains("only in another schema or with"),
            "{sql}: {detail}"
        );
    }
}
