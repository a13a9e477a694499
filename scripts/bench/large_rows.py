"""The scenario `large-rows`: rows of 1 MB, both halves running; what counts is their memory."""

from pg import Connection

ROWS, QUICK_ROWS = 200, 20
BYTES = 1_000_000
# Above what librdkafka sends unasked; with the envelope such a message still fits what a broker takes unasked.
OPTIONS = '[kafka.options]\n"message.max.bytes" = "1048588"\n'


def run(bench):
    name = f"{bench.name}_large"
    source, destination = bench.database(name)
    session, watch = Connection(source), Connection(destination)
    session.query("create table document (id bigint primary key, body text not null)")
    # Hexadecimal digits of hashes, twice as many as one row has: lz4 finds nothing to shorten.
    session.query(
        f"create temp table seed as select string_agg(md5(random()::text), '') as body "
        f"from generate_series(1, {2 * BYTES // 32})"
    )
    paths = bench.pipeline(name, source, destination, "exactly_once", False, tables=OPTIONS)
    rows = QUICK_ROWS if bench.arguments.quick else ROWS
    for row in range(rows):
        session.query(
            f"insert into document select {row}, substr(body, {1 + row * BYTES // rows}, {BYTES}) from seed"
        )
    xid = int(session.one("select max(cdc_txid::text::bigint) from cdc.document_cdc"))
    bench.measure(
        "large-rows exactly_once",
        rows,
        {command: bench.daemon(paths, "full", command) for command in ("apply", "publish")},
        lambda: bench.published(paths, xid) and bench.applied(watch, paths),
        lambda: bench.verify_postgres(source, destination, "document", "id, body"),
    )
