//! What an error is about: the label of its metric, and the exit status that says it to scripts and to systemd.

use super::{Disposition, Error};
use crate::capture::CaptureError;
use crate::config::ConfigError;
use crate::offset::OffsetError;
use crate::publish::PublishError;
use crate::session::SessionError;
use crate::tail::TailError;
use crate::tls::{Distrust, TlsError};
use crate::verify::VerifyError;

/// What an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Somebody else is away for a while; a daemon starts again.
    Away,
    /// The offset directory: full, read-only, or not ours.
    Disk,
    /// Certificates and logins: one side does not trust the other.
    Trust,
    /// PostgreSQL denied something to the role.
    Rights,
    /// A setting, or a file with a secret that others may read.
    Configuration,
    /// Everything else that needs a person.
    Other,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Away, Self::Disk, Self::Trust, Self::Rights, Self::Configuration, Self::Other];

    /// Returns its label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Disk => "disk",
            Self::Trust => "trust",
            Self::Rights => "rights",
            Self::Configuration => "configuration",
            Self::Other => "other",
        }
    }

    /// Returns the exit status: where sysexits.h has a word for it, that one, because systemd shows it.
    pub fn exit_status(self) -> u8 {
        match self {
            Self::Away | Self::Other => 2,
            Self::Disk => 74,
            Self::Trust => 76,
            Self::Rights => 77,
            Self::Configuration => 78,
        }
    }
}

impl Error {
    /// Tells what this error is about.
    pub fn kind(&self) -> Kind {
        if matches!(self, Self::Denied { .. }) || self.is_denied() {
            return Kind::Rights;
        }
        match self {
            Self::Config(_) | Self::NoTarget => Kind::Configuration,
            // What is transparent is no cause of its own.
            Self::Session(error)
            | Self::Tail(TailError::Session(error))
            | Self::Verify(VerifyError::Session(error)) => session(error),
            Self::Publish(PublishError::Distrust { .. })
            | Self::Verify(VerifyError::Publish(PublishError::Distrust { .. })) => Kind::Trust,
            Self::Offset(OffsetError::Io { .. }) => Kind::Disk,
            Self::Capture(CaptureError::Pattern { .. }) => Kind::Configuration,
            other => self.cause().unwrap_or_else(|| match other.disposition() {
                Disposition::Halt => Kind::Other,
                Disposition::Again | Disposition::Retry => Kind::Away,
            }),
        }
    }

    /// Tells what the first cause is about that says it by its type.
    fn cause(&self) -> Option<Kind> {
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            if error.is::<Distrust>() {
                return Some(Kind::Trust);
            }
            if let Some(error) = error.downcast_ref::<SessionError>() {
                return Some(session(error));
            }
            if error.is::<TlsError>() || error.is::<ConfigError>() {
                return Some(Kind::Configuration);
            }
            cause = error.source();
        }
        None
    }
}

fn session(error: &SessionError) -> Kind {
    match error {
        SessionError::Url { .. } | SessionError::Tls { .. } => Kind::Configuration,
        SessionError::Distrust { .. } => Kind::Trust,
        // A password, or pg_hba.conf.
        SessionError::Connect { source, .. }
            if source.code().is_some_and(|code| code.code().starts_with("28")) =>
        {
            Kind::Trust
        }
        SessionError::Connect { .. } if super::session(error) == Disposition::Halt => Kind::Other,
        SessionError::Connect { .. } => Kind::Away,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::path::PathBuf;

    use super::*;
    use crate::consume::TargetError;

    #[test]
    fn an_error_is_known_by_what_it_is_about_however_deep_the_cause_lies() {
        let path = PathBuf::from("/x");
        let distrust =
            || SessionError::Distrust { which: "source", address: "a".into(), why: "expired".into() };
        let target = |source: Box<dyn std::error::Error + Send + Sync>| {
            Error::Target(TargetError::Setup {
                target: "clickhouse",
                why: "cannot ask".into(),
                source: Some(source),
            })
        };
        let full =
            OffsetError::Io { action: "write", path: path.clone(), source: ErrorKind::StorageFull.into() };
        let cases = [
            (Error::Config(ConfigError::Exposed { path, mode: 0o644 }), Kind::Configuration, 78),
            (Error::Offset(full), Kind::Disk, 74),
            (Error::Session(distrust()), Kind::Trust, 76),
            (Error::Tail(TailError::Session(distrust())), Kind::Trust, 76),
            (target(Box::new(distrust())), Kind::Trust, 76),
            (target(Box::new(Distrust("expired".into()))), Kind::Trust, 76),
            (
                Error::Denied { side: "source", lacking: Vec::new(), source: Box::new(Error::NoTarget) },
                Kind::Rights,
                77,
            ),
            (Error::Tail(TailError::Restarted), Kind::Away, 2),
            (Error::NothingToRecover { pipeline: "shop".into() }, Kind::Other, 2),
        ];
        for (error, kind, status) in cases {
            assert_eq!((error.kind(), error.kind().exit_status()), (kind, status), "{error}");
        }
    }
}
