"""Charts as SVG: lines over a logarithmic or plain axis, with their names beside them."""

import html
import math

WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 92, 190, 48, 56
INK, GRID = "#333333", "#dddddd"
# With more points than these a line has no dots.
FEW = 40


def ticks(most):
    """Returns round numbers from 0 to the first that is not below `most`."""
    most = most or 1
    unit = 10 ** math.floor(math.log10(most))
    step = next(unit * part for part in (0.1, 0.2, 0.5, 1, 2, 5) if most / (unit * part) <= 6)
    return [step * n for n in range(math.ceil(most / step - 1e-9) + 1)]


def chart(title, across, up, series, linear=False):
    """Returns a picture. `series` are (name, colour, dash, [(x, y), …]); y begins at 0.

    x is on a logarithmic scale with a mark at each value, or with `linear` on a plain one from 0 on.
    """
    xs = sorted({x for *_, points in series for x, _ in points})
    marks = ticks(max(y for *_, points in series for _, y in points))
    if linear:
        xs = ticks(xs[-1])
        part = lambda x: x / xs[-1]
    else:
        low, high = math.log10(xs[0]), math.log10(xs[-1])
        part = lambda x: (math.log10(x) - low) / (high - low) if high > low else 0.5
    column = lambda x: LEFT + (WIDTH - LEFT - RIGHT) * part(x)
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
        parts.append(text(column(x), HEIGHT - BOTTOM + 20, f"{x:,.10g}", "middle"))
    below = 0
    # The names stand beside the ends of the lines, from the top down, never over each other.
    for name, colour, dash, points in sorted(series, key=lambda one: -one[3][-1][1]):
        line = " ".join(f"{column(x):.1f},{row(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"/>')
        if len(points) <= FEW:
            parts += [f'<circle cx="{column(x):.1f}" cy="{row(y):.1f}" r="3.5" fill="{colour}"/>' for x, y in points]
        below = max(below + 17, row(points[-1][1]) + 4)
        parts.append(text(WIDTH - RIGHT + 10, below, name, "start", f"style='fill:{colour}'"))
    return "\n".join([*parts, "</svg>", ""])


def text(x, y, words, anchor, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{INK}" {more}>{html.escape(words)}</text>'


def stacked(pictures):
    """Returns one picture with several charts below each other."""
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT * len(pictures)}">']
    for number, picture in enumerate(pictures):
        parts.append(picture.replace("<svg ", f'<svg y="{HEIGHT * number}" width="{WIDTH}" height="{HEIGHT}" ', 1))
    return "\n".join([*parts, "</svg>", ""])
