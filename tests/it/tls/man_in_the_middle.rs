//! Somebody who ends TLS in front of a service and passes everything on.

use std::net::TcpListener;
use std::pin::Pin;

use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslConnector, SslMethod, SslVerifyMode};
use openssl::x509::X509;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tokio_util::task::AbortOnDropHandle;

use super::certificates::Identity;

/// What PostgreSQL is asked for TLS with.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// Ended when dropped.
pub(super) struct ManInTheMiddle {
    pub(super) port: u16,
    _accepting: AbortOnDropHandle<()>,
}

impl ManInTheMiddle {
    /// Speaks TLS with whoever comes, and none with the service.
    pub(super) fn before_http(service: &str, identity: &Identity) -> Self {
        Self::start(service, identity, http)
    }

    /// Speaks PostgreSQL's TLS on both sides.
    pub(super) fn before_postgres(service: &str, identity: &Identity) -> Self {
        Self::start(service, identity, postgres)
    }

    fn start<F>(service: &str, identity: &Identity, serve: fn(String, TcpStream, SslAcceptor) -> F) -> Self
    where
        F: Future<Output = Option<(u64, u64)>> + Send + 'static,
    {
        let service = service.to_owned();
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        acceptor.set_certificate(&X509::from_pem(&identity.certificate).unwrap()).unwrap();
        acceptor.set_private_key(&PKey::private_key_from_pem(&identity.key).unwrap()).unwrap();
        let acceptor = acceptor.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(service.clone(), client, acceptor.clone()));
            }
        });
        Self { port, _accepting: AbortOnDropHandle::new(accepting) }
    }
}

async fn http(service: String, client: TcpStream, acceptor: SslAcceptor) -> Option<(u64, u64)> {
    let mut client = accept(client, &acceptor).await?;
    let mut server = TcpStream::connect(&service).await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()
}

async fn postgres(service: String, mut client: TcpStream, acceptor: SslAcceptor) -> Option<(u64, u64)> {
    let mut asked = [0; 8];
    client.read_exact(&mut asked).await.ok()?;
    assert_eq!(asked, SSL_REQUEST);
    client.write_all(b"S").await.ok()?;
    let mut client = accept(client, &acceptor).await?;
    let mut server = TcpStream::connect(&service).await.ok()?;
    server.write_all(&SSL_REQUEST).await.ok()?;
    assert_eq!(server.read_u8().await.ok()?, b'S');
    let mut connector = SslConnector::builder(SslMethod::tls_client()).unwrap();
    connector.set_verify(SslVerifyMode::NONE);
    let ssl = connector.build().configure().unwrap().into_ssl("localhost").unwrap();
    let mut server = SslStream::new(ssl, server).unwrap();
    Pin::new(&mut server).connect().await.ok()?;
    copy_bidirectional(&mut client, &mut server).await.ok()
}

async fn accept(client: TcpStream, acceptor: &SslAcceptor) -> Option<SslStream<TcpStream>> {
    let ssl = openssl::ssl::Ssl::new(acceptor.context()).unwrap();
    let mut client = SslStream::new(ssl, client).unwrap();
    Pin::new(&mut client).accept().await.ok()?;
    Some(client)
}
