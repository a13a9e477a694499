"""The scenario `snapshot`: existing rows are copied while one session changes them, one row a transaction."""

import random
import threading
import time

from items import COLUMNS, ITEM
from pg import Connection


class Load:
    """Inserts, updates and deletes of random rows at a steady rate, until the end."""

    def __init__(self, url, rows, rate):
        self._session, self._rows, self._pause = Connection(url), rows, 1 / rate
        self.committed, self._over = 0, threading.Event()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self):
        choose, due = random.Random(7), time.monotonic()
        while not self._over.is_set():
            row = choose.randrange(1, self._rows + 1)
            kind = choose.randrange(10)
            if kind < 7:
                self._session.query(f"update item set amount = amount + 1, status = 'changed' where id = {row}")
            elif kind < 8:
                self._session.query(f"delete from item where id = {row}")
            else:
                self._session.query(
                    f"insert into item values ({row}, 1, 'new', 0, now(), true, md5('{row}')::uuid, 'again') "
                    "on conflict (id) do nothing"
                )
            self.committed += 1
            due += self._pause
            self._over.wait(max(0, due - time.monotonic()))

    def finish(self):
        """Ends the session; returns how many transactions were committed."""
        self._over.set()
        self._thread.join()
        return self.committed


def run(bench):
    """Copies `bench.rows` rows that were there before capture into both targets, under load; verifies them."""
    name = f"{bench.name}_snap"
    source, destination = bench.database(name)
    session = Connection(source)
    session.query(ITEM)
    bench.insert(session)
    session.query("vacuum (analyze) item")
    paths = bench.pipeline(name, source, destination, "exactly_once", True, snapshot="initial")
    watch = Connection(destination)
    load = Load(source, bench.rows, bench.arguments.rate)
    state = {}

    def done():
        if "ended" not in state:
            if session.one("select count(*) from cdc.snapshots where ended_at is null") != "0":
                return False
            state["ended"] = load.finish()
            state["xid"] = int(session.one("select coalesce(max(cdc_txid::text::bigint), 0) from cdc.item_cdc"))
        return bench.published(paths, state["xid"]) and bench.applied(watch, paths)

    def verify():
        bench.verify_postgres(source, destination, "item", COLUMNS)
        bench.settle_mirror(paths)
        bench.verify_clickhouse(source, paths)

    daemons = {command: bench.daemon(paths, "full", command) for command in ("apply", "publish")}
    bench.measure("snapshot under load", bench.rows, daemons, done, verify)
    print(f"  beside it {state['ended']:,} transactions of one row at {bench.arguments.rate}/s", flush=True)
