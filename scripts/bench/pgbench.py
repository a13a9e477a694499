"""pgbench, which comes with the server and is not always on PATH."""

import glob
import os
import shutil
import subprocess

from proc import Failed


def pgbench(url, *options, **environment):
    """Runs it to its end; returns its standard output."""
    command = [_program(), *map(str, options), url]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False
    )
    if done.returncode != 0:
        raise Failed(f"pgbench {' '.join(map(str, options))} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _program():
    folders = [os.environ.get("TRIPLINE_TEST_SOURCE_BIN", ""), *sorted(glob.glob("/usr/lib/postgresql/*/bin"))[::-1]]
    found = next(filter(None, (shutil.which("pgbench", path=folder) for folder in [*folders, None])), None)
    if not found:
        raise Failed("pgbench is not here; it comes with PostgreSQL's server packages")
    return found
