//! A TCP proxy that can be cut, or stop forwarding, between a daemon and a service.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const OPEN: u8 = 0;
const CUT: u8 = 1;
const FROZEN: u8 = 2;
const CLOSED: u8 = 3;

/// Shared with the threads.
struct State {
    mode: AtomicU8,
    /// Milliseconds that every piece of data waits.
    delay: AtomicU64,
    streams: Mutex<Vec<TcpStream>>,
    /// In answers the service's address is replaced by the proxy's: a Kafka broker tells clients where to go.
    rewrite: Option<(Vec<u8>, Vec<u8>)>,
}

impl State {
    fn is(&self, mode: u8) -> bool {
        self.mode.load(Ordering::SeqCst) == mode
    }
}

/// A proxy in front of one service.
pub(crate) struct Proxy {
    /// `host:port` to connect to.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// Starts a proxy in front of `host:port`.
    pub(crate) fn start(service: &str) -> Self {
        Self::new(service, false)
    }

    /// Starts a proxy in front of a Kafka broker.
    pub(crate) fn kafka(service: &str) -> Self {
        Self::new(service, true)
    }

    fn new(service: &str, kafka: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let rewrite = kafka.then(|| {
            let (host, port) = service.rsplit_once(':').unwrap();
            let advertised = |port: u16| [host.as_bytes(), &u32::from(port).to_be_bytes()].concat();
            (advertised(port.parse().unwrap()), advertised(address.port()))
        });
        let (mode, delay) = (AtomicU8::new(OPEN), AtomicU64::new(0));
        let state = Arc::new(State { mode, delay, streams: Mutex::default(), rewrite });
        let (accepting, service) = (Arc::clone(&state), service.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if accepting.is(CLOSED) {
                    break;
                }
                if accepting.is(CUT) {
                    continue;
                }
                // A service that is down refuses, and so does the proxy.
                let Ok(server) = TcpStream::connect(&service) else { continue };
                spawn_copy(&accepting, &client, &server, false);
                spawn_copy(&accepting, &server, &client, true);
                accepting.streams.lock().unwrap().extend([client, server]);
            }
        });
        Self { address, state }
    }

    /// Ends all connections and refuses new ones.
    pub(crate) fn cut(&self) {
        self.state.mode.store(CUT, Ordering::SeqCst);
        self.close();
    }

    /// Keeps the connections but forwards nothing.
    pub(crate) fn freeze(&self) {
        self.state.mode.store(FROZEN, Ordering::SeqCst);
    }

    /// Lets every piece of data wait from now on, in both directions.
    pub(crate) fn delay(&self, milliseconds: u64) {
        self.state.delay.store(milliseconds, Ordering::SeqCst);
    }

    /// Lets everything through again.
    pub(crate) fn restore(&self) {
        self.state.mode.store(OPEN, Ordering::SeqCst);
    }

    fn close(&self) {
        for stream in self.state.streams.lock().unwrap().drain(..) {
            // One that the other side has closed already is fine.
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.mode.store(CLOSED, Ordering::SeqCst);
        self.close();
        drop(TcpStream::connect(self.address));
    }
}

/// Returns the `host:port` of a URL.
pub(crate) fn host(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
}

/// Returns a URL that leads through the proxy.
pub(crate) fn through(url: &str, proxy: &Proxy) -> String {
    url.replacen(&host(url), &proxy.address.to_string(), 1)
}

fn spawn_copy(state: &Arc<State>, from: &TcpStream, to: &TcpStream, answers: bool) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    let state = Arc::clone(state);
    std::thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            std::thread::sleep(Duration::from_millis(state.delay.load(Ordering::SeqCst)));
            while state.is(FROZEN) {
                std::thread::sleep(Duration::from_millis(5));
            }
            let bytes = &mut buffer[..len];
            if let Some((service, proxy)) = state.rewrite.as_ref().filter(|_| answers) {
                replace(bytes, service, proxy);
            }
            if to.write_all(bytes).is_err() {
                break;
            }
        }
        for stream in [from, to] {
            drop(stream.shutdown(Shutdown::Both));
        }
    });
}

/// Replaces every `old` by `new`, which is as long.
fn replace(bytes: &mut [u8], old: &[u8], new: &[u8]) {
    let mut start = 0;
    while let Some(at) = bytes[start..].windows(old.len()).position(|window| window == old) {
        bytes[start + at..][..old.len()].copy_from_slice(new);
        start += at + old.len();
    }
}
