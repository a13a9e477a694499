"""The scenario `idle`: a publisher at rest beside one hundred tables and a log of a hundred million rows."""

import time

import big_log
from backends import Backends
from goals import note
from proc import cpu


def run(bench):
    """Measures the CPU of publisher, its sessions and the broker, above what the broker uses without it."""
    seconds = 3 if bench.arguments.quick else 30
    log = big_log.of(bench)
    log.grow(bench.arguments.log_rows)
    broker = lambda: bench.servers.cpu().get("kafka", 0.0)
    before = broker()
    time.sleep(seconds)
    alone = broker() - before
    publisher = bench.daemon(log.paths, "full", "publish")
    publisher.wait_ready()
    time.sleep(2)
    start, own, before, backends = time.monotonic(), cpu(publisher.pid), broker(), Backends(log.session)
    time.sleep(seconds)
    took = time.monotonic() - start
    used = {
        "publisher": cpu(publisher.pid) - own,
        "source": backends.used(),
        "broker": max(0.0, broker() - before - alone * took / seconds),
    }
    publisher.check()
    publisher.stop()
    if bench.behind(log.paths, "postgres")[0] != 0:
        raise ValueError("idle: changes are unpublished")
    shares = {f"{part}_percent": round(100 * value / took, 2) for part, value in used.items()}
    note(bench, f"idle: {big_log.TABLES} tables, {log.rows:,} log rows", 100 * sum(used.values()) / took, "% of a core",
        1, 2, **shares)  # fmt: skip
