"""Runs a real Prometheus beside a daemon for a short while and asks it every query of the Grafana dashboard.

    scripts/dashboard.sh BINARY [--svg FILE]     --svg: also draws the panels where the dashboard has them

Exit code 0 when every query has an answer with a series in it, 1 when not, 3 when it cannot be run here.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import types
import urllib.error
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "bench"))

import panels  # noqa: E402
from bench import Run  # noqa: E402
from pg import Connection, PgError  # noqa: E402
from proc import Failed  # noqa: E402

DASHBOARD = os.path.join(HERE, "..", "..", "packaging", "grafana", "tripline.json")
SECONDS, STEP = 20, 1
# What stands for Grafana's variables.
VARIABLES = {"$__rate_interval": "8s", "$instance": ".*"}
MORE = """[http]
listen = "127.0.0.1:0"
[mirror]
out_of_range = "clamp"
batch_ms = 200
[retention]
keep_hours = 0
max_log_bytes = 1073741824
"""


class Prometheus:
    """A Prometheus of its own that scrapes one address."""

    def __init__(self, folder, target):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        config = os.path.join(folder, "prometheus.yml")
        with open(config, "w") as file:
            file.write(
                f"global: {{scrape_interval: {STEP}s, scrape_timeout: {STEP}s}}\n"
                f"scrape_configs: [{{job_name: tripline, static_configs: [{{targets: ['{target}']}}]}}]\n"
            )
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={config}",
                f"--storage.tsdb.path={folder}/prometheus",
                f"--web.listen-address={self._url.removeprefix('http://')}",
                "--log.level=error",
            ],
            stdout=subprocess.DEVNULL,
        )

    def ask(self, path, **parameters):
        """Returns the data of an answer; raises ValueError with Prometheus' words."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from None

    def is_scraping(self):
        try:
            return bool(self.ask("query", query="up == 1")["result"])
        except (OSError, ValueError):
            return False

    def stop(self):
        self._process.terminate()
        self._process.wait()


def load(source, seconds):
    """Writes for some seconds: rows that ClickHouse can hold, some that it cannot, and a transaction that stays open."""
    session, held = Connection(source), Connection(source)
    held.query("begin")
    held.query("insert into held values (0, null)")
    start, row = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        row += 1
        session.query(f"insert into held select g, null from generate_series({row * 100}, {row * 100 + row % 90}) g")
        session.query(f"update held set day = '{1800 if row % 20 == 0 else 2026}-01-01' where id = {row * 100}")
        time.sleep(0.05)
    held.query("commit")


def address(log):
    with open(log, encoding="utf-8", errors="replace") as file:
        return re.search(r"answering HTTP address=(\S+)", file.read())[1]


def answers(prometheus, dashboard, begin, end):
    """Asks every query; returns ({panel id: [(legend, answer)]}, what is wrong)."""
    found, wrong = {}, []
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            query = target["expr"]
            for name, value in VARIABLES.items():
                query = query.replace(name, value)
            try:
                series = prometheus.ask("query_range", query=query, start=begin, end=end, step=STEP)["result"]
            except ValueError as error:
                wrong.append(f"{panel['title']}: {target['expr']}: {error}")
                continue
            if not series:
                wrong.append(f"{panel['title']}: {target['expr']}: no series")
            found.setdefault(panel["id"], []).append((target.get("legendFormat", ""), series))
    return found, wrong


def run(binary, svg):
    with open(DASHBOARD) as file:
        dashboard = json.load(file)
    bench = Run(types.SimpleNamespace(binary=binary, rows=0, profile=False))
    prometheus = None
    try:
        name = f"{bench.name}_dashboard"
        source, destination = bench.database(name)
        Connection(source).query("create table held (id bigint primary key, day date)")
        paths = bench.pipeline(name, source, destination, "exactly_once", True, tables=MORE)
        daemon = bench.daemon(paths, "full", "run")
        daemon.wait_ready()
        prometheus = Prometheus(bench.folder, address(daemon.log_path))
        bench.until("a scrape", prometheus.is_scraping, [daemon], 0.1, 60)
        begin = time.time()
        load(source, SECONDS)
        through = lambda: all(bench.behind(paths, target) == (0, 0) for target in ("postgres", "clickhouse"))
        bench.until("everything applied", through, [daemon], 0.2)
        # What stands for a value in ClickHouse differs, which this is not about.
        bench.tripline(paths["full"], "verify", fine=(0, 1))
        # For as long that the last step of the answers has it.
        seen = lambda: prometheus.ask("query", query=f"tripline_verified_pass offset {2 * STEP}s")["result"]
        bench.until("the comparison is seen", seen, [daemon], 0.2, 30)
        found, wrong = answers(prometheus, dashboard, begin, time.time())
        daemon.stop()
    finally:
        if prometheus:
            prometheus.stop()
        bench.clean()
        shutil.rmtree(bench.folder, ignore_errors=True)
    if svg:
        with open(svg, "w") as file:
            file.write(panels.draw(dashboard, found))
    count = sum(len(panel.get("targets", [])) for panel in dashboard["panels"])
    print(f"dashboard: {count} queries of {len(dashboard['panels'])} panels, {len(wrong)} wrong")
    print("\n".join(wrong), end="\n" if wrong else "")
    return 1 if wrong else 0


def main():
    binary, svg = sys.argv[1], None
    if sys.argv[2:3] == ["--svg"]:
        svg = sys.argv[3]
    for missing in (
        not shutil.which("prometheus") and "there is no prometheus (Debian: package prometheus)",
        "TRIPLINE_TEST_SOURCE_URL" not in os.environ and "the services are not in the environment",
    ):
        if missing:
            print(f"dashboard: NOT TESTED, {missing}", file=sys.stderr)
            return 3
    try:
        return run(os.path.abspath(binary), svg)
    except (Failed, PgError, ValueError, OSError, subprocess.SubprocessError) as error:
        print(f"dashboard: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
