//! Tables that this session knows how to write, by name and schema version.

use std::collections::HashMap;

use tokio_postgres::{Client, Statement};

use super::super::schema::Shape;
use super::super::sql::{self, StageTexts, Texts};
use super::error::setup;
use super::session::Session;
use crate::consume::TargetError;
use crate::table::{Table, TableName};

/// A table at one schema version.
#[derive(Debug)]
pub(super) struct Prepared {
    /// How its changes are written.
    pub(super) shape: Shape,
    /// Its statements.
    pub(super) texts: Texts,
    /// Where large numbers of upserts go first.
    pub(super) upserts: Option<Stage>,
    /// Where large numbers of deleted keys go first.
    pub(super) deletes: Option<Stage>,
    /// COPY into the table itself, for rows that are not expected there.
    pub(super) insert: Option<Insert>,
}

/// A stage of this session.
#[derive(Debug)]
pub(super) struct Stage {
    /// COPY into it.
    pub(super) copy: Statement,
    /// The statement that applies it.
    pub(super) apply: String,
    /// The statement that empties it before the commit does.
    pub(super) empty: String,
}

/// The way into a table without a stage.
#[derive(Debug)]
pub(super) struct Insert {
    /// COPY into it.
    pub(super) copy: Statement,
    /// Fails where the COPY could not even begin: after that, tokio-postgres takes one answer of the server for another.
    pub(super) check: String,
}

impl Prepared {
    /// Prepares the texts; stages are made when they are first needed.
    pub(super) fn new(shape: Shape) -> Self {
        let texts = sql::texts(&shape);
        Self { shape, texts, upserts: None, deletes: None, insert: None }
    }
}

/// Makes a stage. It lives as long as the session, or goes with the transaction in which it was made.
pub(super) async fn stage(
    session: &mut Session,
    shape: &Shape,
    texts: &Texts,
    make: fn(&Shape, &Texts, &str) -> StageTexts,
) -> Result<Stage, TargetError> {
    session.next_stage += 1;
    let stage = make(shape, texts, &format!("tripline_{}", session.next_stage));
    let failed = |error| setup("cannot create a stage table", error);
    let client: &Client = &session.client;
    client.batch_execute(&stage.create).await.map_err(failed)?;
    let copy = client.prepare(&stage.copy).await.map_err(failed)?;
    Ok(Stage { copy, apply: stage.apply, empty: stage.empty })
}

/// Prepared tables.
#[derive(Debug, Default)]
pub(super) struct Tables(HashMap<TableName, HashMap<u32, Prepared>>);

impl Tables {
    /// Returns what is prepared for a table at its version.
    pub(super) fn get(&self, table: &Table) -> Option<&Prepared> {
        self.0.get(&table.name)?.get(&table.version)
    }

    /// Tells whether deleting a row of this table changes others.
    pub(super) fn cascades(&self, name: &TableName) -> bool {
        self.0.get(name).is_some_and(|versions| versions.values().any(|prepared| prepared.shape.cascades))
    }

    /// Returns the same, to be completed with stages.
    pub(super) fn get_mut(&mut self, table: &Table) -> Option<&mut Prepared> {
        self.0.get_mut(&table.name)?.get_mut(&table.version)
    }

    /// Forgets the way into a table without a stage.
    pub(super) fn forget_insert(&mut self, name: &TableName) {
        for prepared in self.0.get_mut(name).into_iter().flat_map(HashMap::values_mut) {
            prepared.insert = None;
        }
    }

    /// Adds a table.
    pub(super) fn insert(&mut self, table: &Table, prepared: Prepared) {
        self.0.entry(table.name.clone()).or_default().insert(table.version, prepared);
    }

    /// Forgets everything: the session is another one, or the destination has changed.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
