//! Statements that keep what belongs together together, whoever else writes: see ledger.sql for what that is.

use rand::Rng as _;
use rand::rngs::StdRng;

use super::{KEYS, MOVE, moved};

/// The tables and their functions.
pub(crate) const LEDGER: &str = include_str!("ledger.sql");

/// Returns the next statements; `value` is a literal.
pub(super) fn unit(rng: &mut StdRng, value: &str) -> String {
    let (k, other) = (rng.random_range(1..=KEYS), rng.random_range(1..=KEYS));
    let last = k + if rng.random_bool(0.2) { 5 } else { 0 };
    let n = rng.random_range(0..1_000_000);
    match rng.random::<f64>() {
        x if x < 0.20 => format!("select transfer({k}, {other}, {n})"),
        x if x < 0.26 => format!("insert into accounts values ({k}, 0) on conflict do nothing"),
        x if x < 0.29 => format!("select close_account({k}, {other})"),
        x if x < 0.32 => moved("accounts", k, k, MOVE),
        x if x < 0.36 => moved("accounts", k + MOVE, k + MOVE, -MOVE),
        x if x < 0.52 => format!(
            "insert into lefts values ({k}, {n}, {value}) on conflict (id) do update set n = excluded.n, body = {value}; \
             insert into rights values ({k}, {n}) on conflict (id) do update set n = excluded.n"
        ),
        x if x < 0.58 => both(
            &format!("update lefts set n = n + 1 where id between {k} and {last}"),
            "update rights set n = n + 1",
        ),
        x if x < 0.64 => {
            both(&format!("delete from lefts where id between {k} and {last}"), "delete from rights")
        }
        x if x < 0.66 => move_both(k, last, MOVE),
        x if x < 0.68 => move_both(k + MOVE, last + MOVE, -MOVE),
        x if x < 0.82 => format!(
            "insert into parents values ({k}, {value}) on conflict (id) do update set body = {value}; \
             insert into children values ({other}, {value}, {k}) \
             on conflict (id) do update set parent = excluded.parent, body = excluded.body"
        ),
        x if x < 0.87 => format!("update children set body = {value} where parent between {k} and {last}"),
        // With its children.
        x if x < 0.91 => format!("delete from parents where id = {k}"),
        x if x < 0.93 => moved("parents", k, k, MOVE),
        x if x < 0.96 => moved("parents", k + MOVE, k + MOVE, -MOVE),
        // A key that goes and comes again in one transaction.
        _ => format!(
            "delete from children where id = {other}; insert into children select {other}, {value}, min(id) \
             from parents having min(id) is not null"
        ),
    }
}

/// Returns a statement that touches many rows, or all.
pub(super) fn heavy(rng: &mut StdRng, rows: i32) -> String {
    let k = rng.random_range(1..=KEYS);
    let bulk = super::BULK;
    match rng.random_range(0..6) {
        0 => format!("select collect({k})"),
        1 | 2 => format!(
            "insert into lefts select g, {k}, 'bulk' from generate_series({bulk}, {bulk} + {rows} - 1) g \
             on conflict (id) do update set n = {k}; \
             insert into rights select g, {k} from generate_series({bulk}, {bulk} + {rows} - 1) g \
             on conflict (id) do update set n = {k}"
        ),
        3 => both("update lefts set n = n - 1", "update rights set n = n - 1"),
        4 => "set local lock_timeout = '200ms'; truncate lefts, rights".into(),
        _ => "set local lock_timeout = '200ms'; truncate parents, children".into(),
    }
}

/// Changes the keys of pairs.
fn move_both(first: i32, last: i32, by: i32) -> String {
    let lefts = moved("lefts", first, last, by);
    format!(
        "with done as ({lefts} returning id - {by} as was) update rights set id = id + {by} where id in (select was from done)"
    )
}

/// Changes rows of `lefts`, and those of `rights` that belong to them.
fn both(lefts: &str, rights: &str) -> String {
    format!("with done as ({lefts} returning id) {rights} where id in (select id from done)")
}
