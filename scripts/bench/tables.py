"""The scenario `tables`: the same changes in one captured table and spread over hundreds."""

import random
import threading
import time

import kafka_tool
from backends import Backends
from goals import note
from items import ITEM
from pg import Connection
from proc import Failed, cpu, peak_rss

TRANSACTION_ROWS = 5_000
STATEMENT_ROWS = 10
# Changes before those that count: a broker makes the index files of a topic, 20 MiB each, with the second request that
# comes to it, which for 500 topics takes it seconds, once.
WARM = 40_000


class Spread:
    """A source with `count` captured tables of the same shape, and its pipeline."""

    def __init__(self, bench, count, item):
        self.bench, self.count, self.rows = bench, count, 0
        name = f"{bench.name}_t{count}"
        self.source, destination = bench.database(name)
        self.session = Connection(self.source)
        self.names = [f"item_{table}" for table in range(count)]
        for table in self.names:
            self.session.query(item.replace("create table item", f"create table {table}"))
        self.paths = bench.pipeline(name, self.source, destination, "exactly_once", False, partitions=1)

    def insert(self, session, table, rows, first):
        session.query(
            f"""insert into {table} select g, g % 9973, (array['new','paid','sent','done'])[1 + g % 4],
            (g::bigint * 7919 % 10000000) / 100.0, now() - make_interval(secs => g % 86400), g % 3 = 0,
            md5(g::text)::uuid, md5(g::text) || md5((g + 1)::text) || substr(md5((g + 2)::text), 1, 28)
            from generate_series({first}, {first + rows - 1}) g"""
        )

    def fill(self, rows):
        """Changes all tables in every transaction, so that their ids are interleaved."""
        each = max(1, TRANSACTION_ROWS // self.count)
        begin = self.rows // self.count + 1
        end = begin + rows // self.count
        for first in range(begin, end, each):
            self.session.query("begin")
            for table in self.names:
                self.insert(self.session, table, min(each, end - first), first)
            self.session.query("commit")
        self.rows += rows // self.count * self.count
        for table in self.names:
            self.session.query(f"vacuum (analyze) cdc.{table}_cdc")
        self.session.query("checkpoint")

    def last(self):
        """Returns the number of a transaction that ended behind all others: the first pass of the next publisher shows it."""
        return int(self.session.one("select pg_current_xact_id()"))

    def drain(self):
        """Drains what was filled in; returns (seconds, CPU seconds of publisher and its sessions, peak MiB of the publisher)."""
        bench, last = self.bench, self.last()
        daemon = bench.daemon(self.paths, "full", "publish")
        start = daemon.wait_ready()
        backends, own = Backends(self.session), cpu(daemon.pid)

        def done():
            backends.look()
            return bench.published(self.paths, last)

        took = bench.until(f"tables: {self.count}", done, [daemon], 0.02) - start
        used, rss = {"publish": cpu(daemon.pid) - own, "source": backends.used()}, peak_rss(daemon.pid)
        daemon.stop()
        # A commit is confirmed before its markers stand in all partitions; its changes can be read only behind that.
        bench.until("tables: readable", lambda: bench.behind(self.paths, "postgres")[1] >= self.rows, [], 0.2, 60)
        bench.verify_topics(self.paths, self.rows)
        return took, used, rss

    def alone(self):
        """Sends as many of these messages with librdkafka alone; returns (seconds, its CPU seconds)."""
        made = kafka_tool.spread(self.bench, f"{self.paths['name']}.public.{self.names[0]}", self.bench.rows, self.count)
        found = made["acknowledged"], made["failed"], made["stored"]
        if found != (self.bench.rows, 0, self.bench.rows):
            raise Failed(f"tables: (acknowledged, failed, stored) is {found} of {self.bench.rows} messages")
        return made["seconds"], made["cpu_seconds"]

    def steady(self, rate, seconds):
        """Publishes while four sessions change random tables; returns the CPU, in percent of a core, of both."""
        bench, over, counts = self.bench, threading.Event(), [0] * 4
        daemon = bench.daemon(self.paths, "full", "publish")
        daemon.wait_ready()

        def write(writer):
            session, choose = Connection(self.source), random.Random(writer)
            due, pause = time.monotonic(), len(counts) * STATEMENT_ROWS / rate
            while not over.wait(max(0, due - time.monotonic())):
                first = 10_000_000 * (writer + 1) + counts[writer]
                self.insert(session, choose.choice(self.names), STATEMENT_ROWS, first)
                counts[writer] += STATEMENT_ROWS
                due += pause

        threads = [threading.Thread(target=write, args=(writer,), daemon=True) for writer in range(len(counts))]
        for thread in threads:
            thread.start()
        time.sleep(1)
        start, before, backends, own = time.monotonic(), sum(counts), Backends(self.session), cpu(daemon.pid)
        time.sleep(seconds)
        took = time.monotonic() - start
        used = {"publish": (cpu(daemon.pid) - own) / took, "source": backends.used() / took}
        reached = (sum(counts) - before) / took
        over.set()
        for thread in threads:
            thread.join()
        last = int(self.session.one("select pg_sequence_last_value('cdc.cdc_id_seq')"))
        bench.until("tables: steady", lambda: bench.settled(self.paths, last), [daemon], 0.02)
        daemon.stop()
        self.rows += sum(counts)
        bench.verify_topics(self.paths, self.rows)
        return reached, {part: 100 * value for part, value in used.items()}


def run(bench):
    """Drains `bench.rows` changes and publishes 2,000 a second, with one table and with many."""
    rate, seconds = (500, 2) if bench.arguments.quick else (2_000, 20)
    many, found, alones = bench.arguments.tables, {}, {}
    for count in (1, many):
        spread = Spread(bench, count, ITEM)
        spread.fill(WARM)
        spread.drain()
        spread.fill(bench.rows)
        took, used, rss = spread.drain()
        reached, steady = spread.steady(rate, seconds)
        if not bench.arguments.quick and reached < 0.9 * rate:
            raise ValueError(f"tables: the writers reached {reached:.0f} of {rate} changes a second")
        alone = spread.alone()
        found[count], alones[count] = (took, sum(used.values()), sum(steady.values())), alone
        cost = ", ".join(f"{part} {value * 1e6 / bench.rows:.2f}" for part, value in used.items())
        share = ", ".join(f"{part} {value:.1f}" for part, value in steady.items())
        print(
            f"  {count} tables: {bench.rows:,} changes in {took:.2f} s, cpu µs a change: {cost}; at {reached:,.0f} changes/s "
            f"cpu % of a core: {share}; peak {rss:.0f} MiB; librdkafka alone: {alone[0]:.2f} s, "
            f"cpu µs {alone[1] * 1e6 / bench.rows:.2f}",
            flush=True,
        )
    for number, what in enumerate(("wall", "CPU", "CPU at a steady rate")):
        more = {"librdkafka_alone": round(alones[many][number] / alones[1][number], 2)} if number < 2 else {}
        note(bench, f"tables: {many}, {what}", found[many][number] / found[1][number], "times one table", 1.3, 2, **more)
