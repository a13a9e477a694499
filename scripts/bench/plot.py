"""Draws what scripts/bench.sh --json wrote as SVG: plot.py RESULTS.json… --out FOLDER. Files of several runs go into one picture.

Throughput against the size of the log, from the result whose `points` have `log_rows`; latency against the rate, from
the results of `latency` and `latency-kafka`.
"""

import argparse
import html
import json
import math
import os

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 92, 190, 48, 56
INK, GRID = "#333333", "#dddddd"
COLOURS = {"exactly_once": "#1f5fa8", "at_least_once": "#d1660b"}
DASHES = {"p50": "none", "p99": "6 4"}


def ticks(most):
    """Returns round numbers from 0 to the first that is not below `most`."""
    unit = 10 ** math.floor(math.log10(most))
    step = next(unit * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if most / (unit * part) <= 6)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def chart(title, across, up, series):
    """Returns a picture. `series` are (name, colour, dash, [(x, y), …]); x is on a logarithmic scale, y begins at 0."""
    xs = sorted({x for *_, points in series for x, _ in points})
    marks = ticks(max(y for *_, points in series for _, y in points))
    low, high = math.log10(xs[0]), math.log10(xs[-1])
    column = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * ((math.log10(x) - low) / (high - low) if high > low else 0.5)
    row = lambda y: HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * y / marks[-1]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        text(LEFT, 26, title, "start", "font-size='16'"),
        text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, across, "middle"),
        text(18, (TOP + HEIGHT - BOTTOM) / 2, up, "middle", f"transform='rotate(-90 18 {(TOP + HEIGHT - BOTTOM) / 2})'"),
    ]
    for y in marks:
        parts.append(f'<path d="M{LEFT} {row(y):.1f}H{WIDTH - RIGHT}" stroke="{GRID}"/>')
        parts.append(text(LEFT - 8, row(y) + 4, f"{y:,.10g}", "end"))
    for x in xs:
        parts.append(f'<path d="M{column(x):.1f} {HEIGHT - BOTTOM}v5" stroke="{INK}"/>')
        parts.append(text(column(x), HEIGHT - BOTTOM + 20, f"{x:,}", "middle"))
    below = 0
    # The names stand beside the ends of the lines, from the top down, never over each other.
    for name, colour, dash, points in sorted(series, key=lambda one: -one[3][-1][1]):
        line = " ".join(f"{column(x):.1f},{row(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        parts += [f'<circle cx="{column(x):.1f}" cy="{row(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        below = max(below + 17, row(points[-1][1]) + 4)
        parts.append(text(WIDTH - RIGHT + 10, below, name, "start", f"style='fill:{colour}'"))
    return "\n".join([*parts, "</svg>", ""])


def text(x, y, words, anchor, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" {more}>{html.escape(words)}</text>'


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
        "latency-kafka.svg": latency(results, "latency-kafka", "From commit to a reader of the topic"),
    }
    for name, picture in pictures.items():
        if picture:
            with open(os.path.join(given.out, name), "w") as file:
                file.write(picture)
            print(os.path.join(given.out, name))


if __name__ == "__main__":
    main()
