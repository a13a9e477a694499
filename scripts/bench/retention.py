"""The scenario `retention`: what removing old log rows takes from a bystander who writes, from the tail and from the disk; and
the same for a log whose old partitions are dropped instead, as an experiment in plain SQL."""

import socket
import threading
import time
import urllib.request

import latency
from big_log import move_behind
from goals import note
from pg import Connection
from proc import Failed

WRITERS = 4
CYCLES = 3
# Of `keep_hours = 24`: rows that go in their time, and rows that should be gone long since, for which retention works more.
AGES = {"with": "25 hours", "late": "48 hours"}
TICK = "create table tick (id bigint primary key, account int not null, note text not null)"
LOG = "cdc.tick_cdc"
# A log of partitions, each for a range of ids, and the shortest trigger that writes it.
ROTATED = """
    create table plain (id bigint primary key, account int not null, note text not null);
    create sequence rotated_id;
    create table rotated (cdc_txid xid8 not null default pg_current_xact_id(), cdc_id bigint not null default nextval('rotated_id'),
        cdc_op "char" not null, cdc_at timestamptz not null default clock_timestamp(), id bigint, account int, note text,
        primary key (cdc_id)) partition by range (cdc_id);
    create function rotate_log() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $$ begin insert into public.rotated (cdc_op, id, account, note) select 'I', id, account, note from cdc_new; return null; end $$;
    create trigger log after insert on plain referencing new table as cdc_new for each statement execute function rotate_log()"""
PARTITION = 100_000_000


class Writers:
    """Sessions that insert single rows at a steady rate, together `rate` a second, until the end."""

    def __init__(self, url, table, rate, first):
        self._over, self._took = threading.Event(), [[] for _ in range(WRITERS)]
        self._threads = [
            threading.Thread(target=self._write, args=(url, table, rate, first, writer), daemon=True)
            for writer in range(WRITERS)
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, url, table, rate, first, writer):
        session, pause = Connection(url), WRITERS / rate
        due, number = time.monotonic() + pause * writer / WRITERS, first + writer
        while not self._over.wait(max(0, due - time.monotonic())):
            begun = time.monotonic()
            session.query(f"insert into {table} values ({number}, {number % 997}, repeat('x', 150))")
            self._took[writer].append((time.monotonic() - begun) * 1000)
            number, due = number + WRITERS, due + pause
        session.close()

    def finish(self):
        """Ends the sessions; returns, ascending, how many ms each statement took."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        return sorted(took for each in self._took for took in each)


class Scene:
    """A captured table, its pipeline and what was written so far."""

    def __init__(self, bench):
        self.bench, self.rows = bench, 0
        name = f"{bench.name}_ret"
        self.source, destination = bench.database(name)
        self.session = Connection(self.source)
        self.session.query(TICK)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        more = f'[http]\nlisten = "127.0.0.1:{self.port}"\n[retention]\nkeep_hours = 24\n'
        self.paths = bench.pipeline(name, self.source, destination, "exactly_once", False, tables=more)
        # The file of the offset has a position to replace once a publisher has run.
        self.publisher().stop()

    def publisher(self):
        publisher = self.bench.daemon(self.paths, "full", "publish")
        publisher.wait_ready()
        return publisher

    def fill(self, rows, age):
        """Puts rows of that age into the log that are published long since; no publisher runs."""
        # Rows go in the order of their ids, up to the first that is young: those of the last run are so no more.
        self.session.query(f"update {LOG} set cdc_at = now() - interval '{age}' where cdc_at > now() - interval '1 day'")
        first = int(self.session.one("select coalesce(pg_sequence_last_value('cdc.cdc_id_seq'), 0)")) + 1
        for start in range(first, first + rows, 100_000):
            last = min(start + 100_000, first + rows) - 1
            self.session.query(
                f"insert into {LOG} (cdc_id, cdc_op, cdc_at, id, account, note) select g, 'I', now() - interval '{age}', -g, 0, "
                f"repeat('x', 150) from generate_series({start}, {last}) g"
            )
        self.session.query(f"select setval('cdc.cdc_id_seq', {first + rows - 1})")
        self.session.query("checkpoint")
        move_behind(self.session, self.paths["offset"])

    def settle(self, publisher):
        """Waits until everything is published."""
        last = int(self.session.one("select pg_sequence_last_value('cdc.cdc_id_seq')"))
        self.bench.until("retention: all is settled", lambda: self.bench.settled(self.paths, last), [publisher], 0.05)

    def old(self):
        return int(self.session.one(f"select count(*) from {LOG} where cdc_at < now() - interval '1 day'"))

    def removed(self):
        return int(self.session.one("select coalesce(sum(rows), 0) from cdc.retention"))

    def size(self):
        """Returns the MB of table and index."""
        return round(int(self.session.one(f"select pg_total_relation_size('{LOG}')")) / 1e6, 1)

    def read(self):
        """Returns (seconds, windows) that the tail has read so far."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        lines = dict(line.rsplit(" ", 1) for line in lines if line and not line.startswith("#"))
        return float(lines.get("tripline_read_seconds_sum", 0)), float(lines.get("tripline_read_seconds_count", 0))

    def beside(self, seconds):
        """Writes beside the publisher that runs; returns (statements in ms, ms of the tail for a window, rows removed a second)."""
        rate, before, removed, start = self.bench.arguments.rate, self.read(), self.removed(), time.monotonic()
        writers = Writers(self.source, "tick", rate, self.rows + 1)
        time.sleep(seconds)
        after, gone, took = self.read(), self.removed() - removed, time.monotonic() - start
        millis = writers.finish()
        # Ids are those of four writers in turn, which may not have come equally far.
        self.rows = int(self.session.one("select max(id) from tick"))
        if len(millis) < 0.9 * rate * seconds and not self.bench.arguments.quick:
            raise Failed(f"retention: the writers reached {len(millis) / seconds:.0f} of {rate} a second")
        return millis, 1000 * (after[0] - before[0]) / max(after[1] - before[1], 1), gone / took


def _percentiles(millis):
    return {f"p{part}": round(latency.percentile(millis, part), 2) for part in (50, 99, 100)}


def _deleted(bench):
    """Runs without and with backlogs that are removed meanwhile, in turns; returns what each cycle has shown."""
    scene, seconds, points = Scene(bench), bench.arguments.seconds, []
    for cycle in range(CYCLES):
        point = {"cycle": cycle + 1}
        for what in ("without", *AGES):
            if what in AGES:
                scene.fill(bench.rows, AGES[what])
            publisher = scene.publisher()
            millis, read, gone = scene.beside(seconds)
            beside = len(millis)
            point[what] = {**_percentiles(millis), "read_ms": round(read, 2), "removed_per_second": round(gone)}
            if what in AGES:
                if gone == 0 and not bench.arguments.quick:
                    raise Failed("retention: nothing was removed beside the writers")
                bench.until("retention: what is old is gone", lambda: scene.old() == 0, [publisher], 0.5)
            scene.settle(publisher)
            publisher.stop()
        point["full_mb"] = scene.size()
        scene.session.query(f"vacuum {LOG}")
        point["vacuumed_mb"] = scene.size()
        points.append(point)
        print(f"  {point}", flush=True)
    written = int(scene.session.one("select count(*) from tick"))
    left = scene.session.query(f"select count(*), count(t.id) from {LOG} l left join tick t using (id)")[0]
    if left != (str(beside), str(beside)):
        raise Failed(f"retention: {beside} rows are young, and (all, those of the table) in the log are {left}")
    bench.verify_topics(scene.paths, written)
    return points


def _tail(url, over):
    """Reads the partitioned log as the tail does: locks, snapshot, a window; now and then one that takes a while."""
    session, passes = Connection(url), 0
    while not over.wait(0.02):
        session.query("begin isolation level repeatable read read only")
        session.query("lock table rotated in access share mode")
        session.query("select count(*) from (select cdc_id from rotated order by cdc_id desc limit 1000) x")
        if passes % 20 == 0:
            session.query("select pg_sleep(0.25)")
        session.query("rollback")
        passes += 1
    session.close()


def _rotated(bench):
    """The same bystander beside a log whose oldest partition is detached and dropped once a second."""
    source, _ = bench.database(f"{bench.name}_rot")
    session, seconds, found = Connection(source), bench.arguments.seconds, {}
    session.query(ROTATED)
    for what in ("without", "with"):
        session.query("truncate plain, rotated; select setval('rotated_id', 1, false)")
        session.query(f"create table rotated_{what}_0 partition of rotated for values from (1) to ({PARTITION})")
        over = threading.Event()
        tail = threading.Thread(target=_tail, args=(source, over), daemon=True)
        tail.start()
        writers, start, number, waits = Writers(source, "plain", bench.arguments.rate, 1), time.monotonic(), 0, []
        while time.monotonic() - start < seconds:
            time.sleep(1)
            if what == "without":
                continue
            begun, old, number = time.monotonic(), number, number + 1
            session.query(
                f"create table rotated_{what}_{number} partition of rotated for values from ({number * PARTITION}) to "
                f"({(number + 1) * PARTITION}); select setval('rotated_id', {number * PARTITION})"
            )
            session.query(f"alter table rotated detach partition rotated_{what}_{old}")
            session.query(f"drop table rotated_{what}_{old}")
            waits.append((time.monotonic() - begun) * 1000)
        millis = writers.finish()
        over.set()
        tail.join()
        found[what] = {**_percentiles(millis), "statements": len(millis)}
        if waits:
            found[what]["rotation_ms"] = _percentiles(sorted(waits))
        if int(session.one("select count(*) from plain")) != len(millis):
            raise Failed("retention: rows of the rotated log's table are missing")
        for (name,) in session.query("select inhrelid::regclass::text from pg_inherits where inhparent = 'rotated'::regclass"):
            session.query(f"drop table {name}")
    print(f"  rotation of partitions: {found}", flush=True)
    return found


def run(bench):
    """Prints by how much statements of a bystander take longer; verifies log and topics."""
    points, rotated = _deleted(bench), _rotated(bench)
    for what, said, *goals in (("with", "", (1.1, 1.5), (1.1, 1.5)), ("late", ", late rows", (1.2, 1.5), (1.5, 3))):
        for part, (goal, floor) in zip(("p50", "p99"), goals):
            ratios = sorted(point[what][part] / point["without"][part] for point in points)
            note(bench, f"retention: {part} of a bystander{said}", ratios[len(ratios) // 2], "times without", goal, floor,
                removed=points[-1][what]["removed_per_second"], points=points)  # fmt: skip
    note(bench, "retention: size after the last cycle", points[-1]["vacuumed_mb"] / max(points[0]["vacuumed_mb"], 1),
        "times that after the first", 1.2, 2)  # fmt: skip
    note(bench, "retention: p99 beside rotation instead", rotated["with"]["p99"] / rotated["without"]["p99"], "times without",
        1.5, 3, rotated=[rotated])  # fmt: skip
