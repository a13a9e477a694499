"""What is wanted of each figure, and the least that is good enough."""

from typing import NamedTuple

COPY, PRODUCE = "ceiling: read the log with COPY", "ceiling: produce with librdkafka"


class Goal(NamedTuple):
    """One line of the table of goals. Where the goal is the smaller number, smaller figures are better."""

    result: str
    """Name of the result."""
    figure: str
    """Members that lead to the figure in it, with spaces between."""
    goal: float
    floor: float | None
    """None: the figure is below its goal or not, as another line has the floor."""
    over: tuple = ()
    """Names of results of the same run: the figure is divided by that of the slowest of them."""


def _latency(kind, deliveries):
    for delivery, limits in deliveries.items():
        for rate in (500, 2000):
            for percentile, goal, floor in limits:
                yield Goal(f"{kind} {delivery} {rate}/s", f"ms {percentile}", goal, floor)


def _memory(results, parts, goal, floor):
    return [Goal(result, f"rss_mib {part}", goal, floor) for result in results for part in parts]


_STEADY = [f"latency {delivery} {rate}/s" for delivery in ("exactly_once", "at_least_once") for rate in (500, 2000)]
_PUBLISH = ["drain-kafka exactly_once", "drain-kafka at_least_once", "drain-kafka exactly_once updates"]
_APPLY = [f"drain-postgres {what}" for what in ("exactly_once inserts", "at_least_once inserts", "exactly_once updates")]
_BOTH = ["end-to-end exactly_once inserts", "end-to-end exactly_once updates"]
_BULK = ["added_cpu_us_per_row", "added_cpu_us_per_row_after_one_row"]

GOALS = [
    *(Goal(result, "per_second", 200_000, 120_000) for result in _PUBLISH),
    *(Goal(result, "per_second", 0.70, None, (COPY, PRODUCE)) for result in _PUBLISH),
    *(Goal(result, "cpu_us_per_change publish", 3, 5) for result in _PUBLISH),
    Goal("end-to-end exactly_once inserts", "per_second", 80_000, 50_000),
    Goal("end-to-end exactly_once updates", "per_second", 50_000, 30_000),
    Goal("tpcb exactly_once", "per_second", 1.5, 1.0, ("tpcb native replication",)),
    *(Goal(result, "per_second", 0.85, 0.60, (f"ceiling: upsert, {result.split()[-1]}",)) for result in _APPLY),
    Goal("drain-postgres exactly_once updates, live", "per_second", 0.85, 0.60, ("ceiling: upsert, updates",)),
    Goal("hot-keys", "per_second", 150_000, 80_000),
    # Either of the two is enough.
    Goal("drain-clickhouse exactly_once inserts", "per_second", 400_000, 200_000),
    Goal("drain-clickhouse exactly_once inserts", "per_second", 0.60, None, ("ceiling: insert into ClickHouse",)),
    *_latency(
        "latency",
        {
            "exactly_once": [("p50", 18, 35), ("p99", 60, 120)],
            "at_least_once": [("p50", 12, 25), ("p99", 50, 100)],
        },
    ),
    *_latency(
        "latency-kafka",
        {"exactly_once": [("p50", 8, 15), ("p99", 25, 50)], "at_least_once": [("p50", 4, 8), ("p99", 15, 30)]},
    ),
    Goal("overhead", "ratio", 0.85, 0.75),
    *(Goal("bulk statement", f"{figure} {kind}", 3, 4.5) for figure in _BULK for kind in ("insert", "update", "delete")),
    *(Goal("bulk reread", f"{figure} {kind}", 6, 9) for figure in _BULK for kind in ("insert", "update", "delete")),
    *_memory(_STEADY, ["publish", "apply"], 48, 64),
    *_memory([*_PUBLISH, *_BOTH], ["publish"], 96, 128),
    *_memory([*_APPLY, *_BOTH, "drain-clickhouse exactly_once inserts", "hot-keys"], ["apply"], 96, 128),
    *_memory(["large-rows exactly_once"], ["publish", "apply"], 192, 256),
]


def note(bench, name, value, unit, goal, floor, **more):
    """Notes a figure that may not exceed its goal, or else its floor; its name says how large the run was."""
    rest = ", ".join(f"{key.replace('_', ' ')} {amount:,}" for key, amount in more.items() if not isinstance(amount, list))
    figure = {"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "floor": floor}
    bench.note({**figure, **more, "summary": f"   {rest}"})


def judge(results, complete):
    """Returns how each goal stands whose results are all there, as dictionaries; all goals, where the run is complete.

    A result whose name says how large it was brings its goal itself: members `value`, `goal` and `floor`.
    """
    by_name = {result["name"]: result for result in results}
    own = [Goal(result["name"], "value", result["goal"], result["floor"]) for result in results if "value" in result]
    found = []
    for goal in GOALS + own:
        if not {goal.result, *goal.over} <= set(by_name):
            if complete:
                found.append({**goal._asdict(), "value": None, "verdict": "no figure"})
            continue
        value = _figure(by_name[goal.result], goal.figure)
        if goal.over:
            value /= min(_figure(by_name[name], goal.figure) for name in goal.over)
        # Nothing is better for having been rounded.
        found.append({**goal._asdict(), "value": value, "verdict": _verdict(value, goal.goal, goal.floor)})
    return found


def _figure(result, path):
    for member in path.split():
        result = result[member]
    return result


def _verdict(value, goal, floor):
    sign = -1 if floor is not None and floor > goal else 1
    if sign * value >= sign * goal:
        return "reached"
    return "above floor" if floor is not None and sign * value >= sign * floor else "below"
