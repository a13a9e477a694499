"""The scenario `ceilings`: what the servers and the client library do without tripline, in the same run."""

import subprocess

import kafka_tool
from items import COLUMNS, ITEM
from pg import Connection
from proc import Failed

# Rows of one transaction.
BATCH = 10_000
SETS = ", ".join(f"{column} = excluded.{column}" for column in COLUMNS.split(", ")[1:])


def run(bench):
    bench.load()
    _copy(bench)
    bench.fill("exactly_once", False)
    _produce(bench)
    url = bench.target(f"{bench.name}_ceiling")
    bench.upserts = url
    session = Connection(url)
    session.query(ITEM)
    session.query("create table stage (like item)")
    _transfer(bench.loaded[0], "copy item to stdout", url, "copy stage from stdin")
    session.query("create index on stage (id)")
    session.query("vacuum (analyze) stage")
    batches = [f"select * from stage where id between {n} and {n + BATCH - 1}" for n in range(1, bench.rows + 1, BATCH)]
    _upsert(bench, session, "ceiling: upsert, inserts", bench.rows, batches)


def updates(bench):
    """Behind the inserts: the changes that the drains move, the last of each key in a batch, sorted by key."""
    bench.change()
    session = Connection(bench.upserts)
    session.query("create table stage_updates (like item, cdc_id bigint)")
    columns = f"{COLUMNS}, cdc_id"
    _transfer(
        bench.loaded[0],
        f"copy (select {columns} from cdc.item_cdc order by cdc_id desc limit {bench.changed}) to stdout",
        bench.upserts,
        f"copy stage_updates ({columns}) from stdin",
    )
    session.query(
        f"""create table folded as
        select distinct on (batch, id) * from
            (select *, (row_number() over (order by cdc_id) - 1) / {BATCH} as batch from stage_updates) numbered
        order by batch, id, cdc_id desc"""
    )
    session.query("create index on folded (batch, id)")
    session.query("vacuum (analyze) folded")
    session.query("vacuum (analyze) item")
    numbers = range(-(-bench.changed // BATCH))
    batches = [f"select {COLUMNS} from folded where batch = {number} order by id" for number in numbers]
    _upsert(bench, session, "ceiling: upsert, updates", bench.changed, batches)


def _transfer(source, out, destination, into):
    with subprocess.Popen(["psql", "-XqAt", source, "-c", out], stdout=subprocess.PIPE) as dump:
        subprocess.run(["psql", "-Xq", destination, "-c", into], stdin=dump.stdout, check=True)
    if dump.returncode != 0:
        raise Failed(f"psql ended with {dump.returncode}")


def _upsert(bench, session, name, rows, batches):
    session.query("checkpoint")

    def work():
        for batch in batches:
            session.query(f"insert into item {batch} on conflict (id) do update set {SETS}")

    verify = lambda: bench.verify_postgres(bench.loaded[0], bench.upserts, "item", COLUMNS)
    bench.ceiling(name, rows, work, verify)


def _copy(bench):
    """Reads the log in order, as text, and throws it away."""
    copy = "\\copy (select * from cdc.item_cdc order by cdc_id) to '/dev/null'"
    said = []

    def work():
        command = ["psql", "-XAt", bench.loaded[0], "-c", copy]
        said.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip())

    def verify():
        if said != [f"COPY {bench.logged}"]:
            raise Failed(f"{said[0]} instead of {bench.logged} rows")

    bench.ceiling("ceiling: read the log with COPY", bench.logged, work, verify)


def _produce(bench):
    """Sends messages of the loaded topic with librdkafka alone, as many as there are changes."""
    made = {}

    def work():
        made.update(kafka_tool.produce(bench, f"{bench.pipes['exactly_once']['name']}.public.item", bench.logged))
        per = 1 / bench.logged
        return {
            "seconds": made["seconds"],
            "message_bytes": round(made["bytes"] * per),
            "cpu_us_per_change": {"client": round(made["cpu_seconds"] * 1e6 * per, 2)},
        }

    def verify():
        found = made["acknowledged"], made["failed"], made["stored"]
        if found != (bench.logged, 0, bench.logged):
            raise Failed(f"(acknowledged, failed, stored) is {found} of {bench.logged} messages")

    bench.ceiling("ceiling: produce with librdkafka", bench.logged, work, verify)
