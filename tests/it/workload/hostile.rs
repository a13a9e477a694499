//! Statements that write a table from within themselves, and what else makes capture hard.

use rand::Rng as _;
use rand::rngs::StdRng;
use tripline::table::quote_ident;

use super::BULK;

/// Triggers of the user's that write the same tables again, and functions that do so for whoever calls them.
pub(crate) fn user_triggers() -> String {
    let template = include_str!("user_triggers.sql");
    let of = |t: &str, other: &str| {
        template.replace("{{bulk}}", &BULK.to_string()).replace("{{t}}", t).replace("{{other}}", other)
    };
    // What is not captured stands aside.
    "create schema aside;".to_owned() + &of("a", "b") + &of("b", "a")
}

/// Row security that hides every fourth row from a role, which may do everything else.
pub(crate) fn policies(role: &str) -> String {
    include_str!("policies.sql").replace("{{role}}", &quote_ident(role))
}

/// Returns a statement on two tables around one of the keys, `[key, highest]`; `v` is a literal.
pub(super) fn statement(
    rng: &mut StdRng,
    [t, other]: [&str; 2],
    [k, highest]: [i32; 2],
    v: &str,
    merges: bool,
) -> String {
    let last = k + rng.random_range(0..4);
    let free = rng.random_range(1..=highest);
    let found = format!("id between {k} and {last}");
    let series = format!("generate_series({k}, {last}) g");
    match rng.random_range(0..if merges { 11 } else { 9 }) {
        0 => format!("insert into {t} select g, {v} from {series} on conflict do nothing"),
        1 => format!(
            "insert into {t} select g, {v} from {series} on conflict (id) do update set v = excluded.v where {t}.id % 2 = 0"
        ),
        2 => format!("update {t} set v = {t}_meddle(id) where {found}"),
        3 => format!("delete from {t} where {found} and {t}_meddle(id) is not null"),
        4 => format!(
            "insert into {t} select g, {t}_meddle(g) from {series} \
             on conflict (id) do update set v = excluded.v || {t}_meddle({t}.id)"
        ),
        5 => format!(
            "with d as (delete from {t} where {found} returning id, v) insert into {t} select id, v from d limit 1"
        ),
        6 => format!(
            "with d as (delete from {t} where {found} returning id, v) \
             insert into {other} select id, v from d limit 1 on conflict do nothing"
        ),
        7 => format!(
            "with u as (update {t} set v = v || '+c' where id = {k}), i as (insert into {t} values ({free}, {v}) \
             on conflict (id) do update set v = excluded.v) delete from {t} where id = {last} + 1"
        ),
        8 => format!(
            "insert into {t} select id, {v} from {other} where {found} on conflict (id) do update set v = {v}"
        ),
        n => {
            let call = if n == 9 { format!("{t}_meddle(s.id)") } else { "s.v".to_owned() };
            format!(
                "merge into {t} using (select g as id, {v} as v from {series}) s on {t}.id = s.id \
                 when matched and {t}.id % 3 = 0 then delete when matched then update set v = {call} \
                 when not matched then insert values (s.id, s.v)"
            )
        }
    }
}
