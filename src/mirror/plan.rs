//! How changes of one table at one schema version become rows of its mirror.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tracing::{info, warn};

use super::error::{self, NAME};
use super::policy::{self, Policies};
use super::rowbinary::{self, Cause};
use super::sql;
use super::types::{Base, ColumnType};
use crate::config::OutOfRange;
use crate::consume::TargetError;
use crate::event::{Change, Op};
use crate::table::{Column, Kind, Table};
use crate::wire::{Row, Value};

/// What a table or view of the mirror is found to be.
#[derive(Debug, Default)]
pub(super) struct Existing {
    /// Engine's name.
    pub(super) engine: String,
    /// Engine with its arguments and everything behind it.
    pub(super) engine_full: String,
    /// Sorting key as ClickHouse writes it.
    pub(super) sorting_key: String,
    /// Names and types of the columns.
    pub(super) columns: Vec<(String, String)>,
    /// Their comments, by name.
    pub(super) comments: BTreeMap<String, String>,
    /// The table's comment.
    pub(super) comment: String,
}

impl Existing {
    /// Returns the type of a column.
    pub(super) fn column(&self, name: &str) -> Option<&str> {
        self.columns.iter().find(|(column, _)| column == name).map(|(_, ty)| ty.as_str())
    }

    /// Tells whether a view over `self` that shows `table` has these columns.
    pub(super) fn is_shown_by(&self, view: &Self, table: &Table) -> bool {
        let shown = view.columns.iter().map(|(name, ty)| (name.as_str(), Some(ty.as_str())));
        shown.eq(table.columns.iter().map(|column| (column.name.as_str(), self.column(&column.name))))
    }

    /// Checks that the table can hold the mirror of `table`; returns the columns that it lacks.
    pub(super) fn check<'a>(
        &self,
        target: &str,
        table: &'a Table,
        policies: &Policies,
    ) -> Result<Vec<(&'a Column, ColumnType)>, String> {
        let recreate = "drop or rename it, so that the mirror creates its own, and load the table again";
        let arguments = self.engine_full.split(" ORDER BY").next().unwrap_or_default();
        let versioned = arguments.contains(&format!("{}, {})", sql::VERSION, sql::DELETED));
        if !self.engine.ends_with("ReplacingMergeTree") || !versioned {
            return Err(format!(
                "{target} exists with engine {} instead of ReplacingMergeTree({}, {}): {recreate}",
                self.engine,
                sql::VERSION,
                sql::DELETED
            ));
        }
        let mut sorted = sql::sorting_key(&self.sorting_key).unwrap_or_default();
        let mut key: Vec<&str> = sql::key(table).collect();
        let named = key.join(", ");
        sorted.sort_unstable();
        key.sort_unstable();
        if sorted != key {
            return Err(format!(
                "{target} is ordered by ({}) instead of the key ({named}) of {}: {recreate}",
                self.sorting_key, table.name
            ));
        }
        for (name, ty) in sql::own(table) {
            if self.column(name) != Some(ty) {
                return Err(format!("{target} has no column {name} of type {ty}: {recreate}"));
            }
        }
        let mut missing = Vec::new();
        for column in &table.columns {
            let key = table.key.contains(&column.name);
            let policy = policies.of(&table.name, &column.name, key);
            let wanted = ColumnType::for_column(column, key, policy);
            let Some(found) = self.column(&column.name) else {
                // Rows that are there already get what the source's rows got, or NULL.
                let unknown = Column { not_null: false, ..column.clone() };
                missing.push((column, ColumnType::for_column(&unknown, key, policy)));
                continue;
            };
            if ColumnType::parse(found).is_none_or(|ty| !ty.accepts(column, key)) {
                let name = sql::quote(&column.name);
                let way_out = if key {
                    recreate.to_owned()
                } else {
                    format!("ALTER TABLE {target} MODIFY COLUMN {name} {wanted}, then start again")
                };
                return Err(format!(
                    "column {name} of {target} is {found}, which cannot hold {} of {}: {way_out}",
                    column.declared, table.name
                ));
            }
        }
        Ok(missing)
    }
}

/// One column of the insert.
#[derive(Debug)]
struct PlanColumn {
    ty: ColumnType,
    kind: Kind,
    /// Index among the key columns.
    key: Option<usize>,
    /// For values that the type cannot hold.
    policy: OutOfRange,
    /// The type that could not hold every value, where a policy has made it a `String`.
    instead_of: Option<ColumnType>,
    /// Somebody was told that the policy was used.
    told: AtomicBool,
}

/// Everything about a table that stays the same from change to change.
#[derive(Debug)]
pub(super) struct TablePlan {
    /// The source table.
    pub(super) table: Arc<Table>,
    /// Quoted name of the mirror's table.
    pub(super) target: String,
    /// The insert statement.
    pub(super) insert: String,
    /// Names and types at the head of every insert, so that ClickHouse refuses rows of another shape.
    pub(super) header: Vec<u8>,
    columns: Vec<PlanColumn>,
    /// What the columns are called in messages and where they stand there, where the mirror is ahead of them.
    members: Option<Vec<(String, usize)>>,
}

impl PlanColumn {
    /// Appends a value; returns how many values were kept by the policy.
    fn encode(&self, value: Value<'_>, scratch: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<u64, Cause> {
        let replaced = rowbinary::encode(self.ty, self.kind, value, self.policy, out)?;
        let Some(limited) = self.instead_of.filter(|_| !value.is_null()) else { return Ok(replaced) };
        scratch.clear();
        let fits = rowbinary::encode(limited, self.kind, value, OutOfRange::Error, scratch);
        Ok(u64::from(fits.is_err()))
    }
}

impl TablePlan {
    /// Plans the writing of `table` into the existing `target`; [`Existing::check`] has found nothing missing.
    pub(super) fn new(
        target: String,
        table: &Arc<Table>,
        existing: &Existing,
        policies: &Policies,
        members: Option<Vec<(String, usize)>>,
    ) -> Result<Self, TargetError> {
        let mut columns = Vec::with_capacity(table.columns.len());
        let mut types = Vec::with_capacity(table.columns.len() + 2);
        for column in &table.columns {
            let key = table.key.iter().position(|name| *name == column.name);
            let found = existing.column(&column.name).unwrap_or_default();
            let ty = ColumnType::parse(found).ok_or_else(|| {
                error::setup(format!("column {} of {target} went away meanwhile", sql::quote(&column.name)))
            })?;
            let policy = policies.of(&table.name, &column.name, key.is_some());
            let exact = ColumnType::for_column(column, key.is_some(), OutOfRange::Error);
            let text = policy == OutOfRange::String && ty.base == Base::String && ty.base != exact.base;
            let instead_of = text.then_some(ColumnType { nullable: ty.nullable, ..exact });
            let told = AtomicBool::new(false);
            columns.push(PlanColumn { ty, kind: column.kind(), key, policy, instead_of, told });
            types.push(found);
        }
        types.extend(sql::own(table).map(|(_, ty)| ty));
        let own = sql::own(table).map(|(name, _)| name);
        let names = table.columns.iter().map(|column| column.name.as_str()).chain(own);
        let mut header = Vec::new();
        rowbinary::encode_len(types.len(), &mut header);
        for text in names.clone().chain(types) {
            rowbinary::encode_str(text.as_bytes(), &mut header);
        }
        let insert = sql::insert(&target, names);
        Ok(Self { table: Arc::clone(table), target, insert, header, columns, members })
    }

    /// Returns what a column is called in messages, and where it stands in rows.
    fn member(&self, index: usize) -> (&str, usize) {
        match &self.members {
            Some(members) => (&members[index].0, members[index].1),
            None => (&self.table.columns[index].name, index),
        }
    }

    /// Appends the row of a change: its values, for a delete the key alone, then the mirror's own: the row's number where
    /// that is its key, version and deletion mark.
    pub(super) fn encode(&self, change: &Change, out: &mut Vec<u8>) -> Result<(), TargetError> {
        let deleted = change.op == Op::Delete;
        let mut scratch = Vec::new();
        let row = Row::parse(change.row_json())
            .map_err(|error| self.refused(change, error.to_string(), "read the message on its topic"))?;
        for (index, column) in self.columns.iter().enumerate() {
            let (member, place) = self.member(index);
            let hint = match (deleted, column.key) {
                (true, None) => {
                    rowbinary::encode_default(column.ty, out);
                    continue;
                }
                (true, Some(position)) => position,
                (false, _) => place,
            };
            let kept = row
                .get(member, hint)
                .ok_or(Cause::Missing)
                .and_then(|value| column.encode(value, &mut scratch, out))
                .map_err(|cause| self.does_not_fit(change, index, &cause))?;
            if kept > 0 {
                self.kept(index, kept);
            }
        }
        if self.table.is_append_only() {
            out.extend_from_slice(&change.cdc_id.to_le_bytes());
        }
        out.extend_from_slice(&change.cdc_id.to_le_bytes());
        out.push(u8::from(deleted));
        Ok(())
    }

    /// Appends the values of a row, or those of its key alone, as they stand in an insert. `row` is the JSON object of the
    /// row, or of the key.
    pub(super) fn encode_values(&self, row: &Row<'_>, key: bool, out: &mut Vec<u8>) -> Result<(), Cause> {
        for (index, (column, source)) in self.columns.iter().zip(&self.table.columns).enumerate() {
            let hint = match (key, column.key) {
                (true, None) => continue,
                (true, Some(position)) => position,
                (false, _) => index,
            };
            let value = row.get(&source.name, hint).ok_or(Cause::Missing)?;
            rowbinary::encode(column.ty, column.kind, value, column.policy, out)?;
        }
        Ok(())
    }

    /// Counts values that a policy kept, and says so once for each column.
    #[cold]
    fn kept(&self, index: usize, values: u64) {
        let (column, source) = (&self.columns[index], &self.table.columns[index]);
        policy::count(&self.table.name, &source.name, column.policy, values);
        if column.told.swap(true, Ordering::Relaxed) {
            return;
        }
        let (table, name, policy) = (&self.table.name, &source.name, column.policy);
        match policy {
            OutOfRange::String => {
                info!(%table, column = name, %policy, "a value outside the type's range is kept as text")
            }
            _ => {
                warn!(%table, column = name, %policy, "something stands in for a value outside the type's range")
            }
        }
    }

    #[cold]
    fn does_not_fit(&self, change: &Change, index: usize, cause: &Cause) -> TargetError {
        let (column, source) = (&self.columns[index], &self.table.columns[index]);
        let name = sql::quote(&source.name);
        let way_out = match cause {
            Cause::Missing | Cause::Wire(_) | Cause::Form => "read the message on its topic".to_owned(),
            _ if column.key.is_some() => format!(
                "create {} anew with this column as String (out_of_range = \"string\") and load the table again, or \
                 leave the table out",
                self.target
            ),
            Cause::Null if column.ty.base != Base::String && !column.ty.array => {
                let ty = ColumnType { nullable: true, ..column.ty };
                format!("ALTER TABLE {} MODIFY COLUMN {name} {ty}, then start again", self.target)
            }
            _ => {
                let text = if column.ty.nullable || column.ty.array { "Nullable(String)" } else { "String" };
                let pass = match cause {
                    Cause::Years | Cause::Infinite => {
                        "; out_of_range = \"null\" or \"clamp\" for this column lets them pass"
                    }
                    Cause::NotFinite => "; out_of_range = \"null\" for this column lets them pass",
                    _ => "",
                };
                let room = match column.policy {
                    OutOfRange::Null if !column.ty.nullable && !column.ty.array => {
                        " (which needs a Nullable column)"
                    }
                    _ => "",
                };
                format!(
                    "to keep such values as text, ALTER TABLE {} MODIFY COLUMN {name} {text}, then start again{pass}{room}",
                    self.target
                )
            }
        };
        self.refused(change, format!("column {name} ({}): {cause}", column.ty), &way_out)
    }

    fn refused(&self, change: &Change, why: String, way_out: &str) -> TargetError {
        TargetError::Refused {
            target: NAME,
            table: self.table.name.clone(),
            cdc_id: Some(change.cdc_id),
            why: format!("{why}; {way_out}"),
            source: None,
        }
    }
}
