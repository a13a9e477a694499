"""scripts/bench.sh: runs the scenarios, verifies every end state, prints figures. docs/performance.md explains them."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

import idle
import latency
import log_size
import passes
import snapshot
import tables
from pg import Connection, PgError, in_database
from proc import Daemon, Failed, Servers, cpu, machine, peak_rss, threads

SCENARIOS = ["drain-kafka", "drain-postgres", "drain-clickhouse", "end-to-end", "snapshot", "latency", "ceilings"]
SCENARIOS += ["passes", "log-size", "idle", "tables"]
DELIVERIES = ["exactly_once", "at_least_once"]
TRANSACTION_ROWS = 5_000
ITEM = """create table item (
    id bigint primary key, account int not null, status text not null, amount numeric(12,2) not null,
    created timestamptz not null, active boolean not null, code uuid not null, note text not null)"""
COLUMNS = "id, account, status, amount, created, active, code, note"
TICK = "create table tick (id bigint primary key, account int, status text, note text, at timestamptz default now())"
# What both sides must agree on. The text of each row is hashed, so a swapped value shows.
DIGEST = "select count(*), coalesce(sum(hashtextextended(concat_ws('|', {columns}), 0)::numeric), 0) from {table}"
# ClickHouse has another hash: four bytes of MD5 over columns whose text is the same on both sides, and sums.
DIGEST_POSTGRES = """select count(*), trim_scale(sum(amount)), count(*) filter (where active),
    sum((extract(epoch from created) * 1000000)::numeric)::numeric(30,0),
    sum(('x' || substr(md5(concat_ws('|', id, account, status, code, note)), 1, 8))::bit(32)::bigint) from item"""
DIGEST_CLICKHOUSE = """select count(), toString(sum(toDecimal128(amount, 2))), countIf(active),
    toString(sum(toInt128(toUnixTimestamp64Micro(created)))),
    sum(reinterpretAsUInt32(reverse(substring(MD5(concatWithSeparator('|', toString(id), toString(account), status,
    toString(code), note)), 1, 4)))) from {database}.item final where _deleted = 0 format TSV"""


class Bench:
    """One run: its databases, pipelines and daemons, and the figures so far."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.rows = arguments.rows
        self.name = f"tripline_bench_{os.getpid()}"
        self.folder = tempfile.mkdtemp(prefix="tripline-bench-")
        self.source_url = os.environ["TRIPLINE_TEST_SOURCE_URL"]
        self.destination_url = os.environ["TRIPLINE_TEST_DESTINATION_URL"]
        self.kafka = os.environ["TRIPLINE_TEST_KAFKA"]
        self.clickhouse = os.environ["TRIPLINE_TEST_CLICKHOUSE_URL"]
        self.source = Connection(self.source_url)
        self.destination = Connection(self.destination_url)
        services = os.environ.get("TRIPLINE_SERVICES_DIR", ".services")
        self.servers = Servers(services, self.source, self.destination)
        self.databases = []
        self.pipelines = []
        self.daemons = []
        self.results = []
        self.filled = {}
        self.loaded = None

    # Set-up and clean-up

    def database(self, name):
        """Creates a database at source and destination; returns their URLs."""
        for connection in (self.source, self.destination):
            connection.query(f'create database "{name}"')
        self.databases.append(name)
        return in_database(self.source_url, name), in_database(self.destination_url, name)

    def pipeline(self, name, source, destination, delivery, clickhouse, snapshot="never", partitions=4):
        """Writes a pipeline's configurations and installs it; returns their paths by what they are for."""
        head = f"""pipeline = "{name}"
[source]
url = "{source}"
tables = ["public.*"]
snapshot = "{snapshot}"
[offset]
dir = "{self.folder}/offsets"
[kafka]
bootstrap_servers = "{self.kafka}"
partitions = {partitions}
delivery = "{delivery}"
"""
        postgres = f'[destination]\nurl = "{destination}"\n'
        mirror = f'[clickhouse]\nurl = "{self.clickhouse}"\ndatabase = "{name}"\n'
        texts = {"full": head + postgres + (mirror if clickhouse else ""), "postgres": head + postgres}
        if clickhouse:
            texts["clickhouse"] = head + mirror
        paths = {}
        for purpose, text in texts.items():
            paths[purpose] = os.path.join(self.folder, f"{name}-{purpose}.toml")
            with open(paths[purpose], "w") as file:
                file.write(text)
        paths["name"], paths["offset"] = name, os.path.join(self.folder, "offsets", f"{name}.json")
        os.makedirs(os.path.join(self.folder, "offsets"), exist_ok=True)
        self.pipelines.append(paths)
        self.tripline(paths["full"], "init")
        return paths

    def tripline(self, config, *command, fine=(0,)):
        """Runs a command of tripline to its end; returns its standard output."""
        done = subprocess.run(
            [self.arguments.binary, "-c", config, *command], capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode not in fine:
            raise Failed(f"tripline {' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def daemon(self, paths, purpose, command):
        """Starts a daemon; the later ones of a pipeline append to the same log."""
        marker = "publishing" if command == "publish" else "ready"
        label = f"{paths['name']}-{command}-{purpose}-{len(self.daemons)}"
        perf = os.path.join(self.folder, f"{label}.perf") if self.arguments.profile else None
        log = os.path.join(self.folder, f"{label}.log")
        daemon = Daemon(self.arguments.binary, paths[purpose], command, marker, log, perf)
        self.daemons.append(daemon)
        return daemon

    def clean(self):
        """Drops everything that the run created."""
        for daemon in self.daemons:
            daemon.kill()
        for paths in self.pipelines:
            try:
                self.tripline(paths["full"], "offset", "reset", "--yes", "--clear-topics")
            except (Failed, subprocess.TimeoutExpired) as error:
                print(f"not cleaned up: {error}", file=sys.stderr)
            if "clickhouse" in paths:
                self.ask_clickhouse(f"drop database if exists {paths['name']}")
        for name in self.databases:
            for connection in (self.source, self.destination):
                connection.query(f'drop database if exists "{name}" with (force)')

    def ask_clickhouse(self, sql):
        """Returns ClickHouse's answer, fields separated by tabs."""
        with urllib.request.urlopen(self.clickhouse, data=sql.encode(), timeout=120) as answer:
            return answer.read().decode().strip()

    # Measuring

    def until(self, what, done, daemons, wait, seconds=900):
        """Waits for `done`, asking every `wait` seconds; returns when it was."""
        deadline = time.monotonic() + seconds
        while not done():
            for daemon in daemons:
                daemon.check()
            if time.monotonic() > deadline:
                raise Failed(f"{what}: not done after {seconds} s")
            time.sleep(wait)
        return time.monotonic()

    def measure(self, name, changes, daemons, done, verify):
        """Waits until daemons that were just started are `done`; verifies; notes what it took."""
        start = max(daemon.wait_ready() for daemon in daemons.values())
        before = {part: cpu(daemon.pid) for part, daemon in daemons.items()}
        servers, busy = self.servers.cpu(), machine()
        end = self.until(name, done, daemons.values(), 0.02)
        used = {part: cpu(daemon.pid) - before[part] for part, daemon in daemons.items()}
        servers = {part: total - servers[part] for part, total in self.servers.cpu().items()}
        busy = [b - a for a, b in zip(busy, machine())]
        rss = {part: peak_rss(daemon.pid) for part, daemon in daemons.items()}
        if self.arguments.profile:
            for part, daemon in daemons.items():
                print(f"  {part} threads, CPU s: {parts(threads(daemon.pid), '{}')}")
        for daemon in daemons.values():
            daemon.stop()
        verify()
        per = 1e6 / changes
        spent = sum(used.values()) + sum(servers.values())
        self.note(
            {
                "name": name,
                "changes": changes,
                "seconds": round(end - start, 3),
                "per_second": round(changes / (end - start)),
                "cpu_us_per_change": {part: round(value * per, 2) for part, value in used.items()},
                "rss_mib": {part: round(value, 1) for part, value in rss.items()},
                "server_cpu_us_per_change": {part: round(value * per, 2) for part, value in servers.items()},
                "machine_busy_percent": round(100 * busy[0] / max(busy[1], 0.01)),
                "cpu_bound_per_second": round(changes * os.cpu_count() / max(spent, 0.01)),
            }
        )

    def note(self, result):
        self.results.append(result)
        print(line(result), flush=True)

    # What is done and what is right

    def stored(self, paths):
        """Returns the position in a pipeline's offset file."""
        with open(paths["offset"]) as file:
            return json.load(file)["state"]["position"]

    def published(self, paths, xid):
        """Tells whether a transaction of the source is settled: a pass that saw it is published to its end."""
        position = self.stored(paths)
        lowest, highest, running = position["base"].split(":")
        seen = xid < int(lowest) or (xid < int(highest) and str(xid) not in running.split(","))
        return position.get("inside") is None and seen

    def behind(self, paths, target):
        """Returns (changes at the source that are not published, changes on the topics that are not applied)."""
        status = json.loads(self.tripline(paths["full"], "status", "--json", fine=(0, 1)))
        targets = {one["name"]: one["ok"]["rows_behind"] for one in status["targets"]}
        return status["source"]["ok"]["rows_behind"], targets[target]

    def verify_topics(self, paths, changes):
        found = self.behind(paths, "postgres")
        if found != (0, changes):
            raise Failed(f"{paths['name']}: (unpublished, on the topics) is {found} instead of (0, {changes})")

    def verify_postgres(self, source, destination, table, columns):
        sql = DIGEST.format(table=table, columns=columns)
        want, found = (Connection(url).query(sql)[0] for url in (source, destination))
        if want != found:
            raise Failed(f"destination: (rows, digest) of {table} is {found} instead of {want}")

    def verify_clickhouse(self, source, paths):
        want = "\t".join(Connection(source).query(DIGEST_POSTGRES)[0])
        found = self.ask_clickhouse(DIGEST_CLICKHOUSE.format(database=paths["name"]))
        if want != found:
            raise Failed(f"clickhouse: (rows, sums) is {found.split()} instead of {want.split()}")

    def applied(self, connection, paths):
        """Tells whether the destination has the end of the last published pass."""
        rows = connection.query(f"select pass, done from tripline.cuts where pipeline = '{paths['name']}'")
        return rows == [(str(self.stored(paths)["pass"]), "t")]

    # Scenarios

    def load(self):
        """Loads the source once: the log holds one insert for every row, and the pipelines start in front of it."""
        if self.loaded:
            return
        print(f"loading {self.rows:,} rows in transactions of {TRANSACTION_ROWS:,}", file=sys.stderr)
        source, destination = self.database(self.name)
        self.loaded = source, destination
        session = Connection(source)
        session.query(ITEM)
        # Pipelines first, so that capture is on; a destination each, since every one of them applies everything.
        self.pipes = {}
        for delivery in DELIVERIES:
            short = "eo" if delivery == "exactly_once" else "al"
            url = in_database(self.destination_url, f"{self.name}_{short}")
            self.destination.query(f'create database "{self.name}_{short}"')
            self.databases.append(f"{self.name}_{short}")
            clickhouse = delivery == "exactly_once"
            self.pipes[delivery] = self.pipeline(f"{self.name}_{short}", source, url, delivery, clickhouse)
            self.pipes[delivery]["destination"] = url
        started = time.monotonic()
        self.insert(session)
        self.load_seconds = time.monotonic() - started
        self.settle(session)

    def insert(self, session):
        """Fills the table, in transactions of some thousand rows."""
        for first in range(1, self.rows + 1, TRANSACTION_ROWS):
            last = min(first + TRANSACTION_ROWS - 1, self.rows)
            session.query(
                f"""insert into item select g, g % 9973, (array['new','paid','sent','done'])[1 + g % 4],
                (g::bigint * 7919 % 10000000) / 100.0, now() - make_interval(secs => g % 86400), g % 3 = 0,
                md5(g::text)::uuid, md5(g::text) || md5((g + 1)::text) || substr(md5((g + 2)::text), 1, 28)
                from generate_series({first}, {last}) g"""
            )

    def settle(self, session):
        """Brings the source to rest, so that no run pays for another one's vacuum or checkpoint; notes the end."""
        session.query("vacuum (analyze) cdc.item_cdc")
        session.query("checkpoint")
        self.last_xid = int(session.one("select cdc_txid from cdc.item_cdc order by cdc_id desc limit 1"))
        self.logged = int(session.one("select count(*) from cdc.item_cdc"))

    def fill(self, delivery, report):
        """Publishes the whole log, once for each kind of delivery."""
        self.load()
        if delivery in self.filled:
            return
        paths = self.pipes[delivery]
        self.publish(paths, f"drain-kafka {delivery}", self.logged, self.logged, report)
        self.filled[delivery] = True

    def publish(self, paths, name, changes, on_topics, report):
        daemon = self.daemon(paths, "full", "publish")
        if not report:
            self.until(name, lambda: self.published(paths, self.last_xid), [daemon], 0.05)
            daemon.stop()
            return
        self.measure(
            name,
            changes,
            {"publish": daemon},
            lambda: self.published(paths, self.last_xid),
            lambda: self.verify_topics(paths, on_topics),
        )

    def drain_kafka(self):
        for delivery in DELIVERIES:
            self.fill(delivery, True)

    def apply(self, name, delivery, changes):
        paths = self.pipes[delivery]
        watch = Connection(paths["destination"])
        self.measure(
            name,
            changes,
            {"apply": self.daemon(paths, "postgres", "apply")},
            lambda: self.applied(watch, paths),
            lambda: self.verify_postgres(self.loaded[0], paths["destination"], "item", COLUMNS),
        )

    def drain_postgres(self):
        for delivery in DELIVERIES:
            self.fill(delivery, False)
            self.apply(f"drain-postgres {delivery} inserts", delivery, self.logged)

    def updates(self):
        """A second load of updates of random keys, through the exactly-once pipeline."""
        before, count = self.logged, max(self.rows // 2, 1)
        session = Connection(self.loaded[0])
        session.query("select setseed(0.5)")
        for first in range(0, count, TRANSACTION_ROWS):
            session.query(
                f"""update item set status = 'changed', amount = amount + 1, note = reverse(note)
                where id in (select 1 + floor(random() * {self.rows})::bigint
                from generate_series(1, {min(TRANSACTION_ROWS, count - first)}))"""
            )
        self.settle(session)
        changes = self.logged - before
        paths = self.pipes["exactly_once"]
        self.publish(paths, "drain-kafka exactly_once updates", changes, changes, True)
        self.apply("drain-postgres exactly_once updates", "exactly_once", changes)

    def drain_clickhouse(self):
        self.fill("exactly_once", False)
        paths = self.pipes["exactly_once"]
        daemon = self.daemon(paths, "clickhouse", "apply")
        count = f"select count() from {paths['name']}.item"

        def verify():
            self.verify_clickhouse(self.loaded[0], paths)
            if self.behind(paths, "clickhouse")[1] != 0:
                raise Failed("clickhouse: its progress is not saved to the end")

        self.measure(
            "drain-clickhouse exactly_once inserts",
            self.logged,
            {"apply": daemon},
            lambda: int(self.ask_clickhouse(count)) >= self.logged,
            verify,
        )

    def end_to_end(self):
        self.load()
        name = f"{self.name}_e2e"
        self.destination.query(f'create database "{name}"')
        self.databases.append(name)
        url = in_database(self.destination_url, name)
        paths = self.pipeline(name, self.loaded[0], url, "exactly_once", False)
        watch = Connection(url)
        daemons = {command: self.daemon(paths, "postgres", command) for command in ("apply", "publish")}
        self.measure(
            "end-to-end exactly_once",
            self.logged,
            daemons,
            lambda: self.published(paths, self.last_xid) and self.applied(watch, paths),
            lambda: self.verify_postgres(self.loaded[0], url, "item", COLUMNS),
        )

    def snapshot(self):
        snapshot.run(self, ITEM, COLUMNS, self.insert)

    def passes(self):
        passes.run(self)

    def log_size(self):
        log_size.run(self)

    def idle(self):
        idle.run(self)

    def tables(self):
        tables.run(self, ITEM)

    def settle_mirror(self, paths):
        """Waits until ClickHouse has everything too: the mirror applies by itself."""
        daemon = self.daemon(paths, "clickhouse", "apply")
        daemon.wait_ready()
        caught_up = lambda: self.behind(paths, "clickhouse")[1] == 0
        self.until("clickhouse", caught_up, [daemon], 0.2)
        daemon.stop()

    def latency(self):
        for delivery in DELIVERIES:
            name = f"{self.name}_{'leo' if delivery == 'exactly_once' else 'lal'}"
            source, destination = self.database(name)
            Connection(source).query(TICK)
            paths = self.pipeline(name, source, destination, delivery, False)
            daemons = {command: self.daemon(paths, "full", command) for command in ("apply", "publish")}
            for daemon in daemons.values():
                daemon.wait_ready()
            watch = Connection(destination)

            def all_arrived(count):
                full = lambda: int(watch.one("select count(*) from tick")) == count
                self.until(f"latency {delivery}", full, daemons.values(), 0.1, 60)

            busy, before = machine(), {part: cpu(daemon.pid) for part, daemon in daemons.items()}
            rate, seconds = self.arguments.rate, self.arguments.seconds
            millis, achieved, polls = latency.run(source, destination, rate, seconds, all_arrived)
            used = {part: cpu(daemon.pid) - before[part] for part, daemon in daemons.items()}
            busy = [b - a for a, b in zip(busy, machine())]
            rss = {part: peak_rss(daemon.pid) for part, daemon in daemons.items()}
            for daemon in daemons.values():
                daemon.stop()
            self.verify_postgres(source, destination, "tick", "id, account, status, note, at")
            if achieved < 0.95 * rate and not self.arguments.quick:
                raise Failed(f"latency {delivery}: the writers reached {achieved:.0f} of {rate} transactions a second")
            self.note(
                {
                    "name": f"latency {delivery}",
                    "rows": len(millis),
                    "rate": round(achieved),
                    "polls_per_second": round(polls),
                    "ms": {f"p{p}": round(latency.percentile(millis, p), 1) for p in (50, 95, 99, 100)},
                    "cpu_percent": {
                        part: round(100 * value / (seconds * 1.1 + 0.5)) for part, value in used.items()
                    },
                    "rss_mib": {part: round(value, 1) for part, value in rss.items()},
                    "machine_busy_percent": round(100 * busy[0] / max(busy[1], 0.01)),
                }
            )

    def ceilings(self):
        """What the servers alone do on this machine, in this run."""
        self.load()
        source = self.loaded[0]
        copy = "copy (select * from cdc.item_cdc order by cdc_id) to stdout"
        start = time.monotonic()
        subprocess.run(["psql", "-XqAt", source, "-c", copy], stdout=subprocess.DEVNULL, check=True)
        self.ceiling("ceiling: read the log with COPY", self.logged, time.monotonic() - start)

        name = f"{self.name}_ceiling"
        self.destination.query(f'create database "{name}"')
        self.databases.append(name)
        url = in_database(self.destination_url, name)
        session = Connection(url)
        session.query(ITEM)
        session.query("create table stage (like item)")
        dump, restore = ["psql", "-XqAt", source, "-c", "copy item to stdout"], ["psql", "-Xq", url]
        with subprocess.Popen(dump, stdout=subprocess.PIPE) as from_source:
            subprocess.run([*restore, "-c", "copy stage from stdin"], stdin=from_source.stdout, check=True)
        session.query("create index on stage (id)")
        session.query("vacuum (analyze) stage")
        session.query("checkpoint")
        sets = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[1:])
        start = time.monotonic()
        for first in range(1, self.rows + 1, 20_000):
            session.query(
                f"insert into item select * from stage where id between {first} and {first + 19_999} "
                f"on conflict (id) do update set {sets}"
            )
        self.ceiling("ceiling: upsert from a loaded table", self.rows, time.monotonic() - start)
        self.verify_postgres(source, url, "item", COLUMNS)

    def ceiling(self, name, rows, seconds):
        self.note({"name": name, "changes": rows, "seconds": round(seconds, 3), "per_second": round(rows / seconds)})


def parts(values, form):
    return " ".join(f"{part} {form.format(value)}" for part, value in values.items())


def line(result):
    """Returns a result as one line for people."""
    text = f"{result['name']:<40}"
    if "per_second" in result:
        text += f"{result['per_second']:>9,}/s {result['seconds']:>8.2f} s"
    if "ms" in result:
        text += f" {parts(result['ms'], '{:.1f}')} ms at {result['rate']}/s"
        text += f"   cpu {parts(result['cpu_percent'], '{} %')}"
    if "cpu_us_per_change" in result:
        text += f"   cpu µs/change: {parts(result['cpu_us_per_change'], '{:.1f}')}"
        text += f" | {parts(result['server_cpu_us_per_change'], '{:.1f}')}"
    if "rss_mib" in result:
        text += f"   peak MiB: {parts(result['rss_mib'], '{:.0f}')}"
    if "machine_busy_percent" in result:
        text += f"   machine {result['machine_busy_percent']} % busy"
    if "cpu_bound_per_second" in result:
        text += f", CPU would allow {result['cpu_bound_per_second']:,}/s"
    return text


def ratios(results):
    """Returns how far each drain is from what the servers alone do."""
    by_name = {result["name"]: result.get("per_second") for result in results}
    found = []
    for prefix, ceiling in (
        ("drain-kafka", "ceiling: read the log with COPY"),
        ("drain-postgres", "ceiling: upsert from a loaded table"),
    ):
        if by_name.get(ceiling):
            found += [
                {"name": name, "ceiling": ceiling, "ratio": round(rate / by_name[ceiling], 2)}
                for name, rate in by_name.items()
                if name.startswith(prefix)
            ]
    return found


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(SCENARIOS))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate", type=int, default=500)
    parser.add_argument("--open", type=float)
    parser.add_argument("--log-rows", type=int)
    parser.add_argument("--tables", type=int)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = sorted(set(given.only) - set(SCENARIOS))
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    given.rows = given.rows or (20_000 if given.quick else 1_000_000)
    given.seconds = given.seconds or (3 if given.quick else 20)
    given.open = given.open or (3 if given.quick else 600)
    given.log_rows = given.log_rows or (100_000 if given.quick else 100_000_000)
    given.tables = given.tables or (20 if given.quick else 500)
    return given


def main():
    given = arguments()
    bench = Bench(given)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the run; {given.rows:,} rows; folder {bench.folder}")
    failed = None
    # A run that is stopped cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        # Updates come after the inserts have reached every target.
        for name in SCENARIOS:
            if name in given.only:
                getattr(bench, name.replace("-", "_"))()
        if "drain-postgres" in given.only:
            bench.updates()
    except (Failed, PgError, ValueError, OSError, subprocess.SubprocessError) as error:
        failed = error
    finally:
        bench.clean()
    for ratio in ratios(bench.results):
        print(f"{ratio['name']:<40}{ratio['ratio']:>9.0%} of {ratio['ceiling']}")
    if given.json:
        with open(given.json, "w") as file:
            summary = {"rows": given.rows, "cores": os.cpu_count(), "load_before": round(load, 2), "quick": given.quick}
            summary["version"] = subprocess.check_output([given.binary, "--version"], text=True).strip()
            json.dump({**summary, "results": bench.results, "ratios": ratios(bench.results)}, file, indent=2)
            file.write("\n")
    if failed:
        print(f"FAILED: {failed}\nlogs are in {bench.folder}", file=sys.stderr)
        return 1
    print("every end state verified" + ("; --quick: these are no figures of speed" if given.quick else ""))
    if given.profile:
        print(f"profiles: {bench.folder}/*.perf")
    else:
        shutil.rmtree(bench.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
