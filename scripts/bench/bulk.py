"""The scenario `bulk`: what capture adds to statements of many rows, in CPU of the backend for each row. The same statement
runs in one session on a table that is not captured and on one that is, one after the other; no publisher."""

import statistics

from backends import run_time
from items import COLUMNS, ITEM
from pg import Connection
from proc import Failed

MODES = ["statement", "reread"]
ENTRY = '\n[[table]]\nname = "public.item_{mode}"\nmode = "{mode}"\n'
# Every statement touches every row once.
STATEMENTS = {
    "insert": """insert into {table} select g, g % 9973, (array['new','paid','sent','done'])[1 + g % 4],
        (g::bigint * 7919 % 10000000) / 100.0, now() - make_interval(secs => g % 86400), g % 3 = 0,
        md5(g::text)::uuid, md5(g::text) || md5((g + 1)::text) || substr(md5((g + 2)::text), 1, 28)
        from generate_series({first}, {last}) g""",
    "update": "update {table} set amount = amount + 1, status = 'changed' where id between {first} and {last}",
    "delete": "delete from {table} where id between {first} and {last}",
}


def cost(session, pid, table, kind, first, last):
    """Runs a statement; returns the backend's CPU per row in µs."""
    before = run_time(pid)
    session.query(STATEMENTS[kind].format(table=table, first=first, last=last))
    return (run_time(pid) - before) * 1e6 / (last - first + 1)


def run(bench):
    """Prints the added CPU per row by mode, statement and what the session did before."""
    quick = bench.arguments.quick
    rows, pairs = (5_000, 2) if quick else (50_000, 7)
    source, destination = bench.database(f"{bench.name}_bulk")
    setup = Connection(source)
    tables = {"plain": "plain.item"}
    setup.query("create schema plain")
    setup.query(ITEM.replace("create table item", "create table plain.item"))
    for mode in MODES:
        tables[mode] = f"item_{mode}"
        setup.query(ITEM.replace("create table item", f"create table {tables[mode]}"))
    entries = "".join(ENTRY.format(mode=mode) for mode in MODES)
    bench.pipeline(f"{bench.name}_bulk", source, destination, "exactly_once", False, tables=entries)
    setup.query("checkpoint")
    added = {}
    for first_rows in (None, 1):
        for _ in range(pairs):
            # A session of its own: plans are made by its first statements.
            session = Connection(source)
            pid = int(session.one("select pg_backend_pid()"))
            if first_rows:
                for table in tables.values():
                    for kind in STATEMENTS:
                        cost(session, pid, table, kind, 0, 0)
            for kind in STATEMENTS:
                spent = {name: cost(session, pid, table, kind, 1, rows) for name, table in tables.items()}
                for mode in MODES:
                    added.setdefault((mode, kind, first_rows), []).append(spent[mode] - spent["plain"])
            session.close()
            verify(setup, rows, first_rows, COLUMNS)
            for table in tables.values():
                setup.query(f"vacuum {table}")
    for mode in MODES:
        note(bench, mode, rows, {key: statistics.median(of) for key, of in added.items() if key[0] == mode})


def note(bench, mode, rows, medians):
    fresh = {kind: round(medians[mode, kind, None], 2) for kind in STATEMENTS}
    after_one = {kind: round(medians[mode, kind, 1], 2) for kind in STATEMENTS}
    show = lambda figures: " ".join(f"{kind} {value:.1f}" for kind, value in figures.items())
    bench.note(
        {
            "name": f"bulk {mode}",
            "rows": rows,
            "added_cpu_us_per_row": fresh,
            "added_cpu_us_per_row_after_one_row": after_one,
            "summary": f"added µs/row: {show(fresh)}; behind statements of one row: {show(after_one)}",
        }
    )


def verify(session, rows, first_rows, columns):
    """Fails unless the logs hold each change once, with the values of the row; empties them."""
    extra = 1 if first_rows else 0
    for mode in MODES:
        log = f"cdc.item_{mode}_cdc"
        found = dict(session.query(f"select cdc_op, count(*) from {log} group by 1"))
        want = {op: str(rows + extra) for op in "IUD"}
        if found != want:
            raise Failed(f"bulk: the log of {mode} mode has {found} instead of {want}")
        # What was inserted is computed again, what was updated follows from it.
        expected = STATEMENTS["insert"].split("select", 1)[1].format(first=1 - extra, last=rows)
        names = columns.replace("amount", "amount + 1 as amount").replace("status", "'changed' as status")
        for op, wanted in (("I", columns), ("U", names)):
            wrong = session.one(
                f"""select count(*) from (
                with given ({columns}) as (select {expected})
                (select {unstamped(wanted)} from given except select {unstamped(columns)} from {log} where cdc_op = '{op}')
                ) x"""
            )
            if wrong != "0":
                raise Failed(f"bulk: {wrong} rows of {mode} mode are not in the log as {op}")
        ids = f"select count(distinct id) from {log} where cdc_op = 'D'"
        if int(session.one(ids)) != rows + extra:
            raise Failed(f"bulk: not every row is in the log of {mode} mode as D")
        session.query(f"truncate {log}")


def unstamped(names):
    """Leaves the time of the statement out, which is not computed again."""
    return ", ".join(name for name in names.split(", ") if name != "created")
