//! Taking the mirror away: for `offset reset --clear-destination` and `uninstall --all`.

use super::clickhouse::Server;
use super::sql;
use crate::config;
use crate::consume::TargetError;
use crate::table::TableName;

/// Removes the mirror of the given tables: views and tables, with all rows. What does not exist is passed over.
///
/// They are dropped and not emptied, because an emptied table still remembers deduplication tokens.
pub async fn reset(config: &config::ClickHouse, tables: &[TableName]) -> Result<(), TargetError> {
    let server = Server::new(config);
    for table in tables {
        drop_view(&server, config, table).await?;
        let target = sql::qualified(&config.database, &sql::target_name(table));
        server.execute_long(&format!("drop {target}"), &sql::drop_table(&target)).await?;
    }
    Ok(())
}

/// Removes the views over the mirror of the given tables; the tables stay. What does not exist is passed over.
pub async fn drop_views(config: &config::ClickHouse, tables: &[TableName]) -> Result<(), TargetError> {
    let server = Server::new(config);
    for table in tables {
        drop_view(&server, config, table).await?;
    }
    Ok(())
}

async fn drop_view(
    server: &Server,
    config: &config::ClickHouse,
    table: &TableName,
) -> Result<(), TargetError> {
    let view = sql::qualified(&config.database, &sql::view_name(&sql::target_name(table)));
    server.execute(&format!("drop {view}"), &sql::drop_view(&view)).await
}

/// Returns what of the given tables' mirror is there, in words: views, and tables where those count.
pub async fn kept(
    config: &config::ClickHouse,
    tables: &[TableName],
    with_tables: bool,
) -> Result<Vec<String>, TargetError> {
    let server = Server::new(config);
    let names: Vec<String> = tables.iter().map(sql::target_name).collect();
    let views: Vec<String> = names.iter().map(|name| sql::view_name(name)).collect();
    let mut kept = Vec::new();
    for (names, are_views) in [(&views, true), (&names, false)] {
        if names.is_empty() || !(are_views || with_tables) {
            continue;
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let statement = sql::find_named(&config.database, &names, are_views);
        let found: Vec<String> = server.rows("look up the mirror", &statement).await?;
        let kind = if are_views { "view" } else { "table" };
        kept.extend(found.iter().map(|name| format!("{kind} {}.{name} in ClickHouse", config.database)));
    }
    Ok(kept)
}
