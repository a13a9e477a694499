//! The lock of a pipeline's offset file: one publisher at a time, and a name for the one that has it.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backon::{BlockingRetryable, ConstantBuilder};
use serde::{Deserialize, Serialize};

use super::{OffsetError, failed, now};

/// How often, and how far apart, a taken lock is asked for again: longer than [`holder`] holds it to look, and longer than
/// a holder takes to write its name into it.
const AGAIN: usize = 9;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(50);

/// The process that holds a pipeline's lock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// The host that it runs on; the directory may be shared between hosts.
    pub host: String,
    /// Since when, RFC 3339 in UTC.
    pub since: String,
}

impl Holder {
    fn me() -> Self {
        // A service may see no more of /proc than processes.
        let host = ["/proc/sys/kernel/hostname", "/etc/hostname"]
            .iter()
            .find_map(|path| fs::read_to_string(path).ok())
            .map_or_else(|| "unknown".to_owned(), |host| host.trim().to_owned());
        Self { pid: std::process::id(), host, since: now() }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by pid {} on host {} since {}", self.pid, self.host, self.since)
    }
}

/// Returns the process that holds the pipeline's lock, `None` when nobody does. Takes no lasting lock.
///
/// A holder writes its name after it has the lock: who finds none looks again for about half a second, then it is
/// reported as [`OffsetError::Held`] without one.
pub fn holder(dir: &Path, pipeline: &str) -> Result<Option<Holder>, OffsetError> {
    let path = path(dir, pipeline);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    // A shared lock, so that two who look do not take each other for the holder; it ends with `file`.
    let look = || match file.try_lock_shared() {
        Ok(()) => Ok(None),
        Err(TryLockError::WouldBlock) => match named_in(&path) {
            Some(holder) => Ok(Some(holder)),
            None => Err(OffsetError::Held { path: path.clone(), holder: None }),
        },
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    };
    patiently(look)
}

/// Takes the lock, or says who has it. It ends with the returned file, or with the process.
pub(super) fn take(dir: &Path, pipeline: &str) -> Result<File, OffsetError> {
    let path = path(dir, pipeline);
    // Never truncated before the lock is ours, and never removed: a second process may have it open.
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(failed("open", &path))?;
    patiently(|| match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(OffsetError::Held { holder: named_in(&path), path: path.clone() })
        }
        Err(TryLockError::Error(error)) => Err(failed("lock", &path)(error)),
    })?;
    let mut line = serde_json::to_vec(&Holder::me()).map_err(|error| failed("write", &path)(error.into()))?;
    line.push(b'\n');
    file.set_len(0).and_then(|()| file.write_all(&line)).map_err(failed("write", &path))?;
    Ok(file)
}

/// Asks again while the lock is held by somebody else, or by nobody that has a name.
fn patiently<T>(ask: impl FnMut() -> Result<T, OffsetError>) -> Result<T, OffsetError> {
    ask.retry(ConstantBuilder::new().with_delay(BETWEEN_ATTEMPTS).with_max_times(AGAIN))
        .when(|error| matches!(error, OffsetError::Held { .. }))
        .call()
}

fn path(dir: &Path, pipeline: &str) -> PathBuf {
    dir.join(format!("{pipeline}.lock"))
}

fn named_in(path: &Path) -> Option<Holder> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}
