#!/usr/bin/env python3
"""Measures lists of the record over many stored statements, and shows their plans.

    bench/reading.py                                 ten million statements over 30 days
    bench/reading.py --statements 200000 --hold      fewer; what was started stays until Enter, to look at plans

Starts `pglens dev`, fills its storage with bench/reading.sql, and asks `/api/queries` for the first page of each
filter: the median and the slowest of some requests, the statements on the page, and, where a long search is cut short,
how many requests and how long it takes to the end of the record.
"""

import argparse
import base64
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from datetime import datetime, timedelta, timezone
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import ROOT, start_pglens, stop  # noqa: E402


def filters(ids):
    now = datetime.now(timezone.utc)
    ago = lambda **units: (now - timedelta(**units)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "(none)": "",
        "connection_id": f"connection_id={ids['connection']}",
        "user_id": "user_id=7",
        "database_id": "database_id=2",
        "grant_id": "grant_id=5",
        "from, until (an hour, 5 days ago)": f"from={ago(days=5)}&until={ago(days=5, hours=-1)}",
        "text, common": "text=T_7+WHERE".replace("+", "%20"),
        "text, nowhere": "text=nowhere%20to%20be%20found",
        "text, nowhere, in an hour": f"text=nowhere&from={ago(days=5)}&until={ago(days=5, hours=-1)}",
        "sqlstate, common": "sqlstate=42P01",
        "sqlstate, rare": "sqlstate=57014",
        "refused": "refused=true",
        "min_duration_ms=100": "min_duration_ms=100",
        "min_duration_ms=900": "min_duration_ms=900",
        "min_duration_ms=5": "min_duration_ms=5",
        "min_rows=1000": "min_rows=1000",
        "min_rows=40": "min_rows=40",
        "fingerprint": "fingerprint=f0000000000000ff",
        "user_id, refused": "user_id=7&refused=true",
        "user_id, text": "user_id=7&text=T_77%20",
        "database_id, text": "database_id=2&text=T_77%20",
        "text, nowhere, of common letters": "text=order%20where",
        "the oldest first": "order=oldest",
    }


class Stack:
    def __init__(self, folder):
        self.started = []
        self.ready = start_pglens(folder, self.started)
        self.dsn = self.ready["storage_url"]
        self.api = self.ready["api"]
        login = f"{self.ready['admin_user']}:{self.ready['admin_password']}"
        self.authorization = "Basic " + base64.b64encode(login.encode()).decode()

    def psql(self, text):
        command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-At", self.dsn]
        return subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()

    def get(self, path):
        request = urllib.request.Request(self.api + path, headers={"Authorization": self.authorization})
        started = time.monotonic()
        body = json.load(urllib.request.urlopen(request, timeout=120))
        return (time.monotonic() - started) * 1000, body

    def hold_text_indexes(self):
        """Has the control plane leave the texts without indexes, which it builds a few minutes past each hour."""
        holder = subprocess.Popen(["psql", "-X", "-q", "-At", self.dsn], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                  text=True)
        self.started.append(holder)
        holder.stdin.write(f"select 'held' from pg_advisory_lock({TEXT_INDEX_LOCK});\n")
        holder.stdin.flush()
        if holder.stdout.readline() != "held\n":
            sys.exit("bench: the lock of the text indexes cannot be had")

    def fill(self, statements, days):
        for day in range(days + 2):
            self.psql(PARTITION.format(day=day))
        text = (ROOT / "bench/reading.sql").read_text()
        text = text.replace(":statements", str(statements)).replace(":days", str(days))
        # Tables that are not ours are skipped, and the server says so of each.
        settings = "set maintenance_work_mem = '256MB'; set work_mem = '256MB'; set client_min_messages = 'error';\n"
        self.psql(settings + text + "\nvacuum analyze;")

    def index_texts(self):
        """As a control plane does a few minutes past each hour: all days but today, and today's hours that are over."""
        before = int(self.psql(SIZE))
        started = time.monotonic()
        self.psql(TEXT_INDEXES)
        return time.monotonic() - started, int(self.psql(SIZE)) - before


SIZE = "select sum(pg_total_relation_size(inhrelid)) from pg_inherits where inhparent = 'queries'::regclass"

# Of `control-plane/src/storage/text_index.rs`.
TEXT_INDEX_LOCK = 0x7472676D

TEXT_INDEXES = """
set client_min_messages = 'error';
create extension if not exists pg_trgm;
create function pg_temp.first_id(midnight timestamp, hours int) returns uuid language sql return
    (lpad(to_hex(extract(epoch from midnight)::bigint * 1000 + hours * 3600000::bigint), 12, '0')
        || '00000000000000000000')::uuid;
select format('create index if not exists %1$s_text on %1$s using gin (sql gin_trgm_ops)', c.relname)
from pg_inherits i join pg_class c on c.oid = i.inhrelid
where i.inhparent = 'queries'::regclass and c.relname ~ '_[0-9]+$'
    and c.relname < 'queries_' || to_char(now() at time zone 'UTC', 'YYYYMMDD')
\\gexec
select format('create index if not exists %1$s_text_%2$s on %1$s using gin (sql gin_trgm_ops) where id >= %3$L and id < %4$L',
    'queries_' || to_char(d, 'YYYYMMDD'), to_char(n, 'FM00'), pg_temp.first_id(d, n), pg_temp.first_id(d, n + 1))
from (select date_trunc('day', now() at time zone 'UTC') d) today,
    generate_series(0, extract(hour from now() at time zone 'UTC' - interval '5 minutes')::int - 1) n
\\gexec
analyze queries;
"""

PARTITION = """
select format('create table if not exists %s_%s partition of %s for values from (%L) to (%L)', t, to_char(d, 'YYYYMMDD'),
    t, (lpad(to_hex(extract(epoch from d)::bigint * 1000), 12, '0') || '00000000000000000000')::uuid,
    (lpad(to_hex(extract(epoch from d)::bigint * 1000 + 86400000), 12, '0') || '00000000000000000000')::uuid)
from unnest(array['queries', 'query_rows']) t, (select date_trunc('day', now() at time zone 'UTC') - {day} * interval '1 day' d) d
where to_regclass(format('%s_%s', t, to_char(d, 'YYYYMMDD'))) is null
\\gexec
"""


def measure(stack, query, rounds):
    times = [stack.get(f"/api/queries?{query}")[0] for _ in range(rounds)]
    spent, body = stack.get(f"/api/queries?{query}")
    found, requests, total = len(body["queries"]), 1, spent
    while len(body["queries"]) < 100 and body["next_cursor"] and found < 100:
        spent, body = stack.get(f"/api/queries?{query}&cursor={body['next_cursor']}")
        found, requests, total = found + len(body["queries"]), requests + 1, total + spent
    return statistics.median(times), max(times), found, requests, total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statements", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hold", action="store_true")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    stack = None
    try:
        stack = Stack(folder)
        started = time.monotonic()
        stack.hold_text_indexes()
        stack.fill(arguments.statements, arguments.days)
        megabytes = int(stack.psql(SIZE)) / 1e6
        print(f"{arguments.statements} statements over {arguments.days} days, {megabytes:.0f} MB, "
              f"filled in {time.monotonic() - started:.0f} s")
        ids = {"connection": stack.psql("select id from connections order by id offset 1000 limit 1")}
        print(f"{'filter':36} {'median ms':>9} {'slowest':>9} {'found':>6}  to the end of the search")

        def report(name, query):
            median, slowest, found, requests, total = measure(stack, query, arguments.rounds)
            rest = f"{requests} requests, {total / 1000:.1f} s" if requests > 1 else ""
            print(f"{name:36} {median:9.1f} {slowest:9.1f} {found:6}  {rest}", flush=True)

        for name, query in filters(ids).items():
            report(name, query)
        seconds, added = stack.index_texts()
        print(f"texts indexed in {seconds:.0f} s, {added / 1e6:.0f} MB")
        for name, query in filters(ids).items():
            if "text" in name:
                report(name + ", indexed", query)
        for days in (1, arguments.days):
            since = (datetime.now(timezone.utc) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
            times = [stack.get(f"/api/stats?from={since}")[0] for _ in range(arguments.rounds)]
            print(f"{f'/api/stats over {days} days':36} {statistics.median(times):9.1f} {max(times):9.1f}", flush=True)
        if arguments.hold:
            input(f"storage: {stack.dsn}\nPress Enter to end.")
    finally:
        if stack:
            stop(stack.started)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
