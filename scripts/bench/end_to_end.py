"""The scenario `end-to-end`: a full log into PostgreSQL with both halves running, and updates of random keys behind that."""

from items import COLUMNS
from pg import Connection


def run(bench):
    bench.load()
    bench.pipes["end-to-end"] = bench.pipe("e2e", "exactly_once")
    _through(bench, "end-to-end exactly_once inserts", bench.logged)


def updates(bench):
    bench.change()
    _through(bench, "end-to-end exactly_once updates", bench.changed)


def _through(bench, name, changes):
    paths = bench.pipes["end-to-end"]
    watch = Connection(paths["destination"])
    bench.measure(
        name,
        changes,
        {command: bench.daemon(paths, "postgres", command) for command in ("apply", "publish")},
        lambda: bench.published(paths, bench.last_xid) and bench.applied(watch, paths),
        lambda: bench.verify_postgres(bench.loaded[0], paths["destination"], "item", COLUMNS),
    )
