"""A source and a destination of a scenario's own, set up as scripts/services.sh sets up the others, but wal_level."""

import os
import socket
import subprocess

from pg import Connection
from proc import Failed, Servers

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "services.sh")


class Pair:
    """Two servers with wal_level = logical, for the length of a `with`; pipelines made meanwhile go with them."""

    def __init__(self, bench):
        self._bench, self._before = bench, list(bench.pipelines)
        self._folder = os.path.join(bench.folder, "pair")
        ports = _free_ports(2)
        self._environment = dict(
            os.environ,
            TRIPLINE_SERVICES="native",
            TRIPLINE_SERVICES_DIR=self._folder,
            TRIPLINE_SOURCE_PORT=str(ports[0]),
            TRIPLINE_DESTINATION_PORT=str(ports[1]),
        )
        self.source, self.destination = (f"postgresql://postgres@127.0.0.1:{port}/postgres" for port in ports)

    def __enter__(self):
        try:
            self._services("up", "source", "destination")
            Connection(self.source).query("alter system set wal_level = 'logical'")
            self._services("down")
            self._services("up", "source", "destination")
        except BaseException:
            self._services("down", "--purge")
            raise
        self.servers = Servers(self._bench.services, Connection(self.source), Connection(self.destination))
        return self

    def __exit__(self, *_):
        for paths in [paths for paths in self._bench.pipelines if paths not in self._before]:
            self._bench.discard(paths)
        self._services("down", "--purge")

    def _services(self, *command):
        done = subprocess.run(
            [SCRIPT, *command], env=self._environment, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode != 0:
            raise Failed(f"services.sh {' '.join(command)}: {done.stderr.strip()}")


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
