"""Draws a dashboard's panels where it has them, with the series that they show: a likeness of what Grafana shows."""

import html
import math

COLUMN, ROW, GAP = 50, 32, 8
COLOURS = ["#1f5fa8", "#d1660b", "#2e8b57", "#b03060", "#6a5acd", "#8b7500", "#008b8b", "#555555"]
# A legend's line, and room for axis and title.
LINE, LEFT, TOP = 14, 58, 30


def draw(dashboard, found):
    """Returns the picture as SVG. `found`: by panel id a list of (legend, series as Prometheus gives them)."""
    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"]) * ROW
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {24 * COLUMN} {height}" font-family="sans-serif" font-size="11">',
        f'<rect width="{24 * COLUMN}" height="{height}" fill="#eeeeee"/>',
    ]
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        parts.append(f'<g transform="translate({place["x"] * COLUMN + GAP / 2} {place["y"] * ROW + GAP / 2})">')
        width, tall = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
        parts.append(f'<rect width="{width}" height="{tall}" rx="3" fill="white"/>')
        parts.append(text(8, 18, panel["title"], "font-size='13' font-weight='bold'"))
        lines = named(found.get(panel["id"], []))
        unit = panel["fieldConfig"]["defaults"].get("unit", "none")
        parts += (stats if panel["type"] == "stat" else graph)(lines, unit, width, tall)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def named(answers):
    """Returns (name, [(time, value), …]) of every series, without values that are no numbers."""
    lines = []
    for legend, series in answers:
        for one in series:
            name = legend
            for label, value in one["metric"].items():
                name = name.replace("{{" + label + "}}", value)
            points = [(float(at), float(value)) for at, value in one["values"]]
            lines.append((name, [point for point in points if math.isfinite(point[1])]))
    return lines


def stats(lines, unit, width, tall):
    parts, share = [], width / max(1, len(lines))
    for number, (name, points) in enumerate(lines):
        middle = share * (number + 0.5)
        value = shown(points[-1][1], unit) if points else "-"
        parts.append(text(middle, tall / 2, value, "font-size='30' text-anchor='middle'"))
        # Each on a line of its own: names are longer than the share of their value.
        parts.append(text(middle, tall - 12 - LINE * (len(lines) - 1 - number), name, "text-anchor='middle'"))
    return parts


def graph(lines, unit, width, tall):
    bottom, right = tall - 24 - LINE * math.ceil(len(lines) / 2), width - 12
    points = [point for _, line in lines for point in line]
    if not points:
        return [text(width / 2, tall / 2, "no data", "text-anchor='middle' fill='#999999'")]
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    most = max(value for _, value in points) or 1
    column = lambda at: LEFT + (right - LEFT) * ((at - first) / (last - first) if last > first else 0)
    row = lambda value: bottom - (bottom - TOP) * value / most
    parts = []
    for part in (0, 0.5, 1):
        parts.append(f'<path d="M{LEFT} {row(most * part):.1f}H{right}" stroke="#dddddd"/>')
        parts.append(text(LEFT - 6, row(most * part) + 4, shown(most * part, unit), "text-anchor='end'"))
    for number, (name, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{column(at):.1f},{row(value):.1f}" for at, value in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        x, y = 12 + number % 2 * width / 2, bottom + 20 + LINE * (number // 2)
        parts.append(f'<rect x="{x}" y="{y - 6}" width="10" height="3" fill="{colour}"/>')
        parts.append(text(x + 15, y, name))
    return parts


def shown(value, unit):
    """Returns a value as Grafana shows it, about."""
    if unit == "s" and 0 < value < 1:
        return f"{value * 1000:.3g} ms"
    if unit == "bytes":
        for prefix, size in (("MiB", 2**20), ("KiB", 2**10)):
            if value >= size:
                return f"{value / size:.3g} {prefix}"
    number = f"{value / 1000:.3g} K" if unit == "short" and value >= 1000 else f"{value:.6g}" if value >= 1000 else f"{value:.3g}"
    return f"{number} {unit}" if unit in ("s", "bytes") else number


def text(x, y, words, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" {more}>{html.escape(words)}</text>'
