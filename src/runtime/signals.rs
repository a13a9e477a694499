//! Signals: the first SIGTERM or SIGINT drains, a second one aborts; SIGHUP reloads.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::iterator::Signals;
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// Exit status after a second signal: 128 + SIGTERM.
const ABORTED: i32 = 143;

/// Returns a token that the first SIGTERM or SIGINT cancels. A second one ends the process at once.
pub fn stop_on_signals() -> Result<CancellationToken, Error> {
    let second = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        // Order matters: the first signal only sets the flag, the second finds it set.
        flag::register_conditional_shutdown(signal, ABORTED, Arc::clone(&second)).map_err(Error::Signals)?;
        flag::register(signal, Arc::clone(&second)).map_err(Error::Signals)?;
    }
    let token = CancellationToken::new();
    let stop = token.clone();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(Error::Signals)?;
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            if signals.forever().next().is_some() {
                tracing::info!("stopping: finishing what is at hand");
                stop.cancel();
            }
        })
        .map_err(Error::Signals)?;
    Ok(token)
}

/// Calls `reload` at every SIGHUP, on a thread of its own.
pub fn on_hangup(mut reload: impl FnMut() + Send + 'static) -> Result<(), Error> {
    let mut signals = Signals::new([SIGHUP]).map_err(Error::Signals)?;
    std::thread::Builder::new()
        .name("reload".into())
        .spawn(move || signals.forever().for_each(|_| reload()))
        .map_err(Error::Signals)?;
    Ok(())
}
