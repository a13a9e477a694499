//! The HTTP client: the only file that knows the `clickhouse` crate.

use std::fmt;
use std::time::Duration;

use clickhouse::error::Error;
use clickhouse::{Client, Compression, RowOwned, RowRead};
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::ExposeSecret;

use super::error::{self, NAME, ServerError};
use crate::config;
use crate::consume::TargetError;
use crate::error::chain;
use crate::failpoint;
use crate::tls::{self, Distrust, Refusal, TlsError};

/// Longest wait until the server takes the next piece of an insert.
const SEND_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for the server's answer once an insert is sent: it may be held back while merges catch up.
const INSERT_TIMEOUT: Duration = Duration::from_secs(600);
/// Longest wait for statements that read or change definitions.
const QUERY_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest wait for a statement that goes through a whole table.
const LONG_TIMEOUT: Duration = Duration::from_secs(3600);
/// Time after which the kernel asks whether a quiet server is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Longest time that a connection waits for its next use: below the three seconds after which a server may close it.
const IDLE: Duration = Duration::from_secs(2);
/// Bytes of rows that are compressed and sent at a time.
const CHUNK_BYTES: usize = 1 << 20;

/// A ClickHouse server. Opens connections as it needs them.
#[derive(Clone)]
pub(super) struct Server {
    /// Or why there is none.
    client: Result<Client, String>,
    /// Where it is, for messages.
    url: String,
    /// Of its certificate.
    refusal: Refusal,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Server(…)")
    }
}

impl Server {
    /// Takes address, user, password and authority from the configuration; connects to nobody. No database is named,
    /// because it may not exist yet: all statements use qualified names.
    pub(super) fn new(config: &config::ClickHouse) -> Self {
        let refusal = Refusal::default();
        let client = connector(config, &refusal).map_err(|error| chain(&error)).map(|connector| {
            let http = HttpClient::builder(TokioExecutor::new()).pool_idle_timeout(IDLE).build(connector);
            let client = Client::with_http_client(http)
                .with_url(&config.url)
                .with_user(&config.user)
                .with_compression(Compression::Lz4)
                .with_product_info("tripline", env!("CARGO_PKG_VERSION"))
                // Answer only when it is done, so that a late error is an error and not the end of a good answer.
                .with_setting("wait_end_of_query", "1");
            match &config.password {
                Some(password) => client.with_password(password.expose_secret()),
                None => client,
            }
        });
        // Parameters of the URL may be secrets.
        let url = config.url.split('?').next().unwrap_or_default().to_owned();
        Self { client, url, refusal }
    }

    fn client(&self) -> Result<&Client, TargetError> {
        self.client.as_ref().map_err(|why| error::setup(format!("clickhouse.{why}")))
    }

    /// Says what an error means, and at which server.
    fn explain(&self, what: &str, error: Error) -> TargetError {
        let what = format!("{what} at {}", self.url);
        if matches!(error, Error::Network(_)) {
            let tls = chain(&error).contains("wrong version number").then(|| {
                "nobody speaks TLS there; give clickhouse.url the https port, which is 8443 as a rule"
                    .to_owned()
            });
            if let Some(why) = self.refusal.take("clickhouse.ca_file").or(tls) {
                let source = Some(Distrust(why).into());
                return TargetError::Setup { target: error::NAME, why: format!("cannot {what}"), source };
            }
        }
        explain(&what, error)
    }

    /// Runs a statement without rows in it. `what` says what it is for.
    pub(super) async fn execute(&self, what: &str, sql: &str) -> Result<(), TargetError> {
        self.execute_within(QUERY_TIMEOUT, what, sql).await
    }

    /// Runs a statement that may go through a whole table.
    pub(super) async fn execute_long(&self, what: &str, sql: &str) -> Result<(), TargetError> {
        self.execute_within(LONG_TIMEOUT, what, sql).await
    }

    async fn execute_within(&self, limit: Duration, what: &str, sql: &str) -> Result<(), TargetError> {
        let done = tokio::time::timeout(limit, self.client()?.query_raw(sql).execute()).await;
        done.unwrap_or(Err(Error::TimedOut)).map_err(|error| self.explain(what, error))
    }

    /// Reads all rows of a query about definitions.
    pub(super) async fn rows<T: RowOwned + RowRead>(
        &self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<T>, TargetError> {
        self.rows_within(QUERY_TIMEOUT, what, sql).await
    }

    /// Reads all rows of a query that may go through a whole table.
    pub(super) async fn long_rows<T: RowOwned + RowRead>(
        &self,
        what: &str,
        sql: &str,
    ) -> Result<Vec<T>, TargetError> {
        self.rows_within(LONG_TIMEOUT, what, sql).await
    }

    async fn rows_within<T: RowOwned + RowRead>(
        &self,
        limit: Duration,
        what: &str,
        sql: &str,
    ) -> Result<Vec<T>, TargetError> {
        let rows = tokio::time::timeout(limit, self.client()?.query_raw(sql).fetch_all::<T>()).await;
        rows.unwrap_or(Err(Error::TimedOut)).map_err(|error| self.explain(what, error))
    }

    /// Inserts rows in the format that `sql` names. `Ok(())` means that the server has them all; after an error it
    /// may have them or not.
    pub(super) async fn insert(&self, sql: &str, token: &str, body: &[u8]) -> Result<(), InsertError> {
        let client =
            self.client.as_ref().map_err(|why| InsertError::Connection(Error::Custom(why.clone())))?;
        let mut insert = client
            .insert_formatted_with(sql)
            // On by default in new servers: rows would be acknowledged from a buffer in memory.
            .with_setting("async_insert", "0")
            .with_setting("insert_deduplication_token", token)
            .with_timeouts(Some(SEND_TIMEOUT), Some(INSERT_TIMEOUT))
            .buffered_with_capacity(CHUNK_BYTES);
        let mut rest = body;
        while !rest.is_empty() {
            let taken = insert.write(rest).await.map_err(InsertError::new)?;
            rest = &rest[taken..];
        }
        failpoint::hit("mirror::after-send");
        insert.end().await.map_err(InsertError::new)?;
        failpoint::hit("mirror::after-insert");
        Ok(())
    }
}

/// Makes what connects, with TLS when the URL says so.
fn connector(
    config: &config::ClickHouse,
    refusal: &Refusal,
) -> Result<HttpsConnector<HttpConnector>, TlsError> {
    let mut connector = HttpConnector::new();
    connector.set_keepalive(Some(KEEPALIVE));
    connector.enforce_http(false);
    let tls = tls::builder("ca_file", config.ca_file.as_deref(), refusal)?;
    Ok(HttpsConnector::with_connector(connector, tls)?)
}

/// An insert that failed, or whose outcome is not known.
#[derive(Debug)]
pub(super) enum InsertError {
    /// The server did not take it.
    Server(ServerError),
    /// The connection did not last.
    Connection(Error),
}

impl InsertError {
    fn new(error: Error) -> Self {
        match error {
            Error::BadResponse(text) => Self::Server(ServerError::parse(&text, true)),
            other => Self::Connection(other),
        }
    }

    /// Tells whether the table no longer has the shape that the insert was made for.
    pub(super) fn is_other_shape(&self) -> bool {
        matches!(self, Self::Server(error) if error.is_other_shape())
    }

    /// Says what it means; `what` is what was being done.
    pub(super) fn explain(self, what: &str) -> TargetError {
        match self {
            Self::Server(error) => judge(what, error),
            Self::Connection(error) => explain(what, error),
        }
    }
}

fn explain(what: &str, error: Error) -> TargetError {
    match error {
        Error::BadResponse(text) => judge(what, ServerError::parse(&text, false)),
        Error::Unsupported(_) | Error::InvalidParams(_) => TargetError::Setup {
            target: NAME,
            why: "clickhouse.url is not an address that can be used; write http://host:8123".to_owned(),
            source: Some(Box::new(error)),
        },
        other => TargetError::Unavailable { target: NAME, what: what.to_owned(), source: Box::new(other) },
    }
}

fn judge(what: &str, error: ServerError) -> TargetError {
    if error.is_passing() {
        return TargetError::Unavailable { target: NAME, what: what.to_owned(), source: Box::new(error) };
    }
    let way_out = match error.code {
        Some(192..=194 | 516) => ": check clickhouse.user and clickhouse.password",
        Some(497) => ": grant the right to clickhouse.user",
        Some(164) => ": clickhouse.user may only read; choose one that may write and create tables",
        _ => "",
    };
    TargetError::Setup { target: NAME, why: format!("cannot {what}{way_out}"), source: Some(Box::new(error)) }
}
