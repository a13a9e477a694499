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


def run(source, destination, rate, seconds, all_arrived, statements=None):
    """Runs the load; returns (latencies in ms, achieved rate, polls a second).

    A list `statements` takes how long each writer's statements took at the source, in ms.

    `all_arrived` waits for the destination to hold every row. The first tenth of the time, at least one second, warms
    up and does not count.
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
        warm = max(1.0, seconds / 10)
        count = round(rate * (seconds + warm) / WRITERS)
        committed, took = ([[] for _ in range(WRITERS)] for _ in range(2))
        start = time.monotonic() + 0.5
        threads = [
            threading.Thread(target=_write, args=(source, w, rate, count, start, committed, took))
            for w in range(WRITERS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        all_arrived(count * WRITERS)
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
    latencies = []
    for sent, seen in zip(committed, watched["seen"]):
        if not len(sent) == len(seen) == count:
            raise ValueError(f"{count} rows were sent, {len(seen)} were seen")
        latencies += [(b - a) * 1000 for a, b in zip(sent, seen) if a >= start + warm]
    if statements is not None:
        for sent, spent in zip(committed, took):
            statements += [s * 1000 for a, s in zip(sent, spent) if a >= start + warm]
        statements.sort()
    first, last = min(min(sent) for sent in committed), max(max(sent) for sent in committed)
    return sorted(latencies), (count * WRITERS - 1) / (last - first), watched["polls"] / (last - first)


def percentile(ordered, part):
    """Returns the value that `part` of an ascending list do not exceed."""
    return ordered[min(len(ordered) - 1, max(0, -(-len(ordered) * part // 100) - 1))]
