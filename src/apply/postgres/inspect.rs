//! Looks at the destination's tables, and creates what is missing.

use tokio_postgres::Client;
use tracing::info;

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

/// Makes the destination's table ready for changes of `table`, and says how they are written.
pub(super) async fn make_ready(client: &Client, table: &Table, missing: Missing) -> Result<Shape, NotReady> {
    let way = missing;
    let found = match find(client, &table.name).await? {
        Some(found) => found,
        None if way == Missing::Refuse => return Err(unfit(Unfit::NoTable(table.name.clone())).into()),
        None => {
            create_table(client, table, way).await?;
            find(client, &table.name).await?.ok_or_else(|| unfit(Unfit::NoTable(table.name.clone())))?
        }
    };
    if way == Missing::Refuse {
        return Ok(schema::shape(table, &found).map_err(unfit)?);
    }
    for column in &table.columns {
        let here = found.columns.iter().find(|here| here.name == column.name);
        if here.is_none_or(|here| here.declared == column.declared) {
            make_type(client, &table.name, column, way).await?;
        }
    }
    let missing = schema::missing(table, &found);
    for column in &missing {
        run(client, way, &schema::add_column(&table.name, column), "cannot add a column").await?;
        info!(table = %table.name, column = column.name, "added a column at the destination");
    }
    let found = match missing.is_empty() {
        true => found,
        false => find(client, &table.name).await?.ok_or_else(|| unfit(Unfit::NoTable(table.name.clone())))?,
    };
    Ok(schema::shape(table, &found).map_err(unfit)?)
}

async fn run(client: &Client, way: Missing, statement: &str, what: &str) -> Result<(), NotReady> {
    if way == Missing::NotNow {
        return Err(NotReady::Missing);
    }
    let done = client.batch_execute(statement).await;
    Ok(done.map_err(|error| setup(&format!("{what}: {statement}"), error))?)
}

async fn create_table(client: &Client, table: &Table, way: Missing) -> Result<(), NotReady> {
    if table.key.is_empty() {
        return Err(unfit(Unfit::NoKey { table: table.name.clone() }).into());
    }
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
    };
    let key = |row: &tokio_postgres::Row| {
        let operators = row.get::<_, Vec<String>>(1).into_iter().zip(row.get::<_, Vec<String>>(2));
        let operators = operators.map(|(schema, name)| format!("operator({}.{name})", quote_ident(&schema)));
        FoundKey { columns: row.get(0), operators: operators.collect() }
    };
    Ok(Some(Found {
        oid,
        columns: columns.iter().map(column).collect(),
        keys: keys.iter().map(key).collect(),
        parents: parents.get(0),
        cascades: parents.get(1),
    }))
}
