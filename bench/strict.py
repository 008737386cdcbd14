#!/usr/bin/env python3
"""Compares sessions under the audit level `strict` to sessions under `spooled`, through the same PgLens.

    bench/strict.py                                 three pairs of runs of five seconds for each workload
    bench/strict.py --rounds 1 --seconds 2 --only simple-16

Under `strict` a statement runs only when its start is committed in storage. Printed are the medians: latency and
statements a second of both, and the CPU that both planes and storage take for a statement. With 16 clients many
statements share a commit: latency should be little more than with one. Needs what `bench/run.py` needs; `PGLENS_BIN`
names another binary than the release build.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pairs import arguments, run_pairs  # noqa: E402
from stack import Stack  # noqa: E402

DEFAULT = ["simple-1", "simple-16", "prepared-1", "prepared-16"]


def told(figures):
    latency = statistics.median(one["latency_us"] for one in figures)
    rate = statistics.median(one["rate"] for one in figures)
    cpu = {name: statistics.median(one["cpu_seconds"][name] / one["count"] for one in figures) * 1e6
           for name in ("data-plane", "control-plane", "storage")}
    programs = " ".join(f"{cost:12.1f}" for cost in cpu.values())
    return f"{latency:10.0f} {rate:11.0f} {programs}"


def main():
    options = arguments(__doc__, rounds=3, seconds=5)
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    with Stack(folder, options.scale) as stack:
        print(f"{'':12} {'':8} latency µs   per second   data plane control plane  storage, µs of CPU per statement")
        for name in options.only or DEFAULT:
            pairs = run_pairs(name, stack.pglens, stack.strict, options)
            print(f"{name:12} spooled  {told([spooled for spooled, _ in pairs])}")
            print(f"{'':12} strict   {told([strict for _, strict in pairs])}", flush=True)


if __name__ == "__main__":
    main()
