//! Looks at the destination's tables, and creates what is missing.

use tokio_postgres::Client;
use tracing::info;

use super::super::evolve::{self, Made};
use super::super::schema::{self, Found, FoundColumn, FoundKey, Shape, Unfit};
use super::error::{NAME, setup};
use crate::consume::TargetError;
use crate::table::{Column, Table, TableName, quote_ident};

fn unfit(unfit: Unfit) -> TargetError {
    TargetError::Setup { target: NAME, why: unfit.to_string(), source: None }
}

/// What is done about things that are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    /// They are refused by name.
    Refuse,
    /// They are created.
    Create,
    /// They would be created, but not inside a transaction with changes: it could not use a label that it adds, nor alter
    /// a table whose constraints are yet to be checked.
    NotNow,
}

/// Why a table is not ready.
#[derive(Debug)]
pub(super) enum NotReady {
    /// Something is missing that cannot be created now.
    Missing,
    /// Any other reason.
    Target(TargetError),
}

impl From<TargetError> for NotReady {
    fn from(error: TargetError) -> Self {
        Self::Target(error)
    }
}

impl From<NotReady> for TargetError {
    fn from(not: NotReady) -> Self {
        match not {
            NotReady::Missing => Self::Unavailable {
                target: NAME,
                what: "applying a pass".into(),
                source: "a table was altered in the middle of it; it begins again".into(),
            },
            NotReady::Target(error) => error,
        }
    }
}

/// A table that is ready.
#[derive(Debug)]
pub(super) struct Ready {
    /// How its changes are written.
    pub(super) shape: Shape,
    /// It was altered: what was found out about any table before may be out of date.
    pub(super) altered: bool,
}

/// Makes the destination's table ready for changes of `table`, and says how they are written.
///
/// Who may create or alter it does so alone: `init` and other appliers may be about the same.
pub(super) async fn make_ready(
    client: &Client,
    pipeline: &str,
    table: &Table,
    missing: Missing,
) -> Result<Ready, NotReady> {
    if missing != Missing::Create {
        return ready(client, pipeline, table, missing).await;
    }
    alone(client, true).await?;
    let ready = ready(client, pipeline, table, missing).await;
    alone(client, false).await?;
    ready
}

async fn alone(client: &Client, lock: bool) -> Result<(), TargetError> {
    let verb = if lock { "lock" } else { "unlock" };
    let statement = format!("select pg_advisory_{verb}(hashtextextended('tripline prepare', 0))");
    let waited = client.batch_execute(&statement).await;
    waited.map_err(|error| setup("cannot wait for others that prepare tables", error))
}

async fn ready(client: &Client, pipeline: &str, table: &Table, missing: Missing) -> Result<Ready, NotReady> {
    let (place, made) = look_up(client, pipeline, table).await?;
    let older = made.as_ref().filter(|made| made.is_newer_than(table));
    if let Some(made) = older {
        let found = find(client, &place).await?.ok_or_else(|| unfit(Unfit::NoTable(place)))?;
        let shape = evolve::older_shape(table, &found, made).map_err(unfit)?;
        return Ok(Ready { shape, altered: false });
    }
    let mut altered = place != table.name;
    if altered {
        make_schema(client, &table.name.schema, missing).await?;
        follow(client, table, &evolve::rename_table(&place, &table.name), missing).await?;
    }
    let name = &table.name;
    let gone = || unfit(Unfit::NoTable(name.clone()));
    let mut found = match find(client, name).await? {
        Some(found) => found,
        None if missing == Missing::Refuse => return Err(gone().into()),
        None => {
            create_table(client, table, missing).await?;
            find(client, name).await?.ok_or_else(gone)?
        }
    };
    if missing != Missing::Refuse {
        for column in &table.columns {
            let here = found.columns.iter().find(|here| here.name == column.name);
            let retyped = made.as_ref().is_some_and(|made| !made.table.columns.contains(column));
            if here.is_none_or(|here| retyped || here.declared == column.declared) {
                make_type(client, name, column, missing).await?;
            }
        }
    }
    let statements = match &made {
        Some(made) => evolve::statements(table, &found, made, missing != Missing::Refuse).map_err(unfit)?,
        None if missing == Missing::Refuse => Vec::new(),
        None => schema::missing(table, &found)
            .into_iter()
            .flat_map(|column| schema::add_column(name, column))
            .collect(),
    };
    if !statements.is_empty() {
        altered = true;
        follow(client, table, &statements, missing).await?;
        found = find(client, name).await?.ok_or_else(gone)?;
    }
    let shape = schema::shape(table, &found).map_err(unfit)?;
    let now = Made::of(table, &found);
    if let Some(now) = now.filter(|now| made.as_ref() != Some(now)) {
        let text = serde_json::to_string(&now).unwrap_or_default();
        client
            .execute(
                include_str!("../../../sql/apply/note_made.sql"),
                &[&pipeline, &found.oid, &i64::from(table.relation), &text],
            )
            .await
            .map_err(|error| setup("cannot note what a table is made for", error))?;
    }
    Ok(Ready { shape, altered })
}

/// Runs statements that make a table follow the source's, all or none of them.
async fn follow(client: &Client, table: &Table, statements: &[String], way: Missing) -> Result<(), NotReady> {
    if way == Missing::Refuse {
        return Err(
            unfit(Unfit::Behind { table: table.name.clone(), statements: statements.to_vec() }).into()
        );
    }
    // One message of the simple protocol is one transaction.
    run(client, way, &statements.join("; "), "cannot alter a table").await?;
    for statement in statements {
        info!(table = %table.name, statement, "followed the source's DDL");
    }
    Ok(())
}

/// Finds what the destination has for a source table: its name here, and what it was last made for.
async fn look_up(
    client: &Client,
    pipeline: &str,
    table: &Table,
) -> Result<(TableName, Option<Made>), TargetError> {
    let name = &table.name;
    let rows = client
        .query(
            include_str!("../../../sql/apply/made.sql"),
            &[&pipeline, &i64::from(table.relation), &name.schema, &name.name],
        )
        .await
        .map_err(|error| setup("cannot read tripline.tables", error))?;
    let mut own = None;
    let mut namesake = None;
    for row in rows {
        let made: Option<Made> = serde_json::from_str(row.get(1)).ok();
        let place = TableName::new(row.get::<_, String>(2), row.get::<_, String>(3));
        *(if row.get(4) { &mut own } else { &mut namesake }) = made.map(|made| (place, made));
    }
    Ok(match (own, namesake) {
        _ if table.relation == 0 => (name.clone(), None),
        (Some((place, made)), None) => {
            let elsewhere = place != *name && !made.is_newer_than(table);
            // Somebody may have made a table of the new name.
            let place = if elsewhere && find(client, name).await?.is_some() { name.clone() } else { place };
            (place, Some(made))
        }
        (Some((place, made)), Some(_)) if made.is_newer_than(table) => (place, Some(made)),
        (Some(_), Some((here, _))) => return Err(unfit(Unfit::Taken { here, there: name.clone() })),
        (None, namesake) => (name.clone(), namesake.map(|(_, made)| made)),
    })
}

async fn run(client: &Client, way: Missing, statement: &str, what: &str) -> Result<(), NotReady> {
    if way == Missing::NotNow {
        return Err(NotReady::Missing);
    }
    let done = client.batch_execute(statement).await;
    Ok(done.map_err(|error| setup(&format!("{what}: {statement}"), error))?)
}

async fn create_table(client: &Client, table: &Table, way: Missing) -> Result<(), NotReady> {
    make_schema(client, &table.name.schema, way).await?;
    for column in &table.columns {
        make_type(client, &table.name, column, way).await?;
    }
    run(client, way, &schema::create_table(table), "cannot create a table").await?;
    info!(table = %table.name, "created a table at the destination");
    Ok(())
}

/// Creates a schema when it is missing: only then the right to do so is needed.
async fn make_schema(client: &Client, name: &str, way: Missing) -> Result<(), NotReady> {
    let look = "select exists (select from pg_namespace where nspname = $1::text)";
    let there =
        client.query_one(look, &[&name]).await.map_err(|error| setup("cannot look for a schema", error))?;
    if there.get(0) {
        return Ok(());
    }
    let create = format!("create schema if not exists {}", quote_ident(name));
    run(client, way, &create, "cannot create a schema").await
}

/// Makes sure that a column's type is there: enums are created and completed, others must be there.
pub(super) async fn make_type(
    client: &Client,
    table: &TableName,
    column: &Column,
    way: Missing,
) -> Result<(), NotReady> {
    if schema::type_schema(&column.declared).is_none() {
        return Ok(());
    }
    let found = client
        .query_opt(include_str!("../../../sql/apply/type.sql"), &[&column.declared])
        .await
        .map_err(|error| setup("cannot look for a type", error))?;
    match (found, &column.enum_labels) {
        (Some(row), Some(labels)) if row.get::<_, bool>(0) => {
            let there: Vec<String> = row.get(1);
            for statement in schema::add_labels(&column.declared, labels, &there) {
                run(client, way, &statement, "cannot add a label").await?;
            }
            Ok(())
        }
        (Some(_), _) => Ok(()),
        (None, Some(labels)) => {
            if let Some(schema) = schema::type_schema(&column.declared) {
                make_schema(client, &schema, way).await?;
            }
            run(client, way, &schema::create_enum(&column.declared, labels), "cannot create a type").await
        }
        (None, None) => Err(unfit(Unfit::NoType {
            table: table.clone(),
            column: column.name.clone(),
            declared: column.declared.clone(),
        })
        .into()),
    }
}

/// Describes the destination's table, `None` when there is none.
pub(super) async fn find(client: &Client, name: &TableName) -> Result<Option<Found>, TargetError> {
    let failed = |error| setup("cannot look at a table", error);
    let table = client
        .query_opt(include_str!("../../../sql/apply/table.sql"), &[&name.schema, &name.name])
        .await
        .map_err(failed)?;
    let Some(table) = table else { return Ok(None) };
    if !table.get::<_, bool>(1) {
        return Err(unfit(Unfit::NotATable(name.clone())));
    }
    let oid: u32 = table.get(0);
    let columns =
        client.query(include_str!("../../../sql/apply/columns.sql"), &[&oid]).await.map_err(failed)?;
    let keys = client.query(include_str!("../../../sql/apply/keys.sql"), &[&oid]).await.map_err(failed)?;
    let parents =
        client.query_one(include_str!("../../../sql/apply/parents.sql"), &[&oid]).await.map_err(failed)?;
    let column = |row: &tokio_postgres::Row| FoundColumn {
        name: row.get(0),
        declared: row.get(1),
        not_null: row.get(2),
        has_default: row.get(3),
        identity: row.get(4),
        generated: row.get(5),
        delimiter: row.get::<_, Option<String>>(6).and_then(|delimiter| delimiter.chars().next()),
        number: row.get(7),
    };
    let key = |row: &tokio_postgres::Row| {
        let operators = row.get::<_, Vec<String>>(1).into_iter().zip(row.get::<_, Vec<String>>(2));
        let operators = operators.map(|(schema, name)| format!("operator({}.{name})", quote_ident(&schema)));
        FoundKey { columns: row.get(0), operators: operators.collect() }
    };
    Ok(Some(Found {
        oid,
        name: name.clone(),
        columns: columns.iter().map(column).collect(),
        keys: keys.iter().map(key).collect(),
        parents: parents.get(0),
        cascades: parents.get(1),
        rules: table.get(2),
    }))
}
