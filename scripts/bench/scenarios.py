"""The scenarios by name, in the order in which they run: each is a function that takes the run."""

import bulk
import ceilings
import drain_clickhouse
import drain_kafka
import drain_postgres
import end_to_end
import hot_keys
import idle
import large_rows
import latencies
import log_size
import overhead
import passes
import retention
import snapshot
import soak
import tables
import tpcb

SCENARIOS = {
    "drain-kafka": drain_kafka.run,
    "drain-postgres": drain_postgres.run,
    "drain-clickhouse": drain_clickhouse.run,
    "end-to-end": end_to_end.run,
    "ceilings": ceilings.run,
    "snapshot": snapshot.run,
    "hot-keys": hot_keys.run,
    "large-rows": large_rows.run,
    "latency": latencies.to_destination,
    "latency-kafka": latencies.to_kafka,
    "tpcb": tpcb.run,
    "overhead": overhead.run,
    "bulk": bulk.run,
    "passes": passes.run,
    "tables": tables.run,
    "log-size": log_size.run,
    "idle": idle.run,
    "retention": retention.run,
    "soak": soak.run,
}
# Those that run when none is asked for: a soak takes half an hour.
USUAL = [name for name in SCENARIOS if name != "soak"]
# What those of the same names do once all have run: updates of the table whose inserts they moved.
UPDATES = {
    "drain-kafka": drain_kafka.updates,
    "drain-postgres": drain_postgres.updates,
    "end-to-end": end_to_end.updates,
    "ceilings": ceilings.updates,
}
# Behind those: the source changes once more.
LAST = {"drain-postgres": drain_postgres.live}
