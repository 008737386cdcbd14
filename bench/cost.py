"""What programs cost: processor time and memory of processes, as Linux counts them."""

import os
import time
from pathlib import Path

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
CPUCLOCK_SCHED = 2


def process_seconds(pid):
    """User and system time of a process, threads that have ended included; nanosecond resolution. 0 once it is gone."""
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0.0


def children_of(pid):
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


class Process:
    """One process with its threads."""

    def __init__(self, pid):
        self.pid = pid

    def seconds(self):
        return process_seconds(self.pid)

    def private_kib(self):
        """Memory that is this process's own, without code and files."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        return 0


class Server(Process):
    """A PostgreSQL server: the postmaster, the children it has, and those it has buried."""

    def seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        buried = (int(fields[13]) + int(fields[14])) / CLOCK_TICKS
        return process_seconds(self.pid) + buried + sum(process_seconds(child) for child in children_of(self.pid))


class Meter:
    """Takes the processor time of several programs between two moments."""

    def __init__(self, programs):
        self.programs = programs
        self.before = {name: program.seconds() for name, program in programs.items()}

    def seconds(self):
        return {name: program.seconds() - self.before[name] for name, program in self.programs.items()}


def settle(programs, limit_seconds=60, interval=0.4):
    """Waits until the programs do next to nothing: what a workload left them to do belongs to its cost, and must not
    be paid by the next one."""
    deadline = time.monotonic() + limit_seconds
    while time.monotonic() < deadline:
        meter = Meter(programs)
        time.sleep(interval)
        if sum(meter.seconds().values()) < 0.03 * interval:
            return
