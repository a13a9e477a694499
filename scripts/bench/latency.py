"""The latency load: paced writers at the source, and a reader that sees rows arrive at the destination."""

import json
import os
import signal
import threading
import time

from pg import Connection

WRITERS = 4
# Each writer has a range of ids of its own and commits them in order: at a destination that shows states of the
# source, the highest id of a range tells that all below it are there.
SPAN = 1_000_000_000


def _write(url, writer, rate, count, start, committed, took):
    connection = Connection(url)
    for k in range(count):
        due = start + (k * WRITERS + writer) / rate
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        begun = time.monotonic()
        connection.query(
            f"insert into tick (id, account, status, note) values ({writer * SPAN + k}, {k % 997}, 'new', "
            f"repeat('x', 150))"
        )
        committed[writer].append(time.monotonic())
        took[writer].append(committed[writer][-1] - begun)
    connection.close()


def _watch(url, pipe):
    """Asks once a millisecond for the highest id of every range, until SIGTERM; writes when each id was first seen."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    connection = Connection(url)
    sql = "select " + ", ".join(
        f"(select max(id) from tick where id >= {w * SPAN} and id < {(w + 1) * SPAN})" for w in range(WRITERS)
    )
    seen = [[] for _ in range(WRITERS)]
    polls = 0
    while not stop.is_set():
        row = connection.query(sql)[0]
        now = time.monotonic()
        polls += 1
        for writer, highest in enumerate(row):
            if highest is not None:
                seen[writer].extend([now] * (int(highest) - writer * SPAN + 1 - len(seen[writer])))
        time.sleep(0.001)
    with os.fdopen(pipe, "w") as file:
        json.dump({"seen": seen, "polls": polls}, file)


class Writers:
    """Sessions at the source that together commit `rate` transactions a second, on a timetable."""

    def __init__(self, source, rate, seconds):
        # The first tenth of the time, at least one second, warms up and does not count.
        self._warm = max(1.0, seconds / 10)
        self.count = round(rate * (seconds + self._warm) / WRITERS)
        self.committed, self._took = ([[] for _ in range(WRITERS)] for _ in range(2))
        self._start = time.monotonic() + 0.5
        self._threads = [
            threading.Thread(
                target=_write, args=(source, w, rate, self.count, self._start, self.committed, self._took)
            )
            for w in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self):
        """Waits until all rows are written; returns their number."""
        for thread in self._threads:
            thread.join()
        return self.count * WRITERS

    def latencies(self, seen):
        """Returns, ascending, the ms from each commit until the row was seen; `seen` has the times by writer."""
        found = []
        for sent, arrived in zip(self.committed, seen):
            if not len(sent) == len(arrived) == self.count:
                raise ValueError(f"{self.count} rows were sent, {len(arrived)} were seen")
            found += [(b - a) * 1000 for a, b in zip(sent, arrived) if a >= self._start + self._warm]
        return sorted(found)

    def statements(self):
        """Returns, ascending, how many ms each statement took."""
        counted = self._start + self._warm
        pairs = [pair for both in zip(self.committed, self._took) for pair in zip(*both)]
        return sorted(spent * 1000 for at, spent in pairs if at >= counted)

    def span(self):
        """Returns the seconds from the first commit to the last."""
        return max(max(sent) for sent in self.committed) - min(min(sent) for sent in self.committed)

    def achieved(self):
        """Returns how many transactions a second there were."""
        return (self.count * WRITERS - 1) / self.span()


def run(source, destination, rate, seconds, all_arrived, statements=None):
    """Runs the load; returns (latencies in ms, achieved rate, polls a second).

    A list `statements` takes how long each writer's statements took at the source, in ms.

    `all_arrived` waits for the destination to hold every row.
    """
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(receive)
            _watch(destination, send)
            code = 0
        finally:
            os._exit(code)
    os.close(send)
    ended = False
    try:
        writers = Writers(source, rate, seconds)
        all_arrived(writers.join())
        time.sleep(0.1)
        os.kill(child, signal.SIGTERM)
        with os.fdopen(receive) as file:
            watched = json.load(file)
        os.waitpid(child, 0)
        ended = True
    finally:
        if not ended:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if statements is not None:
        statements += writers.statements()
    return writers.latencies(watched["seen"]), writers.achieved(), watched["polls"] / writers.span()


def percentile(ordered, part):
    """Returns the value that `part` of an ascending list do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * part // 100) - 1))]
