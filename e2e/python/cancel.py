"""Cancels statements over TLS: cancel.py CONNINFO

Each cancel is a connection of its own, which a load balancer may give to any proxy.
"""

import sys
import threading

import psycopg

ROUNDS = 6


def cancelled(connection):
    # Later than the proxies' clocks may be apart.
    timer = threading.Timer(1.0, lambda: connection.cancel_safe(timeout=20))
    timer.start()
    try:
        connection.execute("select pg_sleep(60)")
    except psycopg.errors.QueryCanceled:
        return True
    finally:
        timer.join()
    return False


def main(conninfo):
    hits = 0
    for _ in range(ROUNDS):
        with psycopg.connect(conninfo, autocommit=True) as connection:
            assert connection.pgconn.ssl_in_use
            hits += cancelled(connection)
            assert connection.execute("select 1").fetchone() == (1,)
    print(f"{hits} of {ROUNDS} cancelled over TLS")


main(sys.argv[1])
