"""The scenario `hot-keys`: full topics of updates of which most meet few keys, into PostgreSQL."""

import itertools
import random

from items import COLUMNS, ITEM
from pg import Connection

KEYS = 10_000
EXPONENT = 1.1
SEED = 11
TRANSACTION_ROWS = 1_000
CHANGE = """do $$ declare keys text; begin
    foreach keys in array array[{runs}] loop
        update item set amount = amount + 1, status = 'changed', note = reverse(note) where id = any (keys::bigint[]);
    end loop;
end $$"""


def run(bench):
    name = f"{bench.name}_hot"
    source, destination = bench.database(name)
    session, watch = Connection(source), Connection(destination)
    session.query(ITEM)
    paths = bench.pipeline(name, source, destination, "exactly_once", False)
    session.query(
        f"insert into item select g, g % 9973, 'new', 0, now(), true, md5(g::text)::uuid, repeat(md5(g::text), 3) "
        f"from generate_series(1, {KEYS}) g"
    )
    _through(bench, session, paths, "publish", lambda: bench.published(paths, _last(session)))
    _through(bench, session, paths, "apply", lambda: bench.applied(watch, paths))

    _change(session, bench.rows)
    changes = int(session.one("select count(*) from cdc.item_cdc where cdc_op = 'U'"))
    if changes != bench.rows:
        raise ValueError(f"the log holds {changes} updates instead of {bench.rows}")
    _through(bench, session, paths, "publish", lambda: bench.published(paths, _last(session)))
    print(f"  {bench.rows:,} updates of {KEYS:,} keys, Zipf {EXPONENT}, seed {SEED}", flush=True)
    bench.measure(
        "hot-keys",
        changes,
        {"apply": bench.daemon(paths, "postgres", "apply")},
        lambda: bench.applied(watch, paths),
        lambda: bench.verify_postgres(source, destination, "item", COLUMNS),
    )


def _last(session):
    return int(session.one("select max(cdc_txid::text::bigint) from cdc.item_cdc"))


def _through(bench, session, paths, command, done):
    """Lets one half run until it is done, unmeasured."""
    session.query("vacuum (analyze) cdc.item_cdc")
    daemon = bench.daemon(paths, "postgres", command)
    daemon.wait_ready()
    bench.until(f"hot-keys: {command}", done, [daemon], 0.05)
    daemon.stop()


def _change(session, changes):
    """Updates keys by Zipf's law, each change in its turn: a statement has the keys up to the first that comes again."""
    ranks = list(range(1, KEYS + 1))
    weights = list(itertools.accumulate(rank**-EXPONENT for rank in ranks))
    choose = random.Random(SEED)
    # Which key is hot says nothing about where its row is.
    keys = choose.sample(ranks, KEYS)
    for first in range(0, changes, TRANSACTION_ROWS):
        drawn = choose.choices(keys, cum_weights=weights, k=min(TRANSACTION_ROWS, changes - first))
        runs, one = [], []
        for key in drawn:
            if key in one:
                runs.append(one)
                one = []
            one.append(key)
        runs.append(one)
        session.query(CHANGE.format(runs=", ".join("'{" + ",".join(map(str, one)) + "}'" for one in runs)))
