"""Draws what scripts/bench.sh --json wrote as SVG: plot.py RESULTS.json… --out FOLDER. Files of several runs go into one picture.

Throughput against the size of the log, from the result whose `points` have `log_rows`; latency against the rate, from
the results of `latency` and `latency-kafka`; what `soak` has sampled, over the time.
"""

import argparse
import json
import os

import soak_plot
from chart import chart

COLOURS = {"exactly_once": "#1f5fa8", "at_least_once": "#d1660b"}
DASHES = {"p50": "none", "p99": "6 4"}


def log_size(results):
    """Returns the picture of throughput against the size of the log; None where nothing is known."""
    points = sorted((at["log_rows"], at["per_second"]) for one in results for at in one.get("points", ()))
    if not points:
        return None
    series = [("drain to Kafka", COLOURS["exactly_once"], "none", points)]
    return chart("Drain of fresh changes behind a log of published ones", "rows in the log", "changes a second", series)


def latency(results, kind, title):
    """Returns the picture of latency against the rate; None where nothing is known."""
    series = []
    for delivery, colour in COLOURS.items():
        chosen = [one for one in results if one["name"].startswith(f"{kind} {delivery} ")]
        for percentile, dash in DASHES.items():
            # The rate that was asked for, from the name: 500/s.
            points = sorted((int(one["name"].split()[-1].split("/")[0]), one["ms"][percentile]) for one in chosen)
            if points:
                series.append((f"{delivery.replace('_', ' ')}, {percentile}", colour, dash, points))
    return chart(title, "transactions a second, one row each", "ms", series) if series else None


def main():
    parser = argparse.ArgumentParser(prog="plot.py")
    parser.add_argument("files", nargs="+")
    parser.add_argument("--out", required=True)
    given = parser.parse_args()
    results = []
    for name in given.files:
        with open(name) as file:
            results += json.load(file)["results"]
    pictures = {
        "throughput-log-size.svg": log_size(results),
        "latency-destination.svg": latency(results, "latency", "From commit to the destination"),
        "soak.svg": soak_plot.picture(results),
        "latency-kafka.svg": latency(results, "latency-kafka", "From commit to a reader of the topic"),
    }
    for name, picture in pictures.items():
        if picture:
            with open(os.path.join(given.out, name), "w") as file:
                file.write(picture)
            print(os.path.join(given.out, name))


if __name__ == "__main__":
    main()
