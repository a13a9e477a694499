//! Errors at the top, and the one place that decides what an error means.

mod kind;

use std::net::SocketAddr;
use std::path::PathBuf;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio_postgres::error::SqlState;

use crate::capture::CaptureError;
use crate::config::ConfigError;
use crate::consume::{ConsumeError, TargetError};
use crate::offset::OffsetError;
use crate::publish::PublishError;
use crate::right::Lacking;
use crate::session::SessionError;
use crate::table::TableName;
use crate::tail::TailError;
use crate::verify::VerifyError;

pub use kind::Kind;

/// Everything that can end a command or a daemon.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Capture is not as it should be.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The tail gave up a pass.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// A part could not be published.
    #[error(transparent)]
    Publish(#[from] PublishError),
    /// The offset file cannot be used.
    #[error(transparent)]
    Offset(#[from] OffsetError),
    /// Consuming stopped.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A target refused.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The targets could not be compared.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A pipeline without an offset file, and nothing on the topics: a first start must be made explicit.
    #[error("there is no offset file for pipeline {pipeline} in {}: run `tripline init` for a first start", dir.display())]
    FirstStart {
        /// The pipeline.
        pipeline: String,
        /// Where the file was looked for.
        dir: PathBuf,
    },
    /// A pipeline that has published, without its offset file.
    #[error(
        "the offset file of pipeline {pipeline} is missing in {}, but the cuts topic holds its position: rebuild it \
         with `tripline offset recover`, or start over with `tripline offset reset`",
        dir.display()
    )]
    LostFile {
        /// The pipeline.
        pipeline: String,
        /// Where the file was looked for.
        dir: PathBuf,
    },
    /// The configuration names nothing to do.
    #[error("nothing to apply to: configure [destination], [clickhouse] or both")]
    NoTarget,
    /// A part of a table's rows is copied in key order.
    #[error(
        "{table} is append_only: without a key only all of its rows can be loaded again; leave --where out"
    )]
    NoPart {
        /// The table.
        table: TableName,
    },
    /// Rows that no key tells apart would come a second time.
    #[error(
        "{table} is append_only: its rows would be inserted at the destination a second time, and no key tells that they \
         are the same; run `tripline snapshot {table}` first, which logs a truncate and its rows behind all that is \
         published again"
    )]
    Twice {
        /// The table.
        table: TableName,
    },
    /// The log is to be published from its beginning, which is not there, and existing rows are not copied.
    #[error(
        "the log is no longer whole: retention has removed rows up to cdc_id {removed_to}, and with source.snapshot = \
         \"never\" nothing would bring what they said; repeat it with TRIPLINE__SOURCE__SNAPSHOT=initial, which copies the \
         existing rows of all tables"
    )]
    NotWhole {
        /// The `cdc_id` up to which rows were removed.
        removed_to: u64,
    },
    /// No cuts record from which an offset file could be rebuilt.
    #[error("the cuts topic holds nothing of pipeline {pipeline}: there is no position to recover")]
    NothingToRecover {
        /// The pipeline.
        pipeline: String,
    },
    /// Something was asked to go and is still there.
    #[error("not everything is removed; say it again once what is in the way is gone. What is left: {}", left.join(", "))]
    LeftBehind {
        /// All of it, in words.
        left: Vec<String>,
    },
    /// A role was denied something, and these rights are those that it lacks.
    #[error(
        "the role {} of the {side} has no right to {}; sql/roles.sql gives each role what it needs",
        lacking.first().map_or("", |one| one.role.as_str()),
        lacking.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    Denied {
        /// `source` or `destination`.
        side: &'static str,
        /// Every one of them.
        lacking: Vec<Lacking>,
        /// What was denied.
        #[source]
        source: Box<Error>,
    },
    /// Manual pages or completions cannot be written.
    #[error("cannot write to {}", dir.display())]
    Generate {
        /// The folder.
        dir: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The address of `[http] listen` cannot be used.
    #[error(
        "cannot listen on {address} ([http] listen): give every daemon of this machine a port of its own"
    )]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The terminal cannot be written to.
    #[error("cannot write to the terminal")]
    Terminal(#[source] std::io::Error),
    /// Metrics cannot be recorded.
    #[error("cannot record metrics")]
    Metrics(#[source] metrics_exporter_prometheus::BuildError),
    /// The asynchronous runtime could not be started.
    #[error("cannot start the runtime")]
    Runtime(#[source] std::io::Error),
    /// A signal handler could not be installed.
    #[error("cannot listen to signals")]
    Signals(#[source] std::io::Error),
}

/// What a daemon does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disposition {
    /// Start again at once: nothing is wrong.
    Again,
    /// Somebody else is away for a while: start again after a wait.
    Retry,
    /// A person is needed.
    Halt,
}

impl Error {
    /// Decides what a daemon does about this error. What is not known to pass by itself halts.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Config(_) | Self::Offset(_) | Self::FirstStart { .. } | Self::LostFile { .. } => {
                Disposition::Halt
            }
            // A command, not a daemon.
            Self::Verify(_) => Disposition::Halt,
            Self::Denied { .. }
            | Self::Generate { .. }
            | Self::NoTarget
            | Self::NoPart { .. }
            | Self::Twice { .. }
            | Self::NotWhole { .. }
            | Self::NothingToRecover { .. }
            | Self::LeftBehind { .. }
            | Self::Listen { .. }
            | Self::Metrics(_)
            | Self::Terminal(_)
            | Self::Runtime(_)
            | Self::Signals(_) => Disposition::Halt,
            Self::Session(error) => session(error),
            Self::Capture(error) => capture(error),
            Self::Tail(error) => tail(error),
            Self::Publish(error) => publish(error),
            Self::Consume(error) => consume(error),
            Self::Target(error) => target(error),
        }
    }

    /// Tells whether PostgreSQL denied something to the role.
    pub fn is_denied(&self) -> bool {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = cause {
            let code = error.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
            // Where the server's words may hold values, the code is all that is kept of them.
            if code == Some(&SqlState::INSUFFICIENT_PRIVILEGE) || error.to_string().contains("(42501)") {
                return true;
            }
            cause = error.source();
        }
        matches!(self, Self::Tail(TailError::NotRegistered { .. } | TailError::NoRight { .. }))
    }
}

fn session(error: &SessionError) -> Disposition {
    match error {
        SessionError::Url { .. } | SessionError::Tls { .. } | SessionError::Distrust { .. } => {
            Disposition::Halt
        }
        SessionError::Connect { source, .. } => postgres(source),
    }
}

fn capture(error: &CaptureError) -> Disposition {
    match error {
        CaptureError::Query { source, .. } | CaptureError::Busy { source, .. } => postgres(source),
        CaptureError::Changed { .. } => Disposition::Retry,
        CaptureError::Decode { .. }
        | CaptureError::TooOld { .. }
        | CaptureError::NoLock { .. }
        | CaptureError::Recovery
        | CaptureError::Pattern { .. }
        | CaptureError::Refused { .. }
        | CaptureError::NotInstalled { .. }
        | CaptureError::Broken { .. }
        | CaptureError::LeftOver { .. } => Disposition::Halt,
    }
}

fn tail(error: &TailError) -> Disposition {
    match error {
        TailError::Session(error) => session(error),
        TailError::Query { source, .. } => postgres(source),
        TailError::Capture(error) => capture(error),
        TailError::Restarted | TailError::Locked | TailError::LockLost => Disposition::Retry,
        TailError::Answer(_)
        | TailError::Line
        | TailError::Row { .. }
        | TailError::NotAppended { .. }
        | TailError::NoRight { .. }
        | TailError::AtWork { .. }
        | TailError::Pooled
        | TailError::Unreadable { .. }
        | TailError::Condition { .. }
        | TailError::OpenTransactions
        | TailError::Behind { .. }
        | TailError::Removed { .. }
        | TailError::CutShort { .. }
        | TailError::NotRegistered { .. }
        | TailError::Identity { .. } => Disposition::Halt,
    }
}

/// A server that is away, starting, stopping, full or busy comes back; everything else is for a person.
fn postgres(error: &tokio_postgres::Error) -> Disposition {
    let Some(code) = error.code() else {
        // No answer from the server: the connection is gone or was never made.
        return Disposition::Retry;
    };
    let passing = ["08", "40", "53", "55", "57"].iter().any(|class| code.code().starts_with(class));
    if passing && *code != SqlState::DATABASE_DROPPED { Disposition::Retry } else { Disposition::Halt }
}

fn publish(error: &PublishError) -> Disposition {
    match error {
        PublishError::Kafka { source, .. } | PublishError::Unreachable { source, .. } => kafka(source),
        PublishError::Delivery { .. } | PublishError::TimedOut { .. } | PublishError::GivenUp { .. } => {
            Disposition::Retry
        }
        PublishError::TooLarge { .. }
        | PublishError::Fenced { .. }
        | PublishError::Distrust { .. }
        | PublishError::NoTopic { .. }
        | PublishError::Contradiction { .. }
        | PublishError::OtherPipeline { .. }
        | PublishError::Format { .. }
        | PublishError::Foreign { .. } => Disposition::Halt,
    }
}

fn consume(error: &ConsumeError) -> Disposition {
    match error {
        ConsumeError::Kafka { source, .. } => kafka(source),
        ConsumeError::NewTopic { .. } => Disposition::Again,
        ConsumeError::Stalled { .. } => Disposition::Retry,
        ConsumeError::Target(error) => target(error),
        ConsumeError::NoTopic { .. }
        | ConsumeError::Gone { .. }
        | ConsumeError::Recreated { .. }
        | ConsumeError::Gap { .. }
        | ConsumeError::OtherPipeline { .. }
        | ConsumeError::Incomplete { .. }
        | ConsumeError::Thread { .. }
        | ConsumeError::Foreign { .. }
        | ConsumeError::Format { .. }
        | ConsumeError::NoSchema { .. } => Disposition::Halt,
    }
}

fn target(error: &TargetError) -> Disposition {
    match error {
        TargetError::Unavailable { .. } | TargetError::Overtaken { .. } | TargetError::NeedsAll => {
            Disposition::Retry
        }
        TargetError::Refused { .. } | TargetError::Setup { .. } => Disposition::Halt,
    }
}

/// Brokers come and go, rights and settings do not change by themselves.
fn kafka(error: &KafkaError) -> Disposition {
    if matches!(error, KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) | KafkaError::Nul(_)) {
        return Disposition::Halt;
    }
    match error.rdkafka_error_code() {
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::GroupAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::TransactionalIdAuthorizationFailed
            | RDKafkaErrorCode::SaslAuthenticationFailed
            | RDKafkaErrorCode::Authentication
            | RDKafkaErrorCode::UnsupportedSASLMechanism
            | RDKafkaErrorCode::UnsupportedVersion
            | RDKafkaErrorCode::InvalidReplicationFactor
            | RDKafkaErrorCode::InvalidConfig
            | RDKafkaErrorCode::PolicyViolation,
        ) => Disposition::Halt,
        _ => Disposition::Retry,
    }
}

/// Returns an error and its causes in one line, as people read it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let next_text = next.to_string();
        if !text.ends_with(&next_text) {
            text.push_str(": ");
            text.push_str(&next_text);
        }
        cause = next.source();
    }
    text
}
