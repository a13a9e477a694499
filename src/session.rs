//! PostgreSQL sessions: how they are opened, and the settings under which text is exact.

pub use tokio_postgres::Client;
use tokio_postgres::{NoTls, SimpleQueryMessage};

/// Settings under which PostgreSQL's text of every value reads back equal, whatever the role's defaults are.
/// For `set local` in each pass of the tail (a transaction pooler may sit in between) and for the applier's session.
pub const EXACT_TEXT: [(&str, &str); 10] = [
    ("search_path", "pg_catalog"),
    ("DateStyle", "ISO"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("extra_float_digits", "1"),
    // Else NULL in an array's literal is a text.
    ("array_nulls", "on"),
    ("lc_monetary", "C"),
    ("client_encoding", "UTF8"),
    ("standard_conforming_strings", "on"),
];

/// Returns [`EXACT_TEXT`] as SQL, with `set local` (inside a transaction) or `set session`.
pub fn exact_text_sql(scope: &str) -> String {
    EXACT_TEXT.iter().map(|(name, value)| format!("set {scope} {name} = '{value}';")).collect()
}

/// A session that could not be opened. The URL's password is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The URL cannot be parsed.
    #[error("the {which} url is not a PostgreSQL connection string")]
    Url {
        /// `source` or `destination`.
        which: &'static str,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// The server did not take the connection.
    #[error("cannot connect to the {which} PostgreSQL at {address}")]
    Connect {
        /// `source` or `destination`.
        which: &'static str,
        /// Host, port and database.
        address: String,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
}

/// Opens a session to the `which` ("source" or "destination") server and drives it on its own task, which ends with
/// the client.
pub async fn connect(which: &'static str, url: &str, purpose: &str) -> Result<Client, SessionError> {
    let mut config: tokio_postgres::Config =
        url.parse().map_err(|source| SessionError::Url { which, source })?;
    config.application_name(format!("tripline {purpose}"));
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(std::time::Duration::from_secs(10));
    }
    config.keepalives_idle(std::time::Duration::from_secs(30));
    // A peer that is gone without a word, as behind a firewall that forgot the connection, is noticed within a minute
    // or two and not when the kernel's defaults are over, which is after a quarter of an hour.
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(std::time::Duration::from_secs(10));
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(3);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(std::time::Duration::from_secs(120));
    }
    let (client, connection) = config.connect(NoTls).await.map_err(|source| SessionError::Connect {
        which,
        address: address(&config),
        source,
    })?;
    tokio::spawn(async move {
        // The error reaches whoever uses the client; here it would be said twice.
        if let Err(error) = connection.await {
            tracing::debug!(%error, which, "connection closed");
        }
    });
    Ok(client)
}

/// Returns the statement that lifts `transaction_timeout` for one transaction, empty where the server has no such
/// setting, which is before PostgreSQL 17. Asked beforehand, because a query inside the transaction would take its
/// snapshot, and that has to wait for the locks.
pub(crate) async fn lift_transaction_timeout(client: &Client) -> Result<&'static str, tokio_postgres::Error> {
    let known = "select 1 where pg_catalog.current_setting('transaction_timeout', true) is not null";
    let rows = client.simple_query(known).await?;
    let has = rows.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
    Ok(if has { "set local transaction_timeout = 0;" } else { "" })
}

/// Returns `host:port/database` of a connection, for messages.
fn address(config: &tokio_postgres::Config) -> String {
    let host = match config.get_hosts().first() {
        Some(tokio_postgres::config::Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(tokio_postgres::config::Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default())
}
