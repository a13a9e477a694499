"""Figures that have a goal and a floor, and the CPU of single sessions at the source."""


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


def say(bench, name, value, unit, goal, floor, **more):
    """Notes and prints a figure that may not exceed its goal, or else its floor."""
    met = "goal met" if value <= goal else "floor met" if value <= floor else "floor missed"
    bench.results.append({"name": name, "value": round(value, 3), "unit": unit, "goal": goal, "floor": floor, **more})
    rest = ", ".join(f"{key.replace('_', ' ')} {amount:,}" for key, amount in more.items() if not isinstance(amount, list))
    print(f"{name:<40}{value:>9.2f} {unit} (goal {goal}, floor {floor}: {met})   {rest}", flush=True)
