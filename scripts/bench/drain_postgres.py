"""The scenario `drain-postgres`: full topics into PostgreSQL, and updates of random keys behind that."""

from bench import DELIVERIES


def run(bench):
    for delivery in DELIVERIES:
        bench.fill(delivery, False)
        bench.apply(bench.pipes[delivery], f"drain-postgres {delivery} inserts", bench.logged)


def updates(bench):
    bench.fill_changes(False)
    bench.apply(bench.pipes["exactly_once"], "drain-postgres exactly_once updates", bench.changed)
