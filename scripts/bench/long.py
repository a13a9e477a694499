"""scripts/long-transactions.sh: what transactions that stay open cost others. Runs phases, verifies, prints figures."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

import latency
from pg import Connection, PgError, in_database
from proc import Daemon, Failed, peak_rss

TABLES = """create table tick (id bigint primary key, account int, status text, note text, at timestamptz default now());
create table held (id bigint primary key, note text)"""
LATE_ROWS = 1_000
GOAL = 1.5


def rss(pid):
    """Returns the resident set of a process, in MiB."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


class Memory:
    """Looks at the daemons' memory once a second."""

    def __init__(self, daemons):
        self._daemons, self.seen, self._stop = daemons, {name: [] for name in daemons}, threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self):
        while not self._stop.wait(1):
            for name, daemon in self._daemons.items():
                self.seen[name].append(rss(daemon.pid))

    def finish(self):
        """Ends; returns (early, late, peak) MiB by daemon: most in the first and last quarter, and ever."""
        self._stop.set()
        self._thread.join()
        figures = {}
        for name, seen in self.seen.items():
            quarter = max(1, len(seen) // 4)
            figures[name] = max(seen[:quarter]), max(seen[-quarter:]), peak_rss(self._daemons[name].pid)
        return figures


class Run:
    """A pipeline of its own, its daemons, and the transactions that stay open."""

    def __init__(self, arguments):
        self.arguments = arguments
        self.name = f"tripline_long_{os.getpid()}"
        self.folder = tempfile.mkdtemp(prefix="tripline-long-")
        self.servers = [os.environ["TRIPLINE_TEST_SOURCE_URL"], os.environ["TRIPLINE_TEST_DESTINATION_URL"]]
        self.source, self.destination = (in_database(url, self.name) for url in self.servers)
        self.config = os.path.join(self.folder, "tripline.toml")
        self.daemons = {}
        self.late = 0
        self.phases = []

    def tripline(self, *command):
        """Runs a command of tripline, which has to end with 0; returns what it printed."""
        line = [self.arguments.binary, "-c", self.config, *command]
        done = subprocess.run(line, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            raise Failed(f"tripline {' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def start(self):
        """Creates everything and starts publisher and applier."""
        for url in self.servers:
            Connection(url).query(f'create database "{self.name}"')
        Connection(self.source).query(TABLES)
        with open(self.config, "w") as file:
            file.write(
                f'pipeline = "{self.name}"\n[source]\nurl = "{self.source}"\ntables = ["public.*"]\n'
                f'[kafka]\nbootstrap_servers = "{os.environ["TRIPLINE_TEST_KAFKA"]}"\n'
                f'[offset]\ndir = "{self.folder}/offsets"\n[destination]\nurl = "{self.destination}"\n'
            )
        self.tripline("init")
        for command in ("publish", "apply"):
            log = os.path.join(self.folder, f"{command}.log")
            daemon = Daemon(self.arguments.binary, self.config, command, "ready", log)
            self.daemons[command] = daemon
            daemon.wait_ready()

    def until(self, what, done, seconds=300):
        """Waits for a condition; returns how long it took."""
        start = time.monotonic()
        while not done():
            for daemon in self.daemons.values():
                daemon.check()
            if time.monotonic() - start > seconds:
                raise Failed(f"{what}: not after {seconds} s")
            time.sleep(0.005)
        return time.monotonic() - start

    def phase(self, seconds, is_open):
        """Measures the writers for some seconds, with transactions open or not."""
        source, destination = Connection(self.source), Connection(self.destination)
        source.query("truncate tick")
        self.until("an empty table", lambda: destination.one("select count(*) from tick") == "0")
        session = elsewhere = None
        if is_open:
            # One on a captured table, and one in another database of the cluster.
            session, elsewhere = Connection(self.source), Connection(self.servers[0])
            session.query("begin")
            self.write_late(session)
            elsewhere.query("begin isolation level repeatable read")
            elsewhere.query("select pg_current_xact_id()")
        statements = []

        def all_arrived(rows):
            self.until("arrival", lambda: destination.one("select count(*) from tick") == str(rows))

        arrival, achieved, _ = latency.run(
            self.source, self.destination, self.arguments.rate, seconds, all_arrived, statements
        )
        if achieved < 0.95 * self.arguments.rate:
            raise Failed(f"the writers reached {achieved:.0f} of {self.arguments.rate} transactions a second")
        phase = {"open": is_open, "seconds": seconds, "statement_ms": statements, "arrival_ms": arrival}
        if is_open:
            before = destination.one("select count(*) from held")
            self.write_late(session)
            session.query("commit")
            phase["late_ms"] = 1000 * self.until(
                "late rows", lambda: destination.one("select count(*) from held") == str(self.late)
            )
            if before != str(self.late - 2 * LATE_ROWS):
                raise Failed(f"{before} rows of open transactions had arrived")
            elsewhere.query("rollback")
        self.tripline("verify")
        self.phases.append(phase)
        print(f"  {'open' if is_open else 'none'} for {seconds:g} s: {figures(phase)}", file=sys.stderr, flush=True)

    def write_late(self, session):
        first = self.late
        self.late += LATE_ROWS
        session.query(f"insert into held select g, repeat('y', 100) from generate_series({first}, {self.late - 1}) g")

    def clean(self):
        """Drops everything that the run created."""
        for daemon in self.daemons.values():
            daemon.kill()
        try:
            if os.path.exists(self.config):
                self.tripline("offset", "reset", "--yes", "--clear-topics")
        except (Failed, subprocess.TimeoutExpired) as error:
            print(f"not cleaned up: {error}", file=sys.stderr)
        for url in self.servers:
            Connection(url).query(f'drop database if exists "{self.name}" with (force)')
        shutil.rmtree(self.folder)


def figures(phase):
    """Returns p50 and p99 of a phase as text."""
    return ", ".join(
        f"{what} p50 {latency.percentile(phase[key], 50):.2f} p99 {latency.percentile(phase[key], 99):.2f} ms"
        for what, key in (("statement", "statement_ms"), ("arrival", "arrival_ms"))
    )


def pooled(phases, is_open):
    """Returns all phases of one kind as one."""
    chosen = [phase for phase in phases if phase["open"] == is_open]
    return {key: sorted(sum((p[key] for p in chosen), [])) for key in ("statement_ms", "arrival_ms")}


def report(run, memory):
    """Prints the figures; returns whether the goal is met."""
    without, with_open = (pooled(run.phases, is_open) for is_open in (False, True))
    print(f"none open  {figures(without)}")
    print(f"one open   {figures(with_open)}")
    ratios = {}
    for key in ("statement_ms", "arrival_ms"):
        for part in (50, 99):
            ratio = latency.percentile(with_open[key], part) / latency.percentile(without[key], part)
            ratios[f"{key[:-3]}_p{part}"] = round(ratio, 2)
    print("ratio      " + ", ".join(f"{name.replace('_', ' ')} {ratio:.2f}" for name, ratio in ratios.items()))
    late = [phase["late_ms"] for phase in run.phases if phase["open"]]
    print(f"late rows  {2 * LATE_ROWS:,} arrived after " + ", ".join(f"{ms:.0f} ms" for ms in late))
    for name, (early, end, peak) in memory.items():
        print(f"{name:<10} {early:.0f} MiB in the first quarter, {end:.0f} in the last, peak {peak:.0f}")
    if run.arguments.json:
        with open(run.arguments.json, "w") as file:
            json.dump({"ratios": ratios, "late_ms": late, "memory_mib": memory}, file)
    return max(ratios["statement_p99"], ratios["arrival_p99"]) <= GOAL


def main():
    parser = argparse.ArgumentParser(prog="scripts/long-transactions.sh")
    parser.add_argument("--binary", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--rate", type=int, default=200)
    parser.add_argument("--json")
    run = Run(parser.parse_args())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run.start()
        memory = Memory(run.daemons)
        seconds = run.arguments.seconds
        for _ in range(run.arguments.rounds):
            # Around the open one, so that what drifts counts on both sides.
            run.phase(seconds / 2, False)
            run.phase(seconds, True)
            run.phase(seconds / 2, False)
        held = memory.finish()
        for daemon in run.daemons.values():
            daemon.stop()
        return 0 if report(run, held) else 1
    except (Failed, PgError) as error:
        print(f"failed: {error}", file=sys.stderr)
        return 2
    finally:
        run.clean()


if __name__ == "__main__":
    sys.exit(main())
