//! What the service manager hears: ready, a line of status, and the watchdog's pings while there is progress.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::Board;

/// Time between two lines of status at most.
const STATUS: Duration = Duration::from_secs(5);

/// Tells systemd, when it listens.
pub(crate) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not told");
    }
}

/// Tells how far everything is for as long as this is polled, and pings the watchdog while no stage stalls: while none has been at one
/// step for half of `WatchdogSec`. A stage that waits for something to do does not stall, nor does a task that waits to
/// start again.
pub(crate) async fn tell(board: Arc<Board>) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let watchdog = sd_notify::watchdog_enabled();
    let interval = watchdog.map_or(STATUS, |limit| (limit / 4).min(STATUS));
    let mut silent = false;
    loop {
        let stalled = watchdog.and_then(|limit| board.stalled(limit / 2));
        if let Some(stalled) = stalled.as_ref().filter(|_| !silent) {
            tracing::error!(stalled, "no progress: the service manager hears no pings until there is some");
        }
        silent = stalled.is_some();
        match stalled {
            Some(stalled) => notify(&[NotifyState::Status(&format!("stalled: {stalled}"))]),
            None => {
                let line = board.report().line();
                let mut states = vec![NotifyState::Status(&line)];
                if watchdog.is_some() {
                    states.push(NotifyState::Watchdog);
                }
                notify(&states);
            }
        }
        tokio::time::sleep(interval).await;
    }
}
