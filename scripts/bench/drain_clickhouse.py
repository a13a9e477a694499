"""The scenario `drain-clickhouse`: full topics into ClickHouse, and the same rows inserted by a client that only sends."""

import os
import urllib.parse
import urllib.request

from proc import Failed


def run(bench):
    bench.fill("exactly_once", False)
    paths = bench.pipes["exactly_once"]
    daemon = bench.daemon(paths, "clickhouse", "apply")
    count = f"select count() from {paths['name']}.item"

    def verify():
        bench.verify_clickhouse(bench.loaded[0], paths)
        if bench.behind(paths, "clickhouse")[1] != 0:
            raise Failed("clickhouse: its progress is not saved to the end")

    bench.measure(
        "drain-clickhouse exactly_once inserts",
        bench.logged,
        {"apply": daemon},
        lambda: int(bench.ask_clickhouse(count)) >= bench.logged,
        verify,
    )
    if "ceilings" in bench.arguments.only:
        _ceiling(bench, paths)


def _ceiling(bench, paths):
    """Inserts the mirrored rows into an equal table, in as many rows at a time as the mirror did."""
    database = paths["name"]
    # Parts that were merged away stay visible for minutes; those of one block are what was inserted.
    sizes = bench.ask_clickhouse(
        f"select rows from system.parts where database = '{database}' and table = 'item' "
        "and min_block_number = max_block_number order by min_block_number format TSV"
    )
    sizes = [int(size) for size in sizes.split()]
    if sum(sizes) != bench.logged:
        raise Failed(f"clickhouse: the parts of its inserts hold {sum(sizes)} rows of {bench.logged}")
    columns = bench.ask_clickhouse(
        f"select name from system.columns where database = '{database}' and table = 'item' "
        "and default_kind = '' order by position format TSV"
    ).replace("\n", ", ")
    files = _dump(bench, f"{database}.item", columns, sizes)
    bench.ask_clickhouse(f"create table {database}.item_ceiling as {database}.item")
    insert = f"insert into {database}.item_ceiling ({columns}) format RowBinary"
    address = f"{bench.clickhouse}/?{urllib.parse.urlencode({'query': insert, 'async_insert': 0})}"

    def work():
        for file in files:
            with open(file, "rb") as rows, urllib.request.urlopen(address, data=rows.read(), timeout=120) as answer:
                answer.read()

    verify = lambda: bench.verify_clickhouse(bench.loaded[0], paths, "item_ceiling")
    bench.ceiling("ceiling: insert into ClickHouse", bench.logged, work, verify)
    bench.ask_clickhouse(f"drop table {database}.item_ceiling")
    for file in files:
        os.remove(file)


def _dump(bench, table, columns, sizes):
    """Writes the rows of each insert to a file of its own, as ClickHouse takes them; returns the files' names."""
    versions = bench.ask_clickhouse(f"select _version from {table} order by _version format TSV").split()
    files, first = [], 0
    for number, size in enumerate(sizes):
        low, high = versions[first], versions[first + size - 1]
        first += size
        select = f"select {columns} from {table} where _version between {low} and {high} format RowBinary"
        files.append(os.path.join(bench.folder, f"rows-{number}"))
        with urllib.request.urlopen(bench.clickhouse, data=select.encode(), timeout=120) as answer:
            with open(files[-1], "wb") as file:
                file.write(answer.read())
    return files
