"""Medians of the rounds as a table, and the bars: met, or missed by how much."""

import statistics

# workload prefix: (what is compared, bar, aim, whether less is better)
CPU, RATE, LATENCY = "data plane CPU ÷ PgBouncer's", "÷ PgBouncer's throughput", "added p50 ÷ PgBouncer's"
DIRECT_RATE, MEMORY = "÷ direct", "memory"
BARS = {
    "simple-16": [(CPU, 1.25, 1.0), (RATE, 0.75, 0.9)],
    "extended-16": [(CPU, 1.25, 1.0), (RATE, 0.75, 0.9)],
    "prepared-16": [(CPU, 1.25, 1.0), (RATE, 0.75, 0.9)],
    "pipeline-1": [(CPU, 2.0, 1.25)],
    "pipeline-16": [(CPU, 2.0, 1.25)],
    "simple-1": [(LATENCY, 1.25, 1.0)],
    "extended-1": [(LATENCY, 1.25, 1.0)],
    "prepared-1": [(LATENCY, 1.25, 1.0)],
    **{name: [(CPU, 0.8, 0.5), (DIRECT_RATE, 0.9, 0.95)]
       for name in ("copy-out", "narrow-rows", "wide-values", "copy-in")},
    "connect-8": [(DIRECT_RATE, 0.6, 0.85)],
    "idle-500": [(MEMORY, 16, 6)],
    "idle-2000": [(MEMORY, 16, 6)],
    "unread": [(MEMORY, 2048, 0)],
}
MORE_IS_BETTER = {RATE, DIRECT_RATE}
SCALES = {"µs/query": 1e6, "µs/connect": 1e6, "ms/MB": 1e3}


def medians(runs, unit):
    """The figures of several rounds as one."""
    figures = {}
    for key in ("rate", "latency_us", "kib", "peak_kib"):
        if key in runs[0]:
            figures[key] = statistics.median(run[key] for run in runs)
    if "cpu_seconds" in runs[0]:
        figures["cpu"] = {
            program: statistics.median(run["cpu_seconds"][program] / run["count"] for run in runs) * SCALES[unit]
            for program in runs[0]["cpu_seconds"]
        }
    return figures


def compared(what, by_way):
    """The value that a bar is about, or `None` where it cannot be told."""
    direct, pgbouncer, pglens = (by_way.get(way, {}) for way in ("direct", "pgbouncer", "pglens"))
    try:
        if what == CPU:
            return pglens["cpu"]["data-plane"] / pgbouncer["cpu"]["pgbouncer"]
        if what == RATE:
            return pglens["rate"] / pgbouncer["rate"]
        if what == DIRECT_RATE:
            return pglens["rate"] / direct["rate"]
        if what == LATENCY:
            added = pgbouncer["latency_us"] - direct["latency_us"]
            return (pglens["latency_us"] - direct["latency_us"]) / added if added > 0 else None
        return pglens["kib"]
    except (KeyError, ZeroDivisionError):
        return None


def verdict(what, value, bar, aim):
    if what in MORE_IS_BETTER:
        missed = bar / value - 1 if value else float("inf")
        reached = value >= aim
    else:
        missed = value / bar - 1
        reached = value <= aim
    if missed > 0:
        return f"MISSED by {missed:.0%}"
    return "met, aim reached" if reached else "met"


def print_tables(results, workloads):
    figures = {
        name: {way: medians(runs, workloads[name].unit) for way, runs in by_way.items() if runs}
        for name, by_way in results.items()
    }
    print(f"\n{'workload':<15} {'way':<10} {'rate /s':>9} {'÷direct':>8} {'latency µs':>11}  CPU or memory")
    for name, by_way in figures.items():
        unit = workloads[name].unit
        for way, values in by_way.items():
            line = f"{name:<15} {way:<10}"
            if "rate" in values:
                line += f" {values['rate']:>9.0f} {values['rate'] / by_way['direct']['rate']:>8.2f}" \
                    if "direct" in by_way else f" {values['rate']:>9.0f} {'':>8}"
                line += f" {values['latency_us']:>11.0f}" if "latency_us" in values else " " * 12
                line += "  " + "  ".join(f"{program} {cost:.2f}" for program, cost in values["cpu"].items()) + f" {unit}"
            elif "kib" in values:
                peak = f" (peak {values['peak_kib']:.0f})" if "peak_kib" in values else ""
                line += " " * 32 + f"{values['kib']:.1f}{peak} {unit}"
            else:
                continue
            print(line)
    print(f"\n{'workload':<15} {'what':<30} {'value':>8} {'bar':>7} {'aim':>6}")
    for name in figures:
        for what, bar, aim in BARS.get(name, []):
            value = compared(what, figures[name])
            if value is not None:
                print(f"{name:<15} {what:<30} {value:>8.2f} {bar:>7} {aim:>6}  {verdict(what, value, bar, aim)}")
