#!/usr/bin/env python3
"""Compares PgLens, with recording on, to a direct connection and to PgBouncer, in one interleaved run.

    make bench                                                everything, three rounds
    make bench ARGS="--rounds 1 --seconds 2 --only simple-16 --only copy-out"
    bench/run.py --only 'prepared-*' --way pglens
    bench/run.py --only copy-in --way pgbouncer --way pglens --way floor    with a relay that looks at nothing

Prints the median of the rounds: throughput, latency, the CPU that each program took per query or per MB, the memory
per idle session; then the bars of the project, met or missed. CPU is what travels between machines; throughput
depends on what else the machine does. PgLens runs as it is shipped, its planes as processes of their own, recording
every statement and row; what it still has to do when a workload ends is waited for and counted. Needs pgbench,
PgBouncer and PostgreSQL's server programs, and the release build of `pglens` (`make bench` sees to all of them).
"""

import argparse
import fnmatch
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from report import print_tables  # noqa: E402
from stack import Stack  # noqa: E402
from workloads import WORKLOADS, Failed  # noqa: E402


def chosen(patterns):
    if not patterns:
        return list(WORKLOADS)
    names = [name for name in WORKLOADS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        sys.exit(f"bench: no workload is called {' or '.join(patterns)}; there are {', '.join(WORKLOADS)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5, help="length of a run of pgbench")
    parser.add_argument("--scale", type=int, default=10, help="of pgbench's tables")
    parser.add_argument("--only", action="append", metavar="NAME", help="a workload, or a pattern; may be given again")
    parser.add_argument("--way", action="append", choices=["direct", "pgbouncer", "pglens", "floor"],
                        help="default: the first three; the last is a relay that looks at nothing")
    parser.add_argument("--json", type=Path, help="write the figures of every round there")
    parser.add_argument("--hold", action="store_true", help="print where everything is, then wait for Enter")
    options = parser.parse_args()
    names = chosen(options.only)
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    results = {}
    with Stack(folder, options.scale) as stack:
        if "floor" in (options.way or []):
            stack.start_floor()
        ways = [way for way in stack.ways if not options.way or way.name in options.way]
        if options.hold:
            for way in ways:
                pids = {name: program.pid for name, program in way.programs.items()}
                print(f"{way.name}: postgresql://{way.user}:{way.password}@{way.host}:{way.port}/{way.database} {pids}")
            input("Enter begins: ")
        for name in names:
            results[name] = {way.name: [] for way in ways}
            for _ in range(options.rounds):
                for way in ways:
                    try:
                        results[name][way.name].append(WORKLOADS[name].run(way, options.seconds, options.scale))
                    except Failed as error:
                        sys.exit(f"bench: {name} failed: {error}")
            print(f"measured {name}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print_tables(results, WORKLOADS)


if __name__ == "__main__":
    main()
