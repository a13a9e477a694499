"""The CPU of single sessions at the source."""


class Backends:
    """CPU that a pipeline's sessions at the source use, each a process of this machine."""

    def __init__(self, session):
        self._session, self._first, self._last = session, {}, {}
        self.look()
        self._first = dict(self._last)

    def look(self):
        """Looks again; a session that ends between two looks counts up to the last one."""
        rows = self._session.query(
            "select pid from pg_stat_activity where datname = current_database() and application_name like 'tripline %'"
        )
        for (pid,) in rows:
            self._last[pid] = run_time(int(pid))

    def used(self):
        """Returns the seconds of CPU since the first look."""
        self.look()
        # One that came meanwhile counts from its start.
        return sum(last - self._first.get(pid, 0) for pid, last in self._last.items())


def run_time(pid):
    """Returns the seconds that a process of one thread has run, by the nanosecond."""
    try:
        with open(f"/proc/{pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9
    except OSError as error:
        raise ValueError(f"the source has to run on this machine: {error}") from error
