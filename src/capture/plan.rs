//! Decides what `init` does with a table. Pure: catalog and registry in, statements or a refusal out.

use crate::selection::{Mask, Selection};
use crate::table::{CaptureMode, Column, TableName, quote_ident, quote_literal};

use super::catalog::{Index, Source, oid_array};
use super::ddl::sign;
use super::error::Refusal;
use super::init::Action;
use super::registry::Registered;
use super::render::{KeyColumn, Spec, Stop, TAGS, objects_sql, render, seal_sql};
use super::template;

/// Columns of a log table beside those of its source: `cdc_txid`, `cdc_id`, `cdc_op`, `cdc_at`.
const LOG_COLUMNS: usize = 4;
/// PostgreSQL's limit for a table.
const MOST_COLUMNS: usize = 1600;

/// What is configured for a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) mode: CaptureMode,
    pub(super) key_index: Option<&'a str>,
    pub(super) append_only: bool,
    pub(super) selection: &'a Selection,
    /// The highest version that a table of its name had before.
    pub(super) former: u32,
    /// At which size of its log it stops.
    pub(super) stop: Option<Stop>,
    /// Something of it was not logged, because its log was full, and that is to end now.
    pub(super) ends_gap: bool,
}

/// What `init` does with a table.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) log_table: String,
    pub(super) mode: CaptureMode,
    pub(super) version: u32,
    /// Rows may be missing from the log: the table needs a snapshot.
    pub(super) needs_snapshot: bool,
    pub(super) notes: Vec<String>,
    /// What was altered since the last `init` and is taken as it is.
    pub(super) accepted: Vec<String>,
    /// Triggers are created, so the source table is locked first.
    pub(super) locks: bool,
    pub(super) statements: Vec<String>,
    /// Object id, version and definition of the table's row in the registry, which the statements rest on.
    pub(super) known: Option<(u32, u32, String)>,
}

/// Returns the key columns, or what is in the way and the way out.
pub(super) fn key(
    source: &Source,
    key_index: Option<&str>,
) -> Result<(String, Vec<KeyColumn>), (String, String)> {
    let entry = format!("name = \"{}\"", source.name);
    let out = format!("or take it out with \"!{}\"", source.name);
    let index = match key_index {
        Some(name) => source.indexes.iter().find(|index| index.name == name).ok_or_else(|| {
            (
                format!("it has no unique index {name}"),
                format!("correct key_index in [[table]] {entry}, {out}"),
            )
        })?,
        None => source.indexes.iter().find(|index| index.primary).ok_or_else(|| {
            let fits = source.indexes.iter().find(|index| usable(index).is_ok());
            let way = match fits {
                Some(fits) => format!("set key_index = \"{}\" in [[table]] {entry}", fits.name),
                None => format!("or a unique index on not-null columns with key_index in [[table]] {entry}"),
            };
            let append = "set append_only = true there if rows are only ever inserted";
            ("it has no primary key".to_owned(), format!("add one, {way}, {append}, {out}"))
        })?,
    };
    match usable(index) {
        Ok(columns) => Ok((index.name.clone(), columns)),
        Err(why) => Err((
            format!("its key {} {why}", index.name),
            format!("change that, or name another unique index with key_index in [[table]] {entry}, {out}"),
        )),
    }
}

fn usable(index: &Index) -> Result<Vec<KeyColumn>, &'static str> {
    if !index.usable {
        return Err("is not a valid, unique btree index");
    }
    if !index.immediate {
        return Err("is deferrable, so two rows may share a key for a while");
    }
    if index.partial {
        return Err("is partial, so it does not tell all rows apart");
    }
    let column = |column: &super::catalog::IndexColumn| {
        let name = column.name.clone().ok_or("has an expression, which no log column holds")?;
        if column.not_null != Some(true) {
            return Err("has a column that may be null");
        }
        if column.collation != Some(true) {
            return Err("compares by another collation than its column");
        }
        let operator = column.operator.clone().ok_or("has no equality operator")?;
        Ok(KeyColumn { name, operator, loose: column.loose })
    };
    index.columns.iter().map(column).collect()
}

/// Decides, or refuses.
pub(super) fn plan(
    schema: &str,
    source: &Source,
    wanted: Wanted<'_>,
    registered: Option<&Registered>,
    log_table: &str,
) -> Result<Plan, Refusal> {
    let refuse = |why: String, way_out: String| Refusal { table: source.name.clone(), why, way_out };
    let (key_index, key) = accept(source, wanted).map_err(|(why, way)| refuse(why, way))?;
    let mode = match source.kind {
        'p' => CaptureMode::Row,
        // There is no key to read a row again by.
        _ if wanted.append_only => CaptureMode::Statement,
        _ => wanted.mode,
    };

    let log = registered.filter(|row| row.log_exists);
    let columns = with_initial(in_log_order(source.columns.clone(), log), registered);
    let columns = wanted.selection.published(&columns);
    let relation = source.oid.to_string();
    let spec = Spec {
        schema,
        relation: &relation,
        source: &source.name,
        log_table,
        mode,
        partitioned: source.kind == 'p',
        columns: &columns,
        key: &key,
        asks_settings: source.asks_settings,
        selection: wanted.selection,
        stop: wanted.stop,
    };
    let mut statements = log_statements(&spec, log).map_err(|(why, way)| refuse(why, way))?;
    let log_changes = !statements.is_empty();
    let stored = log.and_then(|row| spec.store_log(&row.log_settings));
    let settles = stored.is_some();
    statements.extend(stored);

    let (functions, triggers) = (spec.functions(), spec.triggers());
    let sum = |objects: &[super::render::Object]| {
        sign(&objects.iter().map(|object| object.sql.as_str()).collect::<String>())
    };
    let trigger_sum = sum(&triggers);
    let definition = format!("{}.{trigger_sum}", sum(&functions));
    // What a selection makes of new or renamed columns is for people to say.
    let templates = match wanted.selection.is_everything() {
        true => {
            template::of_table(schema, log_table, mode, spec.partitioned, wanted.append_only, wanted.stop)
        }
        false => serde_json::json!({}),
    };

    let key_names: Vec<String> = key.iter().map(|key| key.name.clone()).collect();
    let same_shape = registered.is_some_and(|row| {
        are_same(&row.columns, &columns)
            && row.key == key_names
            && row.name == source.name
            && row.relation == source.oid
    });
    let version = match registered {
        Some(row) if same_shape => row.version,
        row => row.map_or(0, |row| row.version).max(wanted.former) + 1,
    };
    let leaves: Vec<u32> = source.leaves.iter().map(|leaf| leaf.oid).collect();

    let trigger_objects = |objects: &std::collections::BTreeMap<String, String>| -> Vec<(String, String)> {
        objects
            .iter()
            .filter(|(name, _)| name.starts_with("trigger "))
            .map(|(a, b)| (a.clone(), b.clone()))
            .collect()
    };
    let triggers_right = registered.is_some_and(|row| {
        row.relation == source.oid
            && row.definition.ends_with(&trigger_sum)
            && trigger_objects(&row.objects) == trigger_objects(&row.standing)
    });
    let all_on = registered.is_none_or(|row| row.off.is_empty());
    let unready: Vec<&TableName> =
        source.leaves.iter().filter(|leaf| leaf.kind == 'r' && !leaf.ready).map(|leaf| &leaf.name).collect();
    let changes = registered.map(Registered::changes).unwrap_or_default();
    let sealed = registered.is_some_and(|row| row.seal.is_some()) && changes.is_empty();
    let reselected = registered.is_some_and(|row| row.selection != *wanted.selection);
    let numbered = registered.is_some_and(|row| row.columns.iter().all(|column| column.id != 0));
    let given_up = registered.is_some_and(|row| row.broken.is_some());
    let unchanged = same_shape
        && !reselected
        && numbered
        && !given_up
        && registered.is_some_and(|row| row.templates.as_ref() == Some(&templates))
        && sealed
        && !log_changes
        && !settles
        && !wanted.ends_gap
        && triggers_right
        && all_on
        && unready.is_empty()
        && registered.is_some_and(|row| {
            row.definition == definition
                && row.objects == row.standing
                && row.mode == mode
                && row.key_index == key_index
                && row.leaves == leaves
        });
    let mut notes = Vec::new();
    if source.unlogged {
        notes.push("unlogged: a crash of the source empties it without a trace in the log".to_owned());
    }
    notes.extend(registered.and_then(|row| unlogged_values(source, row)));
    if reselected {
        notes.push(stale(&source.name, "its columns, masks or filter changed"));
    }
    let accepted = changes.iter().map(|change| format!("accepted: {change}")).collect();
    let action = match registered {
        None => Action::Installed,
        Some(_) if unchanged => Action::Unchanged,
        Some(_) if !same_shape || reselected || log_changes => Action::Altered,
        Some(_) => Action::Repaired,
    };
    let needs_snapshot = action != Action::Unchanged
        && !(same_shape
            && !reselected
            && triggers_right
            && all_on
            && !log_changes
            && !wanted.ends_gap
            && !given_up
            && changes.is_empty());
    let done = |statements, locks| Plan {
        action,
        log_table: log_table.to_owned(),
        mode,
        version,
        needs_snapshot,
        notes,
        accepted,
        locks,
        statements,
        known: registered.map(|row| (row.relation, row.version, row.definition.clone())),
    };
    if unchanged {
        return Ok(done(Vec::new(), false));
    }
    if let Some(row) = registered {
        // The event triggers keep away from the table until its row says what stands.
        statements.insert(
            0,
            render(
                include_str!("../../sql/capture/ddl/hold.sql"),
                &[
                    ("schema", &quote_ident(schema)),
                    ("relations", &format!("{}, {}", row.relation, source.oid)),
                ],
            ),
        );
    }
    let names: Vec<String> = functions.iter().map(|object| object.name.clone()).collect();
    statements.extend(functions.into_iter().map(|object| object.sql));
    // Who has left something out of a full log has ended behind the lock.
    let locks = !triggers_right || wanted.ends_gap;
    if locks {
        statements.extend(triggers.into_iter().map(|object| object.sql));
    }
    statements.extend(unready.into_iter().map(|leaf| spec.leaf_trigger(leaf).sql));
    for off in registered.map_or(&[][..], |row| &row.off) {
        statements.push(render(
            include_str!("../../sql/capture/trigger_enable.sql"),
            &[("table", &off.table.quoted()), ("trigger", &quote_ident(&off.trigger))],
        ));
    }
    statements.push(register(&spec, source, &key_index, version, &definition, &names));
    statements.push(render(
        include_str!("../../sql/capture/ddl/record.sql"),
        &[
            ("schema", &quote_ident(schema)),
            ("relation", &source.oid.to_string()),
            ("templates", &quote_literal(&templates.to_string())),
        ],
    ));
    if wanted.ends_gap {
        let clear = include_str!("../../sql/capture/gap_clear.sql");
        statements.push(render(clear, &[("schema", &quote_ident(schema)), ("relation", &relation)]));
    }
    Ok(done(statements, locks))
}

/// Warns of rows that are at the targets as they were captured before.
pub(super) fn stale(table: &TableName, what: &str) -> String {
    format!(
        "warning: {what}: rows that are at the targets or in the log already stay as they were captured; run `tripline \
         snapshot {table}` to load the table again"
    )
}

/// Warns of existing rows that carry values which no event carried: a column with a default, or of another type.
fn unlogged_values(source: &Source, row: &Registered) -> Option<String> {
    let columns = row.seal.as_ref()?.unlogged_values(&row.found);
    (!columns.is_empty()).then(|| {
        format!(
            "warning: existing rows carry values in {} that no event carried (ALTER TABLE gave them): run the same ALTER \
             TABLE at the destination, or touch the rows here (an UPDATE that changes nothing is logged too); `tripline \
             verify {}` shows what differs",
            columns.join(", "),
            source.name
        )
    })
}

/// The statement that records what was installed; `functions` are the names of ours.
fn register(
    spec: &Spec<'_>,
    source: &Source,
    key_index: &str,
    version: u32,
    definition: &str,
    functions: &[String],
) -> String {
    let log = TableName::new(spec.schema, spec.log_table).quoted();
    let log_relation = format!("{}::pg_catalog.regclass", quote_literal(&log));
    let key: Vec<String> = spec.key.iter().map(|key| key.name.clone()).collect();
    render(
        include_str!("../../sql/capture/register.sql"),
        &[
            ("schema", &quote_ident(spec.schema)),
            ("relation", spec.relation),
            ("schema_name", &quote_literal(&source.name.schema)),
            ("table_name", &quote_literal(&source.name.name)),
            ("log_table", &quote_literal(spec.log_table)),
            ("log_relation", &log_relation),
            ("key_array", &array(&key)),
            ("key_index", &quote_literal(key_index)),
            ("columns_json", &quote_literal(&json(spec.columns))),
            ("mode", &quote_literal(&spec.mode.to_string())),
            ("version", &version.to_string()),
            ("leaves", &oid_array(source.leaves.iter().map(|leaf| leaf.oid))),
            ("definition", &quote_literal(definition)),
            ("objects", &objects_sql(spec.schema, spec.relation, &array(functions))),
            ("selection", &quote_literal(&json(spec.selection))),
            ("seal", &seal_sql(spec.schema, spec.relation, &log_relation)),
        ],
    )
}

/// Accepts a table or says what is in the way, and the way out.
fn accept(source: &Source, wanted: Wanted<'_>) -> Result<(String, Vec<KeyColumn>), (String, String)> {
    let out = format!("take it out with \"!{}\"", source.name);
    let no = |why: &str, way: String| Err((why.to_owned(), way));
    if source.kind == 'f' || source.leaves.iter().any(|leaf| leaf.kind == 'f') {
        return no(
            "it is a foreign table or has one as a partition: triggers do not see what others write there",
            out,
        );
    }
    if source.partition {
        return no("it is a partition", format!("capture the partitioned table instead, or {out}"));
    }
    if source.inherits {
        return no("it takes part in plain inheritance", format!("use partitions, or {out}"));
    }
    if let Some(column) = source.columns.iter().find(|column| column.name.starts_with("cdc_")) {
        return Err((
            format!("its column {} begins with cdc_", column.name),
            format!("rename the column, or {out}"),
        ));
    }
    // An operator's name has its schema's in it.
    let operators =
        source.indexes.iter().flat_map(|index| &index.columns).filter_map(|c| c.operator.as_ref());
    let columns = source.columns.iter().map(|column| &column.name);
    let mut names = columns.chain([&source.name.schema, &source.name.name]).chain(operators);
    if names.any(|name| name.contains(TAGS)) {
        return Err((format!("one of its names contains {TAGS}"), format!("rename it, or {out}")));
    }
    if source.columns.len() + LOG_COLUMNS > MOST_COLUMNS {
        return Err((
            format!(
                "it has {} columns; its log table needs {LOG_COLUMNS} of its own, and PostgreSQL allows {MOST_COLUMNS}",
                source.columns.len()
            ),
            out,
        ));
    }
    if !source.lacks.is_empty() {
        return Err((
            format!("this role lacks {}", source.lacks.join(", ")),
            format!("run init as its owner, or {out}"),
        ));
    }
    if source.policy {
        return no(
            "row-level security would hide rows from this role",
            format!("run init as a role with BYPASSRLS or as the owner without FORCE, or {out}"),
        );
    }
    if wanted.append_only {
        return appendable(source, wanted.selection).map(|()| (String::new(), Vec::new()));
    }
    let (index, key) = key(source, wanted.key_index)?;
    selectable(source, wanted.selection, &key)?;
    if wanted.mode == CaptureMode::Statement && source.kind != 'p' {
        let way = format!("use mode = \"reread\" in [[table]] name = \"{}\"", source.name);
        if let Some(trigger) = source.after_triggers.first() {
            return Err((format!("mode statement is wrong beside AFTER triggers such as {trigger}"), way));
        }
        if let Some(constraint) = source.actions.first() {
            return Err((
                format!(
                    "mode statement is wrong where {constraint} writes the table in the middle of a statement"
                ),
                way,
            ));
        }
        if source.has_virtual {
            return no("mode statement does not see virtual generated columns", way);
        }
        if key.iter().any(|key| key.loose) {
            return no("mode statement needs a key whose equal values are equal bytes", way);
        }
    }
    Ok((index, key))
}

/// Accepts a table whose rows nothing tells apart.
fn appendable(source: &Source, selection: &Selection) -> Result<(), (String, String)> {
    let entry = format!("[[table]] name = \"{}\"", source.name);
    let out = format!("or take it out with \"!{}\"", source.name);
    if let Some(index) = source.indexes.iter().find(|index| index.primary) {
        return Err((
            format!("it is append_only and has a primary key, {}", index.name),
            format!("take append_only out of {entry}"),
        ));
    }
    selectable(source, selection, &[])?;
    if selection.published(&source.columns).is_empty() {
        return Err(("it is append_only and has no column to tell of a row".to_owned(), out));
    }
    if source.has_virtual {
        return Err((
            "it is append_only and has a virtual generated column, which only shows when a row is read again by its key"
                .to_owned(),
            format!("make the column STORED, give the table a key, {out}"),
        ));
    }
    Ok(())
}

/// Accepts what of a table is to be captured.
fn selectable(source: &Source, selection: &Selection, key: &[KeyColumn]) -> Result<(), (String, String)> {
    let entry = |what: &str| format!("correct {what} in [[table]] name = \"{}\"", source.name);
    let known = |name: &str| source.columns.iter().find(|column| column.name == name);
    if let Some(name) = selection.named().find(|name| known(name).is_none()) {
        return Err((format!("it has no column {name}"), entry("columns, exclude or mask")));
    }
    if let Some(name) = selection.mask.keys().find(|name| !selection.takes(name)) {
        return Err((
            format!("its column {name} is masked and not captured"),
            entry("columns, exclude or mask"),
        ));
    }
    for KeyColumn { name, .. } in key {
        if !selection.takes(name) {
            return Err((format!("its key column {name} is not captured"), entry("columns or exclude")));
        }
        if matches!(selection.mask.get(name), Some(Mask::Value(_) | Mask::Truncate(_))) {
            return Err((
                format!("its key column {name} is masked so that different rows would have the same key"),
                format!("use \"hash\", or {}", entry("mask")),
            ));
        }
    }
    for (name, mask) in &selection.mask {
        let base = known(name).map_or("", |column| &column.base);
        if matches!(mask, Mask::Truncate(_)) && !matches!(base, "text" | "varchar" | "bpchar" | "name") {
            return Err((
                format!("its column {name} is no text that could be cut"),
                format!("use \"hash\" or a value, or {}", entry("mask")),
            ));
        }
    }
    let texts = selection.mask.values().filter_map(|mask| match mask {
        Mask::Value(text) => Some(text),
        _ => None,
    });
    if texts.chain(&selection.filter).any(|text| text.contains(TAGS)) {
        return Err((format!("its filter or a mask contains {TAGS}"), entry("filter or mask")));
    }
    Ok(())
}

/// Columns in the order of the log table, those that it has not yet at the end.
fn in_log_order(mut columns: Vec<Column>, log: Option<&Registered>) -> Vec<Column> {
    if let Some(log) = log {
        let place =
            |name: &str| log.log_columns.iter().position(|column| column.name == name).unwrap_or(usize::MAX);
        columns.sort_by_key(|column| place(&column.name));
    }
    columns
}

/// What existing rows got when a column was added counts where its table was captured already; it is kept as it was
/// then, because a rewrite of the table makes the catalog forget it.
fn with_initial(mut columns: Vec<Column>, registered: Option<&Registered>) -> Vec<Column> {
    for column in &mut columns {
        let known = |row: &Registered| {
            row.columns
                .iter()
                .find(|old| old.id == column.id || old.id == 0 && old.name == column.name)
                .map(|old| old.initial.clone())
        };
        match registered.map(known) {
            None => column.initial = None,
            Some(Some(initial)) => column.initial = initial,
            Some(None) => {}
        }
    }
    columns
}

/// Tells whether two descriptions are the same, whatever an older release did not record.
fn are_same(before: &[Column], now: &[Column]) -> bool {
    let same = |(old, new): (&Column, &Column)| match old.id {
        0 => Column { id: 0, initial: None, ..new.clone() } == *old,
        _ => new == old,
    };
    before.len() == now.len() && before.iter().zip(now).all(same)
}

/// The statements that make the log table fit the source.
fn log_statements(spec: &Spec<'_>, log: Option<&Registered>) -> Result<Vec<String>, (String, String)> {
    let Some(log) = log else { return Ok(vec![spec.create_log()]) };
    let mut statements = Vec::new();
    for column in &log.log_columns {
        if !column.name.starts_with("cdc_") && !spec.columns.iter().any(|c| c.name == column.name) {
            statements.push(spec.drop_column(&column.name));
        }
    }
    for column in spec.columns {
        match log.log_columns.iter().find(|c| c.name == column.name) {
            None => statements.push(spec.add_column(column)),
            Some(old) if old.base == column.base => {}
            Some(old) => {
                return Err((
                    format!(
                        "its column {} was logged as {} and is {} now",
                        column.name, old.base, column.base
                    ),
                    format!(
                        "run {} then tripline init, and touch the rows (an UPDATE that changes nothing is logged too)",
                        spec.retype_column(column).trim_end(),
                    ),
                ));
            }
        }
    }
    Ok(statements)
}

fn array(names: &[String]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| quote_literal(name)).collect();
    format!("array[{}]", quoted.join(", "))
}

fn json<T: serde::Serialize + ?Sized>(data: &T) -> String {
    serde_json::to_string(data).expect("columns and selections are plain data")
}
