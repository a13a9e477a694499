"""Results as text for people."""


def parts(values, form):
    """Returns the members of a dictionary, each number in a form."""
    return " ".join(f"{part} {form.format(value)}" for part, value in values.items())


def line(result):
    """Returns a result as one line."""
    text = f"{result['name']:<40}"
    if "per_second" in result:
        text += f"{result['per_second']:>9,}/s {result['seconds']:>8.2f} s"
    if "value" in result:
        text += f"{result['value']:>9.2f} {result['unit']}"
    text += result.get("summary", "")
    if "ms" in result:
        text += f" {parts(result['ms'], '{:.1f}')} ms at {result['rate']}/s"
    if "cpu_percent" in result:
        text += f"   cpu {parts(result['cpu_percent'], '{} %')}"
    if "cpu_us_per_change" in result:
        text += f"   cpu µs/change: {parts(result['cpu_us_per_change'], '{:.1f}')}"
    if "server_cpu_us_per_change" in result:
        text += f" | {parts(result['server_cpu_us_per_change'], '{:.1f}')}"
    if "rss_mib" in result:
        text += f"   peak MiB: {parts(result['rss_mib'], '{:.0f}')}"
    if "machine_busy_percent" in result:
        text += f"   machine {result['machine_busy_percent']} % busy"
    if "cpu_bound_per_second" in result:
        text += f", CPU would allow {result['cpu_bound_per_second']:,}/s"
    return text


def goals(judged):
    """Returns the lines of the table of goals."""
    rows = [("result", "figure", "value", "goal", "floor", "")]
    for one in judged:
        figure = f"{one['figure']}, ratio" if one["over"] else one["figure"]
        rows.append((one["result"], figure, *(_number(one[part]) for part in ("value", "goal", "floor")), one["verdict"]))
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [
        f"{result:<{first}}  {figure:<{second}}{value:>10}{goal:>10}{floor:>10}  {verdict}".rstrip()
        for result, figure, value, goal, floor, verdict in rows
    ]


def _number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
