"""What libraries ask a server by themselves, introspection above all. The first argument names one; the connection comes
from PG… variables. What they read is printed."""

import asyncio
import os
import sys

HOST, PORT, USER, PASSWORD, DATABASE = (os.environ[f"PG{name}"] for name in ("HOST", "PORT", "USER", "PASSWORD", "DATABASE"))


async def with_asyncpg():
    import asyncpg

    connection = await asyncpg.connect(host=HOST, port=int(PORT), user=USER, password=PASSWORD, database=DATABASE, ssl=False)
    await connection.execute("create temp table t (a int primary key, b text, c numeric[], d timestamptz, e jsonb)")
    await connection.executemany("insert into t (a, b) values ($1, $2)", [(n, f"word {n}") for n in range(20)])
    print(await connection.fetch("select a, b from t where a < $1 order by a", 5))
    print(await connection.copy_records_to_table("t", records=[(100, "x"), (101, "y")], columns=["a", "b"]))
    print(await connection.fetchval("select array[1.10, 2]::numeric[]"))
    print(await connection.fetch("select item, pairs from odd, item where item.id < 3 order by item.id"))
    async with connection.transaction():
        async for row in connection.cursor("select a from t order by a", prefetch=7):
            print(row)
    for text in ("select 1 / 0", "selec", "select * from no_such_table"):
        try:
            await connection.fetch(text)
        except asyncpg.PostgresError as error:
            print(error.sqlstate, error)
    try:
        async with connection.transaction():
            await connection.execute("insert into kept (id, item, note) values (1, 1, 'again')")
    except asyncpg.UniqueViolationError as error:
        print(error.detail, error.constraint_name)
    await connection.close()


def with_sqlalchemy():
    import sqlalchemy

    url = sqlalchemy.URL.create("postgresql+psycopg", USER, PASSWORD, HOST, int(PORT), DATABASE, {"sslmode": "disable", "gssencmode": "disable"})
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.pool.StaticPool)
    inspector = sqlalchemy.inspect(engine)
    for table in inspector.get_table_names() + inspector.get_view_names():
        print(table, inspector.get_columns(table), inspector.get_pk_constraint(table), inspector.get_foreign_keys(table))
        print(inspector.get_indexes(table), inspector.get_unique_constraints(table), inspector.get_table_comment(table))
    print(inspector.get_enums(), inspector.get_domains(), inspector.get_schema_names())
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        print(connection.execute(sqlalchemy.select(metadata.tables["item"]).limit(3)).all())
    engine.dispose()


def with_django():
    import django
    from django.conf import settings

    database = {"ENGINE": "django.db.backends.postgresql", "HOST": HOST, "PORT": PORT, "USER": USER, "PASSWORD": PASSWORD,
                "NAME": DATABASE, "OPTIONS": {"sslmode": "disable", "gssencmode": "disable"}}
    settings.configure(DATABASES={"default": database}, USE_TZ=True, TIME_ZONE="UTC")
    django.setup()
    from django.core.management import call_command

    call_command("inspectdb", include_views=True)


async_or_not = {"asyncpg": lambda: asyncio.run(with_asyncpg()), "sqlalchemy": with_sqlalchemy, "django": with_django}
async_or_not[sys.argv[1]]()
