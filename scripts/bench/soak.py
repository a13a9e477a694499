"""The scenario `soak`: a steady load for half an hour. Do memory, poll time, descriptors and the log stay where they are?"""

import os
import random
import re
import statistics
import threading
import time
import urllib.request

from goals import note
from pg import Connection
from proc import Failed

TABLE = """create table soak (id bigint primary key, account int not null, status text not null, note text not null,
    at timestamptz not null default now())"""
COLUMNS = "id, account, status, note, at"
WRITERS = 4
# Each writer has ids of its own, and keeps so many rows once it has them.
SPAN, KEPT = 1_000_000_000, 2_500
# Most samples of a run, and the least time between two of them.
SAMPLES, LEAST = 360, 1
# The part of the run that counts: before it caches, heaps and the kept rows fill up.
COUNTS = 2 / 3
# Published rows are removed from the log at once, so that retention is part of what is steady.
SETTINGS = """[http]
listen = "127.0.0.1:0"
[retention]
keep_hours = 0
"""


class Writers:
    """Sessions that together commit `rate` transactions of one row a second: inserts, updates and deletes in equal parts."""

    def __init__(self, url, rate):
        self.committed, self.failed = [0] * WRITERS, None
        self._over, self._pause = threading.Event(), WRITERS / rate
        self._threads = [threading.Thread(target=self._guard, args=(url, w), daemon=True) for w in range(WRITERS)]
        for thread in self._threads:
            thread.start()

    def _guard(self, url, writer):
        try:
            self._write(url, writer)
        except Exception as error:  # Whatever it is, the run is over.
            self.failed = error

    def _write(self, url, writer):
        session, choose = Connection(url), random.Random(writer)
        oldest = newest = writer * SPAN
        due = time.monotonic() + writer * self._pause / WRITERS
        while not self._over.wait(max(0, due - time.monotonic())):
            turn = self.committed[writer] % 3
            if turn == 1 and newest > oldest:
                some = choose.randrange(oldest, newest)
                session.query(f"update soak set status = 'changed', note = reverse(note), at = now() where id = {some}")
            elif turn == 2 and newest - oldest > KEPT:
                session.query(f"delete from soak where id = {oldest}")
                oldest += 1
            else:
                words = f"{choose.getrandbits(400):0100x}"
                session.query(f"insert into soak values ({newest}, {newest % 997}, 'new', '{words}')")
                newest += 1
            self.committed[writer] += 1
            due += self._pause

    def finish(self):
        """Ends; returns how many transactions were committed."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return sum(self.committed)


class Process:
    """One daemon as it is seen from outside, and by its own metrics."""

    def __init__(self, bench, daemon):
        self.daemon, self._address, self._read = daemon, None, (0.0, 0.0)
        bench.until("soak: an address for metrics", self._find, [daemon], 0.05, 30)

    def _find(self):
        with open(self.daemon.log_path, encoding="utf-8", errors="replace") as file:
            found = re.search(r"answering HTTP address=(\S+)", file.read())
        self._address = found and found[1]
        return bool(found)

    def _scrape(self):
        with urllib.request.urlopen(f"http://{self._address}/metrics", timeout=30) as answer:
            lines = [line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line for line in lines if len(line) == 2)}

    def sample(self):
        """Returns RSS in MiB, descriptors, threads, most seconds behind, and the mean time of a read since the last sample."""
        pid, metrics = self.daemon.pid, self._scrape()
        with open(f"/proc/{pid}/statm") as file:
            rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        lag = max(value for name, value in metrics.items() if name.startswith("tripline_seconds_behind"))
        read = tuple(metrics.get(f"tripline_read_seconds_{part}", 0.0) for part in ("sum", "count"))
        took, count = (now - before for now, before in zip(read, self._read))
        self._read = read
        return {
            "rss_mib": round(rss, 2),
            "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": len(os.listdir(f"/proc/{pid}/task")),
            "seconds_behind": round(lag, 3),
            "read_ms": round(1000 * took / count, 3) if count else None,
        }


def growth(points):
    """Returns (value at the beginning, value at the end) of a straight line through (x, y) points, the least squares."""
    slope, at_zero = statistics.linear_regression(*zip(*points))
    return at_zero + slope * points[0][0], at_zero + slope * points[-1][0]


def _sample(bench, processes, writers, session, seconds):
    """Looks at everything until the time is over; returns the samples."""
    samples, start = [], time.monotonic()
    every = max(LEAST, seconds / SAMPLES)
    while (passed := time.monotonic() - start) < seconds:
        time.sleep(every - passed % every)
        if writers.failed:
            raise Failed(f"soak: a writer failed: {writers.failed}")
        found = {"minute": round((time.monotonic() - start) / 60, 4)}
        for name, process in processes.items():
            process.daemon.check()
            found |= {f"{name} {key}": value for key, value in process.sample().items() if value is not None}
        found["log_mib"] = round(int(session.one("select pg_total_relation_size('cdc.soak_cdc')")) / 2**20, 1)
        samples.append(found)
    return samples


def run(bench):
    """Loads, samples, verifies that all stores are equal, and says how each figure has grown behind the warm-up."""
    seconds, rate, name = 60 * bench.arguments.minutes, bench.arguments.rate, f"{bench.name}_soak"
    source, destination = bench.database(name)
    session = Connection(source)
    session.query(TABLE)
    paths = bench.pipeline(name, source, destination, "exactly_once", True, tables=SETTINGS)
    daemons = {command: bench.daemon(paths, "full", command) for command in ("publish", "apply")}
    for daemon in daemons.values():
        daemon.wait_ready()
    processes = {command: Process(bench, daemon) for command, daemon in daemons.items()}
    writers = Writers(source, rate)
    samples = _sample(bench, processes, writers, session, seconds)
    changes = writers.finish()
    equal = lambda: all(bench.behind(paths, target) == (0, 0) for target in ("postgres", "clickhouse"))
    bench.until("soak: the end", equal, daemons.values(), 0.2)
    bench.tripline(paths["full"], "verify")
    bench.verify_postgres(source, destination, "soak", COLUMNS)
    logged = int(session.one("select count(*) from cdc.soak_cdc"))
    for daemon in daemons.values():
        daemon.stop()
    if changes < 0.95 * rate * seconds:
        raise Failed(f"soak: the writers reached {changes / seconds:.0f} of {rate} transactions a second")
    _report(bench, samples, {"changes": changes, "log_rows": logged})


def _report(bench, samples, counts):
    counted = samples[int(len(samples) * (1 - COUNTS)) :]
    minutes = f"{bench.arguments.minutes:g} min"

    def line(key):
        return growth([(sample["minute"], sample[key]) for sample in counted if key in sample])

    for part in ("publish", "apply"):
        begin, end = line(f"{part} rss_mib")
        more = {"mib_at_first": round(begin, 1), "mib_at_last": round(end, 1)}
        note(bench, f"soak {minutes}: memory of {part}", end / begin, "times as much at the end", 1.05, 1.15, **more)
    begin, end = line("publish read_ms")
    more = {"ms_at_first": round(begin, 2), "ms_at_last": round(end, 2), **counts}
    note(bench, f"soak {minutes}: reading a window", end / begin, "times as long at the end", 1.1, 1.5, **more)
    for part in ("publish", "apply"):
        for what in ("descriptors", "threads"):
            begin, end = line(f"{part} {what}")
            more = {"at_first": round(begin, 1), "at_last": round(end, 1)}
            note(bench, f"soak {minutes}: {what} of {part}", end - begin, "more at the end", 0.5, 1.5, **more)
    begin, end = line("log_mib")
    more = {"mib_at_first": round(begin, 1), "mib_at_last": round(end, 1)}
    note(bench, f"soak {minutes}: the log", end / begin, "times as large at the end", 1.1, 1.5, **more)
    late = max(sample[key] for sample in counted for key in ("publish seconds_behind", "apply seconds_behind"))
    note(bench, f"soak {minutes}: seconds behind", late, "s at most", 1, 5, samples=samples)
