"""Runs of a workload under two grants through the same PgLens, in pairs."""

import argparse
import sys

from workloads import WORKLOADS, Failed, Pgbench


def arguments(doc, rounds, seconds):
    """The options of a program that compares grants; `doc` is its help."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=int, default=seconds)
    parser.add_argument("--scale", type=int, default=10)
    timed = [name for name, workload in WORKLOADS.items() if isinstance(workload, Pgbench)]
    parser.add_argument("--only", action="append", choices=timed, metavar="NAME", help=", ".join(timed))
    return parser.parse_args()


def run_pairs(name, one, other, options):
    """Figures of runs that follow each other; which goes first changes from pair to pair."""
    found = []
    for number in range(options.rounds):
        order = [one, other] if number % 2 == 0 else [other, one]
        try:
            measured = {way.name: WORKLOADS[name].run(way, options.seconds, options.scale) for way in order}
        except Failed as error:
            sys.exit(f"bench: {name} failed: {error}")
        found.append((measured[one.name], measured[other.name]))
    return found
