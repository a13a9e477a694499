#!/usr/bin/env python3
"""ClickHouse's HTTP interface in front of chdb, the ClickHouse engine as a Python module.

For demos and tests on machines without a ClickHouse server: SQL, storage, merges, deduplication and types
are ClickHouse's own; HTTP is done here, as far as the official Rust client and curl use it. No sessions,
no TLS, no native protocol, loopback only, one process per --path.

    pip install --no-deps chdb-core==26.9.0 lz4==4.4.5
    clickhouse-http.py --path DIR [--port 8123] [--port-file FILE] [--user NAME:PASSWORD]... [--faults]

--port 0 takes any free port, --port-file tells which. With --faults a test can ask for trouble:

    GET /_test/fault?kind=KIND&match=TEXT&count=N&value=VALUE

for the next N requests whose SQL contains TEXT. Kinds: drop_before and drop_after (the connection dies, before
or after the statement is done), delay (VALUE seconds), code (VALUE like 252:TOO_MANY_PARTS), clear (forget all).
"""
import argparse
import json
import os
import re
import secrets
import signal
import socket
import sys
import threading
import time
import uuid
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import lz4.block
import lz4.frame
from chdb import _chdb

MAX_QUERIES = 100

# URL parameters that are HTTP's own; every other one is a setting.
RESERVED = {
    "query", "database", "default_format", "user", "password", "quota_key", "query_id", "role", "compress",
    "decompress", "wait_end_of_query", "buffer_size", "stacktrace", "client_protocol_version",
}
STATUS = {
    name: status
    for status, names in {
        403: "AUTHENTICATION_FAILED",
        400: "BAD_ARGUMENTS CANNOT_PARSE_TEXT CANNOT_PARSE_ESCAPE_SEQUENCE CANNOT_PARSE_QUOTED_STRING CANNOT_PARSE_DATE "
             "CANNOT_PARSE_DATETIME CANNOT_PARSE_NUMBER CANNOT_PARSE_UUID CANNOT_PARSE_INPUT_ASSERTION_FAILED "
             "DUPLICATE_COLUMN ILLEGAL_COLUMN THERE_IS_NO_COLUMN SYNTAX_ERROR INCORRECT_DATA TYPE_MISMATCH",
        404: "UNKNOWN_TABLE UNKNOWN_FUNCTION UNKNOWN_IDENTIFIER UNKNOWN_TYPE UNKNOWN_STORAGE UNKNOWN_DATABASE "
             "UNKNOWN_SETTING UNKNOWN_AGGREGATE_FUNCTION UNKNOWN_FORMAT UNKNOWN_DATABASE_ENGINE",
        408: "TIMEOUT_EXCEEDED",
        413: "QUERY_IS_TOO_LARGE",
        501: "NOT_IMPLEMENTED",
    }.items()
    for name in names.split()
}

COMMENTS = r"\s*(?:(?:--[^\n]*\n|/\*.*?\*/)\s*)*"
INSERT = re.compile(r"\A" + COMMENTS + r"INSERT\s+INTO\b", re.I | re.S)
INSERT_FORMAT = re.compile(r"\A(?P<head>.*?)\bFORMAT\s+(?P<format>\w+)\s*;?\s*\Z", re.I | re.S)
SELECT = re.compile(r"\A" + COMMENTS + r"\(*\s*(?:SELECT|WITH)\b", re.I | re.S)
FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*(?:\bSETTINGS\b.*)?\Z", re.I | re.S)

# chdb formats every streamed chunk as a document of its own. These formats can simply be joined …
JOINABLE = set("rowbinary native jsoneachrow jsoncompacteachrow csv tabseparated tsv tabseparatedraw tsvraw".split())
# … these once the repeated header is cut off (so many lists of strings); all others are formatted whole, in memory.
HEADER_LISTS = {"rowbinarywithnames": 1, "rowbinarywithnamesandtypes": 2}


class Disconnected(Exception):
    """The client is gone, or shall believe that we are."""


class ClickHouseError(Exception):
    """An error as a server reports it: code, name, and text that carries both."""

    def __init__(self, code, name, message):
        self.code, self.name = code, name
        super().__init__(f"Code: {code}. DB::Exception: {message}. ({name}) (version {Handler.version} (official build))")

    @classmethod
    def of(cls, error):
        if isinstance(error, cls):
            return error
        text = str(error)
        code = re.search(r"Code: (\d+)\. (?:DB::Exception: )?", text)
        names = re.findall(r"\(([A-Z][A-Z0-9_]+)\)", text)
        message = text[code.end():] if code else text
        message = re.sub(r"\.?\s*\([A-Z][A-Z0-9_]+\)\s*(?:\(version [^\n]*)?\Z", "", message.strip())
        return cls(int(code[1]) if code else 1002, names[-1] if names else "UNKNOWN_EXCEPTION", message)

    @property
    def status(self):
        return STATUS.get(self.name, 500)


def quoted(text, mark):
    return mark + text.replace("\\", "\\\\").replace(mark, "\\" + mark) + mark


def joined(first, rest):
    if first:
        yield first
    yield from rest


def header_length(data, lists):
    """Bytes of a RowBinaryWithNames(AndTypes) header: a count, then that many strings per list."""

    def varint(at):
        value = shift = 0
        while True:
            byte = data[at]
            at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
            if byte < 128:
                return value, at

    count, at = varint(0)
    for _ in range(count * lists):
        size, at = varint(at)
        at += size
    return at


def decompressed(pieces):
    """ClickHouse's own compressed blocks (`decompress=1`): 16 bytes of checksum, method, two sizes, data."""
    pending = bytearray()

    def fill(size):
        while len(pending) < size:
            piece = next(pieces, b"")
            if not piece:
                return False
            pending.extend(piece)
        return True

    while fill(1):
        size = int.from_bytes(pending[17:21], "little") if fill(25) else 0
        if size < 9 or not fill(16 + size):
            raise ClickHouseError(33, "CANNOT_READ_ALL_DATA", "Cannot read all data of a compressed block")
        method, raw = pending[16], int.from_bytes(pending[21:25], "little")
        if method != 0x82:
            raise ClickHouseError(89, "UNKNOWN_COMPRESSION_METHOD", f"Unknown compression method {method:#x}")
        data = bytes(pending[25:16 + size])
        del pending[:16 + size]
        yield lz4.block.decompress(data, uncompressed_size=raw)


class Faults:
    """What a test has asked to go wrong."""

    def __init__(self):
        self.lock, self.pending = threading.Lock(), []

    def add(self, args):
        with self.lock:
            if args["kind"] == "clear":
                self.pending.clear()
            else:
                self.pending.append({"match": "", "value": "", **args, "count": int(args.get("count", 1))})

    def take(self, after, sql):
        taken = []
        with self.lock:
            for fault in list(self.pending):
                if fault["match"].lower() in sql.lower() and (fault["kind"] == "drop_after") == after:
                    taken.append(fault)
                    fault["count"] -= 1
                    if fault["count"] <= 0:
                        self.pending.remove(fault)
        return taken


class Handler(BaseHTTPRequestHandler):
    protocol_version, server_version = "HTTP/1.1", "ClickHouse"
    disable_nagle_algorithm, rbufsize, wbufsize, timeout = True, 1 << 18, 1 << 16, 600
    path_of_engine, version, timezone = "", "", ""
    users, faults, slots = {}, None, threading.BoundedSemaphore(MAX_QUERIES)

    def log_message(self, *args):
        pass

    # ---- request ----

    def do_GET(self):
        url = urlsplit(self.path)
        args = dict(parse_qsl(url.query, keep_blank_values=True))
        self.query_id = args.get("query_id") or str(uuid.uuid4())
        if url.path == "/ping" or (url.path == "/" and not url.query and self.command == "GET"):
            return self.reply(200, b"Ok.\n")
        if url.path == "/_test/fault" and self.faults:
            self.faults.add(args)
            return self.reply(200, b"Ok.\n")
        if url.path != "/":
            return self.reply(404, b"There is no handle " + url.path.encode() + b"\n")
        body, self.streaming = self.body(), False
        try:
            self.authenticate(args)
            if not self.slots.acquire(blocking=False):
                raise ClickHouseError(202, "TOO_MANY_SIMULTANEOUS_QUERIES", f"Too many simultaneous queries. Maximum: {MAX_QUERIES}")
            try:
                self.execute(args, body)
            finally:
                self.slots.release()
        except (Disconnected, ConnectionError, socket.timeout):
            self.close_connection = True
        except Exception as error:
            self.report(ClickHouseError.of(error), body)

    do_POST = do_GET

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            while size := int(self.line().split(b";")[0], 16):
                yield from self.bytes_of_body(size)
                self.line()
            while self.line().strip():
                pass
        else:
            yield from self.bytes_of_body(int(self.headers.get("Content-Length") or 0))

    def line(self):
        line = self.rfile.readline(65536)
        if not line.endswith(b"\n"):
            raise Disconnected
        return line

    def bytes_of_body(self, left):
        while left:
            piece = self.rfile.read(min(left, 1 << 20))
            if not piece:
                raise Disconnected
            left -= len(piece)
            yield piece

    def authenticate(self, args):
        user = self.headers.get("X-ClickHouse-User") or args.get("user") or "default"
        password = self.headers.get("X-ClickHouse-Key") or args.get("password") or ""
        if self.users.get(user) != password:
            raise ClickHouseError(516, "AUTHENTICATION_FAILED", f"{user}: Authentication failed: password is incorrect, or there is no user with such name")

    # ---- statements ----

    def execute(self, args, body):
        started = time.perf_counter()
        sql = args.get("query", "")
        params = {key[6:]: value for key, value in args.items() if key.startswith("param_")}
        if args.get("decompress") == "1":
            body = decompressed(body)
        insert = None
        if sql and INSERT.match(sql) and (match := INSERT_FORMAT.match(sql)) and match["format"].lower() != "values":
            insert, sql = match["format"], match["head"]
        elif self.headers.get("Content-Type", "").lower().startswith("multipart/form-data"):
            fields = self.form_fields(b"".join(body))
            sql += fields.pop("query", "")
            params.update({key.removeprefix("param_"): value for key, value in fields.items()})
        else:
            text = b"".join(body).decode("utf-8", "surrogateescape")
            sql = f"{sql}\n{text}" if sql and text else sql or text
        if not sql.strip():
            raise ClickHouseError(62, "SYNTAX_ERROR", "Syntax error: failed at position 1 (end of query): Empty query")

        # a connection per request (0.4 ms): neither settings nor the database leak into another one
        connection = _chdb.connect(self.path_of_engine)
        try:
            self.prepare(connection, args)
            self.fail_if_asked(False, sql)
            if self.command == "GET" and (insert or int(connection.classify_query(sql)["query_class"]) != 0):
                raise ClickHouseError(164, "READONLY", "Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries")
            if insert:
                self.insert(connection, started, sql, insert, body)
            else:
                self.query(connection, started, sql, params, args)
        finally:
            connection.close()

    def form_fields(self, body):
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1].encode()
        fields = {}
        for part in body.split(b"--" + boundary)[1:-1]:
            head, _, value = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
            name = re.search(rb'name="([^"]*)"', head)[1].decode()
            fields[name] = value.removesuffix(b"\r\n").decode()
        return fields

    def prepare(self, connection, args):
        database = args.get("database") or self.headers.get("X-ClickHouse-Database")
        if database:
            self.run(connection, "USE " + quoted(database, "`"))
        settings = [f"{quoted(key, '`')}={quoted(value, chr(39))}" for key, value in args.items()
                    if key not in RESERVED and not key.startswith("param_")]
        if settings:
            self.run(connection, "SET " + ", ".join(settings))

    def fail_if_asked(self, after, sql):
        for fault in self.faults.take(after, sql) if self.faults else ():
            if fault["kind"] == "delay":
                time.sleep(float(fault["value"]))
            elif fault["kind"] == "code":
                code, _, name = fault["value"].partition(":")
                raise ClickHouseError(int(code), name or "INJECTED", "Injected fault")
            else:
                self.connection.shutdown(socket.SHUT_RDWR)
                raise Disconnected

    @staticmethod
    def run(connection, sql, form="TabSeparated", params=None):
        result = connection.query(sql, form, params=params or {})
        if result.has_error():
            raise RuntimeError(result.error_message())
        return result

    def insert(self, connection, started, head, form, body):
        handle = connection.send_insert(head, form)
        try:
            for piece in body:
                if piece:
                    connection.insert_append(handle, piece)
        except BaseException:
            with suppress(Exception):
                connection.insert_cancel(handle)  # nothing of a broken upload is kept
            raise
        result = connection.insert_done(handle)
        if result.has_error():
            raise RuntimeError(result.error_message())
        self.fail_if_asked(True, head)
        written = (result.rows_written(), result.bytes_written())
        self.reply(200, b"", [self.summary(started, written, written)])

    def query(self, connection, started, sql, params, args):
        named = FORMAT.search(sql)
        form = named[1] if named else args.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated"
        headers = [("X-ClickHouse-Format", form)]
        shape = form.lower()
        if not SELECT.match(sql) or shape not in JOINABLE and shape not in HEADER_LISTS:
            result = self.run(connection, sql, form, params)
            self.fail_if_asked(True, sql)
            read, written = (result.storage_rows_read(), result.storage_bytes_read()), (result.rows_written(), result.bytes_written())
            return self.reply(200, bytes(result.bytes()), [self.summary(started, read, written), *headers], self.wants_lz4())
        handle = connection.send_query(sql, form, params=params)
        finished = False

        def pieces():
            nonlocal finished
            header = None
            while True:
                result = connection.streaming_fetch_result(handle)
                if result.has_error():
                    finished = True
                    raise RuntimeError(result.error_message())
                data = bytes(result.bytes() or b"")
                if not data:
                    finished = True
                    return
                if header is None and shape in HEADER_LISTS:
                    header = data[:header_length(data, HEADER_LISTS[shape])]
                elif header:
                    data = data.removeprefix(header)
                yield data

        stream = pieces()
        try:
            first = next(stream, b"")  # an error before the first row still gets a status and a code
            self.stream(joined(first, stream), [self.summary(started), *headers])
        finally:
            if not finished:
                with suppress(Exception):
                    connection.streaming_cancel_query(handle)

    # ---- response ----

    def wants_lz4(self):
        return "lz4" in [item.split(";")[0].strip() for item in self.headers.get("Accept-Encoding", "").lower().split(",")]

    @staticmethod
    def summary(started, read=(0, 0), written=(0, 0)):
        return ("X-ClickHouse-Summary", json.dumps({
            "read_rows": str(read[0]), "read_bytes": str(read[1]), "written_rows": str(written[0]), "written_bytes": str(written[1]),
            "total_rows_to_read": "0", "result_rows": str(written[0]), "result_bytes": str(written[1]),
            "elapsed_ns": str(int((time.perf_counter() - started) * 1e9))}, separators=(",", ":")))

    def head(self, status, headers):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("X-ClickHouse-Server-Display-Name", "chdb")
        self.send_header("X-ClickHouse-Query-Id", self.query_id)
        self.send_header("X-ClickHouse-Timezone", self.timezone)
        for name, value in headers:
            self.send_header(name, value)

    def reply(self, status, body, headers=(), compress=False):
        if compress and body:
            body, headers = lz4.frame.compress(body), [*headers, ("Content-Encoding", "lz4")]
        self.head(status, [*headers, ("Content-Length", str(len(body)))])
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def stream(self, pieces, headers):
        self.tag, self.compressor = secrets.token_hex(8), None
        headers = [*headers, ("X-ClickHouse-Exception-Tag", self.tag), ("Transfer-Encoding", "chunked")]
        if self.wants_lz4():
            self.compressor = lz4.frame.LZ4FrameCompressor()
            headers.append(("Content-Encoding", "lz4"))
        self.head(200, headers)
        self.end_headers()
        self.streaming = True
        self.chunk(self.compressor.begin() if self.compressor else b"")
        for piece in pieces:
            self.chunk(self.compressor.compress(piece) if self.compressor else piece)
        self.end_stream()

    def chunk(self, data):
        if data:
            self.wfile.write(b"%x\r\n" % len(data) + data + b"\r\n")
            self.wfile.flush()

    def end_stream(self):
        self.chunk(self.compressor.flush() if self.compressor else b"")
        self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def report(self, error, body):
        message = f"{error}\n".encode(errors="surrogateescape")
        try:
            if self.streaming:  # the status has gone out as 200: the exception follows in the body, marked with the tag
                tail = b"\r\n__exception__\r\n%s%d %s\r\n__exception__\r\n" % (
                    self.tag.encode() + b"\r\n" + message, len(message), self.tag.encode())
                self.chunk(self.compressor.compress(tail) if self.compressor else tail)
                return self.end_stream()
            for _ in body:  # a client that is still sending reads no answer
                pass
            self.reply(error.status, message, [("X-ClickHouse-Exception-Code", str(error.code))], self.wants_lz4())
        except (Disconnected, OSError):
            self.close_connection = True


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size, allow_reuse_address = True, 128, True

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True)
    parser.add_argument("--port", type=int, default=8123)
    parser.add_argument("--port-file")
    parser.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD")
    parser.add_argument("--faults", action="store_true")
    args = parser.parse_args()
    os.makedirs(args.path, exist_ok=True)
    _chdb.set_signal_handlers_enabled(False)
    Handler.path_of_engine = args.path + "?implicit_select=0"
    Handler.users = dict(user.split(":", 1) for user in args.user) or {"default": ""}
    Handler.faults = Faults() if args.faults else None
    keeper = _chdb.connect(Handler.path_of_engine)  # keeps the engine open between requests
    about = bytes(keeper.query("select version(), timezone()", "TabSeparated").bytes()).decode()
    Handler.version, Handler.timezone = about.strip().split("\t")
    server = Server(("127.0.0.1", args.port), Handler)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start())
    if args.port_file:
        with open(args.port_file + ".tmp", "w") as file:
            file.write(str(server.server_port))
        os.replace(args.port_file + ".tmp", args.port_file)
    print(f"ClickHouse {Handler.version} (chdb) on 127.0.0.1:{server.server_port}, data in {args.path}", flush=True)
    server.serve_forever(poll_interval=0.1)
    for _ in range(MAX_QUERIES):  # running statements finish, for at most five seconds in all
        if not Handler.slots.acquire(timeout=5):
            break
    keeper.close()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
