"""The scenario `drain-postgres`: full topics into PostgreSQL; updates of random keys behind that, published at once; and
more of them, published as they came."""

from bench import DELIVERIES


def run(bench):
    for delivery in DELIVERIES:
        bench.fill(delivery, False)
        bench.apply(bench.pipes[delivery], f"drain-postgres {delivery} inserts", bench.logged)


def updates(bench):
    bench.fill_changes(False)
    bench.apply(bench.pipes["exactly_once"], "drain-postgres exactly_once updates", bench.changed)


def live(bench):
    passes = bench.fill_live()
    print(f"  updates that were published as they came, in {passes:,} passes", flush=True)
    bench.apply(bench.pipes["exactly_once"], "drain-postgres exactly_once updates, live", bench.changed)
