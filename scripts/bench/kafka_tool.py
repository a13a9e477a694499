"""The program `bench-kafka` (kafka.rs): a bare producer, and a reader that says when messages came."""

import json
import os
import subprocess
import threading

from proc import Failed


def _command(bench, *arguments):
    program = os.path.join(os.path.dirname(bench.arguments.binary), "examples", "bench-kafka")
    if not os.path.exists(program):
        raise Failed(f"{program} is missing: cargo build --release --example bench-kafka")
    command, *rest = arguments
    return [program, command, bench.kafka, *map(str, rest)]


def produce(bench, source, messages):
    """Sends messages like those of topic `source` to a topic of its own; returns what the producer says of it."""
    topic = f"{bench.name}.produce"
    return _sent(bench, [topic], "produce", source, topic, messages)


def spread(bench, source, messages, topics):
    """The same over many topics, in transactions of a window each."""
    topic = f"{bench.name}.spread{topics}"
    return _sent(bench, [f"{topic}.{number}" for number in range(topics)], "spread", source, topic, messages, topics)


def _sent(bench, topics, *arguments):
    try:
        done = subprocess.run(_command(bench, *arguments), capture_output=True, text=True, timeout=300, check=False)
    finally:
        subprocess.run(_command(bench, "delete", *topics), timeout=60, check=False)
    if done.returncode != 0:
        raise Failed(f"bench-kafka: {done.stderr.strip()}")
    return json.loads(done.stdout)


class Watch:
    """Reads a topic as readers of committed messages do; `seen` has (µs since 1970, key) of each that has come."""

    def __init__(self, bench, topic):
        self.seen = []
        self._ready = threading.Event()
        self._process = subprocess.Popen(_command(bench, "watch", topic), stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(60) or self._process.poll() is not None:
            self.close()
            raise Failed(f"bench-kafka does not read {topic}")

    def _read(self):
        for line in self._process.stdout:
            if line == "ready\n":
                self._ready.set()
            else:
                at, key = line.split(" ", 1)
                self.seen.append((int(at), key.strip()))
        self._ready.set()

    def close(self):
        """Ends the reader."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
