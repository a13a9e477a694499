"""A source whose log tables hold many rows that are published long since."""

import json
import os
import sys
import time

from pg import Connection

TABLES = 100
_CRC = [0] * 256
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (0x82F63B78 if _value & 1 else 0)
    _CRC[_byte] = _value


class BigLog:
    """One hundred narrow tables and their pipeline. The log grows while no publisher runs."""

    def __init__(self, bench):
        self.bench, self.rows = bench, 0
        name = f"{bench.name}_log"
        self.source, self.destination = bench.database(name)
        self.session = Connection(self.source)
        for table in range(TABLES):
            self.session.query(f"create table n{table:03} (id bigint primary key, v int not null)")
        self.paths = bench.pipeline(name, self.source, self.destination, "exactly_once", False)
        # The file of the offset has a position to replace once a publisher has run.
        publisher = bench.daemon(self.paths, "full", "publish")
        publisher.wait_ready()
        publisher.stop()

    def grow(self, rows):
        """Brings the log to about `rows` rows, evenly over its tables, and the pipeline behind them."""
        if rows <= self.rows:
            return
        each = (rows - self.rows) // TABLES
        print(f"growing the log to {rows:,} rows", file=sys.stderr, flush=True)
        start = time.monotonic()
        first = int(self.session.one("select coalesce(pg_sequence_last_value('cdc.cdc_id_seq'), 0)")) + 1
        for table in range(TABLES):
            # As triggers would have logged them, the ids of all tables interleaved; these ids no table has.
            self.session.query(
                f"insert into cdc.n{table:03}_cdc (cdc_id, cdc_op, id, v) "
                f"select {first + table} + g * {TABLES}, 'I', -g, 0 from generate_series(0::bigint, {each - 1}) g"
            )
        self.session.query(f"select setval('cdc.cdc_id_seq', {first + each * TABLES})")
        for table in range(TABLES):
            self.session.query(f"vacuum (analyze) cdc.n{table:03}_cdc")
        self.session.query("checkpoint")
        self.rows = rows
        move_behind(self.session, self.paths["offset"])
        print(f"  {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def move_behind(session, path):
    """Gives a pipeline, by its offset file, the position of one that has published everything."""
    snapshot, last = session.query("select pg_current_snapshot(), pg_sequence_last_value('cdc.cdc_id_seq')")[0]
    with open(path) as file:
        state = json.load(file)["state"]
    state["position"].update(base=snapshot, offset=int(last), inside=None)
    state["anchors"] = []
    text = json.dumps(state, indent=2).replace("\n", "\n  ")
    with open(f"{path}.new", "w") as file:
        file.write(f'{{\n  "crc32c": "{_crc32c(text.encode()):08x}",\n  "state": {text}\n}}\n')
    os.rename(f"{path}.new", path)


def of(bench):
    """Returns the run's only one: filling it takes minutes."""
    if not hasattr(bench, "big_log"):
        bench.big_log = BigLog(bench)
    return bench.big_log


def _crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF
