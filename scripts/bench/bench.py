"""One run: what it sets up and takes down again, how it measures, and what counts as done and as right."""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request

import report
from pg import Connection, in_database
from proc import Daemon, Failed, Servers, cpu, machine, peak_rss, threads

DELIVERIES = ["exactly_once", "at_least_once"]
# What both sides must agree on. The text of each row is hashed, so a swapped value shows.
DIGEST = "select count(*), coalesce(sum(hashtextextended(row({columns})::text, 0)::numeric), 0) from {table}"


class Run:
    """Databases, pipelines and daemons of one run, and the figures so far."""

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
        self.services = os.environ.get("TRIPLINE_SERVICES_DIR", ".services")
        self.servers = Servers(self.services, self.source, self.destination)
        self.databases = []
        self.pipelines = []
        self.daemons = []
        self.results = []

    # Set-up and clean-up

    def database(self, name):
        """Creates a database at source and destination; returns their URLs."""
        for connection in (self.source, self.destination):
            connection.query(f'create database "{name}"')
        self.databases.append(name)
        return in_database(self.source_url, name), in_database(self.destination_url, name)

    def target(self, name):
        """Creates a database at the destination alone; returns its URL."""
        self.destination.query(f'create database "{name}"')
        self.databases.append(name)
        return in_database(self.destination_url, name)

    def pipeline(self, name, source, destination, delivery, clickhouse, snapshot="never", partitions=4, tables=""):
        """Writes a pipeline's configurations and installs it; returns their paths by what they are for.

        `tables` is TOML that stands behind the rest: `[[table]]` or `[kafka.options]`.
        """
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
                file.write(text + tables)
        paths["name"], paths["offset"] = name, os.path.join(self.folder, "offsets", f"{name}.json")
        os.makedirs(os.path.join(self.folder, "offsets"), exist_ok=True)
        self.pipelines.append(paths)
        self.tripline(paths["full"], "init")
        return paths

    def tripline(self, config, *command, fine=(0,), environment=None):
        """Runs a command of tripline to its end, with more in its environment; returns its standard output."""
        done = subprocess.run(
            [self.arguments.binary, "-c", config, *command],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **(environment or {})},
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

    def discard(self, paths):
        """Drops the topics, positions and mirror of a pipeline; no daemon outlives it."""
        self.pipelines.remove(paths)
        for daemon in self.daemons:
            daemon.kill()
        try:
            # Refused otherwise where retention has removed rows.
            copies = {"TRIPLINE__SOURCE__SNAPSHOT": "initial"}
            self.tripline(paths["full"], "offset", "reset", "--yes", "--clear-topics", environment=copies)
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"not cleaned up: {error}", file=sys.stderr)
        if "clickhouse" in paths:
            self.ask_clickhouse(f"drop database if exists {paths['name']}")

    def clean(self):
        """Drops everything that the run created."""
        for paths in list(self.pipelines):
            self.discard(paths)
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

    def measure(self, name, changes, daemons, done, verify, servers=None):
        """Waits until daemons that were just started are `done`; verifies; notes what it took.

        `servers` are those whose CPU counts, where it is not the ones that all scenarios share.
        """
        watched = servers or self.servers
        start = max(daemon.wait_ready() for daemon in daemons.values())
        before = {part: cpu(daemon.pid) for part, daemon in daemons.items()}
        servers, busy = watched.cpu(), machine()
        end = self.until(name, done, daemons.values(), 0.02)
        used = {part: cpu(daemon.pid) - before[part] for part, daemon in daemons.items()}
        servers = {part: total - servers[part] for part, total in watched.cpu().items()}
        busy = [b - a for a, b in zip(busy, machine())]
        rss = {part: peak_rss(daemon.pid) for part, daemon in daemons.items()}
        if self.arguments.profile:
            for part, daemon in daemons.items():
                print(f"  {part} threads, CPU s: {report.parts(threads(daemon.pid), '{}')}")
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

    def ceiling(self, name, rows, work, verify, servers=None):
        """Does what the servers can do without tripline; verifies; notes how long it took and the servers' CPU.

        `work` may return further members of the result, `seconds` among them where not all of its time counts.
        """
        watched = servers or self.servers
        before, start = watched.cpu(), time.monotonic()
        more = work() or {}
        seconds = more.pop("seconds", time.monotonic() - start)
        used = {part: total - before[part] for part, total in watched.cpu().items()}
        verify()
        self.note(
            {
                "name": name,
                "changes": rows,
                "seconds": round(seconds, 3),
                "per_second": round(rows / seconds),
                **more,
                "server_cpu_us_per_change": {part: round(value * 1e6 / rows, 2) for part, value in used.items()},
            }
        )

    def note(self, result):
        """Takes a result: a dictionary with a `name` that is one of its kind."""
        self.results.append(result)
        print(report.line(result), flush=True)

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

    def settled(self, paths, last):
        """Tells whether all ids up to `last` are settled. At a source at rest that is stored, up to a second later; the number
        of a transaction that changed nothing captured need never be."""
        position = self.stored(paths)
        return position.get("inside") is None and position["offset"] >= last

    def applied(self, connection, paths):
        """Tells whether the destination has the end of the last published pass."""
        rows = connection.query(f"select pass, done from tripline.cuts where pipeline = '{paths['name']}'")
        return rows == [(str(self.stored(paths)["pass"]), "t")]

    def behind(self, paths, target):
        """Returns (changes at the source that are not published, changes on the topics that are not applied)."""
        status = json.loads(self.tripline(paths["full"], "status", "--json", fine=(0, 1)))
        targets = {one["name"]: one["ok"]["rows_behind"] for one in status["targets"]}
        return status["source"]["ok"]["rows_behind"], targets[target]

    def verify_topics(self, paths, changes):
        """Fails unless everything is published and the cuts count as many changes that nobody has applied."""
        found = self.behind(paths, "postgres")
        if found != (0, changes):
            raise Failed(f"{paths['name']}: (unpublished, on the topics) is {found} instead of (0, {changes})")

    def verify_postgres(self, source, destination, table, columns):
        """Fails unless a table has the same rows at source and destination, by number and hash."""
        sql = DIGEST.format(table=table, columns=columns)
        want, found = (Connection(url).query(sql)[0] for url in (source, destination))
        if want != found:
            raise Failed(f"destination: (rows, digest) of {table} is {found} instead of {want}")

    def settle_mirror(self, paths):
        """Waits until ClickHouse has everything too: the mirror applies by itself."""
        daemon = self.daemon(paths, "clickhouse", "apply")
        daemon.wait_ready()
        caught_up = lambda: self.behind(paths, "clickhouse")[1] == 0
        self.until("clickhouse", caught_up, [daemon], 0.2)
        daemon.stop()
