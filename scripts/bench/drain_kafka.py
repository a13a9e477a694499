"""The scenario `drain-kafka`: a full log onto empty topics, and updates of random keys behind that."""

from bench import DELIVERIES


def run(bench):
    for delivery in DELIVERIES:
        bench.fill(delivery, True)


def updates(bench):
    bench.fill_changes(True)
