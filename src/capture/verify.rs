//! Re-checks the conditions that capture depends on.

use tokio_postgres::Client;

use crate::table::{Column, TableName};

use super::catalog::{self, Source};
use super::error::{CaptureError, Problem};
use super::partitions::{self, Moved};
use super::registry::{self, Captured, Registered};
use super::row::salt_table;
use super::seal::Change;
use super::{plan, query};

/// Checks that everything `captured` rests on is as `init` left it: the sequence, triggers, functions, columns of table
/// and log table, the key. `captured` is what the caller loaded; a registry that has moved on is a problem too.
///
/// Fails with [`CaptureError::Broken`], which lists every problem with the command that fixes it.
pub async fn verify(client: &mut Client, schema: &str, captured: &[Captured]) -> Result<(), CaptureError> {
    let (mut problems, registered) = problems(client, schema).await?;
    for known in captured {
        let row = registered.iter().find(|row| row.relation == known.oid);
        if row.is_none_or(|row| row.version != known.table.version || row.log_table != known.log_table.name) {
            problems.push(Problem {
                id: "registry.moved",
                table: Some(known.table.name.clone()),
                what: "the registry has changed since it was loaded".into(),
                fix: "load it again (restart the daemon)".into(),
            });
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(CaptureError::Broken { problems }) }
}

/// Returns every problem, and the registry.
pub(super) async fn problems(
    client: &mut Client,
    schema: &str,
) -> Result<(Vec<Problem>, Vec<Registered>), CaptureError> {
    let transaction = query::begin(client).await?;
    let state = catalog::state(&transaction, schema).await?;
    if !state.tables {
        return Err(CaptureError::NotInstalled { schema: schema.to_owned() });
    }
    let registered = registry::read(&transaction, schema).await?;
    let sources = catalog::describe(&transaction, schema, registered.iter().map(|row| row.relation)).await?;
    let moved = partitions::moved(&transaction, schema, &registered, &sources).await?;
    let mut problems = Vec::new();
    if state.sequence != Some(true) {
        problems.push(Problem {
            id: "sequence",
            table: None,
            what: match state.sequence {
                None => format!("the sequence {schema}.cdc_id_seq is missing"),
                Some(_) => format!("the sequence {schema}.cdc_id_seq is not INCREMENT 1 CACHE 1 NO CYCLE"),
            },
            fix: format!("run tripline init; {MISSED}"),
        });
    }
    if registered.iter().any(Registered::sequence_altered) {
        problems.push(Problem {
            id: "sequence.altered",
            table: None,
            what: format!(
                "the sequence {schema}.cdc_id_seq was altered since tripline init (RESTART, CACHE, INCREMENT, CYCLE): ids \
                 may have been drawn out of order, or will be drawn again"
            ),
            fix: ACCEPT.replace("{table}", ""),
        });
    }
    if registered.iter().any(|row| row.selection.hashes())
        && state.salt != Some(false)
        && catalog::salt(&transaction, schema, &state).await?.is_none()
    {
        problems.push(Problem {
            id: "salt.gone",
            table: None,
            what: format!("the salt of hashes is not in {} any more", salt_table(schema)),
            fix: "run tripline init with mask.salt; hashes made meanwhile are NULL: load those tables again"
                .into(),
        });
    }
    for row in &registered {
        let source = sources.iter().find(|source| source.oid == row.relation);
        table_problems(row, source, &moved, &mut problems);
    }
    Ok((problems, registered))
}

/// What capture may have missed is not in the log, and no command brings it there by itself.
const MISSED: &str = "changes made meanwhile may not be in the log: compare the table with its targets, and touch rows \
     that differ (an UPDATE that changes nothing is logged too)";

/// What was altered meanwhile can only be seen in the rows.
const ACCEPT: &str = "compare with `tripline verify {table}`, repair what differs (touch the rows: an UPDATE that changes \
     nothing is logged too), then `tripline init` accepts the state";

/// Only the rows themselves say which they are.
const PARTITIONS: &str = "run tripline init, which takes the partitions as they are and copies the table anew, so that both \
     targets have the rows that it has";

/// Adds the problems of one table.
fn table_problems(row: &Registered, source: Option<&Source>, moved: &Moved, problems: &mut Vec<Problem>) {
    let again = format!("run tripline init; {MISSED}");
    let mut add = |id, what: String, fix: &str| {
        problems.push(Problem { id, table: Some(row.name.clone()), what, fix: fix.to_owned() });
    };
    let Some(source) = source else {
        add(
            "table.gone",
            "the table was dropped".into(),
            &format!("create it again and {again}, or run tripline uninstall"),
        );
        return;
    };
    if let Some(why) = &row.broken {
        let what = format!("DDL could not be followed, and it is no longer captured: {why}");
        add("ddl.given_up", what, &again);
        return;
    }
    if source.name != row.name {
        add(
            "table.renamed",
            format!("the table is called {} now", source.name),
            &format!("rename it back, or {again}"),
        );
    }
    if source.partition || source.inherits {
        let what = if source.partition {
            "the table became a partition"
        } else {
            "the table takes part in inheritance"
        };
        add("table.kind", what.into(), "undo that, or take the table out");
    }
    for what in moved.get(&row.relation).into_iter().flatten() {
        add("partitions", what.clone(), PARTITIONS);
    }
    for difference in differences(&row.columns, &row.selection.published(&source.columns)) {
        add("columns", difference, &again);
    }
    if row.log_exists {
        for column in &row.columns {
            if !row.log_columns.iter().any(|log| log.name == column.name && log.base == column.base) {
                add(
                    "log.columns",
                    format!("{} has no column {} of type {}", row.log_table, column.name, column.base),
                    &again,
                );
            }
        }
    } else {
        add("log.gone", format!("the log table {} is missing", row.log_table), &again);
    }
    match plan::key(source, Some(&row.key_index)) {
        _ if row.key.is_empty() => {}
        Err((why, _)) => add("key", why, &again),
        Ok((_, key)) => {
            if key.iter().map(|key| &key.name).ne(&row.key) {
                add("key", format!("its key {} has other columns now", row.key_index), &again);
            }
        }
    }
    for (object, hash) in &row.objects {
        match row.standing.get(object) {
            None => add("objects", format!("the {object} is missing"), &again),
            Some(standing) if standing != hash => add("objects", format!("the {object} was altered"), &again),
            Some(_) => {}
        }
    }
    if row.seal.is_none() {
        add(
            "registry.old",
            "an older release installed its capture and did not record its row versions".into(),
            "run tripline init",
        );
    }
    let found_already = row.objects != row.standing || !row.off.is_empty() || !row.log_exists;
    for change in row.changes() {
        // What is wrong now says more than that something was.
        if !found_already || matches!(change, Change::Rewritten(_)) {
            add(change.id(), change.to_string(), &ACCEPT.replace("{table}", &row.name.to_string()));
        }
    }
    for off in &row.off {
        add(
            "trigger.disabled",
            format!("the trigger {} on {} is switched off", off.trigger, off.table),
            &again,
        );
    }
}

/// Says how the columns differ in name, type or origin; enum labels and NOT NULL are only worth a warning of `check`.
fn differences(before: &[Column], now: &[Column]) -> Vec<String> {
    let by_name = |list: &'_ [Column], name: &str| list.iter().find(|column| column.name == name).cloned();
    let mut found = Vec::new();
    for old in before {
        match by_name(now, &old.name) {
            None => found.push(format!("the column {} is gone", old.name)),
            Some(new)
                if (&new.declared, &new.base, new.generated) != (&old.declared, &old.base, old.generated) =>
            {
                found.push(format!(
                    "the column {} was {} and is {} now",
                    old.name, old.declared, new.declared
                ));
            }
            Some(new) if old.id != 0 && new.id != 0 && new.id != old.id => {
                found.push(format!("the column {} is another one now, under the same name", old.name));
            }
            Some(_) => {}
        }
    }
    for new in now.iter().filter(|new| by_name(before, &new.name).is_none()) {
        found.push(format!("the column {} is new", new.name));
    }
    found
}

/// Says what of a table's description is out of date without harm.
pub(super) fn outdated(row: &Registered, source: &Source) -> Vec<(TableName, String)> {
    let mut found = Vec::new();
    let columns = row.selection.published(&source.columns);
    for old in &row.columns {
        let Some(new) = columns.iter().find(|new| new.name == old.name) else { continue };
        if (new.not_null, &new.enum_labels) != (old.not_null, &old.enum_labels) {
            found.push((row.name.clone(), format!("NOT NULL or the labels of {} changed", old.name)));
        }
    }
    let leaves: Vec<u32> = source.leaves.iter().map(|leaf| leaf.oid).collect();
    if leaves != row.leaves {
        let what =
            "it has new partitions: until tripline init knows them, nobody logs a TRUNCATE of one of them";
        found.push((row.name.clone(), what.to_owned()));
    }
    found
}
