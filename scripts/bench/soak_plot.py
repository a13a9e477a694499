"""What the scenario `soak` has sampled, as one picture."""

from chart import chart, stacked

PARTS = {"publish": "#1f5fa8", "apply": "#d1660b"}
CHARTS = [
    ("Resident memory", "MiB", [("{part}", "{part} rss_mib", "none")]),
    ("Mean time to open and read a window", "ms", [("{part}", "{part} read_ms", "none")]),
    (
        "Descriptors and threads",
        "number",
        [("{part}, descriptors", "{part} descriptors", "none"), ("{part}, threads", "{part} threads", "6 4")],
    ),
    ("Seconds behind", "s", [("{part}", "{part} seconds_behind", "none")]),
]


def picture(results):
    """Returns the picture; None where no soak is among the results."""
    samples = next((one["samples"] for one in results if "samples" in one), None)
    if not samples:
        return None
    pictures = []
    for title, unit, lines in CHARTS:
        series = []
        for part, colour in PARTS.items():
            for name, key, dash in lines:
                key = key.format(part=part)
                points = [(sample["minute"], sample[key]) for sample in samples if key in sample]
                if points:
                    series.append((name.format(part=part), colour, dash, points))
        pictures.append(chart(title, "minutes", unit, series, linear=True))
    pictures.append(
        chart(
            "Size of the log",
            "minutes",
            "MiB",
            [("log table", "#333333", "none", [(sample["minute"], sample["log_mib"]) for sample in samples])],
            linear=True,
        )
    )
    return stacked(pictures)
