"""The scenario `tpcb`: a backlog of pgbench's TPC-B, through Kafka and by logical replication, between the same servers."""

import os
import time

from pair import Pair
from pg import Connection, in_database
from pgbench import pgbench
from proc import Failed

TRANSACTIONS, QUICK_TRANSACTIONS = 100_000, 500
# Rows of pgbench_accounts are 100,000 times as many.
SCALE, QUICK_SCALE = 10, 1
SEED = 7
TABLES = {
    "pgbench_accounts": "aid, bid, abalance, filler",
    "pgbench_branches": "bid, bbalance, filler",
    "pgbench_tellers": "tid, bid, tbalance, filler",
    "pgbench_history": "tid, bid, aid, delta, mtime, filler",
}
CHANGES = len(TABLES)
APPEND_ONLY = '[[table]]\nname = "public.pgbench_history"\nappend_only = true\n'


def run(bench):
    if "TRIPLINE_TEST_SOURCE_BIN" not in os.environ:
        print("  tpcb is left out: it starts servers of its own, which it cannot beside services in Docker", flush=True)
        return
    quick = bench.arguments.quick
    transactions, scale = (QUICK_TRANSACTIONS, QUICK_SCALE) if quick else (TRANSACTIONS, SCALE)
    # One after the other: the second load is not in the WAL that the first one decodes.
    with Pair(bench) as pair:
        _native(bench, pair, transactions, scale)
        _tripline(bench, pair, transactions, scale)


def _prepare(pair, name, scale):
    """Makes a database at both: filled at the source; returns the URLs."""
    for server in (pair.source, pair.destination):
        Connection(server).query(f"create database {name}")
    source, destination = (in_database(url, name) for url in (pair.source, pair.destination))
    pgbench(source, "-i", "-I", "dtgvp", "-s", scale)
    return source, destination


def _load(source, transactions):
    """Runs TPC-B, four clients together; commits do not wait for the disk."""
    clients = 4
    options = ["-n", "-c", clients, "-j", 2, "-t", transactions // clients, f"--random-seed={SEED}"]
    pgbench(source, *options, PGOPTIONS="-c synchronous_commit=off")
    session = Connection(source)
    found = int(session.one("select count(*) from pgbench_history"))
    if found != transactions:
        raise Failed(f"tpcb: {found} transactions instead of {transactions}")
    return session


def _verify(bench, source, destination):
    for table, columns in TABLES.items():
        bench.verify_postgres(source, destination, table, columns)


def _wait(what, done, seconds=300):
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise Failed(f"tpcb: {what}: not after {seconds} s")
        time.sleep(0.01)


def _native(bench, pair, transactions, scale):
    source, destination = _prepare(pair, "native", scale)
    pgbench(destination, "-i", "-I", "tp")
    for url in (source, destination):
        # The last row of the backlog: who has it has all that was committed before.
        Connection(url).query("create table backlog (written int primary key)")
    session, replica = Connection(source), Connection(destination)
    session.query("create publication everything for all tables")
    replica.query(f"create subscription everything connection '{source}' publication everything")
    copied = "select count(*) filter (where srsubstate <> 'r') from pg_subscription_rel"
    _wait("first copy", lambda: replica.one(copied) == "0")
    replica.query("alter subscription everything disable")
    worker = "select count(*) from pg_stat_subscription where pid is not null"
    _wait("end of the worker", lambda: replica.one(worker) == "0")
    _load(source, transactions)
    session.query("insert into backlog values (1)")
    session.query("checkpoint")

    def work():
        replica.query("alter subscription everything enable")
        _wait("a worker", lambda: replica.one(worker) == "1")
        start = time.monotonic()
        _wait("replication", lambda: replica.one("select count(*) from backlog") == "1")
        return {"seconds": time.monotonic() - start}

    verify = lambda: _verify(bench, source, destination)
    bench.ceiling("tpcb native replication", CHANGES * transactions, work, verify, pair.servers)
    replica.query("drop subscription everything")


def _tripline(bench, pair, transactions, scale):
    name = f"{bench.name}_tpcb"
    source, destination = _prepare(pair, name, scale)
    pgbench(destination, "-i", "-I", "tp")
    watch = Connection(destination)
    paths = bench.pipeline(name, source, destination, "exactly_once", False, "initial", tables=APPEND_ONLY)
    daemons = _start(bench, paths)
    session = Connection(source)
    copied = "select count(*) > 0 and count(*) = count(ended_at) from cdc.snapshots"
    settled = lambda: session.one(copied) == "t" and bench.applied(watch, paths)
    bench.until("tpcb: first copy", settled, daemons.values(), 0.1)
    for daemon in daemons.values():
        daemon.stop()
    _load(source, transactions)
    logs = [f"cdc.{table}_cdc" for table in TABLES]
    xid, logged = 0, 0
    for log in logs:
        session.query(f"vacuum (analyze) {log}")
        row = session.query(f"select count(*), max(cdc_txid::text::bigint) from {log} where cdc_op in ('I', 'U')")[0]
        logged, xid = logged + int(row[0]), max(xid, int(row[1] or 0))
    if logged != CHANGES * transactions:
        raise Failed(f"tpcb: the log holds {logged} changes instead of {CHANGES * transactions}")
    session.query("checkpoint")
    done = lambda: bench.published(paths, xid) and bench.applied(watch, paths)
    verify = lambda: _verify(bench, source, destination)
    bench.measure("tpcb exactly_once", logged, _start(bench, paths), done, verify, pair.servers)


def _start(bench, paths):
    daemons = {command: bench.daemon(paths, "full", command) for command in ("apply", "publish")}
    for daemon in daemons.values():
        daemon.wait_ready()
    return daemons
