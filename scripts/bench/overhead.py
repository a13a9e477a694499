"""The scenario `overhead`: what capture takes from an application's transactions. TPC-B by pgbench in databases that
differ in capture alone, one after the other in short runs; no publisher. The third has the shortest trigger that logs a
row: what any trigger costs here."""

import re
import statistics
import time

from pg import Connection
from pgbench import pgbench
from proc import Failed

CLIENTS = 4
# At least one branch for each client (TPC-B asks for that); both databases fit into the servers' caches.
SCALE = 5
# One row changes in each of them in every transaction. The last has no key.
TABLES = ["pgbench_accounts", "pgbench_tellers", "pgbench_branches", "pgbench_history"]
ENTRY = '\n[[table]]\nname = "public.pgbench_history"\nappend_only = true\n'
# Each transaction once in every log, with the same number; the last log row of each key is the row.
STRANGE = """select count(*) from (
    select cdc_txid from cdc.{table}_cdc group by 1 having count(*) <> 1
    union all (select cdc_txid from cdc.{table}_cdc except select cdc_txid from cdc.pgbench_history_cdc)) x"""
WRONG = """select count(*) from (select distinct on ({key}) {columns} from cdc.{table}_cdc order by {key}, cdc_id desc) l
    full join (select {columns} from {table} t where exists (select from cdc.{table}_cdc l where l.{key} = t.{key})) t
    using ({columns}) where l.{key} is null or t.{key} is null"""
KEYED = {
    "pgbench_accounts": ("aid", "aid, bid, abalance"),
    "pgbench_tellers": ("tid", "tid, bid, tbalance"),
    "pgbench_branches": ("bid", "bid, bbalance"),
}
# The shortest trigger with an owner's rights: of each row what the statement made of it, keys and later writes unseen.
SHORTEST = """
    create table log_{table} (id bigserial primary key, txid xid8 not null default pg_current_xact_id(), op "char" not null,
        at timestamptz not null default clock_timestamp(), like {table});
    alter table log_{table} set (autovacuum_enabled = off);
    create function log_{table}() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp
    as $$ begin insert into public.log_{table} (op, {columns}) values ('{op}', {values}); return null; end $$;
    create trigger log after {event} on {table} for each row execute function log_{table}()"""


class Side:
    """One of the databases, and its runs."""

    def __init__(self, bench, url):
        self._bench, self._url = bench, url
        self.transactions, self.tps, self.cpu = 0, [], []

    def run(self, seconds, counts=True):
        """Runs the transactions for some seconds; notes how many a second, and the server's CPU for each."""
        session = Connection(self._url)
        # Nothing here is left to autovacuum, which would fall into one side's runs.
        session.query("vacuum pgbench_branches, pgbench_tellers")
        session.close()
        before = self._bench.servers.cpu().get("source")
        options = ["-n", "-M", "simple", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds)]
        text = pgbench(self._url, *options)
        done = int(re.search(r"transactions actually processed: (\d+)", text)[1])
        self.transactions += done
        if not counts:
            return
        self.tps.append(float(re.search(r"tps = ([\d.]+)", text)[1]))
        if before is not None:
            self.cpu.append((self._bench.servers.cpu()["source"] - before) * 1e6 / done)

    def log_rows(self):
        """Gives every table the shortest trigger that logs its rows."""
        session = Connection(self._url)
        names = "select string_agg({}, ', ' order by attnum) from pg_attribute where attrelid = '{}'::regclass and attnum > 0"
        for table in TABLES:
            columns, values = (session.one(names.format(x, table)) for x in ("attname", "'new.' || attname"))
            op, event = ("U", "update") if table in KEYED else ("I", "insert")
            session.query(SHORTEST.format(table=table, columns=columns, values=values, op=op, event=event))
        session.close()

    def verify_log(self):
        """Fails unless each of these logs holds every transaction."""
        session = Connection(self._url)
        for table in TABLES:
            logged = int(session.one(f"select count(distinct txid) from log_{table}"))
            if logged != self.transactions:
                raise Failed(f"overhead: log_{table} has {logged} of {self.transactions} transactions")
        session.close()


def run(bench):
    """Prints the transactions a second with capture against those without, as the median of pairs."""
    quick = bench.arguments.quick
    pairs, seconds, scale = (2, 1, 1) if quick else (9, 4, SCALE)
    urls = [bench.database(f"{bench.name}_{name}") for name in ("plain", "shortest", "captured")]
    for source, _ in urls:
        pgbench(source, "-q", "-i", "-s", str(scale))
        session = Connection(source)
        for table in TABLES:
            session.query(f"alter table {table} set (autovacuum_enabled = off)")
        session.close()
    sides = plain, shortest, captured = [Side(bench, source) for source, _ in urls]
    shortest.log_rows()
    (source, destination) = urls[2]
    bench.pipeline(f"{bench.name}_overhead", source, destination, "exactly_once", False, tables=ENTRY)
    session = Connection(source)
    session.query("checkpoint")
    for side in sides:
        side.run(seconds, counts=False)
    for _ in range(pairs):
        for side in sides:
            side.run(seconds)
    started = time.monotonic()
    verify(session, captured.transactions)
    shortest.verify_log()
    ratios = [with_it / without for without, with_it in zip(plain.tps, captured.tps)]
    bound = [with_it / without for without, with_it in zip(plain.tps, shortest.tps)]
    result = {
        "name": "overhead",
        "ratio": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "shortest_trigger_ratio": round(statistics.median(bound), 3),
        "tps": {
            "without": round(statistics.median(plain.tps)),
            "shortest": round(statistics.median(shortest.tps)),
            "with": round(statistics.median(captured.tps)),
        },
        "transactions": captured.transactions,
        "verify_seconds": round(time.monotonic() - started, 1),
    }
    summary = f"TPS with capture / without: {result['ratio']:.2f}   "
    summary += f"with the shortest trigger: {result['shortest_trigger_ratio']:.2f} {result['tps']}"
    if plain.cpu:
        result["server_cpu_us_per_transaction"] = {
            "without": round(statistics.median(plain.cpu)),
            "shortest": round(statistics.median(shortest.cpu)),
            "with": round(statistics.median(captured.cpu)),
        }
        summary += f"   source cpu µs/transaction: {result['server_cpu_us_per_transaction']}"
    bench.note({**result, "summary": summary})


def verify(session, transactions):
    """Fails unless the logs hold exactly what was done."""
    for table in TABLES:
        op = "U" if table in KEYED else "I"
        logged = int(session.one(f"select count(*) from cdc.{table}_cdc where cdc_op = '{op}'"))
        everything = int(session.one(f"select count(*) from cdc.{table}_cdc"))
        if (logged, everything) != (transactions, transactions):
            raise Failed(f"overhead: the log of {table} has {logged} of {transactions} changes, {everything} rows")
        strange = session.one(STRANGE.format(table=table))
        if strange != "0":
            raise Failed(f"overhead: {strange} transactions are not once in the log of {table}")
    for table, (key, columns) in KEYED.items():
        wrong = session.one(WRONG.format(table=table, key=key, columns=columns))
        if wrong != "0":
            raise Failed(f"overhead: the last log row of {wrong} keys of {table} is not the row")
    same = "tid, bid, aid, delta, mtime"
    wrong = session.one(
        f"select count(*) from (select {same} from pgbench_history except all select {same} from cdc.pgbench_history_cdc) x"
    )
    if wrong != "0":
        raise Failed(f"overhead: {wrong} rows of pgbench_history are not logged")
