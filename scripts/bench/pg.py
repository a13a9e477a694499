"""libpq by ctypes: what psql uses is on every machine that has psql, a Python driver is not."""

import ctypes
import ctypes.util

_lib = ctypes.CDLL(ctypes.util.find_library("pq") or "libpq.so.5")
for _name, _returns in [
    ("PQconnectdb", ctypes.c_void_p),
    ("PQerrorMessage", ctypes.c_char_p),
    ("PQexec", ctypes.c_void_p),
    ("PQresultErrorMessage", ctypes.c_char_p),
    ("PQgetvalue", ctypes.c_char_p),
]:
    getattr(_lib, _name).restype = _returns
_FINE = (1, 2)  # PGRES_COMMAND_OK, PGRES_TUPLES_OK


class PgError(Exception):
    """A connection or statement that failed."""


class Connection:
    """One session; statements are committed one by one unless they say otherwise."""

    def __init__(self, url):
        self._conn = ctypes.c_void_p(_lib.PQconnectdb(url.encode()))
        if _lib.PQstatus(self._conn) != 0:
            raise PgError(_lib.PQerrorMessage(self._conn).decode().strip())
        self.query("set client_min_messages = warning")

    def query(self, sql):
        """Runs a statement; returns its rows as tuples of text (None for NULL)."""
        result = ctypes.c_void_p(_lib.PQexec(self._conn, sql.encode()))
        try:
            if _lib.PQresultStatus(result) not in _FINE:
                raise PgError(f"{_lib.PQresultErrorMessage(result).decode().strip()}\n  in: {sql[:200]}")
            columns = range(_lib.PQnfields(result))
            return [tuple(_value(result, row, column) for column in columns) for row in range(_lib.PQntuples(result))]
        finally:
            _lib.PQclear(result)

    def one(self, sql):
        """Runs a statement; returns the first value of its only row."""
        return self.query(sql)[0][0]

    def close(self):
        """Ends the session."""
        if self._conn:
            _lib.PQfinish(self._conn)
            self._conn = None


def _value(result, row, column):
    if _lib.PQgetisnull(result, row, column):
        return None
    return _lib.PQgetvalue(result, row, column).decode()


def in_database(url, database):
    """Returns a server's URL with another database."""
    return url.rsplit("/", 1)[0] + "/" + database
