"""The workloads: each runs once through one way and returns its figures."""

import glob
import re
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from cost import Meter, children_of, settle
from stack import find
from wire import Client, Refused, message, query

PIPELINE_QUERIES = 10
# How long a client does not read while the proxy's memory is watched.
UNREAD_SECONDS = 6


class Failed(Exception):
    """A workload did not run as it should."""


def with_cost(way, work):
    """Runs `work`, which returns figures by name, and adds what each program cost in all."""
    meter = Meter(way.programs)
    figures = work()
    settle(way.programs)
    figures["cpu_seconds"] = meter.seconds()
    return figures


class Pgbench:
    """A run of pgbench: transactions per second, latency, and CPU per query."""

    unit = "µs/query"

    def __init__(self, options, clients, queries=1, percentile=False, script=None, tls=False):
        self.options, self.clients, self.queries = options, clients, queries
        self.percentile, self.script, self.tls = percentile, script, tls

    def run(self, way, seconds, scale):
        with tempfile.TemporaryDirectory() as folder:
            return with_cost(way, lambda: self._run(way, seconds, scale, Path(folder)))

    def _run(self, way, seconds, scale, folder):
        command = [find("pgbench"), "-n", "-c", str(self.clients), "-j", "2" if self.clients > 1 else "1",
                   "-T", str(seconds), *self.options]
        if self.script:
            (folder / "script.sql").write_text(self.script.replace("SCALE", str(scale)))
            command += ["-f", str(folder / "script.sql")]
        if self.percentile:
            command += ["-l", f"--log-prefix={folder}/log"]
        environment = dict(way.environment, PGSSLMODE="require") if self.tls else way.environment
        done = subprocess.run(command + way.arguments, env=environment, capture_output=True, text=True)
        if done.returncode != 0:
            raise Failed(f"pgbench through {way.name}:\n{done.stderr}")
        transactions = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
        failed = re.search(r"failed transactions: (\d+)", done.stdout)
        if transactions == 0 or (failed and failed.group(1) != "0"):
            raise Failed(f"transactions through {way.name}:\n{done.stdout}")
        queries = transactions * self.queries
        figures = {"count": queries, "rate": queries / seconds}
        figures["latency_us"] = float(re.search(r"latency average = ([\d.]+) ms", done.stdout).group(1)) * 1000
        if self.percentile:
            figures["latency_us"] = self._p50(folder)
        return figures

    @staticmethod
    def _p50(folder):
        times = [int(line.split()[2]) for name in glob.glob(f"{folder}/log*") for line in open(name)]
        return statistics.median(times)


class Bulk:
    """Bytes through one session, by a client that does nothing with them: MB/s and CPU per MB."""

    unit = "ms/MB"

    def __init__(self, sql, repeat=1):
        self.sql, self.repeat = sql, repeat

    def run(self, way, _seconds, _scale):
        client = Client(way)
        try:
            return with_cost(way, lambda: self._run(client))
        finally:
            client.close()

    def _run(self, client):
        begun, total = time.monotonic(), 0
        for _ in range(self.repeat):
            client.send(query(self.sql))
            total += client.drain()
        megabytes = total / 1e6
        return {"count": megabytes, "rate": megabytes / (time.monotonic() - begun)}


class CopyIn:
    """100 MB of COPY data in messages of 8 kB, as psql sends them."""

    unit = "ms/MB"

    def __init__(self, megabytes):
        rows = b"".join(b"%d\tabcdefghijkl\n" % index for index in range(100000, 100400))
        self.message = message(b"d", rows)
        self.count = megabytes * 1_000_000 // len(self.message)

    def run(self, way, _seconds, _scale):
        client = Client(way)
        try:
            client.run("TRUNCATE taken")
            figures = with_cost(way, lambda: self._run(client))
            client.run("TRUNCATE taken")
            return figures
        finally:
            client.close()

    def _run(self, client):
        block, blocks = self.message * 16, self.count // 16
        begun = time.monotonic()
        client.send(query("COPY taken FROM STDIN"))
        for _ in range(blocks):
            client.send(block)
        client.send(message(b"c", b""))
        client.drain()
        megabytes = len(block) * blocks / 1e6
        return {"count": megabytes, "rate": megabytes / (time.monotonic() - begun)}


class Idle:
    """Memory of the proxy per idle session, plain TCP, after one statement each."""

    unit = "KiB/session"

    def __init__(self, sessions):
        self.sessions = sessions

    def run(self, way, _seconds, _scale):
        if way.name == "direct":
            return {"count": 0}
        proxy = way.programs["pgbouncer" if way.name == "pgbouncer" else "data-plane"]
        warm = self._open(way, 16)
        settle(way.programs)
        before = proxy.private_kib()
        clients = self._open(way, self.sessions)
        settle(way.programs)
        grown = proxy.private_kib() - before
        for client in warm + clients:
            client.close()
        self._wait_until_closed(way.programs["target"])
        return {"count": self.sessions, "kib": grown / self.sessions}

    @staticmethod
    def _wait_until_closed(target, limit_seconds=90, few=50):
        deadline = time.monotonic() + limit_seconds
        while len(children_of(target.pid)) > few:
            if time.monotonic() > deadline:
                raise Failed("the target's sessions did not end")
            time.sleep(0.5)

    @staticmethod
    def _open(way, count):
        clients, errors = [], []

        def some(number):
            try:
                for _ in range(number):
                    client = Client(way)
                    clients.append(client)
                    client.run("SELECT 1")
            except (OSError, Refused) as error:
                errors.append(error)

        workers = [threading.Thread(target=some, args=(count // 4 + (index < count % 4),)) for index in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        if errors:
            raise Failed(f"{len(clients)} of {count} sessions through {way.name}: {errors[0]}")
        return clients


class Unread:
    """Memory of the proxy while a client does not read a result of 2 GB."""

    unit = "KiB"

    def run(self, way, _seconds, _scale):
        if way.name == "direct":
            return {"count": 0}
        proxy = way.programs["pgbouncer" if way.name == "pgbouncer" else "data-plane"]
        client = Client(way)
        client.run("SELECT 1")
        settle(way.programs)
        before, peak = proxy.private_kib(), 0
        client.send(query("SELECT repeat('x', 1000) FROM generate_series(1, 2000000)"))
        until = time.monotonic() + UNREAD_SECONDS
        while time.monotonic() < until:
            time.sleep(0.02)
            peak = max(peak, proxy.private_kib())
        after = proxy.private_kib()
        client.socket.close()
        settle(way.programs)
        return {"count": 1, "kib": after - before, "peak_kib": peak - before}


PIPELINE = (
    "\\startpipeline\n"
    + "".join(f"\\set aid{n} random(1, 100000 * SCALE)\n" for n in range(PIPELINE_QUERIES))
    + "".join(f"SELECT abalance FROM pgbench_accounts WHERE aid = :aid{n};\n" for n in range(PIPELINE_QUERIES))
    + "\\endpipeline\n"
)
MODES = ("simple", "extended", "prepared")

WORKLOADS = {
    **{f"{mode}-{clients}": Pgbench(["-S", "-M", mode], clients, percentile=clients == 1)
       for clients in (1, 16, 200) for mode in MODES},
    **{f"pipeline-{clients}": Pgbench(["-M", "prepared"], clients, queries=PIPELINE_QUERIES, script=PIPELINE)
       for clients in (1, 16)},
    **{f"tls-{mode}-16": Pgbench(["-S", "-M", mode], 16, tls=True) for mode in MODES},
    "connect-8": Pgbench(["-S", "-C"], 8),
    "copy-out": Bulk("COPY narrow TO STDOUT"),
    "narrow-rows": Bulk("SELECT id, word FROM narrow LIMIT 1000000"),
    "wide-values": Bulk("SELECT value FROM wide, generate_series(1, 300)"),
    "copy-in": CopyIn(100),
    "idle-500": Idle(500),
    "idle-2000": Idle(2000),
    "unread": Unread(),
}
WORKLOADS["connect-8"].unit = "µs/connect"
