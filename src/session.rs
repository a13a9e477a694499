//! PostgreSQL sessions: how they are opened, and the settings under which text is exact.

mod tls;

use postgres_openssl::MakeTlsConnector;
pub use tokio_postgres::Client;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{CancelToken, Config, SimpleQueryMessage};

use self::tls::Settings;
use crate::error::chain;
use crate::tls::{Refusal, TlsError};

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
    /// A part of the URL cannot be used.
    #[error("the {which} url")]
    Tls {
        /// `source` or `destination`.
        which: &'static str,
        /// Which parameter, and why.
        #[source]
        source: TlsError,
    },
    /// One side does not trust the other, and waiting does not help.
    #[error("cannot connect to the {which} PostgreSQL at {address}: {why}")]
    Distrust {
        /// `source` or `destination`.
        which: &'static str,
        /// Host, port and database.
        address: String,
        /// What is wrong and the way out.
        why: String,
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

/// Reads a URL.
fn parse(which: &'static str, url: &str) -> Result<(Config, Settings), SessionError> {
    let (rest, settings) = Settings::take(url).map_err(|source| SessionError::Tls { which, source })?;
    let mut config: Config = rest.parse().map_err(|source| SessionError::Url { which, source })?;
    // Else messages would name half the password as the host.
    if config.get_hosts().iter().any(|host| matches!(host, Host::Tcp(host) if host.contains('@'))) {
        let why = "write an @ in it as %40".to_owned();
        return Err(SessionError::Tls { which, source: TlsError::Unusable { key: "password", why } });
    }
    // As for libpq: nobody listens in between.
    #[cfg(unix)]
    if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)))
        && config.get_hostaddrs().is_empty()
    {
        config.ssl_mode(SslMode::Disable);
    }
    Ok((config, settings))
}

/// Reads a URL, and makes what opens connections as safe as it says; what is found wrong with a certificate goes into the
/// refusal.
fn secured(which: &'static str, url: &str) -> Result<(Config, MakeTlsConnector, Refusal), SessionError> {
    let (config, settings) = parse(which, url)?;
    let refusal = Refusal::default();
    let tls = settings.connector(&refusal).map_err(|source| SessionError::Tls { which, source })?;
    Ok((config, tls, refusal))
}

/// Opens a session to the `which` ("source" or "destination") server and drives it on its own task, which ends with
/// the client. The URL has libpq's parameters for TLS.
pub async fn connect(which: &'static str, url: &str, purpose: &str) -> Result<Client, SessionError> {
    let (mut config, tls, refusal) = secured(which, url)?;
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
    let mut opened = config.connect(tls.clone()).await;
    if config.get_ssl_mode() == SslMode::Prefer && opened.as_ref().is_err_and(is_about_tls) {
        // As libpq does: TLS was only preferred.
        config.ssl_mode(SslMode::Disable);
        opened = config.connect(tls).await.or(opened);
    }
    let (client, connection) = opened.map_err(|error| explain(which, &config, &refusal, error))?;
    tokio::spawn(async move {
        // The error reaches whoever uses the client; here it would be said twice.
        if let Err(error) = connection.await {
            tracing::debug!(%error, which, "connection closed");
        }
    });
    Ok(client)
}

/// Cancels what a session is doing, over a connection that is as safe as its own; `url` is the one it was opened with.
pub(crate) async fn cancel(which: &'static str, url: &str, token: &CancelToken) -> Result<(), SessionError> {
    let (config, tls, refusal) = secured(which, url)?;
    token.cancel_query(tls).await.map_err(|error| explain(which, &config, &refusal, error))
}

/// Tells whether the same may be allowed without TLS: the handshake failed, or pg_hba.conf refused.
fn is_about_tls(error: &tokio_postgres::Error) -> bool {
    let refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    refused || error.to_string() == "error performing TLS handshake"
}

/// Says why a connection could not be opened, and the way out where it is about trust.
fn explain(
    which: &'static str,
    config: &Config,
    refusal: &Refusal,
    source: tokio_postgres::Error,
) -> SessionError {
    let address = address(config);
    let text = chain(&source);
    let why = if let Some(why) = refusal.take("sslrootcert") {
        why
    } else if text.contains("server does not support TLS") {
        "the server offers no TLS, which sslmode asks for: set ssl = on there, or give sslmode=disable in a network \
         that nobody listens in"
            .into()
    } else if text.contains("no hostname provided") {
        "TLS needs the server's name: give host beside hostaddr".into()
    } else if text.contains(" alert ") && (text.contains("certificate") || text.contains("unknown ca")) {
        format!("the server does not accept the certificate of sslcert, or asks for one: {text}")
    } else if text.contains("channel binding") {
        format!(
            "{text}: channel_binding=require needs TLS and a password that the server keeps as scram-sha-256"
        )
    } else if source.code().is_none()
        && ["authentication error", "invalid configuration"].contains(&&*source.to_string())
    {
        // The password is missing, or the server asks for something else.
        text
    } else {
        return SessionError::Connect { which, address, source };
    };
    SessionError::Distrust { which, address, why }
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
fn address(config: &Config) -> String {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        #[cfg(unix)]
        Some(Host::Unix(path)) => path.display().to_string(),
        None => "localhost".into(),
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    format!("{host}:{port}/{}", config.get_dbname().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_password_is_no_host() {
        let error = parse("source", "postgresql://u:s3cret@s3cret@h/d?sslmode=require").unwrap_err();
        let text = chain(&error);
        assert_eq!(text, "the source url: password: write an @ in it as %40");
        assert!(!format!("{error:?}").contains("s3cret"));
        assert!(parse("source", "postgresql://u:s3cret%40s3cret@h/d").is_ok());
    }

    #[test]
    fn over_a_unix_socket_there_is_no_tls() {
        let (config, _) = parse("source", "postgresql://u@%2Frun/d?sslmode=require").unwrap();
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
    }
}
