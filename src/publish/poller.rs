//! The thread that hands a producer's delivery reports back.
//!
//! The client library has one of its own (`ThreadedProducer`), which asks ten times a second for ever, at rest too, and spends
//! up to the last millisecond of each question asking again and again: a percent of a core for each producer.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::producer::{BaseProducer, ProducerContext};

/// Length of one question; the end waits for it.
const QUESTION: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Rests,
    Asks,
    Ends,
}

/// Asks for reports from [`Poller::wake`] to [`Poller::rest`].
#[derive(Debug)]
pub(super) struct Poller {
    shared: Arc<(Mutex<Work>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

impl Poller {
    /// Starts the thread, at rest.
    pub(super) fn start<C: ProducerContext + 'static>(producer: Arc<BaseProducer<C>>) -> io::Result<Self> {
        let shared = Arc::new((Mutex::new(Work::Rests), Condvar::new()));
        let thread = {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new().name("reports".into()).spawn(move || {
                let (work, changed) = &*shared;
                loop {
                    let mut now = lock(work);
                    while *now == Work::Rests {
                        now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
                    }
                    if *now == Work::Ends {
                        return;
                    }
                    drop(now);
                    producer.poll(QUESTION);
                }
            })?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Asks from here on.
    pub(super) fn wake(&self) {
        self.set(Work::Asks);
    }

    /// Ends with the question that is under way: nothing is expected any more.
    pub(super) fn rest(&self) {
        self.set(Work::Rests);
    }

    fn set(&self, to: Work) {
        let (work, changed) = &*self.shared;
        *lock(work) = to;
        changed.notify_one();
    }
}

impl Drop for Poller {
    fn drop(&mut self) {
        self.set(Work::Ends);
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::error!("the thread for delivery reports panicked");
        }
    }
}

fn lock(work: &Mutex<Work>) -> MutexGuard<'_, Work> {
    work.lock().unwrap_or_else(PoisonError::into_inner)
}
