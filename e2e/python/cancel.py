"""Cancels statements as a driver does: cancel.py DRIVER CONNINFO

Each cancel is a connection of its own, which a load balancer that goes round gives to another proxy than the session's,
except where a connection in between makes it the same one.
"""

import asyncio
import contextlib
import os
import socket
import sys
import threading

import psycopg
from psycopg.conninfo import conninfo_to_dict

ROUNDS = 6
PROXIES = 3
# Later than the proxies' clocks may be apart.
CANCEL_AFTER = 1.0
# Much less than the statement takes.
GIVE_UP_AFTER = 20.0
STATEMENT = "select pg_sleep(60)"


@contextlib.contextmanager
def shifted(place, number):
    """In every other round the cancel gets to the proxy of the session."""
    with contextlib.ExitStack() as held:
        for _ in range(PROXIES - 1 if number % 2 else 0):
            held.enter_context(socket.create_connection((place["host"], int(place["port"]))))
        yield


def with_psycopg(conninfo, place, number, is_tls):
    with psycopg.connect(conninfo, autocommit=True) as connection:
        assert connection.pgconn.ssl_in_use == is_tls
        with shifted(place, number):
            timer = threading.Timer(CANCEL_AFTER, lambda: connection.cancel_safe(timeout=GIVE_UP_AFTER))
            timer.start()
            try:
                connection.execute(STATEMENT)
            except psycopg.errors.QueryCanceled:
                hit = 1
            else:
                hit = 0
            timer.join()
        assert connection.execute("select 1").fetchone() == (1,)
    return hit


async def with_asyncpg(place, number, is_tls):
    import asyncpg

    connection = await asyncpg.connect(
        host=place["host"],
        port=int(place["port"]),
        user=place["user"],
        database=place["dbname"],
        password=os.environ["PGPASSWORD"],
        ssl="require" if is_tls else "disable",
    )
    try:
        assert (connection._transport.get_extra_info("ssl_object") is not None) == is_tls
        with shifted(place, number):
            try:
                await connection.execute(STATEMENT, timeout=CANCEL_AFTER)
            except TimeoutError:
                # It has sent its cancel. The next statement waits until the one before has ended.
                value = await asyncio.wait_for(connection.fetchval("select 1"), GIVE_UP_AFTER)
                return int(value == 1)
        return 0
    finally:
        connection.terminate()


def main(driver, conninfo):
    place = conninfo_to_dict(conninfo)
    is_tls = place["sslmode"] == "require"
    hits = 0
    for number in range(ROUNDS):
        if driver == "asyncpg":
            hits += asyncio.run(with_asyncpg(place, number, is_tls))
        else:
            hits += with_psycopg(conninfo, place, number, is_tls)
    print(f"{hits} of {ROUNDS} cancelled {'over TLS' if is_tls else 'in clear'}")


main(*sys.argv[1:])
