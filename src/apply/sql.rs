//! Texts of the statements that apply a batch. Values never come in here; `encode` writes them between these texts.

use super::schema::{Shape, type_schema};
use crate::consume::{Progress, Sweep};
use crate::table::{quote_ident, quote_literal};
use crate::wire::Cut;

/// Opens the transaction. The role's defaults may be others.
pub(super) const BEGIN: &str = "begin isolation level read committed";
/// Checks at the end what may be checked at the end, as the source did.
pub(super) const DEFER: &str = "set constraints all deferred";
/// What a failed attempt goes back to.
pub(super) const SAVEPOINT: &str = "savepoint tripline";
/// What a single change goes back to that cannot be applied yet.
pub(super) const ONE: &str = "savepoint tripline_one";
/// Undoes a single change.
pub(super) const BACK_ONE: &str = "rollback to savepoint tripline_one; release savepoint tripline_one";
/// Closes a single change.
pub(super) const KEEP_ONE: &str = "release savepoint tripline_one";
/// Opens a further batch of the same transaction.
pub(super) const NEXT: &str = "savepoint tripline_batch";
/// Undoes a further batch.
pub(super) const UNDO: &str = "rollback to savepoint tripline_batch; release savepoint tripline_batch";
/// Closes a batch without a commit.
pub(super) const KEEP: &str = "release savepoint tripline";
/// Closes a further batch without a commit.
pub(super) const KEEP_NEXT: &str = "release savepoint tripline_batch";
/// Undoes a failed attempt.
pub(super) const BACK: &str = "rollback to savepoint tripline";
/// Brings the errors of deferred constraints before the commit, where going back is still possible.
pub(super) const CHECK: &str = "set constraints all immediate";

fn idents<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| quote_ident(name)).collect();
    names.join(", ")
}

/// The prepared texts for one table at one schema version.
#[derive(Debug, Clone)]
pub(super) struct Texts {
    /// `insert into t (…) overriding system value`; `values …` or a SELECT follows.
    pub(super) insert: String,
    /// `update t set (…) = row`; the row in parentheses and a condition follow.
    pub(super) update: String,
    /// ` on conflict (…) do …`; empty where no key tells rows apart.
    pub(super) on_conflict: String,
    /// `delete from t where `; the keys follow.
    pub(super) delete: String,
    /// Per key column `"id" operator("pg_catalog".=) `; the value follows.
    pub(super) compare: Vec<String>,
    /// The same, for a literal to follow.
    pub(super) equals: Vec<String>,
}

/// Prepares the texts of a table.
pub(super) fn texts(shape: &Shape) -> Texts {
    let target = &shape.target;
    let columns = idents(shape.columns.iter().map(|slot| &slot.name));
    let overriding = overriding(shape);
    let key = idents(shape.key.iter().map(|slot| &slot.name));
    let updates: Vec<String> = shape
        .columns
        .iter()
        .filter(|slot| !shape.key.iter().any(|key| key.name == slot.name))
        .map(|slot| quote_ident(&slot.name))
        .map(|name| format!("{name} = excluded.{name}"))
        .collect();
    // A table of keys alone is written too: its rows' age tells which of them a sweep takes away.
    let first = || shape.key.first().map(|slot| quote_ident(&slot.name)).unwrap_or_default();
    let action = match updates.is_empty() {
        true => format!("update set {0} = excluded.{0}", first()),
        false => format!("update set {}", updates.join(", ")),
    };
    let compare = |(slot, operator): (&super::encode::Slot, &String)| {
        format!("{target}.{} {operator} ", quote_ident(&slot.name))
    };
    let compare: Vec<String> = shape.key.iter().zip(&shape.operators).map(compare).collect();
    let typed = |(compare, declared): (&String, &String)| format!("{compare}{}", literal_type(declared));
    Texts {
        insert: format!("insert into {target} ({columns}){overriding} "),
        update: format!("update {target} set ({columns}) = row"),
        on_conflict: match shape.key.is_empty() {
            true => String::new(),
            false => format!(" on conflict ({key}) do {action}"),
        },
        delete: format!("delete from {target} where "),
        equals: compare.iter().zip(&shape.key_types).map(typed).collect(),
        compare,
    }
}

fn overriding(shape: &Shape) -> &'static str {
    if shape.overriding { " overriding system value" } else { "" }
}

/// Asks how a row of one column would be written, which reads the value and writes nothing; the row in parentheses
/// follows.
pub(super) fn plan_one(shape: &Shape, column: &str) -> String {
    format!("explain insert into {} ({}){} values ", shape.target, quote_ident(column), overriding(shape))
}

/// Returns what stands in front of a key's literal: its type, where the operator is one of another type (`record`, `oid`)
/// and would have the literal read as that one. Never with a length, to which it would cut the value.
fn literal_type(declared: &str) -> String {
    let own = declared.starts_with("reg") || type_schema(declared).is_some();
    match own && !declared.contains(['(', '[']) {
        true => format!("{declared} "),
        false => String::new(),
    }
}

/// A stage: a temporary table that COPY fills and one statement empties into the destination.
#[derive(Debug, Clone)]
pub(super) struct StageTexts {
    /// Creates it.
    pub(super) create: String,
    /// Fills it.
    pub(super) copy: String,
    /// Applies it.
    pub(super) apply: String,
    /// Empties it before the commit does.
    pub(super) empty: String,
}

/// Prepares the stage of a table's upserts; `name` is the stage's. Its columns have the destination's types with
/// length and precision, so that their input functions read the values.
pub(super) fn upsert_stage(shape: &Shape, texts: &Texts, name: &str) -> StageTexts {
    let columns = idents(shape.columns.iter().map(|slot| &slot.name));
    let (insert, on_conflict) = (&texts.insert, &texts.on_conflict);
    StageTexts {
        create: create_stage(name, shape.columns.iter().map(|slot| &slot.name).zip(&shape.types)),
        copy: format!("copy pg_temp.{} ({columns}) from stdin", quote_ident(name)),
        apply: format!("{insert}select {columns} from pg_temp.{}{on_conflict}", quote_ident(name)),
        empty: format!("truncate pg_temp.{}", quote_ident(name)),
    }
}

/// Brings rows into the table itself.
pub(super) fn copy_into(shape: &Shape) -> String {
    format!("copy {} ({}) from stdin", shape.target, idents(shape.columns.iter().map(|slot| &slot.name)))
}

/// Fails where [`copy_into`] cannot begin, and keeps the table from being altered before it does. Writes nothing.
pub(super) fn check_insert(shape: &Shape, texts: &Texts) -> String {
    format!("explain {}select {} where false", texts.insert, vec!["null"; shape.columns.len()].join(", "))
}

/// Prepares the stage of a table's deletes.
pub(super) fn delete_stage(shape: &Shape, texts: &Texts, name: &str) -> StageTexts {
    let names = || shape.key.iter().map(|slot| &slot.name);
    let stage = quote_ident(name);
    let equal: Vec<String> =
        texts.compare.iter().zip(names()).map(|(c, key)| format!("{c}s.{}", quote_ident(key))).collect();
    StageTexts {
        create: create_stage(name, names().zip(&shape.key_types)),
        copy: format!("copy pg_temp.{stage} ({}) from stdin", idents(names())),
        apply: format!("delete from {} using pg_temp.{stage} s where {}", shape.target, equal.join(" and ")),
        empty: format!("truncate pg_temp.{stage}"),
    }
}

fn create_stage<'a>(name: &str, columns: impl Iterator<Item = (&'a String, &'a String)>) -> String {
    let columns: Vec<String> =
        columns.map(|(name, declared)| format!("{} {declared}", quote_ident(name))).collect();
    format!("create temporary table {} ({}) on commit delete rows", quote_ident(name), columns.join(", "))
}

/// Moves all positions of a batch, or fails with `division_by_zero` (22012) when one of them is not where the batch
/// expects it: the transaction then cannot commit, whoever reads the answer.
pub(super) fn move_positions(pipeline: &str, progress: &[Progress], covered: i64, epoch: u64) -> String {
    let rows: Vec<String> = progress
        .iter()
        .map(|step| {
            let expected = step.expected.map_or("null".to_owned(), |offset| offset.to_string());
            format!(
                "({}::text, {}::int4, {expected}::int8, {}::int8)",
                quote_literal(&step.topic),
                step.partition,
                step.next
            )
        })
        .collect();
    format!(
        include_str!("../../sql/apply/move_positions.sql"),
        pipeline = quote_literal(pipeline),
        rows = rows.join(", "),
        covered = covered,
        epoch = epoch,
        count = progress.len()
    )
}

/// Notes the last cut.
pub(super) fn note_cut(pipeline: &str, cut: &Cut) -> String {
    format!(
        include_str!("../../sql/apply/note_cut.sql"),
        pipeline = quote_literal(pipeline),
        epoch = cut.epoch,
        pass = cut.pass,
        part = cut.part,
        done = cut.done,
        rows = cut.rows,
        offset = cut.position.offset,
        micros = cut.source_micros,
    )
}

/// Notes that the copying of a table's rows begins in this transaction.
///
/// Fails with `division_by_zero` (22012) where a trigger of `target` could keep a row from being written.
pub(super) fn begin_sweep(pipeline: &str, sweep: &Sweep, target: &str) -> String {
    let target = target.replace('\'', "''");
    fill_sweep(include_str!("../../sql/apply/sweep_begin.sql"), pipeline, sweep, &target)
}

/// Fails with `division_by_zero` (22012) when the beginning was never noted.
pub(super) fn known_sweep(pipeline: &str, sweep: &Sweep) -> String {
    fill_sweep(include_str!("../../sql/apply/sweep_known.sql"), pipeline, sweep, "")
}

/// Removes the rows of `target` that nothing has written since the beginning.
pub(super) fn end_sweep(pipeline: &str, sweep: &Sweep, target: &str) -> String {
    fill_sweep(include_str!("../../sql/apply/sweep_end.sql"), pipeline, sweep, target)
}

fn fill_sweep(sql: &str, pipeline: &str, sweep: &Sweep, target: &str) -> String {
    sql.replace("{pipeline}", &quote_literal(pipeline))
        .replace("{table}", &quote_literal(&sweep.table.name.quoted()))
        .replace("{run}", &sweep.run.to_string())
        .replace("{target}", target)
}

/// The lock that one applier of a pipeline holds at a destination, as an SQL expression.
pub(super) fn lock_key(pipeline: &str) -> String {
    format!("hashtextextended({}, 0)", quote_literal(&format!("tripline apply {pipeline}")))
}

#[cfg(test)]
mod tests {
    use super::super::encode::Slot;
    use super::*;
    use crate::table::{Kind, Scalar};

    fn shape(columns: &[&str], key: &[&str]) -> Shape {
        let slot = |(hint, name): (usize, &&str)| Slot {
            name: (*name).into(),
            member: (*name).into(),
            hint,
            kind: Kind::Scalar(Scalar::Text),
            constant: None,
        };
        Shape {
            oid: 1,
            target: "\"s\".\"t\"".into(),
            columns: columns.iter().enumerate().map(slot).collect(),
            types: columns.iter().map(|_| "character varying(3)".into()).collect(),
            key: key.iter().enumerate().map(slot).collect(),
            key_types: key.iter().map(|_| "public.citext".into()).collect(),
            operators: key.iter().map(|_| "operator(\"public\".=)".into()).collect(),
            overriding: false,
            parents: Vec::new(),
            cascades: false,
            rules: false,
        }
    }

    #[test]
    fn upserts_set_everything_but_the_key() {
        let shape = Shape { overriding: true, ..shape(&["a", "id", "B\"c"], &["id"]) };
        let texts = texts(&shape);
        assert_eq!(texts.insert, r#"insert into "s"."t" ("a", "id", "B""c") overriding system value "#);
        assert_eq!(
            texts.on_conflict,
            r#" on conflict ("id") do update set "a" = excluded."a", "B""c" = excluded."B""c""#
        );
        assert_eq!(texts.compare, [r#""s"."t"."id" operator("public".=) "#]);
        assert_eq!(texts.equals, [r#""s"."t"."id" operator("public".=) public.citext "#]);
        let types =
            ["regtype", "integer", "integer[]", "public.code(3)", "public.pair[]", "character varying(3)"];
        assert_eq!(types.map(literal_type), ["regtype ", "", "", "", "", ""]);
    }

    #[test]
    fn a_row_of_a_table_of_keys_alone_is_written_again() {
        let texts = texts(&shape(&["a", "b"], &["b", "a"]));
        assert_eq!(texts.on_conflict, r#" on conflict ("b", "a") do update set "b" = excluded."b""#);
    }

    #[test]
    fn stages_have_the_types_of_the_destination() {
        let shape = shape(&["a", "id"], &["id"]);
        let texts = texts(&shape);
        let rows = upsert_stage(&shape, &texts, "tripline_1");
        assert_eq!(
            rows.create,
            r#"create temporary table "tripline_1" ("a" character varying(3), "id" character varying(3)) on commit delete rows"#
        );
        assert_eq!(rows.copy, r#"copy pg_temp."tripline_1" ("a", "id") from stdin"#);
        assert!(rows.apply.contains(r#"select "a", "id" from pg_temp."tripline_1" on conflict"#));
        assert_eq!(
            delete_stage(&shape, &texts, "k").apply,
            r#"delete from "s"."t" using pg_temp."k" s where "s"."t"."id" operator("public".=) s."id""#
        );
    }

    #[test]
    fn positions_move_all_or_none() {
        let step = |expected| Progress { topic: "a'b".into(), partition: 3, expected, next: 9 };
        let sql = move_positions("p", &[step(None), step(Some(4))], 7, 2);
        assert!(sql.contains(
            "('a''b'::text, 3::int4, null::int8, 9::int8), ('a''b'::text, 3::int4, 4::int8, 9::int8)"
        ));
        assert!(sql.contains("= 2"));
    }
}
