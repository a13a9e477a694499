//! A TCP proxy that can lose an answer: the server has done what was asked, the client sees the connection die.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

pub(crate) struct Proxy {
    pub(crate) url: String,
    swallow: Arc<AtomicBool>,
}

impl Proxy {
    /// Loses the next answer and closes its connection.
    pub(crate) fn swallow_next_answer(&self) {
        self.swallow.store(true, Ordering::SeqCst);
    }
}

/// Starts a proxy in front of `url`, for as long as the test's runtime lives.
pub(crate) async fn start(url: &str) -> Proxy {
    let upstream = url.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let swallow = Arc::new(AtomicBool::new(false));
    let proxy =
        Proxy { url: format!("http://{}", listener.local_addr().unwrap()), swallow: Arc::clone(&swallow) };
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(&upstream).await.unwrap();
            tokio::spawn(forward(client, server, Arc::clone(&swallow)));
        }
    });
    proxy
}

async fn forward(client: TcpStream, server: TcpStream, swallow: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut answer = vec![0; 1 << 16];
    while let Ok(len @ 1..) = from_server.read(&mut answer).await {
        if swallow.swap(false, Ordering::SeqCst) || to_client.write_all(&answer[..len]).await.is_err() {
            break;
        }
    }
    requests.abort();
}
