"""scripts/bench.sh: runs the scenarios, verifies every end state, prints figures. docs/performance.md explains them."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys

import report
from goals import judge
from items import Bench
from pg import PgError
from proc import Failed
from scenarios import LAST, SCENARIOS, UPDATES, USUAL


def arguments():
    parser = argparse.ArgumentParser(prog="scripts/bench.sh")
    parser.add_argument("--binary", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", default=",".join(USUAL))
    parser.add_argument("--rows", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--rate")
    parser.add_argument("--open", type=float)
    parser.add_argument("--log-rows", type=int)
    parser.add_argument("--tables", type=int)
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    given.only = given.only.split(",")
    unknown = sorted(set(given.only) - set(SCENARIOS))
    if unknown:
        parser.error(f"no such scenario: {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    given.rates = [int(rate) for rate in (given.rate or ("500" if given.quick else "500,2000")).split(",")]
    given.rate = given.rates[0]
    given.rows = given.rows or (20_000 if given.quick else 1_000_000)
    given.seconds = given.seconds or (2 if given.quick else 20)
    given.open = given.open or (3 if given.quick else 600)
    given.log_rows = given.log_rows or (100_000 if given.quick else 100_000_000)
    given.minutes = given.minutes or (0.5 if given.quick else 30)
    given.tables = given.tables or (20 if given.quick else 500)
    return given


def run(bench):
    """Runs what was asked for; returns why it ended early."""
    try:
        for steps in (SCENARIOS, UPDATES, LAST):
            for name, step in steps.items():
                if name in bench.arguments.only:
                    step(bench)
    except (Failed, PgError, ValueError, OSError, subprocess.SubprocessError) as error:
        return error
    finally:
        bench.clean()
    return None


def main():
    given = arguments()
    bench = Bench(given)
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, load {load:.1f} before the run; {given.rows:,} rows; folder {bench.folder}")
    # A run that is stopped cleans up as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    failed = run(bench)
    judged = judge(bench.results, not failed and set(given.only) >= set(USUAL))
    if judged and not given.quick:
        print("\n" + "\n".join(report.goals(judged)) + "\n")
    if given.json:
        with open(given.json, "w") as file:
            summary = {"rows": given.rows, "cores": os.cpu_count(), "load_before": round(load, 2), "quick": given.quick}
            summary["version"] = subprocess.check_output([given.binary, "--version"], text=True).strip()
            json.dump({**summary, "results": bench.results, "goals": judged}, file, indent=2)
            file.write("\n")
    if failed:
        print(f"FAILED: {failed}\nlogs are in {bench.folder}", file=sys.stderr)
        return 1
    print("every end state verified" + ("; --quick: these are no figures of speed" if given.quick else ""))
    if given.profile:
        print(f"profiles: {bench.folder}/*.perf")
    else:
        shutil.rmtree(bench.folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
