//! The configuration: one TOML file, every key also as `TRIPLINE__SECTION__KEY` in the environment.

mod load;
pub(crate) mod secret;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::rename::Renames;
use crate::selection::{Mask, Selection};
use crate::table::CaptureMode;

/// Least bytes that a limit of the log's size may be: an empty log table takes some pages already.
const LEAST_LOG_BYTES: u64 = 1 << 20;
/// A hundred years: what is more is a mistake in the unit.
const MOST_KEEP_HOURS: u32 = 876_000;

/// Everything that can be configured. Times are milliseconds, sizes bytes, as the names say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Names the offset file, the topics' prefix and the positions: letters, digits, `_` and `-`.
    pub pipeline: String,
    /// The database whose changes are captured.
    pub source: Source,
    /// How changes are captured.
    pub capture: Capture,
    /// What masks are made with.
    pub mask: MaskSettings,
    /// How the log tables are read.
    pub tail: Tail,
    /// How long log rows are kept, and how large the log may become.
    pub retention: Retention,
    /// Where the offset file lives.
    pub offset: Offset,
    /// The broker between the two halves.
    pub kafka: Kafka,
    /// The PostgreSQL that is brought to the same state; leave it out when not wanted.
    pub destination: Option<Destination>,
    /// How changes are applied to PostgreSQL.
    pub apply: Apply,
    /// The ClickHouse that mirrors the data; leave it out when not wanted.
    pub clickhouse: Option<ClickHouse>,
    /// How changes are mirrored into ClickHouse.
    pub mirror: Mirror,
    /// What a daemon tells over HTTP.
    pub http: Http,
    /// Logging.
    pub log: Log,
    /// Under which names tables are at the targets.
    pub rename: Renames,
    /// What differs for single tables.
    pub table: Vec<TableOverride>,
}

/// `[source]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Source {
    /// `postgresql://user:password@host:port/database`.
    pub url: Option<SecretString>,
    /// File that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// Patterns over `schema.table`, `*` for any text; a leading `!` takes tables out again.
    pub tables: Vec<String>,
    /// `initial` copies the existing rows of every table that the pipeline meets for the first time, `never` does not.
    pub snapshot: Snapshot,
}

/// Whether existing rows are copied.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// Of every table that the pipeline meets for the first time.
    #[default]
    Initial,
    /// Only on request, by `tripline snapshot`.
    Never,
}

/// `[capture]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Schema of our objects in the source.
    pub schema: String,
    /// Capture mode of ordinary tables: `reread` or `statement`. Partitioned tables always use `row`.
    pub mode: CaptureMode,
}

impl Default for Capture {
    fn default() -> Self {
        Self { schema: "cdc".into(), mode: CaptureMode::Reread }
    }
}

/// `[mask]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MaskSettings {
    /// Salt of the hashes that stand in for masked columns. Only `init` uses it.
    pub salt: Option<SecretString>,
    /// File that holds the salt instead.
    pub salt_file: Option<PathBuf>,
}

/// `[tail]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tail {
    /// Most log rows that one window reads and one part publishes.
    pub window_rows: u32,
    /// Most bytes of log rows in one window.
    pub window_bytes: usize,
    /// Shortest wait between polls, while changes arrive.
    pub busy_interval_ms: u64,
    /// Longest wait between polls, when nothing happens.
    pub idle_interval_ms: u64,
    /// Publish only what has reached the source's disk.
    pub require_flushed: bool,
    /// Longest wait for the lock on the log tables before a pass is given up and tried again.
    pub lock_timeout_ms: u64,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            window_rows: 20_000,
            window_bytes: 8 << 20,
            busy_interval_ms: 2,
            idle_interval_ms: 100,
            require_flushed: true,
            lock_timeout_ms: 1_000,
        }
    }
}

/// `[retention]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retention {
    /// The publisher removes log rows that are old and that no pipeline needs any more.
    pub enabled: bool,
    /// Hours, by the source's clock, for which a log row is kept at least; 0: until every pipeline has published it.
    pub keep_hours: u32,
    /// A role that may delete log rows: `postgresql://user:password@host:port/database`; `source.url` without.
    pub url: Option<SecretString>,
    /// File that holds the URL instead.
    pub url_file: Option<PathBuf>,
    /// Most bytes of all log tables with their indexes before `check` and the metrics say so; no limit without.
    pub max_log_bytes: Option<u64>,
}

impl Retention {
    /// Returns for how long a log row is kept at least.
    pub fn keep(&self) -> Duration {
        Duration::from_secs(u64::from(self.keep_hours) * 3_600)
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self { enabled: true, keep_hours: 24, url: None, url_file: None, max_log_bytes: None }
    }
}

/// What happens when the log of a table has reached its `max_log_bytes`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFull {
    /// `check` and the metrics say so.
    #[default]
    Alert,
    /// Nothing of the table is logged any more, until `init` lets its rows be copied anew.
    Stop,
}

/// `[offset]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Offset {
    /// Directory of the offset files; the publisher locks its pipeline's file.
    pub dir: PathBuf,
}

impl Default for Offset {
    fn default() -> Self {
        Self { dir: "offsets".into() }
    }
}

/// How a part of a pass gets onto the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// One Kafka transaction per part: no duplicate for `read_committed` readers.
    ExactlyOnce,
    /// Idempotent producer: lower latency; a crash can repeat part of a pass on the topics.
    AtLeastOnce,
}

/// `[kafka]`
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kafka {
    /// `host:port,host:port`.
    pub bootstrap_servers: String,
    /// First part of every topic's name; the pipeline's name when empty.
    pub topic_prefix: String,
    /// Partitions of each data topic that `init` creates.
    pub partitions: i32,
    /// Replicas of each topic that `init` creates.
    pub replication_factor: i32,
    /// `delete` or `compact`: cleanup policy of the data topics that `init` creates.
    pub cleanup_policy: String,
    /// `exactly_once` or `at_least_once`.
    pub delivery: Delivery,
    /// Send a tombstone behind every delete.
    pub tombstones: bool,
    /// Further librdkafka properties (TLS, SASL, …), for producers and consumers alike. A key that ends in `_file`
    /// names a file with the value of the property before it: `"sasl.password_file"`. Gone once loaded.
    #[serde(deserialize_with = "load::options")]
    pub options: BTreeMap<String, String>,
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart, so that a new field cannot be forgotten.
        let Self {
            bootstrap_servers,
            topic_prefix,
            partitions,
            replication_factor,
            cleanup_policy,
            delivery,
            tombstones,
            options,
        } = self;
        f.debug_struct("Kafka")
            .field("bootstrap_servers", bootstrap_servers)
            .field("topic_prefix", topic_prefix)
            .field("partitions", partitions)
            .field("replication_factor", replication_factor)
            .field("cleanup_policy", cleanup_policy)
            .field("delivery", delivery)
            .field("tombstones", tombstones)
            .field("options", &load::Names(options))
            .finish()
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self {
            bootstrap_servers: String::new(),
            topic_prefix: String::new(),
            partitions: 4,
            replication_factor: 1,
            cleanup_policy: "delete".into(),
            delivery: Delivery::ExactlyOnce,
            tombstones: true,
            options: BTreeMap::new(),
        }
    }
}

/// `[destination]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Destination {
    /// `postgresql://user:password@host:port/database`.
    pub url: Option<SecretString>,
    /// File that holds the URL instead.
    pub url_file: Option<PathBuf>,
}

/// What readers of the destination can rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consistency {
    /// Every commit is a state that the source showed. One applier, the others wait as standbys.
    Cut,
    /// Changes of one key stay in order, no more. Several appliers share the partitions.
    Key,
}

/// `[apply]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// `cut` or `key`.
    pub consistency: Consistency,
    /// Most changes in one batch: passes that fit are committed together, larger ones in several batches of one
    /// transaction (a part of a pass is never split).
    pub batch_rows: usize,
    /// Most bytes of keys and rows in one batch.
    pub batch_bytes: usize,
    /// Most changes of one pass in one transaction at the destination; 0 never splits a pass.
    pub max_cut_rows: u64,
    /// Longest wait for more changes before a batch is applied; 0 applies what is there at once.
    pub batch_ms: u64,
    /// Create missing schemas, tables and enum types at the destination.
    pub create_tables: bool,
}

impl Default for Apply {
    fn default() -> Self {
        Self {
            consistency: Consistency::Cut,
            batch_rows: 20_000,
            batch_bytes: 4 << 20,
            max_cut_rows: 0,
            batch_ms: 0,
            create_tables: true,
        }
    }
}

/// `[clickhouse]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClickHouse {
    /// `http://host:8123` or `https://host:8443`.
    pub url: String,
    /// Database; created when missing.
    pub database: String,
    /// User name.
    pub user: String,
    /// Password.
    pub password: Option<SecretString>,
    /// File that holds the password instead.
    pub password_file: Option<PathBuf>,
    /// PEM file with the authority that an `https` server's certificate must come from; the system's without.
    pub ca_file: Option<PathBuf>,
}

impl Default for ClickHouse {
    fn default() -> Self {
        Self {
            url: String::new(),
            database: "default".into(),
            user: "default".into(),
            password: None,
            password_file: None,
            ca_file: None,
        }
    }
}

/// `[mirror]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mirror {
    /// Most changes in one round of inserts.
    pub batch_rows: usize,
    /// Most bytes of keys and rows in one round of inserts.
    pub batch_bytes: usize,
    /// Longest wait for more changes before a batch is inserted: few large inserts suit ClickHouse.
    pub batch_ms: u64,
    /// What is done with values that their column's type cannot hold.
    pub out_of_range: OutOfRange,
}

/// What is done with a value that the type of its ClickHouse column cannot hold, such as a date before 1900.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OutOfRange {
    /// The mirror halts and names it.
    #[default]
    Error,
    /// NULL stands in for it.
    Null,
    /// The nearest value of the type stands in for it; for NaN there is none.
    Clamp,
    /// The column is created as `String`, which takes every value.
    String,
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Null => "null",
            Self::Clamp => "clamp",
            Self::String => "string",
        })
    }
}

impl Default for Mirror {
    fn default() -> Self {
        Self { batch_rows: 100_000, batch_bytes: 6 << 20, batch_ms: 500, out_of_range: OutOfRange::Error }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `journald` where stderr is the journal, else `text`.
    Auto,
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
    /// The journal's own fields, past stderr.
    Journald,
}

/// `[http]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port on which a daemon answers `/metrics`, `/healthz`, `/readyz` and `/status`; empty: it does not.
    pub listen: String,
}

impl Http {
    /// Returns the address to listen on, `None` when there is none.
    pub fn address(&self) -> Option<SocketAddr> {
        self.listen.parse().ok()
    }
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `auto`, `text`, `json` or `journald`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives such as `tripline::tail=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Auto, level: "info".into() }
    }
}

/// `[[table]]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableOverride {
    /// `schema.table`, without patterns.
    pub name: String,
    /// Capture mode of this table.
    #[serde(default)]
    pub mode: Option<CaptureMode>,
    /// A unique index to use as the key where there is no primary key, by name.
    #[serde(default)]
    pub key_index: Option<String>,
    /// The table has no key, and rows are only ever inserted.
    #[serde(default)]
    pub append_only: bool,
    /// What the mirror does with values that the type of a column cannot hold, by the column's name.
    #[serde(default)]
    pub out_of_range: BTreeMap<String, OutOfRange>,
    /// Capture these columns alone.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
    /// Capture all columns but these.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// What stands in for a column's values: `"hash"`, `{ value = "…" }` or `{ truncate = 3 }`.
    #[serde(default)]
    pub mask: BTreeMap<String, Mask>,
    /// SQL condition over the row's columns: other rows are not captured.
    #[serde(default)]
    pub filter: Option<String>,
    /// Most bytes of this table's log, with its index, before `on_full` counts.
    #[serde(default)]
    pub max_log_bytes: Option<u64>,
    /// What happens then.
    #[serde(default)]
    pub on_full: OnFull,
}

impl TableOverride {
    /// Returns the size of its log at which nothing of the table is logged any more; `None` where that never happens.
    pub fn stops_at_bytes(&self) -> Option<u64> {
        self.max_log_bytes.filter(|_| self.on_full == OnFull::Stop)
    }

    /// Returns what of the table is captured.
    pub fn selection(&self) -> Selection {
        Selection {
            columns: self.columns.clone(),
            exclude: self.exclude.clone(),
            mask: self.mask.clone(),
            filter: self.filter.clone(),
        }
    }
}

/// A configuration that cannot be used. Exit code 2.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file was named and none stands where one is looked for.
    #[error(
        "no configuration: name one with -c or TRIPLINE_CONFIG, or put it at ./tripline.toml or /etc/tripline/tripline.toml"
    )]
    NoFile,
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others than its owner and group have access to a file with a secret.
    #[error(
        "{} holds a secret, and every user of this machine has access to it (mode {mode:04o}): run chmod 0640 {}",
        path.display(),
        shell_quoted(path)
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The file has an unknown key, a wrong type or broken syntax; the cause names key, line and what is allowed.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Line, key and what is allowed.
        message: String,
    },
    /// An environment variable overrides a key that does not exist or has another type.
    #[error("environment variable {variable}: {message}")]
    Environment {
        /// The variable.
        variable: String,
        /// What is wrong and what is allowed, without the value.
        message: String,
    },
    /// A key is missing or its value makes no sense.
    #[error("{key}: {why}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },
}

/// Returns a path as one word for a shell.
fn shell_quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}

impl Config {
    /// Checks what no type can say. Needs no connection.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let invalid = |key, why: &str| Err(ConfigError::Invalid { key, why: why.to_owned() });
        let name_like = |text: &str| {
            !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        if !name_like(&self.pipeline) {
            return invalid("pipeline", "give the pipeline a name of letters, digits, _ and -");
        }
        if !self.kafka.topic_prefix.is_empty() && !name_like(&self.kafka.topic_prefix) {
            return invalid("kafka.topic_prefix", "use letters, digits, _ and -");
        }
        if self.capture.schema.is_empty() || self.capture.schema.starts_with("pg_") {
            return invalid("capture.schema", "name a schema that does not begin with pg_");
        }
        if self.capture.mode == CaptureMode::Row {
            return invalid("capture.mode", "row is for partitioned tables only; choose reread or statement");
        }
        if self.kafka.bootstrap_servers.is_empty() {
            return invalid("kafka.bootstrap_servers", "name at least one broker, host:port");
        }
        if !(1..=10_000).contains(&self.kafka.partitions) {
            return invalid("kafka.partitions", "between 1 and 10000");
        }
        if self.kafka.replication_factor != -1 && !(1..=1_000).contains(&self.kafka.replication_factor) {
            return invalid("kafka.replication_factor", "at least 1, or -1 for the broker's default");
        }
        if !matches!(self.kafka.cleanup_policy.as_str(), "delete" | "compact") {
            return invalid("kafka.cleanup_policy", "delete or compact");
        }
        if self.tail.window_rows == 0 || self.tail.window_bytes == 0 {
            return invalid("tail.window_rows, tail.window_bytes", "at least 1");
        }
        if self.tail.busy_interval_ms > self.tail.idle_interval_ms {
            return invalid("tail.busy_interval_ms", "at most tail.idle_interval_ms");
        }
        if self.retention.keep_hours > MOST_KEEP_HOURS {
            return invalid("retention.keep_hours", "at most 876000; enabled = false keeps everything");
        }
        if self.retention.max_log_bytes.is_some_and(|bytes| bytes < LEAST_LOG_BYTES) {
            return invalid("retention.max_log_bytes", "at least 1048576");
        }
        if self.apply.batch_rows == 0 || self.apply.batch_bytes == 0 {
            return invalid("apply.batch_rows, apply.batch_bytes", "at least 1");
        }
        if self.mirror.batch_rows == 0 || self.mirror.batch_bytes == 0 {
            return invalid("mirror.batch_rows, mirror.batch_bytes", "at least 1");
        }
        if !self.http.listen.is_empty() && self.http.address().is_none() {
            return invalid("http.listen", "an IP address and a port, 127.0.0.1:9187; empty for none");
        }
        if let Some(clickhouse) = &self.clickhouse {
            if clickhouse.url.is_empty() || clickhouse.database.is_empty() {
                return invalid(
                    "clickhouse.url, clickhouse.database",
                    "name both, http://host:8123 and a database",
                );
            }
            // The URL shows in messages; the password must not.
            if clickhouse.url.contains('@') {
                return invalid("clickhouse.url", "put user and password into clickhouse.user and .password");
            }
        }
        self.validate_tables()
    }

    fn validate_tables(&self) -> Result<(), ConfigError> {
        for rule in &self.rename.0 {
            if let Some(why) = rule.problem() {
                let why = format!("from {:?} to {:?} {why}", rule.from, rule.to);
                return Err(ConfigError::Invalid { key: "rename", why });
            }
        }
        let mut names = BTreeSet::new();
        for table in &self.table {
            let name = &table.name;
            let why = if !name.contains('.') || name.contains('*') || name.starts_with('!') {
                "is no schema.table without patterns"
            } else if !names.insert(name) {
                "stands there twice"
            } else if table.columns.is_some() && !table.exclude.is_empty() {
                "has columns and exclude; give one of them"
            } else if table.filter.as_ref().is_some_and(|filter| filter.trim().is_empty()) {
                "has an empty filter; take it out"
            } else if table.append_only && table.key_index.is_some() {
                "has a key_index and is append_only; give one of them"
            } else if table.max_log_bytes.is_some_and(|bytes| bytes < LEAST_LOG_BYTES) {
                "has a max_log_bytes below 1048576, with which it would be full when it is empty"
            } else if table.on_full == OnFull::Stop && table.max_log_bytes.is_none() {
                "has on_full = \"stop\" and no max_log_bytes; give it the size of its log at which to stop"
            } else if table.append_only && table.mode.is_some() {
                "has a mode and is append_only, which decides the mode; give one of them"
            } else {
                continue;
            };
            return Err(ConfigError::Invalid { key: "table.name", why: format!("{name:?} {why}") });
        }
        Ok(())
    }

    /// Returns the source's URL or says which key is missing.
    pub fn source_url(&self) -> Result<&str, ConfigError> {
        let missing =
            || ConfigError::Invalid { key: "source.url", why: "postgresql://user@host:port/database".into() };
        url(self.source.url.as_ref()).ok_or_else(missing)
    }

    /// Returns the URL of the role that removes log rows.
    pub fn retention_url(&self) -> Result<&str, ConfigError> {
        url(self.retention.url.as_ref()).map_or_else(|| self.source_url(), Ok)
    }

    /// Returns the destination's URL, `None` without a `[destination]`.
    pub fn destination_url(&self) -> Result<Option<&str>, ConfigError> {
        let Some(destination) = &self.destination else { return Ok(None) };
        let missing = || ConfigError::Invalid {
            key: "destination.url",
            why: "postgresql://user@host:port/database".into(),
        };
        url(destination.url.as_ref()).map(Some).ok_or_else(missing)
    }

    /// Returns the first part of every topic's name.
    pub fn topic_prefix(&self) -> &str {
        if self.kafka.topic_prefix.is_empty() { &self.pipeline } else { &self.kafka.topic_prefix }
    }
}

/// An empty URL is none: it would mean the defaults of libpq.
fn url(secret: Option<&SecretString>) -> Option<&str> {
    secret.map(ExposeSecret::expose_secret).filter(|url| !url.trim().is_empty())
}
