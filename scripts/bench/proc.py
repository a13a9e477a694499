"""Processes: starting tripline, and what a process or the machine has used."""

import os
import re
import signal
import subprocess
import threading
import time

_TICK = 1 / os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A figure cannot be given: something failed, or the end state is not right."""


def cpu(pid):
    """Returns the seconds of CPU that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * _TICK


def peak_rss(pid):
    """Returns the largest resident set of a process so far, in MiB."""
    with open(f"/proc/{pid}/status") as file:
        return int(re.search(r"VmHWM:\s+(\d+) kB", file.read())[1]) / 1024


def threads(pid):
    """Returns the CPU seconds of a process's threads by name, the busiest first."""
    used = {}
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/stat") as file:
                head, tail = file.read().rsplit(")", 1)
        except OSError:
            continue
        fields = tail.split()
        name = f"{head.split('(', 1)[1]}/{task}"
        used[name] = round((int(fields[11]) + int(fields[12])) * _TICK, 2)
    return dict(sorted(used.items(), key=lambda item: -item[1]))


def machine():
    """Returns (busy, all) CPU seconds of the machine since it started."""
    with open("/proc/stat") as file:
        ticks = [int(field) for field in file.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) * _TICK, sum(ticks) * _TICK


def _tree(root):
    """Returns the CPU seconds of a process, its children and its former children; 0 where it cannot be seen."""
    total = 0.0
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as file:
                fields = file.read().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(entry) == root:
            total += sum(int(fields[i]) for i in (11, 12, 13, 14)) * _TICK
        elif int(fields[1]) == root:
            total += (int(fields[11]) + int(fields[12])) * _TICK
    return total


class Servers:
    """CPU of the services, where they are processes of this machine."""

    def __init__(self, folder, source, destination):
        self._roots = {}
        for name, connection in (("source", source), ("destination", destination)):
            self._note(name, self._postmaster(connection))
        for name in ("kafka", "clickhouse"):
            try:
                with open(os.path.join(folder, name, "pid")) as file:
                    self._note(name, int(file.read().split()[0]))
            except (OSError, ValueError, IndexError):
                pass

    def _note(self, name, pid):
        if pid and os.path.exists(f"/proc/{pid}"):
            self._roots[name] = pid

    @staticmethod
    def _postmaster(connection):
        try:
            with open(f"/proc/{int(connection.one('select pg_backend_pid()'))}/stat") as file:
                return int(file.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            return None

    def cpu(self):
        """Returns CPU seconds by service."""
        return {name: _tree(pid) for name, pid in self._roots.items()}


class Daemon:
    """A running `tripline publish` or `tripline apply`."""

    def __init__(self, binary, config, command, marker, log, perf=None):
        arguments = [binary, "-c", config, command]
        self.log_path = log
        self._log = open(log, "ab", buffering=0)
        self.ready_at = None
        self._ready = threading.Event()
        environment = dict(os.environ, RUST_LOG=os.environ.get("RUST_LOG", "info"), NO_COLOR="1")
        self._process = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
        )
        self.pid = self._process.pid
        self._perf = None
        if perf:
            record = ["perf", "record", "-q", "-F", "499", "--call-graph", "dwarf,8192", "-o", perf, "-p", str(self.pid)]
            self._perf = subprocess.Popen(record, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._reader = threading.Thread(target=self._read, args=(marker.encode(),), daemon=True)
        self._reader.start()

    def _read(self, marker):
        for line in self._process.stderr:
            if self.ready_at is None and marker in line:
                self.ready_at = time.monotonic()
                self._ready.set()
            self._log.write(line)
        self._ready.set()

    def wait_ready(self, seconds=60):
        """Waits until the daemon says that it works; returns when that was."""
        if not self._ready.wait(seconds) or self.ready_at is None:
            raise Failed(f"tripline did not start; its log is {self.log_path}")
        return self.ready_at

    def check(self):
        """Fails when the daemon has ended by itself."""
        if self._process.poll() is not None:
            raise Failed(f"tripline ended with {self._process.returncode}; its log is {self.log_path}")

    def stop(self):
        """Drains it: SIGTERM must end it with 0."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"tripline did not stop within 30 s; its log is {self.log_path}") from None
        if self._perf:
            self._perf.wait()
        if code != 0:
            raise Failed(f"tripline ended with {code}; its log is {self.log_path}")

    def kill(self):
        """Ends it at once."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
