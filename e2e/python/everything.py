"""What psycopg 3 does with a server, printed as one JSON line per step: the output must not depend on a proxy."""

import json
import sys

import psycopg
from psycopg import sql
from psycopg.rows import dict_row


def tell(step, value):
    print(json.dumps([step, value], default=str, ensure_ascii=False), flush=True)


def errors(connection):
    for text in ("select 1/0", "selec 1", "select * from no_such_table", "select 'x'::int"):
        try:
            connection.execute(text)
        except psycopg.Error as error:
            diagnostics = error.diag
            tell("error", [text, error.sqlstate, diagnostics.severity, diagnostics.message_primary,
                           diagnostics.statement_position])
        connection.rollback()


def values(connection):
    row = connection.execute(
        "select %s::int, %s::text, %s::bool, %s::numeric, %s::jsonb, %s::int[], %s::bytea, %s::date, %b::float8",
        (42, "wörd 😀", True, "1.10", '{"a": null}', [1, 2], b"\x00\xff", "2024-02-29", 0.1),
    ).fetchone()
    tell("values", row)
    binary = connection.cursor(binary=True)
    tell("binary", binary.execute("select 1::int8, 'x', null, now() = now(), array['a', null]").fetchone())
    named = connection.cursor(row_factory=dict_row)
    tell("named", named.execute("select %(one)s::int as one, %(two)s as two", {"one": 1, "two": "2"}).fetchone())


def server_side_cursor(connection):
    with connection.transaction(), connection.cursor(name="walk") as cursor:
        cursor.itersize = 70
        cursor.execute("select id, name from customers order by id")
        tell("server-side", [sum(1 for _ in cursor), cursor.description[1].name])
    with connection.transaction(), connection.cursor(name="scroll", scrollable=True) as cursor:
        cursor.execute("select id from customers order by id")
        cursor.scroll(100)
        here = cursor.fetchone()
        cursor.scroll(-50)
        tell("scrolled", [here, cursor.fetchone(), cursor.fetchmany(3)])


def prepared(connection):
    seen = [connection.execute("select %s::int * 2", (n,), prepare=True).fetchone()[0] for n in range(20)]
    tell("prepared", seen)
    connection.prepare_threshold = 2
    seen = [connection.execute("select %s::int * 3", (n,)).fetchone()[0] for n in range(20)]
    tell("prepared by itself", seen)


def many(connection):
    connection.execute("create temp table t (n int primary key, w text)")
    cursor = connection.cursor()
    cursor.executemany("insert into t values (%s, %s)", [(n, f"w{n}") for n in range(200)])
    tell("executemany", cursor.rowcount)
    cursor.executemany("insert into t values (%s, %s) returning n", [(1000, "a"), (1001, "b")], returning=True)
    returned = []
    while True:
        returned.append(cursor.fetchall())
        if not cursor.nextset():
            break
    tell("returning", returned)


def pipeline(connection):
    with connection.pipeline() as line:
        cursors = [connection.execute("select %s::int", (n,)) for n in range(50)]
        line.sync()
        tell("pipeline", [cursor.fetchone()[0] for cursor in cursors])
    connection.commit()
    try:
        with connection.pipeline():
            connection.execute("select 1")
            connection.execute("select 1/0")
            connection.execute("select 'skipped'")
    except psycopg.Error as error:
        tell("broken pipeline", error.sqlstate)
    connection.rollback()


def copy(connection):
    with connection.cursor().copy("copy t (n, w) from stdin") as into:
        for n in range(5000, 6000):
            into.write_row((n, None if n % 7 == 0 else f"cöpied {n}"))
    with connection.cursor().copy("copy (select n, w from t where n >= 5000 order by n) to stdout") as out:
        rows = list(out.rows())
    tell("copy", [len(rows), rows[0], rows[-1]])
    with connection.cursor().copy("copy (select n from t order by n limit 3) to stdout (format binary)") as out:
        out.set_types(["int4"])
        tell("binary copy", list(out.rows()))
    connection.commit()


def notifications(connection):
    connection.autocommit = True
    connection.execute("listen news")
    for n in range(3):
        connection.execute("select pg_notify('news', %s)", (f"item {n}",))
    heard = [(one.channel, one.payload, one.pid == connection.info.backend_pid)
             for one in connection.notifies(timeout=10, stop_after=3)]
    tell("notifications", heard)
    connection.autocommit = False


def notices(connection):
    heard = []
    connection.add_notice_handler(lambda notice: heard.append([notice.severity, notice.message_primary]))
    connection.execute("do $$ begin raise notice 'one'; raise warning 'two'; end $$")
    tell("notices", heard)
    connection.commit()


def composed(connection):
    query = sql.SQL("select {} from {} where id = %s").format(sql.Identifier("name"), sql.Identifier("customers"))
    tell("composed", connection.execute(query, (2,)).fetchone())
    with connection.transaction():
        connection.execute("delete from t")
        try:
            with connection.transaction():
                connection.execute("insert into t values (1, 'kept?')")
                raise psycopg.Rollback
        except psycopg.Error:
            pass
        tell("nested", connection.execute("select count(*) from t").fetchone())


def main():
    with psycopg.connect(sys.argv[1]) as connection:
        for step in (values, errors, server_side_cursor, prepared, many, pipeline, copy, notifications, notices,
                     composed):
            step(connection)
            connection.commit()


main()
