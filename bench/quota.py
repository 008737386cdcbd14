#!/usr/bin/env python3
"""Compares sessions under a grant with quotas to sessions under one without, through the same PgLens.

    bench/quota.py                                  nine pairs of runs of ten seconds for each workload
    bench/quota.py --rounds 3 --seconds 5 --only prepared-16

The runs of a pair follow each other, and which goes first changes from pair to pair. Printed is the median of the
pairs' ratios, with the lowest and the highest. Exits with 1 if the median of a workload is below the bar, 0.95. On a
machine that does other work the pairs differ by more than that: only the figures of a quiet one mean something.
Needs what `bench/run.py` needs; `PGLENS_BIN` names another binary than the release build.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from pairs import arguments, run_pairs  # noqa: E402
from stack import Stack  # noqa: E402

BAR = 0.95
DEFAULT = ["simple-16", "prepared-16"]


def main():
    options = arguments(__doc__, rounds=9, seconds=10)
    folder = Path(tempfile.mkdtemp(prefix="pglens-bench-"))
    folder.chmod(0o755)
    missed = False
    with Stack(folder, options.scale) as stack:
        for name in options.only or DEFAULT:
            pairs = run_pairs(name, stack.pglens, stack.with_quota, options)
            found = [quota["rate"] / without["rate"] for without, quota in pairs]
            median = statistics.median(found)
            missed |= median < BAR
            verdict = "missed" if median < BAR else "met"
            print(f"{name:16} with quotas / without: {median:.3f} ({min(found):.3f} to {max(found):.3f}), bar {BAR}: {verdict}",
                  flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
