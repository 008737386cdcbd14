#!/usr/bin/env python3
"""Compares PgLens, with recording on, to a direct connection and to PgBouncer, in one interleaved run.

    make bench                       everything, three rounds
    bench/run.py --rounds 1 --seconds 3 --only simple-16

Prints the median of the rounds: transactions per second, latency, and the CPU each program took per transaction. CPU
is what travels between machines; throughput depends on what else the machine does. Needs pgbench and pgbouncer, and
the release build of `pglens` (`make bench` sees to all three).
"""

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")

# name: (pgbench options, clients)
WORKLOADS = {
    "simple-1": (["-S", "-M", "simple"], 1),
    "extended-1": (["-S", "-M", "extended"], 1),
    "prepared-1": (["-S", "-M", "prepared"], 1),
    "simple-16": (["-S", "-M", "simple"], 16),
    "extended-16": (["-S", "-M", "extended"], 16),
    "prepared-16": (["-S", "-M", "prepared"], 16),
    "connect-8": (["-S", "-C"], 8),
}


def find(program):
    found = shutil.which(program)
    if found:
        return found
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"))
    if installed:
        return str(installed[-1])
    sys.exit(f"bench: {program} is not installed; `make bench` installs it")


def cpu_seconds(pids):
    """User and system time of these processes and of their children that are alive, in seconds."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / CLOCK_TICKS


class Way:
    """One way to reach the target, and the processes whose CPU it costs."""

    def __init__(self, name, host, port, user, password, database, programs):
        self.name, self.programs = name, programs
        self.arguments = ["-h", host, "-p", str(port), "-U", user, database]
        self.environment = dict(os.environ, PGPASSWORD=password, PGSSLMODE="disable")


def run_pgbench(way, options, clients, seconds):
    command = [find("pgbench"), "-n", "-c", str(clients), "-j", "2" if clients > 1 else "1", "-T", str(seconds)]
    before = {program: cpu_seconds(pids) for program, pids in way.programs.items()}
    done = subprocess.run(command + options + way.arguments, env=way.environment, capture_output=True, text=True)
    after = {program: cpu_seconds(pids) for program, pids in way.programs.items()}
    if done.returncode != 0:
        sys.exit(f"bench: pgbench through {way.name} failed:\n{done.stderr}")
    transactions = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
    latency_ms = float(re.search(r"latency average = ([\d.]+) ms", done.stdout).group(1))
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    if transactions == 0 or (failed and failed.group(1) != "0"):
        sys.exit(f"bench: transactions failed through {way.name}:\n{done.stdout}")
    figures = {"tps": transactions / seconds, "latency_us": latency_ms * 1000}
    for program in way.programs:
        figures[f"{program}_us"] = (after[program] - before[program]) / transactions * 1e6
    return figures


def start_pglens(folder):
    binary = Path(os.environ.get("PGLENS_BIN", ROOT / "target/release/pglens"))
    if not binary.exists():
        sys.exit(f"bench: {binary} is not there; build it with: cargo build --release --locked -p pglens")
    ready = folder / "ready.json"
    log = open(folder / "pglens.log", "wb")
    process = subprocess.Popen(
        [binary, "dev", "--processes", "--data-dir", folder / "dev", "--ready-file", ready,
         "--listen-addr", "127.0.0.1:0", "--api-addr", "127.0.0.1:0"],
        stdout=log, stderr=log, env=dict(os.environ, PGL_LOG="warn"), start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            sys.exit("bench: pglens dev did not get ready:\n" + (folder / "pglens.log").read_text())
        time.sleep(0.1)
    return process, json.loads(ready.read_text())


def start_pgbouncer(folder, target):
    """Session pooling with SCRAM towards clients and the target, logging off: PgBouncer at its best."""
    port = 20000 + os.getpid() % 10000
    (folder / "users.txt").write_text(f'"{target.username}" "{unquote(target.password)}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={target.hostname} port={target.port}\n"
        "[pgbouncer]\nlisten_addr = 127.0.0.1\n"
        f"listen_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {folder}/users.txt\n"
        "pool_mode = session\nmax_client_conn = 1000\ndefault_pool_size = 300\n"
        "log_connections = 0\nlog_disconnections = 0\nlogfile =\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    as_user = []
    if os.geteuid() == 0:  # it refuses to run as root
        name = "postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody"
        for path in [folder, *folder.glob("*")]:
            if path.name in ("users.txt", "pgbouncer.ini") or path == folder:
                shutil.chown(path, name)
        as_user = ["setpriv", "--reuid", name, "--clear-groups", "--"]
    pgbouncer = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
    process = subprocess.Popen(as_user + [pgbouncer, "-q", str(folder / "pgbouncer.ini")], start_new_session=True)
    return process, port


def report(results, ways):
    print(f"\n{'workload':<12} {'way':<10} {'tps':>9} {'÷direct':>8} {'latency µs':>11}  CPU µs per transaction")
    for workload, by_way in results.items():
        medians = {
            way: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for way, runs in by_way.items()
        }
        for way in ways:
            figures = medians[way.name]
            ratio = figures["tps"] / medians["direct"]["tps"]
            cpu = "  ".join(f"{program} {figures[program + '_us']:.1f}" for program in way.programs)
            print(f"{workload:<12} {way.name:<10} {figures['tps']:>9.0f} {ratio:>8.2f} {figures['latency_us']:>11.0f}  {cpu}")
        ours, theirs = medians["pglens"]["data-plane_us"], medians["pgbouncer"]["pgbouncer_us"]
        if theirs:
            print(f"{workload:<12} data plane ÷ PgBouncer, CPU: {ours / theirs:.2f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--scale", type=int, default=10)
    parser.add_argument("--only", action="append", choices=WORKLOADS, help="a workload; may be given again")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    started = []
    try:
        pglens, ready = start_pglens(folder)
        started.append(pglens)
        target = urlsplit(ready["target_url"])
        name = target.path.lstrip("/")
        pgbouncer, port = start_pgbouncer(folder, target)
        started.append(pgbouncer)
        host, proxy_port = ready["proxy"].rsplit(":", 1)
        password = unquote(target.password)
        ways = [
            Way("direct", target.hostname, target.port, target.username, password, name, {}),
            Way("pgbouncer", "127.0.0.1", port, target.username, password, name, {"pgbouncer": [pgbouncer.pid]}),
            Way("pglens", host, proxy_port, ready["demo_user"], ready["demo_password"], ready["demo_database"],
                {"data-plane": [ready["pids"]["data_plane"]], "control-plane": [ready["pids"]["control_plane"]]}),
        ]
        direct = ways[0]
        subprocess.run([find("pgbench"), "-i", "-q", "-s", str(options.scale), *direct.arguments],
                       env=direct.environment, check=True, capture_output=True)
        results = {}
        for workload in options.only or WORKLOADS:
            arguments, clients = WORKLOADS[workload]
            results[workload] = {way.name: [] for way in ways}
            for _ in range(options.rounds):
                for way in ways:
                    results[workload][way.name].append(run_pgbench(way, arguments, clients, options.seconds))
            print(f"measured {workload}", file=sys.stderr)
        report(results, ways)
    finally:
        for process in reversed(started):
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
