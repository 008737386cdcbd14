#!/usr/bin/env python3
"""Compares sessions under a grant with quotas to sessions under one without, through the same PgLens.

    bench/quota.py                                  nine pairs of runs of ten seconds for each workload
    bench/quota.py --rounds 3 --seconds 5 --only prepared-16

The runs of a pair follow each other, and which goes first changes from pair to pair. Printed is the median of the
pairs' ratios, with the lowest and the highest. Exits with 1 if the median of a workload is below the bar, 0.95. On a
machine that does other work the pairs differ by more than that: only the figures of a quiet one mean something.
Needs what `bench/run.py` needs; `PGLENS_BIN` names another binary than the release build.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from stack import Stack  # noqa: E402
from workloads import WORKLOADS, Failed, Pgbench  # noqa: E402

BAR = 0.95
DEFAULT = ["simple-16", "prepared-16"]


def throughput(name, way, options):
    try:
        return WORKLOADS[name].run(way, options.seconds, options.scale)["rate"]
    except Failed as error:
        sys.exit(f"bench: {name} failed: {error}")


def ratios(name, without, with_quota, options):
    found = []
    for number in range(options.rounds):
        order = [without, with_quota] if number % 2 == 0 else [with_quota, without]
        measured = {way.name: throughput(name, way, options) for way in order}
        found.append(measured[with_quota.name] / measured[without.name])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--scale", type=int, default=10)
    timed = [name for name, workload in WORKLOADS.items() if isinstance(workload, Pgbench)]
    parser.add_argument("--only", action="append", choices=timed, metavar="NAME", help=", ".join(timed))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    missed = False
    with Stack(folder, options.scale) as stack:
        without = next(way for way in stack.ways if way.name == "pglens")
        for name in options.only or DEFAULT:
            found = ratios(name, without, stack.with_quota, options)
            median = statistics.median(found)
            missed |= median < BAR
            verdict = "missed" if median < BAR else "met"
            print(f"{name:16} with quotas / without: {median:.3f} ({min(found):.3f} to {max(found):.3f}), bar {BAR}: {verdict}",
                  flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
