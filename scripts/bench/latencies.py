"""The scenarios `latency` and `latency-kafka`: how late single rows are at the destination, and on the topics."""

import time

import kafka_tool
import latency
from bench import DELIVERIES
from pg import Connection
from proc import Failed, cpu, machine, peak_rss

TICK = "create table tick (id bigint primary key, account int, status text, note text, at timestamptz default now())"
# The most that the clock of messages may move against the writers' clock in one run, in seconds.
CLOCKS = 0.0005


def to_destination(bench):
    """Until the row is visible at the destination, both halves running."""
    _each(bench, "latency", "d", ("apply", "publish"), _destination)


def to_kafka(bench):
    """Until a reader of committed messages has it, the publisher running alone."""
    _each(bench, "latency-kafka", "k", ("publish",), _kafka)


def _each(bench, kind, short, commands, load):
    for delivery in DELIVERIES:
        for rate in bench.arguments.rates:
            name = f"{bench.name}_l{short}{'eo' if delivery == 'exactly_once' else 'al'}{rate}"
            source, destination = bench.database(name)
            Connection(source).query(TICK)
            paths = bench.pipeline(name, source, destination, delivery, False)
            daemons = {command: bench.daemon(paths, "full", command) for command in commands}
            for daemon in daemons.values():
                daemon.wait_ready()
            _one(bench, f"{kind} {delivery} {rate}/s", rate, daemons, load, (source, destination, paths))
            bench.discard(paths)


def _one(bench, name, rate, daemons, load, where):
    busy, before = machine(), {part: cpu(daemon.pid) for part, daemon in daemons.items()}
    started = time.monotonic()
    millis, achieved, more = load(bench, name, rate, daemons, *where)
    seconds = time.monotonic() - started
    used = {part: cpu(daemon.pid) - before[part] for part, daemon in daemons.items()}
    busy = [b - a for a, b in zip(busy, machine())]
    rss = {part: peak_rss(daemon.pid) for part, daemon in daemons.items()}
    for daemon in daemons.values():
        daemon.stop()
    more.pop("verify")()
    if achieved < 0.95 * rate and not bench.arguments.quick:
        raise Failed(f"{name}: the writers reached {achieved:.0f} transactions a second")
    bench.note(
        {
            "name": name,
            "rows": len(millis),
            "rate": round(achieved),
            **more,
            "ms": {f"p{p}": round(latency.percentile(millis, p), 1) for p in (50, 95, 99, 100)},
            "cpu_percent": {part: round(100 * value / seconds) for part, value in used.items()},
            "rss_mib": {part: round(value, 1) for part, value in rss.items()},
            "machine_busy_percent": round(100 * busy[0] / max(busy[1], 0.01)),
        }
    )


def _destination(bench, name, rate, daemons, source, destination, _paths):
    watch = Connection(destination)

    def all_arrived(count):
        full = lambda: int(watch.one("select count(*) from tick")) == count
        bench.until(name, full, daemons.values(), 0.1, 60)

    millis, achieved, polls = latency.run(source, destination, rate, bench.arguments.seconds, all_arrived)
    verify = lambda: bench.verify_postgres(source, destination, "tick", "id, account, status, note, at")
    return millis, achieved, {"polls_per_second": round(polls), "verify": verify}


def _kafka(bench, name, rate, daemons, source, _destination, paths):
    watch = kafka_tool.Watch(bench, f"{paths['name']}.public.tick")
    try:
        clocks = time.time() - time.monotonic()
        writers = latency.Writers(source, rate, bench.arguments.seconds)
        count = writers.join()
        bench.until(name, lambda: len(watch.seen) >= count, daemons.values(), 0.05, 60)
        moved = abs(time.time() - time.monotonic() - clocks)
        if moved > CLOCKS:
            raise Failed(f"{name}: the system's clock was set by {1000 * moved:.1f} ms meanwhile")
    finally:
        watch.close()
    arrived = {}
    for at, key in watch.seen:
        arrived.setdefault(key, at / 1e6 - clocks)
    ids = [[writer * latency.SPAN + n for n in range(writers.count)] for writer in range(latency.WRITERS)]
    missing = sum(f'{{"id":{one}}}' not in arrived for some in ids for one in some)
    if missing or len(watch.seen) != count:
        raise Failed(f"{name}: {len(watch.seen)} messages for {count} rows; {missing} of the rows did not come")
    seen = [[arrived[f'{{"id":{one}}}'] for one in some] for some in ids]
    verify = lambda: bench.verify_topics(paths, count)
    return writers.latencies(seen), writers.achieved(), {"verify": verify}
