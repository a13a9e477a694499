"""The scenario `log-size`: does a log of a hundred million rows make polls or drains slower?"""

import statistics
import time

import big_log
from backends import Backends
from goals import note
from proc import Failed

TRANSACTION_ROWS = 5_000
ROUNDS = 3
TABLE = "n042"


def _rest(bench, log, seconds):
    """Returns the microseconds of CPU a second that a publisher at rest takes at the source: ten polls, one full check."""
    publisher = bench.daemon(log.paths, "full", "publish")
    publisher.wait_ready()
    # It slows down to the longest wait first.
    time.sleep(2)
    backends, start = Backends(log.session), time.monotonic()
    time.sleep(seconds)
    used = backends.used() / (time.monotonic() - start)
    publisher.stop()
    return used * 1e6


def _drain(bench, log, changes):
    """Logs fresh changes while no publisher runs; returns how many a second it drains then."""
    behind = bench.behind(log.paths, "postgres")
    if behind[0] != 0:
        raise Failed(f"log-size: {behind[0]} changes are unpublished before the drain")
    first = int(log.session.one(f"select coalesce(max(id), 0) from {TABLE}")) + 1
    for start in range(first, first + changes, TRANSACTION_ROWS):
        last = min(start + TRANSACTION_ROWS, first + changes) - 1
        log.session.query(f"insert into {TABLE} select g, 1 from generate_series({start}, {last}) g")
    xid = int(log.session.one(f"select cdc_txid from cdc.{TABLE}_cdc order by cdc_id desc limit 1"))
    publisher = bench.daemon(log.paths, "full", "publish")
    start = publisher.wait_ready()
    end = bench.until("log-size", lambda: bench.published(log.paths, xid), [publisher], 0.002)
    publisher.stop()
    bench.verify_topics(log.paths, behind[1] + changes)
    return changes / (end - start)


def run(bench):
    """Measures at one, ten and a hundred percent of the log's rows; verifies each drain by what is on the topics."""
    most, quick = bench.arguments.log_rows, bench.arguments.quick
    changes, seconds = (2_000, 3) if quick else (100_000, 15)
    log, points = big_log.of(bench), []
    for rows in (most // 100, most // 10, most):
        log.grow(rows)
        rest = _rest(bench, log, seconds)
        drains = sorted(_drain(bench, log, changes) for _ in range(ROUNDS))
        points.append({"log_rows": rows, "rest_us_per_second": round(rest), "per_second": round(statistics.median(drains))})
        print(
            f"  log of {rows:,} rows: at rest {rest:,.0f} µs CPU of the source a second, "
            f"drain {', '.join(f'{drain:,.0f}' for drain in drains)}/s",
            flush=True,
        )
    small, large = points[0], points[-1]
    note(bench, f"log-size: drain at {most:,} rows", small["per_second"] / large["per_second"],
        f"times slower than at {most // 100:,}", 1.1, 1.5, points=points)  # fmt: skip
    note(bench, f"log-size: polls at {most:,} rows", large["rest_us_per_second"] / small["rest_us_per_second"],
        f"times slower than at {most // 100:,}", 1.1, 1.5)  # fmt: skip
