"""The scenario `passes`: what transactions that stay open cost the tail at the source, and the scan when one ends."""

import threading
import time

from backends import Backends
from goals import note
from pg import Connection
from proc import cpu

TABLE = "create table change (id bigint primary key, account int not null, note text not null)"
STATEMENT_ROWS = 10
LATE_ROWS = 1_000
# Each writer has ids of its own.
SPAN = 1_000_000_000


class Writers:
    """Sessions that insert at a steady rate, together `rate` rows a second, until the end.

    Each statement has ten rows; a transaction stays open for `length` seconds, or is one statement when it is 0.
    """

    def __init__(self, url, count, rate, length):
        self._over, self._sums = threading.Event(), [0] * count
        self._pause, self._length = STATEMENT_ROWS * count / rate, length
        self._threads = [threading.Thread(target=self._write, args=(url, w), daemon=True) for w in range(count)]
        for thread in self._threads:
            thread.start()

    def _write(self, url, writer):
        session = Connection(url)
        first = int(session.one(f"select coalesce(max(id), {writer * SPAN}) from change where id / {SPAN} = {writer}"))
        # Transactions of different sessions begin and end at different moments.
        due = time.monotonic() + self._length * writer / len(self._sums)
        ends = None
        while not self._over.wait(max(0, due - time.monotonic())):
            if self._length and ends is None:
                session.query("begin")
                ends = due + self._length
            start = first + self._sums[writer] + 1
            session.query(
                f"insert into change select g, g % 997, repeat('x', 100) "
                f"from generate_series({start}, {start + STATEMENT_ROWS - 1}) g"
            )
            self._sums[writer] += STATEMENT_ROWS
            due += self._pause
            if ends is not None and due >= ends:
                session.query("commit")
                ends = None
        if ends is not None:
            session.query("commit")
        session.close()

    def rows(self):
        """Returns how many rows were written so far."""
        return sum(self._sums)

    def finish(self):
        """Ends the sessions; returns how many rows they wrote."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return self.rows()


def _measure(paths, session, publisher, writers, seconds):
    """Lets the writers work for some seconds; returns (their rows a second, and in percent of a core: tail, publisher)."""
    backends, before, rows = Backends(session), cpu(publisher.pid), writers.rows()
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        publisher.check()
        time.sleep(0.5)
        backends.look()
    took = time.monotonic() - start
    tail, own = backends.used() / took * 100, (cpu(publisher.pid) - before) / took * 100
    return round((writers.rows() - rows) / took), tail, own


def run(bench):
    """Runs both parts and verifies what arrived at the destination."""
    quick = bench.arguments.quick
    rate, seconds = (500, 3) if quick else (5_000, 30)
    name = f"{bench.name}_passes"
    source, destination = bench.database(name)
    session = Connection(source)
    session.query(TABLE)
    paths = bench.pipeline(name, source, destination, "exactly_once", False)
    publisher = bench.daemon(paths, "full", "publish")
    publisher.wait_ready()

    def settle(what, xid=None):
        xid = xid or int(session.one("select max(cdc_txid::text::bigint) from cdc.change_cdc"))
        return bench.until(what, lambda: bench.published(paths, xid), [publisher], 0.005)

    writers = Writers(source, 50, rate, 1)
    time.sleep(1.5)
    reached, tail, own = _measure(paths, session, publisher, writers, seconds)
    written = writers.finish()
    settle("passes")
    if not quick and reached < 0.9 * rate:
        raise ValueError(f"passes: the writers reached {reached} of {rate} changes a second")
    short = {"changes_per_second": reached, "publisher_cpu_percent": round(own, 1)}

    late = Connection(source)
    late.query("begin")
    _late_rows(late, 1)
    oldest = int(late.one("select pg_current_xact_id()"))
    lowest = int(session.one("select pg_sequence_last_value('cdc.cdc_id_seq')")) - LATE_ROWS
    writers = Writers(source, 4, rate, 0)
    reached, beside, own = _measure(paths, session, publisher, writers, bench.arguments.open)
    written += writers.finish()
    if not quick and reached < 0.9 * rate:
        raise ValueError(f"passes: beside the long transaction the writers reached {reached} of {rate} changes a second")
    _late_rows(late, 2)
    settle("what others wrote")
    # Nothing else is under way: what comes now is the pass that shows the late rows.
    backends = Backends(session)
    late.query("commit")
    begun = time.monotonic()
    took = settle("the long transaction", oldest) - begun
    used = backends.used()
    scanned = int(session.one("select pg_sequence_last_value('cdc.cdc_id_seq')")) - lowest
    long = {"changes_per_second": reached, "publisher_cpu_percent": round(own, 1)}

    publisher.stop()
    written += 2 * LATE_ROWS
    applier = bench.daemon(paths, "full", "apply")
    applier.wait_ready()
    watch = Connection(destination)
    bench.until("apply", lambda: bench.applied(watch, paths), [applier], 0.1)
    applier.stop()
    found = int(watch.one("select count(*) from change"))
    if found != written:
        raise ValueError(f"passes: {written} rows were written, {found} arrived")
    bench.verify_postgres(source, destination, "change", "id, account, note")

    note(bench, "passes: 50 transactions of 1 s", tail, "% of a core", 10, 20, **short)
    open_for = f"one transaction open for {bench.arguments.open:g} s"
    note(bench, f"passes: {open_for}", beside, "% of a core", 10, 20, **long)
    # What lies between commit and arrival is more than the scan: the wait for the next poll, and Kafka.
    million = {"log_rows": scanned, "source_cpu_seconds": round(used, 3), "seconds_to_arrival": round(took, 3)}
    note(bench, "passes: the scan when it ends", used * 1e6 / scanned, "CPU s a million rows", 1, 2, **million)


def _late_rows(session, part):
    session.query(
        f"insert into change select {(90 + part) * SPAN} + g, g, repeat('y', 100) from generate_series(1, {LATE_ROWS}) g"
    )
