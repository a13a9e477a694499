//! Turns the files under `sql/capture/` into statements for one table. Pure text; identifiers are quoted here.

use crate::selection::Selection;
use crate::session::EXACT_TEXT;
use crate::table::{CaptureMode, Column, TableName, quote_ident, quote_literal};

use super::registry::Captured;
use super::row::{self, base_type};
use super::{name, template};

/// What the tags around function bodies begin with; no name may contain it.
pub(super) const TAGS: &str = "$tripline";

/// Replaces every `{{name}}` of a template by its value, in one go: values are not looked at again.
///
/// A template that names what is not given is a programmer's error, which the tests below would show.
pub(crate) fn render(template: &str, values: &[(&str, &str)]) -> String {
    let mut sql = String::with_capacity(template.len() * 2);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").expect("placeholders of our own templates are closed");
        let value = values.iter().find(|(given, _)| *given == name);
        sql.push_str(before);
        sql.push_str(value.unwrap_or_else(|| panic!("template without a value for {name}")).1);
        rest = after;
    }
    sql.push_str(rest);
    sql
}

/// Settings of a log table by name, and what `init` sets them to where they are not set: by default a table is vacuumed when a
/// share of it went, which of a large log is a day's rows.
pub(super) const LOG_SETTINGS: [(&str, &str); 6] = [
    ("autovacuum_vacuum_scale_factor", "0"),
    ("autovacuum_vacuum_threshold", "100000"),
    ("autovacuum_vacuum_insert_scale_factor", "0"),
    ("autovacuum_vacuum_insert_threshold", "1000000"),
    ("autovacuum_analyze_scale_factor", "0"),
    ("autovacuum_analyze_threshold", "1000000"),
];

/// Returns settings of a log table as SQL has them in parentheses.
fn settings_sql<'a>(settings: impl Iterator<Item = &'a (&'a str, &'a str)>) -> String {
    settings.map(|(name, value)| format!("{name} = {value}")).collect::<Vec<_>>().join(", ")
}

/// At which size of its log nothing of a table is logged any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stop {
    pub(super) most_bytes: u64,
    /// Which gaps concern the functions: those of former ones do not.
    pub(super) generation: u64,
}

/// A key column with what looking it up takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    /// The index's equality: `operator(pg_catalog.=)`.
    pub(super) operator: String,
    /// The type calls different bytes equal.
    pub(super) loose: bool,
}

/// Everything that the statements of one table depend on.
#[derive(Debug)]
pub(super) struct Spec<'a> {
    pub(super) schema: &'a str,
    /// Its object id.
    pub(super) relation: &'a str,
    pub(super) source: &'a TableName,
    pub(super) log_table: &'a str,
    pub(super) mode: CaptureMode,
    pub(super) partitioned: bool,
    /// As they are logged.
    pub(super) columns: &'a [Column],
    /// Empty for a table that is append-only.
    pub(super) key: &'a [KeyColumn],
    /// Text that the functions make must not follow the writer's settings. Each setting costs every call, so only
    /// functions that make some have them.
    pub(super) asks_settings: bool,
    pub(super) selection: &'a Selection,
    pub(super) stop: Option<Stop>,
}

/// A function or trigger: its name and the statement that creates it.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) name: String,
    pub(super) sql: String,
}

/// Returns the scalar subquery with what stands of our triggers and functions for `relation`.
pub(super) fn objects_sql(schema: &str, relation: &str, functions: &str) -> String {
    render(
        include_str!("../../sql/capture/objects.sql"),
        &[("schema_literal", &quote_literal(schema)), ("relation", relation), ("functions", functions)],
    )
}

/// Returns the scalar subquery with the seal of `relation` and its log table.
pub(super) fn seal_sql(schema: &str, relation: &str, log_relation: &str) -> String {
    render(
        include_str!("../../sql/capture/seal.sql"),
        &[("schema_literal", &quote_literal(schema)), ("relation", relation), ("log_relation", log_relation)],
    )
}

/// Returns what the rows of a captured table are selected from: with its partitions, without tables that inherit.
pub(crate) fn rows_of(captured: &Captured) -> String {
    let only = if captured.mode == CaptureMode::Row { "" } else { "only " };
    format!("{only}{}", captured.table.name.quoted())
}

fn list<T>(items: &[T], each: impl Fn(&T) -> String, separator: &str) -> String {
    items.iter().map(each).collect::<Vec<_>>().join(separator)
}

impl Spec<'_> {
    fn log(&self) -> String {
        TableName::new(self.schema, self.log_table).quoted()
    }

    /// Tells whether the columns are left open: the text is a template (see [`super::template`]).
    fn is_open(&self) -> bool {
        self.columns.first().is_some_and(|column| column.name == template::KEY)
    }

    /// A list over all columns.
    fn each_column(&self, each: impl Fn(&Column) -> String, separator: &str) -> String {
        match self.columns {
            [key, plain] if self.is_open() => template::columns(separator, &each(key), &each(plain)),
            columns => list(columns, each, separator),
        }
    }

    /// A list over the key columns, which are numbered.
    fn each_key(&self, each: impl Fn(&str, &KeyColumn) -> String, separator: &str) -> String {
        if let (true, [key]) = (self.is_open(), self.key) {
            return template::keys(separator, &each(template::PLACE, key));
        }
        let keys: Vec<String> =
            self.key.iter().enumerate().map(|(i, key)| each(&i.to_string(), key)).collect();
        keys.join(separator)
    }

    /// The columns that a D names: the key's, or all of them where nothing else tells of the row.
    fn names(&self) -> String {
        match self.key {
            [] => self.each_column(|column| quote_ident(&column.name), ", "),
            _ => self.each_key(|_, key| quote_ident(&key.name), ", "),
        }
    }

    /// Their values in the row `from`, as they are logged.
    fn named(&self, from: &str) -> String {
        if self.key.is_empty() { self.row(from) } else { self.keys_cast(from) }
    }

    fn is_key(&self, column: &Column) -> bool {
        self.key.iter().any(|key| key.name == column.name)
    }

    /// The settings of [`EXACT_TEXT`] that output functions ask, as clauses of a function. With a selection all of them:
    /// what it says are texts too, and constants that mean what the session makes of them.
    fn settings(&self) -> String {
        const ELSEWHERE: [&str; 2] = ["search_path", "client_encoding"];
        let selects = !self.selection.is_everything();
        let asked = EXACT_TEXT.iter().filter(|(name, _)| match *name {
            name if ELSEWHERE.contains(&name) => false,
            "standard_conforming_strings" => selects,
            _ => selects || self.asks_settings,
        });
        let clauses: String = asked.map(|(name, value)| format!("\nset {name} = '{value}'")).collect();
        if self.is_open() { template::settings(&clauses) } else { clauses }
    }

    fn loose(&self) -> bool {
        self.key.iter().any(|key| key.loose)
    }

    /// `"name" pg_catalog."type"` of a log column.
    fn definition(column: &Column) -> String {
        format!("{} {}", quote_ident(&column.name), base_type(&column.base))
    }

    /// The columns of the row `from` as they are logged, named.
    fn row(&self, from: &str) -> String {
        self.each_column(
            |column| {
                let name = quote_ident(&column.name);
                format!("{} as {name}", self.value(column, &format!("{from}.{name}")))
            },
            ", ",
        )
    }

    /// What is logged for a column whose value is `reference`.
    fn value(&self, column: &Column, reference: &str) -> String {
        row::value(self.schema, self.selection, column, reference)
    }

    /// The filter behind `before`, nothing where there is none. Bare names in it mean the row that is being read.
    fn filter(&self, before: &str) -> String {
        row::condition(self.selection).map(|filter| format!("{before}{filter}")).unwrap_or_default()
    }

    fn keys(&self, from: &str) -> String {
        self.each_key(|_, key| format!("{from}.{}", quote_ident(&key.name)), ", ")
    }

    fn keys_cast(&self, from: &str) -> String {
        self.each_key(
            |_, key| {
                let reference = format!("{from}.{}", quote_ident(&key.name));
                let column = self.columns.iter().find(|column| column.name == key.name);
                column.map_or_else(|| reference.clone(), |column| self.value(column, &reference))
            },
            ", ",
        )
    }

    /// Finds the row of a touched key: the version that this transaction has written, or nothing.
    ///
    /// Under repeatable read a key that somebody else deleted and this transaction inserted again shows two rows, and
    /// after it deleted its own the dead one remains. Every xid of this transaction is at or above its first; what a
    /// snapshot shows of others is below.
    fn lookup(&self, from: &str) -> String {
        let equal = |_: &str, key: &KeyColumn| {
            let name = quote_ident(&key.name);
            format!("t.{name} {} {from}.{name} and ", key.operator)
        };
        format!("{}{}", self.each_key(equal, ""), self.written())
    }

    /// What the row that a look-up finds meets beside its key.
    fn written(&self) -> String {
        format!("pg_catalog.age(t.xmin) <= 0{}", self.filter(" and "))
    }

    /// The keys that a statement touched: `cdc_was` when one stood before it, `cdc_stays` when one stands in its new rows.
    ///
    /// Rows that do not meet the filter count for none: whichever statement takes a row across its border, in or out, has
    /// the row on one side that meets it, and looks.
    fn touched(&self, event: &str) -> String {
        let passing = self.filter(" where ");
        match event {
            "insert" => {
                format!(
                    "select {}, false as cdc_was, true as cdc_stays from cdc_new n{passing}",
                    self.keys("n")
                )
            }
            "delete" => {
                format!(
                    "select {}, true as cdc_was, false as cdc_stays from cdc_old o{passing}",
                    self.keys("o")
                )
            }
            _ => {
                // The text tells apart what the type calls equal.
                let text =
                    |key: &KeyColumn| format!(", pg_catalog.format('%s', u.{})", quote_ident(&key.name));
                let texts: String = match self.is_open() {
                    true => self.key.first().map(|key| template::loose_keys(&text(key))).unwrap_or_default(),
                    false => self.key.iter().filter(|key| key.loose).map(text).collect(),
                };
                format!(
                    "select {keys}, pg_catalog.bool_or(u.cdc_was) as cdc_was, \
                     pg_catalog.bool_or(not u.cdc_was) as cdc_stays\n        \
                     from (select {old}, true as cdc_was from cdc_old o{passing} union all select {new}, false from cdc_new n{passing}) u\n        \
                     group by {keys}{texts}",
                    keys = self.keys("u"),
                    old = self.keys("o"),
                    new = self.keys("n"),
                )
            }
        }
    }

    /// Finds a key that stood in the rows before an UPDATE and does not after it, or the other way round.
    ///
    /// A full join is never a loop over loops, so the plan stays linear whatever row count it was made for; and it puts
    /// what does not fit into memory on disk, which EXCEPT does not.
    fn moved(&self) -> String {
        let passing = self.filter(" where ");
        let same = |_: &str, key: &KeyColumn| {
            let name = quote_ident(&key.name);
            format!("o.{name} {} n.{name}", key.operator)
        };
        let lone = |_: &str, key: &KeyColumn| {
            let name = quote_ident(&key.name);
            format!("o.{name} is null or n.{name} is null")
        };
        format!(
            "select from (select {} from cdc_old o{passing}) o full join (select {} from cdc_new n{passing}) n on {} where {}",
            self.keys("o"),
            self.keys("n"),
            self.each_key(same, " and "),
            self.each_key(lone, " or "),
        )
    }

    /// The call that says, once per plan, whether the functions still fit their table.
    fn fits(&self) -> String {
        let statement = render(
            include_str!("../../sql/capture/fits_statement.sql").trim_end_matches('\n'),
            &[
                ("log", &self.log()),
                ("columns", &self.each_column(|column| quote_ident(&column.name), ", ")),
                ("row", &self.row("t")),
                ("source", &self.source.quoted()),
                ("lookup_t", &self.lookup("t")),
            ],
        );
        // Names in it are quoted later where this is a template, so no literals.
        format!(
            "{}('{}'::pg_catalog.regclass, {TAGS}_fits${}{TAGS}_fits$, {TAGS}_fits${statement}{TAGS}_fits$)",
            TableName::new(self.schema, "fits").quoted(),
            self.relation,
            self.source.quoted(),
        )
    }

    fn fill(&self, template: &str, function: &str, more: &[(&str, &str)]) -> String {
        let name = |column: &Column| quote_ident(&column.name);
        let key_number = |column: &Column| match self.is_open() {
            true => self.is_key(column).then(|| template::PLACE.to_owned()),
            false => self.key.iter().position(|key| key.name == column.name).map(|i| i.to_string()),
        };
        let key_or_row = |column: &Column| {
            if self.is_key(column) {
                self.value(column, &format!("k.{}", name(column)))
            } else {
                format!("r.{}", name(column))
            }
        };
        let key_or_row_loose = |column: &Column| match key_number(column) {
            Some(i) => format!(
                "case when e.cdc_gone then {} else s.{} end",
                self.value(column, &format!("s.cdc_key_{i}")),
                name(column)
            ),
            None => format!("case when not e.cdc_gone then s.{} end", name(column)),
        };
        let function = TableName::new(self.schema, function).quoted();
        let passes = |row| match self.filter("where ") {
            filter if filter.is_empty() => filter,
            filter => format!(" and exists (select from (select {row}.*) t {filter})"),
        };
        let where_filter = self.filter("\n    where ");
        let leaf_filter = match where_filter.is_empty() {
            true => String::new(),
            false => format!(" || {}", quote_literal(&where_filter)),
        };
        // In a filter a bare name is the row's column, whatever variables of that name a function has.
        let conflict = if where_filter.is_empty() { "" } else { "\n#variable_conflict use_column" };
        let values = [
            ("function", function),
            ("log", self.log()),
            ("source", self.source.quoted()),
            ("fits", self.fits()),
            ("columns", self.each_column(name, ", ")),
            ("key_columns", self.names()),
            ("row", self.row("t")),
            ("row_s", self.each_column(|column| format!("s.{}", name(column)), ", ")),
            ("row_aliases", self.each_column(|column| format!("r.{}", name(column)), ", ")),
            (
                "key_aliases",
                self.each_key(|i, key| format!("k.{} as cdc_key_{i}", quote_ident(&key.name)), ", "),
            ),
            ("key_or_row", self.each_column(key_or_row, ", ")),
            ("key_or_row_loose", self.each_column(key_or_row_loose, ", ")),
            ("key_t", self.keys("t")),
            ("key_k", self.keys("k")),
            ("key_u", self.keys("u")),
            ("key_n", self.keys("n")),
            ("key_o", self.keys("o")),
            ("key_old", self.keys("old")),
            ("key_new", self.keys("new")),
            ("key_k_cast", self.keys_cast("k")),
            ("key_t_cast", self.named("t")),
            ("key_old_cast", self.keys_cast("old")),
            ("key_new_cast", self.keys_cast("new")),
            ("written", self.written()),
            ("lookup_k", self.lookup("k")),
            ("lookup_old", self.lookup("old")),
            ("lookup_new", self.lookup("new")),
            ("loose", self.loose().to_string()),
            ("settings", self.settings()),
            ("conflict", conflict.to_owned()),
            ("and_old_passes", passes("old")),
            ("and_new_passes", passes("new")),
            ("where_filter", where_filter),
            ("moved", self.moved()),
            ("passing", self.filter(" where ")),
            ("and_filter", self.filter(" and ")),
            ("leaf_filter", leaf_filter),
            ("guard", self.guard()),
        ];
        let mut all: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
        all.extend_from_slice(more);
        render(template, &all)
    }

    /// Returns what a function does first where the log may become full, nothing elsewhere.
    fn guard(&self) -> String {
        let Some(Stop { most_bytes, generation }) = self.stop else { return String::new() };
        let guard = render(
            include_str!("../../sql/capture/guard.sql"),
            &[
                ("is_full", &TableName::new(self.schema, "is_full").quoted()),
                ("relation", self.relation),
                ("most_bytes", &most_bytes.to_string()),
                ("generation", &generation.to_string()),
            ],
        );
        guard.trim_end_matches('\n').to_owned()
    }

    /// Returns the statement that gives the log table the settings that it has not, `None` when it has all of them. Values
    /// that somebody else chose stay.
    pub(super) fn store_log(&self, known: &[String]) -> Option<String> {
        let missing = LOG_SETTINGS.iter().filter(|(name, _)| !known.iter().any(|known| known == name));
        let settings = settings_sql(missing);
        (!settings.is_empty()).then(|| {
            render(
                include_str!("../../sql/capture/log_storage.sql"),
                &[("log", &self.log()), ("settings", &settings)],
            )
        })
    }

    /// Returns the statement that creates the log table.
    pub(super) fn create_log(&self) -> String {
        let sequence = TableName::new(self.schema, "cdc_id_seq").quoted();
        render(
            include_str!("../../sql/capture/log_table.sql"),
            &[
                ("log", &self.log()),
                ("sequence_literal", &quote_literal(&sequence)),
                ("settings", &settings_sql(LOG_SETTINGS.iter())),
                ("column_definitions", &self.each_column(Self::definition, ",\n  ")),
            ],
        )
    }

    /// Returns the statement that adds a column to the log table.
    pub(super) fn add_column(&self, column: &Column) -> String {
        render(
            include_str!("../../sql/capture/log_add_column.sql"),
            &[("log", &self.log()), ("column_definition", &Self::definition(column))],
        )
    }

    /// Returns the statement that drops a column of the log table.
    pub(super) fn drop_column(&self, column: &str) -> String {
        render(
            include_str!("../../sql/capture/log_drop_column.sql"),
            &[("log", &self.log()), ("column", &quote_ident(column))],
        )
    }

    /// Returns the statement by which a person lets the log table follow a changed type: it may rewrite the table and
    /// convert what is not read yet, so `init` does not run it.
    pub(super) fn retype_column(&self, column: &Column) -> String {
        let (name, base) = (quote_ident(&column.name), base_type(&column.base));
        render(
            include_str!("../../sql/capture/log_retype_column.sql"),
            &[("log", &self.log()), ("column", &name), ("base", &base)],
        )
    }

    fn function_name(&self, what: &str) -> String {
        name::fit(self.log_table, &format!("_{what}"))
    }

    /// Returns the trigger functions.
    pub(super) fn functions(&self) -> Vec<Object> {
        let function = |what: &str, template: &str, more: &[(&str, &str)]| {
            let name = self.function_name(what);
            let sql = self.fill(template, &name, more);
            Object { name, sql }
        };
        let mut functions = Vec::new();
        match self.mode {
            _ if self.key.is_empty() => {
                let template = include_str!("../../sql/capture/append.sql");
                let (events, rows): (&[_], _) = match self.mode {
                    CaptureMode::Row => (&["row"], ["(select old.*)", "(select new.*)", ""]),
                    _ => (&["insert", "update", "delete"], ["cdc_old", "cdc_new", "\nset jit = off"]),
                };
                let [old, new, jit] = rows;
                let values = [("old", old), ("new", new), ("jit", jit)];
                functions.extend(events.iter().map(|event| match *event {
                    "insert" => function(event, include_str!("../../sql/capture/statement_insert.sql"), &[]),
                    _ => function(event, template, &values),
                }));
            }
            CaptureMode::Reread => {
                let template = match self.loose() {
                    true => include_str!("../../sql/capture/reread_loose.sql"),
                    false => include_str!("../../sql/capture/reread.sql"),
                };
                let one = self.fill(include_str!("../../sql/capture/reread_one.sql"), "", &[]);
                let more = self.fill(include_str!("../../sql/capture/reread_unmoved.sql"), "", &[]);
                let unmoved = format!("{}{}", one.trim_end_matches('\n'), more.trim_end_matches('\n'));
                for event in ["insert", "update", "delete"] {
                    let unmoved = if event == "update" { unmoved.as_str() } else { "" };
                    let values = [("touched", self.touched(event)), ("unmoved", unmoved.to_owned())];
                    functions.push(function(
                        event,
                        template,
                        &values.each_ref().map(|(n, v)| (*n, v.as_str())),
                    ));
                }
            }
            CaptureMode::Statement => {
                functions.push(function(
                    "insert",
                    include_str!("../../sql/capture/statement_insert.sql"),
                    &[],
                ));
                functions.push(function(
                    "update",
                    include_str!("../../sql/capture/statement_update.sql"),
                    &[],
                ));
                functions.push(function(
                    "delete",
                    include_str!("../../sql/capture/statement_delete.sql"),
                    &[],
                ));
            }
            CaptureMode::Row => {
                functions.push(function("row", include_str!("../../sql/capture/row.sql"), &[]))
            }
        }
        functions.push(function("truncate", include_str!("../../sql/capture/truncate.sql"), &[]));
        if self.partitioned {
            let statement = self.fill(
                include_str!("../../sql/capture/leaf_statement.sql").trim_end_matches('\n'),
                "",
                &[],
            );
            // Not as a literal: names in it are quoted later where this is a template.
            let statement = format!("{TAGS}_leaf${statement}{TAGS}_leaf$");
            let unseen = match self.key {
                // There may have been some: the publisher halts.
                [] => format!("insert into {} (cdc_op) values ('D')", self.log()),
                // Every pipeline copies the table anew, which removes what is gone.
                _ => format!(
                    "perform {}(pg_catalog.pg_partition_root(tg_relid), true, null)",
                    TableName::new(self.schema, "request").quoted()
                ),
            };
            let template = include_str!("../../sql/capture/leaf_truncate.sql");
            functions.push(function(
                "leaf",
                template,
                &[("leaf_statement", &statement), ("unseen", &unseen)],
            ));
        }
        functions
    }

    fn trigger(
        &self,
        template: &str,
        table: &TableName,
        order: &str,
        what: &str,
        referencing: &str,
    ) -> Object {
        let name = name::trigger(order, self.schema, what);
        let function = TableName::new(self.schema, self.function_name(what)).quoted();
        let sql = render(
            template,
            &[
                ("trigger", &quote_ident(&name)),
                ("event", what),
                ("source", &table.quoted()),
                ("referencing", referencing),
                ("function", &function),
            ],
        );
        Object { name, sql }
    }

    /// Returns the triggers of the table itself.
    pub(super) fn triggers(&self) -> Vec<Object> {
        let statement = include_str!("../../sql/capture/trigger_statement.sql");
        let mut triggers = Vec::new();
        if self.mode == CaptureMode::Row {
            let template = include_str!("../../sql/capture/trigger_row.sql");
            triggers.push(self.trigger(template, self.source, "00", "row", ""));
        } else {
            for (event, referencing) in [
                ("insert", "referencing new table as cdc_new"),
                ("update", "referencing old table as cdc_old new table as cdc_new"),
                ("delete", "referencing old table as cdc_old"),
            ] {
                triggers.push(self.trigger(statement, self.source, "00", event, referencing));
            }
        }
        triggers.push(self.trigger(statement, self.source, "00", "truncate", ""));
        triggers
    }

    /// Returns the statement that logs all rows of the table again, with the operation as its parameter.
    pub(super) fn relog(&self) -> String {
        self.fill(include_str!("../../sql/capture/ddl/relog.sql"), "", &[])
    }

    /// Returns the statement that logs a D for every row of a table.
    pub(super) fn depart(&self) -> String {
        self.fill(include_str!("../../sql/capture/ddl/depart.sql"), "", &[])
    }

    /// Returns the TRUNCATE trigger of a partition.
    pub(super) fn leaf_trigger(&self, leaf: &TableName) -> Object {
        self.trigger(include_str!("../../sql/capture/trigger_leaf_truncate.sql"), leaf, "zz", "leaf", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_looked_at_again() {
        assert_eq!(render("a {{x}} b {{y}}", &[("x", "{{y}}"), ("y", "1")]), "a {{y}} b 1");
    }

    fn column(name: &str, base: &str) -> Column {
        Column { not_null: true, ..Column::new(name, base, base) }
    }

    #[test]
    fn every_template_renders_with_hostile_names() {
        let columns = [column("id", "int8"), column("we\"ird {{row}}", "text")];
        let source = TableName::new("s", "t'x");
        let modes = [CaptureMode::Reread, CaptureMode::Row, CaptureMode::Statement];
        let ways = modes.into_iter().flat_map(|mode| [(mode, false), (mode, true)]);
        for (mode, keyless) in ways {
            for loose in [false, true] {
                let key = [KeyColumn { name: "id".into(), operator: "operator(pg_catalog.=)".into(), loose }];
                let key = if keyless { &[][..] } else { &key };
                let filter = loose.then(|| "we {{row}}".to_owned());
                let selection = Selection { filter, ..Selection::default() };
                let spec = Spec {
                    schema: "c\"dc",
                    relation: "1",
                    source: &source,
                    log_table: "x_cdc",
                    mode,
                    partitioned: mode == CaptureMode::Row,
                    columns: &columns,
                    key,
                    asks_settings: loose,
                    selection: &selection,
                    stop: loose.then_some(Stop { most_bytes: 7_000_000, generation: 3 }),
                };
                let mut all = vec![spec.create_log(), spec.add_column(&columns[1]), spec.drop_column("a\"b")];
                all.extend(spec.functions().into_iter().map(|object| object.sql));
                all.extend(spec.triggers().into_iter().map(|object| object.sql));
                all.push(spec.leaf_trigger(&source).sql);
                for object in spec.functions() {
                    assert_eq!(object.sql.contains("\nset DateStyle = 'ISO'"), loose, "{}", object.sql);
                    assert!(!object.sql.contains("set client_encoding"), "{}", object.sql);
                    let guard = "begin\n  if \"c\"\"dc\".\"is_full\"(1, 7000000, 3) then\n    return null;\n  end if;\n";
                    let guarded =
                        object.sql.contains(guard) || object.sql.contains(&guard["begin\n".len()..]);
                    assert_eq!(guarded, loose, "{}", object.sql);
                }
                for sql in all {
                    let sql = sql.replace("\"we\"\"ird {{row}}\"", "").replace("we {{row}}", "");
                    assert!(!sql.contains("{{") && !sql.contains("we\"ird"), "{sql}");
                }
            }
        }
    }
}
