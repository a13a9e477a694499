"""The table that the drains move, its loads, and the pipelines that start in front of them."""

import sys

from bench import DELIVERIES, Run
from pg import Connection
from proc import Failed

TRANSACTION_ROWS = 5_000
ITEM = """create table item (
    id bigint primary key, account int not null, status text not null, amount numeric(12,2) not null,
    created timestamptz not null, active boolean not null, code uuid not null, note text not null)"""
COLUMNS = "id, account, status, amount, created, active, code, note"
# ClickHouse has another hash: four bytes of MD5 over columns whose text is the same on both sides, and sums.
DIGEST_POSTGRES = """select count(*), trim_scale(sum(amount)), count(*) filter (where active),
    sum((extract(epoch from created) * 1000000)::numeric)::numeric(30,0),
    sum(('x' || substr(md5(concat_ws('|', id, account, status, code, note)), 1, 8))::bit(32)::bigint) from item"""
DIGEST_CLICKHOUSE = """select count(), toString(sum(toDecimal128(amount, 2))), countIf(active),
    toString(sum(toInt128(toUnixTimestamp64Micro(created)))),
    sum(reinterpretAsUInt32(reverse(substring(MD5(concatWithSeparator('|', toString(id), toString(account), status,
    toString(code), note)), 1, 4)))) from {table} final where _deleted = 0 format TSV"""


class Bench(Run):
    """A run with the load of inserts, and of updates behind it, that several scenarios share."""

    def __init__(self, arguments):
        super().__init__(arguments)
        self.loaded = None
        self.changed = None
        self.pipes = {}
        self.filled = set()

    def load(self):
        """Loads the source once: the log holds one insert for every row, and the pipelines start in front of it."""
        if self.loaded:
            return
        print(f"loading {self.rows:,} rows in transactions of {TRANSACTION_ROWS:,}", file=sys.stderr)
        self.loaded = self.database(self.name)
        session = Connection(self.loaded[0])
        session.query(ITEM)
        # Pipelines first, so that capture is on; a destination each, since every one of them applies everything.
        for delivery in DELIVERIES:
            self.pipes[delivery] = self.pipe("eo" if delivery == "exactly_once" else "al", delivery)
        self.insert(session)
        self.settle(session)

    def pipe(self, short, delivery):
        """Makes a pipeline from the loaded table to a destination of its own, with a mirror if it is exactly once."""
        name = f"{self.name}_{short}"
        url = self.target(name)
        paths = self.pipeline(name, self.loaded[0], url, delivery, short == "eo")
        paths["destination"] = url
        return paths

    def insert(self, session):
        """Fills the table, in transactions of some thousand rows."""
        for first in range(1, self.rows + 1, TRANSACTION_ROWS):
            last = min(first + TRANSACTION_ROWS - 1, self.rows)
            session.query(
                f"""insert into item select g, g % 9973, (array['new','paid','sent','done'])[1 + g % 4],
                (g::bigint * 7919 % 10000000) / 100.0, now() - make_interval(secs => g % 86400), g % 3 = 0,
                md5(g::text)::uuid, md5(g::text) || md5((g + 1)::text) || substr(md5((g + 2)::text), 1, 28)
                from generate_series({first}, {last}) g"""
            )

    def settle(self, session):
        """Brings the source to rest, so that no run pays for another one's vacuum or checkpoint; notes the end."""
        session.query("vacuum (analyze) cdc.item_cdc")
        session.query("checkpoint")
        self.last_xid = int(session.one("select cdc_txid from cdc.item_cdc order by cdc_id desc limit 1"))
        self.logged = int(session.one("select count(*) from cdc.item_cdc"))

    def change(self):
        """Loads once, behind the inserts, half as many updates of random keys; `changed` is how many there are."""
        if self.changed:
            return
        self.load()
        before = self.logged
        session = Connection(self.loaded[0])
        self.update(session)
        self.settle(session)
        self.changed = self.logged - before

    def update(self, session):
        """Updates random keys, half as many as there are rows."""
        count = max(self.rows // 2, 1)
        session.query("select setseed(0.5)")
        for first in range(0, count, TRANSACTION_ROWS):
            session.query(
                f"""update item set status = 'changed', amount = amount + 1, note = reverse(note)
                where id in (select 1 + floor(random() * {self.rows})::bigint
                from generate_series(1, {min(TRANSACTION_ROWS, count - first)}))"""
            )

    def fill(self, delivery, reported):
        """Publishes all inserts, once for each kind of delivery."""
        self.load()
        if delivery in self.filled:
            return
        self.publish(self.pipes[delivery], f"drain-kafka {delivery}", self.logged, reported)
        self.filled.add(delivery)

    def fill_changes(self, reported):
        """Publishes all updates, once."""
        self.change()
        if "updates" not in self.filled:
            self.publish(self.pipes["exactly_once"], "drain-kafka exactly_once updates", self.changed, reported)
            self.filled.add("updates")

    def fill_live(self):
        """Publishes the same updates of the same keys once more, this time while they are made; returns in how many passes."""
        self.fill_changes(False)
        paths, session = self.pipes["exactly_once"], Connection(self.loaded[0])
        there, before = self.behind(paths, "postgres")[1], self.stored(paths)["pass"]
        daemon = self.daemon(paths, "full", "publish")
        daemon.wait_ready()
        self.update(session)
        last = int(session.one("select pg_sequence_last_value('cdc.cdc_id_seq')"))
        self.until("updates, live", lambda: self.settled(paths, last), [daemon], 0.05)
        daemon.stop()
        self.settle(session)
        self.verify_topics(paths, there + self.changed)
        return self.stored(paths)["pass"] - before

    def publish(self, paths, name, changes, reported):
        """Publishes `changes` changes, onto topics that may hold others."""
        there = self.behind(paths, "postgres")[1]
        daemon = self.daemon(paths, "full", "publish")
        done = lambda: self.published(paths, self.last_xid)
        verify = lambda: self.verify_topics(paths, there + changes)
        if reported:
            self.measure(name, changes, {"publish": daemon}, done, verify)
        else:
            self.until(name, done, [daemon], 0.05)
            daemon.stop()
            verify()

    def apply(self, paths, name, changes):
        """Applies `changes` changes that are on the topics to PostgreSQL, and verifies its rows."""
        watch = Connection(paths["destination"])
        self.measure(
            name,
            changes,
            {"apply": self.daemon(paths, "postgres", "apply")},
            lambda: self.applied(watch, paths),
            lambda: self.verify_postgres(self.loaded[0], paths["destination"], "item", COLUMNS),
        )

    def verify_clickhouse(self, source, paths, table="item"):
        """Fails unless a table of the mirror's database has the source's rows, by number, sums and hash."""
        want = "\t".join(Connection(source).query(DIGEST_POSTGRES)[0])
        found = self.ask_clickhouse(DIGEST_CLICKHOUSE.format(table=f"{paths['name']}.{table}"))
        if want != found:
            raise Failed(f"clickhouse: (rows, sums) of {table} is {found.split()} instead of {want.split()}")
